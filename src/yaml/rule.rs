//! A collect rule in its full form.
//!
//! Refuses, when the file is read, what could never work or would take more than it says.

use std::sync::Arc;

use super::node::{Data, Entry, Node};
use super::program::{self, refuse_kind};
use super::{Sink, collect, meta, scalar, select, setting, terms};
use crate::diag::{Diagnostic, Span, suggest};
use crate::ident::ResourceId;
use crate::kind::Kind;
use crate::matching::{Globs, Scope, Template};
use crate::spec::FullRule;
use crate::spec::rule::{Conflict, Consent, Expect, Gather, Gone, Own, Reference, Take, seconds};

pub(super) const KEYS: [&str; 24] = [
    "rule", "hosts", "kind", "channel", "self", "where", "final", "take", "drop", "as", "into",
    "set", "unset", "meta", "within", "allow", "conflict", "gone", "expect", "after", "before",
    "notify", "gather", "wait",
];

mod wait;
mod whole;

/// Whether an item of `collect` is a full rule: it has another key than a legacy one.
pub(super) fn is_full(item: &Node) -> bool {
    match &item.data {
        Data::Map(entries) => entries.iter().any(|entry| {
            let key = entry.key.text.as_ref();
            !collect::KEYS.contains(&key) && KEYS.contains(&key)
        }),
        _ => false,
    }
}

/// Reads the rule at this place of the list.
pub(super) fn read(
    kinds: &[&dyn Kind],
    at: usize,
    item: &Node,
    sink: &mut Sink,
) -> Option<FullRule> {
    let Data::Map(entries) = &item.data else { return None };
    let find = |name: &str| entries.iter().find(|one| &*one.key.text == name);
    let mut id = format!("collect[{at}]");
    let mut span = find("kind").map_or(item.span, |one| one.value.span);
    if let Some(one) = find("rule").filter(|one| !one.value.is_null()) {
        span = one.value.span;
        let text = scalar::text("rule", &one.value, sink)?;
        if is_id(&text) {
            id = text;
        } else {
            let message = format!("XC10 {id}: `rule` has letters, digits, `.`, `_` and `-` only");
            sink.add(Diagnostic::error(one.value.span, message));
        }
    }
    let mut rule = FullRule::new(&id, Vec::new(), span);
    let before = sink.mark();
    let mut reader = Reader { kinds, lead: format!("XC10 {}", rule.label()), of: Vec::new(), sink };
    match find("kind").filter(|one| !one.value.is_null()) {
        Some(one) => reader.kinds(&mut rule, &one.value),
        None => reader.say(item.span, "it has no `kind`"),
    }
    for Entry { key, value } in entries {
        if !value.is_null() || !KEYS.contains(&key.text.as_ref()) {
            reader.take(&mut rule, key.text.as_ref(), key.span, value);
        }
    }
    reader.whole(&rule, entries);
    (sink.mark() == before).then_some(rule)
}

fn is_id(text: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=63).contains(&text.len()) && text.chars().all(known)
}

struct Reader<'a> {
    kinds: &'a [&'a dyn Kind],
    lead: String,
    /// The kinds that the rule takes, as far as they are known.
    of: Vec<&'a dyn Kind>,
    sink: &'a mut Sink,
}

