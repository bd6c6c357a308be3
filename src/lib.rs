//! The quorate agent as a library. `ARCHITECTURE.md` maps the modules and says which may use which.

// `println!` and its kin panic when nobody reads any more (`| head`).
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

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
pub mod seal;
pub mod spec;
pub mod store;
pub mod yaml;
