//! `quorate exports diff FILE`: what this host would publish by a file, beside what it publishes.
//!
//! Refuses to publish anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use serde_json::Value as Json;

use super::{Listing, counted, listed};
use crate::agent::socket::Topic;
use crate::cli::agents::Which;
use crate::cli::check;
use crate::cli::site::{End, ask, document};
use crate::collect::Policy;
use crate::collect::listing;
use crate::collect::publish::{self, Published, Sealing};
use crate::collect::record::{json_fields, sealed_to, shown};
use crate::collect::request::{Answer, Request};
use crate::ident::HostName;
use crate::matching::Me;
use crate::yaml;

/// One difference.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Difference {
    /// `+`, `~`, `-`, `!`, or `?` where that cannot be told.
    mark: char,
    kind: String,
    name: String,
    /// What differs, or why it is not published.
    what: String,
}

pub(super) fn run(which: &Which, file: &Path, json: bool) -> Result<String, End> {
    let (text, findings) = check::load(file).map_err(End::failed)?;
    if check::print(&file.display().to_string(), &text, &findings) > 0 {
        return Err(End::silent());
    }
    let program = yaml::parse(&text).0.ok_or_else(End::silent)?;
    let status = which.answer(Topic::Status).map_err(End::failed)?;
    let status: Json = serde_json::from_str(&status).map_err(|_| End::unexpected())?;
    let host = status["host"].as_str().ok_or_else(End::unexpected)?;
    let host = HostName::parse(host).map_err(|why| End::failed(why.to_string()))?;
    let Answer::Policy(view) = ask(which, &Request::Policy)? else { return Err(End::unexpected()) };
    let Answer::Hosts(hosts) = ask(which, &Request::Hosts)? else { return Err(End::unexpected()) };
    let from = Some(host.to_string());
    let own = Request::Exports { from, channel: None, kind: None, in_full: true };
    let own = listed(which, &own)?;
    let labels = hosts.into_iter().find(|row| row.host == host.as_str()).map(|row| row.labels);
    let me = Me { labels: labels.unwrap_or_default(), ..Me::new(host) };
    let policy =
        view.policy.map_or(Policy::Absent, |one| Policy::decode(one.to_string().as_bytes()));
    let found = differences(&publish::wanted(&program, &me, &policy), &own);
    if json {
        return document(&serde_json::json!({"v": 1, "host": me.host.as_str(), "diff": found}));
    }
    Ok(text_of(&found, own.rows.len()))
}

fn differences(wanted: &[Published], own: &Listing) -> Vec<Difference> {
    let mut there: BTreeMap<_, _> =
        own.rows.iter().map(|row| ((&*row.channel, &*row.kind, &*row.name), row)).collect();
    let mut found = Vec::new();
    let mut say = |mark, (_, kind, name): (&str, &str, &str), what: String| {
        found.push(Difference { mark, kind: kind.to_owned(), name: name.to_owned(), what });
    };
    for one in wanted {
        let at = (&*one.channel, &*one.kind, &*one.name);
        if let Some(problem) = &one.problem {
            say('!', at, problem.clone());
            continue;
        }
        let Some(row) = there.remove(&at) else {
            say('+', at, format!("to {}", listing::to(&one.to).join(",")));
            continue;
        };
        let seal = match &one.sealing {
            Sealing::Wanted(seal) => seal.clone(),
            _ => BTreeSet::new(),
        };
        let mut new = json_fields(&one.fields);
        new.retain(|name, _| !seal.contains(name));
        let old = row.fields.clone().unwrap_or_default();
        let names: BTreeSet<&String> = new.keys().chain(old.keys()).collect();
        let fields = names.into_iter().filter(|name| new.get(*name) != old.get(*name));
        let mut what: Vec<&str> = fields.map(String::as_str).collect();
        for (name, differs) in [
            ("to", listing::to(&one.to) != row.to),
            ("labels", one.labels != row.labels),
            ("lifetime", one.life.to_string() != row.life),
            ("seal", !seal.iter().eq(&row.sealed)),
        ] {
            what.extend(differs.then_some(name));
        }
        if !what.is_empty() {
            say('~', at, what.join(", "));
        } else if !seal.is_empty() {
            // Only the agent can tell, by its key.
            let fields: Vec<&str> = seal.iter().map(String::as_str).collect();
            let (fields, words) = (fields.join(", "), sealed_to(row.to.len()));
            say('?', at, format!("{fields} {words}, not compared"));
        }
    }
    there.into_keys().for_each(|at| say('-', at, String::new()));
    found.sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
    found
}

fn text_of(found: &[Difference], there: usize) -> String {
    let line = |one: &Difference| {
        let id = format!("{}[{}]", shown(&one.kind), shown(&one.name));
        let what = match one.what.as_str() {
            "" => String::new(),
            what => format!("  {}", shown(what)),
        };
        format!("{} {id}{what}\n", one.mark)
    };
    let mut text: String = found.iter().map(line).collect();
    text.push_str(&match found.iter().filter(|one| one.mark != '?').count() {
        0 => format!("{} as in the file\n", counted(there, "export")),
        n => format!("{}\n", counted(n, "difference")),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::listing::Row;
    use crate::spec::{Fields, HostSelector, Value};

    #[test]
    fn what_comes_changes_goes_and_may_not_is_told_apart() {
        let text = |value: &str| Value::Str(value.to_owned());
        let one = |name: &str, content: &str| {
            Published::plain("default", "file", name, Fields::from([("content", text(content))]))
        };
        let row = |name: &str, content: &str| Row {
            from: "web1".into(),
            channel: "default".into(),
            kind: "file".into(),
            name: name.into(),
            to: vec!["*".into()],
            life: "session".into(),
            state: "live".into(),
            fields: serde_json::json!({"content": content}).as_object().cloned(),
            ..Row::default()
        };
        let moved = Published { to: HostSelector::Names(vec!["lb1".into()]), ..one("b", "y") };
        let denied = Published { problem: Some("XE03 no".into()), ..one("d", "x") };
        let wanted = [one("a", "x"), moved, one("c", "x"), denied];
        let own = Listing { revision: 1, rows: vec![row("a", "x"), row("b", "x"), row("e", "x")] };
        assert_eq!(
            text_of(&differences(&wanted, &own), 3),
            "~ file[b]  content, to\n+ file[c]  to *\n! file[d]  XE03 no\n- file[e]\n4 \
             differences\n"
        );
        assert_eq!(
            text_of(&differences(&wanted[..1], &Listing { rows: vec![row("a", "x")], ..own }), 1),
            "1 export as in the file\n"
        );
    }
}
