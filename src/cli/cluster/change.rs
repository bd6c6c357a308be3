//! `quorate cluster size|leave|remove|move-leader|away`: the plan first, then the change, then the
//! wait for it.

use std::path::Path;
use std::time::Duration;

use super::follow::{self, Waited};
use super::{EXIT_CODES, End, ask, print, print_json, unexpected};
use crate::agent::EXIT_TIME;
use crate::cli::agents::Which;
use crate::cluster::identity::{Identity, Phase};
use crate::cluster::plan;
use crate::cluster::report::Report;
use crate::cluster::request::{Answer, Planned, Request};
use crate::cluster::when;
use crate::ident::counted;

const SIZE: &str = "\
Examples:
  quorate cluster size                       how many voters are wanted, and what is still to come
  quorate cluster size 5                     change it; prints the plan, and waits until it is done
  quorate cluster size 3 --dry-run           print the plan only
  quorate cluster size 5 --no-wait           the cluster goes on by itself

An odd number is best: 4 voters can lose one, like 3. With --no-wait, or after ctrl-c, the change \
goes on all the same.";

const LEAVE: &str = "\
Examples:
  quorate cluster leave                      this host leaves the cluster, and its agent ends
  quorate cluster leave h3                   another one does
  quorate cluster leave h3 --dry-run         what it would lead to

The host puts its data aside, and joins again when its agent is started again.";

const REMOVE: &str = "\
Examples:
  quorate cluster remove h3                  a host that is dead, whose place nobody takes
  quorate cluster remove h3 --force --dry-run
                                             what removing it would lead to, were it alive
  quorate cluster remove h3 --force          do it

A dead voter is replaced by itself when another host can take its place.";

