//! When what changes is taken, and what becomes of what is gone.

use super::*;
use crate::collect::record::{Seal, Sealed};
use crate::collect::{read_owed, write_owed};
use crate::spec::Fields;

/// A host that collects again and again, as an agent does.
struct Agent {
    site: Try,
    local: Local,
    exports: Vec<Arc<Export>>,
    complete: bool,
}

impl Agent {
    fn new(rule: &str) -> Self {
        let site = files(Vec::new(), &[rule]);
        Agent { site, local: Local::default(), exports: Vec::new(), complete: true }
    }

    /// These are exported now; those of the same name and path are the same records.
    fn hears(&mut self, files: &[(&str, &str)]) {
        let one = |(name, path): &(&str, &str)| {
            let new = file("web1", name, path);
            let old = self.exports.iter().find(|old| ***old == new).cloned();
            old.unwrap_or_else(|| Arc::new(new))
        };
        self.exports = files.iter().map(one).collect();
    }

    /// What there is after so many milliseconds.
    fn at(&mut self, millis: u64) -> Collection {
        self.local.at(Duration::from_millis(millis), self.complete);
        let Try { me, hosts, policy, program, previous, .. } = &self.site;
        let site = Site { me, hosts, policy, proved: None };
        let beside = (program, &self.local);
        let found = run_beside(&site, &self.exports, &program.collect, beside, previous);
        self.site.previous.clone_from(&found.resources);
        found
    }

    fn next(&self) -> Option<u128> {
        self.local.next_look().map(|at| at.as_millis())
    }
}

#[test]
fn a_rule_that_waits_takes_what_changed_when_nothing_has_changed_for_a_while() {
    let mut agent = Agent::new("rule: r, wait: {quiet: 300ms, max: 1s}");
    agent.hears(&[("a", "/a")]);
    assert_eq!(ids(&agent.at(0)), ["file[a]"], "the first complete set is taken at once");
    assert!(!agent.local.is_waiting());
    agent.hears(&[("a", "/a"), ("b", "/b")]);
    assert_eq!(ids(&agent.at(100)), ["file[a]"]);
    assert_eq!((agent.next(), agent.local.is_waiting()), (Some(400), true));
    agent.hears(&[("b", "/b")]);
    assert_eq!(ids(&agent.at(350)), ["file[a]"], "what is withdrawn waits, too");
    assert_eq!(agent.next(), Some(650), "and everything waits for it");
    assert_eq!(ids(&agent.at(649)), ["file[a]"], "looked at for another reason");
    assert_eq!(agent.next(), Some(650));
    assert_eq!(ids(&agent.at(650)), ["file[b]"]);
    assert_eq!((agent.next(), agent.local.is_waiting()), (None, false));
}

#[test]
fn what_never_comes_to_rest_is_taken_at_the_latest_after_max() {
    let mut agent = Agent::new("rule: r, wait: {quiet: 300ms}");
    agent.hears(&[("a", "/0")]);
    agent.at(0);
    let mut taken = Vec::new();
    for step in 1..=40_u64 {
        let path = format!("/{step}");
        agent.hears(&[("a", &path)]);
        let found = places(&agent.at(step * 200));
        if taken.last() != Some(&found[0].1) {
            taken.push(found[0].1.clone());
        }
    }
    // The first change came at 200 ms; ten times `quiet` is `max`.
    assert_eq!(taken, ["/0", "/16", "/32"]);
}

#[test]
fn a_change_that_is_taken_back_is_none() {
    let mut agent = Agent::new("rule: r, wait: {quiet: 300ms, max: 1s}");
    agent.hears(&[("a", "/a")]);
    agent.at(0);
    let before = agent.exports.clone();
    agent.hears(&[("a", "/b")]);
    agent.at(100);
    agent.exports = before;
    assert_eq!(places(&agent.at(200)), [("file[a]".to_owned(), "/a".to_owned())]);
    assert_eq!(agent.next(), None);
}

