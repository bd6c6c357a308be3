//! `cluster loss`, `delay` and `rate`: makes a node's network bad, measures what came of it, and
//! takes it back when it is not what was asked for.
//!
//! As with cuts the record comes first, and is brought about again when the node starts.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::fault::Scene;
use super::label::{self, get};
use super::wear::{self, Kind, Shown, Wear};
use super::{name, process};
use crate::engine::{Engine, HelperSpec, State};
use crate::image;
use crate::paths::Exit;
use crate::ui::Ui;

/// How many nodes are tried at most.
const TRIED: usize = 3;

/// Makes the networks of nodes bad in one way; `to` names the nodes that it is between.
///
/// # Errors
/// No such cluster or node; a fault that this kernel cannot have or that had another effect, which
/// is undone then.
pub(crate) async fn worsen(
    engine: &Engine,
    cluster: &str,
    (nodes, to): (&[String], &[String]),
    (kind, lasting): (Kind, Option<Duration>),
    ui: &Ui,
) -> anyhow::Result<Vec<Value>> {
    let _lock = process::lock(cluster)?;
    let scene = Scene::look(engine, cluster).await?;
    if engine.is_local() {
        let text = format!(
            "{} is not possible here: the nodes are plain processes of this machine, whose network \
             they share. Try pause or kill.",
            kind.word()
        );
        return Err(Exit::error(Exit::NO_EFFECT, text));
    }
    let (nodes, peers) = (scene.named(nodes)?, scene.named(to)?);
    let tools = image::tools(engine).await?;
    let mut done = Vec::new();
    for node in nodes {
        let start = Instant::now();
        let until = wear::until(scene.now, lasting);
        let new = Wear { node, kind, peers: peers.clone(), since: scene.now, until };
        let seen = scene.wear(&new, &tools).await?;
        let host = name::node(node);
        let long = lasting.map(|d| format!(", for {}", humantime::format_duration(d)));
        let from = if to.is_empty() { String::new() } else { format!(" from {}", to.join(", ")) };
        let long = long.unwrap_or_default();
        ui.line(kind.word(), &format!("{host} {}{from}{long}", kind.words()));
        let seconds = start.elapsed().as_secs_f64();
        match seen {
            Some(seen) => ui.line("checked", &format!("{}  {seconds:.1} s", seen.words(kind))),
            None => ui.line("unchecked", "no node runs that it could be tried with"),
        }
        done.push(new.json("in force"));
    }
    Ok(done)
}

