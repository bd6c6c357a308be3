//! The JSON Schema that `quorate schema` prints, against every graph file of the repository.
//!
//! Files are read as an editor reads them: the core schema of YAML 1.2. The validator knows the
//! words that the schema uses and panics on any other, so that none is passed over.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use quorate::spec::rule::seconds;
use quorate::{kind, yaml};
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value, json};

/// What `quorate schema` prints.
fn printed() -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_quorate")).arg("schema").output();
    serde_json::from_slice(&output.expect("the program runs").stdout).expect("it prints JSON")
}

/// All graph files below these folders.
fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("examples"), root.join("tests/yaml")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|end| end == "yaml") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_good_file_of_the_repository_fits_the_schema() {
    let schema = printed();
    let (mut good, mut wrong) = (0, Vec::new());
    for path in files() {
        let text = std::fs::read_to_string(&path).expect("a text");
        if yaml::check(&text).iter().any(|one| one.is_error()) {
            continue;
        }
        good += 1;
        let mut found = Vec::new();
        validate(&schema, &schema, &read(&text), "", &mut found);
        wrong.extend(found.into_iter().map(|one| format!("{}: {one}", path.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(good > 20, "only {good} good files were found");
}

#[test]
fn every_misspelt_key_is_refused() {
    let schema = printed();
    let fits = |file: &Value| {
        let mut found = Vec::new();
        validate(&schema, &schema, file, "", &mut found);
        found.is_empty()
    };
    let file = |kind: &str, key: &str, value: Value| {
        let resource = json!({"name": "n", key: value});
        json!({"graph": "g", "resources": {kind: [resource]}})
    };
    for kind in kind::all() {
        for field in kind.fields() {
            assert!(fits(&file(kind.name(), field.name, Value::Null)), "{}", field.name);
            let misspelt = format!("{}x", field.name);
            assert!(!fits(&file(kind.name(), &misspelt, Value::Null)), "{misspelt}");
        }
    }
    for (name, bad) in [
        ("a meta parameter", file("noop", "meta", json!({"nop": true}))),
        ("a key of the file", json!({"graph": "g", "resource": {}})),
        ("a kind", json!({"graph": "g", "resources": {"nop": []}})),
        ("a key of an edge", json!({"graph": "g", "edges": [{"form": {}, "to": {}}]})),
        ("a key of a rule", json!({"graph": "g", "collect": [{"kind": "file", "patern": "/"}]})),
        ("a missing graph", json!({"resources": {}})),
        ("a missing name", json!({"graph": "g", "resources": {"noop": [{}]}})),
    ] {
        assert!(!fits(&bad), "{name}: {bad}");
    }
}

#[test]
fn a_value_of_the_wrong_type_is_refused() {
    let schema = printed();
    for (value, expected) in [
        (json!(true), true),
        (json!("yes"), true),
        (json!("maybe"), false),
        (json!(1), false),
        (json!([true]), false),
    ] {
        let file =
            json!({"graph": "g", "resources": {"noop": [{"name": "n", "meta": {"noop": value}}]}});
        let mut found = Vec::new();
        validate(&schema, &schema, &file, "", &mut found);
        assert_eq!(found.is_empty(), expected, "{file}: {found:?}");
    }
}

/// Adds what does not fit.
fn validate(root: &Value, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    for (word, wanted) in schema.as_object().expect("a schema is an object") {
        match word.as_str() {
            "$schema" | "$defs" | "title" | "description" | "deprecated" => {}
            // Judged with `properties`.
            "additionalProperties" => {}
            "$ref" => {
                let name = wanted.as_str().and_then(|text| text.strip_prefix("#/$defs/"));
                let found = &root["$defs"][name.expect("a reference to a definition")];
                assert!(found.is_object(), "{wanted} is not defined");
                validate(root, found, value, at, wrong);
            }
            "type" => {
                let types = wanted.as_array().cloned().unwrap_or_else(|| vec![wanted.clone()]);
                if !types.iter().any(|one| is(value, one.as_str().expect("a type's name"))) {
                    wrong.push(format!("{at}: {value} is none of {wanted}"));
                }
            }
            "enum" => {
                if !wanted.as_array().expect("a list").contains(value) {
                    wrong.push(format!("{at}: {value} is none of {wanted}"));
                }
            }
            "pattern" => {
                if !value.as_str().is_none_or(meaning(wanted)) {
                    wrong.push(format!("{at}: {value} does not match {wanted}"));
                }
            }
            "anyOf" => {
                let fits = |one: &Value| {
                    let mut found = Vec::new();
                    validate(root, one, value, at, &mut found);
                    found.is_empty()
                };
                if !wanted.as_array().expect("a list").iter().any(fits) {
                    wrong.push(format!("{at}: {value} fits none of {wanted}"));
                }
            }
            "required" => {
                for key in wanted.as_array().expect("a list") {
                    if value.is_object() && value.get(key.as_str().expect("a key")).is_none() {
                        wrong.push(format!("{at}: {key} is missing"));
                    }
                }
            }
            "maxProperties" => {
                let keys = value.as_object().map_or(0, serde_json::Map::len);
                if keys as u64 > wanted.as_u64().expect("a number") {
                    wrong.push(format!("{at}: more than {wanted} keys"));
                }
            }
            "properties" => properties(root, schema, value, at, wrong),
            "items" => {
                for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                    validate(root, wanted, item, &format!("{at}/{n}"), wrong);
                }
            }
            other => panic!("teach the test `{other}`"),
        }
    }
    if schema.get("properties").is_none() && schema.get("additionalProperties").is_some() {
        properties(root, schema, value, at, wrong);
    }
}

fn properties(root: &Value, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    for (key, one) in value.as_object().into_iter().flatten() {
        let at = format!("{at}/{key}");
        match (schema["properties"].get(key), &schema["additionalProperties"]) {
            (Some(of_key), _) => validate(root, of_key, one, &at, wrong),
            (None, Value::Bool(false)) => wrong.push(format!("{at}: unknown key")),
            (None, of_all) => validate(root, of_all, one, &at, wrong),
        }
    }
}

/// Which texts a pattern is for.
fn meaning(pattern: &Value) -> fn(&str) -> bool {
    match pattern.as_str() {
        Some("^[-+]?[0-9][0-9a-fA-FxXoO_.]*$") => looks_like_a_number,
        Some("^(session|permanent|[0-9]+[smhd])$") => is_lifetime,
        Some("^[0-9]+[smhd]$") => is_duration,
        Some("^[0-9]+ *%$") => is_share,
        _ => panic!("teach the test the pattern {pattern}"),
    }
}

fn is_duration(text: &str) -> bool {
    seconds(text).is_some()
}

fn is_lifetime(text: &str) -> bool {
    matches!(text, "session" | "permanent") || is_duration(text)
}

fn is_share(text: &str) -> bool {
    let digits = text.strip_suffix('%').unwrap_or_default().trim_end();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn looks_like_a_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_hexdigit() || "xXoO_.".contains(c))
}

fn is(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("there is no type `{other}`"),
    }
}

/// A YAML text as the values that an editor sees.
fn read(text: &str) -> Value {
    let text = text.trim_start_matches('\u{feff}');
    let mut events = Parser::new_from_str(text).map(|event| event.expect("good YAML").0);
    let mut anchors = HashMap::new();
    loop {
        match events.next().expect("a document") {
            Event::StreamStart | Event::DocumentStart(_) => {}
            first => return node(first, &mut events, &mut anchors),
        }
    }
}

fn node<'a>(
    event: Event<'a>,
    events: &mut impl Iterator<Item = Event<'a>>,
    anchors: &mut HashMap<usize, Value>,
) -> Value {
    let (value, anchor) = match event {
        Event::Alias(anchor) => return anchors[&anchor].clone(),
        Event::Scalar(text, style, anchor, tag) => {
            let plain = style == ScalarStyle::Plain && tag.is_none_or(|tag| tag.suffix != "str");
            (if plain { core(&text) } else { Value::String(text.into_owned()) }, anchor)
        }
        Event::SequenceStart(anchor, _) => {
            let mut items = Vec::new();
            loop {
                match events.next().expect("the end of a list") {
                    Event::SequenceEnd => break (Value::Array(items), anchor),
                    item => items.push(node(item, events, anchors)),
                }
            }
        }
        Event::MappingStart(anchor, _) => (map(events, anchors), anchor),
        other => panic!("{other:?} in a document"),
    };
    anchors.insert(anchor, value.clone());
    value
}

