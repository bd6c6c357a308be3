//! Any text is a template or a condition, or says why not; evaluating it ends, within bounds, and
//! what it puts into a path stays below its own part.
//!
//! The template comes first, then a line `%%`, then what another host wrote.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use quorate::ident::HostName;
use quorate::matching::{Expression, Me, Scope, Subject, Template, Vars};
use quorate::spec::{Fields, Value};

fuzz_target!(|text: &str| {
    let (source, theirs) = text.split_once("\n%%\n").unwrap_or((text, "a/b"));
    let host = HostName::parse("web1").expect("it is a name");
    let labels = BTreeMap::from([("role".to_owned(), theirs.to_owned())]);
    let fields = Fields::from([
        ("content", Value::Str(theirs.to_owned())),
        ("recurse", Value::Bool(true)),
        ("size", Value::Int(7)),
        ("list", Value::List(vec![Value::Str(theirs.to_owned()), Value::Int(-1)])),
    ]);
    let subject = Subject {
        name: theirs,
        kind: "file",
        host: &host,
        channel: "default",
        labels: &labels,
        host_labels: &labels,
        fields: &fields,
    };
    let me = Me::new(host.clone());
    let vars = Vars::of_export(&subject, &me);
    if let Ok(expression) = Expression::new(source, Scope::Export) {
        assert_eq!(expression.truth(&vars), expression.truth(&vars));
    }
    if let Ok(template) = Template::new(source, Scope::Export) {
        bounded(&template, &vars);
        if let (Ok(path), true) = (template.path(&vars), template.is_literal()) {
            assert_eq!(path, source);
        }
    }
    if let Ok(template) = Template::new(source, Scope::Gather) {
        bounded(&template, &Vars::of_all(&[subject; 3], &me));
    }
    let path = Template::new("/srv/{{ name }}/x", Scope::Export).expect("it is one");
    if let Ok(path) = path.path(&vars) {
        assert_eq!(path.split('/').count(), 4, "{path:?}");
    }
});

/// It gives the same again, and not too much of it.
fn bounded(template: &Template, vars: &Vars) {
    let value = template.value(vars);
    assert_eq!(template.value(vars), value);
    if let Ok(value) = &value {
        assert!(bytes(value) <= 1 << 20);
    }
    if let Ok(text) = template.text(vars) {
        assert!(text.len() <= 1 << 20);
    }
}

/// The bytes of all texts in it.
fn bytes(value: &Value) -> usize {
    match value {
        Value::Str(text) => text.len(),
        Value::List(items) => items.iter().map(bytes).sum(),
        Value::Map(map) => map.iter().map(|(name, value)| name.len() + bytes(value)).sum(),
        Value::Bool(_) | Value::Int(_) => 0,
    }
}
