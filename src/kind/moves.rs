//! Files that runs put in their places: what the kernel tells of it is no news to who did it.
//!
//! Refuses to guess. A temporary name is announced before it is moved and counts once, so nobody
//! else's move is taken for ours, and whoever else watches the same path is told all the same.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many moves may be announced at a time: more than runs are under way. Those that nobody took,
/// as the watch was gone by then, make room beyond it.
const ANNOUNCED_MAX: usize = 1024;

/// The moves that were announced and of which nothing was heard yet. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Moves(Arc<Mutex<HashMap<OsString, u64>>>);

impl Moves {
    /// Whose the move of this temporary name is; it counts once.
    pub fn take(&self, temporary: &OsStr) -> Option<u64> {
        self.lock().remove(temporary)
    }

    /// Forgets all: what was told of them is lost.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn announce(&self, temporary: &Path, watch: u64) {
        let mut announced = self.lock();
        if announced.len() >= ANNOUNCED_MAX {
            announced.clear();
        }
        announced.insert(temporary.into(), watch);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<OsString, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a run announces its moves: for the one watch that need not be told of them.
#[derive(Clone, Debug, Default)]
pub struct Mover(Option<(Moves, u64)>);

impl Mover {
    /// Announces for this watch.
    pub fn new(moves: Moves, watch: u64) -> Self {
        Mover(Some((moves, watch)))
    }

    /// Does a move that was announced; when it fails, nothing was said.
    pub fn announced<E>(
        &self,
        temporary: &Path,
        put: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let Some((moves, watch)) = &self.0 else { return put() };
        moves.announce(temporary, *watch);
        put().inspect_err(|_| {
            moves.take(temporary.as_os_str());
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announced_move_counts_once_and_one_that_failed_not_at_all() {
        let moves = Moves::default();
        let mover = Mover::new(moves.clone(), 7);
        let name = Path::new(".quorate-1");
        mover.announced(name, || Ok::<_, ()>(())).unwrap();
        assert_eq!(moves.take(OsStr::new(".quorate-2")), None);
        assert_eq!(moves.take(name.as_os_str()), Some(7));
        assert_eq!(moves.take(name.as_os_str()), None);
        mover.announced(name, || Err(())).unwrap_err();
        assert_eq!(moves.take(name.as_os_str()), None);
        Mover::default().announced(name, || Ok::<_, ()>(())).unwrap();
        assert_eq!(moves.take(name.as_os_str()), None, "nobody watches");
    }

    #[test]
    fn what_nobody_takes_is_bounded() {
        let moves = Moves::default();
        let mover = Mover::new(moves.clone(), 7);
        for number in 0..3 * ANNOUNCED_MAX {
            let name = format!(".quorate-{number}");
            mover.announced(Path::new(&name), || Ok::<_, ()>(())).unwrap();
            assert!(moves.lock().len() <= ANNOUNCED_MAX);
            assert_eq!(moves.lock().get(OsStr::new(&name)), Some(&7));
        }
    }
}
