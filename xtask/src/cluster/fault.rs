//! `cluster partition`, `isolate`, `heal` and `faults`: cuts between nodes, recorded by volumes and
//! made by helpers in the nodes' networks.
//!
//! The records come first: what is recorded is brought about, and again when a node starts, since a
//! start gives it a new network. Nothing is said to be cut before a probe has shown it.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use serde_json::{Value, json};

use super::cut::{self, Cut, Mode};
use super::diff::Listed;
use super::label::{self, get};
use super::place::Place;
use super::spec::PEER_PORT;
use super::wear::{self, Wear};
use super::{look, name, process, run};
use crate::engine::{Container, Engine, HelperSpec, Labels, State};
use crate::paths::Exit;
use crate::ui::{Ui, table};

/// How long a node may take to tell its routes or to try its peers; a probe gives up after 1 s.
const ANSWER: Duration = Duration::from_secs(5);

/// How a cut is to be, whoever it is between.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// What it looks like.
    pub(crate) mode: Mode,
    /// How long it lasts; none until it is healed.
    pub(crate) lasting: Option<Duration>,
    /// Only what the first side sends is lost.
    pub(crate) one_way: bool,
}

/// A cluster as far as cuts go.
pub(super) struct Scene<'a> {
    pub(super) engine: &'a Engine,
    pub(super) cluster: &'a str,
    pub(super) ours: Listed,
    pub(super) place: Place,
    pub(super) now: u64,
}

