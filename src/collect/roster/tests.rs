//! Claims about the roster: it shows whole sets of present hosts, however it came to know them.

use proptest::prelude::*;

use super::*;
use crate::collect::Content;
use crate::collect::record::{Life, Record, Session};
use crate::collect::sets::Sum;
use crate::spec::{Fields, Value};

fn host(name: &str) -> HostName {
    HostName::parse(name).unwrap()
}

fn entry(key: String, value: Vec<u8>, revision: i64) -> Entry {
    Entry { key, value, revision, lease: None }
}

fn address(from: &str, name: &str) -> Address {
    Address { channel: "default".into(), kind: "file".into(), from: host(from), name: name.into() }
}

fn record(from: &str, name: &str, generation: u64, life: Life) -> Entry {
    let fields = Fields::from([("n".to_owned(), Value::Int(generation as i64))]);
    let (labels, to) = (BTreeMap::new(), crate::spec::HostSelector::everybody());
    let record = Record { generation, session: "s".into(), life, fields, labels, to, seal: None };
    entry(keys::record(&address(from, name)), record::encode("file", &record), 1)
}

fn publisher(from: &str, session: &str, generation: u64) -> Entry {
    entry(keys::publisher(&host(from)), publishing(session, generation), 1)
}

fn publishing(session: &str, generation: u64) -> Vec<u8> {
    let session =
        Session { instance: "i".into(), run: "r".into(), session: session.into(), at: None };
    Publisher::new(&session, generation).encode()
}

fn presence(from: &str, session: &str) -> Entry {
    entry(keys::presence(&host(from)), Presence::new("i", session).encode(), 1)
}

fn put(entry: Entry) -> Change {
    Change::Put(entry)
}

fn names(roster: &Roster) -> Vec<String> {
    let name = |export: &Arc<Export>| format!("{}:{}", export.address.from, export.address.name);
    roster.exports().iter().map(name).collect()
}

fn session(generation: u64, names: &[&str]) -> Vec<Change> {
    let mut changes = vec![put(publisher("h1", "s", generation))];
    changes.extend(names.iter().map(|name| put(record("h1", name, generation, Life::Session))));
    changes
}

#[test]
fn session_exports_are_live_while_their_host_is_present() {
    let mut roster = Roster::default();
    assert!(!roster.apply(session(1, &["a", "b"])), "nobody is present");
    assert!(roster.apply(vec![put(presence("h1", "s"))]));
    assert_eq!(names(&roster), ["h1:a", "h1:b"]);
    assert!(!roster.apply(vec![put(presence("h1", "s"))]), "a restart within the lease");
    assert!(roster.apply(vec![Change::Delete { key: keys::presence(&host("h1")) }]));
    assert_eq!(names(&roster), [""; 0]);
}

#[test]
fn records_of_an_earlier_session_wait_for_their_publisher() {
    let mut roster = Roster::default();
    roster.apply(session(1, &["old"]));
    assert!(!roster.apply(vec![put(presence("h1", "next"))]), "it has not said its set yet");
    let changes = vec![
        put(publisher("h1", "next", 2)),
        put(record("h1", "new", 2, Life::Session)),
        Change::Delete { key: keys::record(&address("h1", "old")) },
    ];
    assert!(roster.apply(changes));
    assert_eq!(names(&roster), ["h1:new"]);
}

#[test]
fn permanent_exports_need_no_presence() {
    let mut roster = Roster::default();
    let forever = put(record("h1", "a", 1, Life::Permanent));
    assert!(roster.apply(vec![put(publisher("h1", "s", 1)), forever]));
    assert_eq!(names(&roster), ["h1:a"]);
}

#[test]
fn half_a_set_keeps_the_previous_one() {
    let mut roster = Roster::default();
    roster.apply(vec![put(presence("h1", "s"))]);
    roster.apply(session(1, &["a", "b"]));
    assert!(!roster.apply(vec![put(record("h1", "c", 2, Life::Session))]));
    assert!(!roster.apply(vec![Change::Delete { key: keys::record(&address("h1", "a")) }]));
    assert_eq!(names(&roster), ["h1:a", "h1:b"]);
    assert!(roster.apply(vec![put(publisher("h1", "s", 2))]));
    assert_eq!(names(&roster), ["h1:b", "h1:c"]);
    roster.apply(vec![put(record("h1", "d", 3, Life::Session))]);
    assert!(roster.apply(vec![Change::Delete { key: keys::presence(&host("h1")) }]));
    assert_eq!(names(&roster), [""; 0], "a host that dies amid a publication is gone all the same");
}

