//! `quorate exports`: what all hosts export, as the store holds it; and the policy that says who
//! may export what.
//!
//! Refuses to decide who may: the agent and the store do.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::agents::Which;
use super::listing::{now_ms, span};
use super::site::{EXIT_CODES, End, ask, document, finish, table};
use crate::agent::socket::Topic;
use crate::collect::listing::Row;
use crate::collect::record::{sealed_to, shown};
use crate::collect::request::{Answer, Listing, Request};
use crate::ident::counted;

mod differ;
mod policy;

const EXAMPLES: &str = "\
Examples:
  quorate exports list                    one line for each record, of hosts that are gone, too
  quorate exports list --json             the live ones with their fields, to try rules on: \
`quorate collect explain --exports FILE`
  quorate exports get 'file[vhost]'       all that one record says
  quorate exports diff site.yaml          what this host would publish by this file, and withdraw
  quorate exports purge --gone            remove the records of hosts that are gone
  quorate exports policy set policy.yaml  who may export what";

/// Arguments of `exports`.
#[derive(clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List what all hosts export
    #[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
    List {
        /// Only what this host exports
        #[arg(long, value_name = "HOST")]
        from: Option<String>,
        /// Only this channel
        #[arg(long)]
        channel: Option<String>,
        /// Only this kind
        #[arg(long)]
        kind: Option<String>,
        /// Print one JSON document: the live exports with their fields
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Show all that is exported under a name
    #[command(after_help = format!(
        "Examples:\n  quorate exports get 'file[vhost]' --from web1\n\n{EXIT_CODES}"
    ))]
    Get {
        /// KIND[NAME]
        export: String,
        /// Only what this host exports
        #[arg(long, value_name = "HOST")]
        from: Option<String>,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Show what this host would publish by a graph file, and withdraw
    #[command(after_help = format!(
        "Examples:\n  quorate exports diff site.yaml\n\nThe file is read for the host whose agent \
         answers, with its labels.\n\n{EXIT_CODES}"
    ))]
    Diff {
        /// The graph file
        file: PathBuf,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Remove the records of hosts that are gone
    #[command(after_help = format!(
        "Examples:\n  quorate exports purge --gone --dry-run\n  \
         quorate exports purge --from web9\n\n\
         What another host collected stays on its disks.\n\n{EXIT_CODES}"
    ))]
    Purge {
        /// Of all hosts that are gone
        #[arg(long, required_unless_present = "from", conflicts_with = "from")]
        gone: bool,
        /// All records of this host, permanent ones too
        #[arg(long, value_name = "HOST")]
        from: Option<String>,
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Show or change who may export what
    Policy(policy::Args),
}

/// What is said where there is nothing to list.
pub(super) const NOTHING: &str =
    "no host exports anything; a resource whose name begins with `@@` is exported\n";

/// Carries out a verb.
pub(super) fn run(args: &Args) -> ExitCode {
    finish(match &args.verb {
        Verb::List { from: None, channel: None, kind: None, json: true, which } => {
            // In the form in which rules can be tried on it.
            which.answer(Topic::Exports).map(|answer| answer + "\n").map_err(End::failed)
        }
        Verb::List { from, channel, kind, json, which } => {
            let request = Request::Exports {
                from: from.clone(),
                channel: channel.clone(),
                kind: kind.clone(),
                in_full: *json,
            };
            listed(which, &request).and_then(|listing| match json {
                true => document(&serde_json::json!({"v": 1, "exports": listing})),
                false => Ok(rows(&listing, now_ms())),
            })
        }
        Verb::Get { export, from, json, which } => get(which, export, from.as_deref(), *json),
        Verb::Diff { file, json, which } => differ::run(which, file, *json),
        Verb::Purge { from, dry_run, json, which, .. } => {
            purge(which, from.as_deref(), *dry_run, *json)
        }
        Verb::Policy(args) => policy::run(args),
    })
}

