//! Whose data a log of etcd holds: the ids at its head.
//!
//! Refuses to read further: what else is in the log, and whether it is whole, is etcd's to judge.

/// How much of a log is looked at.
pub const HEAD: u64 = 512;

/// The ids that a log was begun with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The member's id.
    pub member: u64,
    /// The cluster's id.
    pub cluster: u64,
}

/// The type of a record with ids.
const METADATA: u64 = 1;
/// The records before it in every log; there is one, with the checksum so far.
const LOOKED_AT: usize = 4;

/// Reads the head of a log: records that each begin with their length in seven bytes and their
/// padding in the eighth. `None` when there are no ids in it.
pub fn owner(mut head: &[u8]) -> Option<Owner> {
    for _ in 0..LOOKED_AT {
        let (length, rest) = head.split_first_chunk::<8>()?;
        let word = u64::from_le_bytes(*length);
        let size = usize::try_from(word & 0x00ff_ffff_ffff_ffff).ok()?;
        let padding = if word >> 63 == 1 { usize::try_from(word >> 56 & 0x7).ok()? } else { 0 };
        let record = rest.get(..size)?;
        if field(record, 1)?.number == METADATA {
            let ids = field(record, 3)?.bytes;
            return Some(Owner { member: field(ids, 1)?.number, cluster: field(ids, 2)?.number });
        }
        head = rest.get(size.checked_add(padding)?..)?;
    }
    None
}

/// The value of a field; which of the two it is depends on the field.
struct Field<'a> {
    number: u64,
    bytes: &'a [u8],
}

/// Finds a field of a protocol buffer that has numbers and byte strings only.
fn field(mut message: &[u8], wanted: u64) -> Option<Field<'_>> {
    loop {
        let (tag, rest) = varint(message)?;
        let (number, rest) = varint(rest)?;
        let (bytes, rest) = match tag & 0x7 {
            0 => (&[][..], rest),
            2 => rest.split_at_checked(usize::try_from(number).ok()?)?,
            _ => return None,
        };
        if tag >> 3 == wanted {
            return Some(Field { number, bytes });
        }
        message = rest;
    }
}

fn varint(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (n, byte) in text.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(n).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((value, text.get(n + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first bytes that etcd 3.4.23 wrote for member 8ddab73534be950c of cluster
    /// 8c2ff40632fd55ca.
    const LOG: [u8; 64] = [
        0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x84, 0x08, 0x04, 0x10, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x08, 0x01, 0x10, 0x97, 0x8b, 0xb5,
        0xcf, 0x0b, 0x1a, 0x16, 0x08, 0x8c, 0xaa, 0xfa, 0xa5, 0xd3, 0xe6, 0xad, 0xed, 0x8d, 0x01,
        0x10, 0xca, 0xab, 0xf5, 0x97, 0xe3, 0x80, 0xfd, 0x97, 0x8c, 0x01, 0x0e, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x82,
    ];

    #[test]
    fn the_ids_of_a_real_log_are_read() {
        let ids = Owner { member: 0x8dda_b735_34be_950c, cluster: 0x8c2f_f406_32fd_55ca };
        assert_eq!(owner(&LOG), Some(ids));
    }

    #[test]
    fn a_head_that_is_cut_or_overwritten_anywhere_names_nobody_or_somebody() {
        for end in 0..48 {
            assert_eq!(owner(&LOG[..end]), None, "{end} bytes");
        }
        for at in 0..LOG.len() {
            for byte in [0x00, 0x7f, 0x80, 0xff] {
                let mut log = LOG;
                log[at] = byte;
                // Whatever it says, it says it.
                owner(&log);
            }
        }
        assert_eq!(owner(&[0xff; 64]), None);
    }
}
