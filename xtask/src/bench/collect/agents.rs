//! Real agents that use an etcd that is there, each with a graph file.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long anything may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// Between two questions to an agent.
const ASK: Duration = Duration::from_millis(5);

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

    /// The number of its process, while it runs.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
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
            std::thread::sleep(ASK);
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

/// Files that are waited for. Whoever looks at a hundred of them all the time keeps a processor
/// from those that write them: it is woken instead.
pub(super) struct Files {
    events: Inotify,
    /// By the watch of its folder, where no other one is.
    all: Vec<(WatchDescriptor, PathBuf)>,
}

impl Files {
    /// These, each in a folder of its own that is there.
    pub(super) fn new(all: Vec<PathBuf>) -> anyhow::Result<Files> {
        let events = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let wanted = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE;
        let watch = |file: PathBuf| {
            let folder = file.parent().context("it is in no folder")?;
            Ok((events.add_watch(folder, wanted).context("cannot watch a folder")?, file))
        };
        let all = all.into_iter().map(watch).collect::<anyhow::Result<_>>()?;
        Ok(Files { events, all })
    }

    /// When each of them held `text`, measured from `began`.
    pub(super) fn until_all_hold(
        &self,
        text: &str,
        began: Instant,
    ) -> anyhow::Result<Vec<Duration>> {
        let mut took = vec![None; self.all.len()];
        let mut touched: BTreeSet<usize> = (0..self.all.len()).collect();
        loop {
            for at in std::mem::take(&mut touched) {
                let holds = || fs::read_to_string(&self.all[at].1).is_ok_and(|it| it == text);
                if took[at].is_none() && holds() {
                    took[at] = Some(began.elapsed());
                }
            }
            if took.iter().all(Option::is_some) {
                return Ok(took.into_iter().flatten().collect());
            }
            if began.elapsed() > PATIENCE {
                bail!("{} of {} files are as wanted", took.iter().flatten().count(), took.len());
            }
            let left = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
            let mut descriptors = [PollFd::new(self.events.as_fd(), PollFlags::POLLIN)];
            if nix::poll::poll(&mut descriptors, left)? > 0 {
                for event in self.events.read_events()? {
                    let at = self.all.iter().position(|(watch, _)| *watch == event.wd);
                    touched.extend(at);
                }
            }
        }
    }
}
