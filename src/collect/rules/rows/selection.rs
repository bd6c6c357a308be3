//! Rows B1 to B15: which exports a rule takes.

use super::*;

fn roles() -> Vec<Export> {
    vec![
        export("web1", "file[a]", &[("role", "web")], &[("path", "/etc/a")]),
        export("db1", "file[b]", &[("role", "db")], &[("path", "/etc/b")]),
    ]
}

#[test]
fn b1_a_name_takes_one_directory_at_its_own_path() {
    let found = files(superposition(), &["where: {name: dir_a}"]).run();
    assert_eq!(places(&found), [("file[dir_a]".to_owned(), "/tmp/mgmtA/".to_owned())]);
    assert_eq!(found.messages, Vec::<String>::new());
}

#[test]
fn b2_two_rules_take_different_resources_in_different_ways() {
    let rules = "collect:\n- {rule: r1, kind: file, within: /, where: {name: \"dir_*\"}}\n\
        - {rule: r2, kind: file, where: {name: \"file*\"}, into: /tmp/mgmtA/,\n   \
           after: [\"file[dir_a]\"]}\n";
    let found = site(superposition(), rules).run();
    let wanted = [
        ("file[dir_a]", "/tmp/mgmtA/"),
        ("file[dir_b]", "/tmp/mgmtB/"),
        ("file[dir_c]", "/tmp/mgmtC/"),
        ("file[dir_d]", "/tmp/mgmtD/"),
        ("file[dir_e]", "/tmp/mgmtE/"),
        ("file[filea]", "/tmp/mgmtA/fA"),
    ];
    assert_eq!(places(&found), wanted.map(|(id, path)| (id.to_owned(), path.to_owned())));
    let edges: Vec<_> = found.edges.iter().map(|one| (one.from.name(), one.to.name())).collect();
    assert_eq!(edges, [("dir_a", "filea")]);
}

#[test]
fn b2_the_order_follows_by_itself_from_the_paths() {
    let rules = "collect:\n- {kind: file, within: /, where: {name: \"dir_*\"}}\n\
        - {kind: file, where: {name: \"file*\"}, into: /tmp/mgmtA/}\n";
    let site = site(superposition(), rules);
    let compiled = crate::graph::compile(&site.program, &site.run().resources).unwrap();
    let edges: Vec<_> =
        compiled.graph.edges.keys().map(|(from, to)| (from.name(), to.name())).collect();
    assert_eq!(edges, [("dir_a", "filea")]);
}

#[test]
fn b3_a_label_may_be_one_of_several() {
    let found = files(roles(), &["where: {labels: {role: [web, cache]}}"]).run();
    assert_eq!(names(&found), ["a"]);
}

#[test]
fn b4_a_missing_label_matches_nothing_not_even_not() {
    let found = files(roles(), &["where: {labels: {tier: {not: x}}}"]).run();
    assert_eq!(names(&found), Vec::<&str>::new());
}

#[test]
fn b5_exists_false_asks_for_absence() {
    let found = files(roles(), &["where: {labels: {tier: {exists: false}}}"]).run();
    assert_eq!(names(&found), ["a", "b"]);
}

#[test]
fn b6_hosts_can_be_left_out_and_so_can_own_exports() {
    let mut exports = roles();
    exports.push(file("lb1", "c", "/etc/c"));
    let found = files(exports, &["where: {host: {not: \"db*\"}}, self: exclude"]).run();
    assert_eq!(names(&found), ["a"]);
}

#[test]
fn b7_a_star_in_a_path_stops_at_a_slash() {
    let exports = vec![file("h1", "a", "/etc/a"), file("h1", "b", "/etc/n/b")];
    let found = files(exports, &["where: {fields: {path: \"/etc/*\"}}"]).run();
    assert_eq!(names(&found), ["a"]);
}

#[test]
fn b8_an_undefined_name_in_a_condition_skips_the_export_with_its_reason() {
    let mut exports = roles();
    exports.push(file("web3", "c", "/etc/c"));
    let site =
        files(exports, &["rule: r, where: {if: \"host != me.host and labels.role == 'web'\"}"]);
    let found = site.run();
    assert_eq!(names(&found), ["a"]);
    assert_eq!(found.messages, Vec::<String>::new(), "health does not change");
    let why = site.explain("c").steps;
    let wanted = ("rule r".to_owned(), "no: skipped: labels.role is undefined".to_owned());
    assert!(why.contains(&wanted), "{why:?}");
    assert_eq!(site.explain("c").result, "nearest rule r failed at if");
}

