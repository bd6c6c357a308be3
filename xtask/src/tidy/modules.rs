//! Which module may use which: the tables of `ARCHITECTURE.md` against the source, and who owns a
//! library.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::Finding;
use super::source::Source;

/// The page that holds the tables.
pub(super) const PAGE: &str = "ARCHITECTURE.md";

/// The tables of the page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tables {
    /// Rows of the agent's modules.
    pub(super) agent: Rows,
    /// Rows of the toolkit's modules.
    pub(super) xtask: Rows,
    /// For each library, the rows that may name it; those of the toolkit begin with `xtask `.
    pub(super) owners: BTreeMap<String, BTreeSet<String>>,
}

/// Rows by module path (`cluster::shell`).
pub(super) type Rows = BTreeMap<String, Row>;

/// What one module may do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// Where it stands on the page.
    pub(super) line: usize,
    /// What it may use.
    pub(super) may_use: BTreeSet<String>,
    /// It touches nothing outside itself.
    pub(super) pure: bool,
}

impl Tables {
    /// The rows for a file, and its name part in the owners' table.
    pub(super) fn rows_of(&self, path: &str) -> (&Rows, &'static str) {
        if path.starts_with("xtask/") { (&self.xtask, "xtask ") } else { (&self.agent, "") }
    }

    /// The row that a file belongs to: that of the longest module path.
    pub(super) fn row_of(&self, source: &Source) -> Option<(&str, &Row)> {
        owner(self.rows_of(&source.path).0, &source.module)
    }
}

/// Reads the page. A table belongs to the heading before it.
pub(super) fn read(page: &str) -> Tables {
    let mut tables = Tables::default();
    let mut heading = "";
    for (index, line) in page.lines().enumerate() {
        if line.starts_with('#') {
            heading = line;
        }
        let Some(inner) = line.trim().strip_prefix('|') else { continue };
        let cells: Vec<&str> = inner.split('|').map(str::trim).collect();
        let names = quoted(cells[0]);
        if heading.contains("owns a library") {
            let owners = owners_in(cells.get(1).unwrap_or(&""));
            tables.owners.extend(names.into_iter().map(|name| (name, owners.clone())));
            continue;
        }
        let Some(name) = names.into_iter().next() else { continue };
        let rows = match heading {
            _ if heading.contains("`xtask/src/`") => &mut tables.xtask,
            _ if heading.contains("`src/`") => &mut tables.agent,
            _ => continue,
        };
        let cell = |n: usize| cells.get(n).copied().unwrap_or("");
        let may_use = match cell(2) {
            "all above" => rows.keys().cloned().collect(),
            names => quoted(names).into_iter().collect(),
        };
        rows.insert(name, Row { line: index + 1, may_use, pure: cell(3) == "pure" });
    }
    tables
}

/// The words in backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(Into::into).collect()
}

/// `` `graph`, xtask `tidy` `` as `graph` and `xtask tidy`.
fn owners_in(cell: &str) -> BTreeSet<String> {
    cell.split(',').map(|part| part.replace('`', "").trim().to_owned()).collect()
}

fn owner<'a>(rows: &'a Rows, module: &[String]) -> Option<(&'a str, &'a Row)> {
    (1..=module.len()).rev().find_map(|length| {
        rows.get_key_value(&module[..length].join("::")).map(|(name, row)| (name.as_str(), row))
    })
}

/// Rows that name nothing, modules without a row, and permissions that make a circle.
pub(super) fn check_page(tables: &Tables, sources: &[Source]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (rows, prefix) in [(&tables.agent, "src/"), (&tables.xtask, "xtask/src/")] {
        let modules: BTreeSet<String> = sources
            .iter()
            .filter(|source| source.path.starts_with(prefix) && !source.is_test)
            .map(|source| source.module.join("::"))
            .collect();
        for (name, row) in rows {
            if !modules.contains(name) {
                found.push(Finding::new(PAGE, row.line, format!("there is no module `{name}`")));
            }
            for used in row.may_use.iter().filter(|used| !rows.contains_key(*used)) {
                let message = format!("`{name}` may use `{used}`, which has no row");
                found.push(Finding::new(PAGE, row.line, message));
            }
        }
        for name in modules.iter().filter(|name| !name.is_empty() && !name.contains("::")) {
            if !rows.contains_key(name) {
                let message =
                    format!("`{name}` of `{prefix}` has no row; add it with what it may use");
                found.push(Finding::new(PAGE, 0, message));
            }
        }
        found.extend(circle(rows).map(|names| {
            let message =
                format!("these modules may use each other in a circle: {}", names.join(", "));
            Finding::new(PAGE, rows[&names[0]].line, message)
        }));
    }
    found
}

/// The modules that are left when everything that uses nothing is taken away, again and again.
fn circle(rows: &Rows) -> Option<Vec<String>> {
    let mut left: BTreeMap<&String, BTreeSet<&String>> = rows
        .iter()
        .map(|(name, row)| {
            (name, row.may_use.iter().filter(|used| rows.contains_key(*used)).collect())
        })
        .collect();
    loop {
        let done: BTreeSet<&String> =
            left.iter().filter(|(_, uses)| uses.is_empty()).map(|(name, _)| *name).collect();
        if done.is_empty() {
            break;
        }
        left.retain(|name, _| !done.contains(name));
        left.values_mut().for_each(|uses| uses.retain(|used| !done.contains(used)));
    }
    (!left.is_empty()).then(|| left.into_keys().cloned().collect())
}

