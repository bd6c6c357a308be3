//! What a rule makes of one export, before the others are looked at. Refuses to decide.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::collect::Held;
use crate::ident::{HostName, ResourceId};
use crate::spec::{Fields, FullRule, Meta};

/// What is said about one export, whatever the others are.
pub(super) enum Verdict {
    /// Taken by the rule with this number.
    Taken(usize, Candidate),
    /// Taken by a rule that makes one resource of many.
    Gathered(usize),
    Held(Held),
}

impl Verdict {
    /// The rule that takes the export.
    pub(super) fn rule(&self) -> Option<usize> {
        match self {
            Verdict::Taken(at, _) | Verdict::Gathered(at) => Some(*at),
            Verdict::Held(_) => None,
        }
    }
}

/// An export that a rule takes, unless another one stands against it.
#[derive(Clone)]
pub(super) struct Candidate {
    pub(super) id: ResourceId,
    pub(super) from: Vec<HostName>,
    pub(super) fields: Fields,
    pub(super) meta: Arc<Meta>,
    /// The path that it manages; no two resources may have the same.
    pub(super) target: Option<PathBuf>,
    /// The directory that no way to it may leave.
    pub(super) within: Option<Arc<Path>>,
    /// The full rule that took it.
    pub(super) rule: Option<Arc<FullRule>>,
    pub(super) revision: i64,
}
