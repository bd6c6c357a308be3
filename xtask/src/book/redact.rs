//! Replaces what changes from run to run by placeholders, so that the rest can be compared.
//!
//! The same value in a chapter gets the same number, so relations stay checkable. It is idempotent:
//! what is a placeholder already is never touched, and a line is gone over until no rule fires any
//! more.

use std::collections::BTreeMap;

use regex::Regex;
use serde::Deserialize;

/// One rule of `book/redactions.toml`.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// Its name in records and messages.
    pub(crate) name: String,
    /// Finds the value in its one capture group.
    regex: Regex,
    /// Upper-case letters between the brackets.
    pub(crate) stem: String,
    /// Whether equal values get equal numbers; without, all are alike.
    numbered: bool,
    /// Chapter or block to which it is limited.
    scope: Option<String>,
}

/// All rules, in order.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    placeholder: Regex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rule: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    regex: String,
    stem: String,
    #[serde(default)]
    numbered: bool,
    scope: Option<String>,
}

/// The numbers given in one chapter so far, and which rules fired.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    numbers: BTreeMap<(String, String), usize>,
    used: BTreeMap<String, usize>,
    /// Names of the rules that fired, with how often.
    pub(crate) fired: BTreeMap<String, usize>,
}

impl Rules {
    /// Reads the rule file. Errors say which rule is wrong and why.
    pub(crate) fn parse(text: &str) -> Result<Rules, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut rules = Vec::new();
        for entry in file.rule {
            let bad = |why: String| format!("rule `{}`: {why}", entry.name);
            let regex = Regex::new(&entry.regex).map_err(|error| bad(error.to_string()))?;
            if regex.captures_len() != 2 {
                return Err(bad("needs exactly one capture group, around the value".into()));
            }
            if entry.stem.is_empty() || !entry.stem.chars().all(|c| c.is_ascii_uppercase()) {
                return Err(bad("its stem must be upper-case letters".into()));
            }
            let Entry { name, stem, numbered, scope, .. } = entry;
            rules.push(Rule { name, regex, stem, numbered, scope });
        }
        Rules::new(rules)
    }

    fn new(rules: Vec<Rule>) -> Result<Rules, String> {
        let stems: Vec<&str> = rules.iter().map(|rule| rule.stem.as_str()).collect();
        // Without any rule nothing is a placeholder: a class that no text is in.
        let stems = if stems.is_empty() { "[^\\s\\S]".into() } else { stems.join("|") };
        let placeholder =
            Regex::new(&format!(r"\[(?:{stems})[0-9]*\]")).map_err(|error| error.to_string())?;
        Ok(Rules { rules, placeholder })
    }

    /// The names of rules without a scope, in order: those that must fire somewhere in a full run.
    pub(crate) fn general(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter(|rule| rule.scope.is_none()).map(|rule| rule.name.as_str())
    }

    /// What finds placeholders in a text.
    pub(crate) fn placeholder(&self) -> &Regex {
        &self.placeholder
    }

    /// One line with its values replaced. `places` are the chapter and block at hand.
    pub(crate) fn line(&self, line: &str, places: &[&str], memory: &mut Memory) -> String {
        let mut text = line.to_owned();
        loop {
            let mut changed = false;
            for rule in &self.rules {
                if rule.scope.as_deref().is_none_or(|scope| places.contains(&scope)) {
                    changed |= self.apply(rule, &mut text, memory);
                }
            }
            // Each round replaces at least one character outside placeholders, so this ends.
            if !changed {
                return text;
            }
        }
    }

    /// Applies one rule to what lies between the placeholders; says whether it fired.
    fn apply(&self, rule: &Rule, text: &mut String, memory: &mut Memory) -> bool {
        let mut result = String::with_capacity(text.len());
        let mut fired = false;
        let mut start = 0;
        let mut held: Vec<(usize, usize)> =
            self.placeholder.find_iter(text).map(|found| (found.start(), found.end())).collect();
        held.push((text.len(), text.len()));
        for (from, to) in held {
            let piece = &text[start..from];
            let mut done = 0;
            for found in rule.regex.captures_iter(piece) {
                let Some(value) = found.get(1).filter(|value| !value.is_empty()) else { continue };
                result.push_str(&piece[done..value.start()]);
                let name = memory.name(rule, value.as_str());
                let after = &piece[value.end()..];
                result.push_str(&name);
                // Numbered values stand in tables: the next column stays where it was.
                if rule.numbered && after.starts_with("  ") {
                    let gap = value.as_str().chars().count().saturating_sub(name.len());
                    result.push_str(&" ".repeat(gap));
                }
                done = value.end();
                fired = true;
            }
            result.push_str(&piece[done..]);
            result.push_str(&text[from..to]);
            start = to;
        }
        *text = result;
        fired
    }
}

