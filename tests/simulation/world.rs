//! The world of the simulated agents: their disks, the way to the store, time, and bad luck. All of
//! it follows from one seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt::Write as _;

use quorate::collect::keys;
use quorate::engine::{Event, RunId, VertexId};
use quorate::graph::Vertex;
use quorate::ident::HostName;
use quorate::kind::{Outcome, str_field};
use quorate::store::{Batch, Change, Snapshot};

use super::agent::{Agent, Claim, Deed, Wish, claimed};
use super::store::Store;

/// Faults happen until then.
const TROUBLE: u64 = 120_000;
/// Then all has time to come to rest: leases end, waits are over.
const END: u64 = 300_000;

/// A small random number generator (splitmix64): the same numbers for a seed everywhere.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A host: what outlives its agent.
struct Host {
    name: HostName,
    /// The content of each file; directories end in a slash and hold nothing.
    disk: BTreeMap<String, String>,
    /// Which text its file has.
    version: u64,
    agent: Option<Agent>,
    /// The number of its agent; what concerns an earlier one is dropped.
    boot: u64,
    /// The number of its connection; likewise.
    link: u64,
    connected: bool,
    /// News arrive in order.
    arrival: u64,
    refreshed: u64,
    /// Something may have to be written.
    unwritten: bool,
    cancelled: Vec<RunId>,
}

/// What happens at some time on a host.
enum Happening {
    Deliver { link: u64, news: News },
    Wake,
    Armed(VertexId),
    RunEnds { run: RunId },
    Touch(VertexId),
    Publish,
    Start,
    Connect,
    Trouble,
}

enum News {
    All(Snapshot, Snapshot),
    Some(Batch),
}

/// Everything.
pub(crate) struct World {
    dice: Dice,
    now: u64,
    store: Store,
    hosts: Vec<Host>,
    /// What happens when, to whom, in the order of being found out.
    agenda: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: BTreeMap<u64, (usize, u64, Happening)>,
    count: u64,
    /// A line for each thing that happened.
    pub(crate) trace: String,
}

impl World {
    /// Lives the whole life of this seed.
    pub(crate) fn live(seed: u64) -> Result<World, String> {
        let mut dice = Dice(seed);
        let hosts = 2 + dice.below(3) as usize;
        let mut world = World {
            dice,
            now: 0,
            store: Store::default(),
            hosts: (0..hosts).map(host).collect(),
            agenda: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            count: 0,
            trace: String::new(),
        };
        for at in 0..hosts {
            let (start, trouble) = (world.dice.below(5_000), world.dice.below(TROUBLE));
            world.plan(start, at, Happening::Start);
            for k in 0..6 {
                world.plan((trouble + k * 20_000) % TROUBLE, at, Happening::Trouble);
            }
        }
        while let Some(Reverse((time, number))) = world.agenda.pop() {
            if time > END {
                break;
            }
            world.now = time;
            let ended = world.store.expire(time);
            world.spread(ended);
            let Some((at, boot, happening)) = world.happenings.remove(&number) else { continue };
            world
                .happen(at, boot, happening)
                .map_err(|error| format!("{} ms, {}: {error}", world.now, world.hosts[at].name))?;
        }
        world.judge()?;
        Ok(world)
    }

    fn plan(&mut self, wait: u64, at: usize, happening: Happening) {
        self.count += 1;
        self.agenda.push(Reverse((self.now + wait, self.count)));
        self.happenings.insert(self.count, (at, self.hosts[at].boot, happening));
    }

    fn happen(&mut self, at: usize, boot: u64, happening: Happening) -> Result<(), String> {
        let host = &mut self.hosts[at];
        match happening {
            Happening::Start => return self.start(at),
            Happening::Trouble => return self.trouble(at),
            Happening::Connect => {
                self.connect(at);
                return Ok(());
            }
            _ if host.boot != boot => return Ok(()),
            _ => {}
        }
        let Some(agent) = &mut host.agent else { return Ok(()) };
        match happening {
            Happening::Deliver { link, news } => {
                if link != host.link {
                    return Ok(());
                }
                host.unwritten = true;
                let differs = match news {
                    News::All(exports, presence) => agent.reset(exports, presence),
                    News::Some(batch) => agent.change(batch),
                };
                if differs {
                    let event = agent.rebuild();
                    self.feed(at, event)?;
                }
                Ok(())
            }
            Happening::Wake => self.feed(at, Event::Due),
            Happening::Armed(vertex) => {
                agent.armed.insert(vertex.clone());
                self.feed(at, Event::Watching { vertex, error: None })
            }
            Happening::Touch(vertex) => self.feed(at, Event::Touched(vertex)),
            Happening::RunEnds { run } => self.run_ends(at, run),
            Happening::Publish => {
                self.publish(at);
                self.plan(1_000, at, Happening::Publish);
                Ok(())
            }
            Happening::Start | Happening::Trouble | Happening::Connect => Ok(()),
        }
    }

