//! The JSON Schema (2020-12) of a graph file, from the tables by which files are read.
//!
//! Refuses to say more than a schema can: what `quorate check` finds beyond it (names that are there
//! twice, edges to nothing, cycles, what a kind says about a value) is not in here.

use serde_json::{Map, Value, json};

use super::{collect, edge, entry, program};
use crate::kind::{self, FieldDef, FieldType, Kind};

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
        (
            "meta",
            json!({"description": "how the engine treats it, whatever its kind",
            "type": ["object", "null"], "properties": fields(entry::META),
            "additionalProperties": false}),
        ),
        ("end", object(&edge::END_KEYS, end_key, &["kind", "name"])),
        ("edge", object(&edge::KEYS, edge_key, &["from", "to"])),
        ("rule", object(&collect::KEYS, rule_key, &["kind"])),
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
        {"type": "string", "pattern": "^[-+]?[0-9][0-9a-fA-FxXoO_]*$"},
    ]})
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
        "meta" => json!({"$ref": "#/$defs/meta"}),
        "hidden" => reference("bool", "exported, and not applied here"),
        "export" => reference("bool", "published for other hosts to collect"),
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

fn rule_key(key: &str) -> Value {
    match key {
        "kind" => reference("kind", "takes every export of this kind"),
        "pattern" => {
            reference("text", "the directory that replaces the exporter's, with a final slash")
        }
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
