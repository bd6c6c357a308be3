//! Any rules and any exports give a collection, in any order of the exports the same, and one bad
//! exporter takes nothing from another one.
//!
//! The rules come first, as a graph file, then a line `%%`, then the exports as a document. Refuses
//! texts with mistakes: those are the target `yaml`.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use quorate::collect::{self, Export, offline};
use quorate::ident::HostName;
use quorate::yaml;

fuzz_target!(|text: &str| {
    let (rules, exports) = text.split_once("\n%%\n").unwrap_or((text, EXPORTS));
    let Some(program) = yaml::parse(rules).0 else { return };
    let Ok(site) = offline::parse(exports) else { return };
    let me = HostName::parse("lb1").expect("it is a name");
    let run = |exports: &[Arc<Export>]| collect::run(exports, &program.collect, &me, &program, &[]);
    let first = run(&site.exports);
    let mut turned = site.exports.clone();
    turned.reverse();
    assert_eq!(run(&turned), first);
    assert!(first.resources.is_sorted_by(|a, b| a.id < b.id), "{first:?}");
    for message in &first.messages {
        assert!(!message.chars().any(char::is_control), "{message:?}");
    }
});

/// What rules alone are asked about.
const EXPORTS: &str = r#"{"v":1,"exports":[
    {"from":"web1","kind":"file","name":"a","labels":{"role":"web"},
        "fields":{"path":"/etc/a","content":"one","mode":"0644"}},
    {"from":"web2","kind":"file","name":"a","labels":{"role":"web"},"fields":{"content":"two"}},
    {"from":"web2","kind":"file","name":"../x","fields":{"content":"{{ 7*7 }}","mode":"4755"}},
    {"from":"db1","kind":"exec","name":"e","fields":{"cmd":"/bin/true"}},
    {"from":"db1","kind":"kv","name":"up","fields":{"key":"up","value":"1"}},
    {"from":"db1","kind":"file","name":"s","to":["lb1"],"fields":{"path":"/etc/s"},
        "sealed":{"fields":["content"],"to":["lb1"]}},
    {"from":"db2","kind":"file","name":"b","unreadable":"the record is not a JSON object"}],
    "hosts":{"web1":{"labels":{"site":"a"},"authenticated":true}}}"#;
