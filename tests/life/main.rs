//! The life of one member, as its user sees it: agents as processes of the built program on
//! loopback, with a real etcd each. Rows A2 to A27 are those of the acceptance list of clustering.

mod clients;
mod damage;
mod joining;
mod kills;
mod kit;
mod losing;
mod moving;
mod names;
mod pairs;
#[path = "../support/etcd.rs"]
mod program;
mod refusals;
#[path = "../support/sentence.rs"]
mod sentence;
mod stopping;
mod story;
