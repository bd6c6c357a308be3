//! Who may collect a record, as it is written in one.
//!
//! Refuses what it does not understand: that might keep a host out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::broken;
use crate::collect::Content;
use crate::spec::HostSelector;
use crate::spec::rule::{LabelTest, Matcher};

/// How many patterns may say who may collect a record: each collector compiles all of them.
const PATTERNS_MAX: usize = 64;

/// Who may collect a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(in crate::collect) enum To {
    /// Hosts with a name of one of these forms.
    Names(Vec<String>),
    /// Hosts with labels that all match.
    Labels(BTreeMap<String, Label>),
}

/// What a label of a host has to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(in crate::collect) enum Label {
    Exists(bool),
    Is(String),
    Glob(String),
    Regex(String),
    Any(Vec<Label>),
    Not(Box<Label>),
}

pub(in crate::collect) fn to_wire(to: &HostSelector) -> To {
    match to {
        HostSelector::Names(names) => To::Names(names.clone()),
        HostSelector::Labels(tests) => To::Labels(
            tests
                .iter()
                .map(|(key, test)| {
                    let label = match test {
                        LabelTest::Exists(wanted) => Label::Exists(*wanted),
                        LabelTest::Matches(matcher) => label(matcher),
                    };
                    (key.clone(), label)
                })
                .collect(),
        ),
    }
}

fn label(matcher: &Matcher) -> Label {
    match matcher {
        Matcher::Is(text) => Label::Is(text.clone()),
        Matcher::Glob(text) => Label::Glob(text.clone()),
        Matcher::Regex(text) => Label::Regex(text.clone()),
        Matcher::Any(all) => Label::Any(all.iter().map(label).collect()),
        Matcher::Not(one) => Label::Not(Box::new(label(one))),
    }
}

/// Who is meant.
pub(in crate::collect) fn of_wire(to: To) -> Result<HostSelector, Content> {
    Ok(match to {
        To::Names(names) => HostSelector::Names(names),
        To::Labels(labels) => HostSelector::Labels(
            labels
                .into_iter()
                .map(|(key, one)| {
                    let test = match one {
                        Label::Exists(wanted) => LabelTest::Exists(wanted),
                        other => LabelTest::Matches(matcher(other)?),
                    };
                    Ok((key, test))
                })
                .collect::<Result<_, Content>>()?,
        ),
    })
}

fn matcher(label: Label) -> Result<Matcher, Content> {
    Ok(match label {
        Label::Exists(_) => return Err(broken("whether a label exists stands inside a test")),
        Label::Is(text) => Matcher::Is(text),
        Label::Glob(text) => Matcher::Glob(text),
        Label::Regex(text) => Matcher::Regex(text),
        Label::Any(all) => Matcher::Any(all.into_iter().map(matcher).collect::<Result<_, _>>()?),
        Label::Not(one) => Matcher::Not(Box::new(matcher(*one)?)),
    })
}

fn patterns(label: &Label) -> usize {
    match label {
        Label::Any(all) => all.iter().map(patterns).sum::<usize>().max(1),
        Label::Not(one) => patterns(one),
        _ => 1,
    }
}

pub(super) type Terms = (BTreeMap<String, String>, HostSelector);

/// The labels and hosts that a record names.
pub(super) fn terms(map: &mut serde_json::Map<String, Json>) -> Result<Terms, Content> {
    let mut part =
        |key: &str| map.remove(key).ok_or_else(|| broken(format!("the record has no `{key}`")));
    let labels = serde_json::from_value(part("labels")?)
        .map_err(|_| broken("the labels of the record are no texts"))?;
    let to: To = serde_json::from_value(part("to")?)
        .map_err(|_| broken("who may collect the record is not understood"))?;
    let many = match &to {
        To::Names(names) => names.len(),
        To::Labels(labels) => labels.values().map(patterns).sum(),
    };
    if many > PATTERNS_MAX {
        let text = format!("who may collect the record is said by {many} patterns");
        return Err(broken(format!("{text}, {PATTERNS_MAX} are permitted")));
    }
    Ok((labels, of_wire(to)?))
}