#[test]
fn nothing_waits_before_all_is_known_nor_when_it_is_judged_anew() {
    let mut agent = Agent::new("rule: r, wait: {quiet: 300ms, max: 1s}");
    agent.complete = false;
    assert!(agent.at(0).resources.is_empty());
    agent.hears(&[("a", "/a")]);
    agent.complete = true;
    assert_eq!(ids(&agent.at(10)), ["file[a]"], "the first complete set");
    let denied = PolicyRule {
        allow: false,
        hosts: HostSelector::everybody(),
        kinds: vec!["file".to_owned()],
        names: vec!["*".to_owned()],
        channels: vec!["*".to_owned()],
    };
    agent.site.policy = Policy::Rules(vec![denied]);
    assert!(agent.at(20).resources.is_empty(), "what is refused is refused at once");
}

#[test]
fn rules_beside_one_that_waits_do_not() {
    let mut agent = Agent::new("rule: r, where: {name: a}, wait: {quiet: 300ms, max: 1s}");
    agent.site.program.collect.extend(files(Vec::new(), &["rule: s"]).program.collect);
    agent.hears(&[]);
    agent.at(0);
    agent.hears(&[("a", "/a"), ("b", "/b")]);
    assert_eq!(ids(&agent.at(1)), ["file[b]"]);
    assert_eq!(ids(&agent.at(301)), ["file[a]", "file[b]"]);
}

const REMOVES: &str = "rule: r, gone: remove, allow: [remove]";

fn state(found: &Collection, name: &str) -> Option<String> {
    let one = found.resources.iter().find(|one| one.id.name() == name)?;
    assert_eq!(one.gone, one.fields.contains_key("state"));
    crate::kind::str_field(&one.fields, "state").map(str::to_owned)
}

#[test]
fn what_is_gone_is_removed_by_the_opposite_of_it() {
    let mut agent = Agent::new(REMOVES);
    agent.hears(&[("a", "/srv/a"), ("b", "/srv/b")]);
    agent.at(0);
    agent.hears(&[("b", "/srv/b")]);
    let found = agent.at(1);
    assert_eq!(ids(&found), ["file[a]", "file[b]"]);
    assert_eq!(state(&found, "a").as_deref(), Some("absent"));
    assert_eq!(places(&found)[0].1, "/srv/a");
    assert_eq!(agent.at(2), found, "until it is done");
    agent.site.previous.retain(|one| !one.gone);
    assert_eq!(ids(&agent.at(3)), ["file[b]"], "and once");
    agent.hears(&[]);
    agent.at(4);
    agent.hears(&[("b", "/srv/b")]);
    assert_eq!(state(&agent.at(5), "b"), None, "what is back is not removed");
}

#[test]
fn what_somebody_else_manages_is_not_removed() {
    let mut agent = Agent::new(REMOVES);
    agent.hears(&[("a", "/srv/x"), ("b", "/srv/b")]);
    agent.at(0);
    agent.hears(&[("renamed", "/srv/x"), ("b", "/srv/b")]);
    let found = agent.at(1);
    assert_eq!(
        (ids(&found), found.messages),
        (vec!["file[b]".into(), "file[renamed]".into()], vec![])
    );
    let local = "resources: {file: [{name: mine, path: /srv/b}]}\n";
    agent.site.program.resources = program(local).resources;
    agent.local = Local::default();
    agent.hears(&[("renamed", "/srv/x")]);
    assert_eq!(ids(&agent.at(2)), ["file[renamed]"]);
}

#[test]
fn what_is_only_held_is_not_removed() {
    let rule = "rule: r, gone: remove, allow: [remove], set: {mode: \"{{ labels.mode }}\"}, \
        as: {name: \"x-{{ name }}\"}";
    let mode = |labels: &[(&str, &str)]| export("web1", "file[a]", labels, &[("path", "/srv/a")]);
    let mut site = files(vec![mode(&[("mode", "0644")])], &[rule]);
    let good = site.run();
    site.previous.clone_from(&good.resources);
    site.exports = vec![mode(&[])];
    let held = site.run();
    assert!(held.messages[0].starts_with("XC05 file[x-a]"), "{:?}", held.messages);
    assert_eq!(held.resources, good.resources, "it stays what it was");
    site.exports[0].content = Content::Broken("torn".to_owned());
    assert_eq!(site.run().resources, good.resources, "though its name here cannot be told");
    site.exports.clear();
    assert!(site.run().resources[0].gone);
}

