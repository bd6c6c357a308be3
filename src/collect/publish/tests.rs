//! Claims about the planner, on a model store that collectors watch revision by revision.

use proptest::prelude::*;

use super::*;
use crate::collect::record::{Presence, Seal};
use crate::collect::roster::Roster;
use crate::collect::{Content, Export, Slot};
use crate::ident::ResourceId;
use crate::spec::Value;
use crate::store::{Change, Entry, Snapshot};

fn me() -> HostName {
    HostName::parse("web1").unwrap()
}

fn session(name: &str) -> Session {
    Session { instance: "i".into(), run: "r".into(), session: name.into(), at: None }
}

fn published(name: &str, content: &str) -> Published {
    let fields = Fields::from([("content".to_owned(), Value::Str(content.to_owned()))]);
    Published::plain("default", "file", name, fields)
}

fn many(range: std::ops::Range<usize>, content: &str) -> Vec<Published> {
    range.map(|number| published(&format!("f{number}"), content)).collect()
}

/// A store of one writer, with a collector that sees every revision.
#[derive(Default)]
struct Model {
    entries: BTreeMap<String, Entry>,
    revision: i64,
    roster: Roster,
    /// What the collector saw, without repetitions.
    seen: Vec<Vec<(String, String)>>,
}

impl Model {
    fn put(&mut self, key: String, value: Vec<u8>) {
        self.commit(&Txn { when: vec![], then: vec![Op::Put { key, value, lease: None }] });
    }

    fn present(&mut self, name: &str) {
        self.put(keys::presence(&me()), Presence::new("i", name).encode());
    }

    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::Missing(key) => !self.entries.contains_key(key),
            Compare::Revision(key, revision) => {
                self.entries.get(key).is_some_and(|entry| entry.revision == *revision)
            }
        }
    }

    fn commit(&mut self, txn: &Txn) -> bool {
        if !txn.when.iter().all(|compare| self.holds(compare)) {
            return false;
        }
        let changes = self.write(txn);
        self.settle(changes);
        true
    }

    fn settle(&mut self, changes: Vec<Change>) {
        if self.roster.apply(changes) {
            self.seen.push(shown(&self.roster));
        }
    }

    /// Makes the writes; gives what changed by them.
    fn write(&mut self, txn: &Txn) -> Vec<Change> {
        self.revision += 1;
        let mut changes = Vec::new();
        for op in &txn.then {
            changes.push(match op.clone() {
                Op::Put { key, value, lease } => {
                    let entry = Entry { key: key.clone(), value, revision: self.revision, lease };
                    self.entries.insert(key, entry.clone());
                    Change::Put(entry)
                }
                Op::Delete { key } => {
                    self.entries.remove(&key);
                    Change::Delete { key }
                }
            });
        }
        changes
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot { entries: self.entries.values().cloned().collect(), revision: self.revision }
    }

    fn own(&self) -> Own {
        self.roster.own(&me())
    }

    /// Plans and commits up to `stop` transactions; gives the plan.
    fn publish(&mut self, wanted: &[Published], name: &str, stop: usize) -> Plan {
        let plan = plan(&me(), &self.own(), wanted, &session(name));
        for txn in plan.txns.iter().take(stop) {
            assert!(txn.then.len() <= OPS_MAX + 1, "one operation is left for the presence");
            assert!(txn.then.iter().map(size).sum::<usize>() <= BYTES_MAX);
            assert!(self.commit(txn), "nobody else writes");
        }
        plan
    }
}

fn shown(roster: &Roster) -> Vec<(String, String)> {
    roster.exports().iter().map(|export| pair(export)).collect()
}

fn pair(export: &Export) -> (String, String) {
    let content = match &export.content {
        Content::Fields(fields) => format!("{fields:?}"),
        other => format!("{other:?}"),
    };
    (export.address.name.clone(), content)
}

fn set(wanted: &[Published]) -> Vec<(String, String)> {
    let mut set: Vec<_> =
        wanted.iter().map(|one| (one.name.clone(), format!("{:?}", one.fields))).collect();
    set.sort();
    set
}

