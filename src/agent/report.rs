//! The agent's status and its running graph as JSON, version 1. Keys are only ever added.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::body::Body;
use super::desired;
use super::durable::Durable;
use super::exchange::{self, StoreState};
use super::grants;
use super::settings::Input;
use super::socket::{Request, Topic};
use crate::collect::health::degrades;
use crate::collect::{convergence, offline};
use crate::engine::{Timestamp, VertexView};
use crate::graph::Origin;
use crate::ident::ResourceId;
use crate::kind::Outcome;
use crate::picture;

/// How long all exports may take to be read, before what is known of them is the answer: who asks
/// does not wait much longer.
const READ: Duration = Duration::from_secs(3);

impl Body {
    /// Answers a question; one about all exports once they are read, without waiting here. True
    /// when what is collected has to be looked at again.
    pub(super) fn asked(&self, request: Request) -> bool {
        let Request { topic, name, answer } = request;
        if topic == Topic::AcceptRule {
            let held = name.is_some_and(|rule| self.local.accept(&rule));
            reply(answer, json!({"v": 1, "doubted": held}).to_string());
            return held;
        }
        self.answer_to(topic, answer);
        false
    }

    fn answer_to(&self, topic: Topic, answer: tokio::sync::oneshot::Sender<String>) {
        if topic == Topic::AcceptStore {
            let doubted = self.exports.borrow().doubt.is_some();
            self.reins.accept.send_modify(|count| *count += 1);
            return reply(answer, json!({"v": 1, "doubted": doubted}).to_string());
        }
        if !matches!(topic, Topic::Exports | Topic::Collect) {
            return reply(answer, self.answer(topic));
        }
        let (store, source) = (self.store.clone(), Arc::clone(&self.source));
        let (me, grants) = (self.me.clone(), Arc::clone(&self.grants));
        let (known, collected) = (self.exports.borrow().exports.clone(), self.collected.clone());
        tokio::spawn(async move {
            // What is known of a store that does not answer is better than nothing.
            let exports = match timeout(READ, exchange::read_all(&*store)).await {
                Ok(Ok(exports)) => exports,
                _ => known,
            };
            reply(
                answer,
                match topic {
                    Topic::Exports => offline::write(&exports),
                    _ => {
                        let site = grants::site(&me, &grants);
                        json!(desired::explain(&source.program, &exports, &collected, &site))
                            .to_string()
                    }
                },
            );
        });
    }

    /// The answer to a question about this.
    fn answer(&self, topic: Topic) -> String {
        match topic {
            Topic::Graph => self.picture().to_string(),
            Topic::Metrics => self.metrics(),
            _ => self.status().to_string(),
        }
    }

    /// The answer to a status question.
    fn status(&self) -> Value {
        let published = self.published.borrow();
        let exports = self.exports.borrow();
        let lost = self.durable.as_ref().and_then(Durable::failure);
        let messages: Vec<&String> = self
            .messages
            .iter()
            .chain(&published.messages)
            .chain(lost)
            .chain(&exports.doubt)
            .collect();
        let held = messages.iter().filter(|one| degrades(one)).count();
        let degraded = held > 0 || exports.doubt.is_some();
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
            // How many exports the rules were asked about last: those that had changed.
            "judged": self.local.judged(),
            "messages": messages,
            // Of what hosts exchange; resources say for themselves how they are.
            "health": if degraded { "degraded" } else { "ok" },
            "held": held,
            "store": {
                "state": exports.state.as_str(),
                "revision": exports.revision,
                // Null while it is live, and when nothing was ever known.
                "stale_since": exports.since,
            },
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

/// Answers who may have gone away.
fn reply(answer: tokio::sync::oneshot::Sender<String>, text: String) {
    if answer.send(text).is_err() {
        tracing::debug!("a client went away before its answer");
    }
}
