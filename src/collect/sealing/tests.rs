//! Claims about sealing: who opens what, what a hostile exporter achieves, and what shows.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::collect::policy::Policy;
use crate::collect::record::{Decoded, Life, Record, decode, encode};
use crate::collect::{Collection, Content, Site, run_at};
use crate::yaml;

const SECRET: &str = "correct-horse";

fn host(name: &str) -> HostName {
    HostName::parse(name).unwrap()
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::parse(&format!("x25519-seed:{}", format!("{seed:02x}").repeat(32))).unwrap()
}

/// lb1 has the key 1, lb2 the key 2; web1 seals by the key 9.
fn keys() -> Keys {
    let entry = |name: &str, seed| Entry {
        key: keys::seal_key(&host(name)),
        value: encode_key(seed),
        revision: 5,
        lease: None,
    };
    Keys::of(Snapshot { entries: vec![entry("lb1", 1), entry("lb2", 2)], revision: 5 })
}

fn encode_key(seed: u8) -> Vec<u8> {
    super::encode(&key(seed).public())
}

fn wanted(to: &[&str]) -> Published {
    let text = |text: &str| Value::Str(text.to_owned());
    let fields = Fields::from([("content", text(SECRET)), ("path", text("/etc/app"))]);
    let names = BTreeSet::from(["content".to_owned()]);
    Published {
        to: HostSelector::Names(to.iter().map(|name| (*name).to_owned()).collect()),
        sealing: Sealing::Wanted(names),
        ..Published::plain("default", "file", "app", fields)
    }
}

fn sealed(export: &Published) -> Published {
    let (from, key, keys) = (host("web1"), key(9), keys());
    Sealer { host: &from, key: &key, keys: &keys, since: None }.seal(export)
}

/// What web1 publishes, as collectors read it.
fn published(export: &Published) -> Decoded {
    let Sealing::Done(seal) = &export.sealing else { panic!("{:?}", export.sealing) };
    let record = Record {
        generation: 1,
        session: "s".to_owned(),
        life: Life::Session,
        fields: export.fields.clone(),
        labels: export.labels.clone(),
        to: export.to.clone(),
        seal: Some(seal.clone()),
    };
    decode("file", &encode("file", &record))
}

fn export(export: &Published) -> Export {
    let Decoded { content, labels, to, .. } = published(export);
    Export { address: export.address(&host("web1")), content, revision: 1, labels, to }
}

fn me(name: &str, seed: Option<u8>) -> Me {
    Me { key: seed.map(key).map(Arc::new), ..Me::new(host(name)) }
}

fn collect(me: &Me, export: Export, rule: &str) -> Collection {
    let text = format!("graph: g\nresources: {{}}\ncollect:\n- {rule}\n");
    let (program, found) = yaml::parse(&text);
    let program = program.unwrap_or_else(|| panic!("{found:?}"));
    let (hosts, policy) = (BTreeMap::new(), Policy::Absent);
    let site = Site { me, hosts: &hosts, policy: &policy, proved: None };
    run_at(&site, &[Arc::new(export)], &program.collect, &program, &[])
}

const RULE: &str = "{rule: r, kind: file, within: /}";

/// The only message, when nothing is taken.
fn refused(me: &Me, export: Export) -> String {
    let collection = collect(me, export, RULE);
    assert!(collection.resources.is_empty());
    collection.messages.concat()
}