#[test]
fn a_set_that_fits_is_one_transaction_and_no_difference_is_none() {
    let mut model = Model::default();
    model.present("s");
    assert_eq!(model.publish(&[], "s", 9).txns, [], "nothing there, nothing wanted");
    let first = many(0..OPS_MAX, "a");
    let plan = model.publish(&first, "s", 9);
    assert_eq!((plan.txns.len(), plan.put, plan.deleted, plan.exports), (1, 126, 0, 126));
    assert_eq!(model.publish(&first, "s", 9).txns, []);
    let plan = model.publish(&many(0..3, "b"), "s", 9);
    assert_eq!((plan.txns.len(), plan.put, plan.deleted, plan.exports), (1, 3, 123, 3));
    assert_eq!(model.seen, [set(&first), set(&many(0..3, "b"))]);
}

#[test]
fn only_what_differs_is_written() {
    let mut model = Model::default();
    model.publish(&many(0..5, "a"), "s", 9);
    let mut wanted = many(0..5, "a");
    wanted[3] = published("f3", "new");
    let plan = model.publish(&wanted, "s", 9);
    assert_eq!((plan.put, plan.deleted), (1, 0));
    assert_eq!(plan.txns[0].then.len(), 2, "the record and the publisher");
}

#[test]
fn a_large_set_is_never_seen_in_part() {
    let mut model = Model::default();
    model.present("s");
    let sets = [many(0..200, "a"), many(0..200, "b"), many(100..600, "b"), many(500..501, "b")];
    for wanted in &sets {
        let plan = model.publish(wanted, "s", 99);
        assert!(plan.txns.len() >= 2, "F10");
    }
    assert_eq!(model.seen, sets.each_ref().map(|wanted| set(wanted)));
    let plan = model.publish(&many(0..300, "b"), "s", 99);
    assert!(plan.txns.len() > 2);
    let plan = model.publish(&[], "s", 99);
    assert!(plan.txns.len() > 2, "even when nothing is left to carry the generation");
    assert_eq!(model.seen[4..], [set(&many(0..300, "b")), vec![]]);
}

#[test]
fn a_collector_that_starts_amid_a_publication_waits_for_its_end() {
    let mut model = Model::default();
    model.present("s");
    model.publish(&many(0..200, "a"), "s", 99);
    model.publish(&many(0..300, "b"), "s", 1);
    let mut late = Roster::default();
    late.replace("", model.snapshot());
    assert_eq!(shown(&late), [], "half a set is no set");
    assert_eq!(shown(&model.roster), set(&many(0..200, "a")), "the earlier one keeps what it had");
    model.publish(&many(0..300, "b"), "s", 99);
    late.replace("", model.snapshot());
    assert_eq!(shown(&late), set(&many(0..300, "b")));
}

#[test]
fn leftovers_of_earlier_runs_are_removed_and_other_hosts_left_alone() {
    let mut model = Model::default();
    model.publish(&[published("gone", "a"), published("stays", "a")], "old", 9);
    let other = Address {
        channel: "default".into(),
        kind: "file".into(),
        from: HostName::parse("web10").unwrap(),
        name: "theirs".into(),
    };
    model.put(keys::record(&other), b"{}".to_vec());
    let plan = model.publish(&[published("stays", "a")], "new", 9);
    assert_eq!((plan.put, plan.deleted), (0, 1), "F3");
    assert!(model.entries.contains_key(&keys::record(&other)));
}

#[test]
fn a_new_session_says_so_even_when_no_record_differs() {
    let mut model = Model::default();
    model.publish(&many(0..2, "a"), "one", 9);
    let plan = model.publish(&many(0..2, "a"), "two", 9);
    assert_eq!((plan.txns.len(), plan.put), (1, 0));
    assert_eq!(plan.txns[0].then.len(), 1);
}

#[test]
fn a_record_that_cannot_be_read_is_written_again() {
    let mut model = Model::default();
    model.publish(&many(0..2, "a"), "s", 9);
    let key = model.entries.keys().next().unwrap().clone();
    model.put(key, b"garbage".to_vec());
    assert_eq!(model.publish(&many(0..2, "a"), "s", 9).put, 1);
    model.put(keys::publisher(&me()), b"garbage".to_vec());
    assert_eq!(model.publish(&many(0..2, "a"), "s", 9).txns.len(), 1);
    model.present("s");
    assert_eq!(shown(&model.roster), set(&many(0..2, "a")));
}

