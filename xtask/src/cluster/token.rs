//! The token by which new nodes join: one for all that a run makes, from a node that is there.
//!
//! Refuses to wait for ever: a founder that does not serve in time is told.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::name;
use super::place::Place;
use super::spec::{STATE, Wanted};
use crate::engine::{Engine, ExecRequest};
use crate::paths::Exit;

/// How long a founder may take until it makes tokens; a second is usual.
const FOUNDING: Duration = Duration::from_secs(30);
/// The pause before the nodes are asked again: there is nothing to be woken by.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How long the token is good: longer than any `up` takes.
const GOOD: &str = "1h";

/// Asks the nodes at these addresses until one of them makes a token for all nodes.
///
/// # Errors
/// None does in time; the last words of one are told.
pub(crate) async fn from(
    engine: &Engine,
    wanted: &Wanted,
    place: &Place,
    seeds: &[String],
) -> anyhow::Result<String> {
    let numbers = (1..=u8::MAX).filter(|number| seeds.contains(&place.address(*number)));
    let nodes: Vec<String> =
        numbers.map(|number| name::container(&wanted.cluster, &name::node(number))).collect();
    let uses = u16::from(wanted.nodes.max(1)).to_string();
    let words =
        ["/usr/bin/quorate", "cluster", "token", "--prefix", STATE, "--ttl", GOOD, "--uses", &uses];
    let argv: Vec<String> = words.map(str::to_owned).to_vec();
    let begun = Instant::now();
    let mut last = String::from("none of them runs");
    while begun.elapsed() < FOUNDING {
        for node in &nodes {
            let request = ExecRequest { argv: argv.clone(), env: Vec::new() };
            match engine.exec(node, request).await {
                Ok((0, said)) => return Ok(String::from_utf8_lossy(&said).trim().to_owned()),
                Ok((_, said)) => last = String::from_utf8_lossy(&said).trim().to_owned(),
                // It may be about to be made.
                Err(failure) => last = failure.to_string(),
            }
        }
        sleep(ASK_EVERY).await;
    }
    let text = format!("no node makes a token by which the others could join: {last}");
    Err(Exit::error(Exit::TIMED_OUT, text))
}
