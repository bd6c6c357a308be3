//! A collect rule in its full form, as declared: what it takes, what it makes of it, and what it
//! consents to.
//!
//! Refuses to compile a pattern or a template: that is `rule`, which also says what is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::{Meta, Value};
use crate::diag::Span;
use crate::ident::ResourceId;

pub use super::lifetime::{Lifetime, duration, seconds};

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullRule {
    /// What it is called in messages and references: its `rule`, or else its place, `collect[2]`.
    pub id: Arc<str>,
    /// On which hosts it exists; on all without one.
    pub hosts: Option<HostSelector>,
    /// The kinds that it takes.
    pub kinds: Vec<String>,
    /// The channels that it takes from.
    pub channels: Vec<String>,
    /// Whether it takes the exports of its own host.
    pub own: Own,
    /// Which exports it takes of these.
    pub filter: Where,
    /// Later rules do not see what it takes.
    pub last: bool,
    /// Which fields of the exporter stay.
    pub take: Take,
    /// The template of the name here.
    pub name: Option<String>,
    /// The directory that replaces the exporter's, as a legacy `pattern` does.
    pub into: Option<String>,
    /// Fields that it sets; the texts in them are templates.
    pub set: BTreeMap<String, Value>,
    /// Fields that it takes out.
    pub unset: Vec<String>,
    /// How the engine treats what it makes.
    pub meta: Arc<Meta>,
    /// The directory that no path may leave.
    pub within: Option<String>,
    /// What it consents to.
    pub allow: BTreeSet<Consent>,
    /// Who wins when exporters differ.
    pub conflict: Conflict,
    /// What becomes of what is no longer exported.
    pub gone: Gone,
    /// How many exports there should be.
    pub expect: Expect,
    /// When what changes is taken; at once without it.
    pub wait: Option<Wait>,
    /// These run before what it makes.
    pub after: Vec<Reference>,
    /// These run after what it makes.
    pub before: Vec<Reference>,
    /// These run after what it makes, and are refreshed by its changes.
    pub notify: Vec<Reference>,
    /// Makes one resource of all exports instead of one of each.
    pub gather: Option<Gather>,
    /// Where the rule stands in the file.
    pub span: Span,
}

impl FullRule {
    /// A rule that takes all exports of these kinds in the default channel as they are.
    pub fn new(id: &str, kinds: Vec<String>, span: Span) -> Self {
        FullRule {
            id: id.into(),
            hosts: None,
            kinds,
            channels: vec!["default".to_owned()],
            own: Own::Include,
            filter: Where::All(Vec::new()),
            last: true,
            take: Take::All,
            name: None,
            into: None,
            set: BTreeMap::new(),
            unset: Vec::new(),
            meta: Arc::default(),
            within: None,
            allow: BTreeSet::new(),
            conflict: Conflict::Hold,
            gone: Gone::Forget,
            expect: Expect::default(),
            wait: None,
            after: Vec::new(),
            before: Vec::new(),
            notify: Vec::new(),
            gather: None,
            span,
        }
    }

    /// What it is called in a message: `rule vhosts`, or `collect[2]` for one without a name.
    pub fn label(&self) -> String {
        label(&self.id)
    }
}

/// What the rule with this id is called in a message.
pub fn label(id: &str) -> String {
    if id.starts_with("collect[") { id.to_owned() } else { format!("rule {id}") }
}

/// Whether exports of the collector's own host are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// As those of others.
    Include,
    /// Only those of others.
    Exclude,
    /// Only own ones.
    Only,
}

/// Which exports: a condition on one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Where {
    /// All of these hold; an empty list holds.
    All(Vec<Where>),
    /// One of these holds.
    Any(Vec<Where>),
    /// This does not hold.
    Not(Box<Where>),
    /// The name it is published under.
    Name(Matcher),
    /// The host that exports it.
    Host(Matcher),
    /// A label of the export.
    Label(String, LabelTest),
    /// A label that an operator gave the exporting host.
    HostLabel(String, LabelTest),
    /// A field of the export.
    Field(String, Matcher),
    /// An expression that gives true or false.
    If(String),
}

/// What a label has to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LabelTest {
    /// It is there, or it is not.
    Exists(bool),
    /// It is there and matches.
    Matches(Matcher),
}

/// What a text has to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Matcher {
    /// This text.
    Is(String),
    /// Of this form, with `*`, `?`, `[...]` and `{a,b}`.
    Glob(String),
    /// The whole of it matches this regular expression.
    Regex(String),
    /// One of these.
    Any(Vec<Matcher>),
    /// None of this.
    Not(Box<Matcher>),
}

/// Which hosts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostSelector {
    /// Hosts with a name of one of these forms.
    Names(Vec<String>),
    /// Hosts whose labels, given by an operator, all match.
    Labels(BTreeMap<String, LabelTest>),
}

