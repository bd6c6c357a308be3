//! Who may speak with the cluster: which certificates are used, what a token is worth, how long a
//! certificate is good for, and the sentence for everything that is refused.
//!
//! Refuses to read files, to make keys and to open connections: that is the shell's.

pub mod join;
pub mod lifetime;
pub mod names;
pub mod plan;
pub mod refusal;
pub mod secret;
pub mod token;

pub use plan::{Files, Plan, TlsFlags, Trust};
pub use refusal::TlsError;
pub use secret::Secret;
