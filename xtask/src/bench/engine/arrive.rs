//! How soon a value that comes from elsewhere is in its file while another resource is busy (S8):
//! one that another resource sends, and one that another host exports.
//!
//! Refuses to count a reaction for which the busy resource had to be started anew.

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::super::heal::{Running, Watcher};
use super::limit;
use super::live::{BUSY, spread, until_right};
use super::work::{self, Shape};
use crate::bench::table::Row;

/// After this long a value counts as lost.
const LOST: Duration = Duration::from_secs(5);
/// How long agents may take to apply everything, and to find each other.
const REST: Duration = Duration::from_secs(120);
/// Between two values: what the one before stirred up is over.
const GAP: Duration = Duration::from_millis(50);

/// Where a value arrives.
struct Received {
    folder: PathBuf,
    file: PathBuf,
}

impl Received {
    fn new(folder: &Path) -> anyhow::Result<Received> {
        let received = folder.join("received");
        for one in [&received, &folder.join("target")] {
            fs::create_dir_all(one).context("cannot make a folder")?;
        }
        Ok(Received { file: received.join("value"), folder: received })
    }

    /// Gives one value after the other and takes the time of each.
    fn measure(
        &self,
        agent: &Running,
        rounds: u32,
        give: impl Fn(&str) -> anyhow::Result<Instant>,
    ) -> anyhow::Result<Vec<Duration>> {
        let watch = Watcher::new(&self.folder)?;
        let busy = busy(agent.id())?;
        let (mut times, mut value) = (Vec::new(), self.first(&watch, &give)?);
        for _ in 0..rounds {
            std::thread::sleep(GAP);
            watch.drain()?;
            value = value.wrapping_add(1);
            let (text, given) = (format!("{value}\n"), give(&value.to_string())?);
            if !until_right(&watch, &self.file, text.as_bytes(), given + LOST)? {
                bail!("a value had no effect within {LOST:?}");
            }
            times.push(given.elapsed());
        }
        ensure!(busy == self::busy(agent.id())?, "the busy resource was started anew");
        Ok(times)
    }

    /// The first value takes as long as the agents need to begin.
    fn first(
        &self,
        watch: &Watcher,
        give: &impl Fn(&str) -> anyhow::Result<Instant>,
    ) -> anyhow::Result<u32> {
        let first = 1000;
        give(&first.to_string())?;
        let text = format!("{first}\n");
        let until = Instant::now() + REST;
        ensure!(
            until_right(watch, &self.file, text.as_bytes(), until)?,
            "the first value did not arrive within {REST:?}"
        );
        Ok(first)
    }
}

/// The processes that an agent runs.
fn busy(agent: u32) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    for thread in fs::read_dir(format!("/proc/{agent}/task")).context("the agent is gone")? {
        let children = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        let is_busy = |id: &&str| {
            let command = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            command.starts_with(b"sleep\0")
        };
        all.extend(children.split_whitespace().filter(is_busy).map(str::to_owned));
    }
    ensure!(!all.is_empty(), "the busy resource does not run");
    Ok(all)
}

fn at_rest(target: &Path, n: usize) -> anyhow::Result<()> {
    let until = Instant::now() + REST;
    while let Err(why) = limit::verify(target, n) {
        if Instant::now() > until {
            return Err(why.context(format!("not applied within {REST:?}")));
        }
        std::thread::sleep(GAP);
    }
    Ok(())
}

/// Puts a text in the place of a file, as editors do; the moment at which it is there.
fn replace(file: &Path, text: &str) -> anyhow::Result<Instant> {
    let beside = file.with_extension("new");
    fs::write(&beside, text)?;
    let given = Instant::now();
    fs::rename(&beside, file)?;
    Ok(given)
}

