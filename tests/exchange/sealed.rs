//! Fields that only some hosts can read, between real agents.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use quorate::collect::{keys, record};
use quorate::store::{Change, Entry, Store};
use tokio::time::timeout;

use super::{Agent, Etcd, LONG, wait_for};

/// What nobody else may see.
const SECRET: &str = "correct-horse-battery-staple";

/// A host that exports a file for two others alone.
fn exporting(content: &str) -> String {
    format!(
        "graph: g
resources:
  file:
  - name: db-password
    path: /etc/app/db-password
    content: {content}
    hidden: true
    export: {{to: [lb1, lb2], seal: [content]}}
"
    )
}

/// A host that collects whatever file there is.
fn collecting(name: &str) -> String {
    format!(
        "graph: g
resources: {{}}
collect:
- rule: secrets
  kind: file
  set: {{path: \"DIR/{name}-{{{{ name }}}}\"}}
"
    )
}

/// What the program says to this, asked of a host's agent.
fn ask(folder: &Path, host: &str, words: &[&str]) -> String {
    let state = folder.join(format!("state-{host}"));
    let output = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(words)
        .arg("--prefix")
        .arg(state)
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    let [out, err] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    format!("{out}{err}")
}

/// All that the store holds.
fn stored(etcd: &Etcd) -> Vec<Entry> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(etcd.store().range("/quorate/1/")).expect("etcd answers").entries
}

fn record(etcd: &Etcd) -> Option<Entry> {
    let key = "/quorate/1/x/default/file/web1/db-password";
    stored(etcd).into_iter().find(|entry| entry.key == key)
}

/// All files below this folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = entries
        .filter(|one| one.file_type().is_ok_and(|it| it.is_dir() || it.is_file()))
        .map(|one| one.path())
        .partition(|path| path.is_dir());
    files.into_iter().chain(folders.iter().flat_map(|folder| self::files(folder))).collect()
}

fn holds(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
}

/// Everything that anybody could look at, but for where the secret belongs.
fn assert_hidden(folder: &Path, etcd: &Etcd) {
    for entry in stored(etcd) {
        assert!(!holds(&entry.value), "in the store: {}", entry.key);
    }
    let belongs = ["web1.yaml", "lb1-db-password", "lb2-db-password"].map(|name| folder.join(name));
    for path in files(folder).into_iter().filter(|path| !belongs.contains(path)) {
        let bytes = std::fs::read(&path).unwrap_or_default();
        assert!(!holds(&bytes), "in {}", path.display());
    }
    let file = folder.join("web1.yaml").display().to_string();
    for host in ["web1", "lb1", "lb2", "lb3"] {
        for words in [
            &["exports", "list"][..],
            &["exports", "list", "--json"],
            &["exports", "get", "file[db-password]"],
            &["exports", "get", "file[db-password]", "--json"],
            &["collect", "explain", "file[db-password]"],
            &["collect", "explain", "--json"],
            &["status", "--json"],
            &["graph", "--json"],
            &["exports", "diff", &file],
        ] {
            let said = ask(folder, host, words);
            assert!(!holds(said.as_bytes()), "{host} {words:?}: {said}");
        }
    }
}

/// What people are told about it.
fn assert_told(folder: &Path) {
    let listed = ask(folder, "lb3", &["exports", "list"]);
    assert!(listed.contains("live, sealed to 2 hosts"), "{listed}");
    let got = ask(folder, "lb3", &["exports", "get", "file[db-password]"]);
    assert!(got.contains("sealed to 2 hosts\n") && got.contains("  sealed    content\n"), "{got}");
    let file = folder.join("web1.yaml").display().to_string();
    let diff = ask(folder, "web1", &["exports", "diff", &file]);
    let wanted = "? file[db-password]  content sealed to 2 hosts, not compared\n1 export as in";
    assert!(diff.starts_with(wanted), "{diff}");
    let explained = ask(folder, "lb1", &["collect", "explain", "file[db-password]"]);
    assert!(explained.contains("content, sealed to 2 hosts"), "{explained}");
    let hosts = ask(folder, "lb3", &["host", "list"]);
    assert_eq!(hosts.matches(" key ").count(), 4, "{hosts}");
}

