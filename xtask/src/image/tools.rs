//! The image of the helpers that change a node's network: busybox, and this machine's `nft` and
//! `tc` with the libraries that they need. Made like the image of the nodes, and apart from it,
//! since nodes have no use for them.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::files::{self, Contents};
use super::{Given, archive, sources, stamp};
use crate::engine::Engine;
use crate::paths::Exit;

/// Its repository.
const NAME: &str = "localhost/quorate-tools";
/// Where systems keep programs for administrators, which a user's path may leave out.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// Gets the image into the engine, and gives its tag. Costs a few `stat` calls and one question
/// when it is there.
///
/// # Errors
/// This machine lacks a program, or has it for another kind of machine.
pub(crate) async fn tools(engine: &Engine) -> anyhow::Result<String> {
    let arch = engine.about().arch.clone();
    let given = Given::from_environment();
    let busybox = sources::find(&given, &arch)?.busybox;
    let busybox = match busybox {
        Some(busybox) => busybox,
        None => return Err(sources::missing_program("busybox", &arch, "it is not on the path")),
    };
    let programs = [program("nft", "nftables")?, program("tc", "iproute2")?];
    let seen: Vec<_> =
        programs.iter().chain([&busybox]).filter_map(|path| stamp::look(path)).collect();
    let digest = Sha256::digest(serde_json::to_vec(&(&arch, seen))?);
    let key: String = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("{NAME}:{key}");
    if engine.image_size(&tag).await?.is_some() {
        return Ok(tag);
    }
    let (wanted, own) = (tag.clone(), key.clone());
    let bytes = tokio::task::spawn_blocking(move || {
        let [nft, tc] = programs;
        let chosen = [(&busybox, "bin/busybox"), (&nft, "usr/sbin/nft"), (&tc, "usr/sbin/tc")];
        let base = files::programs(&chosen, &arch)?;
        let contents = Contents { base, agent: files::nothing(), inputs: Vec::new() };
        archive::pack(&contents, &arch, &own, &[wanted])
    })
    .await??;
    engine.load_image(bytes).await?;
    engine.tag_image(&tag, NAME, &key).await?;
    Ok(tag)
}

/// A program of this machine.
fn program(name: &str, package: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(FOLDERS.map(PathBuf::from));
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let text = format!(
            "no {name} on this machine, which changes what a network does. \
             Debian/Ubuntu: apt install {package}. Or try partition, pause or kill."
        );
        Exit::error(Exit::MISSING, text)
    })
}