impl Reader<'_> {
    fn say(&mut self, at: Span, text: impl std::fmt::Display) {
        self.sink.add(Diagnostic::error(at, format!("{}: {text}", self.lead)));
    }

    fn kinds(&mut self, rule: &mut FullRule, value: &Node) {
        let names = match &value.data {
            Data::List(_) => select::texts("`kind`", value, self.sink).unwrap_or_default(),
            _ => scalar::text("kind", value, self.sink).into_iter().collect(),
        };
        if names.is_empty() {
            self.say(value.span, "it has no `kind`");
        }
        for name in &names {
            if name.contains(['*', '?']) {
                self.say(value.span, format!("`{name}` is no kind; name each kind"));
                continue;
            }
            match self.kinds.iter().find(|kind| kind.name() == name) {
                Some(kind) => self.of.push(*kind),
                None => {
                    let lead = format!("{}: ", self.lead);
                    refuse_kind(self.kinds, &lead, name, value.span, self.sink);
                }
            }
        }
        rule.kinds = names;
    }

    fn take(&mut self, rule: &mut FullRule, key: &str, at: Span, value: &Node) {
        let lead = self.lead.clone();
        match key {
            "rule" | "kind" => {}
            "hosts" => {
                rule.hosts = select::hosts(&format!("{lead}: `hosts`"), value, self.sink);
            }
            "channel" => {
                rule.channels = match &value.data {
                    Data::List(_) => {
                        select::texts("`channel`", value, self.sink).unwrap_or_default()
                    }
                    _ => scalar::text(key, value, self.sink).into_iter().collect(),
                };
                for wrong in rule.channels.iter().filter_map(|one| terms::bad_channel(one)) {
                    self.say(value.span, wrong);
                }
            }
            "self" => {
                let words =
                    [("include", Own::Include), ("exclude", Own::Exclude), ("only", Own::Only)];
                rule.own = self.word(key, value, &words).unwrap_or(rule.own);
            }
            "where" => {
                if let Some(condition) = select::condition(&lead, value, self.sink) {
                    rule.filter = condition;
                }
            }
            "final" => rule.last = scalar::boolean(key, value, self.sink).unwrap_or(true),
            "take" => rule.take = Take::Only(self.fields(key, value)),
            "drop" => rule.take = Take::Without(self.fields(key, value)),
            "unset" => rule.unset = self.fields(key, value),
            "as" => rule.name = self.name(value),
            "into" => rule.into = self.directory(key, value),
            "within" => rule.within = self.directory(key, value),
            "set" => {
                let lead = format!("{lead}: `set`");
                rule.set = setting::read(&lead, &self.of, value, Scope::Export, self.sink);
            }
            "meta" => rule.meta = Arc::new(meta::read(value, self.sink)),
            "allow" => self.allow(rule, value),
            "conflict" => self.conflict(rule, value),
            "gone" => self.gone(rule, value),
            "expect" => self.expect(rule, value),
            "wait" => rule.wait = self.wait(value),
            "after" => rule.after = self.references(key, value),
            "before" => rule.before = self.references(key, value),
            "notify" => rule.notify = self.references(key, value),
            "gather" => self.gather(rule, value),
            "pattern" => {
                let message =
                    format!("{lead}: `pattern` stands in a rule of `kind` and `pattern` only");
                self.sink.add(Diagnostic::error(at, message).with_help("use `into` or `within`"));
            }
            _ => {
                let found = Diagnostic::error(at, format!("{lead}: unknown key `{key}`"));
                self.sink.add_with_hint(found, || suggest(key, KEYS, "known keys"));
            }
        }
    }

    fn allow(&mut self, rule: &mut FullRule, value: &Node) {
        let lead = self.lead.clone();
        for text in select::texts("`allow`", value, self.sink).unwrap_or_default() {
            match Consent::ALL.into_iter().find(|one| one.as_str() == text) {
                Some(consent) => drop(rule.allow.insert(consent)),
                None => {
                    let found = Diagnostic::error(
                        value.span,
                        format!("{lead}: `{text}` is nothing to allow"),
                    );
                    let known = Consent::ALL.map(Consent::as_str);
                    self.sink.add_with_hint(found, || suggest(&text, known, "known"));
                }
            }
        }
    }

    fn gone(&mut self, rule: &mut FullRule, value: &Node) {
        match scalar::text("gone", value, self.sink).as_deref() {
            Some("forget") | None => {}
            Some("freeze") => rule.gone = Gone::Freeze,
            Some("remove") => rule.gone = Gone::Remove,
            Some(other) => {
                self.say(value.span, format!("`gone` is forget, freeze or remove, not `{other}`"));
            }
        }
    }

    fn word<T: Copy>(&mut self, key: &str, value: &Node, words: &[(&str, T)]) -> Option<T> {
        let text = scalar::text(key, value, self.sink)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, found)| *found);
        if found.is_none() {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.say(value.span, format!("`{key}` is {}, not `{text}`", words.join(", ")));
        }
        found
    }

    fn fields(&mut self, key: &str, value: &Node) -> Vec<String> {
        let names = select::texts(&format!("`{key}`"), value, self.sink).unwrap_or_default();
        for name in &names {
            let known = self.of.iter().any(|kind| kind.fields().iter().any(|one| one.name == name));
            if !known && !self.of.is_empty() {
                self.say(value.span, format!("`{key}`: no kind of the rule has a field `{name}`"));
            }
        }
        names
    }

    fn name(&mut self, value: &Node) -> Option<String> {
        let Data::Map(entries) = &value.data else {
            self.say(value.span, "`as` is written `as: {name: TEXT}`");
            return None;
        };
        let [Entry { key, value }] = entries.as_slice() else {
            self.say(value.span, "`as` has one key, `name`");
            return None;
        };
        if &*key.text != "name" {
            self.say(key.span, "`as` has one key, `name`");
            return None;
        }
        let text = scalar::text("name", value, self.sink)?;
        match Template::new(&text, Scope::Export) {
            Ok(_) => Some(text),
            Err(why) => {
                self.say(value.span, why);
                None
            }
        }
    }

    fn directory(&mut self, key: &str, value: &Node) -> Option<String> {
        let text = scalar::text(key, value, self.sink)?;
        if !text.starts_with('/') || !text.ends_with('/') || text.split('/').any(|one| one == "..")
        {
            self.say(value.span, format!("`{key}` is an absolute directory that ends in \"/\""));
            return None;
        }
        Some(text)
    }

    fn conflict(&mut self, rule: &mut FullRule, value: &Node) {
        match &value.data {
            Data::Map(entries) if entries.len() == 1 && &*entries[0].key.text == "prefer" => {
                let globs = select::texts("`prefer`", &entries[0].value, self.sink);
                let globs = globs.unwrap_or_default();
                match Globs::new(&globs) {
                    Ok(_) => rule.conflict = Conflict::Prefer(globs),
                    Err(why) => self.say(value.span, why),
                }
            }
            _ => match scalar::text("conflict", value, self.sink).as_deref() {
                Some("hold") | None => {}
                Some("newest") => rule.conflict = Conflict::Newest,
                Some(other) => {
                    let words = "`conflict` is hold, newest or {prefer: [HOST]}";
                    self.say(value.span, format!("{words}, not `{other}`"));
                }
            },
        }
    }

    fn expect(&mut self, rule: &mut FullRule, value: &Node) {
        let lead = format!("{}: `expect`", self.lead);
        let mut expect = Expect::default();
        for Entry { key, value } in
            program::map(value, &lead, "with `min`, `max`, `max_drop` and `hold`", self.sink)
                .unwrap_or_default()
        {
            let number = |sink: &mut Sink| {
                scalar::integer(&key.text, value, sink).map(|n| usize::try_from(n).ok())
            };
            let found = match key.text.as_ref() {
                "min" => number(self.sink).map(|n| n.map(|n| expect.min = n)),
                "max" => number(self.sink).map(|n| n.map(|n| expect.max = Some(n))),
                "max_drop" | "hold" => {
                    self.shrinking(&key.text, value, &mut expect);
                    continue;
                }
                name => {
                    self.say(key.span, format!("unknown key `{name}` in `expect`"));
                    continue;
                }
            };
            if found == Some(None) {
                self.say(value.span, format!("`{}` is a number from 0", key.text));
            }
        }
        if expect.max.is_some_and(|max| max < expect.min) {
            self.say(value.span, "`max` is below `min`");
        }
        rule.expect = expect;
    }

    /// How much fewer exports may be at once, and for how long more than that is not believed.
    fn shrinking(&mut self, key: &str, value: &Node, expect: &mut Expect) {
        let Some(text) = scalar::text(key, value, self.sink) else { return };
        if key == "hold" {
            expect.hold = seconds(&text);
            if expect.hold.is_none() {
                self.say(value.span, format!("`hold` is a duration such as `10m`, not `{text}`"));
            }
            return;
        }
        let percent = text.strip_suffix('%').and_then(|digits| digits.trim().parse::<u8>().ok());
        expect.max_drop = percent.filter(|percent| *percent <= 100);
        if expect.max_drop.is_none() {
            self.say(value.span, format!("`max_drop` is a share such as `50%`, not `{text}`"));
        }
    }

    fn references(&mut self, key: &str, value: &Node) -> Vec<Reference> {
        let mut found = Vec::new();
        for text in select::texts(&format!("`{key}`"), value, self.sink).unwrap_or_default() {
            let resource = text.strip_suffix(']').and_then(|text| text.split_once('['));
            match (text.strip_prefix("rule:"), resource) {
                (Some(rule), _) => found.push(Reference::Rule(rule.into())),
                (None, Some((kind, name))) if !kind.is_empty() && !name.is_empty() => {
                    found.push(Reference::Resource(ResourceId::new(kind, name)));
                }
                _ => self.say(
                    value.span,
                    format!("`{text}` in `{key}` is neither KIND[NAME] nor rule:ID"),
                ),
            }
        }
        found
    }

    fn gather(&mut self, rule: &mut FullRule, value: &Node) {
        let lead = format!("{}: `gather`", self.lead);
        let shape = "with `kind`, `name` and fields";
        let Some(entries) = program::map(value, &lead, shape, self.sink) else { return };
        let find = |name: &str| entries.iter().find(|one| &*one.key.text == name);
        let (Some(kind), Some(name)) = (find("kind"), find("name")) else {
            return self.say(value.span, "`gather` has a `kind` and a `name`");
        };
        let text = |value: &Node, sink: &mut Sink| scalar::text("gather", value, sink);
        let (Some(kind_name), Some(name)) =
            (text(&kind.value, self.sink), text(&name.value, self.sink))
        else {
            return;
        };
        let Some(made) = self.kinds.iter().find(|one| one.name() == kind_name) else {
            let lead = format!("{}: ", self.lead);
            return refuse_kind(self.kinds, &lead, &kind_name, kind.value.span, self.sink);
        };
        let mut fields = std::collections::BTreeMap::new();
        for Entry { key, value } in entries {
            if matches!(key.text.as_ref(), "kind" | "name") || value.is_null() {
                continue;
            }
            let (scope, text) = (Scope::Gather, &key.text);
            let found = setting::field(&lead, &[*made], text, key.span, value, scope, self.sink);
            fields.extend(found.map(|value| (key.text.as_ref().to_owned(), value)));
        }
        rule.gather = Some(Gather { id: ResourceId::new(kind_name, name), fields });
    }
}