#[test]
fn what_cannot_be_published_is_named_and_the_rest_is_published() {
    let mut model = Model::default();
    model.present("s");
    let wanted = [
        published("good", "a"),
        published("", "a"),
        published("a\nb", "a"),
        published("large", &"x".repeat(BODY_BYTES_MAX)),
        published("good", "b"),
        published("good", "a"),
    ];
    let plan = model.publish(&wanted, "s", 9);
    let codes: Vec<&str> = plan.messages.iter().map(|message| &message[..4]).collect();
    assert_eq!(codes, ["XE01", "XE01", "XE04", "XE02"]);
    assert!(plan.messages[3].starts_with("XE02 file[large]: it has 167772"));
    assert_eq!((plan.exports, shown(&model.roster)), (1, set(&wanted[..1])));
}

#[test]
fn records_within_the_operations_but_not_the_bytes_are_cut() {
    let mut model = Model::default();
    model.present("s");
    let wanted = many(0..60, &"x".repeat(60_000));
    assert!(model.publish(&wanted, "s", 99).txns.len() > 3);
    assert_eq!(model.seen, [set(&wanted)]);
}

fn any_wanted() -> impl Strategy<Value = Vec<Published>> {
    let small = prop::collection::btree_map(0..40usize, 0..3usize, 0..12);
    let large = (0..200usize, 0..300usize, 0..2usize);
    prop_oneof![
        3 => small.prop_map(|map| map
            .into_iter()
            .map(|(name, content)| published(&format!("f{name}"), &content.to_string()))
            .collect()),
        1 => large.prop_map(|(from, count, same)| many(from..from + count, &same.to_string())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_store_ends_in_exactly_the_wanted_set_whatever_was_interrupted(
        steps in prop::collection::vec((any_wanted(), prop::option::of(0..4usize)), 1..6),
    ) {
        let mut model = Model::default();
        model.present("s");
        let mut offered = vec![vec![]];
        for (wanted, stop) in &steps {
            model.publish(wanted, "s", stop.unwrap_or(usize::MAX));
            offered.push(set(wanted));
        }
        let (last, _) = steps.last().unwrap();
        model.publish(last, "s", usize::MAX);
        prop_assert_eq!(shown(&model.roster), set(last));
        prop_assert_eq!(model.own().records.len(), last.len());
        prop_assert_eq!(model.publish(last, "s", usize::MAX).txns, []);
        for seen in &model.seen {
            prop_assert!(offered.contains(seen), "a mix was seen: {seen:?}");
        }
    }
}

#[test]
fn fields_beyond_a_record_are_written_in_pieces_before_it_and_removed_after_it() {
    let model = Model::default();
    let large = published("large", &"x".repeat(1_200_000));
    let own = |bodies| Own { bodies, ..model.own() };
    let first = plan(&me(), &own(BTreeMap::new()), &[large.clone(), large.clone()], &session("s"));
    let count = |txns: &[Txn]| txns.iter().map(|txn| txn.then.len()).sum::<usize>();
    assert_eq!((count(&first.bodies), first.bodies.len(), first.exports), (3, 2, 1));
    assert!(first.bodies.iter().all(|txn| txn.then.iter().map(size).sum::<usize>() <= BYTES_MAX));
    let record = first.txns[0].then.iter().map(size).max().unwrap();
    assert!(record < 1_000, "the record names its body: {record} bytes");
    let digest = record::digest(&large.fields);
    let there = BTreeMap::from([(digest.clone(), BTreeSet::from([0, 2]))]);
    let again = plan(&me(), &own(there.clone()), std::slice::from_ref(&large), &session("s"));
    assert_eq!(count(&again.bodies), 1, "only the piece that is missing");
    assert!(again.garbage.is_empty());
    let none = plan(&me(), &own(there), &[], &session("s"));
    assert_eq!((count(&none.bodies), count(&none.garbage)), (0, 2));
}

/// What three watches tell of these commits, each in its order: publishers, files, keys.
fn told(commits: &[Vec<Change>]) -> [Vec<Vec<Change>>; 3] {
    let key = |change: &Change| match change {
        Change::Put(entry) => entry.key.clone(),
        Change::Delete { key } => key.clone(),
    };
    [keys::publishers_prefix(), slot_prefix("file"), slot_prefix("kv")].map(|prefix| {
        let of = |commit: &Vec<Change>| -> Vec<Change> {
            commit.iter().filter(|one| key(one).starts_with(&prefix)).cloned().collect()
        };
        commits.iter().map(of).filter(|changes| !changes.is_empty()).collect()
    })
}

fn slot_prefix(kind: &str) -> String {
    keys::slot_prefix(&Slot::new("default", kind))
}

fn awaiting(name: &str, content: &str) -> Published {
    Published { awaits: Some(ResourceId::new("file", name)), ..published(name, content) }
}

#[test]
fn what_is_not_ready_is_not_published_and_what_the_store_has_of_it_stays() {
    let mut model = Model::default();
    model.present("s");
    let plan = model.publish(&[published("a", "1"), awaiting("b", "1")], "s", 9);
    assert_eq!((plan.put, plan.exports), (1, 1));
    assert_eq!(shown(&model.roster), set(&[published("a", "1")]));
    let both = [published("a", "1"), published("b", "1")];
    model.publish(&both, "s", 9);
    // The agent starts anew, with another value of one of them.
    let plan = model.publish(&[published("a", "1"), awaiting("b", "2")], "s", 9);
    let found = (plan.txns, plan.exports, plan.stays);
    assert_eq!(found, (vec![], 2, 1), "no event for anybody");
    let plan = model.publish(&[published("a", "2"), awaiting("b", "2")], "s", 9);
    assert_eq!((plan.put, plan.deleted), (1, 0));
    assert_eq!(shown(&model.roster), set(&[published("a", "2"), published("b", "1")]));
    model.publish(&[published("a", "2"), published("b", "2")], "s", 9);
    assert_eq!(shown(&model.roster), set(&[published("a", "2"), published("b", "2")]));
    assert_eq!(model.publish(&[awaiting("a", "2")], "s", 9).deleted, 1, "b is not wanted any more");
}

#[test]
fn what_ended_with_an_earlier_session_is_not_brought_back_before_it_is_ready() {
    let mut model = Model::default();
    model.present("s");
    let permanent = Published { life: Life::Permanent, ..published("p", "1") };
    model.publish(&[published("a", "1"), permanent.clone()], "s", 9);
    let waits = Published { awaits: Some(ResourceId::new("file", "p")), ..permanent.clone() };
    let plan = model.publish(&[awaiting("a", "1"), waits], "t", 9);
    assert_eq!((plan.deleted, plan.exports), (1, 1));
    model.present("t");
    assert_eq!(shown(&model.roster), set(&[permanent]));
}

fn lives(model: &mut Model, seconds: u64, is: bool) {
    let key = keys::lifetime(&me(), seconds);
    let op = match is {
        true => Op::Put { key, value: b"{\"v\":1}".to_vec(), lease: None },
        false => Op::Delete { key },
    };
    model.commit(&Txn { when: vec![], then: vec![op] });
}

#[test]
fn what_is_not_ready_outlives_its_session_as_long_as_its_duration_lasts() {
    for (life, kept, stays) in [
        (Life::For(600), Some(600), true),
        (Life::For(600), Some(60), false),
        (Life::For(600), None, false),
        (Life::Session, Some(600), false),
        (Life::Permanent, None, true),
    ] {
        let mut model = Model::default();
        model.present("s");
        let first = Published { life, ..published("a", "1") };
        model.publish(std::slice::from_ref(&first), "s", 9);
        if let Some(seconds) = kept {
            lives(&mut model, seconds, true);
        }
        let waits = Published { life, ..awaiting("a", "2") };
        let plan = model.publish(std::slice::from_ref(&waits), "t", 9);
        let found = (plan.deleted, plan.exports, plan.stays);
        let wanted = if stays { (0, 1, 1) } else { (1, 0, 0) };
        assert_eq!(found, wanted, "{life:?} while {kept:?} is kept alive");
        model.present("t");
        let left = if stays { set(&[first]) } else { vec![] };
        assert_eq!(shown(&model.roster), left, "{life:?} while {kept:?} is kept alive");
        if let (true, Some(seconds)) = (stays, kept) {
            lives(&mut model, seconds, false);
            let again = model.publish(&[waits], "t", 9);
            assert_eq!((again.txns, again.stays), (vec![], 1), "it is of this session now");
        }
    }
}

#[test]
fn what_everybody_can_read_does_not_stay_where_it_waits_to_be_sealed() {
    let seal = || Seal { fields: ["content".to_owned()].into(), keys: BTreeMap::new() };
    let sealed = |done: bool| Published {
        sealing: match done {
            true => Sealing::Done(seal()),
            false => Sealing::Waits("XE06 file[a]: web2 has shown no key".to_owned()),
        },
        to: HostSelector::Names(vec!["web2".to_owned()]),
        ..published("a", "cipher")
    };
    let open = published("a", "plain");
    for (there, wanted, stays) in [
        (&open, sealed(true), false),
        (&open, sealed(false), false),
        (&sealed(true), sealed(true), true),
        (&sealed(true), sealed(false), true),
        (&sealed(true), open.clone(), true),
        (&open, open.clone(), true),
    ] {
        let known = OwnRecord {
            generation: 1,
            life: there.life,
            digest: Some(there.digest()),
            body: None,
            revision: 1,
            sealed: there.seal().is_some(),
            doubted: false,
        };
        let own = Own {
            revision: Some(1),
            publisher: Some(Publisher::new(&session("s"), 1)),
            records: [(there.address(&me()), known)].into(),
            ..Own::default()
        };
        let waits = Published { awaits: Some(ResourceId::new("file", "a")), ..wanted };
        let found = plan(&me(), &own, std::slice::from_ref(&waits), &session("s"));
        let (what, is) = (&waits.sealing, &there.sealing);
        assert_eq!(
            (found.deleted, found.stays == 1),
            (usize::from(!stays), stays),
            "{what:?} {is:?}"
        );
    }
}

#[test]
fn a_large_body_that_stays_is_not_garbage() {
    let mut model = Model::default();
    model.present("s");
    let large = "x".repeat(200_000);
    let plan = model.publish(&[published("a", &large)], "s", 9);
    assert!(!plan.bodies.is_empty());
    let mut own = model.own();
    let digest = own.records.values().find_map(|one| one.body.clone()).unwrap();
    own.bodies.insert(digest, [0, 1].into());
    let found = super::plan(&me(), &own, &[awaiting("a", "new")], &session("s"));
    assert_eq!((found.garbage, found.txns), (vec![], vec![]));
}

fn by_name(roster: &Roster) -> Vec<(String, String)> {
    let mut all = shown(roster);
    all.sort();
    all
}

fn of_two_kinds(names: &[(usize, usize)]) -> Vec<Published> {
    let one = |(name, content): &(usize, usize)| {
        let kind = if name % 2 == 0 { "file" } else { "kv" };
        Published { kind: kind.into(), ..published(&format!("f{name}"), &content.to_string()) }
    };
    names.iter().map(one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn watches_that_tell_in_any_order_never_show_a_mix(
        rounds in prop::collection::vec(
            prop::collection::btree_map(0..8usize, 0..3usize, 0..8), 1..6),
        mix in prop::collection::vec(0..3usize, 0..60),
        large in any::<bool>(),
    ) {
        let mut model = Model::default();
        model.present("s");
        let mut offered = vec![vec![]];
        let mut commits = Vec::new();
        for round in &rounds {
            let names: Vec<(usize, usize)> =
                round.iter().map(|(at, content)| (*at, *content)).collect();
            let mut wanted = of_two_kinds(&names);
            if large {
                wanted.extend(many(100..300, &names.len().to_string()));
            }
            let plan = plan(&me(), &model.own(), &wanted, &session("s"));
            for txn in &plan.txns {
                let changes = model.write(txn);
                model.settle(changes.clone());
                commits.push(changes);
            }
            offered.push(set(&wanted));
        }
        let mut streams = told(&commits).map(Vec::into_iter);
        let mut roster = Roster::default();
        let presence = model.entries[&keys::presence(&me())].clone();
        roster.apply(vec![Change::Put(presence)]);
        let rest = (0..3).flat_map(|stream| std::iter::repeat_n(stream, 200));
        for stream in mix.into_iter().chain(rest) {
            let Some(changes) = streams[stream].next() else { continue };
            roster.apply(changes);
            let now = by_name(&roster);
            prop_assert!(offered.contains(&now), "a mix: {now:?}");
        }
        prop_assert_eq!(by_name(&roster), offered.pop().unwrap());
    }
}
