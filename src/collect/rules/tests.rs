//! The story's experiments and the acceptance rows of legacy rules, on the pure collector.

use proptest::prelude::*;

use super::*;
use crate::collect::{Address, Content};
use crate::diag::Span;
use crate::ident::ResourceId;
use crate::kind::file::result_path;
use crate::spec::{Export as Marked, Fields, HostSelector, ResourceSpec, Value};

fn host(name: &str) -> HostName {
    HostName::parse(name).unwrap()
}

fn fields(pairs: &[(&str, &str)]) -> Fields {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), Value::Str((*v).to_owned()))).collect()
}

fn with_content(from: &str, kind: &str, name: &str, content: Content) -> Arc<Export> {
    let address = Address {
        channel: DEFAULT_CHANNEL.to_owned(),
        kind: kind.to_owned(),
        from: host(from),
        name: name.to_owned(),
    };
    let (labels, to) = (BTreeMap::new(), HostSelector::everybody());
    Arc::new(Export { address, content, revision: 1, labels, to })
}

fn export(from: &str, name: &str, pairs: &[(&str, &str)]) -> Arc<Export> {
    with_content(from, "file", name, Content::Fields(fields(pairs)))
}

fn rule(kind: &str, pattern: &str) -> CollectRule {
    let pattern = Some(pattern.to_owned());
    CollectRule::Legacy { kind: kind.to_owned(), pattern, span: Span::default() }
}

fn plain(kind: &str) -> CollectRule {
    CollectRule::Legacy { kind: kind.to_owned(), pattern: None, span: Span::default() }
}

fn spec(name: &str, pairs: &[(&str, &str)], export: Option<Marked>) -> ResourceSpec {
    ResourceSpec {
        id: ResourceId::new("file", name),
        fields: fields(pairs),
        meta: Arc::default(),
        receives: BTreeMap::new(),
        export,
        hosts: None,
        span: Span::default(),
        field_spans: Vec::new(),
    }
}

fn local(resources: Vec<ResourceSpec>) -> Program {
    Program { name: "site".to_owned(), resources, ..Program::default() }
}

fn collect(exports: &[Arc<Export>], rules: &[CollectRule]) -> Collection {
    run(exports, rules, &host("lb1"), &Program::default(), &[])
}

fn path_of(collected: &Collected) -> String {
    result_path(collected.id.name(), &collected.fields)
}

fn paths(collection: &Collection) -> Vec<String> {
    collection.resources.iter().map(path_of).collect()
}

fn ids(collection: &Collection) -> Vec<String> {
    collection.resources.iter().map(|collected| collected.id.to_string()).collect()
}

/// S6: what the story's author exported.
fn superposition() -> Vec<Arc<Export>> {
    let mut all = vec![export("h1", "filea", &[("path", "/tmp/mgmtA/fA"), ("content", "a")])];
    for letter in ["a", "b", "c", "d", "e"] {
        let path = format!("/tmp/mgmt{}/", letter.to_uppercase());
        all.push(export("h1", &format!("dir_{letter}"), &[("path", &path), ("state", "exists")]));
    }
    all
}

#[test]
fn a_pattern_gives_the_paths_that_it_always_gave() {
    type Pairs<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&str, &str, Pairs<'_>, &str); 14] = [
        ("S1", "filea", &[("path", "/tmp/mgmtA/fA")], "/tmp/mgmtA/fA"),
        ("S2", "dir_a", &[("path", "/tmp/mgmtA/")], "/tmp/mgmtA/mgmtA/"),
        ("S3", "a", &[("path", "/tmp/x")], "/tmp/mgmtA/x"),
        ("S4", "a", &[("path", "/tmp/xy/z")], "/tmp/mgmtA/z"),
        ("S5", "a", &[("path", "/path/to/a/hidden/dir")], "/tmp/mgmtA/dir"),
        ("S9", "filea", &[], "/tmp/mgmtA/filea"),
        ("S10", "a", &[("path", "/")], "/tmp/mgmtA//"),
        ("S10", "a", &[("path", "/a/..")], "/tmp/mgmtA/"),
        ("S10", "a", &[("path", "/a//b/")], "/tmp/mgmtA/b/"),
        ("S10", "a", &[("path", "/a/.")], "/tmp/mgmtA/a"),
        ("S10", "a", &[("path", "rel/f")], "/tmp/mgmtA/f"),
        ("S11", "a", &[("path", "/tmp/x"), ("basename", "zz")], "/tmp/mgmtA/zz"),
        ("S11", "a", &[("path", "/tmp/x"), ("dirname", "/o/")], "/tmp/mgmtA/x"),
        ("A12", "/tmp/x", &[], "/tmp/mgmtA/x"),
    ];
    for (row, name, given, wanted) in cases {
        let collection = collect(&[export("h1", name, given)], &[rule("file", "/tmp/mgmtA/")]);
        assert_eq!(paths(&collection), [wanted], "{row} {given:?}");
        assert!(collection.held.is_empty() && collection.messages.is_empty(), "{row}");
    }
}

