//! Fields that only some hosts can read: their names, what opens them for whom, and the sealed
//! bytes, as a record holds them.
//!
//! Refuses to open anything, and what does not say plainly what it holds and for whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use serde_json::Value as Json;

use super::{broken, shown};
use crate::collect::Content;
use crate::ident::HostName;
use crate::spec::{Fields, HostSelector, Value};

/// The name under which the sealed bytes stand among the fields: no kind has such a field.
pub const SEALED: &str = "(sealed)";
/// How many hosts something may be sealed to: as many as may be named in `to`.
pub const HOSTS_MAX: usize = 64;
/// How many fields may be sealed together.
const FIELDS_MAX: usize = 32;
/// What opens the sealed bytes for one host is shorter than this.
const KEY_BYTES_MAX: usize = 256;

/// What is sealed, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// The names of the fields, sorted.
    pub fields: BTreeSet<String>,
    /// What opens them, by host.
    pub keys: BTreeMap<String, String>,
}

/// The fields of an export of which some are sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Those that everybody may read.
    pub open: Fields,
    /// Which are sealed, and for whom.
    pub seal: Seal,
    /// The others, sealed.
    pub bytes: String,
}

impl Seal {
    /// `sealed to 2 hosts`.
    pub fn words(&self) -> String {
        words(self.keys.len())
    }

    /// The names of the fields, in one line.
    pub fn names(&self) -> String {
        let names: Vec<String> = self.fields.iter().map(|name| shown(name)).collect();
        names.join(", ")
    }

    /// It names fields and hosts, and not more than there may be.
    fn check(&self, to: &HostSelector) -> Result<(), Content> {
        let bounds = (1..=FIELDS_MAX).contains(&self.fields.len())
            && (1..=HOSTS_MAX).contains(&self.keys.len())
            && self.keys.values().all(|key| key.len() <= KEY_BYTES_MAX);
        if !bounds || self.fields.contains(SEALED) {
            return Err(broken("what is sealed in the record, and for whom, is not understood"));
        }
        let named = |host: &String| match to {
            HostSelector::Names(names) => names.contains(host),
            HostSelector::Labels(_) => false,
        };
        let hosts = self.keys.keys().all(|host| HostName::parse(host).is_ok() && named(host));
        hosts.then_some(()).ok_or_else(|| broken("the record is sealed to others than it is for"))
    }

    /// The content that these fields are, with the sealed bytes among them.
    pub(in crate::collect) fn content(&self, mut fields: Fields) -> Content {
        let Some(Value::Str(bytes)) = fields.remove(SEALED) else {
            return broken("the sealed fields of the record are missing");
        };
        if fields.keys().any(|name| self.fields.contains(name)) {
            return broken("a field of the record is sealed and open");
        }
        Content::Sealed(Arc::new(Sealed { open: fields, seal: self.clone(), bytes }))
    }
}

impl Sealed {
    /// All fields as they are written, the sealed bytes among them.
    pub fn fields(&self) -> Fields {
        let mut fields = self.open.clone();
        fields.insert(SEALED, Value::Str(self.bytes.clone()));
        fields
    }
}

/// What a record for `to` says is sealed.
pub(super) fn named(
    map: &mut serde_json::Map<String, Json>,
    to: &HostSelector,
) -> Result<Seal, Content> {
    let seal = map.remove("seal").ok_or_else(|| broken("the record has no `seal`"))?;
    let seal: Seal = serde_json::from_value(seal)
        .map_err(|_| broken("what is sealed in the record, and for whom, is not understood"))?;
    seal.check(to)?;
    Ok(seal)
}

/// `sealed to 2 hosts`.
pub fn words(hosts: usize) -> String {
    if hosts == 1 { "sealed to 1 host".to_owned() } else { format!("sealed to {hosts} hosts") }
}
