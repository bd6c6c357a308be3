//! Modules that decide touch nothing: no clock, no randomness, no async, no files, processes,
//! sockets, threads.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::finding::Finding;
use super::source::Source;

/// What a pure module may not name, as beginnings or ends of paths.
const BEGINNINGS: [&[&str]; 9] = [
    &["tokio"],
    &["tokio_util"],
    &["futures_util"],
    &["std", "fs"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "env"],
    &["nix"],
    &["tracing"],
];
const ENDS: [&[&str]; 8] = [
    &["Instant", "now"],
    &["SystemTime", "now"],
    &["Uuid", "new_v4"],
    &["net", "TcpStream"],
    &["net", "TcpListener"],
    &["net", "UdpSocket"],
    &["net", "ToSocketAddrs"],
    &["time", "SystemTime"],
];

/// What a file of a pure module does that it may not.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for named in source.names() {
        let parts: Vec<&str> = named.parts.iter().map(String::as_str).collect();
        let forbidden = BEGINNINGS.iter().any(|words| parts.starts_with(words))
            || ENDS.iter().any(|words| parts.ends_with(words));
        if forbidden {
            let message = format!("a pure module names `{}`; take it as a value", parts.join("::"));
            found.push(Finding::new(&source.path, named.line, message));
        }
    }
    let mut asyncs = Asyncs { lines: Vec::new() };
    asyncs.visit_file(&source.tree);
    let lines = asyncs.lines.into_iter().filter(|line| !source.in_test(*line));
    found.extend(lines.map(|line| {
        Finding::new(&source.path, line, "a pure module is async; move the waiting to a shell")
    }));
    found
}

struct Asyncs {
    lines: Vec<usize>,
}

impl Visit<'_> for Asyncs {
    fn visit_signature(&mut self, signature: &syn::Signature) {
        self.lines.extend(signature.asyncness.map(|word| word.span().start().line));
        visit::visit_signature(self, signature);
    }

    fn visit_expr_async(&mut self, expression: &syn::ExprAsync) {
        self.lines.push(expression.span().start().line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_touches_the_world_is_found_and_plain_values_are_not() {
        for (text, lines) in [
            ("use std::net::IpAddr; use std::time::Duration;", vec![]),
            ("use std::fs;", vec![1]),
            ("fn f() {\n std::fs::read(\"x\");\n}", vec![2]),
            ("fn f() { let now = Instant::now(); }", vec![1]),
            ("use std::time::SystemTime;", vec![1]),
            ("use std::net::{IpAddr, TcpStream};", vec![1]),
            ("async fn f() {}", vec![1]),
            ("fn f() { let later = async {}; }", vec![1]),
            ("fn f() { tokio::select! {} }", vec![1]),
            ("#[cfg(test)]\nmod tests { async fn f() { std::fs::read(\"x\"); } }", vec![]),
        ] {
            let source = Source::parse("src/x.rs", text).expect("the fixture is Rust");
            let found: Vec<usize> =
                check(&source).into_iter().map(|finding| finding.line).collect();
            assert_eq!(found, lines, "{text}");
        }
    }
}
