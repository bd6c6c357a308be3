//! Exports that wait for the turn of their resource: what the store has of them stays until then.
//!
//! Refuses to bring back what ended with an earlier session, and to let stay what everybody can
//! read where only some shall.

use super::{Own, Published, Sealing, Writer};
use crate::collect::Address;
use crate::collect::record::Life;
use crate::collect::sets::Sum;

impl Published {
    /// Equal, whatever each of them waits for.
    pub(super) fn says_as(&self, other: &Published) -> bool {
        *self == Published { awaits: self.awaits.clone(), ..other.clone() }
    }
}

impl Own {
    /// Whether a record of this lifetime is live, or would be again by this session.
    fn lives(&self, life: Life, session: &str) -> bool {
        let written = self.publisher.as_ref().map(|publisher| publisher.session.as_str());
        match life {
            Life::Permanent => true,
            Life::Session => written == Some(session),
            Life::For(seconds) => written == Some(session) || self.lifetimes.contains(&seconds),
        }
    }
}

impl Writer<'_> {
    /// What a record that stays as it is adds to the sum of its slot, and its body.
    pub(super) fn stays(
        &self,
        address: &Address,
        export: &Published,
    ) -> Option<(Sum, Option<String>)> {
        let known = self.own.records.get(address)?;
        if export.sealing != Sealing::Open && !known.sealed {
            return None;
        }
        let lives = self.own.lives(known.life, &self.session.session);
        let digest = known.digest.as_deref().filter(|_| lives)?;
        Some((Sum::of(&address.name, known.life, digest), known.body.clone()))
    }
}
