//! Work that is done once, by processes that end: apply and nothing to do (S1, S2), orders (S3 to
//! S5), and the start (S6).
//!
//! Refuses to count a run whose result is not right.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::super::heal::Watcher;
use super::figure::{self, Figure};
use super::tool::{self, Tool};
use super::work::Shape;
use super::{Plan, limit};
use crate::bench::table::{Row, exponent, ms};

/// The sizes between which the system calls of a file are counted.
const CALLS: [usize; 2] = [500, 2500];
/// How long a tool may take for its first file.
const FIRST: Duration = Duration::from_secs(60);

/// Measures what is wanted of S1 to S6.
pub(super) fn measure(plan: &mut Plan) -> anyhow::Result<()> {
    if plan.wants("S1") || plan.wants("S2") {
        let mut cpu = Vec::new();
        for n in plan.sizes.clone() {
            let peers = plan.peers(n);
            let [apply, again] = flat(plan, n, &peers)?;
            cpu.push((n, [apply.1, again.1]));
            let peak = Row { scenario: "S1 peak", n, unit: "MiB", ours: apply.2, ..Row::default() };
            plan.add(vec![apply.0, again.0, peak]);
            let row = durable(plan, n)?;
            plan.add(vec![row]);
        }
        for pair in cpu.windows(2) {
            let ((small, before), (large, after)) = (pair[0], pair[1]);
            let grows = |at: usize| exponent((small, before[at]), (large, after[at]));
            plan.notes.push(format!(
                "CPU grows with exponent {:.2} (apply), {:.2} (no-op) from {small} to {large}",
                grows(0),
                grows(1)
            ));
        }
        calls(plan)?;
    }
    for (scenario, shape, names) in [
        ("S3", Shape::Chain, ["S3 chain", "S3 chain again", "S3 chain/flat"]),
        ("S4", Shape::Wide, ["S4 fan", "S4 fan again", "S4 fan/flat"]),
        ("S5", Shape::Random, ["S5 random", "S5 random again", "S5 random/flat"]),
    ] {
        for n in plan.sizes.clone() {
            if plan.wants(scenario) && (1000..=10_000).contains(&n) {
                ordered(plan, n, shape, names)?;
            }
        }
    }
    if plan.wants("S6") {
        for n in [1, 1000] {
            start(plan, n)?;
        }
    }
    Ok(())
}

/// Has the disk take what was written before: nobody is to wait for the work of others, such as an
/// agent that stores who it is behind the files of the run before it.
fn settle() {
    nix::unistd::sync();
}

/// The first application by a tool into a new folder, and the same again.
fn both(plan: &Plan, tool: &Tool, shape: Shape, n: usize) -> anyhow::Result<[Figure; 2]> {
    let folder = plan.fresh(tool.name)?;
    let target = folder.join("target");
    fs::create_dir(&target)?;
    let command = tool.prepare(shape, n, &folder, &target)?;
    let mut figures = [Figure::default(); 2];
    for (at, figure) in figures.iter_mut().enumerate() {
        settle();
        *figure = figure::timed(&command, &folder.join(format!("log{at}")))?;
        limit::verify(&target, n).with_context(|| format!("{} did not do its work", tool.name))?;
    }
    Ok(figures)
}

/// The medians of several rounds of `both` for each tool, in turn, the machine's limit among them.
struct Rounds {
    /// In the order of the tools.
    tools: Vec<[Figure; 2]>,
    limit: [Duration; 2],
}

fn rounds(plan: &Plan, tools: &[Tool], shape: Shape, n: usize) -> anyhow::Result<Rounds> {
    let mut found: Vec<[Vec<Figure>; 2]> = vec![Default::default(); tools.len()];
    let (mut writes, mut checks) = (Vec::new(), Vec::new());
    for _ in 0..plan.times(n) {
        let folder = plan.fresh("limit")?;
        settle();
        writes.push(limit::write(&folder, n)?);
        settle();
        checks.push(limit::check(&folder, n)?);
        for (tool, found) in tools.iter().zip(&mut found) {
            let [apply, again] = both(plan, tool, shape, n)?;
            found[0].push(apply);
            found[1].push(again);
        }
    }
    let median = |all: &Vec<Figure>| figure::median(all).context("there were no rounds");
    let medians = found.iter().map(|[apply, again]| Ok([median(apply)?, median(again)?]));
    let middle = |all: Vec<Duration>| figure::middle(all).context("there were no rounds");
    let tools = medians.collect::<anyhow::Result<_>>()?;
    Ok(Rounds { tools, limit: [middle(writes)?, middle(checks)?] })
}

