//! Where the etcd program is, and ports that nobody else takes.
//!
//! Refuses to start anything. Each test program that needs an etcd takes this file by its path.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The etcd program that the tests run: `QUORATE_ETCD`, or on PATH, or fetched below the target
/// folder.
pub(crate) fn etcd() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/node/usr/bin/etcd");
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|dir| dir.join("etcd")).find(|f| f.is_file())
    };
    std::env::var_os("QUORATE_ETCD")
        .map(PathBuf::from)
        .or_else(on_path)
        .or_else(|| target.is_file().then_some(target))
        .expect("no etcd program: set QUORATE_ETCD, or run `cargo xtask test`, which fetches one")
}

/// Below the range that outgoing connections take theirs from: a connection of an agent could else
/// sit on the port that its own etcd is to have later.
const PORTS: std::ops::Range<u16> = 10_000..32_700;
/// So many at a time are ours alone.
const BLOCK: u16 = 100;

/// Ports that no other test program on this machine takes.
struct Block {
    next: u16,
    end: u16,
    /// Locked for as long as this program runs: a port is looked at here and used later, and
    /// between the two another program could else do the same.
    _ours: File,
}

impl Block {
    fn take() -> Block {
        let blocks = (PORTS.end - PORTS.start) / BLOCK;
        // Begins elsewhere than programs started just before, whose ports may still be closing.
        let start = std::process::id() % u32::from(blocks);
        for n in 0..blocks {
            let block = (start as u16 + n) % blocks;
            let name = std::env::temp_dir().join(format!("quorate-test-ports-{block}"));
            // Another user's file cannot be opened: that block is taken.
            let file = File::options().create(true).append(true).open(name);
            if let Some(ours) = file.ok().filter(|f| f.try_lock().is_ok()) {
                let next = PORTS.start + block * BLOCK;
                return Block { next, end: next + BLOCK, _ours: ours };
            }
        }
        panic!("every block of ports is taken by another test program");
    }
}

/// The first of so many ports in a row that nobody uses.
pub(crate) fn ports(count: u16) -> u16 {
    static BLOCKS: Mutex<Vec<Block>> = Mutex::new(Vec::new());
    let mut blocks = BLOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let Some(block) = blocks.last_mut().filter(|b| b.next + count <= b.end) else {
            blocks.push(Block::take());
            continue;
        };
        let first = block.next;
        block.next += count;
        if (first..block.next).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
}
