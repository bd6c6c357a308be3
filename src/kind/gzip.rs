//! The kind `gzip`: a compressed file of another file, or of some content.
//!
//! It watches both files. The same input always gives the same bytes, so the output is compared
//! with what it should be and written only when it differs. Refuses to write half a file.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use flate2::{Compression, GzBuilder};

use super::fence::At;
use super::fields::Reader;
use super::replace::{blocking, converge, reason};
use super::{
    Context, FieldDef, FieldError, FieldType, Hints, Kind, Outcome, Power, Resource, Watch, way,
};
use crate::ident::ResourceId;
use crate::spec::Fields;

/// The kind `gzip`.
#[derive(Debug)]
pub(super) struct GzipKind;

const FIELDS: &[FieldDef] = &[
    FieldDef {
        name: "path",
        ty: FieldType::Str,
        doc: "absolute path of the compressed file; the resource's name when absent",
    },
    FieldDef { name: "input", ty: FieldType::Str, doc: "absolute path of the file to compress" },
    FieldDef { name: "content", ty: FieldType::Str, doc: "what to compress, in place of a file" },
    FieldDef {
        name: "level",
        ty: FieldType::Int,
        doc: "0 (none) to 9 (smallest); -1, the default, is what gzip takes",
    },
];

impl Kind for GzipKind {
    fn name(&self) -> &'static str {
        "gzip"
    }

    fn fields(&self) -> &'static [FieldDef] {
        FIELDS
    }

    /// It may read anything that the agent may.
    fn places(&self) -> &'static [&'static str] {
        &["path"]
    }

    fn power(&self) -> Power {
        Power::Powerful
    }

    fn build(
        &self,
        id: &ResourceId,
        fields: &Fields,
    ) -> Result<Arc<dyn Resource>, Vec<FieldError>> {
        let mut reader = Reader::new(fields);
        let path = reader.path_or_name("path", id.name());
        let level = match reader.number("level", -1..=9, "") {
            None | Some(-1) => Compression::default(),
            Some(level) => Compression::new(u32::try_from(level).unwrap_or_default()),
        };
        let from = match (reader.absolute("input"), reader.raw("content")) {
            (Some(input), None) => Source::File(input),
            (None, content) => Source::Content(content.unwrap_or_default()),
            (Some(_), Some(content)) => {
                let message = "`content` and `input` exclude each other".to_owned();
                reader.refuse("content", message, "remove one of them");
                Source::Content(content)
            }
        };
        if matches!(&from, Source::File(input) if *input == path) {
            let message = "`input` is the file that is made of it".to_owned();
            reader.refuse("input", message, "name another `path`, for instance with `.gz`");
        }
        if !reader.has("content") && reader.text("input").is_none() {
            let message = "a gzip needs `input` or `content`".to_owned();
            reader.refuse("content", message, "add what to compress");
        }
        reader.done(Arc::new(Gzip { path, from, level }) as Arc<dyn Resource>)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Content(String),
}

#[derive(Clone, Debug)]
struct Gzip {
    path: PathBuf,
    from: Source,
    level: Compression,
}

impl Gzip {
    /// No name, no time: nothing in the output but the content.
    fn fill(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut encoder = GzBuilder::new().mtime(0).write(to, self.level);
        match &self.from {
            Source::File(input) => {
                let opened = way::file(input).and_then(|file| match file.metadata()?.is_file() {
                    true => Ok(file),
                    false => Err(io::Error::other("it is no regular file; name one")),
                });
                let mut file = opened.map_err(|error| {
                    io::Error::other(format!("cannot read {}: {}", input.display(), reason(&error)))
                })?;
                io::copy(&mut file, &mut encoder)?;
            }
            Source::Content(content) => encoder.write_all(content.as_bytes())?,
        }
        encoder.finish().map(drop)
    }

    /// Why the input cannot be compressed.
    fn input_error(&self) -> Option<String> {
        let Source::File(input) = &self.from else { return None };
        let shown = input.display();
        match std::fs::metadata(input) {
            Ok(found) if found.is_file() => None,
            Ok(_) => Some(format!("{shown} (input) is no regular file; name one")),
            Err(error) => {
                let why = reason(&error);
                Some(format!("cannot read {shown} (input): {why}; create it, or name another"))
            }
        }
    }
}

#[async_trait]
impl Resource for Gzip {
    fn watches(&self) -> Vec<Watch> {
        let path = |path: &PathBuf| Watch::Path { path: path.as_path().into(), children: false };
        match &self.from {
            Source::File(input) => vec![path(&self.path), path(input)],
            Source::Content(_) => vec![path(&self.path)],
        }
    }

    fn hints(&self) -> Hints {
        Hints { path: Some(self.path.clone()), directory: false }
    }

