//! Removes clusters, by force: a stop would wait for etcd's farewell, and nobody needs it.

use std::process::ExitCode;
use std::time::Instant;

use futures_util::future::join_all;

use super::diff::Listed;
use super::{gc, label, look, process};
use crate::engine::{Engine, Image};
use crate::paths::Exit;
use crate::ui::{Ui, counted};

/// What was removed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Removed {
    containers: usize,
    networks: usize,
    volumes: usize,
}

impl Removed {
    fn text(self) -> String {
        format!(
            "{}, {}, {}",
            counted(self.containers, "container"),
            counted(self.networks, "network"),
            counted(self.volumes, "volume")
        )
    }
}

/// `cluster down` of one cluster; what its nodes keep beyond it goes with `volumes` only.
pub(crate) async fn down(
    engine: &Engine,
    cluster: &str,
    volumes: bool,
    ui: &Ui,
) -> anyhow::Result<ExitCode> {
    let mut left = Vec::new();
    if !one(engine, cluster, volumes, ui, &mut left).await? {
        ui.line("nothing to remove", "");
    }
    whole(&left)
}

/// `cluster down --all`: every cluster of every engine.
pub(crate) async fn down_all(
    engines: &[Engine],
    volumes: bool,
    ui: &Ui,
) -> anyhow::Result<ExitCode> {
    let (mut nothing, mut left) = (true, Vec::new());
    for engine in engines {
        for name in look::list(engine).await?.clusters() {
            nothing &= !one(engine, &name, volumes, ui, &mut left).await?;
        }
    }
    if nothing {
        ui.line("nothing to remove", "");
    }
    whole(&left)
}

/// Removes a cluster; says whether there was anything, and adds what could not be removed.
async fn one(
    engine: &Engine,
    name: &str,
    volumes: bool,
    ui: &Ui,
    left: &mut Vec<String>,
) -> anyhow::Result<bool> {
    let start = Instant::now();
    let _lock = process::lock(name)?;
    let ours = look::list(engine).await?.of(name);
    let going = if volumes { ours.clone() } else { ours.without_state() };
    let kept = ours.volumes.len() - going.volumes.len();
    if going.is_empty() && kept == 0 {
        return Ok(false);
    }
    let removed = take(engine, &going, left).await;
    let seconds = start.elapsed().as_secs_f64();
    ui.line("removed", &format!("{name}: {}  {seconds:.1} s", removed.text()));
    if kept > 0 {
        let text = "with what the nodes hold. up --persist begins with it, down --volumes removes";
        ui.line("kept", &format!("{}, {text} it", counted(kept, "volume")));
    }
    Ok(true)
}

/// Removes everything that is listed.
///
/// # Errors
/// Names what could not be removed, each with its reason.
pub(crate) async fn remove(engine: &Engine, listed: &Listed) -> anyhow::Result<Removed> {
    let mut left = Vec::new();
    let removed = take(engine, listed, &mut left).await;
    whole(&left).map(|_| removed)
}

/// Removes everything that is listed: the markers first, so that what a killed removal leaves is
/// known as a leftover; then containers, networks, volumes. One that stays keeps none of the
/// others, and is added to `left` with its reason.
async fn take(engine: &Engine, listed: &Listed, left: &mut Vec<String>) -> Removed {
    let (markers, volumes): (Vec<_>, Vec<_>) =
        listed.volumes.iter().partition(|v| label::get(&v.labels, label::ROLE) == "marker");
    let mut note = |what: &str, done: crate::engine::Answer<()>| match done {
        Ok(()) => 1,
        Err(failure) => {
            left.push(format!("{what}: {failure}"));
            0
        }
    };
    let mut removed = Removed::default();
    for volume in markers {
        removed.volumes += note(&volume.name, engine.remove_volume(&volume.name).await);
    }
    let containers = listed
        .containers
        .iter()
        .map(|c| async { (c.name.as_str(), engine.remove_container(&c.id).await) });
    for (name, done) in join_all(containers).await {
        removed.containers += note(name, done);
    }
    for network in &listed.networks {
        removed.networks += note(&network.name, engine.remove_network(&network.id).await);
    }
    for volume in volumes {
        removed.volumes += note(&volume.name, engine.remove_volume(&volume.name).await);
    }
    removed
}

/// What came of a removal as a whole.
fn whole(left: &[String]) -> anyhow::Result<ExitCode> {
    if left.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let text = format!("not everything could be removed: {}", left.join("; "));
    Err(Exit::error(Exit::PARTIAL, text))
}

/// The images of nodes, newest first.
async fn node_images(engine: &Engine) -> anyhow::Result<Vec<Image>> {
    let mut dated = Vec::new();
    for image in engine.images().await? {
        if image.labels.contains_key(label::IMAGE_KEY) {
            dated.push((engine.image_tagged(&image.id).await?, image));
        }
    }
    dated.sort_by(|(one, _), (other, _)| other.cmp(one));
    Ok(dated.into_iter().map(|(_, image)| image).collect())
}

/// `cluster gc`.
pub(crate) async fn collect(
    engines: &[Engine],
    older_than: std::time::Duration,
    dry_run: bool,
    ui: &Ui,
) -> anyhow::Result<ExitCode> {
    let (mut nothing, mut left) = (true, Vec::new());
    for engine in engines {
        nothing &= !collect_from(engine, older_than, dry_run, ui, &mut left).await?;
    }
    if nothing {
        ui.line("nothing to remove", "");
    }
    whole(&left)
}

/// Collects what one engine has; says whether there was anything, and adds what could not be
/// removed: it keeps nothing else.
async fn collect_from(
    engine: &Engine,
    older_than: std::time::Duration,
    dry_run: bool,
    ui: &Ui,
    left: &mut Vec<String>,
) -> anyhow::Result<bool> {
    let listed = look::list(engine).await?;
    let verb = if dry_run { "would go" } else { "removed" };
    let mut nothing = true;
    for name in gc::leftovers(&listed, process::now(), older_than, &process::owned) {
        // Someone works on it after all.
        let Ok(_lock) = process::lock(&name) else {
            continue;
        };
        nothing = false;
        let ours = listed.of(&name).without_state();
        let removed = match dry_run {
            true => Removed {
                containers: ours.containers.len(),
                networks: ours.networks.len(),
                volumes: ours.volumes.len(),
            },
            false => take(engine, &ours, left).await,
        };
        ui.line(verb, &format!("{name}: {}", removed.text()));
    }
    for tag in gc::old_images(&node_images(engine).await?, &listed) {
        if !dry_run {
            match engine.remove_image(&tag).await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(failure) => {
                    left.push(format!("{tag}: {failure}"));
                    nothing = false;
                    continue;
                }
            }
        }
        nothing = false;
        ui.line(verb, &tag);
    }
    Ok(!nothing)
}
