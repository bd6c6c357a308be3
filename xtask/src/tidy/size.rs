//! How long functions, files and lines may be.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::finding::Finding;
use super::source::Source;

/// Lines of a function, from its signature to its closing brace; tests too.
const FUNCTION_LINES: usize = 70;
/// Lines of a file of a pure module, without tests.
const PURE_FILE_LINES: usize = 400;
/// Lines of any other file, without tests.
const FILE_LINES: usize = 600;
/// Characters of a line.
const COLUMNS: usize = 100;

/// What is longer than it may be.
pub(super) fn check(source: &Source, pure: bool) -> Vec<Finding> {
    let mut functions = Functions { source, found: Vec::new() };
    functions.visit_file(&source.tree);
    let mut found = functions.found;
    let own = (1..=source.text.lines().count()).filter(|line| !source.in_test(*line)).count();
    let limit = if pure { PURE_FILE_LINES } else { FILE_LINES };
    if own > limit {
        let message = format!("{own} lines without tests, {limit} are permitted; split it");
        found.push(Finding::new(&source.path, 0, message));
    }
    for (index, line) in source.text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS {
            let message = format!("{columns} columns, {COLUMNS} are permitted");
            found.push(Finding::new(&source.path, index + 1, message));
        }
    }
    found
}

struct Functions<'a> {
    source: &'a Source,
    found: Vec<Finding>,
}

impl Functions<'_> {
    fn judge(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (first, last) = (signature.span().start().line, block.span().end().line);
        let lines = last + 1 - first;
        if lines > FUNCTION_LINES {
            let name = &signature.ident;
            let message = format!("`{name}` has {lines} lines, {FUNCTION_LINES} are permitted");
            self.found.push(Finding::new(&self.source.path, first, message));
        }
    }
}

impl Visit<'_> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &syn::ItemFn) {
        self.judge(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &syn::ImplItemFn) {
        self.judge(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.judge(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, pure: bool) -> Vec<String> {
        let source = Source::parse("src/x.rs", text).expect("the fixture is Rust");
        check(&source, pure).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_function_may_have_seventy_lines_and_no_more() {
        let of = |lines: usize| format!("fn f() {{\n{}}}\n", "g();\n".repeat(lines - 2));
        assert!(found(&of(70), true).is_empty());
        assert_eq!(found(&of(71), true), ["src/x.rs:1: `f` has 71 lines, 70 are permitted"]);
        let method = format!("impl X {{ {} }}", of(71));
        assert_eq!(found(&method, true), ["src/x.rs:1: `f` has 71 lines, 70 are permitted"]);
    }

    #[test]
    fn tests_do_not_count_as_lines_of_a_file() {
        let of = |lines: usize| "const A: u8 = 1;\n".repeat(lines);
        let tests = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", of(400), of(100));
        assert!(found(&tests, true).is_empty());
        let expected = "src/x.rs: 401 lines without tests, 400 are permitted; split it";
        assert_eq!(found(&of(401), true), [expected]);
        assert!(found(&of(600), false).is_empty());
        assert_eq!(found(&of(601), false).len(), 1);
    }

    #[test]
    fn columns_are_characters_and_not_bytes() {
        assert!(found(&format!("// {}\n", "é".repeat(97)), true).is_empty());
        let expected = "src/x.rs:1: 101 columns, 100 are permitted";
        assert_eq!(found(&format!("// {}\n", "é".repeat(98)), true), [expected]);
    }
}