impl<'a> Scene<'a> {
    pub(super) async fn look(engine: &'a Engine, cluster: &'a str) -> anyhow::Result<Scene<'a>> {
        let ours = look::cluster(engine, cluster).await?;
        let place = ours.place().ok_or_else(|| {
            let text = format!("cluster {cluster} has no network of ours; make it anew");
            Exit::error(Exit::CONFLICT, text)
        })?;
        Ok(Scene { engine, cluster, ours, place, now: process::now() })
    }

    pub(super) fn node(&self, number: u8) -> Option<&Container> {
        let nodes = self.ours.nodes();
        nodes.into_iter().find(|(node, _)| *node == name::node(number)).map(|(_, c)| c)
    }

    /// Whether a node has a network at the moment, and can answer in it.
    pub(super) fn runs(&self, number: u8) -> bool {
        self.node(number).is_some_and(|node| node.state == State::Running)
    }

    pub(super) fn numbers(&self) -> Vec<u8> {
        self.ours.nodes().iter().filter_map(|(node, _)| name::number(node)).collect()
    }

    /// The numbers of nodes that a user names; `h1,h2` counts as two.
    pub(super) fn named(&self, named: &[String]) -> anyhow::Result<Vec<u8>> {
        let there = self.numbers();
        let known = |node: &str| name::number(node).filter(|number| there.contains(number));
        let missing = |node: &str| {
            let there: Vec<String> = there.iter().map(|n| name::node(*n)).collect();
            name::no_node(self.cluster, node, &there)
        };
        let all = named.iter().flat_map(|names| names.split(','));
        all.map(|node| known(node).ok_or_else(|| missing(node))).collect()
    }

    /// The recorded cuts that hold, and those whose time is over.
    pub(super) fn cuts(&self) -> (BTreeSet<Cut>, BTreeSet<Cut>) {
        cut::recorded(&self.ours).into_iter().partition(|cut| cut.holds(self.now))
    }

    async fn record(&self, cuts: &BTreeSet<Cut>) -> anyhow::Result<()> {
        let network = self.ours.networks.first().map(|n| n.labels.clone()).unwrap_or_default();
        for cut in cuts {
            let name = cut.volume(self.cluster);
            // A volume's labels cannot be changed.
            self.engine.remove_volume(&name).await?;
            self.engine.create_volume(&name, &cut.labels(&network)).await?;
        }
        Ok(())
    }

    async fn forget(&self, cuts: &BTreeSet<Cut>) -> anyhow::Result<()> {
        for cut in cuts {
            self.engine.remove_volume(&cut.volume(self.cluster)).await?;
        }
        Ok(())
    }

    /// Brings the routes of these nodes to what is wanted; nodes without a network are passed over.
    async fn apply(&self, nodes: &BTreeSet<u8>, wanted: &BTreeSet<Cut>) -> anyhow::Result<()> {
        try_join_all(nodes.iter().map(|node| self.route(*node, wanted))).await.map(|_| ())
    }

    async fn route(&self, node: u8, wanted: &BTreeSet<Cut>) -> anyhow::Result<()> {
        let Some(container) = self.node(node) else { return Ok(()) };
        if !matches!(container.state, State::Running | State::Paused) {
            return Ok(());
        }
        if self.engine.is_local() && !wanted.iter().any(|cut| cut.node == node) {
            // Nothing can be cut there, so nothing has to be undone.
            return Ok(());
        }
        let host = name::node(node);
        let impossible = |why: &str| {
            let text = format!("{host} cannot be cut off here: {why}. Try pause or kill.");
            Exit::error(Exit::NO_EFFECT, text)
        };
        for timer in (self.ours.containers.iter()).filter(|c| get(&c.labels, label::TIMER) == host)
        {
            self.engine.remove_container(&timer.id).await?;
        }
        let helper = |script: String, timer: &str| HelperSpec {
            image: container.image.clone(),
            beside: Some(container.id.clone()),
            script,
            probes: false,
            labels: self.helper_labels(timer),
        };
        if let Some(script) = cut::timer(node, wanted, &self.place, self.now) {
            let timer = self.engine.start_helper(&helper(script, &host)).await;
            timer.map_err(|failure| impossible(&failure.to_string()))?;
        }
        let script = cut::script(node, wanted, &self.place);
        let (code, lines) = (self.engine.help(&helper(script, "")).await)
            .map_err(|failure| impossible(&failure.to_string()))?;
        let asked = wanted.iter().filter(|cut| cut.node == node);
        let asked: BTreeSet<(u8, Mode)> = asked.map(|cut| (cut.peer, cut.mode)).collect();
        match code == 0 && cut::routed(&lines, &self.place) == asked {
            true => Ok(()),
            false => Err(impossible(&lines.join("; "))),
        }
    }

    pub(super) fn helper_labels(&self, timer: &str) -> Labels {
        let network = self.ours.networks.first().map(|n| n.labels.clone()).unwrap_or_default();
        let mut labels = cut::inherited(&network);
        labels.insert(label::ROLE.to_owned(), "helper".to_owned());
        labels.insert(label::TIMER.to_owned(), timer.to_owned());
        labels
    }

    /// Tries every cut between nodes that run; gives how many there were, and those that something
    /// came through.
    async fn probe(&self, cuts: &BTreeSet<Cut>) -> anyhow::Result<(usize, Vec<String>)> {
        let nodes: BTreeSet<u8> = cuts.iter().map(|cut| cut.node).collect();
        let (mut tried, mut through) = (0, Vec::new());
        let work = nodes.iter().filter(|node| self.runs(**node)).filter_map(|node| {
            let peers: Vec<u8> = (cuts.iter())
                .filter(|cut| cut.node == *node && self.runs(cut.peer))
                .map(|cut| cut.peer)
                .collect();
            (!peers.is_empty()).then(|| self.try_peers(*node, peers))
        });
        for done in join_all(work).await {
            let (node, count, reached) = done?;
            tried += count;
            through
                .extend(reached.iter().map(|peer| format!("{} reached {peer}", name::node(node))));
        }
        Ok((tried, through))
    }

    async fn try_peers(
        &self,
        node: u8,
        peers: Vec<u8>,
    ) -> anyhow::Result<(u8, usize, Vec<String>)> {
        let id = self.node(node).map(|c| c.id.as_str()).unwrap_or_default();
        let script = cut::probe(&peers, PEER_PORT, &self.place);
        let output = run::shell(self.engine, id, &script, ANSWER).await?;
        let mut reached = cut::reached(&output.lines);
        if output.lines.len() != peers.len() {
            reached.push(format!("no probe, but this: {}", output.lines.join("; ")));
        }
        Ok((node, peers.len(), reached))
    }
}

/// `cluster partition`: cuts one group of nodes off from another, or from all others.
///
/// # Errors
/// No such cluster or node; a cut that is none; one that cannot be had here or had no effect, which
/// is undone then.
pub(crate) async fn partition(
    engine: &Engine,
    cluster: &str,
    sides: (&[String], &[String]),
    manner: Manner,
    ui: &Ui,
) -> anyhow::Result<Vec<Value>> {
    let _lock = process::lock(cluster)?;
    let scene = Scene::look(engine, cluster).await?;
    let one = scene.named(sides.0)?;
    let mut other = scene.named(sides.1)?;
    if sides.1.is_empty() {
        other = scene.numbers().into_iter().filter(|number| !one.contains(number)).collect();
    }
    let pairs = cut::between(&one, &other, manner.one_way)?;
    scene.cut(pairs, manner, &[(one, other)], ui).await
}

