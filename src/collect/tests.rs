//! Claims about the whole way: what one host publishes goes through the store's keys and bytes, the
//! roster and the rules of another host, whatever else lies in the store.

use proptest::prelude::*;

use super::publish::{Own, Published, Session, plan};
use super::record::{Life, Presence, Publisher, Record};
use super::roster::Roster;
use super::*;
use crate::diag::Span;
use crate::spec::{CollectRule, Program, Value};
use crate::store::{Change, Entry, Op};

fn host(name: &str) -> HostName {
    HostName::parse(name).unwrap()
}

fn entry(key: String, value: Vec<u8>) -> Change {
    Change::Put(Entry { key, value, revision: 1, lease: None })
}

fn file(name: &str, path: &str) -> Published {
    let fields = [("path", path), ("content", "i am it")]
        .map(|(name, text)| (name.to_owned(), Value::Str(text.to_owned())));
    Published::plain(DEFAULT_CHANNEL, "file", name, fields.into_iter().collect())
}

/// What the store holds after `from` published this.
fn published(from: &str, exports: &[Published]) -> Vec<Change> {
    let session = Session { instance: "i".into(), run: "r".into(), session: "s".into(), at: None };
    let plan = plan(&host(from), &Own::default(), exports, &session);
    let mut changes = vec![entry(keys::presence(&host(from)), Presence::new("i", "s").encode())];
    for op in plan.txns.into_iter().flat_map(|txn| txn.then) {
        match op {
            Op::Put { key, value, .. } => changes.push(entry(key, value)),
            Op::Delete { key } => changes.push(Change::Delete { key }),
        }
    }
    changes
}

fn collected(roster: &Roster, pattern: Option<&str>) -> Collection {
    let rule = CollectRule::Legacy {
        kind: "file".to_owned(),
        pattern: pattern.map(str::to_owned),
        span: Span::default(),
    };
    run(&roster.exports(), &[rule], &host("lb1"), &Program::default(), &[])
}

#[test]
fn a_name_with_a_slash_goes_the_whole_way() {
    let mut roster = Roster::default();
    let changes = published("h1", &[file("/tmp/x", "/tmp/x")]);
    let keys: Vec<&str> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Put(entry) => Some(entry.key.as_str()),
            Change::Delete { .. } => None,
        })
        .collect();
    assert!(keys.contains(&"/quorate/1/x/default/file/h1/%2Ftmp%2Fx"), "A12: {keys:?}");
    roster.apply(changes);
    let collection = collected(&roster, None);
    assert_eq!(collection.messages, [""; 0], "D1");
    assert_eq!(collection.resources[0].id, ResourceId::new("file", "/tmp/x"));
    assert_eq!(collection.resources[0].from, [host("h1")]);
}

/// Keys near those of the exchange, and bytes near those of records.
fn any_garbage() -> impl Strategy<Value = Change> {
    let key = prop_oneof![
        "/quorate/1/x/default/file/(bad|h[1-3]|-)/[a-z%2F.]{0,5}",
        "/quorate/1/(x|xo|s)(/[a-z]{0,4}){0,5}",
        "(?s).{0,30}",
    ];
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        "\\{\"v\":[0-9]{1,3}(,\"gen\":[0-9]{1,20})?\\}".prop_map(String::into_bytes),
        (0..9u64).prop_map(|generation| {
            let fields = Fields::from([("path".to_owned(), Value::Str("/etc/x".to_owned()))]);
            let life = Life::Permanent;
            record::encode(
                "file",
                &Record {
                    generation,
                    session: "x".into(),
                    life,
                    fields,
                    labels: BTreeMap::new(),
                    to: crate::spec::HostSelector::everybody(),
                    seal: None,
                },
            )
        }),
        (0..9u64).prop_map(|generation| {
            let session =
                Session { instance: "x".into(), run: "x".into(), session: "x".into(), at: None };
            Publisher::new(&session, generation).encode()
        }),
    ];
    prop_oneof![
        5 => (key.clone(), bytes).prop_map(|(key, bytes)| entry(key, bytes)),
        1 => key.prop_map(|key| Change::Delete { key }),
    ]
}

proptest! {
    #[test]
    fn no_garbage_in_the_store_stops_a_good_exporter(
        garbage in prop::collection::vec(any_garbage(), 0..30),
        at in 0..30usize,
        pattern in prop::option::of(Just("/srv/")),
    ) {
        let good = published("good", &[file("kept", "/good/kept"), file("/good/b", "/good/b")]);
        let mut alone = Roster::default();
        alone.apply(good.clone());
        let wanted = collected(&alone, pattern).resources;
        prop_assert_eq!(wanted.len(), 2);
        let mut roster = Roster::default();
        for (number, change) in garbage.into_iter().enumerate() {
            if number == at {
                roster.apply(good.clone());
            }
            roster.apply(vec![change]);
        }
        roster.apply(good);
        let collection = collected(&roster, pattern);
        for one in &wanted {
            prop_assert!(collection.resources.contains(one), "{:?}", collection.messages);
        }
    }
}
