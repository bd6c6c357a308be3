//! The shell of the hub: one task that owns the inotify instance and the book.
//!
//! Refuses to wait for its reader with the kernel's queue unread: who is touched is kept once,
//! however often it happens, until the reader takes it.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use inotify::{Inotify, WatchDescriptor, WatchMask, Watches};
use nix::dir::{Dir, Type};
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, fstatat};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::book::{Book, Happened, Order, Scope, Wd};
use super::ear::{Ear, Event, Moved};
use super::error::{Refusal, WatchError};
use super::polled::{POLL, Polled};
use crate::kind::{Mover, Moves};

/// How many touched ids wait for the reader beside the set that the hub keeps: enough to hand over
/// in bulk.
const TOUCHED_QUEUE: usize = 256;

/// How many requests wait for the hub; who asks more waits.
const COMMAND_QUEUE: usize = 64;

/// Something happened to what an id wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// The id that was given to [`HubHandle::add`].
    pub id: u64,
    /// Something happened to what is watched; else only to the watch.
    pub happened: bool,
    /// Set when it cannot be watched fully any more; absent when all is well (again).
    pub error: Option<WatchError>,
}

/// Why there is no hub.
#[derive(Debug, Error)]
pub enum HubError {
    /// The kernel gives no instance.
    #[error("cannot start watching files: {0}; raise fs.inotify.max_user_instances with sysctl")]
    Instance(#[source] io::Error),
    /// The runtime cannot wait for it.
    #[error("cannot wait for file events: {0}")]
    Runtime(#[source] io::Error),
    /// The hub has ended.
    #[error("the watching of files has ended; restart the agent")]
    Ended,
}

/// What to watch for an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Who is told.
    pub id: u64,
    /// Clean and absolute.
    pub path: Arc<Path>,
    /// How much of it.
    pub scope: Scope,
}

enum Command {
    Add { wanted: Vec<Wanted>, done: oneshot::Sender<Vec<Option<WatchError>>> },
    Remove { id: u64 },
}

/// Asks the hub. Clones ask the same hub; it ends when the last one is dropped.
#[derive(Clone, Debug)]
pub struct HubHandle {
    commands: mpsc::Sender<Command>,
    moves: Moves,
}

impl HubHandle {
    /// Watches a clean absolute path for `id`, as far as `scope` says. When this returns, the watch
    /// is armed: every later change is told. On an error, which names the cause and the next step,
    /// as much as possible is watched, and a later [`Touched`] without an error says when it is
    /// complete.
    pub async fn add(&self, id: u64, path: Arc<Path>, scope: Scope) -> Result<(), WatchError> {
        let errors = self.add_all(vec![Wanted { id, path, scope }]).await;
        errors.into_iter().flatten().next().map_or(Ok(()), Err)
    }

    /// [`HubHandle::add`] for many, in one go: asking for each would wake the hub for each. Gives
    /// the error of each, in the same order.
    pub async fn add_all(&self, wanted: Vec<Wanted>) -> Vec<Option<WatchError>> {
        let (count, (done, armed)) = (wanted.len(), oneshot::channel());
        if self.commands.send(Command::Add { wanted, done }).await.is_ok()
            && let Ok(errors) = armed.await
        {
            return errors;
        }
        let ended = WatchError { message: HubError::Ended.to_string(), exhausted: false };
        vec![Some(ended); count]
    }

    /// A hub that watches nothing, and answers every path like this.
    #[cfg(test)]
    pub fn answering(answer: impl Fn(&str) -> Option<WatchError> + Send + 'static) -> Self {
        let (commands, mut requests) = mpsc::channel(COMMAND_QUEUE);
        tokio::spawn(async move {
            while let Some(command) = requests.recv().await {
                if let Command::Add { wanted, done } = command {
                    let errors = wanted.iter().map(|one| answer(&one.path.to_string_lossy()));
                    done.send(errors.collect()).ok();
                }
            }
        });
        HubHandle { commands, moves: Moves::default() }
    }

    /// What a run needs to announce moves that this id need not be told of.
    pub fn mover(&self, id: u64) -> Mover {
        Mover::new(self.moves.clone(), id)
    }

