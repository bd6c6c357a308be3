//! `cargo xtask image`: the image that nodes run, built in memory from files on this machine and
//! loaded through the engine's API. No registry, no Dockerfile, nothing installed.
//!
//! Its key is the digest of its two layers: programs and libraries below, the agent above. What
//! went into the last build is remembered in the target folder, so that an unchanged image costs a
//! few dozen `stat` calls.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Subcommand;

use crate::engine::Engine;
use crate::ui::Ui;

mod agent;
mod archive;
mod elf;
mod fetch;
mod files;
mod layer;
mod plain;
mod sources;
mod stamp;
mod tools;

pub(crate) use archive::{LABELS, REPOSITORY};
pub(crate) use sources::Given;
pub(crate) use tools::tools;

/// What `image` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build the image and load it into the engine
    Build(Build),
}

#[derive(clap::Args)]
struct Build {
    #[command(flatten)]
    given: Given,
    /// Say what would go in, and build nothing
    #[arg(long)]
    plan: bool,
}

/// An image that is known by its key, and its bytes where they had to be read.
pub(crate) struct Prepared {
    /// Digest of its layers.
    pub(crate) key: String,
    /// Its tag: repository and key.
    pub(crate) tag: String,
    given: Given,
    /// The archive, if it had to be built to know the key.
    archive: Option<Vec<u8>>,
}

/// An image that the engine has.
pub(crate) struct Loaded {
    /// Size in bytes.
    pub(crate) size: i64,
    /// Whether it had to be loaded.
    pub(crate) fresh: bool,
}

/// Runs it.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Verb::Build(build) = args.verb;
    crate::interrupt::block_on(async move |_| {
        let ui = Ui::new(false, false);
        let engine = Engine::connect().await?;
        if build.plan {
            return plan(&engine, &build.given, &ui);
        }
        let start = Instant::now();
        let mut image = prepare(&engine, &build.given, &ui).await?;
        let loaded = ensure(&engine, &mut image).await?;
        report(&ui, &image, &loaded, start);
        Ok(ExitCode::SUCCESS)
    })
}

/// The line that tells about the image.
pub(crate) fn report(ui: &Ui, image: &Prepared, loaded: &Loaded, start: Instant) {
    let size = loaded.size / 1_000_000;
    match loaded.fresh {
        true => ui.line(
            "image",
            &format!("{}  {size} MB  loaded  {:.1} s", image.tag, start.elapsed().as_secs_f64()),
        ),
        false => ui.line("image", &format!("{}  {size} MB  present", image.tag)),
    }
}

fn plan(engine: &Engine, given: &Given, ui: &Ui) -> anyhow::Result<ExitCode> {
    let found = sources::find(given, &engine.about().arch)?;
    for (what, place) in [
        ("etcd", found.etcd.as_ref()),
        ("etcdctl", found.etcdctl.as_ref()),
        ("busybox", found.busybox.as_ref()),
    ] {
        let place = place
            .map_or("to be fetched with apt-get into the target folder".to_owned(), |p| {
                p.display().to_string()
            });
        ui.line(what, &place);
    }
    let state = match agent::fresh(given) {
        Some(path) => path.display().to_string(),
        None => format!("to be built: {}", agent::COMMAND),
    };
    ui.line("agent", &state);
    Ok(ExitCode::SUCCESS)
}

/// Gets everything that goes into the image and its key; builds the agent and fetches programs
/// where needed. Cheap when nothing changed since the last time.
pub(crate) async fn prepare(engine: &Engine, given: &Given, ui: &Ui) -> anyhow::Result<Prepared> {
    if engine.is_local() {
        return plain::prepare(given, ui).await;
    }
    let arch = engine.about().arch.clone();
    let programs = match sources::find(given, &arch)? {
        found if found.complete() => found,
        _ => {
            ui.line("programs", "fetching etcd and busybox with apt-get into the target folder");
            fetch::programs().await?;
            sources::find(given, &arch)?.checked(&arch)?
        }
    };
    let agent = match agent::fresh(given) {
        Some(path) => path,
        None => {
            ui.line("agent", &format!("building: {}", agent::COMMAND));
            agent::build().await?
        }
    };
    let given = Given {
        etcd: programs.etcd,
        etcdctl: programs.etcdctl,
        busybox: programs.busybox,
        agent: Some(agent),
    };
    if let Some(key) = stamp::recall(&given, &arch) {
        return Ok(named(key, given, None));
    }
    let task = given.clone();
    let built = tokio::task::spawn_blocking(move || build(&task, &arch)).await??;
    Ok(named(built.key, given, Some(built.bytes)))
}

