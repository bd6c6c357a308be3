//! The kinds of resources, one file each, and what they have in common.
//!
//! A kind is a table of fields, a pure plan ("given what is there, what has to happen") and its
//! effects. Adding one touches its own file and the list in [`all`]. A kind refuses to know the
//! graph, the engine, or other resources.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::ident::{HostName, ResourceId};
use crate::spec::{Fields, Value};
use crate::store::Store;
use process::Line;

mod exec;
mod extras;
mod fence;
mod fields;
pub mod file;
mod gzip;
mod kv;
mod line;
mod moves;
mod msg;
mod noop;
mod password;
mod print;
pub mod process;
mod replace;
mod tar;
mod test;
mod timer;
#[cfg(test)]
mod trial;
mod turn;
mod unfilled;
mod value;
mod way;

pub use moves::{Mover, Moves};
pub use turn::Turns;
pub use unfilled::unfilled;
pub use way::Ways;

/// How the names of all files begin that the agent makes for a while beside what it manages.
pub(crate) const TEMPORARY: &str = way::TEMPORARY;

/// What a field accepts. Scalars are read from the raw text of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// Any scalar, as its raw text.
    Str,
    /// `true`/`false`, `yes`/`no`, `on`/`off`, unquoted.
    Bool,
    /// A whole number, unquoted; `0x`, `0b`, leading-zero octal and `_` as YAML 1.1 reads them.
    Int,
    /// A list of scalars.
    StrList,
    /// A map of scalars.
    StrMap,
}

/// One row of a kind's field table: parsing, help and schema come from it.
#[derive(Clone, Copy, Debug)]
pub struct FieldDef {
    /// The key in the file.
    pub name: &'static str,
    /// What it accepts.
    pub ty: FieldType,
    /// One sentence for people, lower case.
    pub doc: &'static str,
}

/// How much a kind may do to a host that collects it from another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Changes nothing on the machine.
    Inert,
    /// Writes content below a path.
    Content,
    /// Runs programs or changes the system; never collected by a legacy rule.
    Powerful,
}

/// Why the fields of a resource do not make one. `field` is the key that it is about, if one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The key at fault; `None` when it is about the whole resource.
    pub field: Option<&'static str>,
    /// What is wrong, lower case.
    pub message: String,
    /// The next step.
    pub help: Option<String>,
}

/// A kind of resource.
pub trait Kind: Send + Sync + 'static {
    /// The word in the file, for instance `file`.
    fn name(&self) -> &'static str;
    /// All fields that it accepts.
    fn fields(&self) -> &'static [FieldDef];
    /// The values that its runs can send to others, as a table of the same form as the fields.
    fn sends(&self) -> &'static [FieldDef] {
        &[]
    }
    /// Fields that say where on the machine it works. They cannot be received: what others may
    /// touch, and who comes first, follows from them before anything has run.
    fn places(&self) -> &'static [&'static str] {
        &[]
    }
    /// Fields whose values no message, status or log ever shows: they may be sealed when the
    /// resource is exported.
    fn sealable(&self) -> &'static [&'static str] {
        &[]
    }
    /// What collecting it may do.
    fn power(&self) -> Power;
    /// The fields of the resource that undoes the one with these fields, applied once when nobody
    /// exports it any more; `None` when nothing undoes it.
    fn inverse(&self, _fields: &Fields) -> Option<Fields> {
        None
    }
    /// What a resource with these fields is about, where that is no path of [`Resource::hints`]: as
    /// long as one of its kind is about it, it is not removed as the opposite of another one.
    fn subject(&self, _id: &ResourceId, _fields: &Fields) -> Option<String> {
        None
    }
    /// Makes a resource of fields that have the types of the table. Pure; reports every mistake.
    fn build(&self, id: &ResourceId, fields: &Fields)
    -> Result<Arc<dyn Resource>, Vec<FieldError>>;
    /// [`Kind::build`] with values that others sent: they may be secrets, so whoever tells its
    /// fields must not tell those.
    fn build_received(
        &self,
        id: &ResourceId,
        fields: &Fields,
    ) -> Result<Arc<dyn Resource>, Vec<FieldError>> {
        self.build(id, fields)
    }
}

/// What makes a resource worth checking again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watch {
    /// A path: creation, removal, move, content and attributes of it, and of its missing or moved
    /// ancestors. With `children`, also what happens directly in it.
    Path {
        /// The absolute path, without a trailing slash.
        path: Arc<Path>,
        /// Report events of direct entries too.
        children: bool,
    },
    /// A directory, as [`Watch::Path`], and everything below it at any depth; links are not
    /// followed.
    Tree(Arc<Path>),
    /// A key of the store; one that ends in a slash stands for everything below it.
    Key(String),
    /// A tick every so often, the first after one interval.
    Every(Duration),
    /// A command that is kept running: each line that it prints is an event, and so is its end.
    Command(Line),
}

