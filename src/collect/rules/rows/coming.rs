//! When what changes is taken, and what becomes of what is gone.

use std::time::Duration;

use super::*;

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
