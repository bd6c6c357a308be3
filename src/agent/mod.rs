//! The tokio shell around everything that decides.
//!
//! Refuses to decide what to do with the world: that is `engine`, `graph` and `collect`.

pub mod exchange;
pub mod watch;
