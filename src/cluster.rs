//! How hosts form one etcd cluster by themselves: keys, identity, decisions (pure), and the shell
//! that carries them out.
//!
//! Everything here except [`shell`] takes values and returns values. Refuses to know what is stored
//! for exports, graphs or resources, and refuses to act without a quorum that it has seen itself.

pub mod address;
pub mod decide;
pub mod error;
pub mod flags;
pub mod identity;
pub mod keys;
pub mod logline;
pub mod shell;
pub mod start;
pub mod status;
pub mod tls;

pub use error::StartError;
pub use status::{ClusterStatus, ClusterView, MemberView, Role};
