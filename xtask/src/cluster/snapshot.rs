//! `cluster snapshot save` and `restore`: everything that a cluster holds in one file here, and a
//! cluster of the same size made from it beside the first.
//!
//! Refuses to replace a cluster: what is restored gets a name that nobody has.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::copy;
use super::diff::{Conflict, Listed};
use super::name::{self, no_cluster};
use super::spec::{STATE, Wanted};
use super::up::{self, Manner};
use super::view::Goal;
use super::{limits, look, run};
use crate::engine::{Container, Engine, FileEntry, State};
use crate::interrupt::Stop;
use crate::paths::Exit;
use crate::ui::Ui;

/// How long a node may take to save what the cluster holds, or to begin anew with it.
const SAVE: Duration = Duration::from_secs(60);
/// How long a cluster may take to be ready.
const READY: Duration = Duration::from_secs(60);
/// Where a node finds what it is to begin with.
const GIVEN: &str = "/var/lib/quorate-restore.db";

/// `cluster snapshot save`: from the first node that can.
///
/// # Errors
/// No such cluster, no node that can, or the file cannot be written; an old one stays then.
pub(crate) async fn save(
    engine: &Engine,
    cluster: &str,
    file: &Path,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let mut last = "none of its nodes runs".to_owned();
    for (node, container) in look::nodes(engine, cluster, &[]).await? {
        if container.state != State::Running {
            continue;
        }
        let argv = ["/usr/bin/quorate", "cluster", "snapshot", "save", "--prefix", STATE, "--json"];
        let output = run::program(engine, &container.id, &argv.map(str::to_owned), SAVE).await?;
        let Some((path, bytes)) = saved(&output.lines).filter(|_| output.exit == 0) else {
            last = format!("{node}: {}", output.lines.join("; "));
            continue;
        };
        copy::fetch(engine, &node, &container.id, &path, file).await.map_err(|failure| {
            let text = format!("{} cannot be written: {failure:#}", file.display());
            Exit::error(Exit::FAILED, format!("{text}. Name a file in a folder that is there."))
        })?;
        let seconds = start.elapsed().as_secs_f64();
        match json {
            true => println!(
                "{}",
                json!({"schema": 1, "cluster": cluster, "node": node, "bytes": bytes,
                       "file": file.display().to_string()})
            ),
            false => Ui::new(false, false).line(
                "saved",
                &format!("{}  {bytes} bytes, from {node}  {seconds:.1} s", file.display()),
            ),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let text = format!("nothing was saved: no node of {cluster} can save what it holds: {last}");
    Err(Exit::error(Exit::FAILED, text))
}

/// The path and the size that an agent tells of a snapshot.
fn saved(lines: &[String]) -> Option<(String, u64)> {
    let told: Value = serde_json::from_str(lines.first()?).ok()?;
    Some((told["file"].as_str()?.to_owned(), told["bytes"].as_u64()?))
}

/// `cluster snapshot restore`: a new cluster that begins with what is in the file. The caller holds
/// its lock.
///
/// # Errors
/// There is a cluster of that name, the file is no snapshot, or the cluster does not get ready in
/// time. What was made is removed then.
pub(crate) async fn restore(
    engine: &Engine,
    wanted: &Wanted,
    file: &Path,
    stop: &Stop,
    ui: &Ui,
) -> anyhow::Result<()> {
    let bytes = std::fs::read(file).map_err(|failure| {
        let text = format!("{} cannot be read: {failure}", file.display());
        let next = "Name a file that cluster snapshot save wrote.";
        Exit::error(Exit::FAILED, format!("{text}. {next}"))
    })?;
    let listed = up::sweep(engine, &wanted.cluster).await?;
    let cluster = &wanted.cluster;
    if !listed.of(cluster).is_empty() {
        let text = format!(
            "there is a cluster {cluster} already. Pick another one: --name NAME; or remove it: \
             cargo xtask cluster --name {cluster} down"
        );
        return Err(Conflict::Foreign(text).into_error(cluster));
    }
    let first = Wanted { nodes: 1, ..wanted.clone() };
    let given = FileEntry { path: GIVEN.trim_start_matches('/').to_owned(), bytes, mode: 0o600 };
    let files = BTreeMap::from([(name::node(1), vec![given])]);
    let manner = Manner {
        wait: Some(READY),
        keep_on_failure: false,
        goal: Goal::All,
        parallel: limits::PARALLEL,
        files,
        logs: None,
    };
    up::up(engine, &first, &manner, stop, ui).await?;
    let done = begin(engine, wanted, &manner, (file, stop, ui)).await;
    if done.is_err() {
        super::down::remove(engine, &look::list(engine).await?.of(cluster)).await?;
    }
    done
}

/// Founds the cluster anew on its first node with what is in the file, then makes the others.
async fn begin(
    engine: &Engine,
    wanted: &Wanted,
    manner: &Manner,
    (file, stop, ui): (&Path, &Stop, &Ui),
) -> anyhow::Result<()> {
    let ours = look::cluster(engine, &wanted.cluster).await?;
    let (host, first) = only(&ours).ok_or_else(|| no_cluster(&wanted.cluster))?;
    let words = ["/usr/bin/quorate", "cluster", "snapshot", "restore", GIVEN, "--prefix", STATE];
    let argv = words.map(str::to_owned);
    let output = stop.race(async { Ok(run::program(engine, &first.id, &argv, SAVE).await?) });
    let output = output.await?;
    if output.exit != 0 {
        let text = format!("{} was not restored: {}", file.display(), output.lines.join("; "));
        return Err(Exit::error(Exit::FAILED, text));
    }
    run::shell(engine, &first.id, &format!("rm -f {GIVEN}"), SAVE).await?;
    ui.line("restored", &format!("{host} from {}", file.display()));
    let manner = Manner { files: BTreeMap::new(), ..manner.clone() };
    up::up(engine, wanted, &manner, stop, ui).await?;
    match wanted.nodes {
        // Nothing was made, and nobody waited until it was back.
        1 => up::wait_for(engine, wanted, &manner, (stop, ui)).await,
        _ => Ok(()),
    }
}

fn only(ours: &Listed) -> Option<(String, Container)> {
    ours.nodes().into_iter().next().map(|(node, container)| (node, container.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_word_about_a_snapshot_is_its_file_and_size() {
        let told =
            r#"{"file":"/var/lib/quorate/snapshots/x.db","at":1,"bytes":20512,"whole":true}"#;
        let wanted = Some(("/var/lib/quorate/snapshots/x.db".to_owned(), 20_512));
        assert_eq!(saved(&[told.to_owned()]), wanted);
        for other in [vec![], vec!["error: no agent".to_owned()], vec!["{}".to_owned()]] {
            assert_eq!(saved(&other), None, "{other:?}");
        }
    }
}