/// The agent of the nodes as a program of this machine; built if it has to be.
///
/// # Errors
/// It does not build.
pub(crate) async fn agent_program(given: &Given) -> anyhow::Result<PathBuf> {
    match agent::fresh(given) {
        Some(path) => Ok(path),
        None => agent::build().await,
    }
}

/// An etcd for programs of this machine rather than for nodes: from the path, or fetched.
///
/// # Errors
/// There is none and it cannot be fetched; says what to install.
pub(crate) async fn etcd(ui: &Ui) -> anyhow::Result<PathBuf> {
    etcd_of(&Given::from_environment(), ui).await
}

async fn etcd_of(given: &Given, ui: &Ui) -> anyhow::Result<PathBuf> {
    let arch = fetch::arch();
    if let Some(etcd) = sources::find(given, arch)?.etcd {
        return Ok(etcd);
    }
    ui.line("programs", "fetching etcd with apt-get into the target folder");
    fetch::programs().await?;
    let etcd = sources::find(given, arch)?.etcd;
    etcd.ok_or_else(|| sources::missing_program("etcd", arch, "the package did not hold it"))
}

/// Loads the image unless the engine has it.
pub(crate) async fn ensure(engine: &Engine, image: &mut Prepared) -> anyhow::Result<Loaded> {
    if let Some(size) = engine.image_size(&image.tag).await? {
        return Ok(Loaded { size, fresh: false });
    }
    if engine.is_local() {
        return plain::ensure(engine, image).await;
    }
    let archive = match image.archive.take() {
        Some(archive) => archive,
        None => {
            let (given, arch) = (image.given.clone(), engine.about().arch.clone());
            tokio::task::spawn_blocking(move || build(&given, &arch)).await??.bytes
        }
    };
    engine.load_image(archive).await?;
    // Its time of making is fixed; gc goes by the time of its last tag.
    engine.tag_image(&image.tag, REPOSITORY, &image.key).await?;
    let size = engine.image_size(&image.tag).await?.unwrap_or_default();
    Ok(Loaded { size, fresh: true })
}

fn named(key: String, given: Given, archive: Option<Vec<u8>>) -> Prepared {
    Prepared { tag: format!("{REPOSITORY}:{key}"), key, given, archive }
}

fn build(given: &Given, arch: &str) -> anyhow::Result<archive::Built> {
    let contents = files::collect(given, arch)?;
    let built = archive::build(&contents, arch)?;
    let mut inputs: Vec<PathBuf> = contents.inputs;
    inputs.sort();
    stamp::remember(given, arch, &inputs, &built.key);
    Ok(built)
}

/// What there is for an image, for `doctor`: what, whether it is there or can be had, and where.
pub(crate) fn inventory(arch: &str) -> Vec<(&'static str, bool, String)> {
    let given = Given::from_environment();
    let found = sources::find(&given, arch).ok();
    let fetchable = fetch::possible();
    let program = |what, place: Option<PathBuf>| match (place, fetchable) {
        (Some(path), _) => (what, true, path.display().to_string()),
        (None, true) => {
            (what, true, "will be fetched with apt-get into the target folder".to_owned())
        }
        (None, false) => {
            let text = sources::missing_program(what, arch, "this machine has no apt-get");
            (what, false, text.to_string())
        }
    };
    let (etcd, etcdctl, busybox) = match found {
        Some(found) => (found.etcd, found.etcdctl, found.busybox),
        None => (None, None, None),
    };
    let agent = match agent::fresh(&given) {
        Some(path) => path.display().to_string(),
        None => format!("will be built: {}", agent::COMMAND),
    };
    vec![
        program("etcd", etcd),
        program("etcdctl", etcdctl),
        program("busybox", busybox),
        ("agent", true, agent),
    ]
}
