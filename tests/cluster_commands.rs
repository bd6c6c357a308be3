//! `quorate cluster …` against real agents and a real etcd on loopback, as an operator types it.
//!
//! Needs the etcd program: `QUORATE_ETCD`, or on PATH, or fetched below the target folder.
//! Without one the tests fail.

#[path = "support/authority.rs"]
mod authority;
#[path = "cluster_commands/changed.rs"]
mod changed;
#[path = "cluster_commands/granted.rs"]
mod granted;
#[path = "cluster_commands/hosts.rs"]
mod hosts;
#[path = "cluster_commands/kept.rs"]
mod kept;
#[path = "support/etcd.rs"]
mod program;
#[path = "cluster_commands/rolled.rs"]
mod rolled;
#[path = "cluster_commands/secured.rs"]
mod secured;
#[path = "cluster_commands/seen.rs"]
mod seen;
#[path = "cluster_commands/writer.rs"]
mod writer;
