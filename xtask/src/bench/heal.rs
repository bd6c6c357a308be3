//! How soon a managed file is right again: the agent's release build, beside the least that any
//! program has to do (wake on inotify, write a temporary file, rename it).

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::spread::Spread;

/// What the file has to hold.
const CONTENT: &str = "kept by quorate\n";
/// What somebody else writes into it.
const DAMAGE: &str = "edited by hand\n";
/// The median of the agent that we hold ourselves to.
const MEDIAN_MAX: Duration = Duration::from_millis(20);
/// After this long a file counts as lost.
const LOST: Duration = Duration::from_secs(5);
/// How long the agent may take to start and to stop.
const START: Duration = Duration::from_secs(20);
/// How long after the first signal the second one follows.
const SIGNAL_GAP: Duration = Duration::from_millis(200);

/// Measures the floor, then the agent; exit code 1 when a file did not come back.
pub(super) fn run(agent: &Path, rounds: u32) -> anyhow::Result<ExitCode> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let floor = measure_floor(&folder.path().join("floor"), rounds)?;
    let healed = measure_agent(agent, folder.path(), rounds)?;
    println!("{:8} {:>6} {:>4}      min   median      p95      max  ms", "", "rounds", "lost");
    println!("{}", floor.line("machine"));
    println!("{}", healed.line("quorate"));
    if let (Some(floor), Some(agent)) = (floor.spread, healed.spread) {
        let ratio = agent.median.as_secs_f64() / floor.median.as_secs_f64();
        let verdict = if agent.median < MEDIAN_MAX { "under" } else { "NOT under" };
        println!("\nthe median is {ratio:.1} times the machine's, and {verdict} {MEDIAN_MAX:?}");
    }
    Ok(if healed.lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was measured.
struct Measured {
    rounds: u32,
    lost: u32,
    spread: Option<Spread>,
}

impl Measured {
    fn line(&self, name: &str) -> String {
        let spread = self.spread.map_or_else(|| "nothing came back".into(), |it| it.to_string());
        format!("{name:8} {:6} {:4} {spread}", self.rounds, self.lost)
    }
}

/// Damages the file again and again; somebody else repairs it.
fn measure(file: &Path, rounds: u32) -> anyhow::Result<Measured> {
    let folder = file.parent().context("the file lies in no folder")?;
    let watch = Watcher::new(folder)?;
    let (mut times, mut lost) = (Vec::new(), 0);
    for round in 0..rounds {
        let started = Instant::now();
        if round % 2 == 0 {
            fs::remove_file(file).context("cannot delete the file")?;
        } else {
            fs::write(file, DAMAGE).context("cannot edit the file")?;
        }
        match watch.until_right(file, started + LOST)? {
            true => times.push(started.elapsed()),
            false => {
                lost += 1;
                fs::write(file, CONTENT).context("cannot repair the file")?;
            }
        }
    }
    Ok(Measured { rounds, lost, spread: Spread::of(times) })
}

fn is_right(file: &Path) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text == CONTENT)
}

/// Events of a folder.
pub(super) struct Watcher {
    events: Inotify,
}

impl Watcher {
    pub(super) fn new(folder: &Path) -> anyhow::Result<Watcher> {
        let events = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let wanted = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE;
        events.add_watch(folder, wanted).context("cannot watch the folder")?;
        Ok(Watcher { events })
    }

    /// Waits for anything to happen; the names it happened to. Empty when the time is over.
    pub(super) fn next(&self, until: Instant) -> anyhow::Result<Vec<String>> {
        let left = until.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut descriptors = [PollFd::new(self.events.as_fd(), PollFlags::POLLIN)];
        if nix::poll::poll(&mut descriptors, left)? == 0 {
            return Ok(Vec::new());
        }
        let events = self.events.read_events()?.into_iter();
        Ok(events.filter_map(|it| Some(it.name?.to_string_lossy().into_owned())).collect())
    }

    /// Throws away what has happened so far.
    pub(super) fn drain(&self) -> anyhow::Result<()> {
        while !self.next(Instant::now())?.is_empty() {}
        Ok(())
    }

