//! The private half of a host's key: made at its first start, kept in its state folder, never told.
//!
//! Refuses to be read by other users. One that is damaged is replaced: others then seal anew.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::seal::PrivateKey;

/// The file in the state folder.
const FILE: &str = "seal.key";

/// The key that `state_dir` holds; makes one if there is none or it cannot be read. One that cannot
/// be kept is good for one run. None without random numbers.
pub(super) fn key(state_dir: &Path) -> Option<Arc<PrivateKey>> {
    let path = state_dir.join(FILE);
    match std::fs::read_to_string(&path).map(Zeroizing::new) {
        Ok(text) => match PrivateKey::parse(text.trim()) {
            Some(key) => return Some(Arc::new(key)),
            None => {
                tracing::warn!(path = %path.display(), "the key for seals is damaged, replaced")
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot read the key for seals");
            return made();
        }
    }
    let key = made()?;
    if let Err(error) = keep(state_dir, &path, &key) {
        tracing::warn!(path = %path.display(), %error, "cannot keep the key for seals");
    }
    Some(key)
}

fn made() -> Option<Arc<PrivateKey>> {
    let mut seed = Zeroizing::new([0; 32]);
    match getrandom::fill(&mut *seed) {
        Ok(()) => Some(Arc::new(PrivateKey::new(seed))),
        Err(error) => {
            tracing::error!(%error, "no random numbers: nothing can be sealed for this host");
            None
        }
    }
}

fn keep(state_dir: &Path, path: &Path, key: &PrivateKey) -> io::Result<()> {
    std::fs::create_dir_all(state_dir)?;
    let draft = path.with_extension("key.new");
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(true).mode(0o600);
    let mut file = options.open(&draft)?;
    file.write_all(key.expose().as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_survives_restarts_and_nobody_else_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let first = key(&state).unwrap();
        let mode = std::fs::metadata(state.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(key(&state).unwrap().public(), first.public());
        std::fs::write(state.join(FILE), "?").unwrap();
        let second = key(&state).unwrap();
        assert_ne!(second.public(), first.public());
        assert_eq!(key(&state).unwrap().public(), second.public());
    }
}