/// `cluster isolate`: cuts each of these nodes off from every other one.
///
/// # Errors
/// As [`partition`].
pub(crate) async fn isolate(
    engine: &Engine,
    cluster: &str,
    named: &[String],
    manner: Manner,
    ui: &Ui,
) -> anyhow::Result<Vec<Value>> {
    let _lock = process::lock(cluster)?;
    let scene = Scene::look(engine, cluster).await?;
    let (mut pairs, mut sides) = (BTreeSet::new(), Vec::new());
    for node in scene.named(named)? {
        let others: Vec<u8> = scene.numbers().into_iter().filter(|other| *other != node).collect();
        pairs.extend(cut::between(&[node], &others, manner.one_way)?);
        sides.push((vec![node], others));
    }
    scene.cut(pairs.into_iter().collect(), manner, &sides, ui).await
}

/// `cluster ring`: each node reaches its two neighbours only.
///
/// # Errors
/// As [`partition`].
pub(crate) async fn ring(
    engine: &Engine,
    cluster: &str,
    manner: Manner,
    ui: &Ui,
) -> anyhow::Result<Vec<Value>> {
    let _lock = process::lock(cluster)?;
    let scene = Scene::look(engine, cluster).await?;
    let sides = cut::ring(&scene.numbers())?;
    let mut pairs = BTreeSet::new();
    for (one, other) in &sides {
        pairs.extend(cut::between(one, other, false)?);
    }
    scene.cut(pairs.into_iter().collect(), manner, &sides, ui).await
}

/// `cluster bridge`: two halves that do not reach each other, and one node that reaches both.
///
/// # Errors
/// As [`partition`].
pub(crate) async fn bridge(
    engine: &Engine,
    cluster: &str,
    over: &str,
    manner: Manner,
    ui: &Ui,
) -> anyhow::Result<Vec<Value>> {
    let _lock = process::lock(cluster)?;
    let scene = Scene::look(engine, cluster).await?;
    let [over] = scene.named(&[over.to_owned()])?[..] else {
        return Err(Exit::error(Exit::USAGE, "a bridge is one node"));
    };
    let sides = cut::bridge(over, &scene.numbers())?;
    let pairs = cut::between(&sides.0, &sides.1, false)?;
    scene.cut(pairs, manner, &[sides], ui).await
}

/// A line for each cut: who from whom, and how.
fn say(sides: &[(Vec<u8>, Vec<u8>)], manner: Manner, ui: &Ui) {
    let list = |numbers: &[u8]| {
        let names: Vec<String> = numbers.iter().map(|n| name::node(*n)).collect();
        names.join(", ")
    };
    let what = if manner.one_way { "to" } else { "from" };
    let how = if manner.mode == Mode::Reject { ", with an error" } else { "" };
    let long = manner.lasting.map(|d| format!(", for {}", humantime::format_duration(d)));
    let long = long.unwrap_or_default();
    for (one, other) in sides {
        ui.line("cut", &format!("{} {what} {}{how}{long}", list(one), list(other)));
    }
}

/// Ends the cuts of the nodes that are named, or all of them.
///
/// # Errors
/// No such cluster or node; a route that does not go.
pub(crate) async fn heal(
    engine: &Engine,
    cluster: &str,
    named: &[String],
    ui: &Ui,
) -> anyhow::Result<Vec<Value>> {
    let _lock = process::lock(cluster)?;
    let scene = Scene::look(engine, cluster).await?;
    let chosen = scene.named(named)?;
    let (held, over) = scene.cuts();
    let meant =
        |cut: &Cut| chosen.is_empty() || chosen.contains(&cut.node) || chosen.contains(&cut.peer);
    let (healed, kept): (BTreeSet<Cut>, BTreeSet<Cut>) = held.into_iter().partition(meant);
    let touched = healed.iter().chain(&over).map(|cut| cut.node);
    // Without a name every node is looked at, so that routes go as well that no record tells of.
    let nodes =
        if named.is_empty() { scene.numbers().into_iter().collect() } else { touched.collect() };
    scene.apply(&nodes, &kept).await?;
    scene.forget(&healed).await?;
    scene.forget(&over).await?;
    let pairs: BTreeSet<(u8, u8)> =
        healed.iter().map(|cut| (cut.node.min(cut.peer), cut.node.max(cut.peer))).collect();
    for (one, other) in &pairs {
        ui.line("healed", &format!("{} and {}", name::node(*one), name::node(*other)));
    }
    let better = scene
        .recover(|wear| {
            let with = wear.peers.iter().any(|peer| chosen.contains(peer));
            chosen.is_empty() || chosen.contains(&wear.node) || with
        })
        .await?;
    for wear in &better {
        ui.line("healed", &format!("{} of {}", wear.kind.word(), name::node(wear.node)));
    }
    if pairs.is_empty() && better.is_empty() {
        ui.line("nothing to heal", "");
    }
    let mut told: Vec<Value> = healed.iter().map(|cut| account(cut, "healed")).collect();
    told.extend(better.iter().map(|wear| wear.json("healed")));
    Ok(told)
}

