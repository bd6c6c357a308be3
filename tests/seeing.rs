//! What a user sees of graphs and agents: pictures, the status as it changes, logs, metrics.

#[path = "seeing/completed.rs"]
mod completed;
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::{PROGRAM, Site, state_of, wait_for};

const ORDERED: &str = "\
graph: site
resources:
  file:
  - name: DIR/d/
    state: exists
  - name: DIR/d/f
    content: s3cret-of-the-file
  - name: '@@/out'
    content: x
  exec:
  - name: e
    cmd: echo done > DIR/ran
    shell: /bin/sh
edges:
- {from: {kind: file, name: DIR/d/f}, to: {kind: exec, name: e}, notify: true}
";

fn quorate(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A client that runs until it is told to end; killed when dropped.
struct Client {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Client {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the client starts");
        let stdout = child.stdout.take().expect("a pipe");
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            BufReader::new(stdout)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|one| sender.send(one))
        });
        Client { child, lines }
    }

    /// Waits for a line that fulfils the condition.
    fn line_where(&self, what: &str, good: impl Fn(&str) -> bool) -> String {
        wait_for(10, what, || self.lines.try_recv().ok().filter(|line| good(line)))
    }

    /// The exit code and what was said on standard error.
    fn end(&mut self) -> (Option<i32>, String) {
        let status = wait_for(10, "the client ends", || self.child.try_wait().expect("a child"));
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().expect("a pipe");
        stderr.read_to_string(&mut said).expect("a text");
        (status.code(), said)
    }

    fn interrupt(&self) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGINT).expect("a signal");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().expect("the client is ours to kill");
            self.child.wait().expect("the client is ours to wait for");
        }
    }
}

#[test]
fn a_file_is_drawn_in_every_format_and_the_same_each_time() {
    let site = Site::new();
    let file = site.write("site.yaml", ORDERED).display().to_string();
    for (format, start) in [
        ("text", "graph site: 4 resources, 2 edges\n"),
        ("dot", "digraph \"site\" {\n"),
        ("mermaid", "flowchart LR\n"),
        ("svg", "<svg xmlns=\"http://www.w3.org/2000/svg\" "),
        ("json", "{\"v\":1,\"graph\":\"site\",\"resources\":["),
    ] {
        let output = quorate(&["graph", &file, "--format", format]);
        assert_eq!(output.status.code(), Some(0), "{format}: {}", stderr(&output));
        assert!(stdout(&output).starts_with(start), "{format}: {}", stdout(&output));
        assert_eq!(stdout(&output), stdout(&quorate(&["graph", &file, "--format", format])));
        assert!(stdout(&output).contains("/out"), "{format} lacks what is exported only");
    }
}