#[test]
fn an_unreadable_record_is_shown_as_such_beside_good_ones() {
    let mut roster = Roster::default();
    roster.apply(vec![put(presence("h1", "s"))]);
    roster.apply(session(1, &["a"]));
    let key = keys::record(&address("h1", "bad"));
    assert!(roster.apply(vec![put(entry(key, b"\xff".to_vec(), 7))]));
    assert_eq!(names(&roster), ["h1:a", "h1:bad"]);
    assert!(matches!(roster.exports()[1].content, Content::Broken(_)));
}

#[test]
fn a_complete_read_removes_what_is_no_longer_there_below_its_prefix_only() {
    let mut roster = Roster::default();
    roster.apply(vec![put(presence("h1", "s"))]);
    roster.apply(session(1, &["a", "b"]));
    let entries = vec![publisher("h1", "s", 1), record("h1", "b", 1, Life::Session)];
    let snapshot = Snapshot { entries, revision: 9 };
    assert!(roster.replace(&keys::exports_prefix(), snapshot.clone()));
    assert_eq!(names(&roster), ["h1:b"], "the presence is not below that prefix");
    assert!(!roster.replace(&keys::exports_prefix(), snapshot), "nothing differs");
    assert!(roster.replace(&keys::presence_prefix(), Snapshot::default()));
    assert_eq!(names(&roster), [""; 0]);
}

#[test]
fn a_host_that_left_nothing_is_forgotten() {
    let mut roster = Roster::default();
    roster.apply(vec![put(presence("h1", "s"))]);
    roster.apply(session(1, &["a"]));
    roster.replace("", Snapshot::default());
    assert!(roster.hosts.is_empty() && roster.live.is_empty());
}

/// A key and the values that it had, the last one `None` when it is deleted in the end.
type History = (String, Vec<Option<Vec<u8>>>);

fn any_history() -> impl Strategy<Value = Vec<History>> {
    let from = || prop_oneof![Just("h1"), Just("h2"), Just("h10")];
    let name = prop_oneof![Just("a"), Just("b"), Just("/c")];
    // Publishers never take a generation back, and all sets are complete in the end.
    let value = (1..5u64, any::<bool>(), 0..8u8).prop_map(|(generation, permanent, odd)| {
        let life = if permanent { Life::Permanent } else { Life::Session };
        match odd {
            0 => b"garbage".to_vec(),
            _ => record("h1", "a", generation, life).value,
        }
    });
    let records = prop::collection::btree_map(
        (from(), name),
        prop::collection::vec(prop::option::of(value), 1..4),
        0..6,
    );
    let session = prop_oneof![Just("s"), Just("t")];
    let presences = prop::collection::btree_map(
        from(),
        prop::collection::vec(prop::option::of(session), 1..4),
        0..3,
    );
    (records, presences).prop_map(|(records, presences)| {
        let mut all: Vec<History> = records
            .into_iter()
            .map(|((from, name), values)| (keys::record(&address(from, name)), values))
            .collect();
        for (from, sessions) in presences {
            let values = sessions
                .into_iter()
                .map(|session| session.map(|session| Presence::new("i", session).encode()))
                .collect();
            all.push((keys::presence(&host(from)), values));
        }
        for from in ["h1", "h2"] {
            let values = [1, 3, 5].map(|at| Some(publishing("s", at))).to_vec();
            all.push((keys::publisher(&host(from)), values));
        }
        all
    })
}

/// Plays every key's history in its own order, the keys mixed as `mix` says.
fn play(histories: &[History], mix: &[usize], batch: usize) -> (Roster, Snapshot) {
    let mut roster = Roster::default();
    let mut store = BTreeMap::new();
    let mut next = vec![0; histories.len()];
    let mut changes = Vec::new();
    let rest = (0..histories.len()).flat_map(|at| std::iter::repeat_n(at, histories[at].1.len()));
    for at in mix.iter().map(|at| at % histories.len()).chain(rest) {
        let (key, values) = &histories[at];
        let Some(value) = values.get(next[at]) else { continue };
        next[at] += 1;
        // The revision is the key's own, so that it does not depend on the mix.
        changes.push(match value.clone() {
            Some(value) => {
                let entry = entry(key.clone(), value, next[at] as i64);
                store.insert(key.clone(), entry.clone());
                Change::Put(entry)
            }
            None => {
                store.remove(key);
                Change::Delete { key: key.clone() }
            }
        });
        if changes.len() >= batch {
            roster.apply(std::mem::take(&mut changes));
        }
    }
    roster.apply(changes);
    (roster, Snapshot { entries: store.into_values().collect(), revision: 1 })
}

