//! Rows E0 to E5: consent, containment and the policy.

use super::*;
use crate::spec::FullRule;

const EXEC: &str = "collect:\n- {rule: r, kind: exec, allow: [power], where: {host: deploy1}}\n";

fn exec() -> Export {
    export("deploy1", "exec[x]", &[], &[("cmd", "id")])
}

#[test]
fn e0_files_need_a_directory_that_they_stay_in() {
    let wanted = ["XC10 rule r: file needs within, into or set.path"];
    assert_eq!(mistakes("collect:\n- {rule: r, kind: file}\n"), wanted);
    let open = "collect:\n- {rule: r, kind: file, set: {path: \"/{{ name }}\"}}\n";
    assert_eq!(mistakes(open), wanted, "the root alone is no directory to stay in");
    for good in ["within: /", "into: /srv/", "set: {path: \"/srv/{{ name }}\"}"] {
        program(&format!("collect:\n- {{rule: r, kind: file, {good}}}\n"));
    }
    let both = "collect:\n- {rule: r, kind: file, into: /srv/, set: {path: /srv/x}}\n";
    assert_eq!(mistakes(both), ["XC10 rule r: `into` and `set.path` together; keep one"]);
}

#[test]
fn e1_a_powerful_kind_needs_a_word() {
    let found = mistakes("collect:\n- {rule: r, kind: exec, where: {host: deploy1}}\n");
    assert_eq!(found, ["XC10 rule r: exec needs allow: [power]"]);
}

#[test]
fn e2_a_powerful_kind_needs_a_host() {
    let wanted = ["XC10 rule r: powerful kinds need a host filter"];
    for open in [
        "rule: r",
        "rule: r, where: {host: \"*\"}",
        "rule: r, where: {host: \"**\"}",
        "rule: r, where: {host: {not: db1}}",
        "rule: r, where: {host: {regex: \".*\"}}",
        "rule: r, where: {host: [deploy1, \"*\"]}",
        "rule: r, where: {any: [{host: deploy1}, {name: x}]}",
        "rule: r, where: {not: {host: deploy1}}",
        "rule: r, where: {labels: {role: deploy}}",
    ] {
        let found = mistakes(&format!("collect:\n- {{kind: exec, allow: [power], {open}}}\n"));
        assert_eq!(found, wanted, "{open}");
    }
    for good in [
        "{host: \"deploy*\"}",
        "{host_labels: {role: deploy}}",
        "{all: [{host: a}, {name: \"*\"}]}",
    ] {
        program(&format!("collect:\n- {{kind: exec, allow: [power], where: {good}}}\n"));
    }
}

#[test]
fn e3_a_powerful_kind_needs_an_exporter_that_proved_who_it_is() {
    let mut site = site(vec![exec()], EXEC);
    let refused = ["XC06 exec[x] from deploy1: exporter not authenticated; refused, rule r"];
    assert_eq!(site.run().messages, refused);
    let info = HostInfo { authenticated: true, ..HostInfo::default() };
    site.hosts.insert(host("deploy1"), info);
    let silent = ["XC06 exec[x] from deploy1: no export policy allows exec; refused, rule r"];
    assert_eq!(site.run().messages, silent);
    let all = || vec!["*".to_owned()];
    let names = HostSelector::Names(vec!["deploy*".into()]);
    site.policy = Policy::Rules(vec![PolicyRule {
        allow: true,
        hosts: names,
        kinds: all(),
        names: all(),
        channels: all(),
    }]);
    assert_eq!(ids(&site.run()), ["exec[x]"]);
    // The store has known who writes since a revision; it was written at 1.
    site.hosts.clear();
    for (proved, wanted) in [(None, 0), (Some(2), 0), (Some(1), 1)] {
        site.proved = proved;
        assert_eq!(site.run().resources.len(), wanted, "{proved:?}");
    }
    let unproved = EXEC.replace("[power]", "[power, unauthenticated]");
    let found = super::site(vec![exec()], &unproved).run();
    assert_eq!(ids(&found), ["exec[x]"]);
}

