//! Makes what is missing of a cluster, waits until it is ready, and undoes all of it when it fails
//! or is interrupted.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::sync::OnceCell;

use super::diff::{self, Conflict, Listed, Step};
use super::label::{self, Owner};
use super::place::{self, Place, Site};
use super::spec::{Agent, TOKEN, Wanted};
use super::view::{Goal, Node, View};
use super::{copy, down, fault, gc, look, name, process, token};
use crate::engine::{Engine, FileEntry, Power, Trouble};
use crate::interrupt::Stop;
use crate::paths::Exit;
use crate::ui::{Phase, Ui};

/// How often each node's agent is asked while the cluster forms. There is nothing to be woken by:
/// the agent's socket is in the node, and a question is one exec of about 65 ms, so three nodes
/// asked five times a second stay well below one core.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How many of a node's last lines an error shows.
const LAST_LINES: usize = 12;

/// How `up` goes about it.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    /// How long to wait until it is ready; none does not wait.
    pub(crate) wait: Option<Duration>,
    /// Leave everything as it is when it fails.
    pub(crate) keep_on_failure: bool,
    /// What is waited for.
    pub(crate) goal: Goal,
    /// How many nodes are made at once.
    pub(crate) parallel: usize,
    /// Files for nodes that are made, put there before they start.
    pub(crate) files: BTreeMap<String, Vec<FileEntry>>,
    /// A folder for what all nodes wrote, when it fails.
    pub(crate) logs: Option<PathBuf>,
}

/// What came of it.
pub(crate) struct Made {
    /// How many nodes were made or started; 0 when nothing had to be done.
    pub(crate) nodes: usize,
    /// The cluster when it was ready; nothing when nobody waited.
    pub(crate) view: Option<View>,
}

/// Something that this run made.
enum Object {
    Container(String),
    Network(String),
    Volume(String),
}

struct Run<'a> {
    engine: &'a Engine,
    wanted: &'a Wanted,
    manner: &'a Manner,
    stop: &'a Stop,
    owner: Owner,
    made: Mutex<Vec<Object>>,
    token: OnceCell<String>,
}

/// Brings the cluster to what is wanted. The caller holds its lock.
///
/// # Errors
/// A conflict, an engine that refuses, agents that do not get ready in time, an interrupt. What
/// this run made is removed then, unless it is to be kept.
pub(crate) async fn up(
    engine: &Engine,
    wanted: &Wanted,
    manner: &Manner,
    stop: &Stop,
    ui: &Ui,
) -> anyhow::Result<Made> {
    let listed = sweep(engine, &wanted.cluster).await?;
    let steps = diff::plan(wanted, &listed).map_err(|c: Conflict| c.into_error(&wanted.cluster))?;
    if steps.is_empty() {
        return Ok(Made { nodes: 0, view: None });
    }
    make(engine, wanted, manner, &steps, &listed, (stop, ui)).await
}

/// Makes nodes that a finished cluster does not have yet. The caller holds its lock.
///
/// # Errors
/// As [`up`]; what was there before stays.
pub(crate) async fn add(
    engine: &Engine,
    wanted: &Wanted,
    manner: &Manner,
    numbers: &[u8],
    watched: (&Stop, &Ui),
) -> anyhow::Result<Made> {
    let listed = look::list(engine).await?;
    let steps: Vec<Step> = numbers.iter().map(|number| Step::Make(*number)).collect();
    make(engine, wanted, manner, &steps, &listed, watched).await
}

/// Waits for something of a cluster, and changes nothing.
///
/// # Errors
/// It is not reached in time.
pub(crate) async fn wait_for(
    engine: &Engine,
    wanted: &Wanted,
    manner: &Manner,
    (stop, ui): (&Stop, &Ui),
) -> anyhow::Result<()> {
    let run = Run::new(engine, wanted, manner, stop);
    match manner.wait {
        Some(wait) => run.ready(wait, &manner.goal, ui).await.map(|_| ()),
        None => Ok(()),
    }
}

