//! When the files in `mtimes` were changed, now and at the last run, which survives a restart.
//!
//! Refuses to compare with the clock: only times of the files themselves are compared.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::replace::{reason, write_state};
use super::guard::Times;

/// The times of the files now. The error names one that is missing.
pub(super) fn look(paths: &[PathBuf]) -> Result<Times, String> {
    let time = |path: &PathBuf| match std::fs::metadata(path) {
        Ok(found) => {
            let nanoseconds = i128::from(found.mtime()) * 1_000_000_000;
            Ok((path.clone(), nanoseconds + i128::from(found.mtime_nsec())))
        }
        Err(error) => {
            let (path, why) = (path.display(), reason(&error));
            Err(format!("cannot look at {path} (mtimes): {why}; create it, or do not list it"))
        }
    };
    paths.iter().map(time).collect()
}

/// The times at the last run; none when there was no run, or its note is damaged.
pub(super) fn load(note: &Path) -> Result<Times, String> {
    let text = match std::fs::read(note) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Times::new()),
        Err(error) => return Err(format!("cannot read {}: {}", note.display(), reason(&error))),
    };
    let pairs: Vec<(PathBuf, i128)> = serde_json::from_slice(&text).unwrap_or_default();
    Ok(pairs.into_iter().collect())
}

/// Notes the times of a run.
pub(super) fn save(note: &Path, times: &Times) -> Result<(), String> {
    let pairs: Vec<(&PathBuf, &i128)> = times.iter().collect();
    let text = serde_json::to_vec(&pairs).map_err(|error| error.to_string())?;
    write_state(note, &text)
}
