//! Which nodes cannot reach which: from what a user names to pairs of nodes, from pairs to labels
//! and routes, and back. Pure.
//!
//! A cut is a route on the sender's side: the peer's address leads to the sender itself, so packets
//! get no answer, as on a dead line. A blackhole route would fail at once, which no real network
//! does; a packet filter would share its tables with the engine's own rules.

use std::collections::BTreeSet;

use clap::ValueEnum;

use super::diff::Listed;
use super::label::{self, get};
use super::name;
use super::place::Place;
use crate::engine::{Labels, Volume};
use crate::paths::Exit;

/// What a cut looks like from the inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Mode {
    /// Silence: connections time out
    Drop,
    /// An error at once: no route to host
    Reject,
}

impl Mode {
    fn as_str(self) -> &'static str {
        match self {
            Mode::Drop => "drop",
            Mode::Reject => "reject",
        }
    }
}

/// One node that cannot send to one other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cut {
    /// Number of the node that sends.
    pub(crate) node: u8,
    /// Number of the node that it does not reach.
    pub(crate) peer: u8,
    /// What sending looks like.
    pub(crate) mode: Mode,
    /// Since when, in seconds of Unix time.
    pub(crate) since: u64,
    /// Until when; none until it is healed.
    pub(crate) until: Option<u64>,
}

impl Cut {
    /// Whether it holds at this time.
    pub(crate) fn holds(&self, now: u64) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Name of the volume that records it.
    pub(crate) fn volume(&self, cluster: &str) -> String {
        let (node, peer) = (name::node(self.node), name::node(self.peer));
        format!("quorate-{cluster}-cut-{node}-{peer}")
    }

    /// The labels of that volume; whose it is comes from the cluster's network, so that it is kept
    /// and goes with the cluster.
    pub(crate) fn labels(&self, network: &Labels) -> Labels {
        let mut labels = inherited(network);
        let until = self.until.map(|until| until.to_string()).unwrap_or_default();
        for (name, value) in [
            (label::ROLE, "cut".to_owned()),
            (label::NODE, name::node(self.node)),
            (label::PEER, name::node(self.peer)),
            (label::MODE, self.mode.as_str().to_owned()),
            (label::MADE, self.since.to_string()),
            (label::UNTIL, until),
        ] {
            labels.insert(name.to_owned(), value);
        }
        labels
    }

    fn read(volume: &Volume) -> Option<Cut> {
        let labels = &volume.labels;
        if get(labels, label::ROLE) != "cut" {
            return None;
        }
        Some(Cut {
            node: name::number(get(labels, label::NODE))?,
            peer: name::number(get(labels, label::PEER))?,
            mode: if get(labels, label::MODE) == "reject" { Mode::Reject } else { Mode::Drop },
            since: get(labels, label::MADE).parse().ok()?,
            until: get(labels, label::UNTIL).parse().ok(),
        })
    }
}

/// The labels that say whose an object of a cluster is.
pub(crate) fn inherited(network: &Labels) -> Labels {
    [label::SCHEMA, label::CLUSTER, label::OWNER, label::LEASE, label::MADE]
        .map(|name| (name.to_owned(), get(network, name).to_owned()))
        .into()
}

/// All cuts that are recorded of a cluster, whether their time is over or not.
pub(crate) fn recorded(ours: &Listed) -> BTreeSet<Cut> {
    ours.volumes.iter().filter_map(Cut::read).collect()
}

/// The pairs of a cut between two groups: who does not reach whom.
///
/// # Errors
/// A node is on both sides, or a side is empty.
pub(crate) fn between(one: &[u8], other: &[u8], one_way: bool) -> anyhow::Result<Vec<(u8, u8)>> {
    if let Some(both) = one.iter().find(|node| other.contains(node)) {
        let text = format!("{} is on both sides of the cut", name::node(*both));
        return Err(Exit::error(Exit::USAGE, text));
    }
    if one.is_empty() || other.is_empty() {
        return Err(Exit::error(Exit::USAGE, "a cut needs a node on each side"));
    }
    let there = one.iter().flat_map(|a| other.iter().map(|b| (*a, *b)));
    let back = other.iter().flat_map(|a| one.iter().map(|b| (*a, *b)));
    let pairs: BTreeSet<(u8, u8)> =
        if one_way { there.collect() } else { there.chain(back).collect() };
    Ok(pairs.into_iter().collect())
}

/// A ring: who is cut off from whom so that each node reaches its two neighbours only. Each side of
/// a cut is told once.
///
/// # Errors
/// With fewer than four nodes all of them are neighbours.
pub(crate) fn ring(nodes: &[u8]) -> anyhow::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    if nodes.len() < 4 {
        let text = "a ring needs at least 4 nodes: with fewer each is the neighbour of all others";
        return Err(Exit::error(Exit::USAGE, text));
    }
    let last = nodes.len() - 1;
    let apart = |i: usize, j: usize| i.abs_diff(j) > 1 && i.abs_diff(j) != last;
    let far = |i: usize| -> Vec<u8> {
        let later = nodes.iter().enumerate().skip(i + 1);
        later.filter(|(j, _)| apart(i, *j)).map(|(_, node)| *node).collect()
    };
    let sides = nodes.iter().enumerate().map(|(i, node)| (vec![*node], far(i)));
    Ok(sides.filter(|(_, far)| !far.is_empty()).collect())
}