async fn make(
    engine: &Engine,
    wanted: &Wanted,
    manner: &Manner,
    steps: &[Step],
    listed: &Listed,
    (stop, ui): (&Stop, &Ui),
) -> anyhow::Result<Made> {
    stop.hold();
    let run = Run::new(engine, wanted, manner, stop);
    match run.all(steps, listed, ui).await {
        Ok(made) => Ok(made),
        Err(failure) if manner.keep_on_failure => {
            // Without the marker the next gc would take it for a leftover.
            run.marker().await?;
            Err(failure)
        }
        Err(failure) => {
            if let Some(folder) = &manner.logs {
                run.keep_logs(folder).await;
            }
            let left = run.undo().await;
            match left.is_empty() {
                true => Err(failure),
                false => Err(failure.context(format!(
                    "{} could not be removed; try cargo xtask cluster gc",
                    left.join(", ")
                ))),
            }
        }
    }
}

/// Removes what a killed run left under this name; gives what is listed then.
pub(crate) async fn sweep(engine: &Engine, cluster: &str) -> anyhow::Result<Listed> {
    let listed = look::list(engine).await?;
    let ours = listed.of(cluster);
    if !gc::left_over(&ours, process::now(), gc::OLDER_THAN, &process::owned) {
        return Ok(listed);
    }
    down::remove(engine, &ours.without_state()).await?;
    Ok(look::list(engine).await?)
}

impl<'a> Run<'a> {
    fn new(engine: &'a Engine, wanted: &'a Wanted, manner: &'a Manner, stop: &'a Stop) -> Self {
        let (owner, made, token) = (process::me(), Mutex::default(), OnceCell::new());
        Run { engine, wanted, manner, stop, owner, made, token }
    }

    async fn all(&self, steps: &[Step], listed: &Listed, ui: &Ui) -> anyhow::Result<Made> {
        let start = Instant::now();
        let place = match listed.of(&self.wanted.cluster).place() {
            Some(place) => place,
            None => self.network().await?,
        };
        ui.line("network", &format!("{}  {}", name::network(&self.wanted.cluster), place.cidr()));
        let (voters, spares): (Vec<&Step>, Vec<&Step>) =
            steps.iter().partition(|step| step.number().is_none_or(|n| n <= self.wanted.voters));
        let count = steps.iter().filter(|step| step.number().is_some()).count();
        let phase = ui.phase("nodes", count as u64);
        let founded = self.manner.goal == Goal::All
            && voters.iter().any(|step| matches!(step, Step::Make(_)));
        self.nodes(&voters, &place, listed, steps, &phase).await?;
        if let Some(wait) = self.manner.wait
            && founded
            && !spares.is_empty()
        {
            // Agents take the first who offer; so that it is the same nodes each time, the others
            // come when the seats are taken.
            self.ready(wait, &Goal::All, &Ui::new(true, true)).await?;
        }
        self.nodes(&spares, &place, listed, steps, &phase).await?;
        drop(phase);
        let seconds = start.elapsed().as_secs_f64();
        ui.line("nodes", &format!("{count} of {count} started  {seconds:.1} s"));
        let view = match self.manner.wait {
            Some(wait) => Some(self.ready(wait, &self.manner.goal, ui).await?),
            None => None,
        };
        self.check()?;
        if !listed.of(&self.wanted.cluster).finished() {
            self.marker().await?;
        }
        self.check()?;
        Ok(Made { nodes: count, view })
    }

    /// Makes or starts nodes. Those under way are let to their end even when one fails, so that all
    /// that was made is known.
    async fn nodes(
        &self,
        wave: &[&Step],
        place: &Place,
        listed: &Listed,
        steps: &[Step],
        phase: &Phase,
    ) -> anyhow::Result<()> {
        let mut nodes = futures_util::stream::iter(wave)
            .map(|step| self.node(step, place, listed, steps))
            .buffer_unordered(self.manner.parallel);
        let mut result = Ok(());
        while let Some(done) = nodes.next().await {
            phase.step();
            if result.is_ok() {
                result = done;
            }
        }
        result
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.stop.requested() { Err(self.stop.error()) } else { Ok(()) }
    }