/// One rule of the site's policy on exports: which of them it is about, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRule {
    /// It allows; otherwise it denies.
    pub allow: bool,
    /// The exporters that it applies to.
    pub hosts: HostSelector,
    /// Forms of the kinds that it applies to.
    pub kinds: Vec<String>,
    /// Forms of the published names that it applies to.
    pub names: Vec<String>,
    /// Forms of the channels that it applies to.
    pub channels: Vec<String>,
}

/// Which fields of the exporter a rule lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Take {
    /// All that are set.
    All,
    /// These.
    Only(Vec<String>),
    /// All but these.
    Without(Vec<String>),
}

/// What a rule consents to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Consent {
    /// Kinds that run programs or change the system.
    Power,
    /// What may remove files of this host.
    Remove,
    /// Files that run with another user's or group's rights.
    Setid,
    /// What reads files of this host.
    LocalSource,
    /// Exporters that did not prove who they are.
    Unauthenticated,
}

impl Consent {
    /// All of them.
    pub const ALL: [Consent; 5] = [
        Consent::Power,
        Consent::Remove,
        Consent::Setid,
        Consent::LocalSource,
        Consent::Unauthenticated,
    ];

    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Consent::Power => "power",
            Consent::Remove => "remove",
            Consent::Setid => "setid",
            Consent::LocalSource => "local-source",
            Consent::Unauthenticated => "unauthenticated",
        }
    }
}

/// Who wins when several exporters give one resource different values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Nobody; what was applied stays while somebody still says so.
    Hold,
    /// Who published last.
    Newest,
    /// The first host whose name is of the first of these forms that any has.
    Prefer(Vec<String>),
}

/// What becomes of a resource when it is no longer exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It is no longer managed and stays as it is.
    Forget,
    /// It is managed as it was last.
    Freeze,
    /// The opposite of it is applied once.
    Remove,
}

/// How long what changes for a rule may go on changing before it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// It is taken when nothing has changed for so long,
    pub quiet: Duration,
    /// and at the latest so long after the first change.
    pub max: Duration,
}

impl Wait {
    /// The longest that a rule may wait: an hour.
    pub const MAX: Duration = Duration::from_secs(3_600);
    /// How many times longer than `quiet` it waits at most when it does not say.
    pub const TIMES: u32 = 10;
}

/// How many exports a rule expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Expect {
    /// At least so many.
    pub min: usize,
    /// At most so many.
    pub max: Option<usize>,
    /// At most so many percent fewer than before, at once.
    pub max_drop: Option<u8>,
    /// For so many seconds a larger drop is not believed.
    pub hold: Option<u64>,
}

/// Who comes before or after what a rule makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// One resource of this host.
    Resource(ResourceId),
    /// All that this rule makes, possibly nothing.
    Rule(Arc<str>),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Resource(id) => write!(f, "{id}"),
            Reference::Rule(id) => write!(f, "rule:{id}"),
        }
    }
}

/// One resource of many exports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gather {
    /// What it is.
    pub id: ResourceId,
    /// Its fields; the texts in them are templates that see `exports`.
    pub fields: BTreeMap<String, Value>,
}

/// How a resource is published, beyond that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The routing scope that it is published in.
    pub channel: String,
    /// Who may collect it.
    pub to: HostSelector,
    /// The template of the name that it is published under; its own name without one.
    pub name: Option<String>,
    /// Labels for the rules of others.
    pub labels: BTreeMap<String, String>,
    /// Fields of the published copy; the texts in them are templates.
    pub set: BTreeMap<String, Value>,
    /// The fields that are published; all that are set without it.
    pub only: Option<Vec<String>>,
    /// The fields that only the hosts in `to` can read.
    pub seal: BTreeSet<String>,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// It is published once what comes before it here is done; otherwise as soon as it is declared.
    pub when_ready: bool,
}

static USUAL: LazyLock<Arc<Terms>> = LazyLock::new(Arc::default);
static READY: LazyLock<Arc<Terms>> =
    LazyLock::new(|| Arc::new(Terms { when_ready: true, ..Terms::default() }));

impl Terms {
    /// Those of a name with the mark `@@` of which nothing is said. All copies are one.
    pub fn usual() -> Arc<Terms> {
        Arc::clone(&USUAL)
    }

    /// Those of `export: true`. All copies are one.
    pub fn ready() -> Arc<Terms> {
        Arc::clone(&READY)
    }
}

impl Default for Terms {
    fn default() -> Self {
        Terms {
            channel: "default".to_owned(),
            to: HostSelector::everybody(),
            name: None,
            labels: BTreeMap::new(),
            set: BTreeMap::new(),
            only: None,
            seal: BTreeSet::new(),
            lifetime: Lifetime::Session,
            when_ready: false,
        }
    }
}

impl HostSelector {
    /// Every host.
    pub fn everybody() -> Self {
        HostSelector::Names(vec!["*".to_owned()])
    }

    /// Whether it is written as every host.
    pub fn is_everybody(&self) -> bool {
        matches!(self, HostSelector::Names(names) if names.iter().any(|name| name == "*"))
    }
}
