//! Watching paths with the one inotify instance of the process ("hub").
//!
//! Directories are watched, not files, so ten thousand files in ten directories cost ten watches
//! and those of their ancestors. Each ancestor is watched for the name of the next part of the
//! path: a path that is missing, or was moved away with any directory above it, is noticed when it
//! comes back.
//!
//! A wanted tree has every directory in it watched: a new one first, then listed, so that nothing
//! that comes in between is missed.
//!
//! Refuses to read files, to decide whether something changed, and to poll what can be watched. One
//! hole is known: a symbolic link in the middle of a path is followed when its directory is armed,
//! and what happens to the ancestors of its target is not seen.

mod book;
mod command;
mod ear;
mod error;
mod hub;
mod ids;
mod polled;

pub use book::Scope;
pub(super) use command::{CommandNews, Commands};
pub use error::WatchError;
pub use hub::{Hub, HubError, HubHandle, Touched, Wanted};
pub use polled::POLL;
