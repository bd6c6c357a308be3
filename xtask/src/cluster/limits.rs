//! What a node may use of this machine, as users write it. Pure.

/// Memory of a node unless said otherwise: etcd's preallocated log counts against it.
pub(crate) const MEMORY: i64 = 256 << 20;
/// Thousand millionths of a processor of a node unless said otherwise.
pub(crate) const NANO_CPUS: i64 = 1_000_000_000;
/// Nodes that are made at once: more buys nothing on two cores.
pub(crate) const PARALLEL: usize = 4;

/// The least memory that an agent and its etcd start in.
const LEAST: i64 = 64 << 20;

/// Bytes from `256m`, `1g`, `65536k` or a plain number.
///
/// # Errors
/// It is none of these, or less than a node starts in.
pub(crate) fn memory(text: &str) -> Result<i64, String> {
    let (number, factor) = match text.strip_suffix(['k', 'm', 'g', 'K', 'M', 'G']) {
        None => (text, 1),
        Some(number) => match text.as_bytes().last().map(u8::to_ascii_lowercase) {
            Some(b'k') => (number, 1 << 10),
            Some(b'm') => (number, 1 << 20),
            _ => (number, 1 << 30),
        },
    };
    let bytes = number.parse::<i64>().ok().and_then(|n| n.checked_mul(factor));
    match bytes {
        None => Err("not a size like 256m or 1g".to_owned()),
        Some(bytes) if bytes < LEAST => {
            Err("less than the 64m that an agent and its etcd start in".to_owned())
        }
        Some(bytes) => Ok(bytes),
    }
}

/// Thousand millionths of a processor from a number like `0.5`.
///
/// # Errors
/// It is no number from 0.05 to 1024.
pub(crate) fn cpus(text: &str) -> Result<i64, String> {
    let number = text.parse::<f64>().ok().filter(|n| (0.05..=1024.0).contains(n));
    let number = number.ok_or("not a number of processors from 0.05 to 1024")?;
    Ok((number * 1e9).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bytes_or_has_a_unit_and_is_enough_for_a_node() {
        for (text, wanted) in [
            ("256m", Ok(256 << 20)),
            ("1G", Ok(1 << 30)),
            ("65536k", Ok(64 << 20)),
            ("67108864", Ok(64 << 20)),
            ("63m", Err("less than the 64m that an agent and its etcd start in")),
            ("-1g", Err("less than the 64m that an agent and its etcd start in")),
            ("9999999999g", Err("not a size like 256m or 1g")),
            ("256mb", Err("not a size like 256m or 1g")),
            ("m", Err("not a size like 256m or 1g")),
            ("", Err("not a size like 256m or 1g")),
        ] {
            assert_eq!(memory(text), wanted.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn processors_may_be_fractions() {
        assert_eq!((cpus("1"), cpus("0.25")), (Ok(1_000_000_000), Ok(250_000_000)));
        for text in ["0", "-1", "nan", "inf", "1025", "two", ""] {
            assert!(cpus(text).unwrap_err().starts_with("not a number of processors"), "{text}");
        }
    }
}
