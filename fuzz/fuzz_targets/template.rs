//! Any text is a template or a condition, or says why not; evaluating it ends, within bounds, and
//! what it puts into a path stays below its own part.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use quorate::ident::HostName;
use quorate::matching::{Expression, Me, Scope, Subject, Template, Vars};
use quorate::spec::{Fields, Value};

fuzz_target!(|texts: (&str, &str)| {
    let (source, theirs) = texts;
    let host = HostName::parse("web1").expect("it is a name");
    let labels = BTreeMap::from([("role".to_owned(), theirs.to_owned())]);
    let fields = Fields::from([("content", Value::Str(theirs.to_owned()))]);
    let subject = Subject {
        name: theirs,
        kind: "file",
        host: &host,
        channel: "default",
        labels: &labels,
        host_labels: &labels,
        fields: &fields,
    };
    let vars = Vars::of_export(&subject, &Me::new(host.clone()));
    if let Ok(expression) = Expression::new(source, Scope::Export) {
        assert_eq!(expression.truth(&vars), expression.truth(&vars));
    }
    if let Ok(template) = Template::new(source, Scope::Export) {
        assert_eq!(template.value(&vars), template.value(&vars));
        if let Ok(text) = template.text(&vars) {
            assert!(text.len() <= 1 << 20);
        }
    }
    let path = Template::new("/srv/{{ name }}/x", Scope::Export).expect("it is one");
    if let Ok(path) = path.path(&vars) {
        assert_eq!(path.split('/').count(), 4, "{path:?}");
    }
});
