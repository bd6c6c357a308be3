//! The state folder: 0700, locked for the life of the agent, with `identity.json` written
//! atomically.
//!
//! Refuses a folder that another agent holds or that belongs to another host. Until the start is
//! decided nothing is stored: a refused start leaves the folder byte for byte as it was.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::cluster::StartError;
use crate::cluster::identity::Identity;
use crate::cluster::start::Data;
use crate::cluster::wal;
use crate::ident::HostName;

/// How many archived data folders are kept.
const ARCHIVES_KEPT: usize = 3;

/// A state folder that is ours for as long as this value lives.
#[derive(Debug)]
pub struct StateFolder {
    identity: Mutex<Identity>,
    taken: Taken,
}

/// A locked folder, and what it takes to leave it as it was found.
#[derive(Debug)]
struct Taken {
    path: PathBuf,
    /// Held for its lock. The kernel lets go of it when the process ends, however that happens.
    lock: File,
    /// What the lock file said before; `None` when there was none.
    before: Option<Vec<u8>>,
    /// The folders that had to be made, innermost first.
    made: Vec<PathBuf>,
    /// The start is decided: what is written now stays.
    kept: AtomicBool,
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.kept.load(Ordering::Relaxed) {
            return;
        }
        let undone = match &self.before {
            Some(text) => rewrite(&mut self.lock, text),
            None => fs::remove_file(self.path.join("lock")),
        };
        if let Err(error) = undone {
            tracing::debug!(%error, "the lock of the state folder is not as it was");
        }
        // A folder that somebody has put something into meanwhile stays.
        for folder in &self.made {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
}

/// Opens and locks the folder. Nothing is stored in it before [`StateFolder::keep`].
///
/// # Errors
/// The folder is in use, belongs to another host, is damaged, or cannot be written.
pub fn open(path: &Path, host: &HostName) -> Result<StateFolder, StartError> {
    let absent = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let made: Vec<PathBuf> = path.ancestors().take_while(absent).map(Path::to_owned).collect();
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_error("cannot create", path))?;
    let path = path.canonicalize().map_err(io_error("cannot open", path))?;
    let mut taken = lock(path, made)?;
    let identity = load(&taken.path, host)?;
    let file = taken.path.join("lock");
    rewrite(&mut taken.lock, holder(host).as_bytes()).map_err(io_error("cannot write", &file))?;
    Ok(StateFolder { identity: Mutex::new(identity), taken })
}

