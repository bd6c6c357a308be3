//! One export as rules are asked about it.
//!
//! Refuses to decide anything.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::collect::policy::Ruling;
use crate::collect::record::shown;
use crate::collect::{Code, Content, Export};
use crate::kind::Kind;
use crate::matching::Subject;
use crate::spec::Fields;

/// One export with all that is known about it.
pub(super) struct One<'a> {
    pub(super) kind: &'static dyn Kind,
    pub(super) export: &'a Export,
    pub(super) host_labels: &'a BTreeMap<String, String>,
    pub(super) authenticated: bool,
    pub(super) ruling: Ruling,
}

static NO_FIELDS: LazyLock<Fields> = LazyLock::new(Fields::new);

impl One<'_> {
    pub(super) fn subject(&self) -> Subject<'_> {
        let address = &self.export.address;
        Subject {
            name: &address.name,
            kind: &address.kind,
            host: &address.from,
            channel: &address.channel,
            labels: &self.export.labels,
            host_labels: self.host_labels,
            fields: match &self.export.content {
                Content::Fields(fields) => fields,
                _ => &NO_FIELDS,
            },
        }
    }

    /// Its fields, or why there are none.
    pub(super) fn fields(&self) -> Result<&Fields, (Code, String)> {
        match &self.export.content {
            Content::Fields(fields) => Ok(fields),
            Content::Unknown(what) => {
                Err((Code::Xc12, format!("{} is unknown here; ignored", shown(what))))
            }
            Content::Broken(why) => Err((Code::Xc07, format!("{why}; held"))),
        }
    }
}