#[test]
fn what_the_rule_does_not_permit_any_more_is_not_removed() {
    let mut site = files(vec![file("web1", "a", "/srv/a")], &[REMOVES]);
    site.previous = site.run().resources;
    site.exports.clear();
    for rest in ["within: /other/, gone: remove, allow: [remove]", "within: /"] {
        site.program = program(&format!("collect:\n- {{rule: r, kind: file, {rest}}}\n"));
        assert!(site.run().resources.is_empty(), "{rest}");
    }
}

#[test]
fn only_what_something_undoes_can_be_removed() {
    let rule = |rest: &str| mistakes(&format!("collect:\n- {{rule: r, gone: remove, {rest}}}\n"));
    assert_eq!(
        rule("kind: file, within: /"),
        ["XC10 rule r: `gone: remove` needs allow: [remove]"]
    );
    assert_eq!(
        rule("kind: msg, allow: [remove, power], where: {host: a}"),
        ["XC10 rule r: nothing undoes msg; `gone: remove` is for file, kv, line"]
    );
    assert_eq!(
        rule("kind: kv, allow: [remove], gather: {kind: file, name: x, path: /x/y}"),
        ["XC10 rule r: `gone: remove` does nothing in a rule that gathers"]
    );
}

#[test]
fn nothing_is_removed_before_all_exports_are_known() {
    let mut agent = Agent::new(REMOVES);
    agent.hears(&[("a", "/srv/a")]);
    let good = agent.at(0).resources;
    agent.hears(&[]);
    agent.complete = false;
    assert_eq!(agent.at(1).resources, good, "it may be there still");
    agent.complete = true;
    let removed = agent.at(2).resources;
    assert!(removed[0].gone);
    agent.complete = false;
    assert_eq!(agent.at(3).resources, removed, "what was begun goes on");
}

/// A rule that removes lines, whose names here are not those that they are exported under.
fn lines() -> Try {
    let line = export("web1", "line[a]", &[], &[("file", "/etc/motd"), ("content", "x")]);
    let rule = "collect:\n- {rule: r, kind: line, within: /etc/, where: {host: web1}, gone: \
        remove, allow: [remove, power], as: {name: \"x-{{ name }}\"}}\n";
    let mut site = site(vec![line], rule);
    let allows = PolicyRule {
        allow: true,
        hosts: HostSelector::everybody(),
        kinds: vec!["line".to_owned()],
        names: vec!["*".to_owned()],
        channels: vec!["*".to_owned()],
    };
    (site.policy, site.proved) = (Policy::Rules(vec![allows]), Some(0));
    site.previous = site.run().resources;
    assert_eq!(site.previous.len(), 1);
    site
}

fn sealed_to_another() -> Content {
    let (fields, lock) = (["content".to_owned()].into(), ("lb9".to_owned(), "x".to_owned()));
    let seal = Seal { fields, keys: [lock].into() };
    Content::Sealed(Arc::new(Sealed { open: Fields::new(), seal, bytes: String::new() }))
}

/// Takes something away from a site.
type Change = fn(&mut Try);

#[test]
fn what_is_refused_or_sealed_to_others_is_not_removed_whatever_it_is_called_here() {
    let cases: [(&str, Change, Option<bool>); 5] = [
        ("XC06 ", |site| site.proved = None, None),
        ("XC13 ", |site| site.exports[0].content = sealed_to_another(), None),
        ("XC12 ", |site| site.exports[0].content = Content::Unknown("v9".into()), Some(false)),
        ("XC07 ", |site| site.exports[0].content = Content::Broken("torn".into()), Some(false)),
        ("", |site| site.exports.clear(), Some(true)),
    ];
    for (code, change, gone) in cases {
        let mut site = lines();
        change(&mut site);
        let found = site.run();
        let said = found.messages.first().map(String::as_str).unwrap_or_default();
        assert!(said.starts_with(code), "{code} {said}");
        assert_eq!(found.resources.first().map(|one| one.gone), gone, "{code}");
    }
}

