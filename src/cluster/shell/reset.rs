//! A state folder that forgets its cluster: everything that belonged to it goes into `archive/`.
//!
//! Refuses to delete anything, and a folder that an agent has.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{now_seconds, state};
use crate::cluster::StartError;
use crate::cluster::identity::Identity;
use crate::ident::HostName;

/// What belongs to a cluster. The identity is copied, not moved: it says whose the folder is.
const MOVED: [&str; 5] = ["etcd", "endpoints.json", "etcd.log", "etcd.log.1", "recovery.json"];
const IDENTITY: &str = "identity.json";

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Where everything is now.
    pub archive: PathBuf,
    /// The cluster that is forgotten.
    pub cluster: Option<String>,
    /// The instance that the folder has now.
    pub instance: String,
}

/// Forgets the cluster; with `new_identity` the folder's own identity as well.
///
/// # Errors
/// An agent has the folder, or the file system refused.
pub fn run(
    path: &Path,
    host: &HostName,
    why: &str,
    new_identity: bool,
) -> Result<Reset, StartError> {
    let folder = state::open(path, host)?;
    folder.keep()?;
    let before = folder.identity();
    let archive = folder.path().join("archive").join(format!("{:012}-{why}", now_seconds()));
    let failed =
        |source| StartError::Io { what: "cannot put aside", path: folder.path().into(), source };
    set_aside(folder.path(), &archive).map_err(failed)?;
    let instance = match new_identity {
        true => uuid::Uuid::new_v4().to_string(),
        false => before.instance.clone(),
    };
    let next = Identity::new(instance, host.to_string(), state::machine());
    let stored = folder.update(|one| *one = next).map_err(failed)?;
    Ok(Reset { archive, cluster: before.cluster_uuid, instance: stored.instance })
}

fn set_aside(folder: &Path, archive: &Path) -> io::Result<()> {
    fs::create_dir_all(archive)?;
    fs::copy(folder.join(IDENTITY), archive.join(IDENTITY))?;
    for name in MOVED {
        match fs::rename(folder.join(name), archive.join(name)) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
            _ => {}
        }
    }
    Ok(())
}

/// The host that a state folder belongs to.
///
/// # Errors
/// It is none, or cannot be read.
pub fn owner(path: &Path) -> Result<HostName, String> {
    let file = path.join(IDENTITY);
    let text = fs::read_to_string(&file)
        .map_err(|why| format!("{} is no state folder of an agent: {why}", path.display()))?;
    let identity = Identity::parse(&text).map_err(|why| format!("{}: {why}", file.display()))?;
    HostName::parse(&identity.hostname).map_err(|why| format!("{}: {why}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, HostName) {
        let dir = tempfile::tempdir().unwrap();
        let host = HostName::parse("h1").unwrap();
        let folder = state::open(dir.path(), &host).unwrap();
        folder.keep().unwrap();
        fs::create_dir_all(folder.etcd_dir().join("member/wal")).unwrap();
        fs::write(folder.etcd_dir().join("member/wal/0.wal"), "data").unwrap();
        folder.remember_endpoints(&["http://a:1".into()]).unwrap();
        folder.update(|one| one.cluster_uuid = Some("u".into())).unwrap();
        (dir, host)
    }

    #[test]
    fn a_reset_folder_knows_no_cluster_and_everything_is_in_the_archive() {
        let (dir, host) = folder();
        let before = state::open(dir.path(), &host).unwrap().identity().instance;
        let reset = run(dir.path(), &host, "reset", false).unwrap();
        assert_eq!(reset.cluster.as_deref(), Some("u"));
        assert_eq!(reset.instance, before);
        let wal = reset.archive.join("etcd/member/wal/0.wal");
        assert_eq!(fs::read_to_string(wal).unwrap(), "data");
        assert!(fs::read_to_string(reset.archive.join(IDENTITY)).unwrap().contains("\"u\""));
        let folder = state::open(dir.path(), &host).unwrap();
        assert_eq!(folder.identity().cluster_uuid, None);
        assert!(!folder.etcd_dir().exists() && folder.remembered_endpoints().is_empty());
    }

    #[test]
    fn a_new_identity_is_another_one() {
        let (dir, host) = folder();
        let before = state::open(dir.path(), &host).unwrap().identity().instance;
        assert_ne!(run(dir.path(), &host, "reset", true).unwrap().instance, before);
    }

    #[test]
    fn a_folder_in_use_is_left_alone() {
        let (dir, host) = folder();
        let _agent = state::open(dir.path(), &host).unwrap();
        let refused = run(dir.path(), &host, "reset", false).unwrap_err();
        assert_eq!(refused.exit_code(), 3);
        assert!(dir.path().join("etcd").exists());
    }

    #[test]
    fn only_a_state_folder_has_an_owner() {
        let (dir, host) = folder();
        assert_eq!(owner(dir.path()), Ok(host));
        let none = tempfile::tempdir().unwrap();
        assert!(owner(none.path()).is_err_and(|why| why.contains("is no state folder")));
    }
}
