//! The kind `line`: one exact line is in a file, or is not.
//!
//! It watches the file. Refuses to make a directory, to write through a link, and to lose what
//! somebody else wrote in the meantime: the file is looked at again before it is replaced.

use std::fs::Metadata;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::fence::At;
use super::fields::Reader;
use super::replace::{blocking, open, reason, replace_if};
use super::{
    Context, FieldDef, FieldError, FieldType, Hints, Kind, Outcome, Power, Resource, Watch,
};
use crate::ident::ResourceId;
use crate::spec::{Fields, Value};

/// The longest file, in bytes: it is held in memory twice.
const FILE_MAX: u64 = 16 << 20;

/// How often the file is read anew when others change it under our hands.
const TRIES: usize = 5;

/// The kind `line`.
#[derive(Debug)]
pub(super) struct LineKind;

const FIELDS: &[FieldDef] = &[
    FieldDef {
        name: "file",
        ty: FieldType::Str,
        doc: "absolute path of the file; the resource's name when absent",
    },
    FieldDef {
        name: "state",
        ty: FieldType::Str,
        doc: "`exists` (the default) or `absent`, which removes every such line",
    },
    FieldDef {
        name: "content",
        ty: FieldType::Str,
        doc: "the line; a line end at its end is free",
    },
    FieldDef {
        name: "trim",
        ty: FieldType::Bool,
        doc: "compare without the white space around lines",
    },
];

impl Kind for LineKind {
    fn name(&self) -> &'static str {
        "line"
    }

    fn fields(&self) -> &'static [FieldDef] {
        FIELDS
    }

    fn sealable(&self) -> &'static [&'static str] {
        &["content"]
    }

    fn places(&self) -> &'static [&'static str] {
        &["file"]
    }

    /// The file may be anything, `/etc/passwd` for instance.
    fn power(&self) -> Power {
        Power::Powerful
    }

    /// The line goes.
    fn inverse(&self, fields: &Fields) -> Option<Fields> {
        let mut inverse = fields.clone();
        inverse.insert("state", Value::Str("absent".to_owned()));
        Some(inverse)
    }

    fn build(
        &self,
        id: &ResourceId,
        fields: &Fields,
    ) -> Result<Arc<dyn Resource>, Vec<FieldError>> {
        let mut reader = Reader::new(fields);
        let path = reader.path_or_name("file", id.name());
        let present = reader.choice("state", &[("exists", true), ("absent", false)], true);
        let mut content = reader.raw("content").unwrap_or_default();
        // What a command printed ends in one.
        if content.ends_with('\n') {
            content.pop();
        }
        if !reader.has("content") {
            let message = "a line needs `content`".to_owned();
            reader.refuse("content", message, "add the line, for instance `content: a=b`");
        } else if content.contains(['\n', '\r']) {
            let message = "`content` is more than one line".to_owned();
            reader.refuse("content", message, "write one line of it");
        }
        let wanted = Wanted { content, present, trim: reader.flag("trim") };
        reader.done(Arc::new(Line { path, wanted }) as Arc<dyn Resource>)
    }
}

#[derive(Clone, Debug)]
struct Wanted {
    content: String,
    present: bool,
    trim: bool,
}

impl Wanted {
    /// What the file has to hold; nothing when it is right.
    fn plan(&self, old: Option<&[u8]>) -> Option<Vec<u8>> {
        let bytes = old.unwrap_or_default();
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        if !self.present {
            let kept: Vec<u8> =
                lines.filter(|line| !self.is_ours(line)).flatten().copied().collect();
            return (kept.len() < bytes.len()).then_some(kept);
        }
        if lines.any(|line| self.is_ours(line)) {
            return None;
        }
        let mut new = bytes.to_vec();
        if !matches!(new.last(), None | Some(b'\n')) {
            new.push(b'\n');
        }
        new.extend(self.content.as_bytes());
        new.push(b'\n');
        Some(new)
    }

    fn is_ours(&self, line: &[u8]) -> bool {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let ours = self.content.as_bytes();
        if self.trim { line.trim_ascii() == ours.trim_ascii() } else { line == ours }
    }
}

#[derive(Debug)]
struct Line {
    path: PathBuf,
    wanted: Wanted,
}

/// What a file held, and what tells that it is another one by now or was written again.
#[derive(PartialEq, Eq)]
struct Held {
    bytes: Vec<u8>,
    stamp: (u64, u64, u64, i64, i64),
}

impl Held {
    fn stamp(found: &Metadata) -> (u64, u64, u64, i64, i64) {
        (found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec())
    }
}