    fn start(&mut self, at: usize) -> Result<(), String> {
        let now = self.now;
        let host = &mut self.hosts[at];
        if host.agent.is_some() {
            return Ok(());
        }
        host.boot += 1;
        host.cancelled.clear();
        let mut agent = Agent::new(&host.name, host.boot, &text(at, host.version), now);
        let event = agent.rebuild();
        host.agent = Some(agent);
        self.note(at, "starts");
        self.feed(at, event)?;
        self.connect(at);
        self.plan(0, at, Happening::Publish);
        Ok(())
    }

    /// Follows the store from now on.
    fn connect(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        host.connected = true;
        host.link += 1;
        host.arrival = self.now;
        let exports = self.store.range(&keys::exports_prefix());
        let presence = self.store.range(&keys::presence_prefix());
        self.deliver(at, News::All(exports, presence));
    }

    /// Sends news on their way; they arrive in order.
    fn deliver(&mut self, at: usize, news: News) {
        let delay = if self.dice.one_in(10) { 500 } else { 20 };
        let host = &mut self.hosts[at];
        let arrival = (self.now + self.dice.below(delay)).max(host.arrival);
        host.arrival = arrival;
        let link = host.link;
        self.plan(arrival - self.now, at, Happening::Deliver { link, news });
    }

    /// Everybody who is connected hears of a change.
    fn spread(&mut self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let revision = self.store.revision();
        for at in 0..self.hosts.len() {
            if self.hosts[at].connected {
                let changes = changes.clone();
                self.deliver(at, News::Some(Batch { revision, changes }));
            }
        }
    }

    fn trouble(&mut self, at: usize) -> Result<(), String> {
        let kind = self.dice.below(5);
        let long = self.dice.one_in(3);
        let wait = self.dice.below(if long { 90_000 } else { 10_000 });
        self.note(at, &format!("trouble {kind} for {wait} ms"));
        let wait = wait.min(TROUBLE.saturating_sub(self.now));
        let host = &mut self.hosts[at];
        match kind {
            0 => {
                host.agent = None;
                (host.connected, host.link) = (false, host.link + 1);
                self.plan(wait, at, Happening::Start);
            }
            1 => {
                (host.connected, host.link) = (false, host.link + 1);
                if let Some(agent) = &mut host.agent {
                    agent.lost();
                }
                self.plan(wait, at, Happening::Connect);
            }
            2 => {
                (host.version, host.unwritten) = (host.version + 1, true);
                let text = text(at, host.version);
                if let Some(agent) = &mut host.agent {
                    agent.edit(&text);
                    let event = agent.rebuild();
                    return self.feed(at, event);
                }
            }
            _ => {
                let paths: Vec<String> = host.disk.keys().cloned().collect();
                let Some(path) = paths.get(self.dice.below(paths.len().max(1) as u64) as usize)
                else {
                    return Ok(());
                };
                self.hosts[at].disk.retain(|other, _| !other.starts_with(path));
                self.stir(at, path);
            }
        }
        Ok(())
    }

    /// Whoever watches this path, or something below it, hears of it.
    fn stir(&mut self, at: usize, path: &str) {
        let Some(agent) = &self.hosts[at].agent else { return };
        let mut touched = Vec::new();
        for vertex in &agent.armed {
            let managed = agent.vertex(vertex).map(path_of);
            let polled = agent.vertex(vertex).is_some_and(|one| one.meta.poll.is_some());
            if !polled && managed.is_some_and(|managed| managed.starts_with(path)) {
                touched.push(vertex.clone());
            }
        }
        for vertex in touched {
            let delay = self.dice.below(10);
            self.plan(delay, at, Happening::Touch(vertex));
        }
    }

