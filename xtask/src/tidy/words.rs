//! What a file says and may not say: no module doc, `unwrap` outside tests, `allow`, paths of
//! somebody's machine.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::finding::Finding;
use super::source::Source;

/// Habits of a Rust file.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    if !source.text.starts_with("//! ") {
        let message = "does not begin with `//!`: say what the module is for and what it refuses";
        found.push(Finding::new(&source.path, 1, message));
    }
    let mut habits = Habits { source, found };
    habits.visit_file(&source.tree);
    habits.found
}

struct Habits<'a> {
    source: &'a Source,
    found: Vec<Finding>,
}

impl Visit<'_> for Habits<'_> {
    fn visit_expr_method_call(&mut self, call: &syn::ExprMethodCall) {
        let line = call.method.span().start().line;
        if call.method == "unwrap" && !self.source.in_test(line) {
            let message = "`unwrap` outside tests; handle it, or `expect` with why it cannot fail";
            self.found.push(Finding::new(&self.source.path, line, message));
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_attribute(&mut self, attribute: &syn::Attribute) {
        let line = attribute.span().start().line;
        if attribute.path().is_ident("allow") {
            let message = "`allow`; write `expect` with a reason, so that it goes when it can";
            self.found.push(Finding::new(&self.source.path, line, message));
        }
        if attribute.path().is_ident("ignore") {
            let message = "a test that never runs; delete it or make it quick";
            self.found.push(Finding::new(&self.source.path, line, message));
        }
    }
}

/// Paths that only one machine has. `here` are those of this one: the repository, the home folder.
pub(super) fn check_machine_paths(path: &str, text: &str, here: &[String]) -> Vec<Finding> {
    // In pieces, so that this file does not find itself.
    let common = [["/Us", "ers/"].concat(), ["/root", "/."].concat()];
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for word in here.iter().chain(&common) {
            if let Some(at) = line.find(word.as_str()) {
                // Only a path that begins there: `/srv/work` is not `/work`.
                let begins = !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '.');
                if begins {
                    let message = format!("names a path of one machine: `{word}`");
                    found.push(Finding::new(path, index + 1, message));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(usize, String)> {
        let source = Source::parse("src/x.rs", text).expect("the fixture is Rust");
        let first_word = |finding: Finding| {
            (finding.line, finding.message.split([';', ':']).next().unwrap().into())
        };
        check(&source).into_iter().map(first_word).collect()
    }

    #[test]
    fn each_habit_is_found_at_its_line() {
        for (text, expected) in [
            ("//! For x.\nfn f() { a.expect(\"b\"); }", vec![]),
            ("fn f() {}", vec![(1, "does not begin with `//!`")]),
            ("//! For x.\nfn f() {\n a.unwrap();\n}", vec![(3, "`unwrap` outside tests")]),
            ("//! For x.\n#[test]\nfn f() { a.unwrap(); }", vec![]),
            ("//! For x.\n#[allow(dead_code)]\nfn f() {}", vec![(2, "`allow`")]),
            ("//! For x.\n#[test]\n#[ignore]\nfn f() {}", vec![(3, "a test that never runs")]),
        ] {
            let expected: Vec<(usize, String)> =
                expected.into_iter().map(|(line, text)| (line, text.into())).collect();
            assert_eq!(found(text), expected, "{text}");
        }
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        let here = ["/work/tree".to_owned()];
        for (text, count) in [
            ("see /work/tree/src", 1),
            ("see /srv/work/tree", 0),
            (concat!("/Us", "ers/ann/x"), 1),
            ("/usr/bin/etcd", 0),
        ] {
            assert_eq!(check_machine_paths("a.md", text, &here).len(), count, "{text}");
        }
    }
}