impl Memory {
    fn name(&mut self, rule: &Rule, value: &str) -> String {
        *self.fired.entry(rule.name.clone()).or_default() += 1;
        if !rule.numbered {
            return format!("[{}]", rule.stem);
        }
        let next = self.used.entry(rule.stem.clone()).or_default();
        let number =
            self.numbers.entry((rule.stem.clone(), value.to_owned())).or_insert_with(|| {
                *next += 1;
                *next
            });
        format!("[{}{number}]", rule.stem)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use proptest::prelude::*;

    use super::*;

    const RULES: &str = r#"
        [[rule]]
        name = "time"
        regex = '(\d{4}-\d\d-\d\dT[0-9:.]+Z)'
        stem = "TIME"
        [[rule]]
        name = "start"
        regex = '^(x+)'
        stem = "START"
        [[rule]]
        name = "id"
        regex = '\b([0-9a-f]{16})\b'
        stem = "ID"
        numbered = true
        [[rule]]
        name = "digit"
        regex = '([0-9])s'
        stem = "DURATION"
        [[rule]]
        name = "here"
        regex = '(secret)'
        stem = "SECRET"
        scope = "one"
    "#;

    fn rules() -> &'static Rules {
        static PARSED: OnceLock<Rules> = OnceLock::new();
        PARSED.get_or_init(|| Rules::parse(RULES).expect("good rules"))
    }

    #[test]
    fn equal_values_get_equal_numbers_and_columns_stay() {
        let mut memory = Memory::default();
        let mut redact = |line: &str| rules().line(line, &["two"], &mut memory);
        assert_eq!(redact("a 8e9e05c52164694d  voter"), "a [ID1]             voter");
        assert_eq!(redact("b 0123456789abcdef."), "b [ID2].");
        assert_eq!(redact("c 8e9e05c52164694d"), "c [ID1]");
        assert_eq!(redact("at 2026-01-02T03:04:05.6Z secret"), "at [TIME] secret");
        assert_eq!(memory.fired.get("id"), Some(&3));
        assert_eq!(rules().line("secret", &["one"], &mut memory), "[SECRET]");
    }

    #[test]
    fn a_bad_rule_is_refused_by_name() {
        for (regex, stem, expected) in [
            ("(", "A", "rule `r`: regex parse error"),
            ("a", "A", "rule `r`: needs exactly one capture group"),
            ("(a)", "a1", "rule `r`: its stem must be upper-case letters"),
        ] {
            let text = format!("[[rule]]\nname = 'r'\nregex = '{regex}'\nstem = '{stem}'\n");
            let why = Rules::parse(&text).expect_err("refused");
            assert!(why.contains(expected), "{why}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn redaction_is_idempotent(
            line in "(\\[ID1\\]|\\[|\\]|ID|x|5s|[0-9a-f]{16}|  | |é|2026-01-02T03:04:05Z){0,12}"
        ) {
            let rules = rules();
            let mut memory = Memory::default();
            let once = rules.line(&line, &[], &mut memory);
            let twice = rules.line(&once, &[], &mut memory);
            prop_assert_eq!(&once, &twice);
            let again = rules.line(&once, &[], &mut Memory::default());
            prop_assert_eq!(once, again);
        }
    }
}
