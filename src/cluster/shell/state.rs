//! The state folder: 0700, locked for the life of the agent, with `identity.json` written
//! atomically.
//!
//! Refuses a folder that another agent holds or that belongs to another host, before anything else
//! is touched.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::cluster::StartError;
use crate::cluster::identity::Identity;
use crate::ident::HostName;

/// How many archived data folders are kept.
const ARCHIVES_KEPT: usize = 3;

/// A state folder that is ours for as long as this value lives.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    identity: Mutex<Identity>,
    /// Held for its lock. The kernel lets go of it when the process ends, however that happens.
    _lock: File,
}

/// Opens, locks and, when it is new, sets up the folder.
///
/// # Errors
/// The folder is in use, belongs to another host, is damaged, or cannot be written.
pub fn open(path: &Path, host: &HostName) -> Result<StateFolder, StartError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_error("cannot create", path))?;
    let path = path.canonicalize().map_err(io_error("cannot open", path))?;
    fs::set_permissions(&path, Permissions::from_mode(0o700))
        .map_err(io_error("cannot make private", &path))?;
    let lock = lock(&path, host)?;
    let identity = load(&path, host)?;
    let folder = StateFolder { path, identity: Mutex::new(identity), _lock: lock };
    folder.save().map_err(io_error("cannot write", &folder.identity_file()))?;
    Ok(folder)
}

impl StateFolder {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where etcd keeps its data.
    pub fn etcd_dir(&self) -> PathBuf {
        self.path.join("etcd")
    }

    /// The working directory of the child, for its sockets.
    pub fn socket_dir(&self) -> PathBuf {
        self.path.join("sock")
    }

    /// A copy of the identity.
    pub fn identity(&self) -> Identity {
        self.guard().clone()
    }

    /// Changes the identity and returns when the disk has it.
    ///
    /// # Errors
    /// The disk refused; the identity in memory is unchanged then.
    pub fn update(&self, change: impl FnOnce(&mut Identity)) -> io::Result<Identity> {
        let mut guard = self.guard();
        let mut next = guard.clone();
        change(&mut next);
        if next != *guard {
            write_atomically(&self.identity_file(), next.render().as_bytes())?;
            *guard = next;
        }
        Ok(guard.clone())
    }

    /// Whether etcd has written a log here.
    pub fn has_wal(&self) -> bool {
        fs::read_dir(self.etcd_dir().join("member/wal")).is_ok_and(|mut dir| dir.next().is_some())
    }

    /// Moves etcd's data aside, for a person to look at, and drops the oldest of such folders.
    ///
    /// # Errors
    /// The file system refused.
    pub fn archive(&self, reason: &str) -> io::Result<()> {
        let data = self.etcd_dir();
        if !data.exists() {
            return Ok(());
        }
        let archive = self.path.join("archive");
        fs::create_dir_all(&archive)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Names sort by age, so that the oldest are dropped first.
        let name = format!("{:012}.{:09}-{reason}", now.as_secs(), now.subsec_nanos());
        fs::rename(&data, archive.join(name))?;
        let mut kept: Vec<PathBuf> =
            fs::read_dir(&archive)?.map(|e| e.map(|e| e.path())).collect::<io::Result<_>>()?;
        kept.sort();
        let surplus = kept.len().saturating_sub(ARCHIVES_KEPT);
        kept.into_iter().take(surplus).try_for_each(fs::remove_dir_all)
    }

