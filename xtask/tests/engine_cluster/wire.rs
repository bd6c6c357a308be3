//! What goes to the engine, read on the way: nothing that changes anything when there is nothing to
//! do, and nothing that an engine of the oldest supported version does not know.
//!
//! Every command of these tests goes this way, and is refused what asks a registry.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::{Named, engine_there};

/// What asks a registry, and what it is told.
const PULL: &[u8] = b"POST /images/create";
const REFUSAL: &str = "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n\
    Content-Length: 43\r\nConnection: close\r\n\r\n{\"message\":\"no registry is asked by tests\"}";
/// Every field of a body that may go out. Version 1.41 of the API, the oldest that is supported,
/// has all of them; a new one is to be looked up there before it is added.
const KNOWN: [&str; 54] = [
    "AutoRemove",
    "Attachable",
    "AttachStderr",
    "AttachStdin",
    "AttachStdout",
    "Binds",
    "CapAdd",
    "CapDrop",
    "CheckDuplicate",
    "Cmd",
    "Config",
    "Container",
    "Detach",
    "DetachKeys",
    "Driver",
    "EnableIPv6",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "EndpointsConfig",
    "Force",
    "HostConfig",
    "HostIp",
    "HostPort",
    "Hostname",
    "IPAM",
    "IPAMConfig",
    "IPv4Address",
    "Image",
    "Init",
    "Internal",
    "Labels",
    "LogConfig",
    "Memory",
    "MemorySwap",
    "Name",
    "NanoCpus",
    "NetworkMode",
    "NetworkingConfig",
    "Options",
    // No version has this one: the client's library sends what is meant for itself, and engines
    // read past it.
    "OutputCapacity",
    "PidsLimit",
    "PortBindings",
    "Privileged",
    "SecurityOpt",
    "StopSignal",
    "StopTimeout",
    "Subnet",
    "Tty",
    "Type",
    "User",
    "WorkingDir",
    "Mounts",
    "Aliases",
];
/// Fields whose own fields are names that we give.
const NAMES_OF_OURS: [&str; 5] =
    ["Labels", "EndpointsConfig", "PortBindings", "ExposedPorts", "Config"];

/// A socket that hands everything on to the engine and keeps what was asked.
pub(super) struct Proxy {
    folder: tempfile::TempDir,
    asked: Arc<Mutex<Vec<u8>>>,
}

impl Proxy {
    pub(super) fn new() -> Proxy {
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

    /// What `DOCKER_HOST` is to be.
    pub(super) fn host(&self) -> String {
        format!("unix://{}/s", self.folder.path().display())
    }

    /// The requests since the last call, bodies included.
    fn taken(&self) -> String {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&std::mem::take(&mut *asked)).into_owned()
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
        kept.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&piece[..count]);
        if piece[..count].starts_with(PULL) {
            drop(client.write_all(REFUSAL.as_bytes()));
            break;
        }
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

/// The names of all fields of all bodies, but for those that are names of ours.
fn fields(text: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (at, head) in text.match_indices("\r\n\r\n{") {
        let mut values =
            serde_json::Deserializer::from_str(&text[at + head.len() - 1..]).into_iter::<Value>();
        if let Some(Ok(body)) = values.next() {
            gather(&body, &mut all);
        }
    }
    all
}

fn gather(value: &Value, all: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                all.insert(name.clone());
                match value {
                    Value::Object(ours) if NAMES_OF_OURS.contains(&name.as_str()) => {
                        ours.values().for_each(|value| gather(value, all));
                    }
                    value => gather(value, all),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| gather(value, all)),
        _ => {}
    }
}

#[test]
fn engine_nothing_is_written_when_nothing_is_to_do() {
    if !engine_there("the wire") {
        return;
    }
    let demo = Named::new("wire");
    let up = ["up", "--nodes", "2", "--voters", "1", "--wait", "60s"];
    demo.expect(0, &up);
    let first = demo.1.taken();
    let asked = lines(&first);
    assert!(asked.iter().any(|line| line.starts_with("POST /containers/create")), "{asked:#?}");
    demo.expect(0, &up);
    let second = lines(&demo.1.taken());
    assert!(!second.is_empty());
    assert!(second.iter().all(|line| line.starts_with("GET ")), "{second:#?}");
}

#[test]
fn engine_no_request_asks_a_registry_or_for_more_than_the_oldest_engine_has() {
    if !engine_there("the wire of every verb") {
        return;
    }
    let (demo, two) = (Named::new("verbs"), Named::new("verbs2"));
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved");
    let saved = saved.to_str().unwrap();
    demo.expect(0, &["up", "--insecure", "--persist", "--wait", "60s"]);
    for verb in [
        &["partition", "h2", "--for", "60s"][..],
        &["faults"],
        &["heal"],
        &["loss", "h2", "--pct", "50"],
        &["heal"],
        &["exec", "--all", "--", "hostname"],
        &["cp", "all:/etc/hostname", saved],
        &["cp", "h1:/etc/hostname", saved],
        &["logs"],
        &["pause", "h1"],
        &["unpause", "h1"],
        &["restart", "h3"],
        &["kill", "h3"],
        &["start", "h3"],
        &["node", "add", "--wait", "60s"],
        &["node", "rm", "h4", "--wait", "60s"],
        &["snapshot", "save", saved],
        &["ls"],
    ] {
        // What they are to do is shown elsewhere.
        demo.run(verb);
    }
    two.expect(0, &["snapshot", "restore", saved, "--insecure", "--nodes", "1"]);
    demo.expect(0, &["down", "--volumes"]);
    let all = [demo.1.taken(), two.1.taken()].concat();
    let lines = lines(&all);
    for path in ["/exec/", "/containers/create", "/networks/create", "/volumes/create", "/archive"]
    {
        assert!(lines.iter().any(|line| line.contains(path)), "{path} is not in {lines:#?}");
    }
    for line in &lines {
        let (_, path) = line.split_once(' ').unwrap();
        assert!(!path.starts_with("/images/create"), "a registry is asked: {line}");
        assert!(!path.starts_with("/v1."), "a version is asked for: {line}");
    }
    let fields = fields(&all);
    assert!(fields.len() > 20, "{fields:?}");
    let unknown: Vec<&String> =
        fields.iter().filter(|name| !KNOWN.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "not known to be of 1.41: {unknown:?}");
}

#[test]
fn engine_a_question_to_a_registry_is_refused_by_these_tests() {
    if !engine_there("the refusal of registries") {
        return;
    }
    let proxy = Proxy::new();
    let socket = proxy.host();
    let mut client = UnixStream::connect(socket.strip_prefix("unix://").unwrap()).unwrap();
    client.write_all(b"POST /images/create?fromImage=busybox HTTP/1.1\r\nHost: e\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("no registry"), "{answer}");
}