/// A host without a publisher never shows anything that came in generations, so the end is the
/// same for all histories only when it is left out.
fn settled(roster: &Roster) -> Vec<Arc<Export>> {
    let all = roster.exports();
    all.iter().filter(|export| export.address.from != host("h10")).cloned().collect()
}

proptest! {
    #[test]
    fn any_order_of_changes_gives_what_a_complete_read_gives(
        histories in any_history(),
        mix in prop::collection::vec(0..32usize, 0..40),
        batch in 1..6usize,
    ) {
        let (played, snapshot) = play(&histories, &mix, batch);
        let mut read = Roster::default();
        read.replace("", snapshot);
        prop_assert_eq!(settled(&played), settled(&read));
    }

    #[test]
    fn a_change_is_reported_exactly_when_the_exports_differ(
        histories in any_history(),
        mix in prop::collection::vec(0..32usize, 0..40),
    ) {
        let mut roster = Roster::default();
        let mut next = vec![0; histories.len()];
        for at in mix.iter().map(|at| at % histories.len()) {
            let (key, values) = &histories[at];
            let Some(value) = values.get(next[at]) else { continue };
            next[at] += 1;
            let before = roster.exports();
            let change = match value.clone() {
                Some(value) => Change::Put(entry(key.clone(), value, next[at] as i64)),
                None => Change::Delete { key: key.clone() },
            };
            let differs = roster.apply(vec![change]);
            prop_assert_eq!(differs, before != roster.exports());
        }
    }
}

fn summed(from: &str, generation: u64, names: &[&str]) -> Entry {
    let session = Session { instance: "i".into(), run: "r".into(), session: "s".into(), at: None };
    let mut sum = Sum::default();
    for name in names {
        let known = record(from, name, generation, Life::Session);
        let digest = record::decode("file", &known.value).digest.unwrap();
        sum.add(Sum::of(name, Life::Session, &digest));
    }
    let sets = BTreeMap::from([("default/file".to_owned(), sum.text())]);
    let said = Publisher::new(&session, generation).with_sets(names.len(), sets);
    entry(keys::publisher(&host(from)), said.encode(), 1)
}

#[test]
fn a_set_that_does_not_add_up_waits_and_the_previous_one_stays() {
    let mut roster = Roster::default();
    let one = |name| put(record("h1", name, 1, Life::Session));
    roster.apply(vec![put(presence("h1", "s")), put(summed("h1", 1, &["a", "b"])), one("a")]);
    assert_eq!(names(&roster), [""; 0]);
    assert!(roster.apply(vec![one("b")]));
    assert_eq!(names(&roster), ["h1:a", "h1:b"]);
    assert!(!roster.apply(vec![put(summed("h1", 1, &["b", "c"]))]), "what closes it came first");
    assert!(!roster.apply(vec![one("c")]));
    assert!(roster.apply(vec![Change::Delete { key: keys::record(&address("h1", "a")) }]));
    assert_eq!(names(&roster), ["h1:b", "h1:c"]);
}

#[test]
fn what_a_host_that_is_gone_left_incomplete_is_taken_only_when_that_is_said() {
    let mut roster = Roster::default();
    let forever = put(record("h1", "a", 1, Life::Permanent));
    roster.apply(vec![put(summed("h1", 1, &["a", "b"])), forever]);
    let open: Vec<(String, bool)> =
        roster.incomplete().map(|(host, present)| (host.to_string(), present)).collect();
    assert_eq!(open, [("h1".to_owned(), false)]);
    assert_eq!(names(&roster), [""; 0]);
    assert!(roster.accept(&host("h1")));
    assert_eq!(names(&roster), ["h1:a"]);
    assert_eq!(roster.incomplete().count(), 0);
}

#[test]
fn only_followed_slots_are_shown_and_count() {
    let mut roster = Roster::default();
    roster.follow(BTreeSet::from([Slot::new("default", "kv")]));
    assert!(!roster.apply(vec![put(presence("h1", "s")), put(summed("h1", 1, &["a"]))]));
    assert_eq!(roster.incomplete().count(), 0, "files are not followed");
    roster.follow(BTreeSet::from([Slot::new("default", "file")]));
    assert_eq!(roster.incomplete().count(), 1);
    assert!(roster.apply(vec![put(record("h1", "a", 1, Life::Session))]));
    assert_eq!(names(&roster), ["h1:a"]);
    assert!(roster.follow(BTreeSet::new()));
    assert_eq!(names(&roster), [""; 0]);
}