fn map<'a>(
    events: &mut impl Iterator<Item = Event<'a>>,
    anchors: &mut HashMap<usize, Value>,
) -> Value {
    let (mut entries, mut merged) = (Map::new(), Map::new());
    loop {
        let key = match events.next().expect("the end of a map") {
            Event::MappingEnd => break,
            Event::Scalar(text, ..) => text.into_owned(),
            other => panic!("{other:?} is no key"),
        };
        let first = events.next().expect("a value");
        let value = node(first, events, anchors);
        match (key.as_str(), value) {
            ("<<", Value::Array(all)) => {
                for one in all.iter().filter_map(Value::as_object) {
                    one.iter().for_each(|(key, value)| {
                        merged.entry(key).or_insert_with(|| value.clone());
                    });
                }
            }
            ("<<", Value::Object(one)) => merged.extend(one),
            (_, value) => drop(entries.insert(key, value)),
        }
    }
    merged.extend(entries);
    Value::Object(merged)
}

/// A plain scalar by the core schema of YAML 1.2.
fn core(text: &str) -> Value {
    let radix = |prefix: &str, radix| {
        text.strip_prefix(prefix).and_then(|digits| i64::from_str_radix(digits, radix).ok())
    };
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return json!(true),
        "false" | "False" | "FALSE" => return json!(false),
        _ => {}
    }
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)).or_else(|| text.parse().ok()) {
        return json!(number);
    }
    let decimal = text.starts_with(|c: char| c.is_ascii_digit() || "-+.".contains(c));
    match text.parse::<f64>() {
        Ok(number) if decimal && number.is_finite() => json!(number),
        _ => json!(text),
    }
}