#[test]
fn a_bad_file_is_answered_by_graph_as_by_check() {
    let site = Site::new();
    let file = site.write("site.yaml", "graph: g\nresources:\n  nop:\n  - name: n\n");
    let file = file.display().to_string();
    let (graph, check) = (quorate(&["graph", &file]), quorate(&["check", &file]));
    assert_eq!(graph.status.code(), Some(1));
    assert_eq!(stderr(&graph), stderr(&check));
    assert_eq!(stdout(&graph), "");
    let gone = quorate(&["graph", "/nonexistent/site.yaml"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(stderr(&gone).contains("/nonexistent/site.yaml cannot be read"), "{}", stderr(&gone));
}

#[test]
fn without_a_file_the_graph_of_the_agent_is_drawn_with_its_states() {
    let site = Site::new();
    site.write("site.yaml", ORDERED);
    let state = site.path("state").display().to_string();
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    agent.status_where(10, "all is done", |one| one["converged"] == true);
    let output = quorate(&["graph", "--prefix", &state, "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let picture: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let one = |id: &str| {
        let all = picture["resources"].as_array().expect("a list");
        all.iter().find(|one| one["id"] == id).cloned().unwrap_or_default()
    };
    assert_eq!(one("exec[e]")["state"], "ok", "{picture}");
    assert_eq!(one("file[/out]")["standing"], "hidden", "{picture}");
    assert_eq!(one("file[/out]")["state"], Value::Null);
    let none = quorate(&["graph", "--prefix", "/nonexistent"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(stderr(&none).contains("no agent answers"), "{}", stderr(&none));
}

#[test]
fn a_watched_status_follows_changes_and_ends_with_0_on_ctrl_c() {
    let site = Site::new();
    site.write("site.yaml", "graph: one\nresources:\n  file:\n  - name: DIR/a/f\n    content: x\n");
    let state = site.path("state").display().to_string();
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    let id = site.fill("file[DIR/a/f]");
    agent.status_where(10, "the file fails", |one| state_of(one, &id) == "failed");
    let mut client = Client::start(&["status", "--watch", "--json", "--prefix", &state]);
    let is = |state: &str| {
        let wanted = format!("\"state\":\"{state}\"");
        move |line: &str| line.contains(&wanted)
    };
    let failed = client.line_where("the failure at once", is("failed"));
    let failed: Value = serde_json::from_str(&failed).expect("one document a line");
    let one = &failed["resources"][0];
    assert!(one["since_ms"].as_u64().is_some_and(|ms| ms > 1_600_000_000_000), "{one}");
    assert!(one.get("next_retry_ms").is_some() && one["from"] == serde_json::json!([]), "{one}");
    std::fs::create_dir(site.path("a")).expect("a folder");
    client.line_where("the repair", |line| {
        serde_json::from_str::<Value>(line).is_ok_and(|all| all["resources"][0]["state"] == "ok")
    });
    client.interrupt();
    assert_eq!(client.end(), (Some(0), String::new()));
}

#[test]
fn a_watched_status_in_a_pipe_prints_only_what_is_new_and_says_when_the_agent_ends() {
    let site = Site::new();
    site.write("site.yaml", "graph: one\nresources:\n  file:\n  - name: DIR/a/f\n    content: x\n");
    let state = site.path("state").display().to_string();
    let mut agent = site.agent(&["yaml", "DIR/site.yaml"]);
    let id = site.fill("file[DIR/a/f]");
    agent.status_where(10, "the file fails", |one| state_of(one, &id) == "failed");
    let mut client = Client::start(&["status", "--watch", "--prefix", &state]);
    client.line_where("the host", |line| line == "host       h1");
    client.line_where("the failure", |line| line == "resources  1 failed");
    client.line_where("the end of the first answer", |line| line.starts_with("converged"));
    std::fs::create_dir(site.path("a")).expect("a folder");
    let next = wait_for(10, "a line after the repair", || client.lines.try_recv().ok());
    assert!(next.starts_with("resources"), "only what is new: {next}");
    agent.signal(Signal::SIGTERM);
    agent.end(10);
    assert_eq!(client.end(), (Some(1), "the agent has ended\n".to_owned()));
}

#[test]
fn a_wide_status_names_state_age_and_origin_and_filters_leave_out_the_rest() {
    let site = Site::new();
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  noop:\n  - name: n\n  exec:\n  - name: e\n    cmd: \"false\"\n",
    );
    let state = site.path("state").display().to_string();
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    agent.status_where(10, "one fails", |one| state_of(one, "exec[e]") == "failed");
    let ask = |args: &[&str]| quorate(&[&["status", "--prefix", &state], args].concat());
    let wide = stdout(&ask(&["--wide"]));
    let row = |id: &str| wide.lines().any(|line| line.contains(" local ") && line.contains(id));
    assert!(row("noop[n]") && row("exec[e]"), "{wide}");
    let plain = stdout(&ask(&[]));
    assert!(wide.starts_with(&plain) && !plain.contains("noop[n]"), "{plain}");
    for args in [&["--failed"][..], &["--resource", "exec[*"]] {
        let output = ask(args);
        assert_eq!(output.status.code(), Some(1));
        assert!(stdout(&output).contains("local  exec[e]"), "{}", stdout(&output));
        assert!(!stdout(&output).contains("noop[n]"), "{}", stdout(&output));
    }
    let json: Value = serde_json::from_str(&stdout(&ask(&["--json", "--failed"]))).expect("JSON");
    assert_eq!(json["resources"].as_array().map(Vec::len), Some(1), "{json}");
}

#[test]
fn a_resource_that_will_be_tried_again_says_when() {
    let site = Site::new();
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  exec:\n  - name: e\n    cmd: \"false\"\n    \
        meta: {retry: -1, delay: 3000000}\n",
    );
    let state = site.path("state").display().to_string();
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    let status = agent.status_where(10, "it will be tried again", |one| {
        one["resources"][0]["next_retry_ms"].is_u64()
    });
    let one = &status["resources"][0];
    let wait = one["next_retry_ms"].as_u64().zip(one["since_ms"].as_u64());
    assert!(wait.is_some_and(|(next, since)| next - since >= 3_000_000), "{one}");
    let wide = stdout(&quorate(&["status", "--prefix", &state, "--wide"]));
    assert!(wide.lines().any(|line| line.contains("  49m ") && line.contains("exec[e]")), "{wide}");
}

#[test]
fn each_json_line_about_a_run_carries_resource_kind_and_run_and_no_content() {
    let site = Site::new();
    site.write("site.yaml", ORDERED);
    let words = ["--log-format", "json", "--converged-timeout", "0", "yaml", "DIR/site.yaml"];
    let mut agent = site.agent(&words);
    assert_eq!(agent.end(10).code(), Some(0), "{}", agent.log());
    let log = agent.log();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
    let about = site.fill("file[DIR/d/f]");
    let of_run: Vec<&Value> =
        lines.iter().filter(|line| line["span"]["resource"] == about.as_str()).collect();
    assert!(!of_run.is_empty(), "{log}");
    for line in of_run {
        assert_eq!(line["span"]["kind"], "file", "{line}");
        assert!(line["span"]["run"].is_u64() && line["message"].is_string(), "{line}");
    }
    assert!(!log.contains("s3cret-of-the-file"), "{log}");
}

#[test]
fn a_log_for_people_is_without_the_fields_of_runs() {
    let site = Site::new();
    site.write("site.yaml", ORDERED);
    let mut agent = site.agent(&["--converged-timeout", "0", "yaml", "DIR/site.yaml"]);
    assert_eq!(agent.end(10).code(), Some(0), "{}", agent.log());
    let line = site.fill(" INFO file[DIR/d/f]: ");
    assert!(agent.log().contains(&line), "{}", agent.log());
    assert!(!agent.log().contains("run{"), "{}", agent.log());
}

/// What comes back for these bytes, once the log says where to send them.
fn ask_metrics(log: &str, request: &[u8]) -> String {
    let at = log.split_once("metrics on http://").and_then(|(_, rest)| rest.split_once('/'));
    let mut stream = TcpStream::connect(at.expect("an address").0).expect("it listens");
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).expect("a timeout");
    stream.write_all(request).expect("a request");
    let mut answer = Vec::new();
    // A refused client may be cut off before it has read all.
    let _ended = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn metrics_are_served_and_malformed_requests_disturb_nobody() {
    let site = Site::new();
    site.write("site.yaml", ORDERED);
    let words = ["--prometheus-listen", "127.0.0.1:0", "yaml", "DIR/site.yaml"];
    let agent = site.agent(&words);
    agent.status_where(10, "all is done", |one| one["converged"] == true);
    let log = agent.log();
    let get = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for (request, status) in [
        (&b"nonsense\r\n\r\n"[..], "400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", "400"),
        (b"GET /etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "405"),
        (&[&b"GET /metrics HTTP/1.1\r\nX: "[..], &[b'x'; 20_000][..]].concat(), "431"),
        (get, "200"),
    ] {
        let answer = ask_metrics(&log, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
    }
    let answer = ask_metrics(&log, get);
    for line in [
        "quorate_resources{kind=\"file\",state=\"ok\"} 2",
        "quorate_runs_total{kind=\"exec\",result=\"changed\"} 1",
        "quorate_run_seconds_count{kind=\"exec\"} 1",
        "quorate_converged 1",
        "quorate_exports 1",
        "# TYPE quorate_run_seconds histogram",
    ] {
        assert!(answer.lines().any(|found| found == line), "{line} is not in\n{answer}");
    }
    assert_eq!(agent.status()["converged"], true);
}

#[test]
fn silent_clients_do_not_keep_metrics_from_others() {
    let site = Site::new();
    let agent = site.agent(&["--metrics", ":0", "empty"]);
    agent.status();
    let log = agent.log();
    let at = log.split_once("metrics on http://").and_then(|(_, rest)| rest.split_once('/'));
    let at = at.expect("an address").0;
    let idle: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(at).expect("it is")).collect();
    let answer = ask_metrics(&log, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.contains("\nquorate_graph_generation "), "{answer}");
    drop(idle);
}

#[test]
fn metrics_beyond_this_machine_need_consent_and_a_taken_port_is_refused_at_start() {
    let site = Site::new();
    let mut open = site.agent(&["--prometheus-listen", "0.0.0.0:0", "empty"]);
    assert_eq!(open.end(10).code(), Some(3), "{}", open.log());
    assert!(open.log().contains("pass --insecure-network"), "{}", open.log());
    assert!(!site.path("state").exists(), "nothing was made");
    let words = ["--insecure-network", "--max-runtime", "1", "--metrics", "0.0.0.0:0", "empty"];
    assert_eq!(site.agent(&words).end(10).code(), Some(4));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = taken.local_addr().expect("an address").to_string();
    let mut agent = site.agent(&["--prometheus-listen", &at, "empty"]);
    assert_eq!(agent.end(10).code(), Some(3), "{}", agent.log());
    assert!(agent.log().contains(&format!("cannot be served on {at}")), "{}", agent.log());
}

#[test]
fn schema_is_printed_or_written_and_it_is_the_same() {
    let site = Site::new();
    let at = site.path("schema.json").display().to_string();
    let printed = quorate(&["schema"]);
    assert_eq!(printed.status.code(), Some(0));
    assert_eq!(quorate(&["schema", "--output", &at]).status.code(), Some(0));
    assert_eq!(site.read("schema.json"), Some(stdout(&printed)));
    assert!(stdout(&printed).contains("https://json-schema.org/draft/2020-12/schema"));
    let nowhere = quorate(&["schema", "--output", "/nonexistent/schema.json"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(stderr(&nowhere).contains("cannot be written"), "{}", stderr(&nowhere));
}

#[test]
fn completions_know_the_new_verbs_and_their_help_has_examples() {
    for shell in ["bash", "zsh", "fish"] {
        let text = stdout(&quorate(&["completions", shell]));
        for word in ["graph", "schema", "mermaid", "watch", "prometheus-listen"] {
            assert!(text.contains(word), "{shell}: no {word}");
        }
    }
    for verb in ["graph", "schema", "status", "run"] {
        let text = stdout(&quorate(&[verb, "--help"]));
        assert!(text.contains("Examples:"), "{text}");
    }
}