fn listed(which: &Which, request: &Request) -> Result<Listing, End> {
    match ask(which, request)? {
        Answer::Exports(listing) => Ok(listing),
        _ => Err(End::unexpected()),
    }
}

fn get(which: &Which, export: &str, from: Option<&str>, json: bool) -> Result<String, End> {
    let parts = export.strip_suffix(']').and_then(|rest| rest.split_once('['));
    let Some((kind, name)) = parts else {
        return Err(End::failed(format!("write KIND[NAME], not `{export}`")));
    };
    let (from_host, kind) = (from.map(str::to_owned), Some(kind.to_owned()));
    let request = Request::Exports { from: from_host, channel: None, kind, in_full: true };
    let mut found = listed(which, &request)?;
    found.rows.retain(|row| row.name == name);
    if found.rows.is_empty() {
        let of = from.map(|from| format!(" by {from}")).unwrap_or_default();
        let next = "`quorate exports list` shows what is";
        return Err(End::failed(format!("{export} is not exported{of}; {next}")));
    }
    match json {
        true => document(&serde_json::json!({"v": 1, "exports": found})),
        false => Ok(found.rows.iter().map(|row| in_full(row, now_ms())).collect()),
    }
}

/// All that there is to say about one record.
fn in_full(row: &Row, now_ms: u64) -> String {
    let id = format!("{}[{}]", shown(&row.kind), shown(&row.name));
    let mut lines = vec![
        format!("{id} from {}: {}", row.from, state(row)),
        format!("  channel   {}", shown(&row.channel)),
        format!("  to        {}", to(row)),
        format!("  lifetime  {}", row.life),
        format!(
            "  revision  {}, {} old, {} bytes, {}",
            row.revision,
            age(row, now_ms),
            row.bytes,
            auth(row)
        ),
    ];
    for (key, value) in &row.labels {
        lines.push(format!("  label     {}: {}", shown(key), shown(value)));
    }
    if !row.sealed.is_empty() {
        let fields: Vec<String> = row.sealed.iter().map(|field| shown(field)).collect();
        lines.push(format!("  sealed    {}", fields.join(", ")));
    }
    for (key, value) in row.fields.iter().flatten() {
        lines.push(format!("  field     {}: {}", shown(key), shown(&value.to_string())));
    }
    lines.join("\n") + "\n"
}

fn state(row: &Row) -> String {
    let why = row.why.as_deref().map(|why| format!(" ({})", shown(why))).unwrap_or_default();
    let sealed = match row.sealed.is_empty() {
        true => String::new(),
        false => format!(", {}", sealed_to(row.to.len())),
    };
    format!("{}{why}{sealed}", row.state)
}

/// How long ago its last change was: its host's clock against that of this one.
fn age(row: &Row, now_ms: u64) -> String {
    let at = row.at.map(|at| at.saturating_mul(1_000));
    at.map_or_else(|| "-".to_owned(), |at| span(now_ms.saturating_sub(at)))
}

fn to(row: &Row) -> String {
    if row.to.is_empty() { "nobody".to_owned() } else { shown(&row.to.join(",")) }
}

fn auth(row: &Row) -> &'static str {
    if row.proved { "rbac" } else { "no" }
}

fn purge(which: &Which, from: Option<&str>, dry: bool, json: bool) -> Result<String, End> {
    let request = Request::Purge { from: from.map(str::to_owned), dry };
    let Answer::Purged(listing) = ask(which, &request)? else { return Err(End::unexpected()) };
    if json {
        return document(&serde_json::json!({"v": 1, "dry_run": dry, "purged": listing.rows}));
    }
    let word = if dry { "would be removed" } else { "removed" };
    let mut text: String = listing
        .rows
        .iter()
        .map(|row| format!("{}[{}] from {}\n", shown(&row.kind), shown(&row.name), row.from))
        .collect();
    text.push_str(&match listing.rows.len() {
        0 => "nothing is there of a host that is gone\n".to_owned(),
        n => format!("{} {word}\n", counted(n, "record")),
    });
    Ok(text)
}

