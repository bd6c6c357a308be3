//! Killing, stopping, starting, freezing nodes; several at once.

use std::process::ExitCode;

use futures_util::future::join_all;

use super::{fault, look};
use crate::engine::{Engine, Power, Trouble};
use crate::paths::Exit;
use crate::ui::Ui;

/// Does it to the nodes that are named, or to all.
///
/// # Errors
/// No such cluster or node; some or all of them failed.
pub(crate) async fn power(
    engine: &Engine,
    cluster: &str,
    named: &[String],
    power: Power,
    ui: &Ui,
) -> anyhow::Result<ExitCode> {
    let nodes = look::nodes(engine, cluster, named).await?;
    let work =
        nodes.iter().map(|(node, c)| async move { (node, engine.power(&c.id, power).await) });
    let (past, mut failed) = (past(power), Vec::new());
    for (node, done) in join_all(work).await {
        match done {
            Ok(()) => ui.line(past, node),
            Err(failure) if failure.trouble == Trouble::Conflict => {
                failed.push(format!("{node}: its state forbids it ({failure})"));
            }
            Err(failure) => failed.push(format!("{node}: {failure}")),
        }
    }
    if matches!(power, Power::Start | Power::Restart) {
        let names: Vec<String> = nodes.iter().map(|(node, _)| node.clone()).collect();
        fault::again(engine, cluster, &names).await?;
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let code = if failed.len() == nodes.len() { Exit::FAILED } else { Exit::PARTIAL };
    Err(Exit::error(code, format!("not {past}: {}", failed.join("; "))))
}

fn past(power: Power) -> &'static str {
    match power {
        Power::Kill => "killed",
        Power::Stop => "stopped",
        Power::Start => "started",
        Power::Restart => "restarted",
        Power::Pause => "paused",
        Power::Unpause => "unpaused",
    }
}
