//! Runs the blocks of a chapter on a stage and collects what came back. It decides nothing about
//! it: `judge` does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::attributes;
use super::block::{Action, Block, Chapter, Console, Mode, Place, SECOND, Shown, Stderr, Step};
use super::judge::{self, Drift, Seen};
use super::made::Made;
use super::record::StepRecord;
use super::redact::{Memory, Rules};
use super::stage::Stage;
use super::{colour, timeline, topology};
use crate::lab::Output;

/// Where commands run in a node.
const HOME: &str = "/root";
/// Where the runner keeps what it started.
const KEEP: &str = "/tmp/.book";
/// What a node is asked for a picture.
const STATUS: &str = "quorate status --json";
/// A block that is more placeholder than text proves nothing.
const MAX_REDACTED_PERCENT: usize = 40;

/// What a run needs besides the chapter and the stage.
pub(crate) struct Run<'a> {
    /// Redaction rules.
    pub(crate) rules: &'a Rules,
    /// Reads a file of the repository.
    pub(crate) read: &'a dyn Fn(&str) -> io::Result<String>,
    /// Go on after a difference.
    pub(crate) keep_going: bool,
    /// Blocks before this one are run, and nothing that they give back is judged.
    pub(crate) first: Option<&'a str>,
    /// Nothing after this block is run.
    pub(crate) last: Option<&'a str>,
    /// Told of each block before it runs.
    pub(crate) progress: &'a dyn Fn(&Block),
}

/// What a chapter gave back.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// By block position.
    pub(crate) seen: BTreeMap<usize, Seen>,
    /// Differences to the chapter's text.
    pub(crate) drifts: Vec<Drift>,
    /// Rules that fired.
    pub(crate) fired: BTreeSet<String>,
}

/// What blocks leave for those that come after them, besides what they did to the nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Left {
    memory: Memory,
    /// How many lines of each started command have been shown.
    shown: BTreeMap<String, usize>,
    /// What later commands get in place of names like `${NAME}`.
    captured: BTreeMap<String, String>,
    /// When blocks acted on the cluster from outside, in milliseconds of Unix time, and who.
    events: Vec<(u64, String)>,
}

/// Runs a chapter from its first block on.
pub(crate) fn chapter(chapter: &Chapter, stage: &dyn Stage, run: &Run<'_>) -> Outcome {
    resume(chapter, stage, run, &mut Vec::new())
}

/// Runs a chapter from the block on that follows the last of `left`, which tells what each block
/// before it has left, and is continued.
pub(crate) fn resume(
    chapter: &Chapter,
    stage: &dyn Stage,
    run: &Run<'_>,
    left: &mut Vec<Left>,
) -> Outcome {
    let deadline = Instant::now() + chapter.header.timeout;
    let mut player = Player {
        chapter,
        stage,
        run,
        deadline,
        left: left.last().cloned().unwrap_or_default(),
        raw: Vec::new(),
    };
    let mut outcome = Outcome::default();
    let begin = chapter.blocks.iter().position(|block| run.first == block.id.as_deref());
    let begin = if run.first.is_some() { begin.unwrap_or(0) } else { 0 };
    for (index, block) in chapter.blocks.iter().enumerate().skip(left.len()) {
        if matches!(block.action, Action::NotRun(_) | Action::Provenance) {
            left.push(player.left.clone());
            continue;
        }
        (run.progress)(block);
        let seen = player.block(block);
        left.push(player.left.clone());
        if index < begin {
            continue;
        }
        let drift = judge::run(chapter, block, &seen);
        outcome.seen.insert(index, seen);
        let stop = drift.is_some() && !run.keep_going;
        outcome.drifts.extend(drift);
        if stop || (run.last.is_some() && run.last == block.id.as_deref()) {
            break;
        }
    }
    outcome.fired = player.left.memory.fired.keys().cloned().collect();
    outcome
}

struct Player<'a> {
    chapter: &'a Chapter,
    stage: &'a dyn Stage,
    run: &'a Run<'a>,
    deadline: Instant,
    left: Left,
    /// What the last command printed, before redaction.
    raw: Vec<String>,
}

