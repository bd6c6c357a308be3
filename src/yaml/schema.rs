//! The JSON Schema (2020-12) of a graph file, from the tables by which files are read.
//!
//! Refuses to say more than a schema can: what `quorate check` finds beyond it (names that are
//! there twice, edges to nothing, cycles, what a kind says about a value) is not in here.

use serde_json::{Map, Value, json};

use super::{edge, entry, meta, program, select, terms};
use crate::kind::{self, FieldDef, FieldType, Kind};
use exchange::{hosts, labels, matcher, rule_of_any_form, term, texts, where_key};

mod exchange;

/// The meta parameters by name, with what each takes and one sentence; those that a file may not
/// have yet are left out.
const META: [(&str, &str, &str); 12] = [
    ("autoedge", "bool", "take part in automatic edges; true when absent"),
    ("autogroup", "bool", "may be grouped with its like; true when absent"),
    ("burst", "int", "how many events may come at once before `limit` holds them up"),
    ("delay", "int", "milliseconds from a failure to its repetition"),
    ("limit", "rate", "how many events a second may lead to runs; without a bound when absent"),
    ("noop", "bool", "look only, never change anything"),
    ("poll", "int", "seconds from one look to the next; 0 watches instead"),
    ("retry", "int", "how often a failed run is repeated; -1 repeats it until it is good"),
    ("retryreset", "bool", "a good run gives all repetitions back; true when absent"),
    ("rewatch", "bool", "a graph that is swapped in starts it anew if it has failed"),
    ("sema", "list", "locks that are held during a run, each `NAME` or `NAME:COUNT`"),
    ("timeout", "int", "milliseconds that one run may take"),
];

/// A number in a spelling that YAML 1.1 has and 1.2 has not.
const NUMBER: &str = "^[-+]?[0-9][0-9a-fA-FxXoO_.]*$";

/// The schema of a file.
pub fn schema() -> Value {
    schema_with(kind::all())
}

/// [`schema`] with these kinds.
fn schema_with(kinds: &[&dyn Kind]) -> Value {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    let mut defs: Map<String, Value> = [
        ("text", scalar("any scalar; it is taken as the text of the file")),
        ("bool", truth()),
        ("int", whole_number()),
        ("rate", rate()),
        ("list", json!({"type": ["array", "null"], "items": {"$ref": "#/$defs/element"}})),
        (
            "map",
            json!({"type": ["object", "null"],
            "additionalProperties": {"$ref": "#/$defs/element"}}),
        ),
        // Nothing has a default to stand for inside a list or map.
        ("element", json!({"type": ["string", "number", "boolean"]})),
        ("name", json!({"type": ["string", "number", "boolean"]})),
        ("kind", json!({"enum": names})),
        ("meta", nullable(object(&meta::KEYS, meta_key, &[]))),
        ("sender", object(&["key", "kind", "name"], sender_key, &["key", "kind", "name"])),
        ("end", object(&edge::END_KEYS, end_key, &["kind", "name"])),
        ("edge", object(&edge::KEYS, edge_key, &["from", "to"])),
        ("rule", rule_of_any_form()),
        ("hosts", hosts()),
        ("matcher", matcher()),
        ("labels", labels()),
        ("where", nullable(object(&select::WHERE_KEYS, where_key, &[]))),
        ("set", json!({"type": ["object", "null"]})),
        ("texts", texts()),
        ("export", json!({"anyOf": [{"$ref": "#/$defs/bool"}, object(&terms::KEYS, term, &[])]})),
    ]
    .into_iter()
    .map(|(name, def)| (name.to_owned(), def))
    .collect();
    let mut of_kinds = Map::new();
    for kind in kinds {
        let def = format!("resource-{}", kind.name());
        of_kinds.insert(
            kind.name().to_owned(),
            json!({"type": ["array", "null"], "items": {"$ref": format!("#/$defs/{def}")}}),
        );
        defs.insert(def, resource(*kind));
    }
    let of_kinds = json!({"description": "the resources, by kind",
        "type": ["object", "null"], "properties": of_kinds, "additionalProperties": false});
    let top = |key: &'static str| match key {
        "resources" => of_kinds.clone(),
        other => top_key(other),
    };
    let mut schema = object(&program::KEYS, top, &["graph"]);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("a quorate graph file");
    schema["$defs"] = Value::Object(defs);
    // Said with a warning and dropped: no version runs graphs over ssh any more.
    schema["properties"]["remote"] = json!({"deprecated": true, "description": "does nothing"});
    schema
}

