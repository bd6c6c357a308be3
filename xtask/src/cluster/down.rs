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
    if !one(engine, cluster, volumes, ui).await? {
        ui.line("nothing to remove", "");
    }
    Ok(ExitCode::SUCCESS)
}

/// `cluster down --all`: every cluster of every engine.
pub(crate) async fn down_all(
    engines: &[Engine],
    volumes: bool,
    ui: &Ui,
) -> anyhow::Result<ExitCode> {
    let mut nothing = true;
    for engine in engines {
        for name in look::list(engine).await?.clusters() {
            nothing &= !one(engine, &name, volumes, ui).await?;
        }
    }
    if nothing {
        ui.line("nothing to remove", "");
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes a cluster; says whether there was anything.
async fn one(engine: &Engine, name: &str, volumes: bool, ui: &Ui) -> anyhow::Result<bool> {
    let start = Instant::now();
    let _lock = process::lock(name)?;
    let ours = look::list(engine).await?.of(name);
    let going = if volumes { ours.clone() } else { ours.without_state() };
    let kept = ours.volumes.len() - going.volumes.len();
    if going.is_empty() && kept == 0 {
        return Ok(false);
    }
    let removed = remove(engine, &going).await?;
    let seconds = start.elapsed().as_secs_f64();
    ui.line("removed", &format!("{name}: {}  {seconds:.1} s", removed.text()));
    if kept > 0 {
        let text = "with what the nodes hold. up --persist begins with it, down --volumes removes";
        ui.line("kept", &format!("{}, {text} it", counted(kept, "volume")));
    }
    Ok(true)
}

/// Removes everything that is listed: the markers first, so that what a killed removal leaves is
/// known as a leftover; then containers, networks, volumes.
///
/// # Errors
/// Names what could not be removed, with the first reason.
pub(crate) async fn remove(engine: &Engine, listed: &Listed) -> anyhow::Result<Removed> {
    let (markers, volumes): (Vec<_>, Vec<_>) =
        listed.volumes.iter().partition(|v| label::get(&v.labels, label::ROLE) == "marker");
    let mut left = Vec::new();
    let mut note = |what: String, done: crate::engine::Answer<()>| {
        if let Err(failure) = done {
            left.push(format!("{what}: {failure}"));
        }
    };
    for volume in markers {
        note(volume.name.clone(), engine.remove_volume(&volume.name).await);
    }
    let containers = listed
        .containers
        .iter()
        .map(|c| async { (c.name.clone(), engine.remove_container(&c.id).await) });
    for (name, done) in join_all(containers).await {
        note(name, done);
    }
    for network in &listed.networks {
        note(network.name.clone(), engine.remove_network(&network.id).await);
    }
    for volume in volumes {
        note(volume.name.clone(), engine.remove_volume(&volume.name).await);
    }
    if !left.is_empty() {
        let text = format!("not everything could be removed: {}", left.join("; "));
        return Err(Exit::error(Exit::PARTIAL, text));
    }
    Ok(Removed {
        containers: listed.containers.len(),
        networks: listed.networks.len(),
        volumes: listed.volumes.len(),
    })
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
    let mut nothing = true;
    for engine in engines {
        nothing &= !collect_from(engine, older_than, dry_run, ui).await?;
    }
    if nothing {
        ui.line("nothing to remove", "");
    }
    Ok(ExitCode::SUCCESS)
}

/// Collects what one engine has; says whether there was anything.
async fn collect_from(
    engine: &Engine,
    older_than: std::time::Duration,
    dry_run: bool,
    ui: &Ui,
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
            false => remove(engine, &ours).await?,
        };
        ui.line(verb, &format!("{name}: {}", removed.text()));
    }
    for tag in gc::old_images(&node_images(engine).await?, &listed) {
        if !dry_run && !engine.remove_image(&tag).await? {
            continue;
        }
        nothing = false;
        ui.line(verb, &tag);
    }
    Ok(!nothing)
}
