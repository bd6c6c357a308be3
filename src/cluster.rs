//! How hosts form one etcd cluster by themselves: keys, identity, decisions (pure), and the shell
//! that carries them out.
//!
//! Everything here except [`shell`] takes values and returns values. Refuses to know what is stored
//! for exports, graphs or resources, and refuses to act without a quorum that it has seen itself.

pub mod address;
pub mod aftermath;
pub mod auth;
pub mod change;
pub mod claim;
pub mod clocks;
pub mod decide;
pub mod error;
pub mod flags;
pub mod identity;
pub mod keys;
pub mod ladder;
pub mod logline;
pub mod plan;
pub mod recover;
pub mod report;
pub mod request;
pub mod roles;
pub mod roll;
pub mod seen;
pub mod shell;
pub mod snapshot;
pub mod space;
pub mod start;
pub mod status;
pub mod timers;
pub mod tls;
pub mod told;
pub mod verdict;
pub mod wal;
pub mod when;
pub mod writes;

pub use error::StartError;
pub use status::{ClusterStatus, ClusterView, MemberView, Role};