    /// The client URLs of the voters, as they were last seen. A file that cannot be read names
    /// nobody.
    pub fn remembered_endpoints(&self) -> Vec<String> {
        let text = fs::read(self.path.join("endpoints.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Remembers the client URLs of the voters.
    ///
    /// # Errors
    /// The disk refused.
    pub fn remember_endpoints(&self, urls: &[String]) -> io::Result<()> {
        let text = serde_json::to_vec(urls).map_err(io::Error::from)?;
        write_atomically(&self.path.join("endpoints.json"), &text)
    }

    fn save(&self) -> io::Result<()> {
        write_atomically(&self.identity_file(), self.guard().render().as_bytes())
    }

    fn identity_file(&self) -> PathBuf {
        self.path.join("identity.json")
    }

    fn guard(&self) -> std::sync::MutexGuard<'_, Identity> {
        self.identity.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Takes the folder's lock or says who has it.
fn lock(folder: &Path, host: &HostName) -> Result<File, StartError> {
    let path = folder.join("lock");
    // Without truncating: the text in it is the holder's until the lock is ours.
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io_error("cannot open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let read = file.read_to_string(&mut holder);
            if read.is_err() || holder.trim().is_empty() {
                holder = "another agent".into();
            }
            return Err(StartError::FolderInUse {
                folder: folder.into(),
                holder: holder.trim().into(),
            });
        }
        Err(TryLockError::Error(source)) => return Err(io_error("cannot lock", &path)(source)),
    }
    let minutes = now_seconds() / 60;
    let text = format!(
        "{host} (pid {}, started {:02}:{:02} UTC)\n",
        std::process::id(),
        minutes / 60 % 24,
        minutes % 60
    );
    let write = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(text.as_bytes())
    };
    write(&mut file).map_err(io_error("cannot write", &path))?;
    Ok(file)
}

fn load(folder: &Path, host: &HostName) -> Result<Identity, StartError> {
    let file = folder.join("identity.json");
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            if folder.join("etcd").join("member").exists() {
                return Err(StartError::ForeignData { folder: folder.into() });
            }
            let instance = uuid::Uuid::new_v4().to_string();
            return Ok(Identity::new(instance, host.to_string(), machine()));
        }
        Err(source) => return Err(io_error("cannot read", &file)(source)),
    };
    let identity = Identity::parse(&text).map_err(|why| StartError::Damaged { file, why })?;
    if identity.hostname != host.as_str() {
        return Err(StartError::FolderOfOther {
            folder: folder.into(),
            owner: identity.hostname,
            host: host.to_string(),
        });
    }
    Ok(identity)
}

/// A hash of the machine's id: the id itself is not to be shown to others (machine-id(5)).
fn machine() -> String {
    let Ok(id) = fs::read_to_string("/etc/machine-id") else {
        return String::new();
    };
    let hash = Sha256::digest(format!("quorate {}", id.trim()).as_bytes());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The id of the machine's boot; empty where the kernel does not tell.
pub(super) fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// Writes a whole file or leaves the old one: write, fsync, rename, fsync of the folder.
///
/// # Errors
/// The file system refused.
pub fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    File::open(folder)?.sync_all()
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|d| d.as_secs()).unwrap_or_default()
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Io { what, path: path.into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> HostName {
        HostName::parse(name).expect("a host name")
    }

    #[test]
    fn a_folder_in_use_is_refused_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/state");
        let first = open(&path, &host("h1")).unwrap();
        let said = open(&path, &host("h2")).unwrap_err();
        assert_eq!(said.exit_code(), 3);
        let text = said.to_string();
        assert!(text.contains(&format!("in use by h1 (pid {}", std::process::id())), "{text}");
        drop(first);
        let said = open(&path, &host("h2")).unwrap_err().to_string();
        assert!(said.contains("belongs to host h1, not to h2"), "{said}");
        open(&path, &host("h1")).unwrap();
    }

    #[test]
    fn a_folder_is_private_and_keeps_its_instance() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let folder = open(&path, &host("h1")).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let instance = folder.identity().instance;
        folder.update(|i| i.cluster_id = Some(7)).unwrap();
        drop(folder);
        let folder = open(&path, &host("h1")).unwrap();
        assert_eq!(folder.identity().instance, instance);
        assert_eq!(folder.identity().cluster_id, Some(7));
    }

    #[test]
    fn damage_and_foreign_data_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etcd/member/wal")).unwrap();
        let said = open(dir.path(), &host("h1")).unwrap_err();
        assert!(matches!(said, StartError::ForeignData { .. }), "{said}");
        fs::write(dir.path().join("identity.json"), "{").unwrap();
        let said = open(dir.path(), &host("h1")).unwrap_err();
        assert!(matches!(said, StartError::Damaged { .. }), "{said}");
    }

    #[test]
    fn only_the_newest_archives_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open(dir.path(), &host("h1")).unwrap();
        for n in 0..5 {
            fs::create_dir_all(folder.etcd_dir().join("member/wal")).unwrap();
            fs::write(folder.etcd_dir().join("n"), n.to_string()).unwrap();
            folder.archive("removed").unwrap();
            assert!(!folder.etcd_dir().exists());
        }
        let mut kept: Vec<_> = fs::read_dir(dir.path().join("archive"))
            .unwrap()
            .map(|e| fs::read_to_string(e.unwrap().path().join("n")).unwrap())
            .collect();
        kept.sort();
        assert_eq!(kept, ["2", "3", "4"]);
    }
}
