//! The kind `file`: a file or, with a trailing slash, a directory, or a link; its content, from the
//! graph or from other files, its owner, group and mode.
//!
//! Refuses to make missing parent directories without `parents`, to remove what is not empty
//! without `recurse`, to remove what is not wanted without `purge`, to put a file in the place of a
//! directory or the reverse without `force`, and to follow a symbolic link at the end of its path
//! or below it, or one of somebody else on the way. What has a content is made when it is missing;
//! without one, and without `state`, a missing one is an error.

mod check;
mod effects;
mod material;
mod mirror;
mod path;
pub(super) mod place;
mod plan;
pub(super) mod root;
mod tree;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Context, FieldDef, FieldError, FieldType, Hints, Kind, Outcome, Power, Resource, Watch,
};
use crate::ident::ResourceId;
use crate::spec::{Fields, Value};

pub use path::{clean, result_path};
use plan::{Body, Wanted};

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
        doc: "`exists`, `absent`, or `undefined`: must be there already, unless there is a content",
    },
    FieldDef {
        name: "content",
        ty: FieldType::Str,
        doc: "the whole content; empty text empties the file; absent leaves it alone",
    },
    FieldDef {
        name: "source",
        ty: FieldType::Str,
        doc: "the file or, with a trailing slash, the directory of this host to copy; with \
              `symlink`, what the link points to",
    },
    FieldDef {
        name: "fragments",
        ty: FieldType::StrList,
        doc: "files of this host whose contents make the content, one after the other; one with a \
              trailing slash stands for the files in that directory by name",
    },
    FieldDef {
        name: "recurse",
        ty: FieldType::Bool,
        doc: "a directory with all that is in it: copied from `source`, purged or removed",
    },
    FieldDef {
        name: "purge",
        ty: FieldType::Bool,
        doc: "removes what is in the directory and neither in `source` nor managed by another \
              resource; needs `recurse`",
    },
    FieldDef {
        name: "force",
        ty: FieldType::Bool,
        doc: "may replace a directory by a file or the reverse; one that is not empty needs \
              `recurse`, too",
    },
    FieldDef { name: "symlink", ty: FieldType::Bool, doc: "a symbolic link to `source`" },
    FieldDef {
        name: "parents",
        ty: FieldType::Bool,
        doc: "makes missing directories on the way, with mode 0755",
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

    fn sealable(&self) -> &'static [&'static str] {
        &["content"]
    }

    fn places(&self) -> &'static [&'static str] {
        &["path", "dirname", "basename"]
    }

    fn power(&self) -> Power {
        Power::Content
    }

    /// What is no longer exported is removed: a directory only when it is empty.
    fn inverse(&self, fields: &Fields) -> Option<Fields> {
        let places = ["path", "dirname", "basename"];
        let mut inverse = fields.clone();
        inverse.retain(|name, _| places.contains(&name));
        inverse.insert("state", Value::Str("absent".to_owned()));
        Some(inverse)
    }

    fn build(
        &self,
        id: &ResourceId,
        fields: &Fields,
    ) -> Result<Arc<dyn Resource>, Vec<FieldError>> {
        let (path, wanted) = check::wanted(id, fields)?;
        Ok(Arc::new(File { path: path.into(), wanted }))
    }
}

#[derive(Debug)]
struct File {
    /// Clean and absolute, without a trailing slash.
    path: Arc<Path>,
    wanted: Wanted,
}

#[async_trait]
impl Resource for File {
    fn watches(&self) -> Vec<Watch> {
        let entry = |path: Arc<Path>| Watch::Path { path, children: false };
        match &self.wanted.body {
            Body::Any | Body::Content(_) | Body::Link(_) => vec![entry(self.path.clone())],
            Body::Copy(source) => vec![entry(self.path.clone()), entry(source.as_path().into())],
            Body::Fragments(fragments) => {
                let parts = fragments.iter().map(|fragment| Watch::Path {
                    path: fragment.path.as_path().into(),
                    children: fragment.directory,
                });
                [entry(self.path.clone())].into_iter().chain(parts).collect()
            }
            Body::Tree { source, .. } => {
                let source = source.iter().map(|source| source.as_path().into());
                [self.path.clone()].into_iter().chain(source).map(Watch::Tree).collect()
            }
        }
    }

    fn hints(&self) -> Hints {
        let makes = self.wanted.directory && self.wanted.makes();
        Hints { path: Some(self.path.to_path_buf()), directory: makes }
    }

    fn blocks(&self) -> bool {
        true
    }

    fn minds_neighbours(&self) -> bool {
        matches!(self.wanted.body, Body::Tree { purge: true, .. })
    }

    async fn run(&self, cx: &Context) -> Result<Outcome, String> {
        effects::run(&self.path, &self.wanted, cx)
    }
}

#[cfg(test)]
mod tests;