fn no_files_of_databases() -> Policy {
    let all = || vec!["*".to_owned()];
    Policy::Rules(vec![PolicyRule {
        allow: false,
        hosts: HostSelector::Names(vec!["db*".into()]),
        kinds: vec!["file".into()],
        names: all(),
        channels: all(),
    }])
}

#[test]
fn e4_the_policy_holds_an_export_at_its_host_and_at_its_collector() {
    let exports = vec![file("db1", "b", "/etc/b"), file("web1", "a", "/etc/a")];
    let mut site = files(exports, &["rule: r"]);
    site.policy = no_files_of_databases();
    let found = site.run();
    assert_eq!(found.messages, ["XC14 file[b] from db1: denied by policy rule 1; ignored"]);
    assert_eq!(ids(&found), ["file[a]"]);

    let own = program("resources: {file: [{name: \"@@b\", path: /etc/b}]}\n");
    let wanted = |name| {
        crate::collect::publish::wanted(&own, &Me::new(host(name)), &no_files_of_databases())
    };
    assert_eq!(wanted("db1")[0].problem.as_deref(), Some("XE03 file[b]: denied by policy rule 1"));
    assert_eq!(wanted("web1")[0].problem, None);
}

#[test]
fn e5_a_policy_that_cannot_be_read_takes_nothing_new_and_takes_nothing_away() {
    let mut site = files(vec![file("web1", "a", "/etc/a")], &["rule: r"]);
    site.previous = site.run().resources;
    site.policy = Policy::Unreadable("not JSON".to_owned());
    site.exports = vec![file("web2", "b", "/etc/b")];
    let found = site.run();
    assert_eq!(found.resources, site.previous);
    let wanted = ["XC14 exports: the policy cannot be read (not JSON); nothing new is taken"];
    assert_eq!(found.messages, wanted);
}

#[test]
fn f8_nothing_of_a_host_that_is_decommissioned_is_taken() {
    let mut site =
        files(vec![file("web1", "a", "/etc/a"), file("web2", "b", "/etc/b")], &["rule: r"]);
    let info = HostInfo { decommissioned: true, ..HostInfo::default() };
    site.hosts.insert(host("web2"), info);
    let found = site.run();
    assert_eq!(ids(&found), ["file[a]"]);
    assert_eq!(found.messages, ["XC14 file[b] from web2: its host is decommissioned; ignored"]);
}

#[test]
fn e7_what_is_collected_carries_the_directory_that_it_may_not_leave() {
    let within = |rule: &str| {
        let rules = format!("collect:\n- {{{rule}}}\n");
        let found = super::site(vec![file("web1", "a", "/srv/x/a")], &rules).run();
        found.resources[0].within.as_deref().map(|path| path.display().to_string())
    };
    for (rule, wanted) in [
        ("rule: r, kind: file, within: /srv/", Some("/srv")),
        ("rule: r, kind: file, into: /srv/y/", Some("/srv/y")),
        ("rule: r, kind: file, set: {path: \"/srv/{{ name }}\"}", Some("/srv")),
        ("rule: r, kind: file, into: /srv/y/, within: /", None),
        ("kind: file, pattern: /srv/z/", Some("/srv/z")),
        ("kind: file", None),
    ] {
        assert_eq!(within(rule).as_deref(), wanted, "{rule}");
    }
}

#[test]
fn a_rule_that_no_reader_checked_consents_to_nothing() {
    let mut rule = FullRule::new("r", vec!["exec".into(), "file".into()], Default::default());
    let mut site = site(vec![exec(), file("web1", "a", "/etc/a")], "");
    site.program.collect = vec![CollectRule::Full(Arc::new(rule.clone()))];
    let wanted = [
        "XC04 file[a] from web1: the rule names no directory for it; refused, rule r",
        "XC06 exec[x] from deploy1: exec needs allow: [power]; refused, rule r",
    ];
    assert_eq!(site.run().messages, wanted);
    rule.name = Some("{{ nobody }}".to_owned());
    site.program.collect = vec![CollectRule::Full(Arc::new(rule))];
    assert_eq!(site.run().messages, ["XC10 rule r: unknown variable nobody; rule takes nothing"]);
}