fn rows(listing: &Listing, now_ms: u64) -> String {
    if listing.rows.is_empty() {
        return NOTHING.to_owned();
    }
    let channels = listing.rows.iter().any(|row| row.channel != "default");
    let head = ["FROM", "KIND", "NAME", "TO", "LIFE", "STATE", "AGE", "REVISION", "SIZE", "AUTH"];
    let mut all = vec![head.map(str::to_owned)];
    for row in &listing.rows {
        let name = match channels {
            true => format!("{}/{}", row.channel, row.name),
            false => row.name.clone(),
        };
        let (revision, size) = (row.revision.to_string(), format!("{}B", row.bytes));
        let (state, age, to) = (state(row), age(row, now_ms), to(row));
        let cells = [
            row.from.as_str(),
            &row.kind,
            &name,
            &to,
            &row.life,
            &state,
            &age,
            &revision,
            &size,
            auth(row),
        ];
        all.push(cells.map(shown));
    }
    let mut hosts: Vec<&str> = listing.rows.iter().map(|row| row.from.as_str()).collect();
    hosts.dedup();
    let gone = listing.rows.iter().filter(|row| row.state == "gone").count();
    let (exports, hosts) = (counted(listing.rows.len(), "export"), counted(hosts.len(), "host"));
    let mut text = table(&all);
    text.push_str(&format!("{exports} from {hosts}, revision {}", listing.revision));
    if gone > 0 {
        text.push_str(&format!("; {gone} gone (quorate exports purge --gone)"));
    }
    if channels {
        text.push_str("; names are shown as CHANNEL/NAME");
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(from: &str, name: &str, state: &str) -> Row {
        Row {
            from: from.into(),
            channel: "default".into(),
            kind: "file".into(),
            name: name.into(),
            to: vec!["lb*".into()],
            life: "session".into(),
            state: state.into(),
            revision: 7,
            at: Some(1_000),
            bytes: 312,
            ..Row::default()
        }
    }

    #[test]
    fn each_record_is_one_line_of_a_table() {
        let gone = Row { proved: true, at: None, to: Vec::new(), ..row("web2", "b\nc", "gone") };
        let listing = Listing { revision: 90, rows: vec![row("web1", "a", "live"), gone] };
        let wanted = "FROM  KIND  NAME  TO      LIFE     STATE  AGE  REVISION  SIZE  AUTH\n\
            web1  file  a     lb*     session  live   2m   7         312B  no\n\
            web2  file  b\u{fffd}c   nobody  session  gone   -    7         312B  rbac\n\
            2 exports from 2 hosts, revision 90; 1 gone (quorate exports purge --gone)\n";
        assert_eq!(rows(&listing, 1_120_000), wanted);
        assert_eq!(rows(&Listing::default(), 0), NOTHING);
        let secret = Row { channel: "keys".into(), ..row("web1", "a", "live") };
        let text = rows(&Listing { revision: 1, rows: vec![secret] }, 0);
        assert!(text.contains("keys/a") && text.contains("shown as CHANNEL/NAME"), "{text}");
    }

    #[test]
    fn one_record_is_shown_with_all_that_it_says() {
        let fields = serde_json::json!({"content": "x\u{1b}y"}).as_object().cloned();
        let denied = Row {
            why: Some("policy rule 2".into()),
            labels: std::collections::BTreeMap::from([("role".into(), "web".into())]),
            fields,
            ..row("web1", "a", "denied")
        };
        assert_eq!(
            in_full(&denied, 1_005_000),
            "file[a] from web1: denied (policy rule 2)\n  channel   default\n  to        lb*\n  \
             lifetime  session\n  revision  7, 5s old, 312 bytes, no\n  label     role: web\n  \
             field     content: \"x\\u001by\"\n"
        );
    }
}
