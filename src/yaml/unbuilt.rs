//! What mgmt's files may say and this version does not do yet, so that it is refused by its name.
//!
//! Refuses to be a plan: an entry goes when the thing is built, and a test says when one is left.

/// Kinds that mgmt's YAML files use.
const KINDS: [&str; 15] = [
    "augeas",
    "aws:ec2",
    "config:etcd",
    "cron",
    "docker:container",
    "group",
    "hostname",
    "mount",
    "net",
    "nspawn",
    "pkg",
    "svc",
    "user",
    "virt",
    "http:server",
];

/// Fields by kind.
const FIELDS: [(&str, &[&str]); 3] = [
    ("file", &["selinux"]),
    ("password", &["check_recovery"]),
    ("test", &["always_group", "compare_fail", "waitforerror"]),
];

/// Meta parameters.
const META: [&str; 4] = ["dollar", "realize", "reset", "reverse"];

pub(super) fn kind(name: &str) -> bool {
    KINDS.contains(&name)
}

pub(super) fn field(kind: &str, name: &str) -> bool {
    let fields = FIELDS.iter().filter(|(of, _)| *of == kind);
    fields.into_iter().any(|(_, fields)| fields.contains(&name))
}

pub(super) fn meta(name: &str) -> bool {
    META.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::all;

    #[test]
    fn what_is_built_is_not_listed_as_missing() {
        for built in all() {
            assert!(!kind(built.name()), "{}", built.name());
            for one in built.fields() {
                assert!(!field(built.name(), one.name), "{} {}", built.name(), one.name);
            }
        }
        for built in super::super::meta::KEYS {
            assert!(!meta(built), "{built}");
        }
        assert!(all().len() >= 6);
    }
}