/// What automatic edges are made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// The path that this resource manages, without a trailing slash.
    pub path: Option<PathBuf>,
    /// That path is a directory that this resource makes.
    pub directory: bool,
}

/// What one run of a resource did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was right.
    Unchanged,
    /// Something was wrong and is right now; says what was done (`content written`).
    Changed(String),
    /// Something is wrong and was left, since changes were not allowed; says what would be done.
    WouldChange(String),
}

/// What a run may use.
#[derive(Clone)]
pub struct Context {
    /// The store, shared or of this process.
    pub store: Arc<dyn Store>,
    /// This host.
    pub host: HostName,
    /// The agent's own folder, private to it; a kind keeps what has to survive a restart below
    /// `kinds/` in it.
    pub state_dir: Arc<Path>,
    /// Change what is wrong; otherwise only look.
    pub apply: bool,
    /// A predecessor with a notifying edge changed.
    pub refresh: bool,
    /// Where the run puts values for others to receive.
    pub outbox: Outbox,
    /// The paths that the resources of the graph manage.
    pub managed: Managed,
    /// Where it says that it moves a file into its place, which is then no news to it.
    pub mover: Mover,
    /// Directories that were opened for runs just before this one.
    pub ways: Ways,
    /// The directory that no way to what it manages may leave, clean and absolute: another host
    /// named the rest.
    pub within: Option<Arc<Path>>,
    /// Given up when cancelled: return soon, kill what was started.
    pub cancel: CancellationToken,
}

/// The values that one run sends, by key of [`Kind::sends`]. What a run does not put is not sent.
#[derive(Clone, Debug, Default)]
pub struct Outbox(Arc<Mutex<Fields>>);

impl Outbox {
    /// Sends this value under this key when the run ends well.
    pub fn put(&self, key: &str, value: Value) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), value);
    }

    /// Takes out what was put.
    pub fn take(&self) -> Fields {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The paths that the resources of the graph manage, clean and absolute, so that nobody removes
/// what another one keeps. Made when first asked for.
#[derive(Clone)]
pub struct Managed(Arc<LazyLock<BTreeSet<PathBuf>, ManagedPaths>>);

type ManagedPaths = Box<dyn FnOnce() -> BTreeSet<PathBuf> + Send>;

impl Managed {
    /// The paths that `make` gives.
    pub fn new(make: impl FnOnce() -> BTreeSet<PathBuf> + Send + 'static) -> Self {
        Managed(Arc::new(LazyLock::new(Box::new(make))))
    }

    /// All of them.
    pub fn paths(&self) -> &BTreeSet<PathBuf> {
        &self.0
    }
}

impl Default for Managed {
    fn default() -> Self {
        Managed::new(BTreeSet::new)
    }
}

/// A resource of some kind, ready to be watched and run.
#[async_trait]
pub trait Resource: Send + Sync + Debug {
    /// What to watch. Asked when the vertex starts, and again when it receives another value.
    fn watches(&self) -> Vec<Watch>;
    /// For automatic edges.
    fn hints(&self) -> Hints {
        Hints::default()
    }
    /// A tick or an event counts as a change of the resource itself (timers).
    fn event_is_change(&self) -> bool {
        false
    }
    /// What the others in the graph manage matters to it (a purge): looked at again after a swap.
    fn minds_neighbours(&self) -> bool {
        false
    }
    /// Whether [`Resource::run`] never waits as a future does: it works on the calling thread until
    /// it is done, and returns at once when it was cancelled before. Such runs share a few threads.
    fn blocks(&self) -> bool {
        false
    }
    /// Looks, and when `cx.apply` is set, makes right. Never runs twice at once for one resource.
    /// The error is one lower-case sentence that names what is missing and what to do.
    async fn run(&self, cx: &Context) -> Result<Outcome, String>;
}

/// What a run of a resource without effects says: a refresh counts as a change, so that it reaches
/// those that come after.
fn passed_on(cx: &Context) -> Outcome {
    match (cx.refresh, cx.apply) {
        (false, _) => Outcome::Unchanged,
        (true, true) => Outcome::Changed("refreshed".to_owned()),
        (true, false) => Outcome::WouldChange("refreshed".to_owned()),
    }
}

/// Reads a field as text.
pub fn str_field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    match fields.get(name) {
        Some(Value::Str(text)) => Some(text),
        _ => None,
    }
}

/// All kinds, in the order of their names.
pub fn all() -> &'static [&'static dyn Kind] {
    &[
        &exec::ExecKind,
        &file::FileKind,
        &gzip::GzipKind,
        &kv::KvKind,
        &line::LineKind,
        &msg::MsgKind,
        &noop::NoopKind,
        &password::PasswordKind,
        &print::PrintKind,
        &tar::TarKind,
        &test::TestKind,
        &timer::TimerKind,
        &value::ValueKind,
    ]
}

/// The kind of this exact name.
pub fn find(name: &str) -> Option<&'static dyn Kind> {
    all().iter().copied().find(|kind| kind.name() == name)
}
