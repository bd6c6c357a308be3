//! The conditions of a rule's `where`, compiled, and which of them fails.

use std::cell::OnceCell;

use super::pattern::Test;
use super::{Expression, Me, Pattern, Scope, Subject, Vars};
use crate::spec::Value;
use crate::spec::rule::{LabelTest, Matcher, Where};

/// A [`Where`], compiled.
#[derive(Debug)]
pub enum Filter {
    /// All hold.
    All(Vec<Filter>),
    /// One holds.
    Any(Vec<Filter>),
    /// It does not hold.
    Not(Box<Filter>),
    /// On a part of the export.
    Part(Part, Pattern, String),
    /// On a label.
    Label(Whose, String, LabelPattern, String),
    /// An expression.
    If(Expression),
}

/// Which part of an export.
#[derive(Clone, Debug)]
pub enum Part {
    /// Its name.
    Name,
    /// Its host.
    Host,
    /// A field.
    Field(String),
}

/// Whose label.
#[derive(Clone, Copy, Debug)]
pub enum Whose {
    /// The export's.
    Export,
    /// Its host's.
    Host,
}

/// What a label has to be, compiled.
#[derive(Clone, Debug)]
pub struct LabelPattern(Test);

/// Why a condition does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// What was looked at, for instance `labels.role`.
    pub what: String,
    /// The whole reason.
    pub why: String,
    /// It could not be judged: a name in it is undefined, or it gives no truth value.
    pub skipped: bool,
}

impl Filter {
    /// Compiles it.
    pub fn new(filter: &Where) -> Result<Self, String> {
        let part = |part: Part, matcher: &Matcher| {
            let pattern = match &part {
                Part::Field(name) if name == "path" => Pattern::of_path(matcher),
                _ => Pattern::new(matcher),
            };
            Ok(Filter::Part(part, pattern?, shown(matcher)))
        };
        let all = |list: &[Where]| list.iter().map(Filter::new).collect::<Result<Vec<_>, _>>();
        let label = |whose, key: &String, test: &LabelTest| {
            let shown = match test {
                LabelTest::Exists(true) => "any value".to_owned(),
                LabelTest::Exists(false) => "none".to_owned(),
                LabelTest::Matches(matcher) => shown(matcher),
            };
            Ok(Filter::Label(whose, key.clone(), LabelPattern(Test::new(test)?), shown))
        };
        match filter {
            Where::All(list) => all(list).map(Filter::All),
            Where::Any(list) => all(list).map(Filter::Any),
            Where::Not(one) => Filter::new(one).map(|one| Filter::Not(Box::new(one))),
            Where::Name(matcher) => part(Part::Name, matcher),
            Where::Host(matcher) => part(Part::Host, matcher),
            Where::Field(name, matcher) => part(Part::Field(name.clone()), matcher),
            Where::Label(key, test) => label(Whose::Export, key, test),
            Where::HostLabel(key, test) => label(Whose::Host, key, test),
            Where::If(text) => Expression::new(text, Scope::Export).map(Filter::If),
        }
    }

    /// Nothing when it holds, or why it does not.
    pub fn test(&self, subject: &Subject<'_>, me: &Me) -> Option<Miss> {
        self.ask(&Asked { subject, me, vars: OnceCell::new() })
    }

    /// Whether it could hold of this subject, whatever its fields are.
    pub fn may_hold(&self, subject: &Subject<'_>, me: &Me) -> bool {
        self.bounds(&Asked { subject, me, vars: OnceCell::new() }).0
    }

    /// Whether it could hold, and whether it could not hold, with some fields.
    fn bounds(&self, asked: &Asked<'_>) -> (bool, bool) {
        match self {
            Filter::All(list) => list.iter().fold((true, false), |(holds, fails), one| {
                let (may, may_not) = one.bounds(asked);
                (holds && may, fails || may_not)
            }),
            Filter::Any(list) => list.iter().fold((false, true), |(holds, fails), one| {
                let (may, may_not) = one.bounds(asked);
                (holds || may, fails && may_not)
            }),
            Filter::Not(one) => {
                let (may, may_not) = one.bounds(asked);
                (may_not, may)
            }
            Filter::Part(Part::Field(_), ..) | Filter::If(_) => (true, true),
            // Labels of hosts may come to be known later.
            Filter::Label(Whose::Host, ..) => (true, true),
            known => {
                let holds = known.ask(asked).is_none();
                (holds, !holds)
            }
        }
    }