fn text(collection: &Collection, field: &str) -> Option<String> {
    match collection.resources.first()?.fields.get(field)? {
        Value::Str(text) => Some(text.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn e8_hosts_that_it_is_sealed_to_take_it_and_others_are_told() {
    let one = export(&sealed(&wanted(&["lb1", "lb2"])));
    for (name, seed) in [("lb1", 1), ("lb2", 2)] {
        let collection = collect(&me(name, Some(seed)), one.clone(), RULE);
        assert_eq!(text(&collection, "content").as_deref(), Some(SECRET), "{name}");
        assert_eq!(text(&collection, "path").as_deref(), Some("/etc/app"), "{name}");
        assert_eq!(collection.messages, [""; 0]);
    }
    let lead = "XC13 file[app] from web1: ";
    for (me, wanted) in [
        (me("lb3", Some(3)), "sealed to 2 hosts, not to lb3; ignored"),
        (me("lb1", None), "sealed to 2 hosts, and opened nowhere else; ignored"),
        (me("lb1", Some(2)), "what is sealed to lb1 does not open with its key; ignored"),
    ] {
        assert_eq!(refused(&me, one.clone()), format!("{lead}{wanted}"));
    }
    let legacy = collect(&me("lb1", Some(1)), one, "{kind: file, pattern: /srv/}");
    assert_eq!(text(&legacy, "content").as_deref(), Some(SECRET));
}

#[test]
fn what_is_published_holds_nothing_of_what_was_sealed_and_the_same_again_is_the_same() {
    let export = wanted(&["lb1", "lb2"]);
    let first = sealed(&export);
    assert!(!format!("{first:?}").contains(SECRET), "{first:?}");
    assert_eq!(sealed(&export), first, "nothing is written anew");
    let digest = published(&first).digest;
    let mut other = export.clone();
    other.fields.insert("content", Value::Str("correct-horsf".to_owned()));
    assert_ne!(published(&sealed(&other)).digest, digest, "another secret");
    assert_ne!(published(&sealed(&wanted(&["lb1"]))).digest, digest, "fewer hosts");
    let (Sealing::Done(short), Sealing::Done(long)) = (sealed(&other).sealing, first.sealing)
    else {
        panic!("both are sealed")
    };
    assert_eq!(short.fields, long.fields);
}

#[test]
fn a_host_without_a_key_and_whoever_is_not_named_hold_it_back() {
    let waits = |to: &[&str]| match sealed(&wanted(to)) {
        Published { sealing: Sealing::Waits(why), fields, .. } => {
            assert!(!fields.contains_key("content"), "nothing open is left of it");
            why
        }
        other => panic!("{other:?}"),
    };
    let lead = "XE06 file[app]: ";
    assert_eq!(
        waits(&["lb1", "lb9"]),
        format!("{lead}lb9 has shown no key; held until it has one")
    );
    let two = waits(&["lb8", "lb9"]);
    assert_eq!(two, format!("{lead}lb8, lb9 have shown no keys; held until they do"));
    assert_eq!(waits(&["lb*"]), format!("{lead}lb* has shown no key; held until it has one"));
    assert_eq!(waits(&[]), format!("{lead}it is sealed to 0 hosts, 1 to 64 may be"));
    let (from, key, keys) = (host("web1"), key(9), keys());
    let since = Sealer { host: &from, key: &key, keys: &keys, since: Some(6) };
    let Sealing::Waits(why) = since.seal(&wanted(&["lb1"])).sealing else { panic!("sealed") };
    assert!(
        why.contains("lb1 has shown no key"),
        "anybody could have written the older one: {why}"
    );
}

#[test]
fn a_seal_that_was_copied_to_another_place_or_beside_other_fields_does_not_open() {
    let whole = export(&sealed(&wanted(&["lb1", "lb2"])));
    let Content::Sealed(content) = &whole.content else { panic!("{whole:?}") };
    let fails = |export: Export, why: &str| {
        let message = refused(&me("lb1", Some(1)), export);
        assert!(message.contains("does not open"), "{why}: {message}");
    };
    let at = |change: fn(&mut Address)| {
        let mut export = whole.clone();
        change(&mut export.address);
        export
    };
    fails(at(|address| address.name = "other".to_owned()), "another name");
    fails(at(|address| address.from = HostName::parse("web2").unwrap()), "another host");
    let mut elsewhere = Sealed::clone(content);
    elsewhere.open.insert("path", Value::Str("/srv/www/index.html".to_owned()));
    let content = Content::Sealed(Arc::new(elsewhere));
    fails(Export { content, ..whole.clone() }, "another path");
    let labels = BTreeMap::from([("role".to_owned(), "web".to_owned())]);
    fails(Export { labels, ..whole.clone() }, "another label");
}

/// A sealed export of these bytes, as a host that means no good could make it.
fn forged(names: &[&str], plain: &[u8]) -> Export {
    let export = sealed(&wanted(&["lb1"]));
    let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let open = without(&wanted(&["lb1"]), &BTreeSet::from(["content".to_owned()]));
    let address = export.address(&host("web1"));
    let recipients = BTreeMap::from([("lb1".to_owned(), key(1).public())]);
    let Lock { keys, bytes } =
        key(9).seal(&context(&address, &open, &names), plain, &recipients).unwrap();
    let keys = keys.into_iter().map(|(host, key)| (host, BASE64.encode(key))).collect();
    let (seal, bytes) = (Seal { fields: names, keys }, BASE64.encode(bytes));
    let content = Content::Sealed(Arc::new(Sealed { open: open.fields, seal, bytes }));
    Export { address, content, revision: 1, labels: BTreeMap::new(), to: export.to }
}

#[test]
fn what_a_hostile_exporter_seals_is_held_with_a_reason_that_does_not_quote_it() {
    for (names, plain, wanted) in [
        (&["content"][..], &b"secret garbage"[..], "what was sealed is not what the record names"),
        (&["content"], b"", "what was sealed is not what the record names"),
        (&["content"], b"[1]", "what was sealed is not what the record names"),
        (&["content"], b"{\"content\":1.5}", "what was sealed is not what the record names"),
        (&["content"], b"{\"mode\":\"4755\"}", "what was sealed is not what the record names"),
        (&["content"], b"{\"content\":[\"secret\"]}", "field content wants text, got a list"),
        (&["mode"], b"{\"mode\":\"4755\"}", "field mode may not be sealed"),
        (&["colour"], b"{\"colour\":\"secret\"}", "field colour may not be sealed"),
    ] {
        let message = refused(&me("lb1", Some(1)), forged(names, plain));
        assert!(message.starts_with("XC07 file[app] from web1: "), "{message}");
        assert!(message.contains(wanted) && !message.contains("secret"), "{message}");
    }
}

#[test]
fn templates_and_conditions_see_what_was_sealed_only_where_it_does_not_show() {
    let one = || export(&sealed(&wanted(&["lb1"])));
    let of = |rule: &str| collect(&me("lb1", Some(1)), one(), rule);
    let copied =
        of("{rule: r, kind: file, within: /, set: {content: \"key={{ fields.content }}\"}}");
    assert_eq!(text(&copied, "content").as_deref(), Some("key=correct-horse"));
    let undefined = "is undefined";
    for (rule, wanted) in [
        ("set: {path: \"/srv/{{ fields.content }}\"}", undefined),
        ("within: /, set: {mode: \"{{ fields.content }}\"}", undefined),
        ("within: /, as: {name: \"{{ fields.content }}\"}", undefined),
        ("within: /, set: {content: \"{{ fields.content.nothing.more }}\"}", "why is not told"),
    ] {
        let collection = of(&format!("{{rule: r, kind: file, {rule}}}"));
        let messages = collection.messages.concat();
        assert!(collection.resources.is_empty() && messages.contains("XC05"), "{rule}: {messages}");
        assert!(messages.contains(wanted) && !messages.contains(SECRET), "{rule}: {messages}");
    }
    for condition in ["{fields: {content: \"*\"}}", "{if: \"fields.content == 'correct-horse'\"}"] {
        let rule = format!("{{rule: r, kind: file, within: /, where: {condition}}}");
        assert!(of(&rule).resources.is_empty(), "{condition}");
    }
    let gathered = of("{rule: r, kind: file, within: /, gather: {kind: file, name: all, path: \
                       /srv/all, content: \"{% for e in exports %}{{ e.fields.content }}{% endfor \
                       %}\"}}");
    assert_eq!(text(&gathered, "content").as_deref(), Some(SECRET));
}

#[test]
fn what_was_opened_shows_in_no_explanation_and_in_no_debug_output() {
    let me = me("lb1", Some(1));
    let text = "graph: g\nresources: {}\ncollect:\n- rule: r\n  kind: file\n  within: /\n  set: \
                {content: \"{{ fields.content }}!\"}\n";
    let program = yaml::parse(text).0.unwrap();
    let (hosts, policy) = (BTreeMap::new(), Policy::Absent);
    let site = Site { me: &me, hosts: &hosts, policy: &policy, proved: None };
    let exports = [Arc::new(export(&sealed(&wanted(&["lb1"]))))];
    let all = crate::collect::explain::explain(&site, &exports, &program.collect, &program, &[]);
    let shown = crate::collect::explain::text(&all, true);
    assert!(shown.contains("sealed") && shown.contains("content, sealed to 1 host"), "{shown}");
    assert!(shown.contains("content: not told, since fields are sealed"), "{shown}");
    let collection = run_at(&site, &exports, &program.collect, &program, &[]);
    let compiled = crate::graph::compile(&program, &collection.resources).unwrap();
    let document = crate::collect::offline::write(&exports);
    for shown in [
        shown,
        format!("{collection:?} {site:?} {exports:?}"),
        format!("{:?}", compiled.graph.vertices.values().map(|one| &**one).collect::<Vec<_>>()),
        document.clone(),
    ] {
        assert!(!shown.contains(SECRET), "{shown}");
    }
    let tried = crate::collect::offline::parse(&document).unwrap();
    let offline = collect(&Me::new(host("lb1")), Export::clone(&tried.exports[0]), RULE);
    assert!(offline.messages.concat().contains("opened nowhere else"), "{offline:?}");
}

type Change<'a> = &'a dyn Fn(&mut Record);

#[test]
fn records_that_say_plainly_what_is_sealed_and_for_whom_come_back_and_others_are_broken() {
    let whole = sealed(&wanted(&["lb1", "lb2"]));
    let Sealing::Done(seal) = whole.sealing.clone() else { panic!("it is sealed") };
    let write = |change: Change<'_>| {
        let mut record = Record {
            generation: 1,
            session: "s".to_owned(),
            life: Life::For(60),
            fields: whole.fields.clone(),
            labels: BTreeMap::new(),
            to: whole.to.clone(),
            seal: Some(seal.clone()),
        };
        change(&mut record);
        encode("file", &record)
    };
    let good = write(&|_| {});
    let bytes = String::from_utf8(good.clone()).unwrap();
    assert!(bytes.starts_with(r#"{"v":4,"#) && !bytes.contains(SECRET), "older agents refuse it");
    assert!(matches!(decode("file", &good).content, Content::Sealed(_)));
    let changes: [(&str, Change<'_>); 6] = [
        ("sealed and open", &|one| drop(one.fields.insert("content", Value::Bool(true)))),
        ("fields of the record are missing", &|one| drop(one.fields.remove(SEALED))),
        ("to others than it is for", &|one| one.to = HostSelector::everybody()),
        ("to others than it is for", &|one| one.to = HostSelector::Names(vec!["lb1".into()])),
        ("is not understood", &|one| one.seal.as_mut().unwrap().fields.clear()),
        ("is not understood", &|one| {
            one.seal.as_mut().unwrap().keys.insert("lb1".to_owned(), "x".repeat(1000));
        }),
    ];
    for (wanted, change) in changes {
        match decode("file", &write(change)).content {
            Content::Broken(why) => assert!(why.contains(wanted), "{why} lacks {wanted}"),
            other => panic!("{wanted}: {other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_damage_to_a_sealed_record_opens_or_makes_anything_panic(
        at in 0..4000usize, byte in b'!'..b'~', cut in 0..4000usize,
    ) {
        let whole = export(&sealed(&wanted(&["lb1"])));
        let Content::Sealed(content) = &whole.content else { panic!("it is sealed") };
        let damaged = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] = if bytes[at] == byte { b'!' } else { byte };
            String::from_utf8(bytes).unwrap()
        };
        let shorter = |text: &str| text[..cut % text.len()].to_owned();
        for damage in [&damaged as &dyn Fn(&str) -> String, &shorter] {
            let bytes = damage(&content.bytes);
            let one = Sealed { bytes, ..Sealed::clone(content) };
            let export = Export { content: Content::Sealed(Arc::new(one)), ..whole.clone() };
            prop_assert!(refused(&me("lb1", Some(1)), export).starts_with("XC13"));
            let mut one = Sealed::clone(content);
            let lock = damage(&one.seal.keys["lb1"]);
            one.seal.keys.insert("lb1".to_owned(), lock);
            let export = Export { content: Content::Sealed(Arc::new(one)), ..whole.clone() };
            prop_assert!(refused(&me("lb1", Some(1)), export).starts_with("XC13"));
        }
    }
}
