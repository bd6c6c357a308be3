//! The quorate agent as a library. `ARCHITECTURE.md` maps the modules and says which may use which.

pub mod agent;
pub mod cli;
pub mod cluster;
pub mod collect;
pub mod diag;
pub mod engine;
pub mod graph;
pub mod ident;
pub mod kind;
pub mod matching;
pub mod metrics;
pub mod picture;
pub mod spec;
pub mod store;
pub mod yaml;
