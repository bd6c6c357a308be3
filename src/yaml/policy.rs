//! The site's policy on exports, as an operator writes it: text to rules and back.
//!
//! Refuses a rule that could be read in two ways, and a key that it does not know.

use serde_json::{Value as Json, json};

use super::node::{Entry, Node};
use super::{Sink, program, read, select};
use crate::diag::{self, Diagnostic, suggest};
use crate::matching::Globs;
use crate::spec::HostSelector;
use crate::spec::rule::{LabelTest, Matcher, PolicyRule};

/// What a rule may be about.
const KEYS: [&str; 4] = ["hosts", "kinds", "names", "channels"];

/// Reads a policy. The rules are there exactly if no diagnostic is an error.
pub fn policy(text: &str) -> (Option<Vec<PolicyRule>>, Vec<Diagnostic>) {
    let mut sink = Sink::default();
    let rules = read::document(text, &mut sink).and_then(|one| rules(&one.root, &mut sink));
    let Sink { mut found, errors, .. } = sink;
    diag::sort(&mut found);
    (rules.filter(|_| errors == 0), found)
}

fn rules(root: &Node, sink: &mut Sink) -> Option<Vec<PolicyRule>> {
    let entries = program::map(root, "a policy", "with `rules:`", sink)?;
    let mut found = None;
    for Entry { key, value } in entries {
        match key.text.as_ref() {
            "rules" => {
                let items = program::list(value, "`rules`", "of `allow:` and `deny:`", sink);
                found = Some(items.iter().filter_map(|item| rule(item, sink)).collect());
            }
            "comment" => {}
            other => {
                let wrong = Diagnostic::error(key.span, format!("unknown key `{other}`"));
                sink.add_with_hint(wrong, || suggest(other, ["rules", "comment"], "known keys"));
            }
        }
    }
    if found.is_none() {
        let wrong = Diagnostic::error(root.span, "the policy has no `rules`");
        sink.add(wrong.with_help("begin with `rules:` and a list of `- allow: {...}`"));
    }
    found
}

fn rule(item: &Node, sink: &mut Sink) -> Option<PolicyRule> {
    let shape = "with one key, `allow` or `deny`";
    let entries = program::map(item, "a rule", shape, sink)?;
    let [Entry { key, value }] = entries else {
        sink.add(Diagnostic::error(item.span, format!("a rule is a map {shape}")));
        return None;
    };
    let allow = match key.text.as_ref() {
        "allow" => true,
        "deny" => false,
        other => {
            let wrong = Diagnostic::error(key.span, format!("unknown key `{other}`"));
            sink.add_with_hint(wrong, || suggest(other, ["allow", "deny"], "known keys"));
            return None;
        }
    };
    let all = || vec!["*".to_owned()];
    let hosts = HostSelector::everybody();
    let mut rule = PolicyRule { allow, hosts, kinds: all(), names: all(), channels: all() };
    if value.is_null() {
        let wrong = Diagnostic::error(key.span, format!("`{}` says nothing", key.text));
        sink.add(wrong.with_help("write `{}` for all exports, or what it is about"));
    }
    for Entry { key, value } in program::map(value, "a rule", "of what it is about", sink)? {
        let name = key.text.as_ref();
        match name {
            "hosts" => rule.hosts = select::hosts("`hosts`", value, sink)?,
            "kinds" => rule.kinds = globs(name, value, sink)?,
            "names" => rule.names = globs(name, value, sink)?,
            "channels" => rule.channels = globs(name, value, sink)?,
            other => {
                let wrong = Diagnostic::error(key.span, format!("unknown key `{other}`"));
                sink.add_with_hint(wrong, || suggest(other, KEYS, "known keys"));
            }
        }
    }
    Some(rule)
}

fn globs(name: &str, value: &Node, sink: &mut Sink) -> Option<Vec<String>> {
    let texts = select::texts(&format!("`{name}`"), value, sink)?;
    if texts.is_empty() {
        let wrong = Diagnostic::error(value.span, format!("`{name}` is empty and means nothing"));
        sink.add(wrong.with_help("remove it for all, or name some"));
    }
    if let Err(why) = Globs::new(&texts) {
        sink.add(Diagnostic::error(value.span, format!("`{name}`: {why}")));
    }
    Some(texts)
}

