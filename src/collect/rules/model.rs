//! The paths that mgmt's rules gave, written anew from the table of the design and not from our
//! code: thousands of random exports and rules have to give the same in both.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::collect::{Address, Content};
use crate::kind::file::result_path;
use crate::spec::{CollectRule, Fields, HostSelector, Value};

/// How many random cases; more of them by `QUORATE_CASES`.
fn cases() -> u32 {
    std::env::var("QUORATE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

/// A path without empty parts and `.`, with `..` worked out as far as it can be.
fn clean(path: &str) -> String {
    let root = path.starts_with('/');
    let mut out: Vec<String> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part != ".." {
            out.push(part.to_owned());
        } else if out.last().is_some_and(|last| last != "..") {
            out.pop();
        } else if !root {
            out.push("..".to_owned());
        }
    }
    let joined = out.join("/");
    match (root, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// b(p): the last element of the clean path, with the final slash of the path. That of the root is
/// empty.
fn b(path: &str) -> String {
    let clean = clean(path);
    let last = clean.rsplit('/').next().unwrap_or_default();
    format!("{last}{}", if path.ends_with('/') { "/" } else { "" })
}

/// What became of the file in mgmt: its path, or nothing when it left its directory.
fn model(
    name: &str,
    path: Option<&str>,
    base: Option<&str>,
    pattern: Option<&str>,
) -> Option<String> {
    let p = path.unwrap_or(name);
    let Some(pattern) = pattern else {
        return Some(match base {
            None => p.to_owned(),
            Some(base) => {
                let clean = clean(p);
                let dir = clean.rfind('/').map_or("", |at| &clean[..=at]);
                // d(p) is empty for the root.
                if clean == "/" { base.to_owned() } else { format!("{dir}{base}") }
            }
        });
    };
    let full = format!("{pattern}{}", base.map_or_else(|| b(p), str::to_owned));
    let rest = &full[pattern.len()..];
    (!rest.split('/').any(|part| part == "..")).then_some(full)
}

fn any_path() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[ab]{1,2}", 1 => Just(".".to_owned()), 1 => Just("..".to_owned()),
        1 => Just(String::new()),
    ];
    (any::<bool>(), prop::collection::vec(part, 0..5), any::<bool>()).prop_map(
        |(root, parts, end)| {
            let (root, end) = (if root { "/" } else { "" }, if end { "/" } else { "" });
            format!("{root}{}{end}", parts.join("/"))
        },
    )
}

fn any_pattern() -> impl Strategy<Value = Option<String>> {
    prop_oneof![Just(None), Just(Some(String::new())), "(/[xy]{1,2}){0,2}/".prop_map(Some),]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn legacy_rules_give_the_paths_of_the_table(
        name in "[ab]{1,3}|/[ab]{1,2}/?",
        path in prop::option::of(any_path().prop_filter("empty is absent", |it| !it.is_empty())),
        base in prop::option::of("[ab]{1,2}/?|\\.\\./[ab]|\\.\\."),
        patterns in prop::collection::vec(any_pattern(), 1..4),
    ) {
        let pairs = [("path", &path), ("basename", &base)];
        let fields: Fields = pairs
            .into_iter()
            .filter_map(|(key, value)| Some((key, Value::Str(value.clone()?))))
            .collect();
        let address = Address {
            channel: DEFAULT_CHANNEL.to_owned(),
            kind: "file".to_owned(),
            from: HostName::parse("h1").unwrap(),
            name: name.clone(),
        };
        let export = Arc::new(Export {
            address,
            content: Content::Fields(fields),
            revision: 1,
            labels: BTreeMap::new(),
            to: HostSelector::everybody(),
        });
        let rules: Vec<CollectRule> = patterns
            .iter()
            .map(|pattern| CollectRule::Legacy {
                kind: "file".to_owned(),
                pattern: pattern.clone(),
                span: Default::default(),
            })
            .collect();
        // Of several rules the last pattern that is not empty wins.
        let last = patterns.iter().flatten().rfind(|pattern| !pattern.is_empty());
        let me = HostName::parse("lb1").unwrap();
        let found = run(&[export], &rules, &me, &Program::default(), &[]);
        let wanted = model(&name, path.as_deref(), base.as_deref(), last.map(String::as_str));
        match (&found.resources[..], wanted) {
            ([one], Some(wanted)) => {
                prop_assert_eq!(result_path(one.id.name(), &one.fields), wanted);
            }
            ([], None) => prop_assert_eq!(found.held[0].code, Code::Xc04),
            // A path that is none on this machine is held, whatever made it.
            ([], Some(wanted)) => {
                prop_assert_eq!(found.held[0].code, Code::Xc07, "{} {:?}", wanted, found.messages);
                prop_assert!(!wanted.starts_with('/') || clean(&wanted) == "/" , "{}", wanted);
            }
            _ => prop_assert!(false, "{:?}", found),
        }
    }
}