#[test]
fn sealed_fields_are_opened_by_those_that_they_are_for_and_seen_by_nobody_else_e8() {
    let (etcd, temporary) = (Etcd::start(), tempfile::tempdir().expect("a folder"));
    let folder = temporary.path();
    let is = |host: &str, text: &str| {
        let file = folder.join(format!("{host}-db-password"));
        std::fs::read_to_string(file).is_ok_and(|found| found == text)
    };
    let mut agents = vec![Agent::start(folder, &etcd, "web1", &exporting(SECRET))];
    let waits = "XE06 file[db-password]: lb1, lb2 have shown no keys; held until they do";
    wait_for("it is held", &agents, || agents[0].log().contains(waits));
    assert!(record(&etcd).is_none(), "nothing is published before it can be sealed");
    for host in ["lb1", "lb2", "lb3"] {
        agents.push(Agent::start(folder, &etcd, host, &collecting(host)));
    }
    wait_for("both open it", &agents, || is("lb1", SECRET) && is("lb2", SECRET));
    let others = "XC13 file[db-password] from web1: sealed to 2 hosts, not to lb3; ignored";
    wait_for("E8: the third is told", &agents, || {
        ask(folder, "lb3", &["status", "--json"]).contains(others)
    });
    assert!(!folder.join("lb3-db-password").exists());
    assert_hidden(folder, &etcd);
    assert_told(folder);

    // A restart writes nothing: it gives the same bytes.
    let before = record(&etcd).expect("it is there");
    drop(agents.remove(0));
    agents.insert(0, Agent::start(folder, &etcd, "web1", &exporting(SECRET)));
    wait_for("it is back", &agents, || {
        ask(folder, "web1", &["status", "--json"]).contains("\"exports\":1")
    });
    assert_eq!(record(&etcd).expect("it is there"), before, "nothing was written anew");

    // A host that lost its key gets the secret sealed anew.
    drop(agents.remove(1));
    std::fs::remove_file(folder.join("state-lb1/seal.key")).expect("its key");
    std::fs::remove_file(folder.join("lb1-db-password")).expect("its file");
    agents.push(Agent::start(folder, &etcd, "lb1", &collecting("lb1")));
    wait_for("it is sealed to the new key", &agents, || is("lb1", SECRET));
    assert!(record(&etcd).expect("it is there").revision > before.revision);

    std::fs::write(folder.join("web1.yaml"), exporting("another")).expect("an edit");
    wait_for("an edit comes over", &agents, || is("lb1", "another") && is("lb2", "another"));
}

#[test]
fn what_is_to_be_sealed_from_now_on_is_never_seen_open_though_its_turn_comes_with_that_edit() {
    let (etcd, temporary) = (Etcd::start(), tempfile::tempdir().expect("a folder"));
    let folder = temporary.path();
    let graph = |export: &str, rest: &str| {
        format!(
            "graph: g\nresources:\n  exec:\n  - name: made\n    cmd: test -e DIR/go\n    shell: \
             /bin/sh\n  file:\n  - name: declared\n    path: DIR/declared\n    content: d\n    \
             export: {{when: declared}}\n  - name: secret\n    path: DIR/secret\n    content: \
             {SECRET}\n    export: {export}\n{rest}"
        )
    };
    let waits = "edges:\n- {from: {kind: exec, name: made}, to: {kind: file, name: secret}}\n";
    let web1 = [Agent::start(folder, &etcd, "web1", &graph("true", waits))];
    wait_for("the other one is published", &web1, || {
        ask(folder, "web1", &["status", "--json"]).contains("\"exports\":1")
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (store, prefix) = (etcd.store(), keys::records_prefix());
    let mut watched = runtime.block_on(async {
        let now = store.range(&prefix).await.expect("etcd answers").revision;
        store.watch(&prefix, now + 1).await.expect("etcd answers")
    });
    // So many that the change of the graph takes longer than a write.
    let many: String = (0..4_000).map(|at| format!("  - name: n{at}\n")).collect();
    let edit = graph("{to: [web1], seal: [content]}", &format!("  noop:\n{many}"));
    let edit = edit.replace("DIR", &folder.display().to_string());
    std::fs::write(folder.join("web1.yaml"), edit).expect("an edit");
    let sealed = async {
        while let Some(Ok(batch)) = watched.recv().await {
            for change in batch.changes {
                let Change::Put(entry) = change else { continue };
                assert!(!holds(&entry.value), "in the store for a moment: {}", entry.key);
                if record::decode("file", &entry.value).seal.is_some() {
                    return;
                }
            }
        }
        panic!("it was never published");
    };
    let found = runtime.block_on(async { timeout(LONG, sealed).await });
    assert!(found.is_ok(), "{}", web1[0].log());
}