    /// Stops watching for `id`. What was touched before may still be told.
    pub async fn remove(&self, id: u64) {
        if self.commands.send(Command::Remove { id }).await.is_err() {
            tracing::debug!("watch {id} is removed after the hub ended");
        }
    }
}

/// The task that watches.
pub struct Hub {
    ear: Ear,
    /// Where watches are asked for.
    kernel: Watches,
    descriptors: HashMap<Wd, WatchDescriptor>,
    book: Book,
    pending: Pending,
    moves: Moves,
    /// Moves that were announced and have begun, by the kernel's number: whose they are.
    moving: HashMap<u32, u64>,
    polled: Polled,
    /// When what found no watch left is looked at again.
    poll_at: Option<Instant>,
    /// The most watches, besides what the kernel allows.
    room: usize,
}

impl Hub {
    /// Starts the hub on the current runtime. Whoever is touched comes out of the receiver.
    pub fn start() -> Result<(HubHandle, mpsc::Receiver<Touched>), HubError> {
        Hub::with_room(usize::MAX)
    }

    fn with_room(room: usize) -> Result<(HubHandle, mpsc::Receiver<Touched>), HubError> {
        let inotify = Inotify::init().map_err(HubError::Instance)?;
        let kernel = inotify.watches();
        let ear = Ear::open(inotify).map_err(HubError::Runtime)?;
        let (commands, requests) = mpsc::channel(COMMAND_QUEUE);
        let (touched, receiver) = mpsc::channel(TOUCHED_QUEUE);
        let moves = Moves::default();
        let hub = Hub {
            ear,
            kernel,
            descriptors: HashMap::new(),
            book: Book::default(),
            pending: Pending::default(),
            moves: moves.clone(),
            moving: HashMap::new(),
            polled: Polled::default(),
            poll_at: None,
            room,
        };
        tokio::spawn(hub.run(requests, touched));
        Ok((HubHandle { commands, moves }, receiver))
    }

