//! The agent's status as JSON, version 1. Keys are only ever added.

use serde_json::{Value, json};

use super::body::Body;
use super::settings::Input;
use crate::graph::Origin;
use crate::ident::ResourceId;

impl Body {
    /// The answer to a status question.
    pub(super) fn status(&self) -> Value {
        let published = self.published.borrow();
        let exports = self.exports.borrow();
        let messages: Vec<&String> = self.messages.iter().chain(&published.messages).collect();
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
            "resources": self.engine.vertices().map(|one| {
                let id = &one.id.resource;
                let blocked_by: Vec<String> =
                    one.blocked_by.iter().map(|other| other.to_string()).collect();
                json!({"id": id.to_string(), "state": one.state.as_str(), "error": one.error,
                    "blocked_by": blocked_by, "from": self.exporters(id)})
            }).collect::<Vec<_>>(),
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
        }
        status
    }

    /// The hosts that a collected resource comes from; empty for local ones.
    fn exporters(&self, id: &ResourceId) -> Vec<&str> {
        match self.graph.vertices.get(id).map(|vertex| &vertex.origin) {
            Some(Origin::Collected { from }) => from.iter().map(|host| host.as_str()).collect(),
            _ => Vec::new(),
        }
    }
}