#[test]
fn what_cannot_be_read_keeps_only_its_own_kind() {
    let kv = export("web1", "kv[k]", &[], &[("value", "1")]);
    let rule =
        "collect:\n- {rule: r, kind: [file, kv], within: /, gone: remove, allow: [remove]}\n";
    let mut site = site(vec![file("web1", "a", "/srv/a"), kv], rule);
    site.previous = site.run().resources;
    site.exports.remove(0);
    site.exports[0].content = Content::Broken("torn".to_owned());
    let found = site.run();
    let gone: Vec<(String, bool)> =
        found.resources.iter().map(|one| (one.id.to_string(), one.gone)).collect();
    assert_eq!(gone, [("file[a]".to_owned(), true), ("kv[k]".to_owned(), false)]);
}

#[test]
fn a_key_that_something_else_holds_is_not_removed() {
    let kv = |name: &str, given: &[(&str, &str)]| {
        let given: Vec<(&str, &str)> = given.iter().copied().chain([("value", "1")]).collect();
        export("web1", &format!("kv[{name}]"), &[], &given)
    };
    let rule = "collect: [{rule: r, kind: kv, gone: remove, allow: [remove]}]\n";
    for (other, local, removed) in [
        (None, "", true),
        (Some(kv("b", &[("key", "k")])), "", false),
        (Some(kv("k", &[])), "", false),
        (Some(kv("b", &[("key", "k"), ("mapped", "true")])), "", true),
        (None, "resources: {kv: [{name: mine, key: k, value: 2}]}\n", false),
        (None, "resources: {kv: [{name: k, value: 2}]}\n", false),
        (None, "resources: {kv: [{name: mine, key: k/l, value: 2}]}\n", true),
        (None, "resources: {file: [{name: mine, path: /k}]}\n", true),
    ] {
        let said = format!("{other:?} {local}");
        let mut site = site(vec![kv("a", &[("key", "k")])], &format!("{local}{rule}"));
        site.exports.extend(other);
        site.previous = site.run().resources;
        site.exports.remove(0);
        let found = site.run().resources;
        let gone = found.iter().filter(|one| one.gone).count();
        assert_eq!(gone, usize::from(removed), "{said}");
    }
}

#[test]
fn what_is_being_removed_is_not_made_again_by_a_rule_that_holds_its_last_set() {
    let mut agent = Agent::new("rule: r, gone: remove, allow: [remove], expect: {min: 1}");
    agent.hears(&[("a", "/srv/a"), ("b", "/srv/b")]);
    agent.at(0);
    agent.hears(&[("b", "/srv/b")]);
    let before = agent.at(1);
    assert_eq!(state(&before, "a").as_deref(), Some("absent"));
    agent.hears(&[]);
    let found = agent.at(2);
    assert_eq!(found.resources, before.resources);
    let held = "XC08 rule r: 0 exports, wanted at least 1; holding 1";
    assert_eq!(found.messages, [held]);
}

/// What an agent of the same host is like that starts after this one was killed.
fn again(agent: &Agent, rule: &str) -> Agent {
    let (rules, me) = (&agent.site.program.collect, host("lb1"));
    let owed = write_owed(&agent.local.owing(rules, &agent.site.previous, &me));
    let new = Agent::new(rule);
    new.local.owe(read_owed(&owed).unwrap());
    Agent { complete: false, exports: agent.exports.clone(), ..new }
}

