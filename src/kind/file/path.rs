//! Arithmetic on the paths of files, lexical like mgmt's: no file system is asked.
//!
//! Refuses to judge a path: whether it is absolute or stays below a directory is the caller's
//! question.

use std::path::PathBuf;

use super::super::fields::text;
use crate::spec::Fields;

/// The path that a file resource of this name and these fields manages; a trailing slash means a
/// directory.
///
/// `path` (else the name) as it is, unless `dirname` or `basename` replaces its directory or its
/// last part.
pub fn result_path(name: &str, fields: &Fields) -> String {
    let path = text(fields, "path").unwrap_or(name);
    match (text(fields, "dirname"), text(fields, "basename")) {
        (None, None) => path.to_owned(),
        (None, Some(base)) => directory_part(path) + base,
        (Some(dir), None) => dir.to_owned() + &base_part(path),
        (Some(dir), Some(base)) => dir.to_owned() + base,
    }
}

/// The shortest path that means the same: no empty parts, no `.`, and `..` taken off with the part
/// before it.
pub fn clean(path: &str) -> String {
    if is_clean(path) {
        return path.to_owned();
    }
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(".."),
            },
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// Whether an absolute path is as short as it can be, as most are; of `/` this says nothing.
fn is_clean(path: &str) -> bool {
    let Some(inside) = path.strip_prefix('/') else { return false };
    inside.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// [`clean`], as a path.
pub(super) fn clean_path(path: &str) -> PathBuf {
    PathBuf::from(clean(path))
}

/// The last part, with a slash if the path ends in one. Nothing for the root, so `/` gives `/`.
fn base_part(path: &str) -> String {
    let clean = clean(path);
    let base = clean.rsplit('/').next().unwrap_or_default();
    if path.ends_with('/') { format!("{base}/") } else { base.to_owned() }
}

/// Everything before the last part, with its slash; empty for the root and for a bare name.
fn directory_part(path: &str) -> String {
    let clean = clean(path);
    match clean.rfind('/') {
        Some(_) if clean == "/" => String::new(),
        Some(slash) => clean[..=slash].to_owned(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spec::Value;

    fn result(name: &str, fields: &[(&str, &str)]) -> String {
        let fields =
            fields.iter().map(|(k, v)| ((*k).to_owned(), Value::Str((*v).to_owned()))).collect();
        result_path(name, &fields)
    }

    #[test]
    fn a_pattern_replaces_the_directory_as_in_mgmt() {
        let cases = [
            ("/tmp/mgmtA/fA", "/tmp/mgmtA/fA"),
            ("/tmp/mgmtA/", "/tmp/mgmtA/mgmtA/"),
            ("/tmp/x", "/tmp/mgmtA/x"),
            ("/tmp/xy/z", "/tmp/mgmtA/z"),
            ("/path/to/a/hidden/dir", "/tmp/mgmtA/dir"),
            ("/", "/tmp/mgmtA//"),
            ("/a/..", "/tmp/mgmtA/"),
            ("/a//b/", "/tmp/mgmtA/b/"),
            ("/a/.", "/tmp/mgmtA/a"),
            ("rel/f", "/tmp/mgmtA/f"),
            ("..", "/tmp/mgmtA/.."),
        ];
        for (path, expected) in cases {
            assert_eq!(
                result("f", &[("path", path), ("dirname", "/tmp/mgmtA/")]),
                expected,
                "{path}"
            );
        }
        assert_eq!(result("filea", &[("dirname", "/tmp/mgmtA/")]), "/tmp/mgmtA/filea");
    }

    #[test]
    fn a_basename_replaces_the_last_part() {
        let cases = [
            ("/a/b", "c", "/a/c"),
            ("/a/b/", "c/", "/a/c/"),
            ("/b", "c", "/c"),
            ("/", "c", "c"),
            ("b", "c", "c"),
        ];
        for (path, base, expected) in cases {
            assert_eq!(result("f", &[("path", path), ("basename", base)]), expected, "{path}");
        }
        let both = [("path", "/a/b"), ("dirname", "/o/"), ("basename", "../../etc/x")];
        assert_eq!(result("f", &both), "/o/../../etc/x");
    }

    #[test]
    fn the_name_is_the_path_when_none_is_given() {
        assert_eq!(result("/tmp/d/", &[]), "/tmp/d/");
        assert_eq!(result("/tmp/d/", &[("path", "")]), "/tmp/d/");
    }

    #[test]
    fn cleaning_is_lexical() {
        for (path, expected) in [
            ("", "."),
            ("/..", "/"),
            ("/a/../../b", "/b"),
            ("a/../..", ".."),
            ("../../a", "../../a"),
            ("/a/b/", "/a/b"),
            ("/a//b", "/a/b"),
            ("/a/./.b/c.d", "/a/.b/c.d"),
            ("/", "/"),
            ("//", "/"),
            ("/.", "/"),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_is_clean_already_stays_as_it_is(parts in prop::collection::vec("[a.]{1,3}", 1..5)) {
            let path = format!("/{}", parts.join("/"));
            let same = !parts.iter().any(|part| part == "." || part == "..");
            prop_assert_eq!((is_clean(&path), clean(&path) == path), (same, same));
        }
    }
}
