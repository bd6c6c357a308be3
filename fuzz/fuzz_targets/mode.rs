//! The field `mode` of `file` takes octal digits up to 7777 and nothing else, and says which field
//! is wrong.
//!
//! Refuses to touch files.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate::ident::ResourceId;
use quorate::kind;
use quorate::spec::{Fields, Value};

fuzz_target!(|text: &str| {
    let file = kind::find("file").expect("the kind is built in");
    let fields = Fields::from([
        ("content".to_owned(), Value::Str(String::new())),
        ("mode".to_owned(), Value::Str(text.to_owned())),
    ]);
    let built = file.build(&ResourceId::new("file", "/f"), &fields);
    let octal = text.strip_prefix("0o").unwrap_or(text);
    let digits = !octal.is_empty() && octal.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let significant = octal.trim_start_matches('0');
    let good = text.is_empty() || (digits && significant.len() <= 4);
    match built {
        Ok(_) => assert!(good, "{text:?} was taken"),
        Err(errors) => {
            assert!(!good, "{text:?} was refused: {errors:?}");
            assert!(errors.iter().all(|one| one.field == Some("mode")), "{errors:?}");
        }
    }
});
