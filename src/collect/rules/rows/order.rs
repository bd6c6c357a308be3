//! Rows C11 to C13, F6, G1 and G2: order, expectations and gathering.

use std::time::Duration;

use super::*;

fn links(found: &Collection) -> Vec<(String, String, bool)> {
    let one =
        |edge: &crate::spec::EdgeSpec| (edge.from.to_string(), edge.to.to_string(), edge.notify);
    found.edges.iter().map(one).collect()
}

fn link(from: &str, to: &str, notify: bool) -> (String, String, bool) {
    (from.to_owned(), to.to_owned(), notify)
}

const LOCAL: &str = "resources: {exec: [{name: nginx, cmd: \"true\"}]}\n";

#[test]
fn c11_an_order_with_what_is_not_there_yet_is_none_and_comes_with_the_first_export() {
    let order = "before: [\"exec[nginx]\"], notify: [\"exec[nginx]\"]";
    let rule = format!("{LOCAL}collect:\n- {{kind: file, within: /, {order}}}\n");
    let empty = site(Vec::new(), &rule).run();
    assert_eq!((links(&empty), empty.messages), (Vec::new(), Vec::new()));
    let found = site(vec![file("web1", "a", "/etc/a")], &rule);
    let collection = found.run();
    let wanted = [link("file[a]", "exec[nginx]", false), link("file[a]", "exec[nginx]", true)];
    assert_eq!(links(&collection), wanted);
    let mut program = found.program.clone();
    program.edges.extend(collection.edges);
    let graph = crate::graph::compile(&program, &collection.resources).unwrap().graph;
    assert_eq!(graph.edges.len(), 1, "one edge, which notifies");
    assert!(graph.edges.values().all(|edge| edge.notify));
}

#[test]
fn c12_a_rule_can_come_after_another_one_that_makes_nothing_yet() {
    let rules = [
        "rule: certs, where: {name: \"cert*\"}",
        "rule: vhosts, where: {name: vhost}, after: [\"rule:certs\"]",
    ];
    let vhost = || file("web1", "vhost", "/etc/vhost");
    assert_eq!(links(&files(vec![vhost()], &rules).run()), []);
    let exports =
        vec![file("ca", "cert1", "/etc/cert1"), file("ca", "cert2", "/etc/cert2"), vhost()];
    let wanted =
        [link("file[cert1]", "file[vhost]", false), link("file[cert2]", "file[vhost]", false)];
    assert_eq!(links(&files(exports, &rules).run()), wanted);
}

#[test]
fn c13_an_order_that_closes_a_cycle_holds_its_rule_and_nothing_else() {
    let local = "resources: {exec: [{name: n, cmd: \"true\"}]}\n\
        edges: [{from: {kind: exec, name: n}, to: {kind: file, name: a}}]\n";
    let rules = "collect:\n\
        - {rule: r, kind: file, within: /, where: {name: a}, before: [\"exec[n]\"]}\n\
        - {rule: rest, kind: file, within: /}\n";
    let exports = vec![file("web1", "a", "/etc/a"), file("web1", "b", "/etc/b")];
    let found = site(exports, &format!("{local}{rules}")).run();
    assert_eq!(found.messages, ["XC09 rule r: cycle file[a] -> exec[n] -> file[a]; rule held"]);
    assert_eq!(ids(&found), ["file[b]"]);
    assert_eq!(links(&found), []);
}

#[test]
fn a_reference_to_what_can_never_be_there_is_refused_with_the_file() {
    let found =
        mistakes("collect:\n- {rule: r, kind: noop, after: [\"rule:none\", \"exec[x]\"]}\n");
    let wanted = ["XC09 rule r: exec[x] is not declared", "XC09 rule r: rule:none is not declared"];
    assert_eq!(found, wanted);
}

#[test]
fn f6_fewer_exports_than_expected_keep_the_last_good_set() {
    let two = vec![file("web1", "a", "/etc/a"), file("web2", "b", "/etc/b")];
    let mut site = files(two, &["rule: r, expect: {min: 2}"]);
    let good = site.run();
    assert_eq!(ids(&good), ["file[a]", "file[b]"]);
    site.previous.clone_from(&good.resources);
    let lost = site.exports.pop().unwrap();
    let kept = site.run();
    assert_eq!(kept.resources, good.resources);
    assert_eq!(kept.messages, ["XC08 rule r: 1 export, wanted at least 2; holding 2"]);
    site.exports.push(lost);
    assert_eq!(site.run(), good, "recovery clears it");
    site.previous.clear();
    site.exports.pop();
    let none = site.run();
    assert_eq!(none.messages, ["XC08 rule r: 1 export, wanted at least 2; holding 0"]);
    assert!(none.resources.is_empty(), "there never was a good set");
}

