//! A small server of built pages for one reader on this machine. It reads files below its folder
//! and nothing else.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// A browser that sends nothing for so long is let go.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first line of a request; browsers send far less.
const MAX_LINE: u64 = 8 * 1024;

/// Serves until the process ends.
pub(crate) fn run(folder: &Path, address: &str) -> anyhow::Result<()> {
    use anyhow::Context as _;
    let listener =
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    println!("serving http://{}/", listener.local_addr()?);
    for stream in listener.incoming() {
        // One reader that hangs up early is no reason to stop.
        if let Err(error) = stream.and_then(|stream| answer(&stream, folder)) {
            eprintln!("warning: {error}");
        }
    }
    Ok(())
}

fn answer(mut stream: &TcpStream, folder: &Path) -> std::io::Result<()> {
    use std::io::Read as _;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut line)?;
    let asked = line.split_whitespace().nth(1).unwrap_or("/");
    let body = file(folder, asked).and_then(|path| Some((fs::read(&path).ok()?, path)));
    let (status, kind, body) = match body {
        Some((body, path)) => ("200 OK", kind(&path), body),
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
    fn only_files_below_the_folder_are_served() {
        let folder = Path::new("/book");
        assert_eq!(file(folder, "/"), Some(PathBuf::from("/book/index.html")));
        assert_eq!(file(folder, "/a/b.css?x=1"), Some(PathBuf::from("/book/a/b.css")));
        assert_eq!(file(folder, "/../etc/passwd"), None);
        assert_eq!(file(folder, "/a/../../etc/passwd"), None);
    }
}