/// What the file holds; nothing when there is none.
fn read(at: At<'_>) -> Result<Option<Held>, String> {
    let Some(file) = open(at)? else { return Ok(None) };
    let path = at.path;
    let mut bytes = Vec::new();
    let found = file.metadata();
    let found =
        found.map_err(|error| format!("cannot look at {}: {}", path.display(), reason(&error)))?;
    let read = file.take(FILE_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot read {}: {}", path.display(), reason(&error)))?;
    if bytes.len() as u64 > FILE_MAX {
        let path = path.display();
        return Err(format!("{path} is larger than {FILE_MAX} bytes; change it another way"));
    }
    Ok(Some(Held { bytes, stamp: Held::stamp(&found) }))
}

fn converge(at: At<'_>, wanted: &Wanted, apply: bool) -> Result<Outcome, String> {
    let words = if wanted.present { "line added" } else { "line removed" };
    for _ in 0..TRIES {
        let old = read(at)?;
        let Some(new) = wanted.plan(old.as_ref().map(|old| &old.bytes[..])) else {
            return Ok(Outcome::Unchanged);
        };
        if !apply {
            return Ok(Outcome::WouldChange(words.to_owned()));
        }
        let mut raced = false;
        // Waiting for the disk takes long, so they are compared after that.
        let unchanged = || {
            raced = read(at).map_err(io::Error::other)? != old;
            if raced { Err(io::Error::other("changed by others")) } else { Ok(()) }
        };
        let written = replace_if(at, 0o644, |file| file.write_all(&new), unchanged);
        match written {
            Ok(()) => return Ok(Outcome::Changed(words.to_owned())),
            Err(_) if raced => {}
            Err(why) => return Err(why),
        }
    }
    let path = at.path.display();
    Err(format!("{path} was changed by others {TRIES} times in a row; see who else writes it"))
}

#[async_trait]
impl Resource for Line {
    fn watches(&self) -> Vec<Watch> {
        vec![Watch::Path { path: self.path.as_path().into(), children: false }]
    }

    fn hints(&self) -> Hints {
        Hints { path: Some(self.path.clone()), directory: false }
    }

    async fn run(&self, cx: &Context) -> Result<Outcome, String> {
        let (path, wanted, apply) = (self.path.clone(), self.wanted.clone(), cx.apply);
        let within = cx.within.clone();
        blocking(move || {
            let at = At { path: &path, within: within.as_deref() };
            converge(at, &wanted, apply)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::Path;

    use super::super::trial::{build, build_values, changed, context, would_change};
    use super::*;
    use crate::spec::Value;

    #[test]
    fn one_line_is_added_once_and_every_one_of_it_removed() {
        let cases: [(bool, bool, Option<&str>, Option<&str>); 14] = [
            (true, false, None, Some("a b\n")),
            (true, false, Some(""), Some("a b\n")),
            (true, false, Some("x\n"), Some("x\na b\n")),
            (true, false, Some("x"), Some("x\na b\n")),
            (true, false, Some("a b"), None),
            (true, false, Some("x\na b\ny\n"), None),
            (true, false, Some("a b c\n a b\n"), Some("a b c\n a b\na b\n")),
            (true, true, Some("x\n\ta b \r\n"), None),
            (false, false, None, None),
            (false, false, Some("x\n"), None),
            (false, false, Some("a b\nx\na b"), Some("x\n")),
            (false, false, Some(" a b\n"), None),
            (false, true, Some(" a b\nx"), Some("x")),
            (false, false, Some("a b\n"), Some("")),
        ];
        for (present, trim, old, expected) in cases {
            let wanted = Wanted { content: "a b".to_owned(), present, trim };
            let new = wanted.plan(old.map(str::as_bytes));
            assert_eq!(new.as_deref(), expected.map(str::as_bytes), "{present} {trim} {old:?}");
            if let Some(new) = new {
                assert_eq!(wanted.plan(Some(&new)), None, "the second look finds it right");
            }
        }
    }

    #[test]
    fn every_mistake_is_reported() {
        for (name, fields, wrong) in [
            ("rel", &[][..], &["file", "content"][..]),
            ("/f", &[("content", "a\nb"), ("state", "gone")], &["state", "content"]),
            ("/f", &[("file", "rel"), ("content", "")], &["file"]),
        ] {
            let errors = build("line", name, fields).unwrap_err();
            let fields: Vec<_> = errors.iter().map(|one| one.field.unwrap_or("-")).collect();
            assert_eq!(fields, wrong);
        }
    }

    #[tokio::test]
    async fn a_changed_file_keeps_its_mode_and_its_other_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, b"\xff\none\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let name = path.to_str().unwrap();
        let add = build("line", name, &[("content", "two\n")]).unwrap();
        let looking = Context { apply: false, ..context() };
        assert_eq!(would_change(add.run(&looking).await), "line added");
        assert_eq!(changed(add.run(&context()).await), "line added");
        assert_eq!(add.run(&context()).await, Ok(Outcome::Unchanged));
        assert_eq!(fs::read(&path).unwrap(), b"\xff\none\ntwo\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let fields = [("file", name), ("content", "one"), ("state", "absent")];
        let remove = build("line", "x", &fields).unwrap();
        assert_eq!(changed(remove.run(&context()).await), "line removed");
        assert_eq!(fs::read(&path).unwrap(), b"\xff\ntwo\n");
        assert_eq!(remove.watches(), [Watch::Path { path: path.into(), children: false }]);
    }

    #[test]
    fn a_file_that_was_written_again_or_replaced_by_an_equal_one_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("f"), dir.path().join("g"));
        let time = |path: &Path, seconds| {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        };
        fs::write(&path, "x").unwrap();
        fs::write(&other, "x").unwrap();
        time(&path, 1);
        let before = read(At::from(&path)).unwrap();
        assert!(read(At::from(&path)).unwrap() == before);
        time(&path, 2);
        assert!(read(At::from(&path)).unwrap() != before);
        time(&other, 1);
        fs::rename(&other, &path).unwrap();
        assert!(read(At::from(&path)).unwrap() != before);
    }

    #[tokio::test]
    async fn what_is_no_plain_file_is_refused_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let line = |path: &Path| {
            let content = ("content", Value::Str("x".to_owned()));
            build_values("line", path.to_str().unwrap(), &[content]).unwrap()
        };
        let error = line(dir.path()).run(&context()).await.unwrap_err();
        assert!(error.contains("is no regular file"), "{error}");
        let error = line(&dir.path().join("no/f")).run(&context()).await.unwrap_err();
        assert!(error.contains("declare its directory"), "{error}");
    }
}