#[test]
fn what_was_withdrawn_while_the_agent_was_down_is_removed_when_all_is_known() {
    let mut agent = Agent::new(REMOVES);
    agent.hears(&[("a", "/srv/a"), ("b", "/srv/b")]);
    agent.at(0);
    let mut agent = again(&agent, REMOVES);
    agent.hears(&[]);
    assert!(agent.at(0).resources.is_empty(), "nothing is known yet");
    agent.hears(&[("b", "/srv/b")]);
    agent.complete = true;
    let found = agent.at(1);
    assert_eq!(ids(&found), ["file[a]", "file[b]"]);
    assert_eq!(state(&found, "a").as_deref(), Some("absent"));
    assert_eq!((places(&found)[0].1.as_str(), state(&found, "b")), ("/srv/a", None));
    // It ends while it removes.
    let mut agent = again(&agent, REMOVES);
    agent.complete = true;
    let found = agent.at(0);
    assert_eq!(state(&found, "a").as_deref(), Some("absent"), "which goes on");
    agent.local.removed(&found.resources[0].id);
    agent.site.previous.retain(|one| !one.gone);
    assert_eq!(ids(&agent.at(1)), ["file[b]"], "once");
    let mut agent = again(&agent, REMOVES);
    agent.complete = true;
    assert_eq!(ids(&agent.at(0)), ["file[b]"], "whoever starts after that");
    agent.local = agent.local.anew();
    agent.hears(&[]);
    assert!(agent.at(1).resources[0].gone, "and what it made itself is this run's");
}

#[test]
fn what_an_earlier_run_made_is_left_where_nobody_wants_it_removed_now() {
    let local = "resources: {file: [{name: mine, path: /srv/a}]}\n";
    let collect = |rule: &str| format!("collect:\n- {{kind: file, within: /, {rule}}}\n");
    for (rule, beside, heard) in [
        ("rule: r", "", vec![]),
        ("rule: other, gone: remove, allow: [remove]", "", vec![]),
        (REMOVES, local, vec![]),
        (REMOVES, "", vec![("renamed", "/srv/a")]),
        (REMOVES, "", vec![("a", "/srv/a")]),
    ] {
        let mut agent = Agent::new(REMOVES);
        agent.hears(&[("a", "/srv/a")]);
        agent.at(0);
        let mut agent = again(&agent, rule);
        agent.site.program = program(&format!("{beside}{}", collect(rule)));
        agent.hears(&heard);
        agent.complete = true;
        let found = agent.at(0);
        assert_eq!(found.resources.len(), heard.len(), "{rule} {beside} {heard:?}");
        assert!(found.resources.iter().all(|one| !one.gone), "{rule} {beside} {heard:?}");
        let rules = &agent.site.program.collect;
        let owing = agent.local.owing(rules, &[], &host("lb1"));
        assert_eq!(owing, [], "it is forgotten: {rule} {beside} {heard:?}");
    }
}

#[test]
fn neither_own_exports_nor_what_may_have_been_sealed_are_kept_for_the_next_run() {
    let site = lines();
    let owing = |me: &str, previous: &[Collected]| {
        Local::default().owing(&site.program.collect, previous, &host(me)).len()
    };
    assert_eq!(owing("lb1", &site.previous), 0, "the opposite of a line holds the line");
    let mut agent = Agent::new(REMOVES);
    agent.hears(&[("a", "/srv/a")]);
    let found = agent.at(0).resources;
    let rules = &agent.site.program.collect;
    assert_eq!(Local::default().owing(rules, &found, &host("lb1")).len(), 1);
    assert_eq!(Local::default().owing(rules, &found, &host("web1")), [], "it comes again");
    let text = String::from_utf8(write_owed(&Local::default().owing(rules, &found, &host("lb1"))));
    assert_eq!(
        text.unwrap(),
        "{\"v\":1,\"owed\":[{\"kind\":\"file\",\"name\":\"a\",\"from\":[\"web1\"],\"rule\":\"r\",\
         \"fields\":{\"path\":\"/srv/a\",\"state\":\"absent\"}}]}"
    );
    for damaged in ["", "[]", "{\"v\":2,\"owed\":[]}", "{\"v\":1,\"owed\":[{}]}"] {
        assert_eq!(read_owed(damaged.as_bytes()), None, "{damaged}");
    }
}
