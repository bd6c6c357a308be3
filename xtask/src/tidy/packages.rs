//! What is built in: licences and packages that are there twice, from `cargo metadata`, against
//! `xtask/tidy.toml`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::finding::Finding;

/// The page of permissions.
pub(super) const PERMISSIONS: &str = "xtask/tidy.toml";

/// What is permitted, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Permissions {
    /// SPDX names.
    licences: BTreeSet<String>,
    /// Packages whose licence is permitted for them alone, with the reason.
    #[serde(default)]
    exceptions: BTreeMap<String, String>,
    /// Packages that may be there in several versions, with the reason.
    #[serde(default)]
    duplicates: BTreeMap<String, String>,
}

/// The part of `cargo metadata` that is of interest.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
}

/// Licences that are not permitted, packages in several versions, permissions that nothing needs.
pub(super) fn check(metadata: &Metadata, permissions: &Permissions) -> Vec<Finding> {
    let built: BTreeSet<&str> =
        metadata.resolve.nodes.iter().map(|node| node.id.as_str()).collect();
    let packages = metadata.packages.iter().filter(|package| built.contains(package.id.as_str()));
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut found = Vec::new();
    for package in packages {
        versions.entry(&package.name).or_default().insert(&package.version);
        let licence = package.license.as_deref().unwrap_or("none");
        let excepted = permissions.exceptions.contains_key(&package.name);
        if !excepted && !permitted(licence, &permissions.licences) {
            let message = format!(
                "the licence of `{}` {}, {licence}, is not in {PERMISSIONS}",
                package.name, package.version
            );
            found.push(Finding::new("Cargo.lock", 0, message));
        }
    }
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        if !permissions.duplicates.contains_key(*name) {
            let versions = versions.iter().copied().collect::<Vec<_>>().join(" and ");
            let message = format!(
                "`{name}` is built in as {versions}; if it has to be, add the reason to \
                {PERMISSIONS}"
            );
            found.push(Finding::new("Cargo.lock", 0, message));
        }
    }
    for name in permissions.exceptions.keys().filter(|name| !versions.contains_key(name.as_str())) {
        let message = format!("`{name}` is no longer built in; take it out");
        found.push(Finding::new(PERMISSIONS, 0, message));
    }
    for name in permissions.duplicates.keys() {
        if versions.get(name.as_str()).is_none_or(|versions| versions.len() < 2) {
            let message = format!("`{name}` is no longer there twice; take it out");
            found.push(Finding::new(PERMISSIONS, 0, message));
        }
    }
    found
}

/// Whether an SPDX expression can be met by permitted licences alone. `OR` binds weaker than `AND`.
fn permitted(expression: &str, licences: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Expression { words: &words, at: 0, licences };
    reader.any() && reader.at == words.len()
}

struct Expression<'a> {
    words: &'a [&'a str],
    at: usize,
    licences: &'a BTreeSet<String>,
}

impl Expression<'_> {
    fn take(&mut self, word: &str) -> bool {
        let there = self.words.get(self.at) == Some(&word);
        self.at += usize::from(there);
        there
    }

    fn any(&mut self) -> bool {
        let mut met = self.all();
        while self.take("OR") {
            met |= self.all();
        }
        met
    }

    fn all(&mut self) -> bool {
        let mut met = self.one();
        while self.take("AND") {
            met &= self.one();
        }
        met
    }

    fn one(&mut self) -> bool {
        if self.take("(") {
            let met = self.any();
            return self.take(")") && met;
        }
        let name = self.words.get(self.at).copied().unwrap_or("");
        self.at += 1;
        // An exception only permits more.
        if self.take("WITH") {
            self.at += 1;
        }
        self.licences.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(packages: &[(&str, &str, &str)]) -> Metadata {
        let package = |(name, version, license): &(&str, &str, &str)| Package {
            id: format!("{name}@{version}"),
            name: (*name).into(),
            version: (*version).into(),
            license: Some((*license).into()),
        };
        let packages: Vec<Package> = packages.iter().map(package).collect();
        let nodes = packages.iter().map(|package| Node { id: package.id.clone() }).collect();
        Metadata { packages, resolve: Resolve { nodes } }
    }

    fn permissions() -> Permissions {
        let text = "licences = [\"MIT\", \"ISC\"]\n[exceptions]\nicons = \
        \"pictures\"\n[duplicates]\nsyn = \"two generations of macros\"";
        toml::from_str(text).expect("the fixture is TOML")
    }

    #[test]
    fn an_expression_is_met_by_permitted_licences_alone() {
        for (expression, met) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0/MIT", true),
            ("MIT AND ISC", true),
            ("MIT AND GPL-3.0", false),
            ("(MIT OR GPL-3.0) AND ISC", true),
            ("MIT AND (GPL-2.0 OR GPL-3.0)", false),
            ("GPL-3.0 OR MIT WITH some-exception", true),
            ("none", false),
            ("", false),
            ("MIT ISC", false),
        ] {
            assert_eq!(permitted(expression, &permissions().licences), met, "{expression}");
        }
    }

    #[test]
    fn licences_duplicates_and_idle_permissions_are_found() {
        let fine =
            [("syn", "1.0.0", "MIT"), ("syn", "2.0.0", "MIT"), ("icons", "1.0.0", "CC-BY-4.0")];
        let idle = check(&metadata(&[]), &permissions());
        assert!(idle.len() == 2 && idle.iter().all(|finding| finding.path == PERMISSIONS));
        for (packages, expected) in [
            (vec![], vec![]),
            (vec![("a", "1.0.0", "GPL-3.0")], vec!["Cargo.lock"]),
            (vec![("a", "1.0.0", "MIT"), ("a", "2.0.0", "MIT")], vec!["Cargo.lock"]),
        ] {
            let packages = [&fine[..], &packages].concat();
            let found = check(&metadata(&packages), &permissions());
            let places: Vec<&str> = found.iter().map(|finding| finding.path.as_str()).collect();
            assert_eq!(places, expected, "{packages:?}");
        }
    }
}