/// A row, our CPU in milliseconds, our peak in MiB.
type Applied = (Row, f64, f64);

/// S1 and S2.
fn flat(plan: &Plan, n: usize, peers: &[Tool]) -> anyhow::Result<[Applied; 2]> {
    let tools: Vec<Tool> = [&plan.ours].into_iter().chain(peers).cloned().collect();
    let rounds = rounds(plan, &tools, Shape::Flat, n)?;
    let row = |scenario, at: usize| {
        let ours = rounds.tools[0][at];
        let others = peers.iter().zip(&rounds.tools[1..]);
        let peers = others.map(|(tool, figures)| (tool.name, ms(figures[at].wall))).collect();
        let limit = Some(ms(rounds.limit[at]));
        let row = Row { peers, limit, ..Row::of(scenario, n, &ours) };
        (row, ms(ours.cpu), ours.peak_kib as f64 / 1024.0)
    };
    Ok([row("S1 apply", 0), row("S2 no-op", 1)])
}

/// S1 with `--durable`, beside the same with one wait for the disk.
fn durable(plan: &Plan, n: usize) -> anyhow::Result<Row> {
    let (mut figures, mut limits) = (Vec::new(), Vec::new());
    for _ in 0..plan.times(n) {
        settle();
        limits.push(limit::write_durably(&plan.fresh("limit")?, n)?);
        let folder = plan.fresh("durable")?;
        let target = folder.join("target");
        fs::create_dir(&target)?;
        let mut command = plan.ours.prepare(Shape::Flat, n, &folder, &target)?;
        command.push("--durable".into());
        settle();
        figures.push(figure::timed(&command, &folder.join("log"))?);
        limit::verify(&target, n)?;
    }
    let ours = figure::median(&figures).context("there were no rounds")?;
    let limit = figure::middle(limits).map(ms);
    Ok(Row { limit, ..Row::of("S1 durable", n, &ours) })
}

