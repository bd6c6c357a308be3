//! What a chapter runs on: a cluster of the lab, or one that the chapter makes itself.
//!
//! It translates between the cluster's real name and addresses and those that the book is written
//! with, in both directions, so that a page reads the same wherever it was recorded.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use super::block::Chapter;
use super::colour;
use super::fence::digest;
use super::header::{Agents, Making};
use crate::lab::{self, Acting, Agent, Lab, LabSpec, Lease, Output};
use crate::paths;

/// The network that the book is written for.
const BOOK_SUBNET: &str = "10.91.1.";
/// The cluster's name that the book is written for.
const BOOK_NAME: &str = "demo";

/// A place to run blocks in.
pub(crate) trait Stage: Sync {
    /// The host names of the nodes.
    fn nodes(&self) -> Vec<String>;
    /// Runs a shell script in a node.
    fn exec(&self, node: &str, script: &str, timeout: Duration) -> anyhow::Result<Output>;
    /// Runs a shell script in a node on a terminal of this width and height; the lines hold the
    /// colours that it was shown in.
    fn exec_on_terminal(
        &self,
        node: &str,
        script: &str,
        size: (u16, u16),
        timeout: Duration,
    ) -> anyhow::Result<Output>;
    /// Writes a file in a node.
    fn upload(&self, node: &str, path: &str, bytes: &[u8]) -> anyhow::Result<()>;
    /// Runs `cargo xtask` with these words on the cluster.
    fn host(&self, words: &[String], timeout: Duration) -> anyhow::Result<Output>;
    /// What the node's main process wrote.
    fn logs(&self, node: &str) -> anyhow::Result<Vec<String>>;
    /// Text of the book, as this cluster needs it.
    fn localise(&self, text: &str) -> String;
    /// Text of this cluster, as the book has it.
    fn generalise(&self, text: &str) -> String;
}

/// A stage of real nodes. Dropping it removes the cluster, and so does a signal.
pub(crate) struct Real {
    lab: Lab,
    /// The folder of the project, where host blocks run.
    root: PathBuf,
    /// The first three numbers of its addresses with the last dot. Known at once where the runner
    /// made the cluster, and from the first output that names its network where the chapter does.
    subnet: Mutex<Option<String>>,
}

impl Real {
    /// Makes the cluster that the chapter wants. What the nodes of one that does not get ready
    /// wrote is kept in the folder `logs`.
    pub(crate) fn up(chapter: &Chapter, root: &Path, logs: PathBuf) -> anyhow::Result<Real> {
        let root = root.to_owned();
        let name = cluster_name(&chapter.name, std::process::id());
        let header = &chapter.header;
        if header.making != Making::Fresh {
            let lab = Lab::promised(&name, header.nodes)?;
            return Ok(Real { lab, root, subnet: Mutex::new(None) });
        }
        let agent = match header.agents {
            Agents::Running => Agent::Running,
            Agents::Manual => Agent::Manual,
        };
        let (nodes, voters) = (header.nodes, header.voters);
        let (lease, files, logs) = (Lease::Book, Vec::new(), Some(logs));
        let lab = Lab::up(LabSpec { name, nodes, voters, lease, agent, files, logs })?;
        let hosts = lab.exec("h1", "cat /etc/hosts", Duration::from_secs(10))?;
        Ok(Real { subnet: Mutex::new(subnet_of(&hosts.lines)), lab, root })
    }

    /// Removes the cluster and says so if something was left.
    pub(crate) fn down(self) -> anyhow::Result<()> {
        self.lab.down()
    }