#[test]
fn without_a_pattern_the_exporters_path_stays() {
    for rules in [[plain("file")], [rule("file", "")]] {
        let exports = [
            export("h1", "/tmp/x", &[("content", "a")]),
            export("h1", "b", &[("path", "/tmp/b"), ("basename", "c")]),
        ];
        assert_eq!(paths(&collect(&exports, &rules)), ["/tmp/x", "/tmp/c"]);
    }
}

#[test]
fn one_rule_takes_the_whole_superposition() {
    let collection = collect(&superposition(), &[rule("file", "/tmp/mgmtA/")]);
    let wanted = ["mgmtA/", "mgmtB/", "mgmtC/", "mgmtD/", "mgmtE/", "fA"];
    assert_eq!(paths(&collection), wanted.map(|last| format!("/tmp/mgmtA/{last}")));
    assert!(collection.held.is_empty());
}

#[test]
fn a_local_directory_stays_beside_what_is_collected_into_it() {
    let mut exports = superposition();
    exports.retain(|export| export.address.name != "dir_a");
    let local = local(vec![spec("dir_a", &[("path", "/tmp/mgmtA/"), ("state", "exists")], None)]);
    let collection = run(&exports, &[rule("file", "/tmp/mgmtA/")], &host("h1"), &local, &[]);
    let wanted = ["mgmtB/", "mgmtC/", "mgmtD/", "mgmtE/", "fA"];
    assert_eq!(paths(&collection), wanted.map(|last| format!("/tmp/mgmtA/{last}")), "S7, A10");
    assert!(collection.held.is_empty(), "{:?}", collection.held);
}

#[test]
fn every_host_gets_all_exports_its_own_included() {
    let hosts = ["A", "B", "C"];
    let mut exports = Vec::new();
    let mut locals = Vec::new();
    for letter in hosts {
        let small = letter.to_lowercase();
        let hidden = || Some(Marked { hidden: true, ..Marked::default() });
        let mut resources = Vec::new();
        for number in [1, 2] {
            let path = format!("/tmp/mgmt{letter}/f{number}{small}");
            resources.push(spec(&format!("file{number}{small}"), &[("path", &path)], None));
            let (name, path) =
                (format!("file{}{small}", number + 2), format!("/tmp/x/f{}{small}", number + 2));
            resources.push(spec(&name, &[("path", &path)], hidden()));
            exports.push(export(&small, &name, &[("path", &path)]));
        }
        locals.push(local(resources));
    }
    for (letter, local) in hosts.iter().zip(&locals) {
        let pattern = format!("/tmp/mgmt{letter}/");
        let me = host(&letter.to_lowercase());
        let collection = run(&exports, &[rule("file", &pattern)], &me, local, &[]);
        let wanted = ["f3a", "f3b", "f3c", "f4a", "f4b", "f4c"];
        assert_eq!(paths(&collection), wanted.map(|last| format!("{pattern}{last}")), "S8, A16");
        assert!(collection.held.is_empty(), "{:?}", collection.held);
        let from: Vec<&str> =
            collection.resources.iter().map(|collected| collected.from[0].as_str()).collect();
        assert_eq!(from, ["a", "b", "c", "a", "b", "c"]);
    }
}