    async fn run(mut self, mut requests: mpsc::Receiver<Command>, touched: mpsc::Sender<Touched>) {
        loop {
            tokio::select! {
                permit = touched.reserve(), if !self.pending.is_empty() => {
                    let Ok(permit) = permit else { return };
                    if let Some(id) = self.pending.pop() {
                        let error = self.error(id);
                        permit.send(Touched { id, happened: true, error });
                    }
                }
                () = until(self.poll_at) => self.poll(),
                command = requests.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                events = self.ear.hear() => match events {
                    Ok(events) => self.events(&events),
                    Err(error) => {
                        tracing::error!("file events cannot be read: {error}");
                        return;
                    }
                },
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Add { wanted, done } => {
                let mut ids = Vec::with_capacity(wanted.len());
                for Wanted { id, path, scope } in wanted {
                    ids.push(id);
                    let helped = self.book.add(id, path, scope);
                    self.pending.extend(helped);
                }
                self.carry_out();
                let errors = ids.into_iter().map(|id| self.error(id)).collect();
                // Who asked may have given up in the meantime; it removes the ids then.
                done.send(errors).ok();
            }
            Command::Remove { id } => {
                let helped = self.book.remove(id);
                self.carry_out();
                self.pending.forget(id);
                self.polled.forget(id);
                self.pending.extend(helped);
            }
        }
    }

    /// Why the id is not fully watched; what found no watch left is looked at from now on.
    fn error(&mut self, id: u64) -> Option<WatchError> {
        let error = self.book.error(id);
        match self.book.wanted(id) {
            Some((path, scope)) if error.as_ref().is_some_and(|error| error.exhausted) => {
                self.polled.keep(id, path, scope);
                self.poll_at.get_or_insert_with(|| Instant::now() + POLL);
            }
            _ => self.polled.forget(id),
        }
        error
    }

    /// Tries again to watch what is only looked at; who got a watch is told, and who has changed.
    fn poll(&mut self) {
        let helped = self.book.retry_starved();
        self.carry_out();
        let well = |id: &u64| !self.book.error(*id).is_some_and(|error| error.exhausted);
        let well: BTreeSet<u64> = helped.into_iter().filter(well).collect();
        self.pending.extend(well);
        self.pending.extend(self.polled.look(|id| self.book.wanted(id)));
        self.poll_at = (!self.polled.is_empty()).then(|| Instant::now() + POLL);
    }

    fn has_room(&self) -> bool {
        self.descriptors.len() < self.room
    }

    fn events(&mut self, events: &[Event]) {
        let mut concern = false;
        for event in events {
            let mut touched = self.book.event(event.wd, event.happened, event.name.as_deref());
            if let Some(id) = self.mover(event) {
                touched.remove(&id);
            }
            // First the watches, then the word: whoever looks after it was told misses nothing.
            self.carry_out();
            concern |= !touched.is_empty();
            self.pending.extend(touched);
        }
        self.ear.heard(concern, Instant::now());
    }

    /// Whose announced move ends with this event: that of a temporary name to where it belongs.
    fn mover(&mut self, event: &Event) -> Option<u64> {
        if event.happened == Happened::Overflow {
            self.moves.clear();
            self.moving.clear();
        }
        match event.moved? {
            Moved::From(number) => {
                let id = self.moves.take(event.name.as_deref()?)?;
                self.moving.insert(number, id);
                None
            }
            Moved::To(number) => self.moving.remove(&number),
        }
    }

    fn carry_out(&mut self) {
        while let Some(order) = self.book.next_order() {
            match order {
                Order::Arm { dir, content, follow } => {
                    let result = match self.has_room() {
                        true => {
                            self.kernel.add(&dir, mask(content, follow)).map_err(|e| refusal(&e))
                        }
                        false => Err(Refusal::Limit),
                    };
                    let result = result.map(|descriptor| {
                        let wd = descriptor.get_watch_descriptor_id();
                        self.descriptors.insert(wd, descriptor);
                        wd
                    });
                    trace(&dir, &result);
                    self.book.armed(&dir, content, result);
                }
                Order::List { dir, follow } => {
                    self.book.listed(&dir, directories(&dir, follow));
                }
                Order::Disarm(wd) => {
                    // The kernel drops the watch of a removed directory by itself, so this may
                    // fail.
                    if let Some(descriptor) = self.descriptors.remove(&wd)
                        && let Err(error) = self.kernel.remove(descriptor)
                    {
                        tracing::trace!("watch {wd} was gone: {error}");
                    }
                }
            }
        }
    }
}

/// The directories in a directory. What cannot be read is what its watch told already, and what
/// went meanwhile is told by it.
fn directories(dir: &Path, follow: bool) -> Vec<OsString> {
    let nofollow = if follow { OFlag::empty() } else { OFlag::O_NOFOLLOW };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | nofollow;
    let Ok(mut opened) = Dir::open(dir, flags, Mode::empty()) else { return Vec::new() };
    let entries: Vec<_> = opened.iter().flatten().collect();
    let named = entries.iter().filter(|entry| ![c".", c".."].contains(&entry.file_name()));
    let directory = named.filter(|entry| match entry.file_type() {
        Some(kind) => kind == Type::Directory,
        // Some file systems tell only who asks for each.
        None => fstatat(&opened, entry.file_name(), AtFlags::AT_SYMLINK_NOFOLLOW)
            .is_ok_and(|about| about.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits()),
    });
    directory.map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned()).collect()
}

fn trace(dir: &Path, result: &Result<Wd, Refusal>) {
    tracing::trace!(dir = %dir.display(), ?result, "directory armed");
}

/// What to ask the kernel for. Bits are only added: another path may need more of the same
/// directory.
fn mask(content: bool, follow: bool) -> WatchMask {
    let entries = WatchMask::CREATE
        | WatchMask::DELETE
        | WatchMask::MOVED_FROM
        | WatchMask::MOVED_TO
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF
        | WatchMask::ATTRIB
        | WatchMask::EXCL_UNLINK
        | WatchMask::ONLYDIR
        | WatchMask::MASK_ADD;
    // Not MODIFY: who looks at every write sees files that are half written.
    let entries = if content { entries | WatchMask::CLOSE_WRITE } else { entries };
    if follow { entries } else { entries | WatchMask::DONT_FOLLOW }
}

fn refusal(error: &io::Error) -> Refusal {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Refusal::Missing,
        ErrorKind::PermissionDenied => Refusal::Denied,
        ErrorKind::StorageFull | ErrorKind::OutOfMemory => Refusal::Limit,
        _ => Refusal::Other(error.to_string()),
    }
}

/// Waits for that moment, or for ever.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Who has to be told, in the order of the events, each once: bounded by the number of ids.
#[derive(Debug, Default)]
struct Pending {
    order: VecDeque<u64>,
    known: HashSet<u64>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    fn extend(&mut self, ids: BTreeSet<u64>) {
        self.order.extend(ids.into_iter().filter(|id| self.known.insert(*id)));
    }

    fn pop(&mut self) -> Option<u64> {
        let id = self.order.pop_front()?;
        self.known.remove(&id);
        Some(id)
    }

    fn forget(&mut self, id: u64) {
        if self.known.remove(&id) {
            self.order.retain(|other| *other != id);
        }
    }
}

#[cfg(test)]
mod tests;