#[test]
fn b9_a_condition_that_is_no_truth_value_skips_every_export() {
    let site = files(roles(), &["where: {if: labels.role}"]);
    assert_eq!(names(&site.run()), Vec::<&str>::new());
    let steps = site.explain("a").steps;
    let said = |one: &(String, String)| one.1.contains("if gave a string, wanted true or false");
    assert!(steps.iter().any(said), "{steps:?}");
}

#[test]
fn b10_an_unknown_variable_is_refused_with_the_file() {
    let rule = "collect:\n- {rule: r, kind: file, within: /, where: {if: \"rolle == 'web'\"}}\n";
    assert_eq!(mistakes(rule), ["XC10 rule r: unknown variable rolle"]);
}

#[test]
fn b11_a_kind_is_named_and_no_form() {
    let found = mistakes("collect:\n- {rule: r, kind: \"*\", within: /}\n");
    assert_eq!(found, ["XC10 rule r: `*` is no kind; name each kind"]);
}

#[test]
fn b12_conditions_are_joined_and_negated() {
    let any = files(roles(), &["where: {any: [{name: a}, {host: db1}]}"]).run();
    assert_eq!(names(&any), ["a", "b"]);
    assert_eq!(names(&files(roles(), &["where: {not: {name: a}}"]).run()), ["b"]);
    let all = files(roles(), &["where: {all: [{name: a}, {host: db1}]}"]).run();
    assert_eq!(names(&all), Vec::<&str>::new());
}

#[test]
fn b13_a_regex_matches_the_whole_name() {
    let exports =
        ["vhost-1", "xvhost-1", "vhost-12"].map(|name| file("h1", name, &format!("/etc/{name}")));
    let found = files(exports.to_vec(), &["where: {name: {regex: \"vhost-[0-9]\"}}"]).run();
    assert_eq!(names(&found), ["vhost-1"]);
}

#[test]
fn b14_an_export_for_another_host_is_listed_and_left() {
    let mut only = file("h1", "a", "/etc/a");
    only.to = HostSelector::Names(vec!["lb2".into()]);
    let mut site = files(vec![only], &["rule: r"]);
    let found = site.run();
    assert_eq!(found.messages, ["XC14 file[a] from h1: not for lb1; ignored"]);
    assert!(!found.held[0].code.degrades());
    site.me = Me::new(host("lb2"));
    assert_eq!(names(&site.run()), ["a"]);
}

#[test]
fn b15_an_export_for_a_host_that_is_not_there_is_collected_by_nobody() {
    let mut only = file("h1", "a", "/etc/a");
    only.to = HostSelector::Names(vec!["lb9".into()]);
    let mut nobody = file("h1", "b", "/etc/b");
    nobody.to = HostSelector::Names(Vec::new());
    let mut site = files(vec![only, nobody], &["rule: r"]);
    for name in ["lb1", "lb2", "h1"] {
        site.me = Me::new(host(name));
        assert_eq!(names(&site.run()), Vec::<&str>::new(), "{name}");
    }
}

#[test]
fn b16_hosts_are_chosen_by_what_an_operator_says_about_them() {
    let mut site = files(roles(), &["where: {host_labels: {site: a}}"]);
    assert_eq!(names(&site.run()), Vec::<&str>::new(), "nothing is said about them");
    let labels = BTreeMap::from([("site".to_owned(), "a".to_owned())]);
    site.hosts.insert(host("db1"), HostInfo { labels, ..HostInfo::default() });
    assert_eq!(names(&site.run()), ["b"]);
}

#[test]
fn b17_a_channel_is_taken_only_when_it_is_named() {
    let mut other = file("h1", "a", "/etc/a");
    other.address.channel = "logs".to_owned();
    assert_eq!(names(&files(vec![other.clone()], &["rule: r"]).run()), Vec::<&str>::new());
    let found = files(vec![other], &["channel: [default, logs]"]).run();
    assert_eq!(names(&found), ["a"]);
}
