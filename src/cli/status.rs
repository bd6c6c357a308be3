//! `quorate status`: what the agent of this host is doing, asked over its socket.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use serde_json::Value;

use super::agents::Which;
use super::listing::{self, Filter};
use super::watch;
use crate::agent::socket::Topic;
use crate::ident::counted;

const EXAMPLES: &str = "\
Examples:
  quorate status                             one fact a line
  quorate status --wide                      and a line for each resource: its state, for how long,
                                             when it is tried again, and who wants it
  quorate status --failed                    only those that failed or are blocked
  quorate status --resource 'file[/etc/*'    only those whose id fits; `*` stands for any text
  quorate status --watch                     again after each change, until ctrl-c
  quorate status --json --watch              one JSON document a line, for programs

Exit codes: 0 all is well; 1 no agent, a resource failed or is blocked, an export is held or not \
published, or the graph file is refused; 2 bad usage. With --watch: 0 after ctrl-c, 1 \
when the agent ends.";

/// Arguments of `status`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// Print the agent's answer as one JSON document
    #[arg(long)]
    json: bool,
    /// Print it again after each change, until ctrl-c
    #[arg(long, short)]
    watch: bool,
    /// Print a line for each resource
    #[arg(long)]
    wide: bool,
    /// Only resources whose id (KIND[NAME]) fits; `*` stands for any text
    #[arg(long, value_name = "PATTERN")]
    resource: Option<String>,
    /// Only resources that failed or are blocked
    #[arg(long)]
    failed: bool,
}

/// How the answers are shown.
pub(super) struct View {
    pub(super) json: bool,
    pub(super) wide: bool,
    filter: Filter,
}

/// Prints the status.
pub(super) fn run(args: &Args) -> ExitCode {
    let filter = Filter { pattern: args.resource.clone(), failed: args.failed };
    let view = View { json: args.json, wide: args.wide || filter.is_set(), filter };
    let found = args.which.find(Topic::Status);
    let (folder, text) = match found {
        Ok(found) => found,
        Err(failure) => {
            super::print_error(failure);
            return ExitCode::from(super::EXIT_FAILED);
        }
    };
    if args.watch {
        return watch::run(&folder, &view);
    }
    let Ok(status) = serde_json::from_str::<Value>(&text) else {
        super::print_error("the agent's answer is not a JSON document; is it of another version?");
        return ExitCode::from(super::EXIT_FAILED);
    };
    let shown = view.show(&status, listing::now_ms());
    let written = super::exit_after(std::io::stdout().write_all(shown.as_bytes()));
    if written != ExitCode::SUCCESS || args.json {
        return written;
    }
    let refused = status["graph"]["error"].is_string();
    let bad =
        refused || is_degraded(&status) || count(&status, "failed") + count(&status, "blocked") > 0;
    if bad { ExitCode::from(super::EXIT_FAILED) } else { ExitCode::SUCCESS }
}

