//! Fields that stand beside their record: which of them are wanted here, and those that were
//! fetched.
//!
//! Refuses to keep what no record names any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::host::Known;
use crate::collect::{Content, Export};

/// Whether a rule of this host may take an export of which only the fields are not known.
#[derive(Clone)]
pub struct Wanting(pub(in crate::collect) Arc<dyn Fn(&Export) -> bool + Send + Sync>);

impl Wanting {
    /// What this says.
    pub fn new(wants: impl Fn(&Export) -> bool + Send + Sync + 'static) -> Self {
        Wanting(Arc::new(wants))
    }
}

impl fmt::Debug for Wanting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wanting")
    }
}

/// The bodies that are at hand.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    pub(super) wanting: Option<Wanting>,
    fetched: BTreeMap<String, Content>,
}

impl Bodies {
    /// A record with its fields, if they are wanted and at hand.
    pub(super) fn read(&self, mut known: Known) -> Known {
        let Some(body) = &known.body else { return known };
        let wanted = self.wanting.as_ref().is_some_and(|wanting| (wanting.0)(&known.export));
        let fetched = self.fetched.get(&body.digest).filter(|_| wanted);
        known.waits = wanted && fetched.is_none();
        let content = match (fetched.cloned(), &known.seal) {
            (None, _) => body.unread(),
            (Some(Content::Fields(fields)), Some(seal)) => seal.content(fields),
            (Some(content), _) => content,
        };
        if known.export.content != content {
            let mut export = Export::clone(&known.export);
            export.content = content;
            known.export = Arc::new(export);
        }
        known
    }

    /// A body was fetched, or why it cannot be.
    pub(super) fn keep(&mut self, digest: &str, content: Content) {
        self.fetched.insert(digest.to_owned(), content);
    }

    /// Keeps only those that are named.
    pub(super) fn forget<'a>(&mut self, named: impl Iterator<Item = &'a str>) {
        if self.fetched.is_empty() {
            return;
        }
        let named: BTreeSet<&str> = named.collect();
        self.fetched.retain(|digest, _| named.contains(digest.as_str()));
    }
}