#[test]
fn what_leaves_the_patterns_directory_is_refused_and_nothing_else() {
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&[("basename", "../../etc/cron.d/x")], "/tmp/mgmtA/../../etc/cron.d/x"),
        (&[("path", "..")], "/tmp/mgmtA/.."),
        (&[("basename", "link/../x")], "/tmp/mgmtA/link/../x"),
        (&[("basename", "..")], "/tmp/mgmtA/.."),
    ];
    for (given, path) in cases {
        let exports = [export("h1", "a", given), export("h1", "b", &[("path", "/tmp/b")])];
        let collection = collect(&exports, &[rule("file", "/tmp/mgmtA/")]);
        let wanted = format!("XC04 file[a] from h1: {path} leaves /tmp/mgmtA/; refused");
        assert_eq!(collection.messages, [wanted], "S12, A13");
        assert_eq!(collection.held[0].code, Code::Xc04);
        assert_eq!(paths(&collection), ["/tmp/mgmtA/b"]);
    }
}

#[test]
fn an_invalid_pattern_takes_nothing_and_is_named() {
    for (pattern, why) in [("/tmp/mgmtA", "must end in \"/\""), ("tmp/", "must start with \"/\"")] {
        let exports = [export("h1", "a", &[("path", "/tmp/x")])];
        let collection = collect(&exports, &[rule("file", pattern)]);
        assert!(collection.resources.is_empty(), "S13");
        let wanted = format!("XC10 collect[0]: pattern {why}; rule takes nothing");
        assert_eq!(collection.messages, [wanted], "A14");
    }
}

#[test]
fn the_last_pattern_of_a_kind_wins_with_a_warning() {
    let exports = [export("h1", "a", &[("path", "/tmp/f")])];
    let warned = ["XC11 legacy rules for file: last pattern /y/ wins"];
    let (x, y) = (rule("file", "/x/"), rule("file", "/y/"));
    let cases: [(Vec<CollectRule>, &[&str]); 5] = [
        (vec![x.clone(), y.clone()], &warned),
        (vec![x, y.clone(), plain("file")], &warned),
        (vec![plain("file"), y.clone()], &warned),
        (vec![y.clone(), y.clone()], &[]),
        (vec![y, plain("noop")], &[]),
    ];
    for (rules, messages) in cases {
        let collection = collect(&exports, &rules);
        assert_eq!(paths(&collection), ["/y/f"], "S14, A11");
        assert_eq!(collection.messages, messages, "{rules:?}");
    }
}

#[test]
fn powerful_kinds_are_refused_even_our_own() {
    let exec = |from| with_content(from, "exec", "x", Content::Fields(fields(&[("cmd", "id")])));
    for from in ["h1", "lb1"] {
        let collection =
            collect(&[exec(from), export("h1", "/tmp/x", &[])], &[plain("exec"), plain("file")]);
        let wanted = format!(
            "XC06 exec[x] from {from}: exec needs allow: [power], which only a full rule can say; \
             refused"
        );
        assert_eq!(collection.messages, [wanted], "A15");
        assert_eq!(ids(&collection), ["file[/tmp/x]"]);
    }
}

#[test]
fn only_the_rules_kind_and_the_default_channel_are_taken() {
    let mut elsewhere = Export::clone(&export("h1", "/tmp/e", &[]));
    elsewhere.address.channel = "other".to_owned();
    let exports = [
        export("h1", "/tmp/x", &[]),
        Arc::new(elsewhere),
        with_content("h1", "noop", "n", Content::Fields(Fields::new())),
    ];
    assert_eq!(ids(&collect(&exports, &[plain("file")])), ["file[/tmp/x]"]);
    assert_eq!(ids(&collect(&exports, &[plain("noop")])), ["noop[n]"]);
    assert_eq!(collect(&exports, &[]), Collection::default());
}

#[test]
fn equal_exports_of_two_hosts_are_one_resource_from_both() {
    let motd = [("path", "/etc/motd"), ("content", "hi")];
    let collection =
        collect(&[export("web2", "motd", &motd), export("web1", "motd", &motd)], &[plain("file")]);
    assert_eq!(ids(&collection), ["file[motd]"], "D1");
    assert_eq!(collection.resources[0].from, [host("web1"), host("web2")]);
    assert!(collection.messages.is_empty());
}

