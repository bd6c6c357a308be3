//! A world in a few lines, for tests: it arms watches, keeps runs until a test lets them finish,
//! and remembers every command. Graphs are written as text.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::super::{Command, Engine, Event, Options, RunId, State, Timestamp, VertexId};
use crate::graph::{Edge, EdgeOrigin, Graph, Origin, Vertex};
use crate::ident::ResourceId;
use crate::kind::{Context, Outcome, Resource, Watch};
use crate::spec::{Fields, Limit, Meta, Receive, Retry, Semaphore, Value};

/// A resource that only says whether its events count as changes.
#[derive(Debug)]
struct Double {
    ticks: bool,
}

#[async_trait]
impl Resource for Double {
    fn watches(&self) -> Vec<Watch> {
        Vec::new()
    }
    fn event_is_change(&self) -> bool {
        self.ticks
    }
    async fn run(&self, _: &Context) -> Result<Outcome, String> {
        Ok(Outcome::Unchanged)
    }
}

/// A vertex of a kind of its own: `version` stands for its fields.
pub(super) fn vertex(name: &str, version: i64, meta: Meta, ticks: bool) -> Vertex {
    Vertex {
        id: id(name),
        fields: Fields::from([("version".to_owned(), Value::Int(version))]),
        meta: Arc::new(meta),
        receives: BTreeMap::new(),
        origin: Origin::Local,
        resource: Arc::new(Double { ticks }),
    }
}

pub(super) fn edge(notify: bool) -> Edge {
    Edge { notify, origin: EdgeOrigin::Declared, name: None }
}

pub(super) fn id(name: &str) -> ResourceId {
    ResourceId::new("t", name)
}

/// Has `to` receive what `from` sends.
pub(super) fn receive(graph: &mut Graph, from: &str, to: &str) {
    graph.edges.entry((id(from), id(to))).or_insert(edge(false));
    let receive = Receive { from: id(from), key: "out".to_owned() };
    let receiver = Arc::make_mut(graph.vertices.get_mut(&id(to)).expect("it is there"));
    receiver.receives.insert("in".to_owned(), receive);
}

/// What is sent: a number.
pub(super) fn sent(number: i64) -> Fields {
    Fields::from([("out".to_owned(), Value::Int(number))])
}

/// A graph of words: `a` a vertex, `a=2` one with other fields, `a!` one that is noop, `a*` one
/// whose events count as changes, `a>b` an edge, `a>>b` one that notifies, `b<a` an edge by which
/// b receives. `a@retry/3,delay/500` is a vertex with meta parameters, times in milliseconds.
pub(super) fn graph(text: &str) -> Graph {
    let mut graph = Graph::default();
    let mut receivers = Vec::new();
    for word in text.split_whitespace() {
        if let Some((to, from)) = word.split_once('<') {
            receivers.push((from, to));
            continue;
        }
        if let Some((from, to)) = word.split_once('>') {
            let (to, notify) = (to.trim_start_matches('>'), to.starts_with('>'));
            graph.edges.insert((id(from), id(to)), edge(notify));
            continue;
        }
        let (word, metas) = word.split_once('@').unwrap_or((word, ""));
        let (name, version) = word.split_once('=').unwrap_or((word, "1"));
        let bare = name.trim_end_matches(['!', '*']);
        let version = version.parse().unwrap();
        let made = vertex(bare, version, meta(metas, name.contains('!')), name.contains('*'));
        graph.vertices.insert(id(bare), Arc::new(made));
    }
    for (from, to) in receivers {
        receive(&mut graph, from, to);
    }
    graph
}

fn meta(text: &str, noop: bool) -> Meta {
    let mut meta = Meta { noop, ..Meta::default() };
    let millis = |text: &str| Duration::from_millis(text.parse().unwrap());
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let (key, value) = word.split_once('/').unwrap_or((word, ""));
        match key {
            "retry" => meta.retry = Retry::Times(value.parse().unwrap()),
            "forever" => meta.retry = Retry::Forever,
            "keep" => meta.retryreset = false,
            "delay" => meta.delay = millis(value),
            "poll" => meta.poll = Some(millis(value)),
            "limit" => {
                let (every, burst) = value.split_once('/').unwrap();
                let (every, burst) = (millis(every), burst.parse().unwrap());
                meta.limit = Some(Limit { every, burst });
            }
            "sema" => meta.hold(Semaphore::parse(value).unwrap()),
            "rewatch" => meta.rewatch = true,
            "timeout" => meta.timeout = Some(millis(value)),
            other => panic!("{other}"),
        }
    }
    meta
}

/// Answers for the shell around an engine.
pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) now: Timestamp,
    /// Watches that are answered as soon as they are asked for.
    pub(super) arms: bool,
    /// The newest generation of each resource that was watched.
    pub(super) watched: BTreeMap<String, VertexId>,
    /// Runs that have not been answered, by the name of the resource.
    pub(super) runs: BTreeMap<String, (VertexId, RunId)>,
    /// What was commanded since it was last looked at, in short.
    said: Vec<String>,
}

