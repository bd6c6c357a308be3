//! A Rust file as the checks see it: parsed, its tests known, its paths made absolute. Judges
//! nothing.

use std::ops::RangeInclusive;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// A parsed file.
pub(super) struct Source {
    /// From the repository's root.
    pub(super) path: String,
    /// All of it.
    pub(super) text: String,
    /// The module that the file is, from the crate's root: `["store", "etcd"]`; empty for the root
    /// itself.
    pub(super) module: Vec<String>,
    /// The syntax tree.
    pub(super) tree: syn::File,
    /// All of it is test code.
    pub(super) is_test: bool,
    /// The lines of items that only tests have.
    pub(super) test_lines: Vec<RangeInclusive<usize>>,
}

/// A path that the code names, outside tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Its parts; the first is `crate` for what is in the same crate, otherwise as written.
    pub(super) parts: Vec<String>,
    /// Where.
    pub(super) line: usize,
}

impl Source {
    /// Parses a file; the error says where it is no Rust.
    pub(super) fn parse(path: &str, text: &str) -> Result<Source, String> {
        let tree = syn::parse_file(text)
            .map_err(|error| format!("not parsed: {error} (line {})", error.span().start().line))?;
        let module = module_of(path);
        let is_test = module.is_none() || has_test_attribute(&tree.attrs);
        let mut tests = TestLines::default();
        tests.visit_file(&tree);
        Ok(Source {
            path: path.into(),
            text: text.into(),
            module: module.unwrap_or_default(),
            tree,
            is_test,
            test_lines: tests.found,
        })
    }

    /// Whether a line is test code.
    pub(super) fn in_test(&self, line: usize) -> bool {
        self.is_test || self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// Modules that this file declares for tests only, as paths from the crate's root.
    pub(super) fn test_modules(&self) -> Vec<Vec<String>> {
        let of_tests = self.tree.items.iter().filter_map(|item| match item {
            syn::Item::Mod(item) if item.content.is_none() && is_for_tests(&item.attrs) => {
                Some(item)
            }
            _ => None,
        });
        let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let module = |item: &syn::ItemMod| match named_path(&item.attrs) {
            Some(file) => module_of(&format!("{folder}/{file}")).unwrap_or_default(),
            None => [self.module.clone(), vec![item.ident.to_string()]].concat(),
        };
        of_tests.map(module).collect()
    }

    /// Every path that code outside tests names: in `use`, in expressions and types, in the
    /// arguments of macros.
    pub(super) fn names(&self) -> Vec<Named> {
        let mut names =
            Names { module: self.module.clone(), inside: Vec::new(), found: Vec::new() };
        if !self.is_test {
            names.visit_file(&self.tree);
        }
        names.found
    }
}

/// The module path of a file of a crate; `None` outside `src`.
fn module_of(path: &str) -> Option<Vec<String>> {
    let inner = path.strip_prefix("xtask/").unwrap_or(path).strip_prefix("src/")?;
    let stem = inner.strip_suffix(".rs")?;
    let mut parts: Vec<String> = stem.split('/').map(Into::into).collect();
    if parts.last().is_some_and(|last| last == "mod") || matches!(stem, "lib" | "main") {
        parts.pop();
    }
    Some(parts)
}

/// `#[cfg(test)]`, `#[cfg(all(test, …))]` or `#[test]` and the like.
pub(super) fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    has_test_attribute(attributes)
        || attributes.iter().any(|attribute| {
            attribute.path().segments.last().is_some_and(|segment| segment.ident == "test")
        })
}

/// The file that `#[path = "…"]` names.
fn named_path(attributes: &[syn::Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    })
}

fn has_test_attribute(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        if !list.path.is_ident("cfg") {
            return false;
        }
        let words: String = list.tokens.to_string().split_whitespace().collect();
        words == "test" || words.starts_with("all(test,") || words.contains(",test)")
    })
}

