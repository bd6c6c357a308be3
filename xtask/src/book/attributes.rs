//! The words in the braces of a fence: `{node=h1 id=first exit=1}`. It reads them and knows which
//! exist.

use super::problem::{At, Problem};

/// Every attribute, for hints.
pub(crate) const KNOWN: [&str; 26] = [
    "node",
    "host",
    "id",
    "exit",
    "eventually",
    "every",
    "timeout",
    "match",
    "stderr",
    "file",
    "to",
    "lines",
    "bg",
    "stop",
    "signal",
    "hide",
    "norun",
    "reason",
    "topology",
    "schema",
    "graph",
    "timeline",
    "provenance",
    "capture",
    "tty",
    "caption",
];

/// One attribute; a bare word has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attribute {
    /// Before the `=`.
    pub(crate) key: String,
    /// After it, without quotes.
    pub(crate) value: Option<String>,
}

/// Splits the info string of a fence into its language and its attributes; `None` if it has no
/// braces.
pub(crate) fn parse(info: &str, at: &At) -> Result<Option<Vec<Attribute>>, Vec<Problem>> {
    let Some(open) = info.find('{') else { return Ok(None) };
    let one = |message: &str| vec![Problem::new(at.clone(), message)];
    let Some(inner) = info[open + 1..].trim_end().strip_suffix('}') else {
        return Err(one("the attributes do not end with `}`"));
    };
    let words = split(inner).ok_or_else(|| one("a quote is not closed"))?;
    let mut attributes: Vec<Attribute> = Vec::new();
    let mut problems = Vec::new();
    for word in words {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (word, None),
        };
        if !KNOWN.contains(&key.as_str()) {
            problems.push(Problem::unknown(at.clone(), "attribute", &key, &KNOWN));
        } else if attributes.iter().any(|known| known.key == key) {
            problems.push(Problem::new(at.clone(), format!("attribute `{key}` is there twice")));
        }
        attributes.push(Attribute { key, value });
    }
    if problems.is_empty() { Ok(Some(attributes)) } else { Err(problems) }
}

/// Splits at spaces, except in quotes, which may be single or double; `None` if one is left open.
pub(crate) fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn read(info: &str) -> Result<Option<Vec<Attribute>>, String> {
        let at = At { file: Arc::from("a.md"), line: 7 };
        parse(info, &at).map_err(|problems| problems[0].to_string())
    }

    #[test]
    fn bare_words_values_and_quotes_are_read() {
        let found = read("console {host id=cut reason=\"it is long\"}").expect("good");
        let found: Vec<(String, Option<String>)> =
            found.expect("braces").into_iter().map(|a| (a.key, a.value)).collect();
        assert_eq!(found[0], ("host".into(), None));
        assert_eq!(found[1], ("id".into(), Some("cut".into())));
        assert_eq!(found[2], ("reason".into(), Some("it is long".into())));
        assert_eq!(read("rust"), Ok(None));
    }

    #[test]
    fn mistakes_in_the_braces_are_named() {
        for (info, expected) in [
            ("console {nod=h1}", "a.md:7: unknown attribute `nod`; did you mean `node`?"),
            ("console {id=a id=b}", "a.md:7: attribute `id` is there twice"),
            ("console {id=a", "a.md:7: the attributes do not end with `}`"),
            ("console {caption=\"x}", "a.md:7: a quote is not closed"),
        ] {
            assert_eq!(read(info), Err(expected.to_owned()), "{info}");
        }
    }
}
