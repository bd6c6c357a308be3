//! A small server of built pages for one reader on this machine. It reads files below its folder
//! and nothing else. Pages that it serves can be told to load themselves again.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A browser that sends nothing for so long is let go.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first line of a request; browsers send far less.
const MAX_LINE: u64 = 8 * 1024;

/// Connections that are answered at once; one reader's browser keeps fewer open.
const MOST_OPEN: usize = 64;
/// Where a page is told that it has changed.
const NEWS: &str = "/news";
/// What a page does about that.
const SCRIPT: &str = "<script>new EventSource(\"/news\").onmessage = () => location.reload()\
     </script></body>";

/// Tells pages that they have changed.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// How often there was something new; none where pages are not told.
    count: Mutex<Option<u64>>,
    changed: Condvar,
}

impl News {
    /// There is something new; from the first time on, pages listen.
    pub(crate) fn tell(&self) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count = Some(count.map_or(0, |count| count + 1));
        self.changed.notify_all();
    }

    fn now(&self) -> Option<u64> {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn after(&self, seen: Option<u64>) -> Option<u64> {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.changed.wait_while(count, |count| *count == seen);
        *wait.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves until the process ends.
pub(crate) fn run(folder: &Path, address: &str, news: &News) -> anyhow::Result<()> {
    use anyhow::Context as _;
    let listener =
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    println!("serving http://{}/", listener.local_addr()?);
    let open = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for stream in listener.incoming() {
            let open = &open;
            if open.load(Ordering::SeqCst) >= MOST_OPEN {
                continue;
            }
            open.fetch_add(1, Ordering::SeqCst);
            scope.spawn(move || {
                // One reader that hangs up early is no reason to stop.
                if let Err(error) = stream.and_then(|stream| answer(&stream, folder, news)) {
                    eprintln!("warning: {error}");
                }
                open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    Ok(())
}

/// Tells a page of every change until it is gone.
fn tell(mut stream: &TcpStream, news: &News) -> std::io::Result<()> {
    stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\n",
    )?;
    let mut seen = news.now();
    loop {
        seen = news.after(seen);
        // A page that was left is noticed when there is something to tell it.
        if stream.write_all(b"data: changed\n\n").is_err() {
            return Ok(());
        }
    }
}

fn answer(mut stream: &TcpStream, folder: &Path, news: &News) -> std::io::Result<()> {
    use std::io::Read as _;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut line)?;
    let asked = line.split_whitespace().nth(1).unwrap_or("/");
    if asked == NEWS && news.now().is_some() {
        return tell(stream, news);
    }
    let body = file(folder, asked).and_then(|path| Some((fs::read(&path).ok()?, path)));
    let (status, kind, body) = match body {
        Some((body, path)) => {
            let kind = kind(&path);
            let live = kind.starts_with("text/html") && news.now().is_some();
            ("200 OK", kind, if live { listening(&body) } else { body })
        }
        None => ("404 Not Found", "text/plain", b"not there\n".to_vec()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: \
        close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)
}

/// A page that listens for news.
fn listening(page: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(page).replace("</body>", SCRIPT).into_bytes()
}

/// The file that is asked for; `None` if the path leads out of the folder.
fn file(folder: &Path, asked: &str) -> Option<PathBuf> {
    let path = asked.split(['?', '#']).next()?.trim_start_matches('/');
    let relative = Path::new(if path.is_empty() { "index.html" } else { path });
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    let full = folder.join(relative);
    plain.then(|| if full.is_dir() { full.join("index.html") } else { full })
}

fn kind(path: &Path) -> &'static str {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css",
        Some("js") => "text/javascript",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_told_of_each_change_once_there_are_any() {
        let news = News::default();
        assert_eq!(news.now(), None);
        news.tell();
        let seen = news.now();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| news.after(seen));
            news.tell();
            assert_eq!(waits.join().unwrap(), Some(1));
        });
        let page = String::from_utf8(listening(b"<body>x</body>")).unwrap();
        assert!(page.starts_with("<body>x<script>") && page.ends_with("</script></body>"));
    }

    #[test]
    fn only_files_below_the_folder_are_served() {
        let folder = Path::new("/book");
        assert_eq!(file(folder, "/"), Some(PathBuf::from("/book/index.html")));
        assert_eq!(file(folder, "/a/b.css?x=1"), Some(PathBuf::from("/book/a/b.css")));
        assert_eq!(file(folder, "/../etc/passwd"), None);
        assert_eq!(file(folder, "/a/../../etc/passwd"), None);
    }
}