#[test]
fn more_exports_than_expected_keep_the_last_good_set_too() {
    let mut site = files(vec![file("web1", "a", "/etc/a")], &["rule: r, expect: {max: 1}"]);
    site.previous = site.run().resources;
    site.exports.push(file("web2", "b", "/etc/b"));
    let found = site.run();
    assert_eq!(ids(&found), ["file[a]"]);
    assert_eq!(found.messages, ["XC08 rule r: 2 exports, wanted at most 1; holding 1"]);
}

#[test]
fn what_a_rule_freezes_stays_when_it_is_gone() {
    let mut site = files(vec![file("web1", "a", "/etc/a")], &["rule: r, gone: freeze"]);
    site.previous = site.run().resources;
    site.exports.clear();
    assert_eq!(site.run().resources, site.previous);
    site.exports.push(file("web2", "other", "/etc/a"));
    let found = site.run();
    assert_eq!(ids(&found), ["file[a]"], "what is frozen keeps its target");
    assert_eq!(found.messages, ["XC03 file[a], file[other]: same target /etc/a; held"]);
    let mut site = files(vec![file("web1", "a", "/etc/a")], &["rule: r"]);
    site.previous = site.run().resources;
    site.exports.clear();
    assert!(site.run().resources.is_empty(), "and is forgotten otherwise");
}

const UP: &str = "{kind: file, name: up, path: /srv/up, \
    content: \"{% for e in exports %}{{ e.host }}\\n{% endfor %}\"}";

fn up(hosts: &[&str]) -> Vec<Export> {
    hosts.iter().map(|host| export(host, "kv[up]", &[], &[("value", "1")])).collect()
}

#[test]
fn g1_many_exports_make_one_resource_in_the_order_of_their_hosts() {
    let rule = format!("collect:\n- {{rule: r, kind: kv, gather: {UP}}}\n");
    let found = site(up(&["web2", "web1"]), &rule).run();
    assert_eq!(ids(&found), ["file[up]"]);
    assert_eq!(crate::kind::str_field(&found.resources[0].fields, "content"), Some("web1\nweb2\n"));
    assert_eq!(found.resources[0].from, [host("web1"), host("web2")]);
    let more = site(up(&["web2", "web3", "web1"]), &rule).run();
    assert_eq!(ids(&more), ["file[up]"], "a new host changes one resource");
}

#[test]
fn g2_gathering_nothing_makes_an_empty_one_unless_more_is_expected() {
    let rule = |more: &str| format!("collect:\n- {{rule: r, kind: kv, {more}gather: {UP}}}\n");
    let empty = site(Vec::new(), &rule("")).run();
    assert_eq!(crate::kind::str_field(&empty.resources[0].fields, "content"), Some(""));
    let none = site(Vec::new(), &rule("expect: {min: 1}, ")).run();
    assert!(none.resources.is_empty());
    assert_eq!(none.messages, ["XC08 rule r: 0 exports, wanted at least 1; holding 0"]);
}

#[test]
fn what_is_gathered_is_segment_checked_and_a_mistake_holds_one_resource() {
    let gather = "{kind: file, name: up, path: \"/srv/{{ (exports|first).labels.p }}\"}";
    let rule = format!("collect:\n- {{rule: r, kind: kv, gather: {gather}}}\n- {{kind: noop}}\n");
    let mut exports = vec![
        export("web1", "kv[up]", &[("p", "../etc")], &[("value", "1")]),
        export("web1", "noop[n]", &[], &[]),
    ];
    let found = site(exports.clone(), &rule).run();
    assert_eq!(
        found.messages,
        ["XC04 file[up]: \"../etc\" is not one path segment; refused, rule r"]
    );
    assert_eq!(ids(&found), ["noop[n]"]);
    exports[0].labels.clear();
    let found = site(exports, &rule).run();
    assert_eq!(found.messages.len(), 1);
    assert!(found.messages[0].starts_with("XC05 file[up]: "), "{:?}", found.messages);
}

