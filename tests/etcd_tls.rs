//! TLS over real etcd processes on loopback: certificates from files and from the cluster's own
//! authority, tokens, and what is refused.
//!
//! Needs the etcd program, and etcdctl beside it: `QUORATE_ETCD`, or on PATH, or fetched below the
//! target folder. Without one the tests fail.

#[path = "support/authority.rs"]
mod authority;
#[path = "etcd_tls/existing.rs"]
mod existing;
#[path = "etcd_tls/files.rs"]
mod files;
#[path = "support/etcd.rs"]
mod program;
#[path = "support/sentence.rs"]
mod sentence;
#[path = "etcd_tls/site.rs"]
mod site;
#[path = "etcd_tls/tokens.rs"]
mod tokens;
