//! A large graph file read by as many threads as there are processors.
//!
//! Refuses to judge: what is odd is read whole by who asked, who then says what is wrong.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::spec::Program;
use crate::yaml::{self, Part, Piece, Seams};

/// How large a piece is: a tree is made of it, which is ten times as large, and to begin a smaller
/// one costs more than it brings.
const PIECE_BYTES: usize = 16 << 10;

/// The threads that read at most, so many processors there be.
const THREADS_MAX: usize = 8;

/// What the text says, read in pieces; `None` when it has to be read whole. Where fields stand is
/// forgotten.
pub(super) fn read(text: &str) -> Option<(Program, Seams)> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
    let pieces = yaml::cut(text, PIECE_BYTES)?;
    let threads = processors.min(pieces.len());
    let work = Work { pieces: &pieces, next: AtomicUsize::new(0), odd: AtomicBool::new(false) };
    let mut parts = thread::scope(|scope| {
        let others = (1..threads).map_while(|_| {
            // Without another thread the present one reads it all.
            let named = thread::Builder::new().name("quorate-read".to_owned());
            named.spawn_scoped(scope, || work.read()).ok()
        });
        let others: Vec<_> = others.collect();
        let mut parts = work.read();
        for other in others {
            parts.append(&mut other.join().ok()?);
        }
        Some(parts)
    })?;
    parts.sort_unstable_by_key(|(at, _)| *at);
    let is_all = parts.len() == pieces.len();
    is_all.then(|| yaml::join(parts.into_iter().map(|(_, part)| part).collect()))?
}

/// The pieces, and how far the threads are.
struct Work<'a> {
    pieces: &'a [Piece<'a>],
    next: AtomicUsize,
    /// One of them was not understood: nobody needs the others.
    odd: AtomicBool,
}

impl Work<'_> {
    /// Reads one piece after the other, as far as no other thread has them.
    fn read(&self) -> Vec<(usize, Part)> {
        let mut parts = Vec::new();
        while !self.odd.load(Ordering::Relaxed) {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = self.pieces.get(at) else { break };
            let Some(mut part) = piece.read() else {
                self.odd.store(true, Ordering::Relaxed);
                break;
            };
            part.resources().iter_mut().for_each(super::source::forget_places);
            parts.push((at, part));
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(files: usize) -> String {
        let file = |at| format!("  - name: /srv/{at}\n    content: \"{}\\n\"\n", "x".repeat(99));
        let files: String = (0..files).map(file).collect();
        format!("graph: g\nresources:\n  file:\n{files}")
    }

    #[test]
    fn a_large_text_is_the_same_in_pieces_whoever_reads_them() {
        let text = text(5_000);
        let (mut program, found, seams) = yaml::parse_to_edit(&text);
        program.iter_mut().flat_map(|one| &mut one.resources).for_each(|one| {
            one.field_spans = Vec::new();
        });
        assert!(found.is_empty() && yaml::cut(&text, PIECE_BYTES).unwrap().len() > 8);
        for _ in 0..10 {
            let (pieces, cut) = read(&text).unwrap();
            assert_eq!((Some(&pieces), &cut), (program.as_ref(), &seams));
        }
    }

    #[test]
    fn a_small_text_and_one_with_a_mistake_are_left_to_who_reads_them_whole() {
        assert!(read(&text(10)).is_none());
        assert!(read(&text(5_000).replace("/srv/4999\n", "srv\n")).is_none());
        assert!(read(&text(5_000).replace("/srv/7\n", "/srv/8\n")).is_none());
    }
}