    fn feed(&mut self, at: usize, event: Event) -> Result<(), String> {
        let now = self.now;
        let Some(agent) = &mut self.hosts[at].agent else { return Ok(()) };
        for deed in agent.feed(now, event)? {
            match deed {
                Deed::Arm(vertex) => {
                    let delay = self.dice.below(5);
                    self.plan(delay, at, Happening::Armed(vertex));
                }
                Deed::Run(vertex, run) => {
                    self.note(at, &format!("runs {vertex}"));
                    let slow = self.now < TROUBLE && self.dice.one_in(10);
                    let took = self.dice.below(if slow { 3_000 } else { 50 });
                    self.plan(took, at, Happening::RunEnds { run });
                }
                Deed::Cancel(run) => {
                    self.hosts[at].cancelled.push(run);
                    self.plan(5, at, Happening::RunEnds { run });
                }
                Deed::Wake(time) => self.plan(time.saturating_sub(now), at, Happening::Wake),
            }
        }
        Ok(())
    }

    /// Looks at the disk and makes it right; a run that is cancelled gives up.
    fn run_ends(&mut self, at: usize, run: RunId) -> Result<(), String> {
        let unlucky = self.now < TROUBLE && self.dice.one_in(10);
        let host = &mut self.hosts[at];
        let Some(agent) = &mut host.agent else { return Ok(()) };
        let Some(vertex) = agent.flights.get(&run).cloned() else { return Ok(()) };
        let mut made = None;
        let result = match agent.vertex(&vertex) {
            _ if host.cancelled.contains(&run) => Err("given up".to_owned()),
            // What left the graph concerns nobody.
            None => Ok(Outcome::Unchanged),
            Some(one) if unlucky && one.meta.retry == quorate::spec::Retry::Forever => {
                Err("bad luck".to_owned())
            }
            Some(one) => {
                let path = path_of(one);
                let content = str_field(&one.fields, "content").unwrap_or_default();
                let parent = path.trim_end_matches('/').rsplit_once('/').map_or("", |(up, _)| up);
                if !parent.is_empty() && !host.disk.contains_key(&format!("{parent}/")) {
                    Err(format!("{parent} is missing"))
                } else if host.disk.get(&path).is_some_and(|there| there == content) {
                    Ok(Outcome::Unchanged)
                } else {
                    host.disk.insert(path.clone(), content.to_owned());
                    made = Some(path);
                    Ok(Outcome::Changed("made right".to_owned()))
                }
            }
        };
        let event = agent.ended(run, result);
        if let Some(path) = made {
            self.stir(at, &path);
        }
        match event {
            Some(event) => self.feed(at, event),
            None => Ok(()),
        }
    }

    /// The publishing half: keeps the lease alive and writes what has to be written. Requests and
    /// answers get lost.
    fn publish(&mut self, at: usize) {
        let now = self.now;
        let lucky = now >= TROUBLE || !self.dice.one_in(8);
        let host = &mut self.hosts[at];
        let Some(agent) = host.agent.as_mut().filter(|_| host.connected && lucky) else { return };
        if let Some(lease) = *agent.lease()
            && now >= host.refreshed + 20_000
        {
            host.refreshed = now;
            if !self.store.refresh(lease, now) {
                (*agent.lease(), host.unwritten) = (None, true);
            }
        }
        if !host.unwritten {
            return;
        }
        let Some(Wish { mut txns, claim }) = agent.publish() else { return };
        host.unwritten = !txns.is_empty();
        if let (Some(claim), Some(last)) = (claim, txns.last_mut()) {
            last.then.push(bound(agent, &mut self.store, claim, now));
            host.refreshed = now;
        }
        for txn in txns {
            let fate = if now < TROUBLE { self.dice.below(10) } else { 9 };
            if fate == 0 {
                return;
            }
            let (committed, changes) = self.store.txn(txn);
            self.spread(changes);
            let Some(agent) = self.hosts[at].agent.as_mut() else { return };
            if fate == 1 || !committed.applied {
                return;
            }
            agent.wrote(committed.revision);
        }
    }