/// A bridge: two halves that do not reach each other, and one node that reaches both.
///
/// # Errors
/// There are fewer than two others.
pub(crate) fn bridge(over: u8, nodes: &[u8]) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let others: Vec<u8> = nodes.iter().copied().filter(|node| *node != over).collect();
    if others.len() < 2 {
        let text = "a bridge needs at least 3 nodes: one on each side and one between them";
        return Err(Exit::error(Exit::USAGE, text));
    }
    let (one, other) = others.split_at(others.len().div_ceil(2));
    Ok((one.to_vec(), other.to_vec()))
}

/// What a helper runs in a node's network so that it holds these cuts and no others; prints the
/// routes that there are then.
pub(crate) fn script(node: u8, cuts: &BTreeSet<Cut>, place: &Place) -> String {
    let mut lines = vec![removal(
        (1..=name::MOST_NODES)
            .filter(|peer| !cuts.iter().any(|cut| cut.node == node && cut.peer == *peer)),
        place,
    )];
    for cut in cuts.iter().filter(|cut| cut.node == node) {
        let address = place.address(cut.peer);
        lines.push(match cut.mode {
            Mode::Drop => format!("ip route replace {address}/32 dev lo"),
            Mode::Reject => format!("ip route replace unreachable {address}/32"),
        });
    }
    lines.push("ip route".to_owned());
    lines.join("; ")
}

/// What a helper runs that ends a node's timed cuts; none when no cut of the node has an end.
pub(crate) fn timer(node: u8, cuts: &BTreeSet<Cut>, place: &Place, now: u64) -> Option<String> {
    let mut timed: Vec<(u64, u8)> = (cuts.iter())
        .filter(|cut| cut.node == node)
        .filter_map(|cut| Some((cut.until?, cut.peer)))
        .collect();
    timed.sort_unstable();
    let mut at = now;
    let mut parts = Vec::new();
    for (until, peer) in timed {
        if until > at {
            parts.push(format!("sleep {}", until - at));
            at = until;
        }
        parts.push(removal([peer].into_iter(), place));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Asks for what is there before it removes, so that nothing is said about what is not.
fn removal(peers: impl Iterator<Item = u8>, place: &Place) -> String {
    let addresses: Vec<String> = peers.map(|peer| place.address(peer)).collect();
    format!(
        "for a in {}; do ip route del $a/32 dev lo 2>/dev/null; \
         ip route del unreachable $a/32 2>/dev/null; done",
        addresses.join(" ")
    )
}

/// The cuts that a node's routes show.
pub(crate) fn routed(lines: &[String], place: &Place) -> BTreeSet<(u8, Mode)> {
    let peer =
        |address: &str| (1..=name::MOST_NODES).find(|number| place.address(*number) == address);
    let cut = |line: &String| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["unreachable", address, ..] => Some((peer(address)?, Mode::Reject)),
            [address, "dev", "lo", ..] => Some((peer(address)?, Mode::Drop)),
            _ => None,
        }
    };
    lines.iter().filter_map(cut).collect()
}

/// What a node runs to see whether its cuts have an effect: a connection to each peer, all at once.
pub(crate) fn probe(peers: &[u8], port: u16, place: &Place) -> String {
    let one = |peer: &u8| {
        let (node, address) = (name::node(*peer), place.address(*peer));
        format!(
            "(o=$(timeout 2 nc -w 1 {address} {port} </dev/null 2>&1 >/dev/null); \
                 echo \"{node} $o\") &"
        )
    };
    let all: Vec<String> = peers.iter().map(one).collect();
    format!("{} wait", all.join(" "))
}

/// The peers that a probe has reached after all. Whoever refuses a connection was reached.
pub(crate) fn reached(lines: &[String]) -> Vec<String> {
    const UNREACHED: [&str; 3] = ["timed out", "No route to host", "unreachable"];
    let open = |line: &&String| !UNREACHED.iter().any(|sign| line.contains(sign));
    let node = |line: &String| line.split(' ').next().unwrap_or_default().to_owned();
    lines.iter().filter(open).map(node).collect()
}

/// A node's cuts in a few words, for a table; `-` when it has none.
pub(crate) fn words(node: u8, cuts: &BTreeSet<Cut>) -> String {
    let has = |node: u8, peer: u8| cuts.iter().any(|cut| (cut.node, cut.peer) == (node, peer));
    let list = |pick: &dyn Fn(u8) -> bool| {
        let all: Vec<String> =
            (1..=name::MOST_NODES).filter(|n| pick(*n)).map(name::node).collect();
        (!all.is_empty()).then(|| all.join(", "))
    };
    let parts = [
        list(&|peer| has(node, peer) && has(peer, node)).map(|l| format!("cut from {l}")),
        list(&|peer| has(node, peer) && !has(peer, node)).map(|l| format!("cannot send to {l}")),
        list(&|peer| !has(node, peer) && has(peer, node)).map(|l| format!("hears nothing of {l}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join("; ") }
}

#[cfg(test)]
#[path = "cut_tests.rs"]
mod tests;
