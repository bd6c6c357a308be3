//! A client that writes all the time, and how long it once could not.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::gateway::writes;

/// A try of a write: short, so that another host is tried soon.
pub(super) const TRY: Duration = Duration::from_millis(200);
/// Time between two writes.
const EVERY: Duration = Duration::from_millis(5);
/// After this long without a write the measurement has failed.
const LOST: Duration = Duration::from_secs(30);

/// Does something while a client writes through any of the hosts, staying with one for as long as
/// it answers; gives the largest time between two writes, too.
pub(super) fn beside<T>(
    sockets: &[PathBuf],
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Duration)> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (mut last, mut gap) = (Instant::now(), Duration::ZERO);
            let mut asked = sockets.iter().cycle().peekable();
            // One more after the end: the gap may be under way.
            let mut ending = false;
            while !ending {
                ending = stop.load(Ordering::SeqCst);
                while !asked.peek().is_some_and(|socket| writes(socket, TRY)) {
                    if last.elapsed() > LOST {
                        return last.elapsed();
                    }
                    asked.next();
                    // A host that is down says so at once.
                    std::thread::sleep(Duration::from_millis(1));
                }
                gap = gap.max(last.elapsed());
                last = Instant::now();
                std::thread::sleep(EVERY);
            }
            gap
        });
        let done = work();
        stop.store(true, Ordering::SeqCst);
        let gap = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
        ensure!(gap < LOST, "nobody took a write for {} s", LOST.as_secs());
        Ok((done?, gap))
    })
}