    fn note(&mut self, at: usize, what: &str) {
        writeln!(self.trace, "{} {} {what}", self.now, self.hosts[at].name).expect("a string");
    }

    /// At the end everything is as the files say, everywhere.
    fn judge(&self) -> Result<(), String> {
        for (at, host) in self.hosts.iter().enumerate() {
            let agent = host.agent.as_ref().ok_or(format!("{} does not run", host.name))?;
            let summary = agent.engine.summary();
            if !summary.is_clean() {
                return Err(format!("{}: {summary:?}", host.name));
            }
            let recent = agent.converged.is_some_and(|time| time + 30_000 > END);
            if !recent {
                return Err(format!("{} is not converged: {summary:?}", host.name));
            }
            let mut expected = own_files(at, host.version);
            for (other, exporter) in self.hosts.iter().enumerate() {
                expected.extend(
                    exports(other, exporter.version)
                        .map(|(name, content)| (format!("/in/{name}"), content)),
                );
            }
            for (path, content) in &expected {
                if host.disk.get(path) != Some(content) {
                    let is = host.disk.get(path);
                    return Err(format!("{}: {path} is {is:?}, not {content:?}", host.name));
                }
            }
            // The directories, which hold nothing.
            let vertices = expected.len() + 2;
            if agent.graph.vertices.len() != vertices {
                let ids: Vec<_> = agent.graph.vertices.keys().collect();
                return Err(format!("{}: {ids:?} are not {vertices}", host.name));
            }
        }
        Ok(())
    }
}

/// The presence bound to the lease at hand, or to a new one.
fn bound(agent: &mut Agent, store: &mut Store, claim: Claim, now: u64) -> quorate::store::Op {
    let lease = agent.lease().filter(|lease| store.refresh(*lease, now));
    let lease = lease.unwrap_or_else(|| store.grant(now));
    *agent.lease() = Some(lease);
    claimed(claim, lease)
}

fn host(at: usize) -> Host {
    Host {
        name: HostName::parse(&format!("h{at}")).expect("a name"),
        disk: BTreeMap::new(),
        version: 0,
        agent: None,
        boot: 0,
        link: 0,
        connected: false,
        arrival: 0,
        refreshed: 0,
        unwritten: true,
        cancelled: Vec::new(),
    }
}

fn path_of(vertex: &Vertex) -> String {
    let hints = vertex.resource.hints();
    let path = hints.path.expect("files have a path").display().to_string();
    if hints.directory { path + "/" } else { path }
}

/// What a host exports: names and contents.
fn exports(at: usize, version: u64) -> impl Iterator<Item = (String, String)> {
    let own = move |n| (format!("h{at}-{n}"), format!("version {version}"));
    let common = ("common".to_owned(), "all say the same".to_owned());
    (0..1 + version % 3).map(own).chain([common])
}

fn own_files(at: usize, version: u64) -> BTreeMap<String, String> {
    let one = |n| (format!("/own/{n}"), format!("h{at}, version {version}"));
    (0..3).map(one).collect()
}

/// The graph file of a host.
fn text(at: usize, version: u64) -> String {
    const METAS: [&str; 5] = [
        "{retry: -1, delay: 100}",
        "{retry: -1, limit: 5, burst: 2}",
        "{retry: -1, poll: 7}",
        "{retry: -1, sema: [disk]}",
        "{retry: -1, timeout: 1500, rewatch: true}",
    ];
    let meta = |n: u64| METAS[((version + at as u64 + n) % 5) as usize];
    let mut text = String::from("graph: site\nresources:\n  file:\n");
    for (n, name) in ["/in/", "/own/"].into_iter().enumerate() {
        let meta = meta(n as u64);
        writeln!(text, "  - {{name: {name}, state: exists, meta: {meta}}}").expect("a string");
    }
    for (n, (path, content)) in own_files(at, version).into_iter().enumerate() {
        let meta = meta(n as u64 + 2);
        writeln!(text, "  - {{name: {path}, content: '{content}', meta: {meta}}}").expect("one");
    }
    for (name, content) in exports(at, version) {
        writeln!(text, "  - {{name: '@@/exp/{name}', content: '{content}'}}").expect("one");
    }
    text + "collect:\n- {kind: file, pattern: /in/}\n"
}
