//! What cannot be removed: of an engine that is played here, as a real one is seldom in that state.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

/// What is asked, and what the engine remembers of it.
type Asked = Arc<Mutex<Vec<String>>>;

/// An engine with networks that are left over: `free` goes, in `stale` is the end of a container
/// that is gone, and in `used` is somebody's container.
struct Played {
    folder: tempfile::TempDir,
    asked: Asked,
}

impl Played {
    fn new() -> Played {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let asked = Asked::default();
        let kept = asked.clone();
        // Ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let kept = kept.clone();
                std::thread::spawn(move || serve(client, &kept));
            }
        });
        Played { folder, asked }
    }

    fn run(&self, verb: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("cluster").args(verb).env("QUORATE_LOCAL", self.folder.path().join("local"));
        command.env("DOCKER_HOST", format!("unix://{}/s", self.folder.path().display()));
        command.output().unwrap()
    }
}

fn cluster(name: &str) -> String {
    format!("t-{name}-{:04x}", std::process::id() & 0xffff)
}

fn serve(client: UnixStream, asked: &Asked) {
    let mut to = client.try_clone().unwrap();
    let mut from = BufReader::new(client);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        if from.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut line = String::new();
            from.read_line(&mut line).unwrap();
            let line = line.trim().to_lowercase();
            if let Some(said) = line.strip_prefix("content-length: ") {
                length = said.parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body).unwrap();
        let words: Vec<&str> = first.split(' ').collect();
        let path = words[1].split('?').next().unwrap_or_default();
        let line = format!("{} {path} {}", words[0], String::from_utf8_lossy(&body));
        let (status, body) = {
            let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.push(line.trim().to_owned());
            answer(words[0], path, &asked)
        };
        let body = if status == 204 { String::new() } else { body.to_string() };
        let head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n");
        let all = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        if to.write_all(all.as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(method: &str, path: &str, asked: &[String]) -> (u16, Value) {
    let network = |name: &str| {
        let labels = json!({
            "dev.quorate.schema": "1", "dev.quorate.cluster": cluster(name),
            "dev.quorate.role": "network", "dev.quorate.lease": "book",
            "dev.quorate.owner": "elsewhere/1/1", "dev.quorate.made": "0",
        });
        json!({"Id": name, "Name": format!("quorate-{}", cluster(name)), "Labels": labels})
    };
    let refused = (403, json!({"message": format!("{path} has active endpoints")}));
    let freed = asked.iter().any(|line| line.starts_with("POST /networks/stale/disconnect"));
    match (method, path) {
        ("GET", "/version") => (200, json!({"Version": "20.10.24", "ApiVersion": "1.41"})),
        ("GET", "/networks") => (200, json!([network("used"), network("stale"), network("free")])),
        ("GET", "/containers/json" | "/images/json") => (200, json!([])),
        ("GET", "/volumes") => (200, json!({"Volumes": []})),
        ("DELETE", "/networks/free") => (204, Value::Null),
        ("DELETE", "/networks/stale") if freed => (204, Value::Null),
        ("DELETE", "/networks/stale" | "/networks/used") => refused,
        ("GET", "/networks/stale") => (200, json!({"Containers": {"0ff": {"Name": "gone"}}})),
        ("GET", "/networks/used") => (200, json!({"Containers": {"a11": {"Name": "theirs"}}})),
        ("GET", "/containers/a11/json") => (200, json!({"Id": "a11"})),
        ("POST", "/networks/stale/disconnect") => (200, json!({})),
        _ => (404, json!({"message": "nothing there"})),
    }
}

#[test]
fn one_network_that_cannot_go_keeps_no_other_and_is_named_at_the_end() {
    let engine = Played::new();
    for verb in [&["gc"][..], &["down", "--all"]] {
        engine.asked.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let output = engine.run(verb);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(8), "{verb:?} {output:?}");
        assert!(
            said.ends_with(&format!(
                "error: not everything could be removed: quorate-{}: /networks/used has active \
                 endpoints (theirs; remove it, or disconnect it from the network)\n",
                cluster("used")
            )),
            "{said}"
        );
        let asked = engine.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let disconnect = r#"POST /networks/stale/disconnect {"Container":"gone","Force":true}"#;
        for wanted in [disconnect, "DELETE /networks/free"] {
            assert!(asked.iter().any(|line| line == wanted), "{verb:?}: no {wanted} in {asked:#?}");
        }
        let after = asked.iter().rposition(|line| line == "DELETE /networks/stale");
        let freed = asked.iter().position(|line| line == disconnect);
        assert!(after > freed, "it is removed once it is free: {asked:#?}");
        let touched = |line: &&String| line.starts_with("POST") && !line.contains("/stale/");
        assert_eq!(asked.iter().find(touched), None, "what is there is left alone");
    }
}