/// A map with these keys and no others.
fn object(
    keys: &[&'static str],
    value: impl Fn(&'static str) -> Value,
    required: &[&str],
) -> Value {
    let properties: Map<String, Value> =
        keys.iter().map(|key| ((*key).to_owned(), value(key))).collect();
    json!({"type": "object", "properties": properties, "required": required,
        "additionalProperties": false})
}

fn resource(kind: &dyn Kind) -> Value {
    let mut properties = fields(kind.fields());
    for key in entry::COMMON_KEYS {
        properties.insert(key.to_owned(), common_key(key));
    }
    // Said with a warning and dropped, as mgmt dropped them without one.
    let idle = ["pollint"].into_iter().chain((kind.name() == "exec").then_some("state"));
    for key in idle {
        let nothing = json!({"deprecated": true, "description": "does nothing"});
        properties.entry(key).or_insert(nothing);
    }
    json!({"type": "object", "properties": properties, "required": ["name"],
        "additionalProperties": false})
}

fn fields(table: &[FieldDef]) -> Map<String, Value> {
    let one = |field: &FieldDef| {
        let ty = match field.ty {
            FieldType::Str => "text",
            FieldType::Bool => "bool",
            FieldType::Int => "int",
            FieldType::StrList => "list",
            FieldType::StrMap => "map",
        };
        (field.name.to_owned(), reference(ty, field.doc))
    };
    table.iter().map(one).collect()
}

fn reference(def: &str, doc: &str) -> Value {
    json!({"$ref": format!("#/$defs/{def}"), "description": doc})
}

fn scalar(doc: &str) -> Value {
    json!({"type": ["string", "number", "boolean", "null"], "description": doc})
}

/// Editors read YAML 1.2, in which some spellings of 1.1 are texts.
fn truth() -> Value {
    json!({"anyOf": [
        {"type": ["boolean", "null"]},
        {"enum": ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON",
            "n", "N", "no", "No", "NO", "off", "Off", "OFF"]},
    ]})
}

fn whole_number() -> Value {
    json!({"anyOf": [
        {"type": ["integer", "null"]},
        {"type": "string", "pattern": NUMBER},
    ]})
}

fn rate() -> Value {
    json!({"anyOf": [
        {"type": ["number", "null"]},
        {"enum": [".inf", ".Inf", ".INF"]},
        {"type": "string", "pattern": NUMBER},
    ]})
}

/// Or nothing: what is left out takes its default.
fn nullable(mut schema: Value) -> Value {
    schema["type"] = json!([schema["type"], "null"]);
    schema
}

fn meta_key(key: &str) -> Value {
    let row = META.iter().find(|(name, ..)| *name == key);
    row.map_or(Value::Null, |(_, def, doc)| reference(def, doc))
}

fn sender_key(key: &str) -> Value {
    match key {
        "kind" => reference("kind", "the kind of the resource that sends"),
        "name" => reference("name", "its name"),
        "key" => reference("name", "what it sends"),
        _ => Value::Null,
    }
}

fn top_key(key: &str) -> Value {
    match key {
        "graph" => reference("name", "the name of the graph"),
        "comment" => json!({"description": "anything; it is not read"}),
        "edges" => json!({"description": "what runs before what",
            "type": ["array", "null"], "items": {"$ref": "#/$defs/edge"}}),
        "collect" => json!({"description": "what is taken from the exports of all hosts",
            "type": ["array", "null"], "items": {"$ref": "#/$defs/rule"}}),
        _ => Value::Null,
    }
}

fn common_key(key: &str) -> Value {
    match key {
        "name" => reference("name", "the name; a leading `@@` hides and exports the resource"),
        "meta" => reference("meta", "how the engine treats it, whatever its kind"),
        "recv" => json!({"description": "fields whose values other resources send",
            "type": ["object", "null"], "additionalProperties": {"$ref": "#/$defs/sender"}}),
        "hidden" => reference("bool", "exported, and not applied here"),
        "export" => reference("export", "published for other hosts to collect, on these terms"),
        "hosts" => reference("hosts", "exists only on these hosts"),
        _ => Value::Null,
    }
}

fn edge_key(key: &str) -> Value {
    match key {
        "name" => reference("text", "a label"),
        "from" => reference("end", "runs first"),
        "to" => reference("end", "runs after it"),
        "notify" => reference("bool", "a change in the first refreshes the second"),
        _ => Value::Null,
    }
}

fn end_key(key: &str) -> Value {
    match key {
        "kind" => reference("kind", "the kind of the resource"),
        "name" => reference("name", "its name, without any `@@`"),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_a_file_may_have_is_described() {
        let nulls = |value: &Value| format!("{value}").matches(":null").count();
        assert_eq!(nulls(&schema()), 0, "a key has no schema: {}", schema());
    }

    #[test]
    fn every_field_of_every_kind_is_there_with_its_sentence() {
        let schema = schema();
        for kind in kind::all() {
            let of_kind = &schema["$defs"][format!("resource-{}", kind.name())]["properties"];
            for field in kind.fields() {
                assert_eq!(of_kind[field.name]["description"], field.doc, "{}", field.name);
            }
        }
    }
}
