//! The part of the schema that is about exchange: rules, conditions, and the terms of an export.
//!
//! Refuses to describe patterns and templates further than as texts.

use serde_json::{Value, json};

use super::{object, reference};
use crate::yaml::{rule, select};

/// A rule in mgmt's form or in the full one: editors offer the keys of both.
pub(super) fn rule_of_any_form() -> Value {
    let keys: Vec<&'static str> = rule::KEYS.into_iter().chain(["pattern"]).collect();
    object(&keys, rule_key, &["kind"])
}

pub(super) fn texts() -> Value {
    json!({"type": ["array", "null"], "items": {"$ref": "#/$defs/name"}})
}

pub(super) fn hosts() -> Value {
    json!({"description": "forms of host names, or what an operator said about them",
        "anyOf": [{"$ref": "#/$defs/texts"}, object(&["labels"], |_| {
            reference("labels", "labels that an operator gave a host, all of which match")
        }, &["labels"])]})
}

/// A form, several of them, or a map with one key.
pub(super) fn matcher() -> Value {
    let one = |key: &'static str| match key {
        "in" => reference("texts", "one of these texts"),
        "exists" => reference("bool", "whether a label is there at all"),
        "not" => reference("matcher", "nothing of this; what is not there matches neither"),
        "is" => reference("name", "this text"),
        "glob" => reference("name", "a form with `*`, `?`, `[a-c]` and `{a,b}`"),
        "regex" => reference("name", "a regular expression that matches the whole text"),
        _ => Value::Null,
    };
    let mut map = object(&select::MATCHER_KEYS, one, &[]);
    map["maxProperties"] = json!(1);
    json!({"anyOf": [
        {"$ref": "#/$defs/name"},
        {"type": "array", "items": {"$ref": "#/$defs/matcher"}},
        map,
    ]})
}

pub(super) fn labels() -> Value {
    json!({"type": ["object", "null"], "additionalProperties": {"$ref": "#/$defs/matcher"}})
}

pub(super) fn where_key(key: &str) -> Value {
    let list = |doc: &str| {
        json!({"type": ["array", "null"], "description": doc,
        "items": {"$ref": "#/$defs/where"}})
    };
    match key {
        "name" => reference("matcher", "the name that it is published under"),
        "host" => reference("matcher", "the host that exports it"),
        "labels" => reference("labels", "labels of the export"),
        "host_labels" => reference("labels", "labels that an operator gave its host"),
        "fields" => reference("labels", "its fields"),
        "if" => reference("text", "an expression that gives true or false"),
        "any" => list("one of these holds"),
        "all" => list("all of these hold"),
        "not" => reference("where", "this does not hold"),
        _ => Value::Null,
    }
}

pub(super) fn term(key: &str) -> Value {
    match key {
        "to" => reference("hosts", "who may collect it; `[]` is nobody"),
        "channel" => reference("text", "the routing scope that it is published in"),
        "as" => reference("text", "the name that it is published under, a template"),
        "labels" => json!({"$ref": "#/$defs/map", "description": "labels for the rules of others"}),
        "set" => reference("set", "fields of the published copy; texts are templates"),
        "only" => reference("texts", "the fields that are published; all without it"),
        "seal" => reference("texts", "fields that only the hosts in `to` can read, each by name"),
        "lifetime" => json!({"type": ["string", "null"],
            "pattern": "^(session|permanent|[0-9]+[smhd])$",
            "description": "as long as its host is present, until it is withdrawn, or so long \
                after its host was present, for instance 10m"}),
        "when" => json!({"enum": ["ready", "declared", null],
            "description": "when it is published: once what comes before it here is done, or as \
                soon as it is declared"}),
        _ => Value::Null,
    }
}

fn wait() -> Value {
    let one = |key: &str| {
        let doc = match key {
            "quiet" => "it is taken when nothing has changed for so long, for instance 300ms",
            _ => "and at the latest so long after the first change; ten times `quiet` when absent",
        };
        json!({"type": "string", "pattern": "^[0-9]+(ms|[smhd])$", "description": doc})
    };
    json!({"anyOf": [{"type": "null"}, object(&["max", "quiet"], one, &["quiet"])],
        "description": "when what changes is taken; at once when absent"})
}

fn rule_key(key: &str) -> Value {
    let kinds = json!({"description": "the kind, or kinds, of which exports are taken",
        "anyOf": [{"$ref": "#/$defs/kind"},
            {"type": "array", "items": {"$ref": "#/$defs/kind"}}]});
    let channels = json!({"description": "the channel, or channels; `default` when absent",
        "anyOf": [{"$ref": "#/$defs/text"}, {"$ref": "#/$defs/texts"}]});
    match key {
        "kind" => kinds,
        "channel" => channels,
        "pattern" => reference("text", "mgmt's form: the directory that replaces the exporter's"),
        "rule" => reference("text", "what the rule is called in messages and references"),
        "hosts" => reference("hosts", "the rule exists only on these hosts"),
        "self" => json!({"enum": ["include", "exclude", "only", null],
            "description": "whether exports of this host itself are taken"}),
        "where" => reference("where", "which exports it takes"),
        "final" => reference("bool", "later rules do not see what it takes; true when absent"),
        "take" => reference("texts", "the fields of the exporter that stay"),
        "drop" => reference("texts", "the fields of the exporter that do not stay"),
        "as" => {
            let name = |_| reference("text", "the name here, a template");
            json!({"anyOf": [{"type": "null"}, object(&["name"], name, &["name"])],
                "description": "what it is called here"})
        }
        "into" => reference("text", "the directory that replaces the exporter's"),
        "set" => reference("set", "fields that it sets; texts are templates"),
        "unset" => reference("texts", "fields that it takes out"),
        "meta" => reference("meta", "how the engine treats what it makes"),
        "within" => reference("text", "the directory that no path may leave"),
        "allow" => {
            let words = crate::spec::rule::Consent::ALL.map(|one| one.as_str());
            json!({"type": ["array", "null"], "items": {"enum": words},
                "description": "what it consents to"})
        }
        "conflict" => json!({"description": "who wins when exporters differ",
            "anyOf": [{"enum": ["hold", "newest", null]},
                object(&["prefer"], |_| reference("texts", "hosts, best first"), &["prefer"])]}),
        "gone" => json!({"enum": ["forget", "freeze", "remove", null],
            "description": "what becomes of what is no longer exported"}),
        "expect" => {
            let one = |key: &str| match key {
                "max_drop" => json!({"type": "string", "pattern": "^[0-9]+ *%$",
                    "description": "how much fewer there may be at once"}),
                "hold" => json!({"type": "string", "pattern": "^[0-9]+[smhd]$",
                    "description": "for how long more than that is not believed; 10m when absent"}),
                _ => reference("int", "how many exports"),
            };
            json!({"anyOf": [{"type": "null"},
                object(&["hold", "max", "max_drop", "min"], one, &[])],
                "description": "how many exports there should be; otherwise the last set stays"})
        }
        "wait" => wait(),
        "after" => reference("texts", "KIND[NAME] or rule:ID that run before what it makes"),
        "before" => reference("texts", "KIND[NAME] or rule:ID that run after what it makes"),
        "notify" => reference("texts", "as `before`, and they are refreshed by its changes"),
        "gather" => {
            json!({"type": ["object", "null"], "required": ["kind", "name"],
            "additionalProperties": {},
            "properties": {"kind": {"$ref": "#/$defs/kind"}, "name": {"$ref": "#/$defs/name"}},
            "description": "one resource of all exports: its kind, name and fields"})
        }
        _ => Value::Null,
    }
}