    fn ask(&self, asked: &Asked<'_>) -> Option<Miss> {
        match self {
            Filter::All(list) => list.iter().find_map(|one| one.ask(asked)),
            Filter::Any(list) => {
                let mut misses = Vec::with_capacity(list.len());
                for one in list {
                    misses.push(one.ask(asked)?);
                }
                // One that cannot be judged says more than one that is just false.
                let at = misses.iter().position(|miss| miss.skipped).unwrap_or(0);
                let miss = (at < misses.len()).then(|| misses.swap_remove(at));
                Some(miss.unwrap_or_else(|| Miss::no("any", "there is nothing in it".to_owned())))
            }
            Filter::Not(one) => match one.ask(asked) {
                None => Some(Miss::no("not", "what it must not be holds".to_owned())),
                // What cannot be judged is not the opposite of what was asked.
                Some(miss) if miss.skipped => Some(miss),
                Some(_) => None,
            },
            Filter::Part(part, pattern, wanted) => asked.part(part, pattern, wanted),
            Filter::Label(whose, key, LabelPattern(test), wanted) => {
                let (labels, word) = match whose {
                    Whose::Export => (asked.subject.labels, "labels"),
                    Whose::Host => (asked.subject.host_labels, "host_labels"),
                };
                let value = labels.get(key).map(String::as_str);
                (!test.holds(value)).then(|| Miss::of(&format!("{word}.{key}"), value, wanted))
            }
            Filter::If(expression) => match expression.truth(asked.vars()) {
                Ok(true) => None,
                Ok(false) => Some(Miss::no("if", "if is false".to_owned())),
                Err(why) => Some(Miss { what: "if".to_owned(), why, skipped: true }),
            },
        }
    }
}

struct Asked<'a> {
    subject: &'a Subject<'a>,
    me: &'a Me,
    vars: OnceCell<Vars>,
}

impl Asked<'_> {
    fn vars(&self) -> &Vars {
        self.vars.get_or_init(|| Vars::of_export(self.subject, self.me))
    }

    fn part(&self, part: &Part, pattern: &Pattern, wanted: &str) -> Option<Miss> {
        match part {
            Part::Name => miss("name", self.subject.name, pattern, wanted),
            Part::Host => miss("host", self.subject.host.as_str(), pattern, wanted),
            Part::Field(name) => {
                let value = self.subject.fields.get(name);
                let holds = value.is_some_and(|value| any_text(value, pattern));
                let text = match value {
                    Some(Value::Str(text)) => Some(text.as_str()),
                    Some(_) => Some("something else"),
                    None => None,
                };
                (!holds).then(|| Miss::of(&format!("fields.{name}"), text, wanted))
            }
        }
    }
}

fn miss(what: &str, text: &str, pattern: &Pattern, wanted: &str) -> Option<Miss> {
    (!pattern.matches(text)).then(|| Miss::of(what, Some(text), wanted))
}

/// Whether a scalar, or an element of a list, matches.
fn any_text(value: &Value, pattern: &Pattern) -> bool {
    match value {
        Value::Str(text) => pattern.matches(text),
        Value::Int(number) => pattern.matches(&number.to_string()),
        Value::Bool(truth) => pattern.matches(if *truth { "true" } else { "false" }),
        Value::List(items) => items.iter().any(|item| any_text(item, pattern)),
        Value::Map(_) => false,
    }
}

impl Miss {
    fn no(what: &str, why: String) -> Self {
        Miss { what: what.to_owned(), why, skipped: false }
    }

    fn of(what: &str, found: Option<&str>, wanted: &str) -> Self {
        let why = match found {
            Some(found) => format!("{what} is \"{}\", wanted {wanted}", brief(found)),
            None => format!("{what} is not there, wanted {wanted}"),
        };
        Miss::no(what, why)
    }
}

/// Another host's text in a reason: short, in one line.
fn brief(text: &str) -> String {
    text.chars().take(60).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// What a matcher wants, for people.
fn shown(matcher: &Matcher) -> String {
    match matcher {
        Matcher::Is(text) | Matcher::Glob(text) => format!("\"{text}\""),
        Matcher::Regex(text) => format!("regex \"{text}\""),
        Matcher::Any(all) => {
            format!("one of {}", all.iter().map(shown).collect::<Vec<_>>().join(", "))
        }
        Matcher::Not(one) => format!("not {}", shown(one)),
    }
}
