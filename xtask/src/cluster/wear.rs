//! What makes a node's network bad without cutting it: loss, delay, a low rate. From a record to
//! labels and commands, and from what probes printed to what was had. Pure.
//!
//! Loss is a packet filter's table of our own in the node's network, of which the engine's rules
//! know nothing; delay and rate are queues of its interface, found by its subnet and not by name.

use std::time::Duration;

use serde_json::{Value, json};

use super::cut::inherited;
use super::diff::Listed;
use super::label::{self, get};
use super::name;
use super::place::Place;
use crate::engine::{Labels, Volume};

/// The programs by their whole path: the helpers' shell would take its own `tc` otherwise.
const NFT: &str = "/usr/sbin/nft";
const TC: &str = "/usr/sbin/tc";
/// What a queue lets pass at once before it begins to wait, in bytes.
const BURST: u32 = 16 * 1024;
/// How much a slow queue holds before it drops, in bytes: seconds of what it lets through.
const HELD: u32 = 1_000_000;
/// Probes of loss: with a tenth lost, fifteen to twenty-five of them are.
const LOSS_PROBES: u32 = 200;
/// Probes of delay.
const DELAY_PROBES: u32 = 11;
/// A probe of a rate is to take about so many milliseconds.
const RATE_PROBE_MS: u32 = 300;
/// Bytes of headers for each packet of a probe, and how much else fits into one.
const PACKET: (u32, u32) = (34, 1480);

/// What is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// So many of a hundred packets that the node gets are lost.
    Loss(u32),
    /// What it sends is late by so many milliseconds, more or less by the second number.
    Delay(u32, u32),
    /// It sends no more than so many thousand bits in a second.
    Rate(u32),
}

/// One node whose network is bad in one way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wear {
    /// Its number.
    pub(crate) node: u8,
    /// What is bad.
    pub(crate) kind: Kind,
    /// Between it and these nodes only; all when empty.
    pub(crate) peers: Vec<u8>,
    /// Since when, in seconds of Unix time.
    pub(crate) since: u64,
    /// Until when; none until it is healed.
    pub(crate) until: Option<u64>,
}

impl Kind {
    /// A word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Loss(_) => "loss",
            Kind::Delay(..) => "delay",
            Kind::Rate(_) => "rate",
        }
    }

    /// With its amount.
    pub(crate) fn words(self) -> String {
        match self {
            Kind::Loss(percent) => format!("loses {percent} %"),
            Kind::Delay(ms, 0) => format!("late by {ms} ms"),
            Kind::Delay(ms, jitter) => format!("late by {ms} ms, more or less {jitter} ms"),
            Kind::Rate(kbit) => format!("sends {kbit} kbit/s at most"),
        }
    }

    fn parse(word: &str, amount: &str) -> Option<Kind> {
        let mut numbers = amount.split(' ').map(|text| text.parse::<u32>().ok());
        let first = numbers.next()??;
        match word {
            "loss" => Some(Kind::Loss(first)),
            "delay" => Some(Kind::Delay(first, numbers.next().flatten().unwrap_or(0))),
            "rate" => Some(Kind::Rate(first)),
            _ => None,
        }
    }
}

impl Wear {
    /// Whether it holds at this time.
    pub(crate) fn holds(&self, now: u64) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Name of the volume that records it: one of each kind for each node.
    pub(crate) fn volume(&self, cluster: &str) -> String {
        format!("quorate-{cluster}-{}-{}", self.kind.word(), name::node(self.node))
    }

    /// The labels of that volume; whose it is comes from the cluster's network.
    pub(crate) fn labels(&self, network: &Labels) -> Labels {
        let mut labels = inherited(network);
        let amount = match self.kind {
            Kind::Loss(one) | Kind::Rate(one) => one.to_string(),
            Kind::Delay(one, other) => format!("{one} {other}"),
        };
        let peers: Vec<String> = self.peers.iter().map(|peer| name::node(*peer)).collect();
        let until = self.until.map(|until| until.to_string()).unwrap_or_default();
        for (name, value) in [
            (label::ROLE, "wear".to_owned()),
            (label::NODE, name::node(self.node)),
            (label::MODE, self.kind.word().to_owned()),
            (label::AMOUNT, amount),
            (label::PEER, peers.join(",")),
            (label::MADE, self.since.to_string()),
            (label::UNTIL, until),
        ] {
            labels.insert(name.to_owned(), value);
        }
        labels
    }