#[test]
fn a_record_whose_words_nobody_can_compile_is_for_nobody_and_stops_nobody() {
    let deep = format!("{}x{}", "{".repeat(300), "}".repeat(300));
    let mut hostile = file("h9", "x", "/etc/x");
    hostile.to = HostSelector::Names(vec![deep.clone()]);
    for rules in ["collect: [{kind: file}]\n", "collect:\n- {rule: r, kind: file, within: /}\n"] {
        let exports = vec![hostile.clone(), file("web1", "a", "/etc/a")];
        assert_eq!(ids(&super::site(exports, rules).run()), ["file[a]"], "{rules}");
    }
    let found = mistakes(&format!("resources: {{noop: [{{name: n, hosts: [\"{deep}\"]}}]}}\n"));
    assert!(found[0].contains("is too large or has too many braces"), "{found:?}");
}

#[test]
fn what_is_gathered_needs_the_consents_that_what_is_taken_needs() {
    let gather = "gather: {kind: exec, name: up, cmd: \"echo {{ exports|length }}\"}";
    let rule = |allow: &str| {
        let head = format!("rule: r, kind: kv, where: {{host: h9}}, allow: [{allow}]");
        format!("collect:\n- {{{head}, {gather}}}\n")
    };
    let exports = || vec![export("h9", "kv[k]", &[("m", "4755")], &[("value", "; evil")])];
    let refused = ["XC06 exec[up]: exporter h9 not authenticated; refused, rule r"];
    assert_eq!(super::site(exports(), &rule("power")).run().messages, refused);
    assert_eq!(ids(&super::site(exports(), &rule("power, unauthenticated")).run()), ["exec[up]"]);
    let anybody = rule("power").replace("where: {host: h9}, ", "");
    assert!(mistakes(&anybody)[0].ends_with("powerful kinds need a host filter"));

    let mode =
        "gather: {kind: file, name: up, path: /srv/up, mode: \"{{ (exports|first).labels.m }}\"}";
    let found =
        super::site(exports(), &format!("collect:\n- {{rule: r, kind: kv, {mode}}}\n")).run();
    assert_eq!(found.messages, ["XC06 file[up]: mode 4755 needs allow: [setid]; refused, rule r"]);
}

#[test]
fn a_legacy_rule_neither_removes_nor_takes_a_set_uid_mode() {
    let legacy = "collect: [{kind: file}, {kind: kv}]\n";
    let exports = vec![
        export("h9", "file[sh]", &[], &[("path", "/srv/sh"), ("mode", "4755")]),
        export("h9", "file[pw]", &[], &[("path", "/etc/passwd"), ("state", "absent")]),
        export("h9", "kv[leader]", &[], &[]),
        export("h9", "kv[kept]", &[], &[("value", "x")]),
    ];
    let found = super::site(exports, legacy).run();
    assert_eq!(ids(&found), ["kv[kept]"]);
    assert_eq!(found.messages.len(), 3, "{:?}", found.messages);
    assert!(found.messages.iter().all(|one| one.starts_with("XC06 ")), "{:?}", found.messages);
}

#[test]
fn what_a_rule_no_longer_permits_is_not_kept_by_it() {
    let rule =
        |more: &str| format!("collect:\n- {{rule: r, kind: file, gone: freeze, within: {more}}}\n");
    let mut site = super::site(vec![file("web1", "a", "/etc/a")], &rule("/"));
    site.previous = site.run().resources;
    site.exports.clear();
    assert_eq!(ids(&site.run()), ["file[a]"], "it froze");
    site.program = program(&rule("/srv/"));
    assert_eq!(ids(&site.run()), [""; 0], "outside of what the rule permits now");
    let unnamed = rule("/").replace("rule: r, ", "");
    assert!(mistakes(&unnamed)[0].contains("give it one: `rule: NAME`"));
}
