//! Where the programs of a node come from: flag, variable, path, or what was fetched before.

use std::path::{Path, PathBuf};

use super::{elf, files, stamp};
use crate::paths::{self, Exit};

/// Programs that the user names; the rest is looked for.
#[derive(clap::Args, Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Given {
    /// A Linux etcd, 3.4 or newer
    #[arg(long, value_name = "PATH", env = "QUORATE_ETCD", hide_env_values = true)]
    pub(crate) etcd: Option<PathBuf>,
    /// A Linux etcdctl
    #[arg(long, value_name = "PATH", env = "QUORATE_ETCDCTL", hide_env_values = true)]
    pub(crate) etcdctl: Option<PathBuf>,
    /// A static Linux busybox
    #[arg(long, value_name = "PATH", env = "QUORATE_BUSYBOX", hide_env_values = true)]
    pub(crate) busybox: Option<PathBuf>,
    /// An agent to use instead of building one
    #[arg(long, value_name = "PATH", env = "QUORATE_AGENT", hide_env_values = true)]
    pub(crate) agent: Option<PathBuf>,
}

impl Given {
    /// What the variables name, for callers without a command line.
    pub(crate) fn from_environment() -> Given {
        let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
        Given {
            etcd: path("QUORATE_ETCD"),
            etcdctl: path("QUORATE_ETCDCTL"),
            busybox: path("QUORATE_BUSYBOX"),
            agent: path("QUORATE_AGENT"),
        }
    }
}

/// The busybox that was looked into last: reading two megabytes on each `up` would be felt.
const BUSYBOX: &str = "busybox.json";

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// etcd.
    pub(crate) etcd: Option<PathBuf>,
    /// etcdctl; nodes live without it.
    pub(crate) etcdctl: Option<PathBuf>,
    /// busybox.
    pub(crate) busybox: Option<PathBuf>,
}

impl Found {
    /// Whether nothing has to be fetched.
    pub(crate) fn complete(&self) -> bool {
        self.etcd.is_some() && self.etcdctl.is_some() && self.busybox.is_some()
    }

    /// After fetching: what is needed must be there now.
    pub(crate) fn checked(self, arch: &str) -> anyhow::Result<Found> {
        let missing = match (&self.etcd, &self.busybox) {
            (None, _) => "etcd",
            (_, None) => "busybox",
            _ => return Ok(self),
        };
        Err(missing_program(missing, arch, "the package did not hold it"))
    }
}

/// The error when a program can be had in no way.
pub(crate) fn missing_program(program: &str, arch: &str, why: &str) -> anyhow::Error {
    let package = if program == "etcd" { "etcd-server" } else { "busybox-static" };
    Exit::error(
        Exit::MISSING,
        format!(
            "no Linux {program} found for {arch} ({why}). Debian/Ubuntu: apt install {package}. \
             Fedora: dnf install \
             {program}. Mac: image build --{program} PATH to a Linux binary, or \
             build from compose/Dockerfile."
        ),
    )
}

/// Folder for what is fetched.
pub(crate) fn fetched() -> PathBuf {
    paths::target().join("tools/node")
}

/// Looks for the programs. A named one must be usable; on the path, one that is not is passed over.
///
/// # Errors
/// A program that was named is none for the nodes.
pub(crate) fn find(given: &Given, arch: &str) -> anyhow::Result<Found> {
    let look = |named: &Option<PathBuf>, program: &str| -> anyhow::Result<Option<PathBuf>> {
        if let Some(path) = named {
            let usable = usable(path, program, arch);
            return usable.map(|()| Some(path.clone())).map_err(|e| Exit::error(Exit::MISSING, e));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path)
            .chain([fetched().join("usr/bin"), fetched().join("bin")])
            .map(|folder| folder.join(program));
        Ok(folders.into_iter().find(|p| p.is_file() && usable(p, program, arch).is_ok()))
    };
    Ok(Found {
        etcd: look(&given.etcd, "etcd")?,
        etcdctl: look(&given.etcdctl, "etcdctl")?,
        busybox: look(&given.busybox, "busybox")?,
    })
}

/// Whether a file is that program for the nodes. Of etcd and etcdctl only the head is looked at:
/// this is done on each `up`, and they are large.
fn usable(path: &Path, program: &str, arch: &str) -> Result<(), String> {
    use std::io::Read;
    let cannot = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    if program != "busybox" {
        // On the heap, where it is aligned as the reader wants it.
        let mut head = vec![0; 64];
        let length = file.read(&mut head).map_err(cannot)?;
        return elf::machine(path, &head[..length], arch);
    }
    let seen = stamp::look(path).map(|seen| vec![seen]);
    if seen.is_some() && stamp::read::<Vec<stamp::Seen>>(BUSYBOX) == seen {
        return Ok(());
    }
    file.read_to_end(&mut bytes).map_err(cannot)?;
    let needs = elf::needs(path, &bytes, arch)?;
    let applets = files::applets(&bytes);
    let able = ["sh", "timeout", "mkdir", "mv", "sleep"];
    if needs.loader.is_some() || !able.iter().all(|name| applets.iter().any(|a| a == name)) {
        return Err(format!(
            "{} is not a static busybox with {}; Debian's busybox-static is one.",
            path.display(),
            able.join(", ")
        ));
    }
    if let Some(seen) = seen {
        stamp::write(BUSYBOX, &seen);
    }
    Ok(())
}