/// What a file names that its row does not permit.
pub(super) fn check_uses(tables: &Tables, source: &Source) -> Vec<Finding> {
    let (rows, prefix) = tables.rows_of(&source.path);
    let Some((name, row)) = tables.row_of(source) else { return Vec::new() };
    let mut found = BTreeSet::new();
    for named in source.names() {
        if named.parts[0] == "crate" {
            let Some((used, _)) = owner(rows, &named.parts[1..]) else { continue };
            if used != name && !row.may_use.contains(used) {
                let message = format!("`{name}` may not use `{used}` ({PAGE})");
                found.insert(Finding::new(&source.path, named.line, message));
            }
        }
        if let Some(owners) = tables.owners.get(&named.parts[0]) {
            let permitted = owners.iter().any(|owner| within(&format!("{prefix}{name}"), owner));
            if !permitted {
                let library = &named.parts[0];
                let names = owners.iter().cloned().collect::<Vec<_>>().join(", ");
                let message = format!("only {names} may name the library `{library}` ({PAGE})");
                found.insert(Finding::new(&source.path, named.line, message));
            }
        }
    }
    found.into_iter().collect()
}

fn within(module: &str, owner: &str) -> bool {
    module == owner || module.strip_prefix(owner).is_some_and(|rest| rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "## Modules: `src/`
| module | for | may use | pure |
|---|---|---|---|
| `a` | x | - | pure |
| `b` | x | `a` | - |
| `b::deep` | x | all above | - |
## Modules: `xtask/src/`
| `tool` | x | - | - |
## Who owns a library
| `petgraph` | `b`, xtask `tool` |
";

    fn source(path: &str, text: &str) -> Source {
        Source::parse(path, text).expect("the fixture is Rust")
    }

    fn messages(found: Vec<Finding>) -> Vec<String> {
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_tables_are_read_from_the_page() {
        let tables = read(SAMPLE);
        assert!(tables.agent["a"].pure && !tables.agent["b"].pure);
        let above: Vec<&str> = tables.agent["b::deep"].may_use.iter().map(String::as_str).collect();
        assert_eq!(above, ["a", "b"]);
        assert_eq!(tables.xtask.len(), 1);
        let owners: Vec<&str> = tables.owners["petgraph"].iter().map(String::as_str).collect();
        assert_eq!(owners, ["b", "xtask tool"]);
    }

    #[test]
    fn a_use_that_the_page_does_not_permit_is_found_with_its_line() {
        let tables = read(SAMPLE);
        for (path, text, expected) in [
            ("src/b.rs", "use crate::a::X;", vec![]),
            ("src/a.rs", "\nuse crate::b::X;", vec!["src/a.rs:2: `a` may not use `b`"]),
            ("src/a/x.rs", "fn f() { crate::b::g() }", vec!["src/a/x.rs:1: `a` may not use `b`"]),
            ("src/b.rs", "use self::deep::X;", vec!["src/b.rs:1: `b` may not use `b::deep`"]),
            ("src/b/deep.rs", "use super::X; use crate::a::Y;", vec![]),
            (
                "src/b.rs",
                "#[cfg(test)] mod t { use crate::nothing::X; use crate::b::deep::X; }",
                vec![],
            ),
        ] {
            let found = messages(check_uses(&tables, &source(path, text)));
            let found: Vec<&str> =
                found.iter().map(|text| text.trim_end_matches(" (ARCHITECTURE.md)")).collect();
            assert_eq!(found, expected, "{path}: {text}");
        }
    }

    #[test]
    fn a_library_is_named_by_its_owner_only() {
        let tables = read(SAMPLE);
        for (path, fine) in [
            ("src/b.rs", true),
            ("src/b/x.rs", true),
            ("src/a.rs", false),
            ("xtask/src/tool.rs", true),
        ] {
            let found = check_uses(&tables, &source(path, "use petgraph::Graph;"));
            assert_eq!(found.is_empty(), fine, "{path}");
        }
    }

    #[test]
    fn rows_and_modules_match_one_to_one() {
        let text = "fn f() {}";
        let sources = ["src/lib.rs", "src/a.rs", "src/b.rs", "src/c.rs", "xtask/src/tool.rs"]
            .map(|path| source(path, text));
        let found = messages(check_page(&read(SAMPLE), &sources));
        let expected = [
            "ARCHITECTURE.md:6: there is no module `b::deep`",
            "ARCHITECTURE.md: `c` of `src/` has no row; add it with what it may use",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn permissions_that_make_a_circle_are_found() {
        let page =
            "## Modules: `src/`\n| `a` | x | `b` | - |\n| `b` | x | `a` | - |\n| `c` | x | - | - |";
        let sources = ["src/a.rs", "src/b.rs", "src/c.rs"].map(|path| source(path, ""));
        let found = messages(check_page(&read(page), &sources));
        assert_eq!(
            found,
            ["ARCHITECTURE.md:2: these modules may use each other in a circle: a, b"]
        );
    }
}
