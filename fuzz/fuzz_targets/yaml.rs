//! Any text is a program or has mistakes with their places; reading it twice gives the same.
//!
//! Refuses to judge what the program says: that is the target `graph`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate::{diag, yaml};

fuzz_target!(|text: &str| {
    let (program, found) = yaml::parse(text);
    assert_eq!(program.is_some(), !found.iter().any(diag::Diagnostic::is_error), "{found:?}");
    assert!(found.is_sorted_by_key(|one| one.span), "{found:?}");
    for one in &found {
        for (span, _) in one.related.iter().chain([&(one.span, String::new())]) {
            assert!(text.get(span.start..span.end).is_some() && span.line > 0, "{one:?}");
        }
    }
    let shown = diag::render("f", text, &found, false);
    assert_eq!(shown.is_empty(), found.is_empty(), "{shown}");
    assert!(!shown.contains('\u{1b}'), "a text drives the terminal: {shown}");
    assert_eq!(yaml::parse(text), (program, found));
});