impl Player<'_> {
    fn block(&mut self, block: &Block) -> Seen {
        let started = Instant::now();
        if block.place == Place::Host && !block.hide {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            self.left.events.push((now, block.label()));
        }
        let fired = self.left.memory.fired.clone();
        let mut seen = Seen::default();
        let result = match &block.action {
            Action::Console(console) => self.console(block, console, &mut seen),
            Action::File(shown) => self.file(block, shown),
            Action::Topology { .. } => self.topology(block, &mut seen),
            Action::Timeline { .. } => self.timeline(block, &mut seen),
            Action::Made { made, .. } => self.made(block, made, &mut seen),
            Action::NotRun(_) | Action::Provenance => Ok(()),
        };
        if let Err(error) = result {
            seen.trouble = Some(format!("{error:#}"));
        }
        if seen.trouble.is_none() && self.mostly_redacted(&seen) {
            seen.trouble = Some(format!("over {MAX_REDACTED_PERCENT} % of it is redacted"));
        }
        let more = |(name, count): (&String, &usize)| {
            (fired.get(name) != Some(count)).then(|| name.clone())
        };
        seen.rules = self.left.memory.fired.iter().filter_map(more).collect();
        seen.elapsed = started.elapsed();
        seen
    }

    fn console(&mut self, block: &Block, console: &Console, seen: &mut Seen) -> anyhow::Result<()> {
        for step in &console.steps {
            let limit = console.eventually.unwrap_or_default();
            let until = (Instant::now() + limit).min(self.deadline);
            let memory = self.left.memory.clone();
            loop {
                self.left.memory = memory.clone();
                let got = self.step(block, console, step)?;
                let right = step.exit.is_none_or(|exit| exit == got.exit)
                    && judge::fits(console, step, &got.lines);
                if right || Instant::now() + console.every > until {
                    let wrong_exit = step.exit.is_some_and(|exit| exit != got.exit);
                    if let (Some(capture), true) = (&console.capture, right) {
                        let value = capture.of(&self.raw).ok_or_else(|| {
                            anyhow::anyhow!("nothing for `capture={}` in it", capture.name)
                        })?;
                        self.left.captured.insert(format!("${{{}}}", capture.name), value);
                    }
                    seen.steps.push(got);
                    if wrong_exit {
                        return Ok(());
                    }
                    break;
                }
                thread::sleep(console.every);
            }
        }
        Ok(())
    }

    /// Runs one command once and gives back what it printed, redacted.
    fn step(
        &mut self,
        block: &Block,
        console: &Console,
        step: &Step,
    ) -> anyhow::Result<StepRecord> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        anyhow::ensure!(
            !left.is_zero(),
            "the chapter took longer than {}",
            humantime::format_duration(self.chapter.header.timeout)
        );
        let timeout = console.timeout.min(left);
        let mut command = self.stage.localise(&step.command);
        for (name, value) in &self.left.captured {
            command = command.replace(name, value);
        }
        let (exit, lines) = match &console.mode {
            Mode::Start(name) => (0, self.start(block, console, step, name, &command)?),
            Mode::Stop { name, signal } => self.stop(block, name, signal, timeout)?,
            Mode::Run if block.place == Place::Host => {
                let words = attributes::split(&command).unwrap_or_default();
                let words = words.get(2..).unwrap_or_default();
                let output = self.stage.host(words, timeout)?;
                in_time(&output, timeout)?;
                (output.exit, output.lines)
            }
            Mode::Run => self.everywhere(block, console, &command, timeout, step.exit)?,
        };
        self.raw.clone_from(&lines);
        let mut lines: Vec<String> = lines.iter().map(|line| self.redact(block, line)).collect();
        let mut coloured = Vec::new();
        if console.terminal.is_some() {
            coloured = lines;
            lines = coloured.iter().map(|line| colour::plain(line)).collect();
        }
        Ok(StepRecord { coloured, command: step.command.clone(), exit, lines })
    }

    fn redact(&mut self, block: &Block, line: &str) -> String {
        let line = self.stage.generalise(line);
        let places = [self.chapter.name.as_str(), block.id.as_deref().unwrap_or_default()];
        self.run.rules.line(line.trim_end(), &places, &mut self.left.memory)
    }

    fn nodes(&self, block: &Block) -> Vec<String> {
        match &block.place {
            Place::All => self.stage.nodes(),
            Place::Nodes(nodes) => nodes.clone(),
            Place::Host | Place::Nowhere => Vec::new(),
        }
    }

    /// Runs a command in all nodes of a block at once; the output of several is grouped in their
    /// order. The exit code is the first that is not the expected one.
    fn everywhere(
        &self,
        block: &Block,
        console: &Console,
        command: &str,
        timeout: Duration,
        expected: Option<i64>,
    ) -> anyhow::Result<(i64, Vec<String>)> {
        let script = script(console.stderr, command);
        let nodes = self.nodes(block);
        let stage = self.stage;
        let outputs: Vec<anyhow::Result<Output>> = thread::scope(|scope| {
            let script = &script;
            let start = |node: &'_ String| {
                let node = node.clone();
                scope.spawn(move || match console.terminal {
                    Some(size) => stage.exec_on_terminal(&node, script, size, timeout),
                    None => stage.exec(&node, script, timeout),
                })
            };
            let running: Vec<_> = nodes.iter().map(start).collect();
            let lost = |_| Err(anyhow::anyhow!("the thread of a node panicked"));
            running.into_iter().map(|thread| thread.join().unwrap_or_else(lost)).collect()
        });
        let (mut exits, mut lines) = (Vec::new(), Vec::new());
        for (node, output) in nodes.iter().zip(outputs) {
            let output = output?;
            in_time(&output, timeout)?;
            exits.push(output.exit);
            if nodes.len() > 1 {
                lines.push(format!("{node}:"));
            }
            lines.extend(output.lines);
        }
        let odd = exits.iter().find(|exit| expected.is_some_and(|expected| expected != **exit));
        Ok((odd.or(exits.first()).copied().unwrap_or_default(), lines))
    }

    /// Starts a command that stays, and waits for its first lines to be the expected ones.
    fn start(
        &mut self,
        block: &Block,
        console: &Console,
        step: &Step,
        name: &str,
        command: &str,
    ) -> anyhow::Result<Vec<String>> {
        let node = self.nodes(block).first().cloned().unwrap_or_default();
        let (base, limit) = (format!("{KEEP}/{name}"), Duration::from_secs(10));
        let script = format!("cd {HOME}\necho $$ >{base}.pid\nexec {command}\n");
        self.stage.upload(&node, &format!("{base}.sh"), script.as_bytes())?;
        // The exit code goes into a pipe, so that stopping can wait for it.
        let launch = format!(
            "rm -f {base}.exit {base}.pid; mkfifo {base}.exit && : >{base}.out && \
             (setsid sh -c 'sh {base}.sh >{base}.out 2>&1; echo $? >{base}.exit' \
             </dev/null >/dev/null 2>&1 &)"
        );
        let output = self.stage.exec(&node, &launch, limit)?;
        anyhow::ensure!(output.exit == 0, "cannot start: {}", output.lines.join(" "));
        let until = Instant::now() + console.eventually.unwrap_or(console.timeout);
        let show = format!("cat {base}.out");
        loop {
            let raw = self.stage.exec(&node, &show, limit)?.lines;
            let memory = self.left.memory.clone();
            let lines: Vec<String> = raw.iter().map(|line| self.redact(block, line)).collect();
            self.left.memory = memory;
            let fitting = (0..=lines.len()).find(|n| judge::fits(console, step, &lines[..*n]));
            let late = Instant::now() >= until.min(self.deadline);
            if let Some(count) = fitting.or(late.then_some(raw.len())) {
                self.left.shown.insert(name.to_owned(), count);
                return Ok(raw[..count].to_vec());
            }
            thread::sleep(console.every);
        }
    }

    /// Signals what was started, waits for its end and gives back what it wrote since.
    fn stop(
        &mut self,
        block: &Block,
        name: &str,
        signal: &str,
        timeout: Duration,
    ) -> anyhow::Result<(i64, Vec<String>)> {
        let node = self.nodes(block).first().cloned().unwrap_or_default();
        let base = format!("{KEEP}/{name}");
        let script = format!(
            "kill -{signal} \"$(cat {base}.pid)\" 2>/dev/null; cat {base}.exit; cat {base}.out"
        );
        let output = self.stage.exec(&node, &script, timeout)?;
        in_time(&output, timeout)?;
        let mut lines = output.lines.into_iter();
        let code = lines.next().and_then(|line| line.parse().ok());
        let exit = code.ok_or_else(|| anyhow::anyhow!("`{name}` left no exit code"))?;
        let shown = self.left.shown.remove(name).unwrap_or_default();
        Ok((exit, lines.skip(shown).collect()))
    }

    fn file(&self, block: &Block, shown: &Shown) -> anyhow::Result<()> {
        let text = (self.run.read)(&shown.path)
            .map_err(|error| anyhow::anyhow!("cannot read {}: {error}", shown.path))?;
        if let Some(to) = &shown.to {
            let bytes = self.stage.localise(&text).into_bytes();
            for node in self.nodes(block) {
                self.stage.upload(&node, to, &bytes)?;
            }
        }
        Ok(())
    }

    /// What the agents of the block's nodes say; nothing of those that do not answer.
    fn statuses(&self, block: &Block) -> Vec<(String, Option<serde_json::Value>)> {
        let ask = |node: String| {
            let output = self.stage.exec(&node, STATUS, Duration::from_secs(10));
            let value = output.ok().and_then(|o| serde_json::from_str(&o.lines.join("\n")).ok());
            (node, value)
        };
        self.nodes(block).into_iter().map(ask).collect()
    }

    fn topology(&self, block: &Block, seen: &mut Seen) -> anyhow::Result<()> {
        let lines = topology::describe(&self.statuses(block));
        let command = STATUS.to_owned();
        seen.steps.push(StepRecord { command, exit: 0, lines, ..StepRecord::default() });
        Ok(())
    }

    fn timeline(&self, block: &Block, seen: &mut Seen) -> anyhow::Result<()> {
        let lines = timeline::describe(&self.statuses(block), &self.left.events);
        let command = STATUS.to_owned();
        seen.steps.push(StepRecord { command, exit: 0, lines, ..StepRecord::default() });
        Ok(())
    }

    fn made(&self, block: &Block, made: &Made, seen: &mut Seen) -> anyhow::Result<()> {
        let node = self.nodes(block).first().cloned().unwrap_or_default();
        let (command, limit) = (made.command(), Duration::from_secs(10));
        let output = self.stage.exec(&node, &format!("cd {HOME} && {command}"), limit)?;
        in_time(&output, limit)?;
        let lines = output.lines.iter().map(|line| self.stage.generalise(line)).collect();
        let lines = made.lines(lines).map_err(|why| anyhow::anyhow!(why))?;
        let (exit, coloured) = (output.exit, Vec::new());
        seen.steps.push(StepRecord { command, exit, lines, coloured });
        Ok(())
    }

    fn mostly_redacted(&self, seen: &Seen) -> bool {
        let lines = seen.steps.iter().flat_map(|step| &step.lines);
        let (mut all, mut hidden) = (0, 0);
        for line in lines {
            all += line.len();
            hidden += self.run.rules.placeholder().find_iter(line).map(|m| m.len()).sum::<usize>();
        }
        hidden * 100 > all * MAX_REDACTED_PERCENT
    }
}

/// What a node's shell is given, so that the streams come back as a block wants them.
fn script(streams: Stderr, command: &str) -> String {
    let plain = format!("cd {HOME} && {command}");
    match streams {
        Stderr::Join => plain,
        Stderr::Drop => format!("exec 2>/dev/null; {plain}"),
        // Through files: the two would come back in another order each time. The newline is for a
        // command that ends in a here-document.
        Stderr::Split => format!(
            "t=$(mktemp -d); ( {plain}\n) >$t/1 2>$t/2; code=$?; awk 1 $t/1; \
             if [ -s $t/2 ]; then echo {SECOND}; cat $t/2; fi; rm -r $t; exit $code"
        ),
    }
}

fn in_time(output: &Output, timeout: Duration) -> anyhow::Result<()> {
    let limit = humantime::format_duration(timeout);
    anyhow::ensure!(!output.timed_out, "timed out after {limit}");
    Ok(())
}
