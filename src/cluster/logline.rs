//! What etcd's log lines mean (4.4).
//!
//! Refuses to read exit codes: etcd exits with 0 when it was removed and with 1 for nearly
//! everything else, so the line decides.

use serde::Deserialize;

/// What a line, or the last lines before an exit, say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The list of members that it was started with is out of date.
    StaleList,
    /// The others have removed this member.
    Removed,
    /// The log has entries that the data lack: the disk was lost.
    Amnesia,
    /// This version cannot join.
    Version,
    /// A port is taken.
    Port,
    /// Another process holds the data.
    Locked,
    /// A member of another cluster answers at an address of ours.
    Foreign,
    /// The data are damaged.
    Disk,
    /// It ended in the middle of something; its data may be the reason.
    Panic,
    /// The disk or the quota is full.
    Space,
    /// Slow, but working.
    Slow,
    /// A flag or variable that we should not have passed.
    Usage,
}

/// Text in a line, in lower case, and what it means. The first match counts.
const PHRASES: &[(&str, Class)] = &[
    ("member count is unequal", Class::StaleList),
    ("error validating peerurls", Class::StaleList),
    ("the member has been permanently removed", Class::Removed),
    ("data-dir used by this member must be removed", Class::Removed),
    // What 3.4 panics with when it is asked something in the moment of its removal.
    ("failed to find local id in cluster members", Class::Removed),
    ("is out of range [lastindex", Class::Amnesia),
    ("incompatible with current running cluster", Class::Version),
    ("invalid downgrade", Class::Version),
    ("bind: address already in use", Class::Port),
    ("flocked by another process", Class::Locked),
    ("request cluster id mismatch", Class::Foreign),
    ("due to cluster id mismatch", Class::Foreign),
    ("walpb: crc mismatch", Class::Disk),
    ("integer overflow", Class::Disk),
    ("checksum mismatch", Class::Disk),
    ("invalid database", Class::Disk),
    ("file size too small", Class::Disk),
    ("freepages: ", Class::Disk),
    ("failed to find database snapshot", Class::Disk),
    ("max entry size limit exceeded", Class::Disk),
    ("no space left", Class::Space),
    ("database space exceeded", Class::Space),
    ("nospace", Class::Space),
    ("took too long", Class::Slow),
    ("overloaded", Class::Slow),
    ("sending buffer is full", Class::Slow),
    ("clock difference", Class::Slow),
    ("expected ip in url for binding", Class::Usage),
    ("conflicting environment variable", Class::Usage),
    ("flag provided but not defined", Class::Usage),
    ("panic: ", Class::Panic),
    ("fatal error: ", Class::Panic),
];

/// One line of etcd, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `info`, `warn`, `error`, `fatal`, `panic`; plain lines count as `error`.
    pub level: String,
    /// The message and its error, for people.
    pub message: String,
    /// What it means, if it is one that we know.
    pub class: Option<Class>,
}

/// The parts of a JSON line that are read. etcd writes many more.
#[derive(Deserialize)]
struct Json {
    level: String,
    msg: String,
    error: Option<String>,
}

/// Reads one line. 3.4 writes mistakes in flags as plain text, before its logger starts.
pub fn read(text: &str) -> Line {
    let lower = text.to_lowercase();
    let class = PHRASES.iter().find(|(phrase, _)| lower.contains(phrase)).map(|(_, class)| *class);
    match serde_json::from_str::<Json>(text) {
        Ok(Json { level, msg, error }) => {
            let message = match error {
                Some(error) if !error.is_empty() => format!("{msg}: {error}"),
                _ => msg,
            };
            Line { level, message, class }
        }
        Err(_) => Line { level: "error".into(), message: text.trim().into(), class },
    }
}

/// What the lines before an exit say: the last that is more than slowness.
pub fn cause(lines: &[Line]) -> Option<&Line> {
    let telling =
        |line: &&Line| line.class.is_some_and(|c| c != Class::Slow && c != Class::Foreign);
    let grave = |line: &&Line| matches!(line.level.as_str(), "error" | "fatal" | "panic");
    lines.iter().rev().find(telling).or_else(|| lines.iter().rev().find(grave))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        for (text, level, class) in [
            (
                concat!(
                    r#"{"level":"fatal","msg":"discovery failed","#,
                    r#""error":"error validating peerURLs {..}: member count is unequal"}"#
                ),
                "fatal",
                Some(Class::StaleList),
            ),
            (
                concat!(
                    r#"{"level":"warn","msg":"server error","#,
                    r#""error":"the member has been permanently removed from the cluster"}"#
                ),
                "warn",
                Some(Class::Removed),
            ),
            (r#"{"level":"info","msg":"ready to serve client requests"}"#, "info", None),
            ("listen tcp 127.0.0.1:2379: bind: address already in use", "error", Some(Class::Port)),
            ("panic: tocommit(30) is out of range [lastIndex(0)]", "error", Some(Class::Amnesia)),
            ("panic: failed to find local ID in cluster members", "error", Some(Class::Removed)),
            ("panic: runtime error: index out of range", "error", Some(Class::Panic)),
            ("", "error", None),
        ] {
            let line = read(text);
            assert_eq!((line.level.as_str(), line.class), (level, class), "{text}");
        }
    }

    #[test]
    fn the_cause_of_an_exit_is_the_last_telling_line() {
        let lines: Vec<Line> = [
            "bind: address already in use",
            r#"{"level":"warn","msg":"apply request took too long"}"#,
            r#"{"level":"info","msg":"closing"}"#,
        ]
        .iter()
        .map(|t| read(t))
        .collect();
        assert_eq!(cause(&lines).and_then(|l| l.class), Some(Class::Port));
        assert_eq!(cause(&lines[1..]), None);
        let lines = [read(r#"{"level":"fatal","msg":"unknown trouble"}"#)];
        assert_eq!(cause(&lines).map(|l| l.message.as_str()), Some("unknown trouble"));
    }
}
