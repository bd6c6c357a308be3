//! `quorate collect explain`: what becomes of each export on a host, and why; of a running agent,
//! or of files. `quorate collect accept`: a person takes the store or a rule's
//! exports as they are.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::agents::Which;
use super::{check, site};
use crate::agent::socket::{self, Accept, Topic};
use crate::collect::explain::{self, Explained};
use crate::collect::offline::{self, Offline};
use crate::collect::request::{Answer, HostRow, Request};
use crate::collect::{HostInfo, Policy, Site};
use crate::ident::HostName;
use crate::matching::{Me, here};
use crate::yaml;

const EXAMPLES: &str = "\
Examples:
  quorate collect explain                                  one line for each export
  quorate collect explain 'file[vhost]' --from web1        each step on the way of one
  quorate exports list --json > exports.json
  quorate collect explain --exports exports.json --graph site.yaml --on lb1
                                                           try rules without an agent
  quorate collect explain --graph site.yaml --on lb2       try rules on what is exported now, as
                                                           the host lb2 with its labels

The exports of a file: {\"v\": 1, \"exports\": [{\"from\": HOST, \"kind\": KIND, \"name\": NAME,
\"channel\": CHANNEL, \"labels\": {...}, \"to\": [HOST], \"fields\": {...}}, ...],
\"hosts\": {HOST: {\"labels\": {...}, \"authenticated\": true}}}

Exit codes: 0 done; 1 nothing like that is exported, a file has mistakes, or no agent answers; 2 \
bad usage.";

/// Arguments of `collect`.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Say for each export which rule took it, or which condition failed
    Explain(ExplainArgs),
    /// Take as it is what an agent does not believe
    Accept(AcceptArgs),
}

