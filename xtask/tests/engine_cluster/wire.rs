//! What goes to the engine, read on the way: nothing that changes anything when there is nothing to
//! do, never a registry, and nothing that an engine of the oldest supported version does not know.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

use super::{Named, engine_there};

/// Fields of bodies that came with later versions of the API than 1.41, among those that are near
/// to what is asked for here.
const LATER: [&str; 6] = [
    "Annotations",
    "ConsoleSize",
    "EnableIPv4",
    "GwPriority",
    "ImageManifestDescriptor",
    "StartInterval",
];

/// A socket that hands everything on to the engine and keeps what was asked.
struct Proxy {
    folder: tempfile::TempDir,
    asked: Arc<Mutex<Vec<u8>>>,
}

impl Proxy {
    fn new() -> Proxy {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = asked.clone();
        // Ends with the process: the socket is gone with its folder.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let kept = kept.clone();
                std::thread::spawn(move || pass(&client, &kept));
            }
        });
        Proxy { folder, asked }
    }

    /// Runs a command through it; gives the requests that it made, bodies included.
    fn requests(&self, demo: &Named, code: i32, arguments: &[&str]) -> String {
        self.asked.lock().unwrap().clear();
        let mut command = demo.command(arguments);
        let socket = format!("unix://{}/s", self.folder.path().display());
        let output = command.env("DOCKER_HOST", socket).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {said}");
        String::from_utf8_lossy(&self.asked.lock().unwrap()).into_owned()
    }
}

fn pass(client: &UnixStream, kept: &Mutex<Vec<u8>>) {
    let socket = std::env::var("DOCKER_HOST").unwrap_or_default();
    let socket = socket.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").to_owned();
    let Ok(engine) = UnixStream::connect(socket) else { return };
    let (mut from, mut to) = (engine.try_clone().unwrap(), client.try_clone().unwrap());
    std::thread::spawn(move || {
        // Whoever goes away first ends both directions.
        let _bytes = std::io::copy(&mut from, &mut to);
        to.shutdown(std::net::Shutdown::Both)
    });
    let (mut client, mut engine) = (client, &engine);
    let mut piece = [0; 16 * 1024];
    while let Ok(count @ 1..) = client.read(&mut piece) {
        kept.lock().unwrap().extend_from_slice(&piece[..count]);
        if engine.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    drop(engine.shutdown(std::net::Shutdown::Both));
}

/// The request lines, as `METHOD path`.
fn lines(text: &str) -> Vec<String> {
    const METHODS: [&str; 5] = ["GET ", "POST ", "PUT ", "DELETE ", "HEAD "];
    let starts =
        |line: &str| METHODS.iter().any(|m| line.contains(m)) && line.contains(" HTTP/1.1");
    let line = |line: &str| {
        let at = METHODS.iter().filter_map(|m| line.find(m)).min().unwrap_or_default();
        line[at..].trim_end_matches('\r').trim_end_matches(" HTTP/1.1").to_owned()
    };
    text.split('\n').filter(|one| starts(one)).map(line).collect()
}

#[test]
fn engine_nothing_is_written_when_nothing_is_to_do_and_no_registry_is_ever_asked() {
    if !engine_there("the wire") {
        return;
    }
    let (demo, proxy) = (Named::new("wire"), Proxy::new());
    let up = ["up", "--nodes", "2", "--voters", "1", "--wait", "60s"];
    let first = proxy.requests(&demo, 0, &up);
    let asked = lines(&first);
    assert!(asked.iter().any(|line| line.starts_with("POST /containers/create")), "{asked:#?}");
    let second = lines(&proxy.requests(&demo, 0, &up));
    assert!(!second.is_empty());
    assert!(second.iter().all(|line| line.starts_with("GET ")), "{second:#?}");

    let broken = proxy.requests(&demo, 0, &["partition", "h2"]);
    let healed = proxy.requests(&demo, 0, &["heal"]);
    let all = [first, broken, healed, proxy.requests(&demo, 0, &["down"])].concat();
    for line in lines(&all) {
        let (_, path) = line.split_once(' ').unwrap();
        assert!(!path.starts_with("/images/create"), "a registry is asked: {line}");
        assert!(!path.starts_with("/v1."), "a version is asked for: {line}");
    }
    for field in LATER {
        assert!(!all.contains(&format!("\"{field}\"")), "{field} is newer than 1.41");
    }
}
