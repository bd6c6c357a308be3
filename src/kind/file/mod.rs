//! The kind `file`: a file or, with a trailing slash, a directory; its content, owner, group and
//! mode.
//!
//! Refuses to make missing parent directories, to remove what is not empty, and to follow a
//! symbolic link at the end of its path. A file with `content` is made when it is missing; without
//! `content` and `state` a missing one is an error.

mod effects;
mod path;
mod plan;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::fields::{mistake, no_nul, text};
use super::{
    Context, FieldDef, FieldError, FieldType, Hints, Kind, Outcome, Power, Resource, Watch,
    str_field,
};
use crate::ident::ResourceId;
use crate::spec::Fields;

pub use path::{clean, result_path};
use plan::{State, Wanted};

/// The kind `file`.
#[derive(Debug)]
pub struct FileKind;

const FIELDS: &[FieldDef] = &[
    FieldDef {
        name: "path",
        ty: FieldType::Str,
        doc: "absolute path, the name when absent; a trailing slash means a directory",
    },
    FieldDef {
        name: "dirname",
        ty: FieldType::Str,
        doc: "replaces the directory part of the path; ends in a slash",
    },
    FieldDef {
        name: "basename",
        ty: FieldType::Str,
        doc: "replaces the last part of the path; does not start with a slash",
    },
    FieldDef {
        name: "state",
        ty: FieldType::Str,
        doc: "`exists`, `absent`, or `undefined`: must be there already, unless there is `content`",
    },
    FieldDef {
        name: "content",
        ty: FieldType::Str,
        doc: "the whole content; empty text empties the file; absent leaves it alone",
    },
    FieldDef { name: "owner", ty: FieldType::Str, doc: "user name or numeric id" },
    FieldDef { name: "group", ty: FieldType::Str, doc: "group name or numeric id" },
    FieldDef {
        name: "mode",
        ty: FieldType::Str,
        doc: "permissions as octal digits, for instance `0644`; `4755` is set-user-id too",
    },
];

/// The longest content, in bytes: it is held in memory, and exported ones pass through the store.
const CONTENT_MAX: usize = 16 << 20;

impl Kind for FileKind {
    fn name(&self) -> &'static str {
        "file"
    }

    fn fields(&self) -> &'static [FieldDef] {
        FIELDS
    }

    fn power(&self) -> Power {
        Power::Content
    }

    fn build(
        &self,
        id: &ResourceId,
        fields: &Fields,
    ) -> Result<Arc<dyn Resource>, Vec<FieldError>> {
        let mut errors = Vec::new();
        no_nul(fields, &["path", "dirname", "basename", "owner", "group"], &mut errors);
        let shown = check_path(id, fields, &mut errors);
        let directory = shown.ends_with('/');
        let state = check_state(fields, &mut errors);
        let mode = check_mode(fields, &mut errors);
        let content = check_content(fields, directory, state, &mut errors);
        if !errors.is_empty() {
            return Err(errors);
        }
        let owned = |name| text(fields, name).map(str::to_owned);
        let wanted = Wanted {
            directory,
            state,
            content,
            owner: owned("owner"),
            group: owned("group"),
            mode,
        };
        Ok(Arc::new(File { path: path::clean_path(&shown), wanted: Arc::new(wanted) }))
    }
}

/// The result path; mistakes in the fields that make it.
fn check_path(id: &ResourceId, fields: &Fields, errors: &mut Vec<FieldError>) -> String {
    if let Some(dirname) = text(fields, "dirname").filter(|dir| !dir.ends_with('/')) {
        let message = format!("`dirname` is `{dirname}`, which does not end in a slash");
        errors.push(mistake("dirname", message, &format!("write `{dirname}/`")));
    }
    if let Some(basename) = text(fields, "basename").filter(|base| base.starts_with('/')) {
        let message = format!("`basename` is `{basename}`, which starts with a slash");
        errors.push(mistake("basename", message, "give only the last part of the path"));
    }
    let path = result_path(id.name(), fields);
    if !path.starts_with('/') {
        let field = ["dirname", "path"].into_iter().find(|name| text(fields, name).is_some());
        errors.push(FieldError {
            field,
            message: format!("the path `{path}` is not absolute"),
            help: Some("give a path that starts with a slash, with `path` or as the name".into()),
        });
    }
    if path.contains('\0') {
        errors.push(FieldError {
            field: None,
            message: "the path contains a NUL byte".to_owned(),
            help: Some("remove it".to_owned()),
        });
    }
    path
}

fn check_state(fields: &Fields, errors: &mut Vec<FieldError>) -> State {
    match text(fields, "state") {
        None | Some("undefined") => State::Undefined,
        Some("exists") => State::Exists,
        Some("absent") => State::Absent,
        Some(other) => {
            let message = format!("`state` is `{other}`");
            errors.push(mistake("state", message, "write `exists`, `absent` or `undefined`"));
            State::Undefined
        }
    }
}

fn check_mode(fields: &Fields, errors: &mut Vec<FieldError>) -> Option<u32> {
    let mode = text(fields, "mode")?;
    let octal = mode.strip_prefix("0o").unwrap_or(mode);
    let digits = !octal.is_empty() && octal.bytes().all(|b| (b'0'..=b'7').contains(&b));
    match u32::from_str_radix(octal, 8) {
        Ok(bits) if digits && bits <= 0o7777 => Some(bits),
        _ => {
            let message = format!("`mode` is `{mode}`, which is not an octal mode up to 7777");
            errors.push(mistake("mode", message, "write octal digits, for instance `0644`"));
            None
        }
    }
}

fn check_content(
    fields: &Fields,
    directory: bool,
    state: State,
    errors: &mut Vec<FieldError>,
) -> Option<Vec<u8>> {
    let content = str_field(fields, "content")?;
    let mut refuse = |message: String, help| errors.push(mistake("content", message, help));
    if directory {
        refuse(
            "a directory cannot have `content`".to_owned(),
            "take the slash off the end of the path, or remove `content`",
        );
    }
    if state == State::Absent {
        refuse(
            "`content` contradicts `state: absent`".to_owned(),
            "remove `content`, or write `state: exists`",
        );
    }
    if content.len() > CONTENT_MAX {
        refuse(
            format!("`content` has {} bytes; at most {CONTENT_MAX} are possible", content.len()),
            "ship large files another way",
        );
    }
    Some(content.as_bytes().to_vec())
}

#[derive(Debug)]
struct File {
    /// Clean and absolute, without a trailing slash.
    path: PathBuf,
    wanted: Arc<Wanted>,
}

#[async_trait]
impl Resource for File {
    fn watches(&self) -> Vec<Watch> {
        vec![Watch::Path { path: self.path.clone(), children: false }]
    }

    fn hints(&self) -> Hints {
        let makes = self.wanted.directory && self.wanted.state == State::Exists;
        Hints { path: Some(self.path.clone()), directory: makes }
    }

    async fn run(&self, cx: &Context) -> Result<Outcome, String> {
        effects::run(self.path.clone(), Arc::clone(&self.wanted), cx).await
    }
}

#[cfg(test)]
mod tests;