#[test]
fn g3_one_change_among_many_exports_is_one_judgement() {
    let one = |n: usize| file("h1", &format!("f{n:04}"), &format!("/srv/f{n}"));
    let mut site = files((0..1_000).map(one).collect(), &["rule: r"]);
    let local = Local::default();
    let mut exports: Vec<Arc<Export>> = site.exports.iter().cloned().map(Arc::new).collect();
    let run = |site: &Try, exports: &[Arc<Export>]| {
        let place = Site { me: &site.me, hosts: &site.hosts, policy: &site.policy, proved: None };
        let beside = (&site.program, &local);
        run_beside(&place, exports, &site.program.collect, beside, &site.previous)
    };
    assert_eq!(run(&site, &exports).resources.len(), 1_000);
    assert_eq!(local.judged(), 1_000);
    run(&site, &exports);
    assert_eq!(local.judged(), 0, "nothing differs");
    exports[500] = Arc::new(file("h1", "f0500", "/srv/other"));
    let changed = run(&site, &exports);
    assert_eq!(local.judged(), 1, "G3");
    assert!(places(&changed).iter().any(|(_, path)| path == "/srv/other"));
    exports.remove(3);
    assert_eq!(run(&site, &exports).resources.len(), 999);
    assert_eq!(local.judged(), 0, "one is gone");
    exports.insert(0, Arc::new(file("h0", "new", "/srv/new")));
    run(&site, &exports);
    assert_eq!(local.judged(), 1, "one is new");
    site.policy = Policy::Rules(vec![PolicyRule {
        allow: false,
        hosts: HostSelector::Names(vec!["h1".to_owned()]),
        kinds: vec!["*".to_owned()],
        names: vec!["*".to_owned()],
        channels: vec!["*".to_owned()],
    }]);
    assert_eq!(run(&site, &exports).resources.len(), 1, "another policy is asked about all");
    assert_eq!(local.judged(), 1_000);
}

#[test]
fn what_cannot_be_gathered_now_keeps_what_was_gathered_last() {
    let gather = "{kind: file, name: up, path: /srv/up, \
        content: \"{% for e in exports %}{{ e.labels.role }}{% endfor %}\"}";
    let rule = format!("collect:\n- {{rule: r, kind: kv, within: /srv/, gather: {gather}}}\n");
    let up =
        |host: &str, labels: &[(&str, &str)]| export(host, "kv[up]", labels, &[("value", "1")]);
    let mut site = site(vec![up("web1", &[("role", "web")])], &rule);
    let first = site.run();
    assert_eq!(crate::kind::str_field(&first.resources[0].fields, "content"), Some("web"));
    site.previous.clone_from(&first.resources);
    site.exports.push(up("web2", &[]));
    let held = site.run();
    assert_eq!(held.resources, first.resources, "its last good value");
    assert!(held.messages[0].starts_with("XC05 file[up]: "), "{:?}", held.messages);
}

#[test]
fn a_sudden_drop_keeps_the_last_set_until_its_time_is_over_or_a_person_says_so() {
    let one = |n: usize| file("web1", &format!("f{n}"), &format!("/srv/f{n}"));
    let mut site =
        files((0..10).map(one).collect(), &["rule: r, expect: {max_drop: 50%, hold: 1m}"]);
    let local = Local::default();
    let mut run = |count: usize, second: u64| {
        let exports: Vec<Arc<Export>> = (0..count).map(one).map(Arc::new).collect();
        local.at(Duration::from_secs(second), true);
        let place = Site { me: &site.me, hosts: &site.hosts, policy: &site.policy, proved: None };
        let beside = (&site.program, &local);
        let found = run_beside(&place, &exports, &site.program.collect, beside, &site.previous);
        site.previous.clone_from(&found.resources);
        (found.resources.len(), found.messages)
    };
    assert_eq!(run(10, 0), (10, vec![]));
    assert_eq!(run(5, 1), (5, vec![]), "half of them is permitted");
    let (kept, messages) = run(1, 2);
    let wanted = "XC08 rule r: 1 export, wanted at most 50 % fewer than 5 at once; holding 5";
    assert_eq!((kept, messages), (5, vec![wanted.to_owned()]));
    assert_eq!(local.next_look(), Some(Duration::from_secs(62)));
    assert_eq!(run(1, 61).0, 5);
    assert_eq!(run(1, 62), (1, vec![]), "it was held for a minute");
    assert_eq!(run(10, 63).0, 10);
    assert_eq!(run(0, 64).0, 10);
    assert!(local.accept("r") && !local.accept("s"));
    assert_eq!(run(0, 65), (0, vec![]), "a person has taken it");
}
