//! What a host's set of records in one slot adds up to: a sum that grows and shrinks with each
//! record, so that a collector that follows some slots knows that it has seen all of a set,
//! whatever order the watches told it in.
//!
//! Refuses to be proof against a forger: a host can only deceive about its own set.

use sha2::{Digest, Sha256};

use crate::collect::record::Life;

/// Records added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    lanes: [u64; 4],
}

impl Sum {
    /// One record: its name, how long it lives and the digest of all that it says.
    pub fn of(name: &str, life: Life, digest: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [name, &life.to_string(), digest] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        let mut lanes = [0; 4];
        for (lane, bytes) in lanes.iter_mut().zip(hash.finalize().chunks_exact(8)) {
            *lane = bytes.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        }
        Sum { lanes }
    }

    /// With another one.
    pub fn add(&mut self, other: Sum) {
        for (lane, other) in self.lanes.iter_mut().zip(other.lanes) {
            *lane = lane.wrapping_add(other);
        }
    }

    /// Without one of those that were added.
    pub fn remove(&mut self, other: Sum) {
        for (lane, other) in self.lanes.iter_mut().zip(other.lanes) {
            *lane = lane.wrapping_sub(other);
        }
    }

    /// As it is written.
    pub fn text(&self) -> String {
        self.lanes.iter().map(|lane| format!("{lane:016x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(name: &str, digest: &str) -> Sum {
        Sum::of(name, Life::Session, digest)
    }

    #[test]
    fn every_part_of_a_record_counts_and_names_cannot_run_together() {
        let sums = [
            one("a", "bc"),
            one("ab", "c"),
            one("a", "bd"),
            Sum::of("a", Life::Permanent, "bc"),
            Sum::of("a", Life::For(60), "bc"),
            Sum::default(),
        ];
        for (at, sum) in sums.iter().enumerate() {
            assert!(!sums[..at].contains(sum), "{at}");
            assert_eq!(sum.text().len(), 64);
        }
    }

    proptest! {
        #[test]
        fn the_order_makes_no_difference_and_what_is_taken_out_leaves_no_trace(
            names in prop::collection::vec("[a-c]{0,2}", 0..12),
            out in 0..12usize,
        ) {
            let sum = |names: &[String]| {
                let mut sum = Sum::default();
                names.iter().for_each(|name| sum.add(one(name, "d")));
                sum
            };
            let mut reversed = names.clone();
            reversed.reverse();
            prop_assert_eq!(sum(&names), sum(&reversed));
            if let Some(gone) = names.get(out) {
                let mut without = sum(&names);
                without.remove(one(gone, "d"));
                let mut rest = names.clone();
                rest.remove(out);
                prop_assert_eq!(without, sum(&rest));
            }
        }
    }
}