    /// What JSON tells of it.
    pub(crate) fn json(&self, state: &str) -> Value {
        let peers: Vec<String> = self.peers.iter().map(|peer| name::node(*peer)).collect();
        let mut told = json!({
            "node": name::node(self.node),
            "fault": self.kind.word(),
            "peers": peers,
            "since": self.since,
            "until": self.until,
            "state": state,
        });
        let amounts = match self.kind {
            Kind::Loss(percent) => vec![("percent", percent)],
            Kind::Delay(ms, jitter) => vec![("ms", ms), ("jitter_ms", jitter)],
            Kind::Rate(kbit) => vec![("kbit", kbit)],
        };
        for (name, amount) in amounts {
            told[name] = json!(amount);
        }
        told
    }

    fn read(volume: &Volume) -> Option<Wear> {
        let labels = &volume.labels;
        if get(labels, label::ROLE) != "wear" {
            return None;
        }
        Some(Wear {
            node: name::number(get(labels, label::NODE))?,
            kind: Kind::parse(get(labels, label::MODE), get(labels, label::AMOUNT))?,
            peers: get(labels, label::PEER).split(',').filter_map(name::number).collect(),
            since: get(labels, label::MADE).parse().ok()?,
            until: get(labels, label::UNTIL).parse().ok(),
        })
    }
}

/// All that is recorded of a cluster, whether its time is over or not.
pub(crate) fn recorded(ours: &Listed) -> Vec<Wear> {
    let mut all: Vec<Wear> = ours.volumes.iter().filter_map(Wear::read).collect();
    all.sort();
    all
}

/// What a helper runs in a node's network so that it is bad in these ways and no others. Ends with
/// an error at the first thing that cannot be had.
pub(crate) fn script(node: u8, all: &[Wear], place: &Place) -> String {
    let [a, b, c] = place.subnet;
    let mut lines = vec![
        format!(
            "d=$(ip route | sed -n 's|^{a}\\.{b}\\.{c}\\.0/24 dev \\([^ ]*\\).*|\\1|p' | head -n 1)"
        ),
        format!("{NFT} delete table inet quorate 2>/dev/null"),
        format!("{TC} qdisc del dev $d root 2>/dev/null"),
        "set -e".to_owned(),
    ];
    let mut below = "root handle 1:";
    for wear in all.iter().filter(|wear| wear.node == node) {
        lines.push(match wear.kind {
            Kind::Loss(percent) => loss(percent, &wear.peers, node, place),
            Kind::Delay(ms, jitter) => {
                let queue = std::mem::replace(&mut below, "parent 1:1 handle 2:");
                format!("{TC} qdisc add dev $d {queue} netem limit 10000 delay {ms}ms {jitter}ms")
            }
            Kind::Rate(kbit) => {
                format!(
                    "{TC} qdisc add dev $d {below} tbf rate {kbit}kbit burst {BURST} limit {HELD}"
                )
            }
        });
    }
    lines.join("; ")
}

/// The filter's table: packets of the other nodes, as many as named of a hundred, are dropped where
/// they arrive. Whoever else talks to the node is not concerned.
fn loss(percent: u32, peers: &[u8], node: u8, place: &Place) -> String {
    let all: Vec<u8> = (1..=name::MOST_NODES).filter(|peer| *peer != node).collect();
    let peers = if peers.is_empty() { &all } else { peers };
    let addresses: Vec<String> = peers.iter().map(|peer| place.address(*peer)).collect();
    // All of a hundred is no chance, and the filter takes it for a mistake.
    let chance = match percent {
        100.. => String::new(),
        percent => format!("numgen random mod 100 < {percent} "),
    };
    format!(
        "{NFT} 'table inet quorate {{ chain input {{ type filter hook input priority -10; \
         ip saddr {{ {} }} {chance}drop; }}; }}'",
        addresses.join(", ")
    )
}

