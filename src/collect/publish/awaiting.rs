//! Exports that wait for the turn of their resource: what the store has of them stays until then.
//!
//! Refuses to bring back what ended with an earlier session.

use super::{Published, Writer};
use crate::collect::Address;
use crate::collect::record::Life;
use crate::collect::sets::Sum;

impl Published {
    /// Equal, whatever each of them waits for.
    pub(super) fn says_as(&self, other: &Published) -> bool {
        *self == Published { awaits: self.awaits.clone(), ..other.clone() }
    }
}

impl Writer<'_> {
    /// What a record that stays as it is adds to the sum of its slot, and its body.
    pub(super) fn stays(&self, address: &Address) -> Option<(Sum, Option<String>)> {
        let known = self.own.records.get(address)?;
        let session = self.own.publisher.as_ref().map(|publisher| publisher.session.as_str());
        let lives = known.life == Life::Permanent || session == Some(&*self.session.session);
        let digest = known.digest.as_deref().filter(|_| lives)?;
        Some((Sum::of(&address.name, known.life, digest), known.body.clone()))
    }
}
