//! `cargo xtask cluster`: real nodes in containers on this machine.
//!
//! What is wanted is turned into objects, compared with what the engine lists, and the difference
//! is made; all of that is decided in pure modules. The labels on the objects are the only record.
//! Nothing without our label is ever touched.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use crate::engine::{Engine, Power};
use crate::image;
use crate::interrupt::Stop;
use crate::paths::Exit;
use crate::ui::{Ui, counted, table};

mod args;
mod choose;
mod compose;
pub(crate) mod copy;
mod cut;
pub(crate) mod diff;
pub(crate) mod down;
mod fault;
mod gc;
pub(crate) mod label;
pub(crate) mod limits;
mod list;
pub(crate) mod logs;
pub(crate) mod look;
pub(crate) mod name;
mod node;
mod panel;
pub(crate) mod place;
mod power;
pub(crate) mod process;
pub(crate) mod run;
mod schema;
mod shell;
mod snapshot;
pub(crate) mod spec;
mod token;
pub(crate) mod up;
pub(crate) mod view;
mod watch;
mod wear;
mod worsen;

pub(crate) use args::Args;
use args::{
    CutVerb, Exec, Global, Isolate, NodeVerb, Nodes, Partition, Shape, SnapshotVerb, Up, Verb,
};
use spec::Wanted;
use up::Manner;

/// Runs it.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { global, verb } = args;
    match &verb {
        Verb::Compose { check } => return compose::compose(*check),
        Verb::Schema { verb, check } => return schema::schema(verb.as_deref(), *check),
        _ => {}
    }
    crate::interrupt::block_on(async move |stop| {
        let ui = Ui::new(global.json, false);
        match verb {
            Verb::Ls => list::clusters(&choose::all(global.engine).await?, global.json).await,
            Verb::Down { all: true, volumes } => {
                down::down_all(&choose::all(global.engine).await?, volumes, &ui).await
            }
            Verb::Gc { older_than, dry_run } => {
                let engines = choose::all(global.engine).await?;
                down::collect(&engines, older_than, dry_run, &ui).await
            }
            verb => {
                let makes =
                    matches!(&verb, Verb::Up(_) | Verb::Snapshot(SnapshotVerb::Restore { .. }));
                let engine = choose::one(global.engine, &global.name, makes).await?;
                act(&engine, &global, verb, &stop).await
            }
        }
    })
}

