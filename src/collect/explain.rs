//! What became of each export here, and why: the collector's own way, with words.
//!
//! Refuses to judge in another way than the collector does.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::record::shown;
use super::rules::{Explain, explain as each};
use super::{Export, Site};
use crate::spec::{CollectRule, Collected, Program};

/// What there is to say about one export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// Who exports it.
    pub from: String,
    /// The channel.
    pub channel: String,
    /// Its kind.
    pub kind: String,
    /// The name that it is published under.
    pub name: String,
    /// The revision of its last change.
    pub revision: i64,
    /// `rbac` when the store knows that its host wrote it, else `no`.
    #[serde(default)]
    pub auth: String,
    /// `claimed`, `held` or `unmatched`.
    pub state: String,
    /// Which resource it became, or why it became none: `file[x]`, `XC05 …`, `nearest rule …`.
    pub result: String,
    /// The way there: a word, and what there is to say under it.
    pub steps: Vec<(String, String)>,
}

/// Says what became of each of `exports`, in their order.
pub fn explain(
    site: &Site<'_>,
    exports: &[Arc<Export>],
    rules: &[CollectRule],
    local: &Program,
    previous: &[Collected],
) -> Vec<Explained> {
    let all = each(site, exports, rules, local, previous);
    exports.iter().zip(all).map(|(export, one)| said(export, one)).collect()
}

fn said(export: &Export, one: Explain) -> Explained {
    let auth = if one.proved { "rbac" } else { "no" }.to_owned();
    let (state, result) = match (one.became, one.held, one.nearest) {
        (Some(id), _, _) => ("claimed", shown(&id.to_string())),
        (None, Some(message), _) => ("held", message),
        (None, None, _) if one.claimed => ("held", "another resource stands against it".to_owned()),
        (None, None, Some((rule, what))) => {
            ("unmatched", format!("nearest {rule} failed at {what}"))
        }
        (None, None, None) => ("unmatched", "no rule is about its channel and kind".to_owned()),
    };
    let address = &export.address;
    Explained {
        from: address.from.to_string(),
        channel: address.channel.clone(),
        kind: address.kind.clone(),
        name: address.name.clone(),
        revision: export.revision,
        auth,
        state: state.to_owned(),
        result,
        steps: one.lines,
    }
}

/// All in one line each, or one of them with its way.
pub fn text(all: &[Explained], in_full: bool) -> String {
    let mut text = String::new();
    for one in all {
        let id = format!("{}[{}] from {}", shown(&one.kind), shown(&one.name), one.from);
        if !in_full {
            text.push_str(&format!("{id}: {}: {}\n", one.state, one.result));
            continue;
        }
        text.push_str(&format!(
            "{id}: revision {}, channel {}, auth {}\n",
            one.revision,
            shown(&one.channel),
            one.auth
        ));
        let steps = one.steps.iter().map(|(word, what)| (word.as_str(), what.as_str()));
        let steps: Vec<_> = steps.chain([(one.state.as_str(), one.result.as_str())]).collect();
        let width = steps.iter().map(|(word, _)| word.chars().count()).max().unwrap_or_default();
        for (word, what) in steps {
            text.push_str(&format!("  {word:width$}  {what}\n"));
        }
    }
    text
}
