//! The agent's status and its running graph as JSON, version 1. Keys are only ever added.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::body::Body;
use super::desired;
use super::durable::Durable;
use super::exchange::StoreState;
use super::settings::Input;
use super::socket::Topic;
use crate::collect::{convergence, offline};
use crate::engine::{Timestamp, VertexView};
use crate::graph::Origin;
use crate::ident::ResourceId;
use crate::kind::Outcome;
use crate::picture;

impl Body {
    /// The answer to a question about this.
    pub(super) fn answer(&self, topic: Topic) -> String {
        match topic {
            Topic::Status => self.status().to_string(),
            Topic::Graph => self.picture().to_string(),
            Topic::Metrics => self.metrics(),
            Topic::Exports => offline::write(&self.exports.borrow().exports),
            Topic::Collect => self.explained(),
        }
    }

    /// What became of each live export here.
    fn explained(&self) -> String {
        let exports = self.exports.borrow().exports.clone();
        let program = &self.source.program;
        json!(desired::explain(program, &exports, &self.collected, &self.site())).to_string()
    }

    /// The answer to a status question.
    fn status(&self) -> Value {
        let published = self.published.borrow();
        let exports = self.exports.borrow();
        let lost = self.durable.as_ref().and_then(Durable::failure);
        let messages: Vec<&String> =
            self.messages.iter().chain(&published.messages).chain(lost).collect();
        let mut status = json!({
            "v": 1,
            "host": self.settings.host.as_str(),
            "instance": self.instance,
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "state_dir": &*self.state_dir,
            "mode": if self.settings.cluster.is_some() { "cluster" } else { "standalone" },
            "role": "standalone",
            "reason": null,
            "cluster": null,
            "graph": {
                "name": self.graph.name,
                "file": match &self.settings.input {
                    Input::Yaml(path) => json!(path),
                    Input::Empty => Value::Null,
                },
                "generation": self.generation,
                "error": self.graph_error,
            },
            "converged": self.settled(),
            "resources":
                self.engine.vertices().map(|one| self.resource(&one)).collect::<Vec<_>>(),
            "exports": published.exports,
            "collected": self.collected.len(),
            "messages": messages,
            "store": {"state": exports.state.as_str(), "revision": exports.revision},
        });
        if let Some(cluster) = &self.cluster
            && let Ok(Value::Object(own)) = serde_json::to_value(&*cluster.borrow())
            && let Some(object) = status.as_object_mut()
        {
            object.extend(own);
            // Of itself a host knows better than the store, which may hold an earlier run's word.
            let mut heard = self.heard.borrow().clone();
            heard.extend(self.say.borrow().clone().map(|said| (self.settings.host.clone(), said)));
            let missing = convergence::missing(&exports.hosts, &heard, &self.seen);
            let live = exports.state == StoreState::Live && !exports.hosts.is_empty();
            object.insert("cluster_converged".into(), json!(live && missing.is_empty()));
            object.insert("cluster_missing".into(), json!(missing));
        }
        status
    }

    /// One resource of the status.
    fn resource(&self, one: &VertexView<'_>) -> Value {
        let id = &one.id.resource;
        let blocked_by: Vec<String> =
            one.blocked_by.iter().map(|other| other.to_string()).collect();
        let outcome = one.outcome.and_then(|outcome| match outcome {
            Outcome::Unchanged => None,
            Outcome::Changed(what) | Outcome::WouldChange(what) => Some(what),
        });
        json!({
            "id": id.to_string(),
            "state": one.state.as_str(),
            "error": one.error,
            "blocked_by": blocked_by,
            // Empty for what this host's own file wants.
            "from": self.exporters(id),
            // What its last run did, or would have done.
            "outcome": outcome,
            "since_ms": self.unix_ms(one.since),
            "next_retry_ms": one.retry.map(|next| self.unix_ms(next.at)),
            // With the next one; null also when there is no end of them.
            "retries_left": one.retry.and_then(|next| next.left),
        })
    }

    /// A moment in Unix time: a status changes when something does, and not with the clock.
    fn unix_ms(&self, at: Timestamp) -> u64 {
        u64::try_from(self.born_at.saturating_add(at.0).as_millis()).unwrap_or(u64::MAX)
    }

    /// The answer to a question for the graph.
    fn picture(&self) -> Value {
        let states: BTreeMap<&ResourceId, &str> =
            self.engine.vertices().map(|one| (&one.id.resource, one.state.as_str())).collect();
        let state = |id: &ResourceId| states.get(id).map(|state| (*state).to_owned());
        let picture = picture::of(&self.source.program, &self.graph, state);
        serde_json::to_value(picture).unwrap_or_else(|why| json!({"error": why.to_string()}))
    }

    /// The hosts that a collected resource comes from; empty for local ones.
    fn exporters(&self, id: &ResourceId) -> Vec<&str> {
        match self.graph.vertices.get(id).map(|vertex| &vertex.origin) {
            Some(Origin::Collected { from, .. }) => from.iter().map(|host| host.as_str()).collect(),
            _ => Vec::new(),
        }
    }
}