/// S8: a command prints another value, which a file receives.
pub(super) fn sent(agent: &Path, folder: &Path, n: usize, rounds: u32) -> anyhow::Result<Vec<Row>> {
    let received = Received::new(folder)?;
    let (value, target) = (folder.join("value"), folder.join("target"));
    fs::write(&value, "0\n")?;
    let sender = format!(
        "{BUSY}  - name: sender\n    cmd: cat {0}\n    watchfiles: [{0}]\n",
        value.display()
    );
    let receiver = format!(
        "  - name: receiver\n    path: {}\n    mode: '0644'\n    recv:\n      content: {{kind: \
         exec, name: sender, key: stdout}}\n",
        received.file.display()
    );
    let site = folder.join("site.yaml");
    fs::write(&site, work::quorate(Shape::Flat, n, &target, &sender) + &receiver)?;
    let mut running = Running::start(agent, folder, &site, &folder.join("log"))?;
    at_rest(&target, n)?;
    let give = |text: &str| replace(&value, &format!("{text}\n"));
    let times = received.measure(&running, rounds, give)?;
    running.hurry()?;
    Ok(spread(["S8 recv p50", "S8 recv p99"], n, &times, None))
}

/// S8: another host of the cluster exports another value.
pub(super) fn exported(
    agent: &Path,
    etcd: &Path,
    folder: &Path,
    n: usize,
    rounds: u32,
) -> anyhow::Result<Vec<Row>> {
    let received = Received::new(folder)?;
    let target = folder.join("target");
    let (theirs, ours) = (folder.join("theirs.yaml"), folder.join("ours.yaml"));
    let export = |text: &str| {
        format!(
            "graph: theirs\nresources:\n  file:\n  - name: '@@value'\n    path: /value\n    mode: \
             '0644'\n    content: \"{text}\\n\"\n"
        )
    };
    let rule = format!("collect:\n- kind: file\n  pattern: {}/\n", received.folder.display());
    fs::write(&theirs, export("0"))?;
    fs::write(&ours, work::quorate(Shape::Flat, n, &target, BUSY) + &rule)?;
    let (first, second) = (Member::new("h1")?, Member::new("h2")?);
    let mut exporter = first.start(agent, etcd, folder, &theirs, None)?;
    let mut running = second.start(agent, etcd, folder, &ours, Some(&first))?;
    at_rest(&target, n)?;
    let times = received.measure(&running, rounds, |text| replace(&theirs, &export(text)))?;
    running.hurry()?;
    exporter.hurry()?;
    Ok(spread(["S8 export p50", "S8 export p99"], n, &times, None))
}

/// A host of a cluster of one voter.
struct Member {
    name: &'static str,
    client: String,
    peer: String,
}

impl Member {
    /// With ports that were free a moment ago.
    fn new(name: &'static str) -> anyhow::Result<Member> {
        let (one, other) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let url = |of: &TcpListener| of.local_addr().map(|at| format!("http://{at}"));
        Ok(Member { name, client: url(&one)?, peer: url(&other)? })
    }

    fn start(
        &self,
        agent: &Path,
        etcd: &Path,
        folder: &Path,
        site: &Path,
        seed: Option<&Member>,
    ) -> anyhow::Result<Running> {
        let mut flags = vec!["--hostname", self.name, "--ideal-cluster-size", "1"];
        flags.extend(["--client-urls", &self.client, "--server-urls", &self.peer]);
        flags.extend(seed.into_iter().flat_map(|seed| ["--seeds", seed.client.as_str()]));
        let flags: Vec<OsString> = flags.into_iter().map(OsString::from).collect();
        let own = folder.join(self.name);
        fs::create_dir_all(&own)?;
        Running::with(agent, &own, site, &own.join("log"), &flags, Some(etcd))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_measured_from_the_moment_at_which_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("value");
        let before = Instant::now();
        let given = replace(&file, "1\n").unwrap();
        assert!(given >= before && fs::read_to_string(&file).unwrap() == "1\n");
    }

    #[test]
    fn an_agent_without_a_busy_resource_is_no_measurement() {
        assert!(busy(std::process::id()).is_err());
    }
}