    async fn run(&self, cx: &Context) -> Result<Outcome, String> {
        let (gzip, apply, cancel) = (self.clone(), cx.apply, cx.cancel.clone());
        let within = cx.within.clone();
        blocking(move || match gzip.input_error() {
            // What makes the input may not be allowed to change anything either.
            Some(why) if !apply => Ok(Outcome::WouldChange(why)),
            Some(why) => Err(why),
            None => {
                let at = At { path: &gzip.path, within: within.as_deref() };
                converge(at, apply, &cancel, |to| gzip.fill(to))
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    use flate2::read::GzDecoder;

    use super::super::trial::{
        Given, build, build_values, changed, context, mistakes, would_change,
    };
    use super::*;
    use crate::spec::Value;

    fn unpacked(path: &std::path::Path) -> Vec<u8> {
        let mut bytes = Vec::new();
        GzDecoder::new(File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[tokio::test]
    async fn the_output_is_written_once_repaired_and_follows_its_input() {
        let dir = tempfile::tempdir().unwrap();
        let (input, path) = (dir.path().join("in"), dir.path().join("out.gz"));
        let name = path.to_str().unwrap();
        let gzip = build("gzip", name, &[("input", input.to_str().unwrap())]).unwrap();
        let cx = context();
        let error = gzip.run(&cx).await.unwrap_err();
        assert!(error.ends_with("create it, or name another"), "{error}");
        would_change(gzip.run(&Context { apply: false, ..cx.clone() }).await);
        let long = vec![b'x'; 300_000];
        fs::write(&input, &long).unwrap();
        assert_eq!(changed(gzip.run(&cx).await), "created");
        let inode = fs::metadata(&path).unwrap().ino();
        assert_eq!(gzip.run(&cx).await, Ok(Outcome::Unchanged));
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode, "what is right is not rewritten");
        assert_eq!(unpacked(&path), long);
        fs::write(&path, "damaged").unwrap();
        assert_eq!(
            would_change(gzip.run(&Context { apply: false, ..cx.clone() }).await),
            "written"
        );
        assert_eq!(changed(gzip.run(&cx).await), "written");
        fs::write(&input, "short").unwrap();
        changed(gzip.run(&cx).await);
        assert_eq!(unpacked(&path), b"short");
        let path = |path: &PathBuf| Watch::Path { path: path.as_path().into(), children: false };
        assert_eq!(gzip.watches(), [path(&dir.path().join("out.gz")), path(&input)]);
    }

    /// The pipe came after the input was looked at.
    #[test]
    fn a_pipe_holds_nobody_up_and_the_output_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let (input, path) = (dir.path().join("in"), dir.path().join("out.gz"));
        nix::unistd::mkfifo(&input, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let level = Compression::default();
        let gzip = Gzip { path: path.clone(), from: Source::File(input.clone()), level };
        let error = gzip.fill(&mut io::sink()).unwrap_err().to_string();
        assert!(error.ends_with("it is no regular file; name one"), "{error}");
        fs::remove_file(&input).unwrap();
        fs::write(&input, "secret").unwrap();
        converge(&path, true, &context().cancel, |to| gzip.fill(to)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    }

    #[tokio::test]
    async fn content_is_compressed_at_any_level() {
        let dir = tempfile::tempdir().unwrap();
        for level in [-1, 0, 9] {
            let path = dir.path().join(format!("{level}.gz"));
            let content = ("content", Value::Str("hello".to_owned()));
            let fields = [content, ("level", Value::Int(level))];
            let gzip = build_values("gzip", path.to_str().unwrap(), &fields).unwrap();
            changed(gzip.run(&context()).await);
            assert_eq!(unpacked(&path), b"hello");
        }
    }

    #[tokio::test]
    async fn a_run_that_is_given_up_ends_and_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.gz");
        fs::write(&path, "old").unwrap();
        let gzip = build("gzip", path.to_str().unwrap(), &[("content", "new")]).unwrap();
        let cx = context();
        cx.cancel.cancel();
        assert!(gzip.run(&cx).await.unwrap_err().ends_with("cancelled"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }

    #[test]
    fn every_mistake_is_reported() {
        let text = |text: &str| Value::Str(text.to_owned());
        let cases: [(&str, Given, &[&str]); 4] = [
            ("/out", &[], &["content"]),
            ("rel", &[("content", text("")), ("level", Value::Int(10))], &["path", "level"]),
            ("/out", &[("input", text("/out"))], &["input"]),
            ("/out", &[("input", text("in")), ("content", text(""))], &["input", "content"]),
        ];
        for (name, fields, wrong) in cases {
            assert_eq!(mistakes("gzip", name, fields), wrong, "{fields:?}");
        }
    }
}
