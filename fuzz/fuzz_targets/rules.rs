//! Any rules and any exports give a collection, in any order of the exports the same, and one bad
//! exporter takes nothing from another one.
//!
//! Refuses texts with mistakes: those are the target `yaml`.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use quorate::collect::{self, Export, offline};
use quorate::ident::HostName;
use quorate::yaml;

fuzz_target!(|texts: (&str, &str)| {
    let (rules, exports) = texts;
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
