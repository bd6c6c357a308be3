//! `quorate host`: what an operator says about hosts.
//!
//! Refuses to guess what a word is meant to be.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Subcommand;

use super::agents::Which;
use super::site::{EXIT_CODES, End, act, ask, document, finish, table};
use crate::collect::record::shown;
use crate::collect::request::{Answer, HostRow, Request};

const EXAMPLES: &str = "\
Examples:
  quorate host list                          every host, its labels, and how many exports it has
  quorate host label web1 role=web dc-       gives a label, takes another one
  quorate host decommission web9             what web9 exports is taken nowhere any more
  quorate host decommission web9 --undo      it comes back

Labels say what a host is for; only an operator gives them, so rules may go by them: `hosts: \
{labels: {role: web}}`, `to: {labels: ...}`, `where: {host_labels: ...}`, `{{ me.labels.role }}`.";

/// Arguments of `host`.
#[derive(clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List the hosts of the site with their labels
    #[command(after_help = format!("Examples:\n  quorate host list --json\n\n{EXIT_CODES}"))]
    List {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Give a host labels (KEY=VALUE) or take them (KEY-)
    #[command(after_help = format!(
        "Examples:\n  quorate host label web1 role=web zone=a\n  quorate host label web1 zone-\n\n\
         {EXIT_CODES}"
    ))]
    Label {
        /// The host
        host: String,
        /// KEY=VALUE gives a label, KEY- takes it
        #[arg(required = true, value_name = "LABEL", value_parser = change)]
        labels: Vec<Change>,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Have nobody collect what a host exports, even while its agent is there
    #[command(after_help = format!(
        "Examples:\n  quorate host decommission web9\n  quorate host decommission web9 --undo\n\n\
         {EXIT_CODES}"
    ))]
    Decommission {
        /// The host
        host: String,
        /// It comes back
        #[arg(long)]
        undo: bool,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        which: Which,
    },
}

/// A label that comes, with its value, or goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change(String, Option<String>);

fn change(text: &str) -> Result<Change, String> {
    match (text.split_once('='), text.strip_suffix('-')) {
        (Some((key, value)), _) if !key.is_empty() => {
            Ok(Change(key.to_owned(), Some(value.to_owned())))
        }
        (None, Some(key)) if !key.is_empty() => Ok(Change(key.to_owned(), None)),
        _ => Err("write KEY=VALUE to give a label, KEY- to take it".to_owned()),
    }
}

/// Carries out a verb.
pub(super) fn run(args: &Args) -> ExitCode {
    finish(match &args.verb {
        Verb::List { json, which } => list(which, *json),
        Verb::Label { host, labels, json, which } => label(which, host, labels, *json),
        Verb::Decommission { host, undo, json, which } => {
            let request = Request::Decommission { host: host.clone(), undo: *undo };
            act(which, &request, *json)
        }
    })
}

fn label(which: &Which, host: &str, labels: &[Change], json: bool) -> Result<String, End> {
    let set: BTreeMap<String, String> = labels
        .iter()
        .filter_map(|Change(key, value)| Some((key.clone(), value.clone()?)))
        .collect();
    let gone = labels.iter().filter(|Change(_, value)| value.is_none());
    let unset: Vec<String> = gone.map(|Change(key, _)| key.clone()).collect();
    if let Some(both) = unset.iter().find(|key| set.contains_key(*key)) {
        return Err(End::failed(format!("the label `{both}` is given and taken; say one of them")));
    }
    act(which, &Request::Label { host: host.to_owned(), set, unset }, json)
}

fn list(which: &Which, json: bool) -> Result<String, End> {
    let Answer::Hosts(hosts) = ask(which, &Request::Hosts)? else { return Err(End::unexpected()) };
    match json {
        true => document(&serde_json::json!({"v": 1, "hosts": hosts})),
        false if hosts.is_empty() => {
            Ok("no host exports anything, and none has a label; `quorate host label H KEY=VALUE` \
                gives one\n"
                .to_owned())
        }
        false => Ok(rows(&hosts)),
    }
}

fn rows(hosts: &[HostRow]) -> String {
    let mut rows = vec![["HOST", "STATE", "EXPORTS", "SEAL", "LABELS"].map(str::to_owned)];
    for one in hosts {
        let state = match (one.decommissioned, one.present) {
            (true, _) => "decommissioned",
            (false, true) => "present",
            (false, false) => "gone",
        };
        let labels: Vec<String> =
            one.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(" ") };
        let seal = if one.sealable { "key" } else { "-" };
        let exports = one.exports.to_string();
        rows.push([one.host.as_str(), state, &exports, seal, &labels].map(shown));
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_given_or_taken_and_nothing_else_is_one() {
        let given = |key: &str, value: &str| Change(key.into(), Some(value.into()));
        for (text, wanted) in [
            ("role=web", Some(given("role", "web"))),
            ("role=", Some(given("role", ""))),
            ("a=b=c-", Some(given("a", "b=c-"))),
            ("role-", Some(Change("role".into(), None))),
            ("role", None),
            ("=web", None),
            ("-", None),
        ] {
            assert_eq!(change(text).ok(), wanted, "{text}");
        }
    }

    #[test]
    fn hosts_are_rows_of_a_table() {
        let web1 = HostRow {
            host: "web1".into(),
            present: true,
            exports: 2,
            labels: BTreeMap::from([("role".into(), "w\u{1b}b".into())]),
            ..HostRow::default()
        };
        let db1 = HostRow { host: "db1".into(), decommissioned: true, ..HostRow::default() };
        assert_eq!(
            rows(&[db1, web1]),
            "HOST  STATE           EXPORTS  SEAL  LABELS\n\
             db1   decommissioned  0        -     -\n\
             web1  present         2        -     role=w\u{fffd}b\n"
        );
    }
}
