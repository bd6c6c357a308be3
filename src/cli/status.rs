//! `quorate status`: what the agent of this host is doing, asked over its socket.

use std::fmt::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

use crate::agent::Surroundings;
use crate::agent::socket::{self, Topic};
use crate::ident::HostName;

/// Arguments of `status`.
#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 all is well; 1 no agent, a resource failed or is blocked, or the \
                  graph file is refused; 2 bad usage."
)]
pub(super) struct Args {
    /// The agent with this host name
    #[arg(long, env = "QUORATE_HOSTNAME", value_name = "NAME")]
    hostname: Option<String>,
    /// The agent with this state folder
    #[arg(long, env = "QUORATE_PREFIX", value_name = "DIR")]
    prefix: Option<PathBuf>,
    /// Print the agent's answer as one JSON document
    #[arg(long)]
    json: bool,
}

/// Prints the status.
pub(super) fn run(args: &Args) -> ExitCode {
    let text = match answer(args) {
        Ok(text) => text,
        Err(failure) => {
            super::print_error(failure);
            return ExitCode::from(super::EXIT_FAILED);
        }
    };
    if args.json {
        println!("{}", text.trim_end());
        return ExitCode::SUCCESS;
    }
    let Ok(status) = serde_json::from_str::<Value>(&text) else {
        super::print_error("the agent's answer is not a JSON document; is it of another version?");
        return ExitCode::from(super::EXIT_FAILED);
    };
    print!("{}", render(&status));
    let refused = status["graph"]["error"].is_string();
    let bad = refused || count(&status, "failed") + count(&status, "blocked") > 0;
    if bad { ExitCode::from(super::EXIT_FAILED) } else { ExitCode::SUCCESS }
}

fn answer(args: &Args) -> Result<String, String> {
    let around = Surroundings::read();
    if let Some(folder) = &args.prefix {
        return ask(folder);
    }
    if let Some(name) = &args.hostname {
        let host = HostName::parse(name).map_err(|why| format!("--hostname {name}: {why}"))?;
        return ask(&around.state_dir(&host));
    }
    let mut answers: Vec<(PathBuf, String)> = candidates(&around)
        .into_iter()
        .filter_map(|folder| Some((folder.clone(), socket::ask(&folder, Topic::Status).ok()?)))
        .collect();
    match answers.len() {
        0 => Err("no agent is running on this host. Start one with `quorate run`, or name its \
                  state folder with --prefix"
            .to_owned()),
        1 => Ok(answers.remove(0).1),
        n => {
            let names: Vec<String> =
                answers.iter().map(|(at, _)| at.display().to_string()).collect();
            Err(format!("{n} agents run on this host; choose with --prefix: {}", names.join(", ")))
        }
    }
}

fn ask(folder: &Path) -> Result<String, String> {
    socket::ask(folder, Topic::Status)
        .map_err(|why| format!("no agent answers in {}: {why}", folder.display()))
}

/// The folders in which an agent of this user may have its socket.
fn candidates(around: &Surroundings) -> Vec<PathBuf> {
    let root = around.state_root();
    let mut folders = vec![root.clone()];
    folders.extend(around.state_directory.clone());
    folders.extend(subfolders(&root, ""));
    folders.extend(subfolders(&std::env::temp_dir(), "quorate-"));
    // A socket in somebody else's folder would answer what that user likes.
    let me = nix::unistd::geteuid().as_raw();
    let own = |folder: &PathBuf| std::fs::symlink_metadata(folder).is_ok_and(|of| of.uid() == me);
    folders.retain(|folder| own(folder) && folder.join(socket::NAME).exists());
    folders.sort();
    folders.dedup();
    folders
}

fn subfolders(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return Vec::new();
    };
    let named = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    };
    entries.flatten().map(|entry| entry.path()).filter(named).collect()
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
    line("converged", if status["converged"] == true { "yes" } else { "no" }.to_owned());
    out
}

fn cluster_line(cluster: &Value) -> String {
    let members = cluster["members"].as_array().map_or(&[][..], Vec::as_slice);
    let voters = members.iter().filter(|one| one["role"] == "voter").count();
    let up = members.iter().filter(|one| one["role"] == "voter" && one["up"] == true).count();
    format!(
        "{up} of {voters} voters up, {} wanted, leader {}",
        cluster["desired"],
        text(cluster, "leader")
    )
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
    fn an_answer_of_another_version_is_still_shown() {
        assert!(render(&json!({"v": 9})).starts_with("host       -\n"));
    }
}