fn attributes_of(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Finds the lines of test items.
#[derive(Default)]
struct TestLines {
    found: Vec<RangeInclusive<usize>>,
}

impl Visit<'_> for TestLines {
    fn visit_item(&mut self, item: &syn::Item) {
        if is_for_tests(attributes_of(item)) {
            let span = item.span();
            self.found.push(span.start().line..=span.end().line);
        } else {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &syn::ImplItemFn) {
        if is_for_tests(&item.attrs) {
            let span = item.span();
            self.found.push(span.start().line..=span.end().line);
        }
    }
}

/// Finds the paths that are named.
struct Names {
    module: Vec<String>,
    inside: Vec<String>,
    found: Vec<Named>,
}

impl Names {
    /// Notes a path, with `self` and `super` resolved.
    fn note(&mut self, parts: Vec<String>, line: usize) {
        let here = [self.module.clone(), self.inside.clone()].concat();
        let up = parts.iter().take_while(|part| *part == "super").count();
        let parts = match parts.first().map(String::as_str) {
            Some("self") => [vec!["crate".into()], here, parts[1..].to_vec()].concat(),
            Some("super") => {
                let rest = parts[up..].to_vec();
                let base = here[..here.len().saturating_sub(up)].to_vec();
                [vec!["crate".into()], base, rest].concat()
            }
            _ => parts,
        };
        self.found.push(Named { parts, line });
    }

    fn note_tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: String| [before.to_vec(), vec![name]].concat();
        match tree {
            syn::UseTree::Path(path) => self.note_tree(&with(path.ident.to_string()), &path.tree),
            syn::UseTree::Name(name) => {
                self.note(with(name.ident.to_string()), name.ident.span().start().line);
            }
            syn::UseTree::Rename(name) => {
                self.note(with(name.ident.to_string()), name.ident.span().start().line);
            }
            syn::UseTree::Glob(glob) => self.note(before.to_vec(), glob.span().start().line),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.note_tree(before, item));
            }
        }
    }

    /// In a macro's arguments a path is words with `::` between.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < trees.len() {
            match &trees[at] {
                TokenTree::Group(group) if group.delimiter() != Delimiter::None => {
                    self.note_tokens(group.stream());
                    at += 1;
                }
                TokenTree::Ident(first) => {
                    let mut parts = vec![first.to_string()];
                    let line = first.span().start().line;
                    at += 1;
                    while let Some([a, b, TokenTree::Ident(next)]) = trees.get(at..at + 3)
                        && is_colon(a)
                        && is_colon(b)
                    {
                        parts.push(next.to_string());
                        at += 3;
                    }
                    if parts.len() > 1 {
                        self.note(parts, line);
                    }
                }
                _ => at += 1,
            }
        }
    }
}

fn is_colon(tree: &TokenTree) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == ':')
}

impl Visit<'_> for Names {
    fn visit_item(&mut self, item: &syn::Item) {
        if is_for_tests(attributes_of(item)) {
            return;
        }
        match item {
            syn::Item::Use(item) => self.note_tree(&[], &item.tree),
            syn::Item::Mod(inner) if inner.content.is_some() => {
                self.inside.push(inner.ident.to_string());
                visit::visit_item(self, item);
                self.inside.pop();
            }
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_impl_item_fn(&mut self, item: &syn::ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if parts.len() > 1 {
            self.note(parts, path.span().start().line);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &syn::Macro) {
        self.note_tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str, text: &str) -> Vec<String> {
        let source = Source::parse(path, text).expect("the fixture is Rust");
        source.names().into_iter().map(|name| name.parts.join("::")).collect()
    }

    #[test]
    fn paths_are_found_in_use_in_code_and_in_macros() {
        let text = "use crate::{a, b::c as d};
fn f(x: crate::e::X) { println!(\"{}\", [crate::g::h()][0]); super::i(); self::j::k(); }";
        let expected = [
            "crate::a",
            "crate::b::c",
            "crate::e::X",
            "crate::g::h",
            "crate::engine::i",
            "crate::engine::step::j::k",
        ];
        assert_eq!(names("src/engine/step.rs", text), expected);
    }

    #[test]
    fn super_inside_an_inline_module_is_the_file_itself() {
        assert_eq!(names("src/a.rs", "mod b { use super::c; }"), ["crate::a::c"]);
        assert_eq!(names("src/a.rs", "use super::c::D;"), ["crate::c::D"]);
    }

    #[test]
    fn what_only_tests_name_is_left_out() {
        let text = "#[cfg(test)]\nmod tests { use crate::a; }\n#[test]\nfn f() { crate::b::c(); }";
        assert!(names("src/x.rs", text).is_empty());
        assert!(names("tests/x.rs", "use crate::a;").is_empty());
    }

    #[test]
    fn lines_of_tests_are_known() {
        let source =
            Source::parse("src/x.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n}\nfn g() {}");
        let source = source.expect("the fixture is Rust");
        let in_test: Vec<bool> = (1..=5).map(|line| source.in_test(line)).collect();
        assert_eq!(in_test, [false, true, true, true, false]);
    }

    #[test]
    fn a_file_that_is_no_rust_says_where() {
        let error = Source::parse("src/x.rs", "fn f( {").err().expect("it is no Rust");
        assert!(error.starts_with("not parsed"), "{error}");
    }

    #[test]
    fn a_module_of_tests_in_its_own_file_is_known() {
        let source = Source::parse("src/x.rs", "#[cfg(test)]\nmod cases;\nmod other;");
        let source = source.expect("the fixture is Rust");
        assert_eq!(source.test_modules(), [["x", "cases"]]);
        let named = Source::parse("src/x/y.rs", "#[cfg(test)]\n#[path = \"model.rs\"]\nmod m;");
        assert_eq!(named.expect("the fixture is Rust").test_modules(), [["x", "model"]]);
    }
}