    fn remember(&self, object: Object) {
        let mut made = self.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        made.push(object);
    }

    /// Makes the network at the first place that is free. The engine has the last word on subnets.
    async fn network(&self) -> anyhow::Result<Place> {
        let _turn = process::turn().await?;
        let listed = look::list(self.engine).await?;
        let cluster = &self.wanted.cluster;
        let cidrs: Vec<String> = listed.networks.iter().flat_map(|n| n.subnets.clone()).collect();
        let taken: Vec<u16> = (listed.networks.iter())
            .filter_map(|n| label::get(&n.labels, label::PORTS).parse().ok())
            .collect();
        let free = |base: &u16| (1..=self.wanted.nodes).all(|n| port_free(base + u16::from(n)));
        let site = &self.wanted.site;
        let stored = listed.of(cluster).stored().1;
        let site = &stored
            .map_or(*site, |place| Site { subnet: Some(place.subnet), ports: Some(place.ports) });
        let blocks = site.ports.map_or_else(|| place::blocks(cluster, &taken), |ports| vec![ports]);
        let ports = blocks.into_iter().find(free).ok_or_else(|| no_ports(site))?;
        let subnets = site.subnet.map_or_else(
            || place::subnets(cluster, &cidrs, self.engine.is_local()),
            |subnet| vec![subnet],
        );
        for subnet in subnets {
            self.check()?;
            let place = Place { subnet, ports };
            let spec = self.wanted.network(&place, &self.owner, process::now());
            match self.engine.create_network(&spec).await {
                Ok(id) => {
                    self.remember(Object::Network(id));
                    return Ok(place);
                }
                Err(failure) if failure.trouble == Trouble::Refused => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(no_subnet(site))
    }

    async fn node(
        &self,
        step: &Step,
        place: &Place,
        listed: &Listed,
        steps: &[Step],
    ) -> anyhow::Result<()> {
        self.check()?;
        let ours = listed.of(&self.wanted.cluster);
        let id = |number: u8| {
            let nodes = ours.nodes();
            let found = nodes.iter().find(|(node, _)| *node == name::node(number));
            found.map(|(_, container)| container.id.clone()).unwrap_or_default()
        };
        match step {
            Step::Start(number) => {
                self.engine.power(&id(*number), Power::Start).await?;
                fault::again(self.engine, &self.wanted.cluster, &[name::node(*number)]).await
            }
            Step::Unpause(number) => Ok(self.engine.power(&id(*number), Power::Unpause).await?),
            Step::Make(number) => {
                // Who comes back with what it held knows the others, and they know it.
                let back = self.wanted.persist && ours.stored().0.contains(&name::node(*number));
                let seeds = if back { Vec::new() } else { seeds(*number, place, steps, &ours) };
                self.make(*number, place, &seeds, back).await?;
                fault::again(self.engine, &self.wanted.cluster, &[name::node(*number)]).await
            }
            Step::Network | Step::Marker => Ok(()),
        }
    }

    async fn make(
        &self,
        number: u8,
        place: &Place,
        seeds: &[String],
        back: bool,
    ) -> anyhow::Result<()> {
        let spec = self.wanted.node(number, place, seeds, &self.owner, process::now());
        if self.wanted.persist && !back {
            let (name, labels) = self.wanted.state(number, place, &self.owner, process::now());
            self.engine.create_volume(&name, &labels).await?;
            self.remember(Object::Volume(name));
        }
        let id = match self.engine.create_container(&spec).await {
            Ok(id) => id,
            // The lock is this user's; another one's `up` of the same name is stopped by the name.
            Err(failure) if failure.trouble == Trouble::Conflict => {
                let text = format!(
                    "container {} was made by someone else meanwhile. Wait, or use another --name.",
                    spec.name
                );
                return Err(Exit::error(Exit::CONFLICT, text));
            }
            Err(failure) => return Err(failure.into()),
        };
        self.remember(Object::Container(id.clone()));
        if let Some(files) = self.manner.files.get(&spec.host) {
            self.engine.upload(&id, "/", files).await?;
        }
        if self.wanted.agent == Agent::Running && !seeds.is_empty() {
            let made = || token::from(self.engine, self.wanted, place, seeds);
            let token = self.stop.race(self.token.get_or_try_init(made)).await?;
            let file = copy::entries(TOKEN, token.as_bytes(), 0o600);
            self.engine.upload(&id, "/", &file).await?;
        }
        self.check()?;
        self.engine.power(&id, Power::Start).await.map_err(|failure| {
            let what = format!("{} does not start: {failure}", spec.host);
            Exit::error(Exit::FAILED, what)
        })
    }

    async fn marker(&self) -> anyhow::Result<()> {
        let (name, labels) = self.wanted.marker(&self.owner, process::now());
        self.engine.create_volume(&name, &labels).await?;
        self.remember(Object::Volume(name));
        Ok(())
    }

    async fn ready(&self, wait: Duration, goal: &Goal, ui: &Ui) -> anyhow::Result<View> {
        let start = Instant::now();
        let phase = ui.phase("quorum", 0);
        loop {
            let round = tokio::time::Instant::now();
            let view = self.stop.race(async { self.view().await }).await?;
            let Some(missing) = view.lacks(goal) else {
                drop(phase);
                if let Some(leader) = view.leader() {
                    let seconds = start.elapsed().as_secs_f64();
                    let seats = view.seats();
                    ui.line("quorum", &format!("{seats}, leader {leader}  {seconds:.1} s"));
                }
                return Ok(view);
            };
            phase.say(&missing);
            let died = |node: &Node| node.ended.is_some() && goal.needs(&node.node);
            let died = view.nodes.iter().any(died);
            if died || start.elapsed() >= wait {
                drop(phase);
                return Err(self.not_ready(&view, &missing, start.elapsed()).await);
            }
            tokio::time::sleep_until(round + ASK_EVERY).await;
        }
    }

    async fn view(&self) -> anyhow::Result<View> {
        let ours = look::cluster(self.engine, &self.wanted.cluster).await?;
        Ok(look::view(self.engine, &self.wanted.cluster, &ours).await)
    }

    async fn not_ready(&self, view: &View, missing: &str, after: Duration) -> anyhow::Error {
        let mut text = format!("not ready after {} s: {missing}.", after.as_secs());
        let kept = match self.manner.keep_on_failure {
            true => "All is kept; remove it with cargo xtask cluster down.",
            false => "Kept nothing; use --keep-on-failure to inspect.",
        };
        let told = view.telling();
        if told.is_empty() {
            text.push_str(&format!(" {kept}"));
        } else {
            let names: Vec<&str> = told.iter().map(|node| node.node.as_str()).collect();
            text.push_str(&format!(" Last lines of {} follow. {kept}", names.join(" and ")));
        }
        for node in told {
            let lines = super::logs::all(self.engine, &node.id).await.unwrap_or_default();
            for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
                text.push_str(&format!("\n{} | {}", node.node, line.text));
            }
        }
        Exit::error(Exit::TIMED_OUT, text)
    }

    /// Writes what each node of the cluster wrote into a file of the folder. What cannot be read or
    /// written is left out: the failure that led here is what is told.
    async fn keep_logs(&self, folder: &Path) {
        let Ok(ours) = look::cluster(self.engine, &self.wanted.cluster).await else { return };
        if std::fs::create_dir_all(folder).is_err() {
            return;
        }
        for (node, container) in ours.nodes() {
            let lines = super::logs::all(self.engine, &container.id).await.unwrap_or_default();
            let text: String = lines.iter().flat_map(|line| [line.text.as_str(), "\n"]).collect();
            drop(std::fs::write(folder.join(format!("{node}.log")), text));
        }
    }

    /// Removes what this run made, last first; gives what could not be removed.
    async fn undo(&self) -> Vec<String> {
        let made: Vec<Object> = {
            let mut made = self.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            made.drain(..).collect()
        };
        let mut left = Vec::new();
        let containers = made.iter().filter_map(|object| match object {
            Object::Container(id) => Some(id),
            _ => None,
        });
        let removed = futures_util::future::join_all(
            containers.map(|id| async move { (id, self.engine.remove_container(id).await) }),
        );
        for (id, done) in removed.await {
            if done.is_err() {
                left.push(format!("container {id}"));
            }
        }
        for object in made.iter().rev() {
            let (what, done) = match object {
                Object::Container(_) => continue,
                Object::Network(id) => {
                    (format!("network {id}"), self.engine.remove_network(id).await)
                }
                Object::Volume(name) => {
                    (format!("volume {name}"), self.engine.remove_volume(name).await)
                }
            };
            if done.is_err() {
                left.push(what);
            }
        }
        left
    }
}

/// Addresses by which a new node finds the cluster: the nodes that are there already; among all new
/// ones the first founds it.
fn seeds(number: u8, place: &Place, steps: &[Step], ours: &Listed) -> Vec<String> {
    let there = ours.nodes();
    let old = there.iter().filter_map(|(node, _)| name::number(node));
    let old: Vec<String> =
        old.filter(|n| !steps.contains(&Step::Make(*n))).map(|n| place.address(n)).collect();
    if !old.is_empty() {
        return old;
    }
    let founder = steps.iter().find_map(|step| match step {
        Step::Make(n) => Some(*n),
        _ => None,
    });
    match founder {
        Some(founder) if founder != number => vec![place.address(founder)],
        _ => Vec::new(),
    }
}

fn no_ports(site: &Site) -> anyhow::Error {
    let text = match site.ports {
        Some(ports) => format!(
            "a port that node n is to get, {ports} plus n, is in use. Pick another --publish-base, \
             or leave it out."
        ),
        None => "no block of 32 free ports between 24000 and 32191 is left".to_owned(),
    };
    Exit::error(Exit::CONFLICT, text)
}

fn no_subnet(site: &Site) -> anyhow::Error {
    let text = match site.subnet {
        Some([a, b, c]) => format!(
            "{a}.{b}.{c}.0/24 overlaps a network that the engine or this machine has. Pick another \
             --subnet, or leave it out."
        ),
        None => {
            "no subnet is left in 10.91.0.0/16. Remove clusters: cargo xtask cluster down --all"
                .to_owned()
        }
    };
    Exit::error(Exit::CONFLICT, text)
}

/// Whether a port of the host's loopback can be published. The engine may be elsewhere; it has the
/// last word.
fn port_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::spec::tests::{PLACE, owner, wanted};
    use super::*;
    use crate::engine::{Container, State};

    #[test]
    fn the_first_of_all_new_nodes_founds_and_a_replaced_one_joins_those_that_are_there() {
        let node = |n: u8| {
            let spec = wanted(3).node(n, &PLACE, &[], &owner(), 0);
            Container {
                id: spec.name.clone(),
                name: spec.name,
                image: spec.image,
                labels: spec.labels,
                state: State::Running,
                created: 0,
            }
        };
        let none = Listed::default();
        let all = [Step::Network, Step::Make(1), Step::Make(2), Step::Make(3)];
        assert_eq!(seeds(1, &PLACE, &all, &none), Vec::<String>::new());
        assert_eq!(seeds(3, &PLACE, &all, &none), ["10.91.12.11"]);
        let two = Listed { containers: vec![node(2), node(3)], ..Listed::default() };
        let first = [Step::Make(1)];
        assert_eq!(seeds(1, &PLACE, &first, &two), ["10.91.12.12", "10.91.12.13"]);
    }
}
