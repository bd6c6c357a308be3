//! Snapshots of the store as files: their names, which are kept, when the next is due, and whether
//! one is whole.
//!
//! Refuses to read or write files.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::when;

/// How many are kept in a state folder.
pub const KEPT: usize = 5;
/// How many seconds after the last one the next is due.
pub const EVERY: u64 = 6 * 3600;
/// How many seconds a host that has none yet waits with its first: a cluster that forms has nothing
/// to lose.
pub const FIRST: u64 = 600;
/// etcd puts the hash of the database behind it.
pub const HASH: usize = 32;
/// What every name ends with.
const END: &str = ".db";

/// A snapshot as a folder lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its file, absolute.
    pub file: String,
    /// When it was saved, in seconds since 1970.
    pub at: u64,
    /// Why.
    pub why: String,
    /// Its size.
    pub bytes: u64,
    /// Its hash is right.
    pub whole: bool,
}

/// The name of a snapshot's file. Names sort by age.
pub fn name(at: u64, why: &str) -> String {
    let kept = |c: &char| c.is_ascii_digit();
    let date: String = when::date(at).chars().filter(kept).collect();
    format!("{}T{}Z-{at}-{why}{END}", &date[..8], &date[8..])
}

/// When and why a snapshot with this name was saved; `None` for another file.
pub fn parse(name: &str) -> Option<(u64, String)> {
    let mut parts = name.strip_suffix(END)?.splitn(3, '-');
    let (date, at, why) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
    (self::name(at, why).starts_with(date) && !why.is_empty()).then(|| (at, why.to_owned()))
}

/// The names to drop, so that the newest are left. Other files are nobody's business.
pub fn surplus(names: &[String]) -> Vec<String> {
    let mut ours: Vec<(u64, &String)> =
        names.iter().filter_map(|name| Some((parse(name)?.0, name))).collect();
    ours.sort();
    let count = ours.len().saturating_sub(KEPT);
    ours.into_iter().take(count).map(|(_, name)| name.clone()).collect()
}

/// How many seconds until the next one is due.
pub fn due_in(names: &[String], now: u64) -> u64 {
    let newest = names.iter().filter_map(|name| Some(parse(name)?.0)).max();
    // A clock that was put back must not end snapshots for years.
    newest.map_or(FIRST, |at| (at + EVERY).saturating_sub(now).min(EVERY))
}

/// The hash of a snapshot that comes in pieces, the last bytes of which are what it should be.
#[derive(Default)]
pub struct Check {
    hash: Sha256,
    tail: Vec<u8>,
    bytes: u64,
}

impl Check {
    /// Takes the next piece.
    pub fn take(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        self.tail.extend_from_slice(piece);
        let known = self.tail.len().saturating_sub(HASH);
        self.hash.update(&self.tail[..known]);
        self.tail.drain(..known);
    }

    /// How much came.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether all that came is whole.
    pub fn whole(self) -> bool {
        // A database is of whole pages: without the hash behind it, there is none to compare.
        self.bytes % 512 == HASH as u64 && self.hash.finalize().as_slice() == self.tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(pages: usize) -> Vec<u8> {
        let mut bytes = vec![7; 512 * pages];
        let hash = Sha256::digest(&bytes);
        bytes.extend_from_slice(&hash);
        bytes
    }

    fn whole(bytes: &[u8], piece: usize) -> bool {
        let mut check = Check::default();
        bytes.chunks(piece).for_each(|piece| check.take(piece));
        assert_eq!(check.bytes(), bytes.len() as u64);
        check.whole()
    }

    #[test]
    fn a_snapshot_is_whole_however_its_pieces_come_and_no_other_is() {
        let good = snapshot(3);
        for piece in [1, 31, 32, 33, 512, 4096] {
            assert!(whole(&good, piece), "{piece}");
        }
        let mut flipped = good.clone();
        flipped[100] ^= 1;
        assert!(!whole(&flipped, 32));
        assert!(!whole(&good[..good.len() - 1], 32));
        assert!(!whole(&good[..1024], 32));
        assert!(!whole(&[], 1));
    }

    #[test]
    fn names_tell_when_and_why_and_sort_by_age() {
        let name = name(1_795_344_000, "before-size");
        assert_eq!(name, "20261122T104000Z-1795344000-before-size.db");
        assert_eq!(parse(&name), Some((1_795_344_000, "before-size".into())));
        for other in ["notes.txt", "a-1-b.db", "20261122T104000Z-1795344000-.db", "x.db"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn the_newest_five_are_kept_and_files_of_others_are_left_alone() {
        let mut names: Vec<String> = (1..=7).map(|n| name(n * 100, "scheduled")).collect();
        names.push("precious.db".into());
        names.reverse();
        assert_eq!(surplus(&names), [name(100, "scheduled"), name(200, "scheduled")]);
        assert!(surplus(&names[..4]).is_empty());
    }

    #[test]
    fn the_next_is_due_six_hours_after_the_last_whatever_the_clock_does() {
        let names = [name(1_000, "asked"), name(50_000, "scheduled")];
        assert_eq!(due_in(&[], 5), FIRST);
        assert_eq!(due_in(&names, 50_000), EVERY);
        assert_eq!(due_in(&names, 50_000 + EVERY + 1), 0);
        assert_eq!(due_in(&names, 7), EVERY);
    }
}