impl World {
    /// A world that calls itself converged after one second.
    pub(super) fn new() -> Self {
        World {
            engine: Engine::new(Options { converged_after: Some(Duration::from_secs(1)) }),
            now: Timestamp::default(),
            arms: true,
            watched: BTreeMap::new(),
            runs: BTreeMap::new(),
            said: Vec::new(),
        }
    }

    /// A world in which this graph has run, and whatever had to be said was said.
    pub(super) fn settled(text: &str) -> Self {
        let mut world = World::new();
        world.graph(text);
        world.finish_all();
        world.said.clear();
        world
    }

    pub(super) fn send(&mut self, event: Event) {
        let mut answers = Vec::new();
        for command in self.engine.step(self.now, event) {
            self.said.push(short(&command));
            match command {
                Command::Watch(vertex) => {
                    self.watched.insert(vertex.resource.name().to_owned(), vertex.clone());
                    answers.push(Event::Watching { vertex, error: None });
                }
                Command::Run { vertex, run, .. } => {
                    let name = vertex.resource.name().to_owned();
                    assert!(self.runs.insert(name, (vertex, run)).is_none(), "one run at a time");
                }
                _ => {}
            }
        }
        for answer in answers.into_iter().filter(|_| self.arms).collect::<Vec<_>>() {
            self.send(answer);
        }
    }

    pub(super) fn graph(&mut self, text: &str) {
        self.send(Event::Graph(Arc::new(graph(text))));
    }

    pub(super) fn touch(&mut self, name: &str) {
        self.send(Event::Touched(self.watched[name].clone()));
    }

    pub(super) fn watching(&mut self, name: &str, error: Option<&str>) {
        let vertex = self.watched[name].clone();
        self.send(Event::Watching { vertex, error: error.map(str::to_owned) });
    }

    pub(super) fn finish(&mut self, name: &str, result: Result<Outcome, String>) {
        self.end(name, result, Fields::new());
    }

    fn end(&mut self, name: &str, result: Result<Outcome, String>, sent: Fields) {
        let (vertex, run) = self.runs.remove(name).unwrap_or_else(|| panic!("{name} runs"));
        self.send(Event::Finished { vertex, run, result, sent });
    }

    /// Finishes well and sends this number.
    pub(super) fn sends(&mut self, name: &str, number: i64) {
        self.end(name, Ok(Outcome::Unchanged), sent(number));
    }

    pub(super) fn unchanged(&mut self, name: &str) {
        self.finish(name, Ok(Outcome::Unchanged));
    }

    pub(super) fn changed(&mut self, name: &str) {
        self.finish(name, Ok(Outcome::Changed("made right".into())));
    }

    pub(super) fn would_change(&mut self, name: &str) {
        self.finish(name, Ok(Outcome::WouldChange("would be made right".into())));
    }

    pub(super) fn fails(&mut self, name: &str) {
        self.finish(name, Err("out of order".into()));
    }

    /// Lets everything finish well until nothing runs.
    pub(super) fn finish_all(&mut self) {
        while let Some(name) = self.runs.keys().next().cloned() {
            self.unchanged(&name);
        }
    }

    /// Lets so many milliseconds pass and sends what is due.
    pub(super) fn pass(&mut self, millis: u64) {
        self.now = self.now.after(Duration::from_millis(millis));
        self.send(Event::Due);
    }

    /// What was commanded since the last call of this or of `timing`, without what is about time.
    pub(super) fn said(&mut self) -> String {
        self.take(|word| !is_about_time(word))
    }

    /// The part about time of what was commanded since the last call of this or of `said`.
    pub(super) fn timing(&mut self) -> String {
        self.take(is_about_time)
    }

    fn take(&mut self, wanted: fn(&str) -> bool) -> String {
        let mut words = std::mem::take(&mut self.said);
        words.retain(|word| wanted(word));
        words.join(" ")
    }

    /// The states of all vertices: `a:ok b:failed`.
    pub(super) fn states(&self) -> String {
        let view = |view: super::super::VertexView<'_>| {
            format!("{}:{}", view.id.resource.name(), view.state)
        };
        self.engine.vertices().map(view).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn state(&self, name: &str) -> State {
        let mut views = self.engine.vertices();
        views.find(|view| view.id.resource == id(name)).expect("it is in the graph").state
    }
}

fn is_about_time(word: &str) -> bool {
    word.starts_with("wake:") || word.starts_with("converged:")
}

/// A command in short: `run:a`, `refresh:a` for a run with a refresh, `run:a(1)` for one that
/// receives.
fn short(command: &Command) -> String {
    match command {
        Command::Watch(vertex) => format!("watch:{}", vertex.resource.name()),
        Command::Unwatch(vertex) => format!("unwatch:{}", vertex.resource.name()),
        Command::Run { vertex, refresh, received, .. } => {
            let what = if *refresh { "refresh" } else { "run" };
            let with = match received.get("in") {
                Some(Value::Int(number)) => format!("({number})"),
                _ => String::new(),
            };
            format!("{what}:{}{with}", vertex.resource.name())
        }
        Command::Cancel { vertex, .. } => format!("cancel:{}", vertex.resource.name()),
        Command::WakeAt(at) => format!("wake:{}", at.0.as_millis()),
        Command::Converged(converged) => format!("converged:{converged}"),
        Command::Stopped => "stopped".to_owned(),
    }
}
