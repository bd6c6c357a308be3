//! One export as rules are asked about it.
//!
//! Refuses to decide anything, and to let conditions, names and paths see what was sealed: what
//! they see shows in messages.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::collect::policy::Ruling;
use crate::collect::record::shown;
use crate::collect::sealing;
use crate::collect::{Code, Content, Export};
use crate::kind::Kind;
use crate::matching::{Me, Subject, Vars};
use crate::spec::Fields;

/// One export with all that is known about it.
pub(super) struct One<'a> {
    pub(super) kind: &'static dyn Kind,
    pub(super) export: &'a Export,
    pub(super) host_labels: &'a BTreeMap<String, String>,
    pub(super) authenticated: bool,
    pub(super) ruling: Ruling,
    /// All fields, if some are sealed.
    pub(super) opened: Option<Fields>,
}

static NO_FIELDS: LazyLock<Fields> = LazyLock::new(Fields::new);

/// All fields of an export for this host, if some of them are sealed; or why they cannot be opened.
pub(super) fn opened(export: &Export, me: &Me) -> Result<Option<Fields>, (Code, String)> {
    match &export.content {
        Content::Sealed(sealed) => sealing::open(export, sealed, me).map(Some),
        _ => Ok(None),
    }
}

/// What templates see, once without and once with what was sealed.
pub(super) struct Seen {
    pub(super) open: Vars,
    /// What fields may be made of whose values are never shown.
    pub(super) opened: Option<Vars>,
}

impl Seen {
    /// What the template of this field sees.
    pub(super) fn of(&self, kind: &dyn Kind, field: &str) -> &Vars {
        let opened = self.opened.as_ref().filter(|_| kind.sealable().contains(&field));
        opened.unwrap_or(&self.open)
    }

    /// Whether the value of this field may be of what was sealed.
    pub(super) fn hides(&self, kind: &dyn Kind, field: &str) -> bool {
        self.opened.is_some() && kind.sealable().contains(&field)
    }
}

impl One<'_> {
    /// What templates see of it on this host.
    pub(super) fn seen(&self, me: &Me) -> Seen {
        let open = self.subject();
        let opened = self.opened.as_ref().map(|fields| Subject { fields, ..open });
        Seen {
            open: Vars::of_export(&open, me),
            opened: opened.map(|subject| Vars::of_export(&subject, me)),
        }
    }

    pub(super) fn subject(&self) -> Subject<'_> {
        let address = &self.export.address;
        Subject {
            name: &address.name,
            kind: &address.kind,
            host: &address.from,
            channel: &address.channel,
            labels: &self.export.labels,
            host_labels: self.host_labels,
            fields: self.export.content.open().unwrap_or(&NO_FIELDS),
        }
    }

    /// Its fields, or why there are none.
    pub(super) fn fields(&self) -> Result<&Fields, (Code, String)> {
        if let Some(opened) = &self.opened {
            return Ok(opened);
        }
        match &self.export.content {
            Content::Fields(fields) => Ok(fields),
            Content::Sealed(sealed) => {
                Err((Code::Xc13, format!("{}; ignored", sealed.seal.words())))
            }
            Content::Unknown(what) => {
                Err((Code::Xc12, format!("{} is unknown here; ignored", shown(what))))
            }
            Content::Broken(why) => Err((Code::Xc07, format!("{why}; held"))),
        }
    }
}
