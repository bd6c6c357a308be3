//! Resources whose fields come from others: built anew by their kind when another value was sent.
//!
//! Refuses to decide when: the engine says with each run what is received.

use std::collections::HashMap;
use std::sync::Arc;

use crate::engine::VertexId;
use crate::graph::Vertex;
use crate::kind::{self, FieldError, Resource};
use crate::spec::{Fields, Value};

/// What was built, and of which received values.
struct Built {
    received: Fields,
    result: Result<Arc<dyn Resource>, String>,
}

/// All resources that received something.
#[derive(Default)]
pub(super) struct Receivers {
    built: HashMap<VertexId, Built>,
}

/// What a run of a vertex takes.
pub(super) struct Found {
    /// The resource, or why the kind makes none of the values.
    pub(super) result: Result<Arc<dyn Resource>, String>,
    /// It watches something else than before.
    pub(super) rearm: bool,
}

impl Receivers {
    /// The resource of a vertex with these values for its fields.
    pub(super) fn resource(&mut self, id: &VertexId, vertex: &Vertex, received: Fields) -> Found {
        if let Some(waiting) = waiting(vertex, &received) {
            return Found { result: Ok(waiting), rearm: false };
        }
        let before = self.built.get(id);
        if received.is_empty() && before.is_none() {
            return Found { result: Ok(vertex.resource.clone()), rearm: false };
        }
        if let Some(before) = before.filter(|before| before.received == received) {
            return Found { result: before.result.clone(), rearm: false };
        }
        // What was armed last: a refused value left the watch as it was.
        let armed = before.map_or(Some(&vertex.resource), |before| before.result.as_ref().ok());
        let watched = armed.map(|resource| resource.watches());
        let mut fields = vertex.fields.clone();
        fields.extend(received.iter().map(|(field, value)| (field.to_owned(), value.clone())));
        let result = build(vertex, &fields, &received);
        let rearm = result.as_ref().is_ok_and(|new| Some(new.watches()) != watched);
        let found = Found { result: result.clone(), rearm };
        self.built.insert(id.clone(), Built { received, result });
        found
    }

    /// Forgets a vertex that is no longer watched.
    pub(super) fn forget(&mut self, id: &VertexId) {
        self.built.remove(id);
    }
}

/// What runs while a field has neither a value in the file nor one that was sent.
fn waiting(vertex: &Vertex, received: &Fields) -> Option<Arc<dyn Resource>> {
    let lacks = |field| !received.contains_key(field) && !vertex.fields.contains_key(field);
    let (field, one) = vertex.receives.iter().find(|(field, _)| lacks(field.as_str()))?;
    Some(kind::unfilled(field, &one.from, &one.key))
}

fn build(vertex: &Vertex, fields: &Fields, received: &Fields) -> Result<Arc<dyn Resource>, String> {
    let Some(kind) = kind::find(vertex.id.kind()) else {
        return Err(format!("there is no kind `{}`", vertex.id.kind()));
    };
    let built = match received.is_empty() {
        true => kind.build(&vertex.id, fields),
        false => kind.build_received(&vertex.id, fields),
    };
    built.map_err(|mistakes| {
        let words: Vec<String> = mistakes.into_iter().map(|one| refusal(one, received)).collect();
        format!("a received value is refused: {}", words.join("; "))
    })
}

/// A mistake in words that do not show what was received: it may be a secret.
fn refusal(mistake: FieldError, received: &Fields) -> String {
    let found = mistake.field.and_then(|field| Some((field, received.get(field)?)));
    let Some((field, value)) = found else { return mistake.message };
    let shows = |help: &String| matches!(value, Value::Str(text) if help.contains(text.as_str()));
    match mistake.help.filter(|help| !shows(help)) {
        Some(help) => format!("`{field}` cannot be the received value; {help}"),
        None => format!("`{field}` cannot be the received value"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Origin;
    use crate::ident::ResourceId;
    use crate::spec::Receive;

    fn vertex(interval: i64) -> (VertexId, Vertex) {
        let id = ResourceId::new("timer", "t");
        let fields = Fields::from([("interval".to_owned(), Value::Int(interval))]);
        let resource = kind::find("timer").unwrap().build(&id, &fields).unwrap();
        let vertex = Vertex {
            id: id.clone(),
            fields,
            meta: Arc::default(),
            receives: std::collections::BTreeMap::new(),
            origin: Origin::Local,
            resource,
        };
        (VertexId { resource: id, generation: 1 }, vertex)
    }

    fn interval(seconds: i64) -> Fields {
        Fields::from([("interval".to_owned(), Value::Int(seconds))])
    }

    #[test]
    fn another_value_builds_the_resource_anew_and_the_same_does_not() {
        let (id, vertex) = vertex(30);
        let mut receivers = Receivers::default();
        let written = receivers.resource(&id, &vertex, Fields::new());
        assert!(Arc::ptr_eq(&written.result.unwrap(), &vertex.resource) && !written.rearm);
        let first = receivers.resource(&id, &vertex, interval(5));
        assert!(first.rearm, "it ticks at another interval");
        let again = receivers.resource(&id, &vertex, interval(5));
        assert!(!again.rearm && Arc::ptr_eq(&first.result.unwrap(), &again.result.unwrap()));
    }

    #[test]
    fn a_field_that_nothing_gave_a_value_yet_keeps_the_resource_from_running() {
        let (id, mut vertex) = vertex(30);
        let sender = Receive { from: ResourceId::new("exec", "x"), key: "stdout".to_owned() };
        vertex.receives = [("interval".to_owned(), sender)].into();
        let mut receivers = Receivers::default();
        let written = receivers.resource(&id, &vertex, Fields::new()).result.unwrap();
        assert!(Arc::ptr_eq(&written, &vertex.resource), "the file says what to begin with");
        vertex.fields.clear();
        let waiting = receivers.resource(&id, &vertex, Fields::new());
        assert!(format!("{:?}", waiting.result.unwrap()).contains("has not sent `stdout`"));
        let filled = receivers.resource(&id, &vertex, interval(5)).result.unwrap();
        assert_eq!(filled.watches().len(), 1);
    }

    #[test]
    fn a_refused_value_is_not_shown() {
        let (id, mut vertex) = vertex(30);
        vertex.id = ResourceId::new("exec", "x");
        let mut receivers = Receivers::default();
        let secret = "hunter2";
        let received = Fields::from([("cwd".to_owned(), Value::Str(secret.to_owned()))]);
        vertex.fields.clear();
        let why = receivers.resource(&id, &vertex, received).result.unwrap_err();
        assert!(why.contains("`cwd` cannot be the received value; give a path"), "{why}");
        assert!(!why.contains(secret), "{why}");
    }

    #[test]
    fn a_refused_value_fails_with_the_kinds_next_step_and_leaves_the_watch() {
        let (id, vertex) = vertex(30);
        let mut receivers = Receivers::default();
        let refused = receivers.resource(&id, &vertex, interval(0));
        let why = refused.result.unwrap_err();
        let begin = "a received value is refused: `interval` cannot be the received value; write";
        assert!(why.starts_with(begin), "{why}");
        assert!(!refused.rearm);
        let mended = receivers.resource(&id, &vertex, interval(30));
        assert!(mended.result.is_ok() && mended.rearm, "nobody knows any more what is armed");
    }
}