    /// Whether the file became right in time.
    fn until_right(&self, file: &Path, until: Instant) -> anyhow::Result<bool> {
        loop {
            if is_right(file) {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            self.next(until)?;
        }
    }
}

/// The least that repairing takes: a thread that wakes, looks, writes beside and renames.
fn measure_floor(folder: &Path, rounds: u32) -> anyhow::Result<Measured> {
    const END: &str = "end";
    fs::create_dir(folder).context("cannot make a folder")?;
    let file = folder.join("motd");
    fs::write(&file, CONTENT).context("cannot write the file")?;
    let watch = Watcher::new(folder)?;
    let forever = Instant::now() + Duration::from_secs(3600);
    thread::scope(|scope| {
        let repairer = scope.spawn(|| -> anyhow::Result<()> {
            while !watch.next(forever)?.iter().any(|name| name == END) {
                if !is_right(&file) {
                    let beside = folder.join(".motd.new");
                    fs::write(&beside, CONTENT)?;
                    fs::rename(&beside, &file)?;
                }
            }
            Ok(())
        });
        let measured = measure(&file, rounds);
        fs::write(folder.join(END), "")?;
        match repairer.join() {
            Ok(ended) => ended.and(measured),
            Err(_) => bail!("the repairing thread panicked"),
        }
    })
}

/// The agent as users run it, on one file.
fn measure_agent(agent: &Path, folder: &Path, rounds: u32) -> anyhow::Result<Measured> {
    let managed = folder.join("managed");
    fs::create_dir(&managed).context("cannot make a folder")?;
    let (file, site, log) = (managed.join("motd"), folder.join("site.yaml"), folder.join("log"));
    let path = file.display();
    let graph = format!(
        "graph: heal\nresources:\n  file:\n  - name: motd\n    path: {path}\n    state: \
        exists\n    \
         content: |\n      {CONTENT}"
    );
    fs::write(&site, graph).context("cannot write the graph")?;
    let mut running = Running::start(agent, folder, &site, &log)?;
    let watch = Watcher::new(&managed)?;
    let until = Instant::now() + START;
    if !watch.until_right(&file, until)? {
        running.stop()?;
        let said = fs::read_to_string(&log).unwrap_or_default();
        bail!("the agent did not write its file within {START:?}; it said:\n{said}");
    }
    let measured = measure(&file, rounds);
    running.stop()?;
    measured
}

/// The agent's process; dropping it kills it.
pub(super) struct Running {
    child: Child,
}

impl Running {
    pub(super) fn start(
        agent: &Path,
        folder: &Path,
        site: &Path,
        log: &Path,
    ) -> anyhow::Result<Running> {
        Running::with(agent, folder, site, log, &[], None)
    }

    /// With more flags, and with this etcd for its cluster.
    pub(super) fn with(
        agent: &Path,
        folder: &Path,
        site: &Path,
        log: &Path,
        flags: &[OsString],
        etcd: Option<&Path>,
    ) -> anyhow::Result<Running> {
        let log = File::create(log).context("cannot write the agent's log")?;
        let mut command = Command::new(agent);
        command.arg("run").arg("--prefix").arg(folder.join("state")).args(flags);
        command.arg("yaml").arg(site);
        command
            .env_clear()
            .envs(etcd.map(|etcd| ("QUORATE_ETCD", etcd)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", agent.display()))?;
        Ok(Running { child })
    }

    /// Asks it to stop and waits.
    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        kill(self.pid()?, Signal::SIGTERM).context("cannot stop the agent")?;
        self.child.wait().context("cannot wait for the agent")?;
        Ok(())
    }

    /// Asks it to stop and to give up what runs, and waits.
    pub(super) fn hurry(&mut self) -> anyhow::Result<()> {
        kill(self.pid()?, Signal::SIGTERM).context("cannot stop the agent")?;
        // Two signals that come as one would not mean to hurry.
        thread::sleep(SIGNAL_GAP);
        self.stop()
    }

    /// The number of its process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> io::Result<Pid> {
        i32::try_from(self.child.id()).map(Pid::from_raw).map_err(io::Error::other)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_repairs_what_is_deleted_and_what_is_edited() {
        let folder = tempfile::tempdir().unwrap();
        let measured = measure_floor(&folder.path().join("floor"), 10).unwrap();
        assert_eq!((measured.rounds, measured.lost), (10, 0));
        assert!(measured.spread.unwrap().max < LOST);
    }

    #[test]
    fn a_file_that_nobody_repairs_is_not_right_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let watch = Watcher::new(folder.path()).unwrap();
        let soon = Instant::now() + Duration::from_millis(20);
        assert!(!watch.until_right(&folder.path().join("motd"), soon).unwrap());
    }
}