#[test]
fn different_exports_of_one_name_are_held_and_the_rest_is_taken() {
    let motd = |from, content| export(from, "motd", &[("path", "/etc/motd"), ("content", content)]);
    let exports =
        [motd("web2", "two"), motd("web1", "one"), export("web1", "/tmp/x", &[("content", "")])];
    let collection = collect(&exports, &[plain("file")]);
    let wanted = ["XC01 file[motd]: web1, web2 differ in content; held"];
    assert_eq!(ids(&collection), ["file[/tmp/x]"], "D2");
    assert_eq!(collection.messages, wanted);
    assert!(collection.held[0].code.degrades());

    let before = collect(&[motd("web1", "one")], &[plain("file")]).resources;
    let me = host("lb1");
    let kept = run(&exports, &[plain("file")], &me, &Program::default(), &before);
    assert_eq!(ids(&kept), ["file[/tmp/x]", "file[motd]"], "D3: what was applied stays");
    assert_eq!(kept.resources[1], before[0]);
    assert_eq!(kept.messages, wanted);
    let gone = [motd("web2", "two"), motd("web3", "three")];
    let none = run(&gone, &[plain("file")], &me, &Program::default(), &before);
    assert!(none.resources.is_empty(), "nobody says any more what was applied");
}

#[test]
fn a_local_resource_wins_over_a_collected_one() {
    let pairs = [("path", "/etc/motd"), ("content", "local")];
    let given =
        |from, content| export(from, "motd", &[("path", "/etc/motd"), ("content", content)]);
    let exports = [given("web1", "theirs"), given("web2", "local"), given("lb1", "old")];
    let local = local(vec![spec("motd", &pairs, None)]);
    let me = host("lb1");
    let collection = run(&exports, &[plain("file")], &me, &local, &[]);
    assert!(collection.resources.is_empty());
    assert_eq!(collection.messages, ["XC02 file[motd]: local resource wins over web1"], "D5");
    let equal = run(&exports[1..], &[plain("file")], &me, &local, &[]);
    assert_eq!(equal, Collection::default(), "equal ones and our own need no word");
}

#[test]
fn two_names_for_one_target_are_both_held() {
    let (a, b) =
        (export("h1", "a", &[("path", "/srv/x")]), export("h2", "b", &[("path", "/srv//x")]));
    let collection = collect(&[b.clone(), a.clone()], &[plain("file")]);
    assert!(collection.resources.is_empty());
    assert_eq!(collection.messages, ["XC03 file[a], file[b]: same target /srv/x; held"], "D6");
    assert_eq!(collection.held.len(), 2);

    let me = host("lb1");
    let before = collect(std::slice::from_ref(&a), &[plain("file")]).resources;
    let kept = run(&[a, b.clone()], &[plain("file")], &me, &Program::default(), &before);
    assert_eq!(ids(&kept), ["file[a]"]);

    let local = local(vec![spec("a", &[("path", "/srv/x")], None)]);
    let collection = run(&[b], &[plain("file")], &me, &local, &[]);
    assert!(collection.resources.is_empty());
    let wanted = "XC03 file[b]: same target /srv/x as local file[a]; held";
    assert_eq!(collection.messages, [wanted], "D7");
}

#[test]
fn what_this_agent_does_not_understand_holds_only_itself() {
    let list = Value::List(vec![]);
    let typed = Fields::from([("content".to_owned(), list)]);
    let exports = [
        export("h1", "/tmp/x", &[]),
        export("h1", "a", &[("path", "/a"), ("colour", "red")]),
        with_content("h1", "file", "b", Content::Fields(typed)),
        with_content("h1", "warp", "c", Content::Fields(Fields::new())),
        with_content("h1", "file", "d", Content::Unknown("record version 9".into())),
        with_content("h1", "file", "e", Content::Broken("the record has no fields".into())),
    ];
    let collection = collect(&exports, &[plain("file")]);
    assert_eq!(ids(&collection), ["file[/tmp/x]"]);
    let wanted = [
        "XC07 file[a] from h1: unknown field colour; held",
        "XC07 file[b] from h1: field content wants text, got a list; held",
        "XC07 file[e] from h1: the record has no fields; held",
        "XC12 file[d] from h1: record version 9 is unknown here; ignored",
        "XC12 warp[c] from h1: unknown kind; ignored",
    ];
    assert_eq!(collection.messages, wanted, "D8");
}

#[test]
fn fields_that_make_no_resource_are_held_with_the_kinds_reason() {
    let collection = collect(&[export("h1", "a", &[("path", "relative")])], &[plain("file")]);
    assert_eq!(collection.held[0].code, Code::Xc07);
    assert!(collection.messages[0].contains("is not absolute"), "{:?}", collection.messages);
}

#[test]
fn another_hosts_names_cannot_break_a_message() {
    let exports = [with_content("h1", "file", "a\nXC99 \u{1b}[2J", Content::Broken("no".into()))];
    let messages = collect(&exports, &[plain("file")]).messages;
    assert!(!messages[0].chars().any(char::is_control), "{messages:?}");
}

