//! What mgmt's files may say and this version does not do yet, so that it is refused by its name.
//!
//! Refuses to be a plan: an entry goes when the thing is built, and a test says when one is left.

/// Kinds that mgmt's YAML files use.
const KINDS: [&str; 18] = [
    "augeas",
    "aws:ec2",
    "config:etcd",
    "cron",
    "docker:container",
    "group",
    "hostname",
    "mount",
    "msg",
    "net",
    "nspawn",
    "password",
    "pkg",
    "svc",
    "test",
    "user",
    "virt",
    "http:server",
];

/// Fields by kind.
const FIELDS: [(&str, &[&str]); 3] = [
    (
        "exec",
        &[
            "donecmd",
            "donecwd",
            "doneshell",
            "group",
            "ifequals",
            "ifequals_stdout",
            "mtimes",
            "nifcmd",
            "nifcwd",
            "nifshell",
            "refreshonly",
            "send_output",
            "send_stderr",
            "send_stdout",
            "sig",
            "user",
            "watchfiles",
        ],
    ),
    ("file", &["selinux"]),
    ("print", &["refresh_only"]),
];

/// Keys of any resource.
const KEYS: [&str; 2] = ["hosts", "recv"];

/// Meta parameters.
const META: [&str; 14] = [
    "autogroup",
    "burst",
    "delay",
    "dollar",
    "limit",
    "poll",
    "realize",
    "reset",
    "retry",
    "retryreset",
    "reverse",
    "rewatch",
    "sema",
    "timeout",
];

/// Keys of a full collect rule.
const RULE: [&str; 24] = [
    "after", "allow", "as", "before", "channel", "conflict", "drop", "expect", "final", "gather",
    "gone", "hosts", "if", "into", "meta", "notify", "rule", "self", "set", "take", "unset",
    "wait", "where", "within",
];

pub(super) fn kind(name: &str) -> bool {
    KINDS.contains(&name)
}

pub(super) fn field(kind: &str, name: &str) -> bool {
    let fields = FIELDS.iter().filter(|(of, _)| *of == kind);
    KEYS.contains(&name) || fields.into_iter().any(|(_, fields)| fields.contains(&name))
}

pub(super) fn meta(name: &str) -> bool {
    META.contains(&name)
}

pub(super) fn rule(name: &str) -> bool {
    RULE.contains(&name)
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
        assert!(all().len() >= 6);
    }
}