/// Makes the recorded cuts of nodes that have been started again: their routes are gone.
///
/// # Errors
/// No such cluster; a cut that cannot be had.
pub(crate) async fn again(
    engine: &Engine,
    cluster: &str,
    started: &[String],
) -> anyhow::Result<()> {
    let ours = look::list(engine).await?.of(cluster);
    if cut::recorded(&ours).is_empty() && wear::recorded(&ours).is_empty() {
        return Ok(());
    }
    let scene = Scene::look(engine, cluster).await?;
    let (held, _) = scene.cuts();
    let of_started = |cut: &&Cut| started.contains(&name::node(cut.node));
    let nodes: BTreeSet<u8> = held.iter().filter(of_started).map(|cut| cut.node).collect();
    scene.apply(&nodes, &held).await?;
    scene.wear_again(started).await
}

/// A fault as it is at the moment.
struct Fault {
    node: u8,
    what: What,
    state: &'static str,
}

/// What is wrong with a node.
enum What {
    /// It does not run.
    Power,
    /// It cannot send to another one.
    Cut(Cut),
    /// Its network is bad.
    Wear(Wear),
}

/// What is broken on purpose, a line each.
///
/// # Errors
/// No such cluster, or the engine fails.
pub(super) async fn lines(engine: &Engine, cluster: &str) -> anyhow::Result<Vec<String>> {
    let scene = Scene::look(engine, cluster).await?;
    let rows: Vec<Vec<String>> = scene.faults().await?.iter().map(|f| f.row(scene.now)).collect();
    Ok(table(&rows))
}

