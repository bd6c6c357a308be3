//! What a program says, compared as a whole.
//!
//! Refuses to find a part of a sentence good enough. Each test program that needs it takes this
//! file by its path.

/// Whether a text is as the pattern says, in which `*` stands for anything.
pub(crate) fn fits(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut last = "";
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        last = part;
    }
    rest.is_empty() || (pattern.contains('*') && text.ends_with(last))
}
