//! What a host wants to publish, and how far its seals are.
//!
//! Refuses to seal: that takes keys.

use std::collections::{BTreeMap, BTreeSet};

use crate::collect::record::{self, About, Life, Seal};
use crate::collect::{Address, Slot};
use crate::ident::{HostName, ResourceId};
use crate::spec::{Fields, HostSelector};

/// One export that this host wants in the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Published {
    /// The routing scope.
    pub channel: String,
    /// The kind.
    pub kind: String,
    /// The name that it is published under.
    pub name: String,
    /// The fields of the published copy.
    pub fields: Fields,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Who may collect it.
    pub to: HostSelector,
    /// How long it lives.
    pub life: Life,
    /// Whether some of its fields are for some hosts only.
    pub sealing: Sealing,
    /// Why it cannot be published: a line `CODE SUBJECT: TEXT`.
    pub problem: Option<String>,
    /// The resource of this host whose turn has to come first; until then the store keeps what it
    /// has of it.
    pub awaits: Option<ResourceId>,
}

/// Whether fields of an export are for some hosts only, and how far that is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sealing {
    /// Everybody may read all of it.
    #[default]
    Open,
    /// These fields have to be sealed before it is published.
    Wanted(BTreeSet<String>),
    /// They are: the sealed bytes are among its fields.
    Done(Seal),
    /// They cannot be, now: a line that says why. What is there of it and sealed stays.
    Waits(String),
}

impl Published {
    /// One for everybody that lives as long as its host is there.
    pub fn plain(channel: &str, kind: &str, name: &str, fields: Fields) -> Self {
        Published {
            channel: channel.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            fields,
            labels: BTreeMap::new(),
            to: HostSelector::everybody(),
            life: Life::Session,
            sealing: Sealing::Open,
            problem: None,
            awaits: None,
        }
    }

    /// What was sealed of it, and for whom.
    pub(super) fn seal(&self) -> Option<&Seal> {
        match &self.sealing {
            Sealing::Done(seal) => Some(seal),
            _ => None,
        }
    }

    pub(super) fn digest(&self) -> String {
        let about = About { labels: &self.labels, to: &self.to, seal: self.seal() };
        record::digest_of(&self.fields, about)
    }

    /// Where it is published by `from`.
    pub fn address(&self, from: &HostName) -> Address {
        let Published { channel, kind, name, .. } = self;
        let (channel, kind, name) = (channel.clone(), kind.clone(), name.clone());
        Address { channel, kind, from: from.clone(), name }
    }

    /// Where it is published.
    pub fn slot(&self) -> Slot {
        Slot::new(&self.channel, &self.kind)
    }
}
