//! `quorate exports policy`: who may export what.
//!
//! Refuses to set a policy in which anything is wrong.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::counted;
use crate::cli::agents::Which;
use crate::cli::check;
use crate::cli::site::{EXIT_CODES, End, act, ask, document};
use crate::collect::listing::Row;
use crate::collect::policy::{self, Policy};
use crate::collect::record::shown;
use crate::collect::request::{Answer, PolicyView, Request};
use crate::collect::{Address, HostInfo};
use crate::ident::HostName;
use crate::spec::rule::PolicyRule;
use crate::yaml;

const EXAMPLES: &str = "\
Examples:
  quorate exports policy set policy.yaml
  quorate exports policy check policy.yaml   what it would deny of what is exported now
  quorate exports policy show > policy.yaml
  quorate exports policy clear

A policy:
  rules:
  - deny: {kinds: [file], names: [\"secret-*\"]}
  - allow: {hosts: [\"web*\"], kinds: [file, kv], channels: [default]}
  - allow: {hosts: {labels: {role: deploy}}, kinds: [exec]}
  - deny: {}

The first rule that fits an export decides; what is not named fits. What no rule is about may be \
exported unless its kind is powerful (`exec` for instance). Without a policy it is the same. \
Exporters and collectors check it at once.";

/// Arguments of `exports policy`.
#[derive(clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Print the policy, in the form in which it is written
    #[command(after_help = format!("Examples:\n  quorate exports policy show\n\n{EXIT_CODES}"))]
    Show(Ask),
    /// Say what a policy would deny of what is exported now, without setting it
    #[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
    Check(WithFile),
    /// Set the policy
    #[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
    Set(WithFile),
    /// Take the policy away
    #[command(after_help = format!("Examples:\n  quorate exports policy clear\n\n{EXIT_CODES}"))]
    Clear(Ask),
}

#[derive(clap::Args)]
struct Ask {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

#[derive(clap::Args)]
struct WithFile {
    /// The policy, in YAML; `-` for the standard input
    file: PathBuf,
    #[command(flatten)]
    ask: Ask,
}

/// Carries out a verb.
pub(super) fn run(args: &Args) -> Result<String, End> {
    match &args.verb {
        Verb::Show(ask) => show(ask),
        Verb::Check(args) => check(args),
        Verb::Set(args) => {
            let policy = serde_json::from_slice(&policy::encode(&read(&args.file)?)).ok();
            act(&args.ask.which, &Request::SetPolicy { policy }, args.ask.json)
        }
        Verb::Clear(ask) => act(&ask.which, &Request::SetPolicy { policy: None }, ask.json),
    }
}

/// The rules of a file; its mistakes are printed.
fn read(file: &Path) -> Result<Vec<PolicyRule>, End> {
    let (name, text) = if file == Path::new("-") {
        let mut text = String::new();
        let read = std::io::stdin().take(1 << 20).read_to_string(&mut text);
        read.map_err(|why| End::failed(format!("the standard input cannot be read: {why}")))?;
        ("-".to_owned(), text)
    } else {
        let text = crate::agent::source::read(file).map_err(End::failed)?;
        (file.display().to_string(), text)
    };
    let (rules, found) = yaml::policy(&text);
    check::print(&name, &text, &found);
    rules.ok_or_else(End::silent)
}

fn show(ask: &Ask) -> Result<String, End> {
    let Answer::Policy(view) = super::ask(&ask.which, &Request::Policy)? else {
        return Err(End::unexpected());
    };
    if ask.json {
        return document(&serde_json::json!({"v": 1, "policy": view}));
    }
    let PolicyView { policy, unreadable, .. } = view;
    match (policy, unreadable) {
        (_, Some(why)) => Err(End::failed(format!(
            "the policy cannot be read ({why}): nothing new is taken anywhere; set another one"
        ))),
        (Some(policy), None) => match Policy::decode(policy.to_string().as_bytes()) {
            Policy::Rules(rules) => Ok(yaml::policy_text(&rules)),
            _ => Err(End::unexpected()),
        },
        (None, None) => Ok("# no policy: all but powerful kinds may be exported\n".to_owned()),
    }
}

/// What a policy would say about what is exported now.
fn check(args: &WithFile) -> Result<String, End> {
    let rules = read(&args.file)?;
    let count = rules.len();
    let judge = Policy::Rules(rules).judge().map_err(End::failed)?;
    let which = &args.ask.which;
    let all = Request::Exports { from: None, channel: None, kind: None, in_full: false };
    let Answer::Exports(listing) = ask(which, &all)? else { return Err(End::unexpected()) };
    let Answer::Hosts(hosts) = ask(which, &Request::Hosts)? else { return Err(End::unexpected()) };
    let hosts = hosts.into_iter().filter_map(|row| {
        let info = HostInfo { labels: row.labels, ..HostInfo::default() };
        Some((HostName::parse(&row.host).ok()?, info))
    });
    let hosts: std::collections::BTreeMap<HostName, HostInfo> = hosts.collect();
    let mut denied = Vec::new();
    for row in &listing.rows {
        let Ok(from) = HostName::parse(&row.from) else { continue };
        let labels = hosts.get(&from).map(|info| info.labels.clone()).unwrap_or_default();
        let (channel, kind, name) = (row.channel.clone(), row.kind.clone(), row.name.clone());
        let ruling = judge.ruling(&Address { channel, kind, from, name }, &labels);
        if let policy::Ruling::Denied(rule) = ruling {
            denied.push((row, rule));
        }
    }
    let exports = listing.rows.len();
    if args.ask.json {
        let one = |(row, rule): &(&Row, usize)| {
            serde_json::json!({"from": row.from, "channel": row.channel, "kind": row.kind,
                "name": row.name, "rule": rule})
        };
        let denied: Vec<_> = denied.iter().map(one).collect();
        return document(&serde_json::json!({
            "v": 1, "rules": count, "exports": exports, "denied": denied
        }));
    }
    let line = |(row, rule): &(&Row, usize)| {
        let (kind, name) = (shown(&row.kind), shown(&row.name));
        format!("{kind}[{name}] from {}: would be denied by rule {rule}\n", row.from)
    };
    let mut text: String = denied.iter().map(line).collect();
    let (rules, exports) = (counted(count, "rule"), counted(exports, "export"));
    text.push_str(&format!("{rules}; of {exports} {} would be denied\n", denied.len()));
    Ok(text)
}