impl View {
    /// A status as it is printed, with a final line break.
    pub(super) fn show(&self, status: &Value, now_ms: u64) -> String {
        if self.json {
            let mut status = status.clone();
            self.filter.apply(&mut status);
            return format!("{status}\n");
        }
        let mut out = render(status);
        if self.wide {
            out.push_str(&listing::render(status, &self.filter, now_ms));
        }
        out
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("-")
}

fn count(status: &Value, state: &str) -> usize {
    resources(status).filter(|one| one["state"] == state).count()
}

fn resources(status: &Value) -> impl Iterator<Item = &Value> {
    status["resources"].as_array().into_iter().flatten()
}

/// The status for people: one fact a line, the ones that need attention spelled out.
fn render(status: &Value) -> String {
    let mut out = String::new();
    let mut line = |key: &str, value: String| {
        // What other hosts wrote must not drive this terminal, nor forge a line.
        let value = value.replace(char::is_control, "\u{fffd}");
        // Writing to a string cannot fail.
        let _written = writeln!(out, "{key:<10} {value}");
    };
    line("host", text(status, "host").to_owned());
    let reason = status["reason"].as_str().map(|why| format!(" ({why})")).unwrap_or_default();
    line("role", format!("{}{reason}", text(status, "role")));
    if let Some(cluster) = status.get("cluster").filter(|one| !one.is_null()) {
        line("cluster", cluster_line(cluster));
        for member in cluster["members"].as_array().into_iter().flatten() {
            line("member", member_line(member));
        }
        if let Some(note) = cluster["note"].as_str() {
            line("note", note.to_owned());
        }
    }
    let graph = &status["graph"];
    let file = graph["file"].as_str().map(|file| format!(" from {file}")).unwrap_or_default();
    line("graph", format!("{}{file}", text(graph, "name")));
    if let Some(error) = graph["error"].as_str() {
        line("", format!("the file is refused, the graph before it keeps running: {error}"));
    }
    if let Some(state @ ("syncing" | "stale")) = status["store"]["state"].as_str() {
        line("store", format!("{state}: what other hosts export may be missing or old"));
    }
    line("resources", summary(status));
    for one in resources(status).filter(|one| one["error"].is_string()) {
        line("", format!("{} {}: {}", text(one, "id"), text(one, "state"), text(one, "error")));
    }
    for one in resources(status).filter(|one| one["state"] == "blocked") {
        let by: Vec<&str> =
            one["blocked_by"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        line("", format!("{} waits for {}", text(one, "id"), by.join(", ")));
    }
    if status["exports"].as_u64().unwrap_or(0) + status["collected"].as_u64().unwrap_or(0) > 0 {
        line(
            "exchange",
            format!("{} exported, {} collected", status["exports"], status["collected"]),
        );
    }
    for message in status["messages"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        line("", message.to_owned());
    }
    if is_degraded(status) {
        let what = match status["held"].as_u64().unwrap_or(0) {
            0 => "the store is not believed".to_owned(),
            n => format!("{n} held or not published"),
        };
        line("health", format!("degraded: {what}"));
    }
    line("converged", if status["converged"] == true { "yes" } else { "no" }.to_owned());
    out
}

/// Something that hosts exchange is missing here.
fn is_degraded(status: &Value) -> bool {
    status["health"] == "degraded"
}

fn cluster_line(cluster: &Value) -> String {
    let members = cluster["members"].as_array().map_or(&[][..], Vec::as_slice);
    let voters = members.iter().filter(|one| one["role"] == "voter").count();
    let up = members.iter().filter(|one| one["role"] == "voter" && one["up"] == true).count();
    // Not known without a quorum, after a start.
    let wanted = cluster["desired"].as_u64().map(|n| format!(", {n} wanted")).unwrap_or_default();
    format!("{up} of {} up{wanted}, leader {}", counted(voters, "voter"), text(cluster, "leader"))
}

fn member_line(member: &Value) -> String {
    let client = member["client"][0].as_str().unwrap_or("-");
    let state = if member["up"] == true { "up" } else { "down" };
    let leader = if member["leader"] == true { ", leader" } else { "" };
    format!("{} {} {state}{leader}, {client}", text(member, "host"), text(member, "role"))
}

fn summary(status: &Value) -> String {
    const STATES: [&str; 6] = ["ok", "would-change", "running", "pending", "failed", "blocked"];
    let parts: Vec<String> = STATES
        .iter()
        .map(|state| (count(status, state), state))
        .filter(|(n, _)| *n > 0)
        .map(|(n, state)| format!("{n} {state}"))
        .collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_needs_attention_is_spelled_out() {
        let shown = render(&json!({
            "host": "h1", "role": "standalone", "graph": {"name": "site", "file": "/x.yaml"},
            "converged": true, "resources": [
                {"id": "file[/a/b]", "state": "failed", "error": "directory /a/ does not exist"},
                {"id": "noop[n]", "state": "ok"}]}));
        assert_eq!(
            shown,
            "host       h1\nrole       standalone\ngraph      site from /x.yaml\n\
             resources  1 ok, 1 failed\n           \
             file[/a/b] failed: directory /a/ does not exist\nconverged  yes\n"
        );
    }

    #[test]
    fn a_held_export_is_a_line_of_its_own_though_nothing_is_left_to_do() {
        let held = "XC01 file[motd]: web1, web2 differ in content; held";
        let shown = render(&json!({
            "host": "h1", "converged": true, "health": "degraded", "held": 1,
            "messages": [held], "resources": []}));
        let end = "\nhealth     degraded: 1 held or not published\n\
            converged  yes\n";
        assert!(shown.contains(held) && shown.ends_with(end), "{shown}");
    }

    #[test]
    fn an_answer_of_another_version_is_still_shown() {
        assert!(render(&json!({"v": 9})).starts_with("host       -\n"));
    }
}