impl Scene<'_> {
    /// What is recorded and holds, and what is over.
    pub(super) fn wears(&self) -> (Vec<Wear>, Vec<Wear>) {
        wear::recorded(&self.ours).into_iter().partition(|wear| wear.holds(self.now))
    }

    /// Records a fault, makes it and measures it; takes it back when it is not what it should be.
    async fn wear(&self, new: &Wear, tools: &str) -> anyhow::Result<Option<Shown>> {
        let (held, over) = self.wears();
        let same = |wear: &Wear| wear.volume("") == new.volume("");
        let old: Vec<Wear> = held.iter().filter(|wear| same(wear)).cloned().collect();
        let mut all: Vec<Wear> = held.into_iter().filter(|wear| !same(wear)).collect();
        let kept = all.clone();
        all.push(new.clone());
        all.sort();
        self.unwear(over.iter().chain(&old)).await?;
        let network = self.ours.networks.first().map(|n| n.labels.clone()).unwrap_or_default();
        self.engine.create_volume(&new.volume(self.cluster), &new.labels(&network)).await?;
        let had = async {
            self.wear_out(new.node, &all, tools)
                .await
                .map_err(|failure| impossible(new, &failure))?;
            self.measure(new, tools).await
        };
        match had.await {
            Ok(seen) => Ok(seen),
            Err(failure) => {
                self.unwear([new].into_iter()).await?;
                // The first failure is the reason; a second one adds nothing to it.
                drop(self.wear_out(new.node, &kept, tools).await);
                Err(failure)
            }
        }
    }

    /// Forgets faults; what they did is another matter.
    pub(super) async fn unwear<'w>(
        &self,
        gone: impl Iterator<Item = &'w Wear>,
    ) -> anyhow::Result<()> {
        for wear in gone {
            self.engine.remove_volume(&wear.volume(self.cluster)).await?;
        }
        Ok(())
    }

    /// Makes a node's network as bad as recorded, and no worse.
    pub(super) async fn wear_out(&self, node: u8, all: &[Wear], tools: &str) -> anyhow::Result<()> {
        let Some(container) = self.node(node) else { return Ok(()) };
        if !matches!(container.state, State::Running | State::Paused) {
            return Ok(());
        }
        let mark = format!("{}/wear", name::node(node));
        for timer in (self.ours.containers.iter()).filter(|c| get(&c.labels, label::TIMER) == mark)
        {
            self.engine.remove_container(&timer.id).await?;
        }
        let helper = |script: String, timer: &str| HelperSpec {
            image: tools.to_owned(),
            beside: Some(container.id.clone()),
            script,
            probes: false,
            labels: self.helper_labels(timer),
        };
        if let Some(script) = wear::timer(node, all, &self.place, self.now) {
            self.engine.start_helper(&helper(script, &mark)).await?;
        }
        let script = wear::script(node, all, &self.place);
        let (code, lines) = self.engine.help(&helper(script, "")).await?;
        // The filter's own picture of the mistake follows; its first line is the mistake.
        anyhow::ensure!(code == 0, "{}", lines.first().map_or("no reason", String::as_str));
        Ok(())
    }

    /// Tries a fault on nodes that run and are not cut off; nothing when there is none.
    async fn measure(&self, new: &Wear, tools: &str) -> anyhow::Result<Option<Shown>> {
        let (cuts, _) = self.cuts();
        let cut = |peer: u8| {
            cuts.iter().any(|c| [(new.node, peer), (peer, new.node)].contains(&(c.node, c.peer)))
        };
        let numbers = if new.peers.is_empty() { self.numbers() } else { new.peers.clone() };
        let peers = numbers.into_iter().filter(|n| *n != new.node && self.runs(*n) && !cut(*n));
        let Some(container) = self.node(new.node).filter(|_| self.runs(new.node)) else {
            return Ok(None);
        };
        let mut last = None;
        for peer in peers.take(TRIED) {
            let script = wear::probe(new.kind, &self.place.address(peer));
            let helper = HelperSpec {
                image: tools.to_owned(),
                beside: Some(container.id.clone()),
                script,
                probes: true,
                labels: self.helper_labels(""),
            };
            let (_, lines) = self.engine.help(&helper).await?;
            let seen = wear::shown(&lines);
            if seen.is_some_and(|seen| seen.fits(new.kind)) {
                return Ok(seen);
            }
            let words = seen.map_or_else(|| lines.join("; "), |seen| seen.words(new.kind));
            last = Some(words);
        }
        let Some(words) = last else { return Ok(None) };
        let (what, host) = (new.kind.word(), name::node(new.node));
        let text = format!("{what} was set on {host} but {words}; rule removed.");
        Err(Exit::error(Exit::NO_EFFECT, text))
    }

    /// Takes faults of nodes back; gives those that are gone.
    pub(super) async fn recover(&self, meant: impl Fn(&Wear) -> bool) -> anyhow::Result<Vec<Wear>> {
        let (held, over) = self.wears();
        let (gone, kept): (Vec<Wear>, Vec<Wear>) = held.into_iter().partition(|wear| meant(wear));
        let nodes: BTreeSet<u8> = gone.iter().chain(&over).map(|wear| wear.node).collect();
        if nodes.is_empty() {
            return Ok(gone);
        }
        let tools = image::tools(self.engine).await?;
        for node in nodes {
            self.wear_out(node, &kept, &tools).await?;
        }
        self.unwear(gone.iter().chain(&over)).await?;
        Ok(gone)
    }

    /// Makes the recorded faults of nodes that have been started again: their networks are new.
    pub(super) async fn wear_again(&self, started: &[String]) -> anyhow::Result<()> {
        let (held, _) = self.wears();
        let nodes: BTreeSet<u8> = (held.iter())
            .map(|wear| wear.node)
            .filter(|node| started.contains(&name::node(*node)))
            .collect();
        if nodes.is_empty() {
            return Ok(());
        }
        let tools = image::tools(self.engine).await?;
        for node in nodes {
            self.wear_out(node, &held, &tools).await?;
        }
        Ok(())
    }
}

/// The kernel's refusal in our words.
fn impossible(wear: &Wear, failure: &anyhow::Error) -> anyhow::Error {
    let what = wear.kind.word();
    let lacks = match wear.kind {
        Kind::Loss(_) => "no packet filter that drops by chance",
        Kind::Delay(..) => "no netem",
        Kind::Rate(_) => "no token bucket queue",
    };
    let unknown = ["unknown", "not supported", "No such file or directory"];
    let said = failure.to_string();
    let text = match unknown.iter().any(|sign| said.contains(sign)) {
        true => format!(
            "{what} is not possible here: this kernel has {lacks}. Try partition, pause or kill."
        ),
        false => format!("{what} is not possible here: {said}. Try partition, pause or kill."),
    };
    Exit::error(Exit::NO_EFFECT, text)
}
