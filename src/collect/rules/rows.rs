//! The acceptance rows of full rules, by their numbers: each says what is exported, what the rules
//! of the file say, and what becomes of it on the host lb1.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::collect::policy::PolicyRule;
use crate::collect::{Address, Content};
use crate::kind::file::result_path;
use crate::spec::{HostSelector, Value};
use crate::yaml;

mod coming;
mod conflicts;
mod exporting;
mod order;
mod overrides;
mod security;
mod selection;

fn host(name: &str) -> HostName {
    HostName::parse(name).unwrap()
}

fn value(text: &str) -> Value {
    match text {
        "true" => Value::Bool(true),
        _ => Value::Str(text.to_owned()),
    }
}

/// `host kind name <label:value …> field=value …`, for everybody and in the default channel.
fn export(from: &str, id: &str, labels: &[(&str, &str)], given: &[(&str, &str)]) -> Export {
    let (kind, name) = id.trim_end_matches(']').split_once('[').unwrap();
    let address = Address {
        channel: DEFAULT_CHANNEL.to_owned(),
        kind: kind.to_owned(),
        from: host(from),
        name: name.to_owned(),
    };
    let pairs = given.iter().map(|(name, text)| ((*name).to_owned(), value(text)));
    Export {
        address,
        content: Content::Fields(pairs.collect()),
        revision: 1,
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        to: HostSelector::everybody(),
    }
}

/// A file that is exported with this path.
fn file(from: &str, name: &str, path: &str) -> Export {
    export(from, &format!("file[{name}]"), &[], &[("path", path)])
}

/// One site.
struct Try {
    exports: Vec<Export>,
    program: Program,
    previous: Vec<Collected>,
    me: Me,
    hosts: BTreeMap<HostName, HostInfo>,
    policy: Policy,
    proved: Option<i64>,
}

/// What a file says beside its name, which has to be right.
fn program(rest: &str) -> Program {
    let (program, found) = yaml::parse(&format!("graph: site\n{rest}"));
    program.unwrap_or_else(|| panic!("{rest}: {found:?}"))
}

/// The messages of a file that is wrong.
fn mistakes(rest: &str) -> Vec<String> {
    let (program, found) = yaml::parse(&format!("graph: site\n{rest}"));
    assert!(program.is_none(), "{rest} was taken");
    found.into_iter().filter(|one| one.is_error()).map(|one| one.message).collect()
}

/// These exports under rules, each a map in flow style, whose `kind` is file and whose paths may be
/// anywhere.
fn files(exports: Vec<Export>, rules: &[&str]) -> Try {
    let lines: String =
        rules.iter().map(|rule| format!("- {{kind: file, within: /, {rule}}}\n")).collect();
    site(exports, &format!("collect:\n{lines}"))
}

fn site(exports: Vec<Export>, rest: &str) -> Try {
    Try {
        exports,
        program: program(rest),
        previous: Vec::new(),
        me: Me::new(host("lb1")),
        hosts: BTreeMap::new(),
        policy: Policy::Absent,
        proved: None,
    }
}

impl Try {
    /// What there is when these are all exports.
    fn run(&self) -> Collection {
        let exports: Vec<Arc<Export>> = self.exports.iter().cloned().map(Arc::new).collect();
        let site =
            Site { me: &self.me, hosts: &self.hosts, policy: &self.policy, proved: self.proved };
        let local = Local::default();
        local.at(Duration::ZERO, true);
        let beside = (&self.program, &local);
        run_beside(&site, &exports, &self.program.collect, beside, &self.previous)
    }

    fn explain(&self, name: &str) -> crate::collect::explain::Explained {
        let exports: Vec<Arc<Export>> = self.exports.iter().cloned().map(Arc::new).collect();
        let site =
            Site { me: &self.me, hosts: &self.hosts, policy: &self.policy, proved: self.proved };
        let rules = &self.program.collect;
        let all =
            crate::collect::explain::explain(&site, &exports, rules, &self.program, &self.previous);
        all.into_iter().find(|one| one.name == name).unwrap()
    }
}

fn ids(collection: &Collection) -> Vec<String> {
    collection.resources.iter().map(|one| one.id.to_string()).collect()
}

fn names(collection: &Collection) -> Vec<&str> {
    collection.resources.iter().map(|one| one.id.name()).collect()
}

/// Identity and path of each file.
fn places(collection: &Collection) -> Vec<(String, String)> {
    let path = |one: &Collected| result_path(one.id.name(), &one.fields);
    collection.resources.iter().map(|one| (one.id.to_string(), path(one))).collect()
}

/// S6: what the story's author exported.
fn superposition() -> Vec<Export> {
    let mut all = vec![file("h1", "filea", "/tmp/mgmtA/fA")];
    for letter in ["a", "b", "c", "d", "e"] {
        let path = format!("/tmp/mgmt{}/", letter.to_uppercase());
        let given = [("path", path.as_str()), ("state", "exists")];
        all.push(export("h1", &format!("file[dir_{letter}]"), &[], &given));
    }
    all
}