/// `cluster faults`: every cut, and every node that does not run.
///
/// # Errors
/// No such cluster, or the engine fails.
pub(crate) async fn faults(engine: &Engine, cluster: &str, json: bool) -> anyhow::Result<ExitCode> {
    let scene = Scene::look(engine, cluster).await?;
    let faults = scene.faults().await?;
    if json {
        let faults: Vec<Value> = (faults.iter())
            .map(|fault| match &fault.what {
                What::Cut(cut) => account(cut, fault.state),
                What::Wear(wear) => wear.json(fault.state),
                What::Power => json!({"node": name::node(fault.node), "fault": fault.state}),
            })
            .collect();
        println!("{}", json!({"schema": 1, "cluster": cluster, "faults": faults}));
        return Ok(ExitCode::SUCCESS);
    }
    if faults.is_empty() {
        println!("no faults");
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![["NODE", "FAULT", "STATE", "TIME"].map(str::to_owned).to_vec()];
    rows.extend(faults.iter().map(|fault| fault.row(scene.now)));
    table(&rows).iter().for_each(|line| println!("{line}"));
    Ok(ExitCode::SUCCESS)
}

impl Scene<'_> {
    /// Records cuts, makes them and tries them; undoes them when one lets something through.
    async fn cut(
        &self,
        pairs: Vec<(u8, u8)>,
        manner: Manner,
        sides: &[(Vec<u8>, Vec<u8>)],
        ui: &Ui,
    ) -> anyhow::Result<Vec<Value>> {
        let start = Instant::now();
        let until = manner.lasting.map(|lasting| self.now + lasting.as_secs().max(1));
        let new = |(node, peer): &(u8, u8)| Cut {
            node: *node,
            peer: *peer,
            mode: manner.mode,
            since: self.now,
            until,
        };
        let new: BTreeSet<Cut> = pairs.iter().map(new).collect();
        let (held, over) = self.cuts();
        self.forget(&over).await?;
        let kept: BTreeSet<Cut> =
            held.into_iter().filter(|cut| !pairs.contains(&(cut.node, cut.peer))).collect();
        let all: BTreeSet<Cut> = kept.union(&new).cloned().collect();
        let nodes: BTreeSet<u8> = new.iter().map(|cut| cut.node).collect();
        self.record(&new).await?;
        let tried = match self.bring_about(&nodes, &all, &new).await {
            Ok(tried) => tried,
            Err(failure) => {
                self.forget(&new).await?;
                // The first failure is the reason; a second one adds nothing to it.
                drop(self.apply(&nodes, &kept).await);
                return Err(failure);
            }
        };
        say(sides, manner, ui);
        let seconds = start.elapsed().as_secs_f64();
        ui.line("checked", &format!("{tried} of {tried} probes were lost  {seconds:.1} s"));
        Ok(new.iter().map(|cut| account(cut, "in force")).collect())
    }

    async fn bring_about(
        &self,
        nodes: &BTreeSet<u8>,
        all: &BTreeSet<Cut>,
        new: &BTreeSet<Cut>,
    ) -> anyhow::Result<usize> {
        self.apply(nodes, all).await?;
        let (tried, through) = self.probe(new).await?;
        if through.is_empty() {
            return Ok(tried);
        }
        let text = format!("the cut had no effect: {}; undone", through.join(", "));
        Err(Exit::error(Exit::NO_EFFECT, text))
    }

    async fn faults(&self) -> anyhow::Result<Vec<Fault>> {
        let (held, _) = self.cuts();
        let nodes: BTreeSet<u8> = held.iter().map(|cut| cut.node).collect();
        let asked = nodes.iter().filter(|node| self.runs(**node));
        let routes = try_join_all(asked.map(|node| self.routes(*node))).await?;
        let mut faults = Vec::new();
        for number in self.numbers() {
            let state = self.node(number).map_or(State::Other, |node| node.state);
            let word = match state {
                State::Running => None,
                State::Paused => Some("paused"),
                _ => Some("stopped"),
            };
            faults.extend(word.map(|state| Fault { node: number, what: What::Power, state }));
            let worn = self.wears().0.into_iter().filter(|wear| wear.node == number);
            faults.extend(worn.map(|wear| {
                let runs = matches!(state, State::Running | State::Paused);
                let state = if runs { "in force" } else { "when it starts" };
                Fault { node: number, what: What::Wear(wear), state }
            }));
            for cut in held.iter().filter(|cut| cut.node == number) {
                let there = routes
                    .iter()
                    .any(|(node, set)| *node == number && set.contains(&(cut.peer, cut.mode)));
                let state = match state {
                    State::Running if there => "in force",
                    // Somebody else started the node, or removed the route.
                    State::Running => "not in force",
                    State::Paused => "in force",
                    _ => "when it starts",
                };
                faults.push(Fault { node: number, what: What::Cut(cut.clone()), state });
            }
        }
        Ok(faults)
    }

    async fn routes(&self, node: u8) -> anyhow::Result<(u8, BTreeSet<(u8, Mode)>)> {
        let id = self.node(node).map(|c| c.id.as_str()).unwrap_or_default();
        let output = run::shell(self.engine, id, "ip route", ANSWER).await?;
        Ok((node, cut::routed(&output.lines, &self.place)))
    }
}

impl Fault {
    fn row(&self, now: u64) -> Vec<String> {
        let node = name::node(self.node);
        let time = |since: u64, until: Option<u64>| {
            let more = until.map(|until| format!(", {} s more", until.saturating_sub(now)));
            format!("since {} s{}", now.saturating_sub(since), more.unwrap_or_default())
        };
        let state = self.state.to_owned();
        match &self.what {
            What::Power => vec![node, state, "in force".to_owned(), "-".to_owned()],
            What::Wear(wear) => {
                vec![node, wear.kind.words(), state, time(wear.since, wear.until)]
            }
            What::Cut(cut) => {
                let error = if cut.mode == Mode::Reject { ", with an error" } else { "" };
                let what = format!("does not reach {}{error}", name::node(cut.peer));
                vec![node, what, state, time(cut.since, cut.until)]
            }
        }
    }
}

fn account(cut: &Cut, state: &str) -> Value {
    json!({
        "node": name::node(cut.node),
        "fault": "cut",
        "peer": name::node(cut.peer),
        "mode": if cut.mode == Mode::Reject { "reject" } else { "drop" },
        "since": cut.since,
        "until": cut.until,
        "state": state,
    })
}
