//! The command line of 2020: `run --file X` is gone, and the answer is the modern line for these
//! very arguments.
//!
//! Refuses to run anything.

use std::ffi::OsString;

/// The answer to a `run --file X …`, if `args` is one.
pub(super) fn answer(args: &[OsString]) -> Option<String> {
    let words: Vec<String> = args.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    if words.get(1).map(String::as_str) != Some("run") {
        return None;
    }
    let mut rest = vec!["quorate".to_owned(), "run".to_owned()];
    let mut file = None;
    let mut words = words.into_iter().skip(2);
    while let Some(word) = words.next() {
        if let Some(name) = word.strip_prefix("--file=") {
            file = Some(name.to_owned());
        } else if word == "--file" {
            file = Some(words.next().unwrap_or_else(|| "FILE".to_owned()));
        } else {
            rest.push(quote(&word));
        }
    }
    let file = file?;
    let modern = format!("{} yaml {}", rest.join(" "), quote(&file));
    Some(format!("error: `--file` is gone: a graph is given after its front end\n\n  {modern}"))
}

/// The word as a shell reads it back.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &str) -> Option<String> {
        answer(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_storys_first_line_gets_its_modern_form() {
        let answer =
            ask("quorate run --file examples/etcd1a.yaml --hostname h1 --ideal-cluster-size 3");
        assert!(answer.is_some_and(|text| text.ends_with(
            "\n  quorate run --hostname h1 --ideal-cluster-size 3 yaml examples/etcd1a.yaml"
        )));
    }

    #[test]
    fn a_file_name_with_a_space_is_quoted_so_that_the_line_can_be_pasted() {
        let args = ["quorate", "run", "--file=my graph.yaml"].map(OsString::from);
        assert!(answer(&args).is_some_and(|text| text.ends_with("yaml 'my graph.yaml'")));
    }

    #[test]
    fn modern_lines_and_other_verbs_are_left_alone() {
        assert_eq!(ask("quorate run yaml x.yaml"), None);
        assert_eq!(ask("quorate check --file x.yaml"), None);
    }
}