/// The text of a policy, which reads as these rules.
pub fn policy_text(rules: &[PolicyRule]) -> String {
    if rules.is_empty() {
        return "rules: []\n".to_owned();
    }
    let mut text = "rules:\n".to_owned();
    for rule in rules {
        let mut about = serde_json::Map::new();
        if !rule.hosts.is_everybody() {
            about.insert("hosts".to_owned(), selector(&rule.hosts));
        }
        for (key, globs) in
            [("kinds", &rule.kinds), ("names", &rule.names), ("channels", &rule.channels)]
        {
            if **globs != ["*"] {
                about.insert(key.to_owned(), json!(globs));
            }
        }
        let word = if rule.allow { "allow" } else { "deny" };
        text.push_str(&format!("- {word}: {}\n", spaced(&Json::Object(about))));
    }
    text
}

/// JSON as a person writes it in one line; it is YAML, too.
fn spaced(json: &Json) -> String {
    match json {
        Json::Object(map) => {
            let entry = |(key, value): (&String, &Json)| {
                let plain =
                    !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
                let key = if plain { key.clone() } else { json!(key).to_string() };
                format!("{key}: {}", spaced(value))
            };
            format!("{{{}}}", map.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Json::Array(items) => {
            format!("[{}]", items.iter().map(spaced).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn selector(hosts: &HostSelector) -> Json {
    match hosts {
        HostSelector::Names(names) => json!(names),
        HostSelector::Labels(tests) => {
            let one = |(key, test): (&String, &LabelTest)| {
                let test = match test {
                    LabelTest::Exists(wanted) => json!({"exists": wanted}),
                    LabelTest::Matches(matcher) => self::matcher(matcher),
                };
                (key.clone(), test)
            };
            json!({"labels": tests.iter().map(one).collect::<serde_json::Map<_, _>>()})
        }
    }
}

fn matcher(one: &Matcher) -> Json {
    match one {
        Matcher::Is(text) => json!({"is": text}),
        Matcher::Glob(text) => json!(text),
        Matcher::Regex(text) => json!({"regex": text}),
        Matcher::Any(all) => all.iter().map(matcher).collect(),
        Matcher::Not(inner) => json!({"not": matcher(inner)}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_reads_as_it_was_written() {
        let text = "rules:\n\
            - deny: {kinds: [exec], names: [\"secret-*\"]}\n\
            - allow: {hosts: [\"web*\", db1], kinds: [file, kv], channels: [default]}\n\
            - allow: {hosts: {labels: {role: web, tier: [a, {not: b}], old: {exists: false}, \
            re: {regex: \"x+\"}, on: {in: [\"yes\"]}}}}\n\
            - deny: {}\n";
        let (rules, found) = policy(text);
        assert_eq!(found, []);
        let rules = rules.unwrap();
        assert_eq!(
            rules.iter().map(|one| one.allow).collect::<Vec<_>>(),
            [false, true, true, false]
        );
        assert_eq!((&rules[3].hosts, &*rules[3].kinds[0]), (&HostSelector::everybody(), "*"));
        let written = policy_text(&rules);
        assert_eq!(policy(&written), (Some(rules), Vec::new()), "{written}");
        assert!(
            written.starts_with("rules:\n- deny: {kinds: [\"exec\"], names: [\"secret-*\"]}\n")
        );
        assert_eq!(policy(&policy_text(&[])).0, Some(Vec::new()));
    }

    #[test]
    fn every_mistake_in_a_policy_is_named_at_its_place() {
        let text = "rules:\n\
            - alow: {kinds: [file]}\n\
            - deny:\n\
            - allow: {kind: [file]}\n\
            - {allow: {}, deny: {}}\n\
            - allow: {names: [\"[\"], channels: []}\n\
            more: 1\n";
        let (rules, found) = policy(text);
        assert!(rules.is_none());
        let said: Vec<String> =
            found.iter().map(|one| format!("{}: {}", one.span.line, one.message)).collect();
        for (line, wanted) in [
            (2, "unknown key `alow`"),
            (3, "`deny` says nothing"),
            (4, "unknown key `kind`"),
            (5, "a rule is a map with one key, `allow` or `deny`"),
            (6, "`names`: the glob `[` is not valid"),
            (6, "`channels` is empty and means nothing"),
            (7, "unknown key `more`"),
        ] {
            let there = said.iter().any(|one| one.starts_with(&format!("{line}: {wanted}")));
            assert!(there, "{wanted}: {said:?}");
        }
        assert!(policy("{}").1[0].message.contains("has no `rules`"));
    }
}