impl StateFolder {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.taken.path
    }

    /// Makes the folder private and stores what was learnt while the start was being decided; from
    /// now on each change is stored at once.
    ///
    /// # Errors
    /// The disk refused.
    pub fn keep(&self) -> Result<(), StartError> {
        self.keep_unless(|_, _| false)
    }

    /// [`StateFolder::keep`] of an agent that is alone. It does not wait for the disk when the
    /// folder says the same already: nobody else counts on who it is.
    ///
    /// # Errors
    /// The disk refused.
    pub fn keep_alone(&self) -> Result<(), StartError> {
        self.keep_unless(|file, text| fs::read(file).is_ok_and(|found| found == text))
    }

    fn keep_unless(&self, known: impl Fn(&Path, &[u8]) -> bool) -> Result<(), StartError> {
        let path = self.path();
        fs::set_permissions(path, Permissions::from_mode(0o700))
            .map_err(io_error("cannot make private", path))?;
        let (file, text) = (self.identity_file(), self.guard().render());
        if !known(&file, text.as_bytes()) {
            write_atomically(&file, text.as_bytes()).map_err(io_error("cannot write", &file))?;
        }
        self.taken.kept.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Tells this folder from a copy of it: the number of the lock's file. Empty when it cannot be
    /// seen.
    pub fn place(&self) -> String {
        self.taken.lock.metadata().map(|file| file.ino().to_string()).unwrap_or_default()
    }

    /// Where etcd keeps its data.
    pub fn etcd_dir(&self) -> PathBuf {
        self.path().join("etcd")
    }

    /// The working directory of the child, for its sockets.
    pub fn socket_dir(&self) -> PathBuf {
        self.path().join("sock")
    }

    /// A copy of the identity.
    pub fn identity(&self) -> Identity {
        self.guard().clone()
    }

    /// Changes the identity and returns when the disk has it, if the start is decided.
    ///
    /// # Errors
    /// The disk refused; the identity in memory is unchanged then.
    pub fn update(&self, change: impl FnOnce(&mut Identity)) -> io::Result<Identity> {
        let mut guard = self.guard();
        let mut next = guard.clone();
        change(&mut next);
        if next != *guard {
            if self.taken.kept.load(Ordering::Relaxed) {
                write_atomically(&self.identity_file(), next.render().as_bytes())?;
            }
            *guard = next;
        }
        Ok(guard.clone())
    }

    /// Whose etcd data are here.
    pub fn data(&self) -> Data {
        let folder = self.etcd_dir().join("member/wal");
        let Ok(entries) = fs::read_dir(&folder) else { return Data::None };
        let mut logs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        logs.retain(|log| log.extension().is_some_and(|end| end == "wal"));
        logs.sort();
        let Some(newest) = logs.pop() else { return Data::None };
        let mut head = Vec::new();
        let read = File::open(newest).map(|file| file.take(wal::HEAD).read_to_end(&mut head));
        let owner = match read {
            Ok(Ok(_)) => wal::owner(&head),
            _ => None,
        };
        let identity = self.identity();
        match owner {
            Some(owner) if identity.disowns(owner.member, owner.cluster) => Data::Foreign,
            // What cannot be read is judged by etcd itself.
            _ => Data::Ours,
        }
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
        let archive = self.path().join("archive");
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
        let text = fs::read(self.path().join("endpoints.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Remembers the client URLs of the voters.
    ///
    /// # Errors
    /// The disk refused.
    pub fn remember_endpoints(&self, urls: &[String]) -> io::Result<()> {
        let text = serde_json::to_vec(urls).map_err(io::Error::from)?;
        write_atomically(&self.path().join("endpoints.json"), &text)
    }

    fn identity_file(&self) -> PathBuf {
        self.path().join("identity.json")
    }

    fn guard(&self) -> std::sync::MutexGuard<'_, Identity> {
        self.identity.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Takes the folder's lock or says who has it.
fn lock(path: PathBuf, made: Vec<PathBuf>) -> Result<Taken, StartError> {
    let file = path.join("lock");
    // Each round loses only against an agent that was refused and took its lock file with it.
    loop {
        let there = file.exists();
        // Without truncating: the text in it is the holder's until the lock is ours.
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&file)
            .map_err(io_error("cannot open", &file))?;
        let locked = lock.try_lock();
        let mut text = Vec::new();
        let read = lock.read_to_end(&mut text);
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = String::from_utf8_lossy(&text).trim().to_owned();
                let unknown = read.is_err() || text.is_empty();
                let holder = if unknown { "another agent".into() } else { text };
                return Err(StartError::FolderInUse { folder: path, holder });
            }
            Err(TryLockError::Error(source)) => return Err(io_error("cannot lock", &file)(source)),
        }
        let ours = lock.metadata().map(|m| m.ino()).ok();
        if ours.is_some() && ours == fs::metadata(&file).map(|m| m.ino()).ok() {
            let before = there.then_some(text);
            return Ok(Taken { path, lock, before, made, kept: AtomicBool::new(false) });
        }
    }
}

/// What the lock file says about its holder.
fn holder(host: &HostName) -> String {
    let minutes = now_seconds() / 60;
    let (hour, minute) = (minutes / 60 % 24, minutes % 60);
    format!("{host} (pid {}, started {hour:02}:{minute:02} UTC)\n", std::process::id())
}

fn rewrite(file: &mut File, text: &[u8]) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text)
}

fn load(folder: &Path, host: &HostName) -> Result<Identity, StartError> {
    let file = folder.join("identity.json");
    let text = match fs::read(&file) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
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
pub(super) fn machine() -> String {
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
        first.keep().unwrap();
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
        folder.keep().unwrap();
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
    fn a_start_that_goes_no_further_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/state");
        let folder = open(&path, &host("h1")).unwrap();
        folder.update(|i| i.cluster_id = Some(7)).unwrap();
        drop(folder);
        assert!(!dir.path().join("deep").exists());
        let folder = open(&path, &host("h1")).unwrap();
        folder.keep().unwrap();
        drop(folder);
        let seen = || ["lock", "identity.json"].map(|name| fs::read(path.join(name)).unwrap());
        fs::write(path.join("lock"), "h1 (pid 1, started 00:00 UTC)\n").unwrap();
        let before = seen();
        let folder = open(&path, &host("h1")).unwrap();
        folder.update(|i| i.cluster_id = Some(7)).unwrap();
        assert_eq!(folder.identity().cluster_id, Some(7));
        assert_ne!(seen()[0], before[0], "the holder is named while the start is decided");
        drop(folder);
        open(&path, &host("h2")).unwrap_err();
        assert_eq!(seen(), before);
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