async fn act(
    engine: &Engine,
    global: &Global,
    verb: Verb,
    stop: &Stop,
) -> anyhow::Result<ExitCode> {
    let ui = Ui::new(global.json, false);
    let cluster = global.name.as_str();
    let power =
        async |nodes: Nodes, power| power::power(engine, cluster, &nodes.nodes, power, &ui).await;
    match verb {
        Verb::Up(up) => bring_up(engine, global, up, stop, &ui).await,
        Verb::Status(status) => list::status(engine, cluster, global.json, status.watch).await,
        Verb::Logs(of) => {
            let what = logs::What {
                nodes: &of.node,
                follow: of.follow,
                since: of.since,
                only: of.grep.as_ref(),
                utc: of.utc,
            };
            logs::logs(engine, cluster, &what).await
        }
        Verb::Exec(exec) => execute(engine, global, exec).await,
        Verb::Shell { node, command } => shell::shell(engine, cluster, &node, &command).await,
        Verb::Cp { source, target } => {
            for line in copy::copy(engine, cluster, &source, &target).await? {
                ui.line("copied", &line);
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Kill(nodes) => power(nodes, Power::Kill).await,
        Verb::Stop(nodes) => power(nodes, Power::Stop).await,
        Verb::Start(nodes) => power(nodes, Power::Start).await,
        Verb::Restart(nodes) => power(nodes, Power::Restart).await,
        Verb::Pause(nodes) => power(nodes, Power::Pause).await,
        Verb::Unpause(nodes) => power(nodes, Power::Unpause).await,
        Verb::Node(NodeVerb::Add { nodes, count, manner }) => {
            let how = manner.how(false);
            node::add(engine, cluster, (&nodes, count), &how, (stop, &ui)).await
        }
        Verb::Node(NodeVerb::Rm { nodes, force, manner }) => {
            let how = manner.how(force);
            node::remove(engine, cluster, &nodes, &how, (stop, &ui)).await
        }
        Verb::Cut(verb) => cut_off(engine, global, verb, &ui).await,
        Verb::Faults => fault::faults(engine, cluster, global.json).await,
        Verb::Snapshot(SnapshotVerb::Save { file }) => {
            snapshot::save(engine, cluster, &file, global.json).await
        }
        Verb::Snapshot(SnapshotVerb::Restore { file, shape }) => {
            bring_back(engine, global, (&file, *shape), stop, &ui).await
        }
        Verb::Down { volumes, .. } => down::down(engine, cluster, volumes, &ui).await,
        Verb::Ls => list::clusters(std::slice::from_ref(engine), global.json).await,
        Verb::Gc { older_than, dry_run } => {
            down::collect(std::slice::from_ref(engine), older_than, dry_run, &ui).await
        }
        Verb::Compose { check } => compose::compose(check),
        Verb::Schema { verb, check } => schema::schema(verb.as_deref(), check),
    }
}

async fn cut_off(
    engine: &Engine,
    global: &Global,
    verb: CutVerb,
    ui: &Ui,
) -> anyhow::Result<ExitCode> {
    let cluster = global.name.as_str();
    match verb {
        CutVerb::Partition(Partition { one, from, one_way, manner }) => {
            let (one, from) = ([one], from.into_iter().collect::<Vec<_>>());
            let manner = manner.whole(one_way);
            let cuts = fault::partition(engine, cluster, (&one, &from), manner, ui).await?;
            told(global, "cuts", cuts)
        }
        CutVerb::Isolate(Isolate { nodes, manner }) => {
            let cuts = fault::isolate(engine, cluster, &nodes, manner.whole(false), ui);
            told(global, "cuts", cuts.await?)
        }
        CutVerb::Ring(manner) => {
            told(global, "cuts", fault::ring(engine, cluster, manner.whole(false), ui).await?)
        }
        CutVerb::Bridge { node, manner } => {
            let cuts = fault::bridge(engine, cluster, &node, manner.whole(false), ui);
            told(global, "cuts", cuts.await?)
        }
        CutVerb::Loss { nodes, pct, to, lasting } => {
            let what = (wear::Kind::Loss(pct), lasting.lasting);
            let made = worsen::worsen(engine, cluster, (&nodes, &to), what, ui);
            told(global, "faults", made.await?)
        }
        CutVerb::Delay { nodes, ms, jitter, lasting } => {
            let what = (wear::Kind::Delay(ms, jitter), lasting.lasting);
            let made = worsen::worsen(engine, cluster, (&nodes, &[]), what, ui);
            told(global, "faults", made.await?)
        }
        CutVerb::Rate { nodes, kbit, lasting } => {
            let what = (wear::Kind::Rate(kbit), lasting.lasting);
            let made = worsen::worsen(engine, cluster, (&nodes, &[]), what, ui);
            told(global, "faults", made.await?)
        }
        CutVerb::Heal { nodes } => {
            told(global, "healed", fault::heal(engine, cluster, &nodes, ui).await?)
        }
    }
}

/// The JSON of a verb that has told its lines already.
fn told(global: &Global, what: &str, done: Vec<serde_json::Value>) -> anyhow::Result<ExitCode> {
    if global.json {
        println!("{}", serde_json::json!({"schema": 1, "cluster": global.name, what: done}));
    }
    Ok(ExitCode::SUCCESS)
}

/// A cluster that begins with what was saved.
async fn bring_back(
    engine: &Engine,
    global: &Global,
    (file, shape): (&Path, Shape),
    stop: &Stop,
    ui: &Ui,
) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let _lock = process::lock(&global.name)?;
    let mut image = image::prepare(engine, &shape.given, ui).await?;
    let wanted = shape.wanted(&global.name, &image);
    let loaded = stop.race(image::ensure(engine, &mut image)).await?;
    image::report(ui, &image, &loaded, start);
    snapshot::restore(engine, &wanted, file, stop, ui).await?;
    let ours = look::cluster(engine, &global.name).await?;
    print_made(&look::view(engine, &global.name, &ours).await, global, ui);
    Ok(ExitCode::SUCCESS)
}

async fn bring_up(
    engine: &Engine,
    global: &Global,
    up: Up,
    stop: &Stop,
    ui: &Ui,
) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    if engine.is_local() && up.shape.internal {
        let text = "--internal needs a network of the nodes' own, which plain processes have not";
        return Err(Exit::error(Exit::NO_EFFECT, text));
    }
    let lock = process::lock(&global.name)?;
    let mut image = image::prepare(engine, &up.shape.given, ui).await?;
    let wanted = Wanted { persist: up.persist, ..up.shape.wanted(&global.name, &image) };
    if up.plan {
        let listed = look::list(engine).await?;
        return print_plan(&wanted, &listed, up.recreate, global.json);
    }
    let mut listed = up::sweep(engine, &wanted.cluster).await?;
    if up.recreate && matches!(diff::plan(&wanted, &listed), Err(diff::Conflict::Differs(_))) {
        down::remove(engine, &listed.of(&wanted.cluster)).await?;
        listed = look::list(engine).await?;
    }
    let steps = diff::plan(&wanted, &listed).map_err(|c| c.into_error(&wanted.cluster))?;
    if steps.is_empty() {
        let nodes = counted(wanted.nodes.into(), "node");
        ui.line("unchanged", &format!(" {nodes}, image and spec match"));
        if global.json {
            println!(
                "{}",
                serde_json::json!({"schema": 1, "cluster": wanted.cluster, "changed": false})
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    let loaded = stop.race(image::ensure(engine, &mut image)).await?;
    image::report(ui, &image, &loaded, start);
    let wait = (!up.no_wait).then_some(up.wait);
    let manner = Manner {
        wait,
        keep_on_failure: up.keep_on_failure,
        goal: view::Goal::All,
        parallel: usize::from(up.parallel),
        files: BTreeMap::new(),
        logs: None,
    };
    let made = up::up(engine, &wanted, &manner, stop, ui).await?;
    drop(lock);
    let view = match made.view {
        Some(view) => view,
        None => {
            let ours = look::cluster(engine, &global.name).await?;
            view::View::new(&global.name, &ours, process::now())
        }
    };
    print_made(&view, global, ui);
    Ok(ExitCode::SUCCESS)
}

fn print_made(view: &view::View, global: &Global, ui: &Ui) {
    if global.json {
        println!("{}", view.json());
        return;
    }
    for (number, line) in table(&view.table()).iter().enumerate() {
        ui.line(if number == 0 { "ready" } else { "" }, line);
    }
    let name =
        if global.name == "demo" { String::new() } else { format!("--name {} ", global.name) };
    ui.line("next", &format!("cargo xtask cluster {name}exec h1 -- quorate status"));
}

fn print_plan(
    wanted: &Wanted,
    listed: &diff::Listed,
    recreate: bool,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let steps = match diff::plan(wanted, listed) {
        Err(diff::Conflict::Differs(_)) if recreate => diff::plan(wanted, &diff::Listed::default()),
        other => other,
    };
    let steps = steps.map_err(|c| c.into_error(&wanted.cluster))?;
    let lines: Vec<String> = steps.iter().map(|step| diff::describe(step, wanted)).collect();
    if json {
        println!("{}", serde_json::json!({"schema": 1, "cluster": wanted.cluster, "steps": lines}));
    } else if lines.is_empty() {
        let nodes = counted(wanted.nodes.into(), "node");
        println!("unchanged  {nodes}, image and spec match");
    }
    if !json {
        lines.iter().for_each(|line| println!("would {line}"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn execute(engine: &Engine, global: &Global, exec: Exec) -> anyhow::Result<ExitCode> {
    let named: Vec<String> = exec.node.into_iter().collect();
    let nodes = look::nodes(engine, &global.name, &named).await?;
    let work = nodes.iter().map(|(node, container)| {
        let (command, timeout) = (&exec.command, exec.timeout);
        async move {
            let output = match command.as_slice() {
                [line] => run::shell(engine, &container.id, line, timeout).await,
                argv => run::program(engine, &container.id, argv, timeout).await,
            };
            (node, output)
        }
    });
    let outputs = futures_util::future::join_all(work).await;
    let several = outputs.len() > 1;
    let (mut codes, mut late) = (Vec::new(), Vec::new());
    let mut objects = Vec::new();
    for (node, output) in outputs {
        let output = output.map_err(|failure| {
            Exit::error(Exit::FAILED, format!("{node} cannot run it: {failure}"))
        })?;
        codes.push(output.exit);
        if output.timed_out {
            late.push(node.as_str());
        }
        if global.json {
            objects.push(serde_json::json!({
                "node": node, "exit": output.exit, "lines": output.lines,
                "timed_out": output.timed_out,
            }));
            continue;
        }
        if several {
            println!("{node} (exit {})", output.exit);
        }
        let indent = if several { "  " } else { "" };
        output.lines.iter().for_each(|line| println!("{indent}{line}"));
    }
    if global.json {
        println!("{}", serde_json::json!({"schema": 1, "cluster": global.name, "nodes": objects}));
    }
    if !late.is_empty() {
        let text = format!("timed out after {} s", exec.timeout.as_secs_f64());
        let text = if several { format!("{} {text}", late.join(", ")) } else { text };
        return Err(Exit::error(Exit::TIMED_OUT, text));
    }
    let failed = codes.iter().filter(|code| **code != 0).count();
    Ok(match (codes.as_slice(), failed) {
        (_, 0) => ExitCode::SUCCESS,
        ([code], _) => ExitCode::from(u8::try_from(*code).unwrap_or(1)),
        (_, failed) if failed == codes.len() => ExitCode::from(Exit::FAILED),
        _ => ExitCode::from(Exit::PARTIAL),
    })
}