/// How long to wait.
#[derive(clap::Args)]
pub(super) struct Wait {
    /// Do not wait until it is done
    #[arg(long)]
    no_wait: bool,
    /// How long to wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "60",
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Only print what it would lead to
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Arguments of `cluster size`.
#[derive(clap::Args)]
#[command(after_help = format!("{SIZE}\n\n{EXIT_CODES}"))]
pub(super) struct Size {
    /// How many voters are wanted, 1 to 7
    #[arg(value_name = "N", value_parser = plan::size)]
    n: Option<u16>,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    which: Which,
}

/// Arguments of `cluster leave`.
#[derive(clap::Args)]
#[command(after_help = format!("{LEAVE}\n\n{EXIT_CODES}"))]
pub(super) struct Leave {
    /// The host that leaves; without one, the host that is asked
    host: Option<String>,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    which: Which,
}

/// Arguments of `cluster remove`.
#[derive(clap::Args)]
#[command(after_help = format!("{REMOVE}\n\n{EXIT_CODES}"))]
pub(super) struct Remove {
    /// The host whose member is removed
    host: String,
    /// Also when it does not count as dead
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    which: Which,
}

/// Arguments of `cluster move-leader`.
#[derive(clap::Args)]
#[command(after_help = format!(
    "Examples:\n  quorate cluster move-leader h2\n\n{EXIT_CODES}"
))]
pub(super) struct MoveLeader {
    /// The voter that is to lead
    host: String,
    #[command(flatten)]
    which: Which,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Arguments of `cluster away`.
#[derive(clap::Args)]
#[command(after_help = format!(
    "Examples:\n  quorate cluster away h2 2h             before its machine is opened\n  \
     quorate cluster away h2 0              it is back for good\n\n\
     A voter that is away does not count as dead before that time is over. The note ends when its \
     agent starts again.\n\n{EXIT_CODES}"
))]
pub(super) struct Away {
    /// The host
    host: String,
    /// For how long: 90s, 30m, 2h, 1d; 0 takes it back
    #[arg(value_parser = when::parse_span)]
    duration: u64,
    #[command(flatten)]
    which: Which,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// `cluster size`
pub(super) fn size(args: &Size) -> Result<u8, End> {
    let dry = args.wait.dry_run || args.n.is_none();
    let (folder, planned) = plan_of(&args.which, &Request::Size { n: args.n, dry })?;
    if !begun(&planned, &args.wait)? {
        return Ok(0);
    }
    let to = planned.plan.to;
    reach(&folder, &args.wait, |report| {
        report.cluster.as_ref().is_some_and(|seen| {
            let learns = seen.hosts.iter().any(|one| is_learner(one) && to > 1);
            seen.quorum && seen.voters == to && seen.pending.is_none() && !learns
        })
    })?;
    finished(&args.wait, &planned, &counted(to, "voter"))
}

fn is_learner(host: &crate::cluster::report::HostReport) -> bool {
    host.role == Some(crate::cluster::Role::Learner)
}

/// `cluster leave`
pub(super) fn leave(args: &Leave) -> Result<u8, End> {
    let request = Request::Leave { host: args.host.clone(), dry: args.wait.dry_run };
    let (folder, planned) = plan_of(&args.which, &request)?;
    if !begun(&planned, &args.wait)? {
        return Ok(0);
    }
    let host = planned.host.clone().unwrap_or_default();
    let gone = |report: &Report| {
        let hosts = report.cluster.iter().flat_map(|cluster| &cluster.hosts);
        let there = hosts.into_iter().find(|one| one.host == host);
        there.is_none_or(|one| one.member.is_none() && one.agent.is_none())
    };
    match wait_for(&folder, &args.wait, gone)? {
        Waited::Reached => {}
        Waited::AgentEnded => ended(&folder, &host)?,
    }
    finished(&args.wait, &planned, &format!("{host} has left"))
}

/// The asked agent has ended: whether it left is written in its folder.
fn ended(folder: &Path, host: &str) -> Result<(), End> {
    let text = std::fs::read_to_string(folder.join("identity.json")).unwrap_or_default();
    let left = Identity::parse(&text).is_ok_and(|identity| identity.phase == Phase::None);
    if left {
        return Ok(());
    }
    Err(End {
        code: EXIT_TIME,
        sentence: format!("the agent of {host} ended, but is a member still; see its log"),
    })
}

/// `cluster remove`
pub(super) fn remove(args: &Remove) -> Result<u8, End> {
    let request =
        Request::Remove { host: args.host.clone(), force: args.force, dry: args.wait.dry_run };
    let (folder, planned) = plan_of(&args.which, &request)?;
    if !begun(&planned, &args.wait)? {
        return Ok(0);
    }
    let member = planned.member.clone().unwrap_or_default();
    reach(&folder, &args.wait, |report| {
        let hosts = report.cluster.iter().flat_map(|cluster| &cluster.hosts);
        let mut members = hosts.filter_map(|one| one.member.as_ref());
        report.cluster.is_some() && members.all(|one| one.id != member)
    })?;
    finished(&args.wait, &planned, &format!("{} is no member any more", args.host))
}

/// `cluster move-leader`
pub(super) fn move_leader(args: &MoveLeader) -> Result<u8, End> {
    said(&args.which, &Request::MoveLeader { host: args.host.clone() }, args.json)
}

/// `cluster away`
pub(super) fn away(args: &Away) -> Result<u8, End> {
    let request = Request::Away { host: args.host.clone(), seconds: args.duration };
    said(&args.which, &request, args.json)
}

/// Prints one sentence.
fn said(which: &Which, request: &Request, json: bool) -> Result<u8, End> {
    match ask(which, request)?.1 {
        Answer::Said(said) if json => print_json(&serde_json::json!({"v": 1, "done": said})),
        Answer::Said(said) => print(&format!("{said}\n")),
        _ => Err(unexpected()),
    }
}

fn plan_of(which: &Which, request: &Request) -> Result<(std::path::PathBuf, Planned), End> {
    match ask(which, request)? {
        (folder, Answer::Planned(planned)) => Ok((folder, *planned)),
        _ => Err(unexpected()),
    }
}

/// Prints the plan; whether there is something to wait for.
fn begun(planned: &Planned, wait: &Wait) -> Result<bool, End> {
    let waits = planned.begun && !wait.no_wait;
    if !wait.json {
        print(&planned.render())?;
    } else if !waits {
        print_json(planned)?;
    }
    Ok(waits)
}

/// Waits in a case in which the asked agent has to stay.
fn reach(folder: &Path, wait: &Wait, wanted: impl Fn(&Report) -> bool) -> Result<(), End> {
    match wait_for(folder, wait, wanted)? {
        Waited::Reached => Ok(()),
        Waited::AgentEnded => {
            Err(End::failed("the agent that was asked has ended; ask another one how it goes on"))
        }
    }
}

fn wait_for(folder: &Path, wait: &Wait, wanted: impl Fn(&Report) -> bool) -> Result<Waited, End> {
    follow::until(folder, Duration::from_secs(wait.timeout), !wait.json, wanted)
}

fn finished(wait: &Wait, planned: &Planned, what: &str) -> Result<u8, End> {
    match wait.json {
        true => print_json(planned),
        false => print(&format!("done: {what}\n")),
    }
}