fn any_export() -> impl Strategy<Value = Arc<Export>> {
    let name = prop_oneof![Just("a"), Just("b"), Just("/tmp/x"), Just("")];
    let kind = prop_oneof![3 => Just("file"), 1 => Just("exec"), 1 => Just("warp")];
    let content = prop_oneof![
        4 => ("(/[ab]{1,2}){0,3}/?", "[ab]?", any::<bool>()).prop_map(|(path, content, base)| {
            let mut fields = fields(&[("path", &path), ("content", &content)]);
            if base {
                fields.insert("basename", Value::Str("../x".into()));
            }
            Content::Fields(fields)
        }),
        1 => "(?s).{0,20}".prop_map(Content::Broken),
        1 => "(?s).{0,20}".prop_map(Content::Unknown),
        1 => prop::collection::btree_map("(?s).{0,4}", any::<i64>().prop_map(Value::Int), 0..3)
            .prop_map(|fields| Content::Fields(fields.into())),
    ];
    (prop_oneof![Just("h1"), Just("h2"), Just("h3")], kind, name, content)
        .prop_map(|(from, kind, name, content)| with_content(from, kind, name, content))
}

/// At most one export has an address, as in a roster.
fn one_per_address(exports: Vec<Arc<Export>>) -> Vec<Arc<Export>> {
    let mut by_address = BTreeMap::new();
    for export in exports {
        by_address.insert(export.address.clone(), export);
    }
    by_address.into_values().collect()
}

fn any_rules() -> impl Strategy<Value = Vec<CollectRule>> {
    let one = prop_oneof![
        Just(plain("file")),
        Just(rule("file", "/tmp/")),
        Just(rule("file", "/tmp")),
        Just(plain("exec")),
    ];
    prop::collection::vec(one, 0..4)
}

proptest! {
    #[test]
    fn the_order_of_exports_makes_no_difference(
        (first, second) in prop::collection::vec(any_export(), 0..12)
            .prop_map(one_per_address)
            .prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        rules in any_rules(),
    ) {
        prop_assert_eq!(collect(&first, &rules), collect(&second, &rules));
    }

    #[test]
    fn a_bad_exporter_never_stops_a_good_one(
        garbage in prop::collection::vec(any_export(), 0..12),
        rules in any_rules(),
    ) {
        let good = export("good", "kept", &[("path", "/good/place"), ("content", "good")]);
        let alone = collect(std::slice::from_ref(&good), &rules);
        let mut exports = one_per_address(garbage);
        exports.push(good);
        let together = collect(&exports, &rules);
        for wanted in &alone.resources {
            prop_assert!(together.resources.contains(wanted), "{:?}", together.messages);
        }
    }

    #[test]
    fn no_two_collected_resources_have_one_identity_or_one_target(
        exports in prop::collection::vec(any_export(), 0..12).prop_map(one_per_address),
        rules in any_rules(),
    ) {
        let collection = collect(&exports, &rules);
        let mut ids = ids(&collection);
        ids.dedup();
        prop_assert_eq!(ids.len(), collection.resources.len());
        let mut targets: Vec<String> =
            paths(&collection).iter().map(|path| crate::kind::file::clean(path)).collect();
        targets.sort();
        targets.dedup();
        prop_assert_eq!(targets.len(), collection.resources.len());
    }
}

#[test]
fn c7_a_legacy_rule_takes_nothing_that_reads_or_removes_files_of_this_host() {
    let source = export("h1", "/x/f", &[("source", "/etc/shadow")]);
    let mut tree = fields(&[("state", "absent")]);
    tree.insert("recurse".to_owned(), Value::Bool(true));
    let tree = with_content("h1", "file", "/x/d/", Content::Fields(tree));
    let collection = collect(&[source, tree], &[rule("file", "/tmp/mgmtA/")]);
    assert_eq!(paths(&collection), Vec::<String>::new());
    assert_eq!(
        collection.messages,
        [
            "XC06 file[/x/d/] from h1: recurse may remove files of this host; \
             needs allow: [remove], which only a full rule can say; refused",
            "XC06 file[/x/f] from h1: source reads files of this host; \
             needs allow: [local-source], which only a full rule can say; refused",
        ]
    );
}