/// What a helper runs that ends a node's timed faults of this kind; none when none has an end.
pub(crate) fn timer(node: u8, all: &[Wear], place: &Place, now: u64) -> Option<String> {
    let mut ends: Vec<u64> =
        all.iter().filter(|wear| wear.node == node).filter_map(|wear| wear.until).collect();
    ends.sort_unstable();
    ends.dedup();
    let mut at = now;
    let mut parts = Vec::new();
    for end in ends {
        if end > at {
            parts.push(format!("sleep {}", end - at));
            at = end;
        }
        let left: Vec<Wear> = all.iter().filter(|wear| wear.holds(end)).cloned().collect();
        // In a shell of its own: one that fails must not end those that come after it.
        parts.push(format!("({})", script(node, &left, place)));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// What a helper runs in a node's network to see what a fault does to a node at this address.
pub(crate) fn probe(kind: Kind, address: &str) -> String {
    match kind {
        Kind::Loss(_) => format!("ping -c {LOSS_PROBES} -i 0.005 -W 1 -q {address}"),
        Kind::Delay(..) => format!("ping -c {DELAY_PROBES} -i 0.05 -W 5 -q {address}"),
        Kind::Rate(kbit) => format!("ping -c 2 -i 1 -W 9 -s {} -q {address}", size(kbit)),
    }
}

/// Bytes of a probe of a rate: what passes at once, and what takes so long; a packet cannot be
/// larger than 65507.
fn size(kbit: u32) -> u32 {
    (BURST + kbit * RATE_PROBE_MS / 8).min(60_000)
}

/// What a probe has shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shown {
    /// How many probes went out.
    pub(crate) sent: u32,
    /// How many came back.
    pub(crate) back: u32,
    /// Their mean way there and back, in milliseconds.
    pub(crate) mean_ms: f64,
}

/// Reads what a probe printed.
pub(crate) fn shown(lines: &[String]) -> Option<Shown> {
    let counts = lines.iter().find(|line| line.contains("packets transmitted"))?;
    let mut numbers = counts.split(", ").filter_map(|part| part.split(' ').next()?.parse().ok());
    let (sent, back) = (numbers.next()?, numbers.next()?);
    let times = lines.iter().find_map(|line| line.strip_prefix("round-trip min/avg/max = "));
    let mean = times.and_then(|times| times.split('/').nth(1)?.parse().ok());
    Some(Shown { sent, back, mean_ms: mean.unwrap_or(0.0) })
}

impl Shown {
    /// In words what this kind of fault did.
    pub(crate) fn words(self, kind: Kind) -> String {
        match kind {
            Kind::Loss(_) => {
                format!("{} of {} probe packets were lost", self.sent - self.back, self.sent)
            }
            Kind::Delay(..) => format!("answers took {:.1} ms", self.mean_ms),
            Kind::Rate(_) => match self.back {
                0 => "no probe came back".to_owned(),
                _ => format!("it sent {:.0} kbit/s", self.kbit(kind)),
            },
        }
    }

    /// The rate that a probe of it had: what did not pass at once, over its time.
    fn kbit(self, kind: Kind) -> f64 {
        let Kind::Rate(kbit) = kind else { return 0.0 };
        let size = size(kbit) + 8;
        let wire = size + PACKET.0 * size.div_ceil(PACKET.1);
        f64::from(wire - BURST) * 8.0 / self.mean_ms.max(0.001)
    }

    /// Whether that is what was asked for, within what chance and the machine make of it.
    pub(crate) fn fits(self, kind: Kind) -> bool {
        match kind {
            Kind::Loss(percent) => {
                let (sent, share) = (f64::from(self.sent), f64::from(percent) / 100.0);
                let lost = f64::from(self.sent - self.back);
                // Four times the spread of chance, and two packets: small shares are few packets.
                let spread = 4.0 * (sent * share * (1.0 - share)).sqrt() + 2.0;
                (lost - sent * share).abs() <= spread && (lost > 0.0 || percent == 0)
            }
            Kind::Delay(ms, jitter) => {
                let (ms, jitter) = (f64::from(ms), f64::from(jitter));
                self.back > 0 && (self.mean_ms - ms).abs() <= (ms * 0.2).max(5.0) + jitter
            }
            Kind::Rate(kbit) => {
                self.back > 0 && (self.kbit(kind) / f64::from(kbit) - 1.0).abs() <= 0.25
            }
        }
    }
}

/// A node's faults of this kind in a few words; nothing when it has none.
pub(crate) fn words(node: u8, all: &[Wear]) -> Option<String> {
    let own: Vec<String> =
        all.iter().filter(|wear| wear.node == node).map(|wear| wear.kind.words()).collect();
    (!own.is_empty()).then(|| own.join("; "))
}

/// When something that lasts so long ends.
pub(crate) fn until(now: u64, lasting: Option<Duration>) -> Option<u64> {
    lasting.map(|lasting| now + lasting.as_secs().max(1))
}

#[cfg(test)]
mod tests {
    use super::super::spec::tests::PLACE;
    use super::*;

    fn wear(node: u8, kind: Kind, until: Option<u64>) -> Wear {
        Wear { node, kind, peers: vec![], since: 5, until }
    }

    #[test]
    fn a_record_survives_its_labels_and_is_one_for_each_kind_and_node() {
        for kind in [Kind::Loss(30), Kind::Delay(50, 10), Kind::Rate(512)] {
            let peers = if matches!(kind, Kind::Loss(_)) { vec![2, 3] } else { vec![] };
            let one = Wear { peers, ..wear(1, kind, Some(9)) };
            let labels = one.labels(&Labels::new());
            assert_eq!(Wear::read(&Volume { name: one.volume("demo"), labels }), Some(one.clone()));
            assert_eq!(one.volume("demo"), format!("quorate-demo-{}-h1", kind.word()));
            assert!(one.holds(8) && !one.holds(9));
        }
        assert_eq!(Wear::read(&Volume { name: String::new(), labels: Labels::new() }), None);
    }

    #[test]
    fn a_script_takes_away_what_was_there_and_adds_what_is_wanted_of_its_node() {
        let all = [
            Wear { peers: vec![2], ..wear(1, Kind::Loss(30), None) },
            wear(1, Kind::Delay(50, 10), None),
            wear(1, Kind::Rate(512), None),
            wear(2, Kind::Rate(1), None),
        ];
        let text = script(1, &all, &PLACE);
        for part in [
            "s|^10\\.91\\.12\\.0/24 dev",
            "/usr/sbin/nft delete table inet quorate 2>/dev/null; /usr/sbin/tc qdisc del dev $d",
            "ip saddr { 10.91.12.12 } numgen random mod 100 < 30 drop",
            "tc qdisc add dev $d root handle 1: netem limit 10000 delay 50ms 10ms",
            "tc qdisc add dev $d parent 1:1 handle 2: tbf rate 512kbit",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains("rate 1kbit"));
        assert!(script(2, &all, &PLACE).contains("root handle 1: tbf rate 1kbit"));
        let none = script(3, &all, &PLACE);
        assert!(none.ends_with("set -e"), "{none}");
        let everyone = script(1, &[wear(1, Kind::Loss(5), None)], &PLACE);
        let all = script(1, &[wear(1, Kind::Loss(100), None)], &PLACE);
        assert!(all.contains("} drop; }; }") && !all.contains("numgen"), "{all}");
        assert!(everyone.contains("10.91.12.40") && !everyone.contains("10.91.12.11,"));
    }

    #[test]
    fn a_timer_leaves_what_lasts_longer() {
        let all = [wear(1, Kind::Loss(30), Some(20)), wear(1, Kind::Rate(64), Some(30))];
        let text = timer(1, &all, &PLACE, 10).unwrap();
        let (first, second) = text.split_once("; sleep 10; ").unwrap();
        assert!(first.starts_with("sleep 10; (d=") && first.contains("tbf rate 64kbit"), "{first}");
        assert!(!second.contains("tbf"), "{second}");
        assert_eq!(timer(1, &[wear(1, Kind::Rate(64), None)], &PLACE, 10), None);
        assert_eq!(timer(2, &all, &PLACE, 10), None);
    }

    fn printed(sent: u32, back: u32, mean: f64) -> Vec<String> {
        let percent = (sent - back) * 100 / sent;
        let text = format!(
            "PING 10.91.12.12 (10.91.12.12): 56 data bytes\n\n--- 10.91.12.12 ping statistics ---\n\
             {sent} packets transmitted, {back} packets received, {percent}% packet loss\n\
             round-trip min/avg/max = 0.064/{mean}/4.047 ms"
        );
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn an_effect_is_one_that_chance_explains_and_nothing_else_is() {
        for (kind, sent, back, mean, fits, words) in [
            (Kind::Loss(30), 200, 136, 0.2, true, "64 of 200 probe packets were lost"),
            (Kind::Loss(30), 200, 200, 0.2, false, "0 of 200 probe packets were lost"),
            (Kind::Loss(30), 200, 100, 0.2, false, "100 of 200 probe packets were lost"),
            (Kind::Loss(1), 200, 198, 0.2, true, "2 of 200 probe packets were lost"),
            (Kind::Delay(50, 0), 11, 11, 50.4, true, "answers took 50.4 ms"),
            (Kind::Delay(50, 0), 11, 11, 0.2, false, "answers took 0.2 ms"),
            (Kind::Rate(512), 2, 2, 316.0, true, "it sent 508 kbit/s"),
            (Kind::Rate(512), 2, 2, 0.4, false, "it sent 401160 kbit/s"),
            (Kind::Rate(512), 2, 0, 0.0, false, "no probe came back"),
        ] {
            let seen = shown(&printed(sent, back, mean)).unwrap();
            assert_eq!((seen.fits(kind), seen.words(kind).as_str()), (fits, words), "{kind:?}");
        }
        assert_eq!(shown(&["ping: permission denied".to_owned()]), None);
    }
}
