//! The kernel's queue of file events: waited for, and left alone for a moment while nobody waits
//! for what comes.
//!
//! Refuses to lose an event, and to rest once more before it has looked: what came during a rest is
//! read after it.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};

use inotify::{EventMask, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Duration, Instant, sleep_until};

use super::book::{Happened, Wd};

/// How much is read from the kernel at a time, in bytes: about a thousand events.
const BUFFER: usize = 64 << 10;

/// The longest event, in bytes: its head and a name.
const EVENT_MAX: usize = 16 + 256;

/// How many reads in a row have to be of no concern to anybody before a rest.
const VAIN: u32 = 8;

/// How long a rest is. The files that runs put in their places come faster, and each would wake
/// the hub for nothing.
const REST: Duration = Duration::from_millis(2);

/// How close together such reads have to be, a rest between them included.
const CLOSE: Duration = Duration::from_millis(4);

/// The queue and how it is listened to.
pub(super) struct Ear {
    /// Nothing once that failed.
    queue: Option<Queue>,
    buffer: Vec<u8>,
    /// How many reads were in vain, one close to the other, and when the last one was.
    vain: u32,
    last: Option<Instant>,
}

enum Queue {
    Open(AsyncFd<Inotify>),
    /// The kernel wakes nobody until then.
    Resting(Inotify, Instant),
}

impl Ear {
    /// Listens on the current runtime.
    pub(super) fn open(inotify: Inotify) -> io::Result<Self> {
        let queue = Some(Queue::Open(pollable(inotify)?));
        Ok(Ear { queue, buffer: vec![0; BUFFER], vain: 0, last: None })
    }

    /// Waits for events, and for the end of a rest. Nothing is lost when that is given up.
    pub(super) async fn hear(&mut self) -> io::Result<Vec<Event>> {
        if let Some(Queue::Resting(_, until)) = &self.queue {
            sleep_until(*until).await;
        }
        self.queue = match self.queue.take() {
            Some(Queue::Resting(inotify, _)) => Some(Queue::Open(pollable(inotify)?)),
            open => open,
        };
        match &mut self.queue {
            Some(Queue::Open(inotify)) => read(inotify, &mut self.buffer).await,
            _ => Err(io::Error::other("nobody listens any more")),
        }
    }

    /// Takes note of whether what was read concerned anybody; rests when that is long not so.
    pub(super) fn heard(&mut self, concern: bool, now: Instant) {
        let close = self.last.is_some_and(|last| now - last <= CLOSE);
        self.vain = match (concern, close) {
            (true, _) => 0,
            (false, true) => self.vain.saturating_add(1),
            (false, false) => 1,
        };
        self.last = Some(now);
        if self.vain >= VAIN {
            self.queue = self.queue.take().map(|queue| match queue {
                Queue::Open(inotify) => Queue::Resting(inotify.into_inner(), now + REST),
                resting => resting,
            });
        }
    }
}

#[expect(
    deprecated,
    reason = "its successor is an unsafe function, since a type may lie about its descriptor; \
              `Inotify` owns one descriptor and keeps it until it is dropped"
)]
fn pollable(inotify: Inotify) -> io::Result<AsyncFd<Inotify>> {
    AsyncFd::with_interest(inotify, Interest::READABLE)
}

/// An event with its own name, so that the buffer can be used again.
pub(super) struct Event {
    pub(super) wd: Wd,
    pub(super) happened: Happened,
    pub(super) name: Option<OsString>,
    pub(super) moved: Option<Moved>,
}

/// One of the two events of a move, with the number that both have.
#[derive(Clone, Copy)]
pub(super) enum Moved {
    From(u32),
    To(u32),
}

/// Waits for events and reads what is there.
async fn read(inotify: &mut AsyncFd<Inotify>, buffer: &mut [u8]) -> io::Result<Vec<Event>> {
    loop {
        let mut ready = inotify.readable_mut().await?;
        let read = ready.try_io(|inotify| {
            let events = inotify.get_mut().read_events(buffer)?;
            Ok(events.map(|event| own(&event)).collect::<Vec<_>>())
        });
        match read {
            Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
            Ok(Ok(events)) => {
                // There was room for more: whatever comes from now on is told anew.
                if (events.len() + 1) * EVENT_MAX <= buffer.len() {
                    ready.clear_ready();
                }
                return Ok(events);
            }
            Ok(result) => return result,
            Err(_would_block) => {}
        }
    }
}

fn own(event: &inotify::Event<&OsStr>) -> Event {
    let entry = EventMask::CREATE | EventMask::DELETE | EventMask::MOVED_FROM | EventMask::MOVED_TO;
    let gone =
        EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::UNMOUNT | EventMask::IGNORED;
    let happened = if event.mask.contains(EventMask::Q_OVERFLOW) {
        Happened::Overflow
    } else if event.mask.intersects(gone) {
        Happened::Gone
    } else if event.mask.intersects(entry) && event.mask.contains(EventMask::ISDIR) {
        Happened::Directory
    } else if event.mask.intersects(entry) {
        Happened::Entry
    } else {
        Happened::Content
    };
    let wd = event.wd.get_watch_descriptor_id();
    let moved = match event.mask {
        mask if mask.contains(EventMask::MOVED_FROM) => Some(Moved::From(event.cookie)),
        mask if mask.contains(EventMask::MOVED_TO) => Some(Moved::To(event.cookie)),
        _ => None,
    };
    Event { wd, happened, name: event.name.map(ToOwned::to_owned), moved }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use inotify::WatchMask;

    use super::*;

    /// How long it takes, on the clock of the test, to hear of one more file.
    async fn heard_after(ear: &mut Ear, dir: &Path, number: u32) -> Duration {
        let name = format!("f{number}");
        std::fs::write(dir.join(&name), "").unwrap();
        let began = Instant::now();
        let events = ear.hear().await.unwrap();
        assert_eq!(events.iter().filter(|one| one.name == Some(name.clone().into())).count(), 1);
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn what_concerns_nobody_is_read_at_intervals_and_what_does_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let inotify = Inotify::init().unwrap();
        inotify.watches().add(dir.path(), WatchMask::CREATE).unwrap();
        let mut ear = Ear::open(inotify).unwrap();
        for number in 0..3 * VAIN {
            let took = heard_after(&mut ear, dir.path(), number).await;
            assert_eq!(took >= REST, number >= VAIN, "{number}: {took:?}");
            ear.heard(false, Instant::now());
        }
        // The rest that began with the last one is the last.
        for number in 100..103 {
            let took = heard_after(&mut ear, dir.path(), number).await;
            assert_eq!(took >= REST, number == 100, "{number}: {took:?}");
            ear.heard(true, Instant::now());
        }
        for number in 200..200 + 2 * VAIN {
            let took = heard_after(&mut ear, dir.path(), number).await;
            assert_eq!(took, Duration::ZERO, "{number}: they are far between");
            ear.heard(false, Instant::now());
            tokio::time::advance(2 * CLOSE).await;
        }
    }
}
