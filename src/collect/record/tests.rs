//! Claims about records: what is written is read back, and nothing else is taken for a record.

use proptest::prelude::*;

use super::*;
use crate::spec::rule::{LabelTest, Matcher};

pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        "(?s).{0,12}".prop_map(Value::Str),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::btree_map("(?s).{0,6}", inner, 0..4).prop_map(Value::Map),
        ]
    })
}

fn sample() -> Record {
    let fields = [("path", "/tmp/x"), ("content", "{{ 7*7 }}\n")]
        .map(|(name, text)| (name.to_owned(), Value::Str(text.to_owned())));
    Record {
        generation: 17,
        session: "s-1".into(),
        life: Life::Session,
        fields: fields.into_iter().collect(),
        labels: BTreeMap::new(),
        to: HostSelector::everybody(),
        seal: None,
    }
}

fn any_matcher() -> impl Strategy<Value = Matcher> {
    let leaf = prop_oneof![
        ".{0,6}".prop_map(Matcher::Is),
        ".{0,6}".prop_map(Matcher::Glob),
        ".{0,6}".prop_map(Matcher::Regex),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Matcher::Any),
            inner.prop_map(|one| Matcher::Not(Box::new(one))),
        ]
    })
}

fn any_selector() -> impl Strategy<Value = HostSelector> {
    let test = prop_oneof![
        any::<bool>().prop_map(LabelTest::Exists),
        any_matcher().prop_map(LabelTest::Matches),
    ];
    prop_oneof![
        Just(HostSelector::everybody()),
        prop::collection::vec("[a-z][a-z*]{0,3}", 0..3).prop_map(HostSelector::Names),
        prop::collection::btree_map("[a-z]{1,4}", test, 0..3).prop_map(HostSelector::Labels),
    ]
}

