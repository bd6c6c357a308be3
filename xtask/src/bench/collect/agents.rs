//! Real agents that use an etcd that is there, each with a graph file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long anything may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at a file: small beside what is measured.
const LOOK: Duration = Duration::from_micros(200);

/// An agent; killed when dropped.
pub(super) struct Agent {
    program: PathBuf,
    seeds: String,
    name: String,
    folder: PathBuf,
    child: Option<Child>,
}

impl Agent {
    /// One that does not run yet. Its folder is below `folder`.
    pub(super) fn new(program: &Path, seeds: &str, folder: &Path, name: &str) -> Agent {
        Agent {
            program: program.to_owned(),
            seeds: seeds.to_owned(),
            name: name.to_owned(),
            folder: folder.join(name),
            child: None,
        }
    }

    /// The path of something in its folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Has it take this graph from now on, or when it is started.
    pub(super) fn graph(&self, text: &str) -> anyhow::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let draft = self.path(".graph.new");
        fs::write(&draft, text)?;
        fs::rename(draft, self.path("graph.yaml"))?;
        Ok(())
    }

    /// Starts it.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(self.path("log"))?;
        let child = Command::new(&self.program)
            .args(["run", "--hostname", &self.name, "--no-server", "--seeds", &self.seeds])
            .arg("--prefix")
            .arg(self.path("state"))
            .arg("yaml")
            .arg(self.path("graph.yaml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.context("cannot start the agent")?);
        Ok(())
    }

    /// Stops it as a person would for an upgrade.
    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("it does not run")?;
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
        child.wait()?;
        Ok(())
    }

    /// What it says about itself.
    pub(super) fn status(&self) -> anyhow::Result<Value> {
        let mut command = Command::new(&self.program);
        command.args(["status", "--json", "--prefix"]).arg(self.path("state"));
        Ok(serde_json::from_slice(&command.output()?.stdout)?)
    }

    /// Waits until its status fulfils the condition.
    pub(super) fn until(&self, what: &str, good: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
        let began = Instant::now();
        while !self.status().is_ok_and(|status| good(&status)) {
            if began.elapsed() > PATIENCE {
                bail!("{}: {what} is not reached", self.name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// When each of these files held `text`, measured from `began`.
pub(super) fn until_all_hold(
    files: &[PathBuf],
    text: &str,
    began: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let mut took = vec![None; files.len()];
    while took.iter().any(Option::is_none) {
        for (file, took) in files.iter().zip(&mut took) {
            if took.is_none() && fs::read_to_string(file).is_ok_and(|found| found == text) {
                *took = Some(began.elapsed());
            }
        }
        if began.elapsed() > PATIENCE {
            bail!("{} of {} files are not as wanted", took.iter().flatten().count(), files.len());
        }
        std::thread::sleep(LOOK);
    }
    Ok(took.into_iter().flatten().collect())
}
