//! `cluster schema`: what the JSON of each verb looks like, as JSON Schema, and whether some text
//! is of that form. Pure but for the reading.
//!
//! Knows the few keywords that its own schemas use and no others.

use std::io::Read;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::paths::Exit;

/// The verbs with JSON of their own.
const VERBS: [&str; 9] =
    ["cuts", "exec", "faults", "heal", "ls", "plan", "snapshot", "status", "unchanged"];

/// `cluster schema`: prints the schema of a verb, or of all; with `check`, reads JSON from standard
/// input, one value a line, and compares.
///
/// # Errors
/// No such verb; what was read is not of that form, with the place.
pub(super) fn schema(verb: Option<&str>, check: bool) -> anyhow::Result<ExitCode> {
    let Some(verb) = verb else {
        let all: serde_json::Map<String, Value> =
            VERBS.iter().filter_map(|verb| Some(((*verb).to_owned(), of(verb)?))).collect();
        println!("{:#}", Value::Object(all));
        return Ok(ExitCode::SUCCESS);
    };
    let schema = of(verb).ok_or_else(|| {
        let text = format!("{verb} has no JSON of its own. There is {}", VERBS.join(", "));
        Exit::error(Exit::USAGE, text)
    })?;
    if !check {
        println!("{schema:#}");
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    for (line, value) in serde_json::Deserializer::from_str(&text).into_iter().enumerate() {
        let place = format!("value {}", line + 1);
        let value: Value =
            value.map_err(|why| Exit::error(Exit::FAILED, format!("{place} is no JSON: {why}")))?;
        if let Some(wrong) = differs(&schema, &value, &place) {
            return Err(Exit::error(Exit::FAILED, wrong));
        }
    }
    println!("as the schema of {verb} says");
    Ok(ExitCode::SUCCESS)
}

/// The schema of a verb's JSON.
pub(super) fn of(verb: &str) -> Option<Value> {
    let body = match verb {
        "status" => status(),
        "ls" => list(
            "clusters",
            &object(&[
                ("name", text()),
                ("nodes", count()),
                ("running", count()),
                ("state", text()),
                ("subnet", text()),
                ("image", text()),
            ]),
        ),
        "exec" => list(
            "nodes",
            &object(&[
                ("node", node()),
                ("exit", json!({"type": "integer"})),
                ("lines", array(&text())),
                ("timed_out", flag()),
            ]),
        ),
        "faults" => list("faults", &fault()),
        "cuts" => list("cuts", &fault()),
        "heal" => list("healed", &fault()),
        "plan" => list("steps", &text()),
        "unchanged" => whole(&[("cluster", text()), ("changed", json!({"const": false}))]),
        "snapshot" => {
            whole(&[("cluster", text()), ("node", node()), ("bytes", count()), ("file", text())])
        }
        _ => return None,
    };
    Some(body)
}

fn status() -> Value {
    let one = object(&[
        ("name", node()),
        ("role", text()),
        ("state", text()),
        ("healthy", flag()),
        ("address", text()),
        ("client", text()),
        ("unreached", array(&node())),
        ("faults", array(&fault())),
        ("exit", nullable("integer")),
        ("out_of_memory", flag()),
        // The agent's own JSON, which `quorate status --json` describes.
        ("agent", nullable("object")),
    ]);
    let voters = object(&[("wanted", count()), ("voting", count())]);
    whole(&[
        ("cluster", text()),
        ("healthy", flag()),
        ("leader", nullable("string")),
        ("voters", voters),
        ("nodes", array(&one)),
    ])
}

/// A fault: those of each kind have properties of their own.
fn fault() -> Value {
    let kinds = ["cut", "loss", "delay", "rate", "paused", "stopped"];
    json!({
        "type": "object",
        "properties": {
            "node": node(),
            "fault": {"enum": kinds},
            "state": text(),
            "peer": node(),
            "peers": array(&node()),
            "mode": {"enum": ["drop", "reject"]},
            "percent": count(),
            "ms": count(),
            "jitter_ms": count(),
            "kbit": count(),
            "since": count(),
            "until": nullable("integer"),
        },
        "required": ["node", "fault"],
        "additionalProperties": false,
    })
}

/// A whole answer: an object with the version of its meaning.
fn whole(properties: &[(&str, Value)]) -> Value {
    let mut all = vec![("schema", json!({"const": 1}))];
    all.extend(properties.iter().cloned());
    let mut schema = object(&all);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema
}

/// A whole answer that is a list, of one cluster or of all.
fn list(name: &str, items: &Value) -> Value {
    let mut properties = vec![(name, array(items))];
    if name != "clusters" {
        properties.push(("cluster", text()));
    }
    whole(&properties)
}

fn object(properties: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = properties.iter().map(|(name, _)| *name).collect();
    let map: serde_json::Map<String, Value> =
        properties.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    json!({"type": "object", "properties": map, "required": names, "additionalProperties": false})
}

fn array(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn node() -> Value {
    json!({"type": "string", "pattern": "^h[1-9][0-9]?$"})
}

fn nullable(kind: &str) -> Value {
    json!({"type": [kind, "null"]})
}

/// Where and how a value differs from its schema; nothing when it does not.
pub(super) fn differs(schema: &Value, value: &Value, place: &str) -> Option<String> {
    let wrong = |what: String| Some(format!("{place}: {what}"));
    if let Some(constant) = schema.get("const")
        && constant != value
    {
        return wrong(format!("{value} instead of {constant}"));
    }
    if let Some(all) = schema["enum"].as_array()
        && !all.contains(value)
    {
        return wrong(format!("{value} is none of {}", schema["enum"]));
    }
    if !schema["type"].is_null() && !typed(&schema["type"], value) {
        return wrong(format!("{value} is not of type {}", schema["type"]));
    }
    if let (Some(least), Some(number)) = (schema["minimum"].as_i64(), value.as_i64())
        && number < least
    {
        return wrong(format!("{number} is less than {least}"));
    }
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str())
        && !regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
    {
        return wrong(format!("{text} does not match {pattern}"));
    }
    let items = value.as_array().into_iter().flatten().enumerate();
    if let Some(items) = schema.get("items").and_then(|schema| {
        items.into_iter().find_map(|(n, one)| differs(schema, one, &format!("{place}[{n}]")))
    }) {
        return Some(items);
    }
    value.as_object().and_then(|map| members(schema, map, place))
}

fn members(schema: &Value, map: &serde_json::Map<String, Value>, place: &str) -> Option<String> {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(name) = required.into_iter().find(|name| !map.contains_key(*name)) {
        return Some(format!("{place}: {name} is missing"));
    }
    map.iter().find_map(|(name, value)| {
        let place = format!("{place}.{name}");
        match schema["properties"].get(name) {
            Some(schema) => differs(schema, value, &place),
            None if schema["additionalProperties"] == false => {
                Some(format!("{place} is not in the schema"))
            }
            None => None,
        }
    })
}

fn typed(types: &Value, value: &Value) -> bool {
    let one = |kind: &Value| match kind.as_str().unwrap_or_default() {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "null" => value.is_null(),
        _ => false,
    };
    types.as_array().map_or_else(|| one(types), |all| all.iter().any(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_schema_and_no_other_word_has() {
        assert!(VERBS.iter().all(|verb| of(verb).is_some()));
        assert!(of("up").is_none());
    }

    #[test]
    fn a_difference_is_told_with_its_place() {
        let good = json!({"schema": 1, "cluster": "demo", "faults": [
            {"node": "h1", "fault": "loss", "percent": 30, "peers": ["h2"], "since": 1,
             "until": null, "state": "in force"},
            {"node": "h2", "fault": "paused"},
        ]});
        let schema = of("faults").unwrap();
        assert_eq!(differs(&schema, &good, "x"), None);
        for (change, wanted) in [
            (("/schema", json!(2)), "x.schema: 2 instead of 1"),
            (("/cluster", json!(1)), "x.cluster: 1 is not of type \"string\""),
            (("/faults/0/percent", json!(-1)), "x.faults[0].percent: -1 is less than 0"),
            (("/faults/1/node", json!("x2")), "x.faults[1].node: x2 does not match ^h[1-9][0-9]?$"),
            (("/faults/1", json!({"node": "h2"})), "x.faults[1]: fault is missing"),
            (
                ("/faults/1", json!({"node": "h2", "fault": "paused", "a": 1})),
                "x.faults[1].a is not in the schema",
            ),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(change.0).unwrap() = change.1;
            assert_eq!(differs(&schema, &bad, "x").as_deref(), Some(wanted));
        }
        let mut bad = good;
        bad["faults"][0]["fault"] = json!("flood");
        assert!(differs(&schema, &bad, "x").unwrap().contains("\"flood\" is none of"));
    }
}