#[test]
fn a_record_with_labels_or_for_some_hosts_has_a_form_that_older_agents_refuse() {
    let to = HostSelector::Names(vec!["lb*".into()]);
    let labels = BTreeMap::from([("role".to_owned(), "web".to_owned())]);
    let record = Record { labels: labels.clone(), to: to.clone(), ..sample() };
    let text = String::from_utf8(encode("file", &record)).unwrap();
    assert!(text.starts_with(r#"{"v":2,"schema":"file@1","#), "{text}");
    assert!(text.contains(r#""labels":{"role":"web"},"to":{"names":["lb*"]},"#), "{text}");
    let decoded = decode("file", text.as_bytes());
    assert_eq!((decoded.labels, decoded.to), (labels, to));
    for (from, into) in [("web", "db"), ("lb*", "*"), (r#""labels""#, r#""lables""#)] {
        let decoded = decode("file", text.replacen(from, into, 1).as_bytes());
        assert!(matches!(decoded.content, Content::Broken(_)), "{from} -> {into}");
    }
    let without = digest(&sample().fields);
    assert_ne!(decode("file", text.as_bytes()).digest, Some(without), "terms count as a change");
}

fn edited(edit: impl FnOnce(&mut serde_json::Map<String, Json>)) -> Decoded {
    let mut map = serde_json::from_slice(&encode("file", &sample())).unwrap();
    edit(&mut map);
    decode("file", &serde_json::to_vec(&map).unwrap())
}

#[test]
fn a_record_has_one_form() {
    let text = String::from_utf8(encode("file", &sample())).unwrap();
    let wanted = concat!(
        r#"{"v":1,"schema":"file@1","life":"session","session":"s-1","gen":17,"#,
        r#""fields":{"content":"{{ 7*7 }}\n","path":"/tmp/x"},"#,
        r#""digest":"sha256:b87d96ce29a844499d9c22f00b4e75cb37fd2bebc42188edfcd581d31af9e9eb"}"#,
    );
    assert_eq!(text, wanted);
}

#[test]
fn what_is_newer_is_unknown_and_not_broken() {
    assert_eq!(decode("file", b"{\"v\":9}").content, Content::Unknown("record version 9".into()));
    let newer = edited(|map| drop(map.insert("schema".into(), "file@3".into())));
    assert_eq!(newer.content, Content::Unknown("schema file@3".into()));
    assert_eq!(newer.generation, 17, "a generation counts even when the fields mean nothing here");
}

#[test]
fn what_is_not_our_form_is_broken_and_says_why() {
    let cases: [(&str, Decoded); 12] = [
        ("not a JSON object", decode("file", b"")),
        ("not a JSON object", decode("file", b"[1]")),
        ("no version", decode("file", b"{}")),
        ("no version", edited(|map| drop(map.insert("v".into(), "1".into())))),
        ("at most 65536", decode("file", &vec![b' '; RECORD_BYTES_MAX + 1])),
        ("unknown key `to`", edited(|map| drop(map.insert("to".into(), "h2".into())))),
        ("no text `session`", edited(|map| drop(map.remove("session")))),
        ("no generation", edited(|map| drop(map.insert("gen".into(), u64::MAX.into())))),
        ("no lifetime", edited(|map| drop(map.insert("life".into(), "10m".into())))),
        ("no fields", edited(|map| drop(map.insert("fields".into(), Json::Null)))),
        ("digest is not", edited(|map| drop(map.insert("digest".into(), "sha256:00".into())))),
        ("none of file", edited(|map| drop(map.insert("schema".into(), "exec@1".into())))),
    ];
    for (wanted, decoded) in cases {
        match decoded.content {
            Content::Broken(why) => assert!(why.contains(wanted), "{why:?} lacks {wanted:?}"),
            other => panic!("{wanted}: {other:?}"),
        }
    }
}

#[test]
fn numbers_that_are_not_whole_and_nulls_are_broken() {
    for bad in ["1.5", "null", "9223372036854775808", "[null]", "{\"a\":1e400}"] {
        let text = String::from_utf8(encode("file", &sample())).unwrap();
        let text = text.replace("\"/tmp/x\"", bad);
        assert!(matches!(decode("file", text.as_bytes()).content, Content::Broken(_)), "{bad}");
    }
}

#[test]
fn another_hosts_text_cannot_break_our_lines() {
    assert_eq!(shown("a\nb\u{1b}[2J"), "a\u{fffd}b\u{fffd}[2J");
    assert_eq!(shown(&"x".repeat(500)).chars().count(), 81);
}

#[test]
fn publishers_and_presences_survive_their_bytes() {
    let session = Session { instance: "i".into(), run: "r".into(), session: "s".into(), at: None };
    let publisher =
        Publisher::new(&session, 4).with_sets(1, [("default/file".into(), "0".into())].into());
    assert_eq!(Publisher::decode(&publisher.encode()), Some(publisher));
    assert_eq!(Publisher::decode(b"{\"v\":2}"), None);
    let presence = Presence::new("i", "s");
    assert_eq!(Presence::decode(&presence.encode()), Some(presence));
    assert_eq!(Presence::decode(b"\xff"), None);
}

proptest! {
    #[test]
    fn every_record_survives_its_bytes(
        fields in prop::collection::btree_map("(?s).{0,8}", any_value(), 0..6),
        generation in 0..GENERATION_MAX,
        permanent: bool,
        labels in prop::collection::btree_map("[a-z]{1,4}", ".{0,6}", 0..3),
        to in any_selector(),
    ) {
        let life = if permanent { Life::Permanent } else { Life::Session };
        let (session, fields) = ("s".into(), fields.into());
        let record = Record { generation, session, life, fields, labels, to, seal: None };
        let decoded = decode("file", &encode("file", &record));
        prop_assert_eq!(decoded.content, Content::Fields(record.fields));
        prop_assert_eq!((decoded.labels, decoded.to), (record.labels, record.to));
        prop_assert_eq!((decoded.generation, decoded.life), (generation, life));
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decode("file", &bytes);
        Publisher::decode(&bytes);
        Presence::decode(&bytes);
    }

    #[test]
    fn no_damage_to_a_record_makes_decoding_panic_or_change_its_fields(
        at in 0..200usize, byte: u8, cut in 0..200usize,
    ) {
        let mut bytes = encode("file", &sample());
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Content::Fields(fields) = decode("file", &bytes).content {
            prop_assert_eq!(fields, sample().fields);
        }
        bytes.truncate(cut);
        decode("file", &bytes);
    }
}