    fn subnet(&self) -> Option<String> {
        self.subnet.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Stage for Real {
    fn nodes(&self) -> Vec<String> {
        self.lab.nodes()
    }

    fn exec(&self, node: &str, script: &str, timeout: Duration) -> anyhow::Result<Output> {
        self.lab.exec(node, script, timeout)
    }

    fn exec_on_terminal(
        &self,
        node: &str,
        script: &str,
        size: (u16, u16),
        timeout: Duration,
    ) -> anyhow::Result<Output> {
        let started = Instant::now();
        let (exit, text) = self.lab.exec_on_terminal(node, script, size, timeout)?;
        let elapsed = started.elapsed();
        let timed_out = exit == 137 && elapsed >= timeout;
        Ok(Output { exit, lines: colour::kept(&text), timed_out, elapsed })
    }

    fn upload(&self, node: &str, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
        self.lab.upload(node, path, bytes, 0o644)
    }

    fn host(&self, words: &[String], timeout: Duration) -> anyhow::Result<Output> {
        let output = run_self(words, self.lab.name(), &self.root, timeout)?;
        let mut subnet = self.subnet.lock().unwrap_or_else(PoisonError::into_inner);
        if subnet.is_none() {
            *subnet = output.lines.iter().find_map(|line| network_in(line));
        }
        Ok(output)
    }

    fn logs(&self, node: &str) -> anyhow::Result<Vec<String>> {
        self.lab.logs(node)
    }

    fn localise(&self, text: &str) -> String {
        self.subnet().map_or_else(|| text.to_owned(), |own| text.replace(BOOK_SUBNET, &own))
    }

    fn generalise(&self, text: &str) -> String {
        let text = text.replace(self.lab.name(), BOOK_NAME);
        match self.subnet() {
            Some(own) => replace_padded(&text, &own, BOOK_SUBNET),
            None => text,
        }
    }
}

/// A name of at most 20 characters, different for each process and each chapter: two that begin
/// alike may run at once.
pub(crate) fn cluster_name(chapter: &str, pid: u32) -> String {
    let short: String = chapter.chars().take(10).collect();
    let digest = digest(&[chapter.to_owned(), pid.to_string()]);
    format!("book-{}-{}", short.trim_end_matches('-'), &digest[..4])
}

/// The network of a node, from its own hosts file.
fn subnet_of(hosts: &[String]) -> Option<String> {
    let line = hosts.iter().find(|line| line.starts_with("10.91."))?;
    let address = line.split_whitespace().next()?;
    address.rsplit_once('.').map(|(network, _)| format!("{network}."))
}

/// The network that a line names, as in `10.91.12.0/24`.
fn network_in(line: &str) -> Option<String> {
    let word = line.split_whitespace().find(|word| word.starts_with("10.91."))?;
    word.strip_suffix("0/24").map(str::to_owned)
}

/// Replaces a word; where it is followed by a column of a table, the column stays in its place.
pub(crate) fn replace_padded(text: &str, from: &str, to: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        result.push_str(&rest[..at]);
        result.push_str(to);
        rest = &rest[at + from.len()..];
        let word = rest.find([' ', '\n']).unwrap_or(rest.len());
        if rest[word..].starts_with("  ") {
            result.push_str(&rest[..word]);
            result.push_str(&" ".repeat(from.len().saturating_sub(to.len())));
            rest = &rest[word..];
        }
    }
    result.push_str(rest);
    result
}

/// The agent's verbs and flags as it completes them for a shell.
pub(crate) fn completions() -> anyhow::Result<String> {
    lab::agent(&["completions", "bash"])
}

/// Runs this very program on a cluster, in a folder, both streams in one.
pub(crate) fn run_self(
    words: &[String],
    cluster: &str,
    folder: &Path,
    timeout: Duration,
) -> anyhow::Result<Output> {
    let program = paths::program()?;
    let (mut reader, writer) = std::io::pipe()?;
    let started = Instant::now();
    let child = Command::new(program)
        .args(words)
        .current_dir(folder)
        .env("QUORATE_CLUSTER", cluster)
        .env("NO_COLOR", "1")
        .env("COLUMNS", "80")
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0)
        .spawn()?;
    let acting = Acting::new(child.id());
    // The reading thread ends with the last writer, so at the latest when the child is killed.
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let result = reader.read_to_end(&mut bytes).map(|_| bytes);
        // Nobody listens after a timeout; the bytes are of no use then.
        drop(sender.send(result));
    });
    let received = receiver.recv_timeout(timeout);
    let timed_out = received.is_err();
    let exit = finish(child, timed_out)?;
    drop(acting);
    lab::wait_if_ending();
    let bytes = received.unwrap_or_else(|_| Ok(Vec::new()))?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(str::to_owned).collect();
    Ok(Output { exit, lines, timed_out, elapsed: started.elapsed() })
}

fn finish(mut child: Child, kill: bool) -> anyhow::Result<i64> {
    if kill {
        child.kill()?;
    }
    Ok(child.wait()?.code().map_or(137, i64::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_name_is_short_and_plain() {
        for (chapter, begins) in [
            ("etcd1-uncorrected", "book-etcd1-unco-"),
            ("three-nodes-x", "book-three-node-"),
            ("nine-char-", "book-nine-char-"),
        ] {
            let name = cluster_name(chapter, 0x1_23ab);
            assert!(name.starts_with(begins) && name.len() <= 20, "{name}");
        }
    }

    #[test]
    fn chapters_that_begin_alike_and_processes_have_clusters_of_their_own() {
        let name = cluster_name("coming-from-mgmt", 1);
        assert_ne!(name, cluster_name("coming-from-puppet", 1));
        assert_ne!(name, cluster_name("coming-from-mgmt", 2));
        assert_eq!(name, cluster_name("coming-from-mgmt", 1));
    }

    #[test]
    fn columns_stay_where_they_were_when_a_name_gets_shorter() {
        let table = "10.91.123.11  voter\nat 10.91.123.12.";
        let expected = "10.91.1.11    voter\nat 10.91.1.12.";
        assert_eq!(replace_padded(table, "10.91.123.", "10.91.1."), expected);
    }

    #[test]
    fn the_network_is_found_in_the_hosts_file() {
        let hosts = ["127.0.0.1 localhost".to_owned(), "10.91.7.11\th1".to_owned()];
        assert_eq!(subnet_of(&hosts), Some("10.91.7.".to_owned()));
        assert_eq!(subnet_of(&["127.0.0.1 localhost".to_owned()]), None);
        let line = "network   quorate-demo  10.91.12.0/24";
        assert_eq!(network_in(line), Some("10.91.12.".to_owned()));
    }
}
