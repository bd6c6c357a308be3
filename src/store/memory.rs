//! The store of a host on its own: revisions, watches, transactions and leases in this process.
//!
//! Refuses to persist anything and to reach other hosts.