/// S3, S4 and S5: the same work with an order, beside the same without.
fn ordered(
    plan: &mut Plan,
    n: usize,
    shape: Shape,
    names: [&'static str; 3],
) -> anyhow::Result<()> {
    let peers = if shape == Shape::Chain { plan.peers(n) } else { Vec::new() };
    let tools: Vec<Tool> = [&plan.ours].into_iter().chain(&peers).cloned().collect();
    let with = rounds(plan, &tools, shape, n)?;
    let without = rounds(plan, &tools[..1], Shape::Flat, n)?;
    let row = |at: usize| {
        let others = peers.iter().zip(&with.tools[1..]);
        let peers = others.map(|(tool, figures)| (tool.name, ms(figures[at].wall))).collect();
        let limit = Some(ms(with.limit[at]));
        Row { peers, limit, ..Row::of(names[at], n, &with.tools[0][at]) }
    };
    let (ordered, flat) = (ms(with.tools[0][0].wall), ms(without.tools[0][0].wall));
    let also = format!("{ordered:.0} ms with the order, {flat:.0} ms without");
    let ours = ordered / flat;
    let times = Row { scenario: names[2], n, unit: "times", ours, also, ..Row::default() };
    let rows = vec![row(0), row(1), times];
    plan.add(rows);
    Ok(())
}

/// G10: system calls for each further file.
fn calls(plan: &mut Plan) -> anyhow::Result<()> {
    let Some(strace) = tool::on_path("strace") else {
        plan.notes.push("system calls are not counted: no `strace` (Debian package)".to_owned());
        return Ok(());
    };
    let mut counted = [[0_u64; 2]; 2];
    for (at, n) in CALLS.into_iter().enumerate() {
        let folder = plan.fresh("calls")?;
        let target = folder.join("target");
        fs::create_dir(&target)?;
        let command = plan.ours.prepare(Shape::Flat, n, &folder, &target)?;
        for (phase, count) in ["apply", "again"].into_iter().zip(&mut counted[at]) {
            let summary = folder.join(phase);
            let mut traced: Vec<OsString> = vec![strace.clone().into()];
            traced.extend(["-f", "-c", "-q", "-o"].map(OsString::from));
            traced.push(summary.clone().into());
            traced.extend(command.iter().cloned());
            figure::timed(&traced, &folder.join("log"))?;
            limit::verify(&target, n)?;
            *count = total_calls(&fs::read_to_string(summary)?).context("strace counts none")?;
        }
    }
    let each = |phase: usize| {
        (counted[1][phase] as f64 - counted[0][phase] as f64) / (CALLS[1] - CALLS[0]) as f64
    };
    let row = |scenario, ours: f64, limit| Row {
        scenario,
        n: CALLS[1],
        unit: "calls",
        ours,
        limit: Some(limit),
        also: format!("a file, from {} to {} of them", CALLS[0], CALLS[1]),
        ..Row::default()
    };
    let rows = vec![row("S1 calls", each(0), 4.0), row("S2 calls", each(1), 4.0)];
    plan.add(rows);
    Ok(())
}

/// The sum in the last line of a summary of strace: seconds, microseconds a call, calls.
fn total_calls(summary: &str) -> Option<u64> {
    let total = summary.lines().rev().find(|line| line.trim_end().ends_with(" total"))?;
    total.split_whitespace().nth(3)?.parse().ok()
}

/// S6: from the start of the process to the first and the last file and to its end.
fn start(plan: &mut Plan, n: usize) -> anyhow::Result<()> {
    let peers = plan.peers(n);
    let tools: Vec<Tool> = [&plan.ours].into_iter().chain(&peers).cloned().collect();
    let mut found: Vec<[Vec<Duration>; 3]> = vec![Default::default(); tools.len()];
    let mut bare = Vec::new();
    for _ in 0..(plan.times(n) * 2 - 1) {
        bare.push(limit::spawn()?);
        for (tool, found) in tools.iter().zip(&mut found) {
            for (part, one) in found.iter_mut().zip(touches(plan, tool, n)?) {
                part.push(one);
            }
        }
    }
    let bare = figure::middle(bare).map(ms);
    let at = |tool: usize, part: usize| figure::middle(found[tool][part].clone()).map_or(0.0, ms);
    let names = ["S6 first", "S6 last", "S6 exit"];
    let rows = names.into_iter().enumerate().map(|(part, scenario)| Row {
        scenario,
        n,
        unit: "ms",
        ours: at(0, part),
        peers: peers.iter().enumerate().map(|(i, tool)| (tool.name, at(i + 1, part))).collect(),
        limit: bare.filter(|_| part == 0),
        also: if part == 0 { "limit: a process that does nothing".into() } else { String::new() },
    });
    let rows = rows.collect();
    plan.add(rows);
    Ok(())
}

/// When the first and the last file were there, and when the process had ended.
fn touches(plan: &Plan, tool: &Tool, n: usize) -> anyhow::Result<[Duration; 3]> {
    let folder = plan.fresh(tool.name)?;
    let target = folder.join("target");
    fs::create_dir(&target)?;
    let command = tool.prepare(Shape::Flat, n, &folder, &target)?;
    let watch = Watcher::new(&target)?;
    let log = File::create(folder.join("log"))?;
    let (program, arguments) = command.split_first().context("there is no command")?;
    let mut run = Command::new(program);
    run.args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .env("HOME", "/root");
    run.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let started = Instant::now();
    let mut child = run.spawn().with_context(|| format!("cannot start {}", tool.name))?;
    let (mut names, mut first) = (BTreeSet::new(), None);
    while names.len() < n {
        let now = watch.next(started + FIRST)?;
        if now.is_empty() {
            // Peers that do nothing in this time do not end by themselves either.
            child.kill().ok();
            child.wait()?;
            bail!("{} wrote {} of {n} files within {FIRST:?}", tool.name, names.len());
        }
        names.extend(now.into_iter().filter(|name| is_final(name)));
        if first.is_none() && !names.is_empty() {
            first = Some(started.elapsed());
        }
    }
    let last = started.elapsed();
    let status = child.wait()?;
    let exit = started.elapsed();
    if !status.success() {
        bail!("{} ended with {status}; its log is in {}", tool.name, folder.display());
    }
    limit::verify(&target, n)?;
    Ok([first.unwrap_or(last), last, exit])
}

/// Whether this is the name of a file of the work, not of one beside it.
fn is_final(name: &str) -> bool {
    name.len() == 7 && name.starts_with('f') && name[1..].bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_are_the_fourth_number_of_the_last_line() {
        let summary = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n \
            60.00    0.001000          10       100           read\n\
            100.00    0.012345           7      1234        56 total\n";
        assert_eq!(total_calls(summary), Some(1234));
        assert_eq!(total_calls(""), None);
    }

    #[test]
    fn temporary_names_are_no_files_of_the_work() {
        assert!(is_final("f000012"));
        assert!(!is_final(".f000012.tmp") && !is_final("f00001x") && !is_final("f1"));
    }
}
