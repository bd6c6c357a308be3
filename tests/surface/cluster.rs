//! What hosts exchange: agents on this machine, the first of which runs a real etcd.
//!
//! Needs the etcd program as `tests/etcd.rs` does; without one these tests fail.

use std::process::{Child, Command, Stdio};

use super::program::{etcd, ports};
use super::support::{PROGRAM, Site, state_of, wait_for};

/// An agent of a cluster; asked to end, and waited for, when dropped, as it has an etcd to stop.
struct Host(Child);

impl Host {
    /// Runs the graph in the file `NAME.yaml` of the site as the host of this name.
    fn start(site: &Site, name: &str, flags: &[String]) -> Host {
        let log = std::fs::File::create(site.path(&format!("{name}.log"))).expect("a log");
        let child = Command::new(PROGRAM)
            .args(["run", "--hostname", name, "--prefix"])
            .arg(site.path(&format!("{name}.state")))
            .args(flags)
            .arg("yaml")
            .arg(site.path(&format!("{name}.yaml")))
            .env("QUORATE_ETCD", etcd())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the agent starts");
        Host(child)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).expect("a process id"));
        // It may have ended already.
        let _sent = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        self.0.wait().expect("a child of ours");
    }
}

/// A cluster of these hosts, whose graphs are in the site. The first one has the store.
fn cluster(site: &Site, names: &[&str]) -> Vec<Host> {
    let client = format!("http://127.0.0.1:{}", ports(1));
    let flag = |name: &str, value: &str| [name.to_owned(), value.to_owned()];
    let first = [
        flag("--ideal-cluster-size", "1"),
        flag("--client-urls", &client),
        flag("--server-urls", &format!("http://127.0.0.1:{}", ports(1))),
    ]
    .concat();
    let others = [&flag("--seeds", &client)[..], &["--no-server".to_owned()]].concat();
    let start = |(at, name): (usize, &&str)| {
        Host::start(site, name, if at == 0 { &first } else { &others })
    };
    names.iter().enumerate().map(start).collect()
}

fn holds(site: &Site, host: &str, name: &str, text: &str) {
    wait_for(30, &format!("{name} holds {text:?}"), || {
        let log = || site.read(&format!("{host}.log")).unwrap_or_default();
        let ended = log().contains("error: ");
        assert!(!ended, "{}", log());
        site.read(name).filter(|found| found == text)
    });
}

#[test]
fn graph3a_graph3b_and_graph3c_what_is_local_stays_and_what_is_exported_is_everywhere() {
    let site = Site::new();
    let hosts = ["a", "b", "c"];
    for host in hosts {
        std::fs::create_dir(site.path(host)).expect("a directory");
        let file = |mark: &str, name: &str| {
            let name = format!("{name}{host}");
            format!("  - {{name: '{mark}{name}', path: DIR/{host}/{name}, content: {name}}}\n")
        };
        let files = [file("", "f1"), file("", "f2"), file("@@", "f3"), file("@@", "f4")].concat();
        site.write(
            &format!("{host}.yaml"),
            &format!(
                "graph: g\nresources:\n  file:\n{files}collect:\n- {{kind: file, pattern: \
                 DIR/{host}/}}\n"
            ),
        );
    }
    let _running = cluster(&site, &hosts);
    for host in hosts {
        for from in hosts {
            for name in [format!("f3{from}"), format!("f4{from}")] {
                holds(&site, host, &format!("{host}/{name}"), &name);
            }
        }
        for name in [format!("f1{host}"), format!("f2{host}")] {
            holds(&site, host, &format!("{host}/{name}"), &name);
        }
        let there = std::fs::read_dir(site.path(host)).expect("a directory").count();
        assert_eq!(there, 8, "six from everywhere and two of its own in {host}");
    }
}

#[test]
fn graph4_and_graph5_an_empty_pattern_leaves_the_path_of_the_exporter() {
    let site = Site::new();
    let file = "  file:\n  - {name: '@@f3', path: DIR/f3, content: three}\n";
    let collect = "collect:\n- {kind: file, pattern: ''}\n";
    site.write("a.yaml", &format!("graph: g\nresources:\n{file}{collect}"));
    site.write("b.yaml", &format!("graph: g\nresources:\n  noop:\n  - name: n\n{collect}"));
    let _running = cluster(&site, &["a", "b"]);
    holds(&site, "a", "f3", "three");
    for host in ["a", "b"] {
        wait_for(30, &format!("{host} has collected it"), || {
            let mut command = Command::new(PROGRAM);
            command.args(["status", "--json", "--prefix"]);
            let output =
                command.arg(site.path(&format!("{host}.state"))).output().expect("it runs");
            let status = serde_json::from_slice(&output.stdout).ok()?;
            (state_of(&status, "file[f3]") == "ok").then_some(())
        });
    }
    std::fs::remove_file(site.path("f3")).expect("it was there");
    holds(&site, "b", "f3", "three");
}

#[test]
fn etcd1a_to_etcd1e_without_the_directory_fail_by_name_and_live_through_changes_of_the_graph() {
    std::thread::scope(|scope| {
        for letter in ["A", "B", "C", "D", "E"] {
            scope.spawn(move || shipped(letter));
        }
    });
}

/// The form that mgmt ships: nobody makes the directory into which all is collected.
fn shipped(letter: &str) {
    let graph = |more: &str| {
        format!(
            "graph: g\nresources:\n  file:\n  - {{name: '@@file{letter}', path: \
            DIR/mgmt/f{letter}, \
             content: from {letter}, state: exists}}\n{more}collect:\n- {{kind: file, pattern: \
             DIR/mgmt/}}\n"
        )
    };
    let site = Site::new();
    site.write("site.yaml", &graph(""));
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    let id = format!("file[file{letter}]");
    let failed = |generation: u64| {
        agent.status_where(10, &format!("{id} fails"), |one| {
            let newer = one["graph"]["generation"].as_u64() >= Some(generation);
            newer && state_of(one, &id) == "failed"
        })
    };
    let status = failed(1);
    assert!(status.to_string().contains(&site.fill("DIR/mgmt")), "{status}");
    for round in 0..3 {
        let generation = agent.status()["graph"]["generation"].as_u64().unwrap_or(0);
        site.write("site.yaml", &graph(&format!("  noop:\n  - name: n{round}\n")));
        failed(generation + 1);
    }
    let directory = "  - {name: directory, path: DIR/mgmt/, state: exists}\n";
    site.write("site.yaml", &graph(directory));
    let name = format!("mgmt/f{letter}");
    let wanted = format!("from {letter}");
    wait_for(10, &name, || site.read(&name).filter(|text| *text == wanted));
    assert!(!site.path("mgmt/mgmt").exists(), "the directory was not collected into itself");
}
