//! A graph as people look at it: resources, what becomes of them, and their order, as plain values
//! with a rendering for each format.
//!
//! Pure: the same graph always gives the same text. Refuses to know where the graph comes from and
//! to start a program that draws.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::graph::{self, EdgeOrigin, Graph, Origin};
use crate::ident::ResourceId;
use crate::spec::Program;

mod dot;
mod layout;
mod mermaid;
mod svg;
mod text;

pub use dot::dot;
pub use mermaid::mermaid;
pub use svg::svg;
pub use text::text;

/// The version of the JSON form. Keys are only ever added.
const VERSION: u32 = 1;

/// A graph to look at. Serialised, it is what `quorate graph --format json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// The version of this form, 1.
    pub v: u32,
    /// The name of the graph.
    pub graph: String,
    /// All resources, in the order of kinds and names.
    pub resources: Vec<Node>,
    /// All edges, in the order of their ends.
    pub edges: Vec<Link>,
}

/// A resource in the picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Kind and name as `kind[name]`; the edges name it so.
    pub id: String,
    /// The kind.
    pub kind: String,
    /// The name, without any export mark.
    pub name: String,
    /// What becomes of it here.
    pub standing: Standing,
    /// Other hosts can collect it.
    pub exported: bool,
    /// The hosts that export it, when it was collected.
    pub from: Vec<String>,
    /// The state in the agent that runs it; null for a file.
    pub state: Option<String>,
}

/// What becomes of a resource on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Applied here, as this host's file says.
    Local,
    /// Applied here, as other hosts export it.
    Collected,
    /// Exported to others and not applied here.
    Hidden,
    /// Named by an edge and not here: it has to be collected first.
    Awaited,
}

/// An edge in the picture: `from` runs first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The id of what runs first.
    pub from: String,
    /// The id of what runs after it.
    pub to: String,
    /// Derived from what the resources manage, in place of written in the file.
    pub automatic: bool,
    /// A change in the first refreshes the second.
    pub notify: bool,
    /// The label in the file.
    pub name: Option<String>,
}

/// The picture of `graph`, which was compiled from `program`. `state` says the state of what runs.
pub fn of(
    program: &Program,
    graph: &Graph,
    state: impl Fn(&ResourceId) -> Option<String>,
) -> Picture {
    let mut nodes: BTreeMap<ResourceId, Node> = BTreeMap::new();
    for (id, vertex) in &graph.vertices {
        let (standing, from) = match &vertex.origin {
            Origin::Local => (Standing::Local, Vec::new()),
            Origin::Collected { from, .. } => {
                (Standing::Collected, from.iter().map(|host| host.as_str().to_owned()).collect())
            }
        };
        nodes.insert(id.clone(), Node { from, state: state(id), ..node(id, standing) });
    }
    for spec in &program.resources {
        if spec.export.is_some() {
            let hidden = || node(&spec.id, Standing::Hidden);
            nodes.entry(spec.id.clone()).or_insert_with(hidden).exported = true;
        }
    }
    let mut edges: BTreeMap<(ResourceId, ResourceId), Link> = BTreeMap::new();
    for ((from, to), edge) in &graph.edges {
        let automatic = edge.origin == EdgeOrigin::Automatic;
        let link = Link { automatic, notify: edge.notify, ..link(from, to, edge.name.clone()) };
        edges.insert((from.clone(), to.clone()), link);
    }
    // What the graph leaves out since one end is not here is what somebody looks for.
    for spec in &program.edges {
        for end in [&spec.from, &spec.to] {
            nodes.entry(end.clone()).or_insert_with(|| node(end, Standing::Awaited));
        }
        let ends = (spec.from.clone(), spec.to.clone());
        let made = || link(&spec.from, &spec.to, spec.name.clone());
        edges.entry(ends).or_insert_with(made).notify |= spec.notify;
    }
    let (resources, edges) = (nodes.into_values().collect(), edges.into_values().collect());
    Picture { v: VERSION, graph: graph.name.clone(), resources, edges }
}

fn node(id: &ResourceId, standing: Standing) -> Node {
    Node {
        id: id.to_string(),
        kind: id.kind().to_owned(),
        name: id.name().to_owned(),
        standing,
        exported: false,
        from: Vec::new(),
        state: None,
    }
}

fn link(from: &ResourceId, to: &ResourceId, name: Option<String>) -> Link {
    Link { from: from.to_string(), to: to.to_string(), automatic: false, notify: false, name }
}

/// An edge by the positions of its ends.
#[derive(Clone, Copy, Debug)]
struct Ends<'a> {
    from: usize,
    to: usize,
    link: &'a Link,
}

impl Picture {
    /// The edges whose ends are both in the picture.
    fn ends(&self) -> Vec<Ends<'_>> {
        let all = self.resources.iter().enumerate();
        let places: BTreeMap<&str, usize> = all.map(|(at, one)| (one.id.as_str(), at)).collect();
        let ends = self.edges.iter().filter_map(|link| {
            let (from, to) = (places.get(link.from.as_str())?, places.get(link.to.as_str())?);
            Some(Ends { from: *from, to: *to, link })
        });
        ends.collect()
    }

    /// For each resource the longest way to it from one that waits for nothing.
    fn ranks(&self) -> Vec<usize> {
        let ends = self.ends();
        graph::ranks(self.resources.len(), ends.iter().map(|edge| (edge.from, edge.to)))
    }
}

impl Node {
    /// What there is to say besides its name, in a few words.
    fn remarks(&self) -> Vec<String> {
        let mut remarks: Vec<String> = self.state.iter().map(|state| plain(state)).collect();
        if !self.from.is_empty() {
            remarks.push(format!("from {}", plain(&self.from.join(", "))));
        }
        match (self.standing, self.exported) {
            (Standing::Hidden, _) => remarks.push("exported, not applied here".to_owned()),
            (Standing::Awaited, _) => remarks.push("not collected yet".to_owned()),
            (_, true) => remarks.push("exported".to_owned()),
            _ => {}
        }
        remarks
    }

    /// It is in the picture without being applied here.
    fn is_absent(&self) -> bool {
        matches!(self.standing, Standing::Hidden | Standing::Awaited)
    }
}

impl Link {
    /// What there is to say about it, in a few words; nothing for an ordinary declared edge.
    fn remarks(&self) -> Vec<&'static str> {
        let all = [(self.automatic, "automatic"), (self.notify, "notify")];
        all.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect()
    }
}

/// A text that can neither drive a terminal nor break a line.
fn plain(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests;
