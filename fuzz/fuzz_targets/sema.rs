//! A lock is `NAME` or `NAME:COUNT` with a count from 1; everything else is refused, and an
//! accepted one keeps its text as its identity.
//!
//! Refuses to know who holds locks.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate::spec::Semaphore;

fuzz_target!(|text: &str| {
    let (name, count) = match text.rsplit_once(':') {
        Some((name, count)) => (name, count),
        None => (text, "1"),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let counted = digits(count) && count.parse::<u32>().is_ok_and(|count| count > 0);
    let good = !name.is_empty() && !digits(name) && counted;
    match Semaphore::parse(text) {
        Ok(lock) => {
            assert!(good, "{text:?} was taken");
            assert_eq!(lock.name().as_ref(), text);
            assert_eq!(lock.count().to_string(), count.trim_start_matches('0'));
        }
        Err(why) => assert!(!good, "{text:?} was refused: {why}"),
    }
});