#[derive(clap::Args)]
#[command(
    after_help = "An agent that finds its store emptied, restored or replaced keeps what it \
has collected, and so does a rule whose exports become fewer than its `max_drop` permits. \
`quorate status` says so, until this is said.\n\n\
Exit codes: 0 done; 1 no agent answers; 2 bad usage."
)]
struct AcceptArgs {
    /// The exports that this rule takes, though they are far fewer than before
    #[arg(required_unless_present = "store", conflicts_with = "store")]
    rule: Option<String>,
    /// The store, though it is older than what was known of it, or another one
    #[arg(long)]
    store: bool,
    #[command(flatten)]
    which: Which,
}

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
struct ExplainArgs {
    /// Only this export, step by step: KIND[NAME]
    resource: Option<String>,
    /// Only exports of this host
    #[arg(long, value_name = "HOST")]
    from: Option<String>,
    /// Exports from this file instead of those that the agent sees
    #[arg(long, value_name = "FILE", requires_all = ["graph", "on"])]
    exports: Option<PathBuf>,
    /// The graph file whose rules are tried
    #[arg(long, value_name = "FILE", requires = "on")]
    graph: Option<PathBuf>,
    /// The host that the rules of --graph are tried for; without --exports on what is exported now
    #[arg(long, alias = "host", value_name = "HOST")]
    on: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

/// Says what becomes of exports.
pub(super) fn run(args: &Args) -> ExitCode {
    let args = match &args.verb {
        Verb::Explain(args) => args,
        Verb::Accept(args) => return accept(args),
    };
    let found = match (&args.exports, &args.graph, &args.on) {
        (Some(exports), Some(graph), Some(host)) => of_files(exports, graph, host),
        (None, Some(graph), Some(host)) => of_now(&args.which, graph, host),
        (_, _, Some(host)) => of_host(&args.which, host),
        _ => of_agent(&args.which),
    };
    let chosen = found.and_then(|all| choose(all, args));
    let (all, in_full) = match chosen {
        Ok(chosen) => chosen,
        Err(why) => {
            if let Some(why) = why {
                super::print_error(why);
            }
            return ExitCode::from(super::EXIT_FAILED);
        }
    };
    let text = if args.json {
        serde_json::json!({"v": 1, "exports": all}).to_string() + "\n"
    } else if all.is_empty() && args.from.is_none() {
        super::exports::NOTHING.to_owned()
    } else {
        explain::text(&all, in_full)
    };
    super::exit_after(std::io::stdout().write_all(text.as_bytes()))
}

/// Has the store of an agent believed.
fn accept(args: &AcceptArgs) -> ExitCode {
    let said = args.which.folder().and_then(|folder| {
        let what = args.rule.clone().map_or(Accept::Store, Accept::Rule);
        let answer = socket::ask_to_accept(&folder, what);
        answer.map_err(|why| format!("no agent answers in {}: {why}", folder.display()))
    });
    match said {
        Ok(answer) => {
            let doubted = answer.contains("\"doubted\":true");
            let what = match &args.rule {
                Some(rule) => format!("rule {rule}"),
                None => "the store".to_owned(),
            };
            let text = if doubted {
                format!("{what} is taken as it is; what is not there is no longer collected\n")
            } else {
                format!("{what} was not in doubt; nothing to do\n")
            };
            super::exit_after(std::io::stdout().write_all(text.as_bytes()))
        }
        Err(why) => {
            super::print_error(why);
            ExitCode::from(super::EXIT_FAILED)
        }
    }
}

/// What is printed; nothing when it was printed before.
type Failure = Option<String>;

fn choose(mut all: Vec<Explained>, args: &ExplainArgs) -> Result<(Vec<Explained>, bool), Failure> {
    if let Some(from) = &args.from {
        all.retain(|one| one.from == *from);
    }
    let Some(resource) = &args.resource else { return Ok((all, false)) };
    all.retain(|one| format!("{}[{}]", one.kind, one.name) == *resource);
    if all.is_empty() {
        let of = args.from.as_ref().map(|from| format!(" by {from}")).unwrap_or_default();
        let next = "`quorate exports list` shows what is";
        return Err(Some(format!("{resource} is not exported{of}; {next}")));
    }
    Ok((all, true))
}

fn of_agent(which: &Which) -> Result<Vec<Explained>, Failure> {
    let answer = which.answer(Topic::Collect).map_err(Some)?;
    serde_json::from_str(&answer).map_err(|why| {
        Some(format!("the agent's answer is not understood ({why}); is it of another version?"))
    })
}

/// What the agent of this host says, if it is the one that is meant: what others collect is said in
/// graph files that only they have.
fn of_host(which: &Which, host: &str) -> Result<Vec<Explained>, Failure> {
    let status = which.answer(Topic::Status).map_err(Some)?;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
    if status["host"] == host {
        return of_agent(which);
    }
    Err(Some(format!(
        "the rules of {host} are in its own graph file: name that with --graph, or ask on {host}"
    )))
}

/// Tries the rules of a file on what is exported now.
fn of_now(which: &Which, graph: &Path, host: &str) -> Result<Vec<Explained>, Failure> {
    let text = which.answer(Topic::Exports).map_err(Some)?;
    let mut site = offline::parse(&text).map_err(|why| Some(format!("the agent: {why}")))?;
    let known = |answer| match answer {
        Answer::Hosts(hosts) => Some(hosts),
        _ => None,
    };
    let hosts = site::ask(which, &Request::Hosts).ok().and_then(known).unwrap_or_default();
    for row in hosts {
        let HostRow { host, labels, decommissioned, .. } = row;
        if let Ok(host) = HostName::parse(&host) {
            site.hosts.insert(host, HostInfo { labels, decommissioned, ..HostInfo::default() });
        }
    }
    tried(&site, graph, host)
}

fn of_files(exports: &Path, graph: &Path, host: &str) -> Result<Vec<Explained>, Failure> {
    let text = std::fs::read_to_string(exports)
        .map_err(|why| Some(format!("{}: {why}", exports.display())))?;
    let site =
        offline::parse(&text).map_err(|why| Some(format!("{}: {why}", exports.display())))?;
    tried(&site, graph, host)
}

/// What the rules of a file make of exports on a host.
fn tried(site: &Offline, graph: &Path, host: &str) -> Result<Vec<Explained>, Failure> {
    let me = HostName::parse(host).map_err(|why| Some(format!("--on {host}: {why}")))?;
    let (text, findings) = check::load(graph).map_err(Some)?;
    if check::print(&graph.display().to_string(), &text, &findings) > 0 {
        return Err(None);
    }
    let program = yaml::parse(&text).0.ok_or(None)?;
    let labels = site.hosts.get(&me).map(|one| one.labels.clone()).unwrap_or_default();
    let me = Me { labels, facts: BTreeMap::new(), ..Me::new(me) };
    let program = here(&program, &me);
    let place = Site { me: &me, hosts: &site.hosts, policy: &Policy::Absent, proved: None };
    Ok(explain::explain(&place, &site.exports, &program.collect, &program, &[]))
}
