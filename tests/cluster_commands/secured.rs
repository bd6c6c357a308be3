//! `cluster recover` where hosts have certificates, of their own authority and from files, and
//! where all of them have moved.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::authority::Authority;
use crate::hosts::{Host, Said, hosts, up};

fn lost(host: &Host) {
    host.until("no quorum", |report| report["cluster"]["quorum"] == false);
}

/// One voter, recovered so many times.
fn alone(host: &Host, epoch: u64) -> Value {
    host.until("one voter", |report| {
        let cluster = &report["cluster"];
        up(report) == 1 && cluster["quorum"] == true && cluster["epoch"] == epoch
    })
}

fn all_three(host: &Host) -> Value {
    host.until("three voters", |report| up(report) == 3 && report["cluster"]["quorum"] == true)
}

fn recover(host: &Host, more: &[&str]) -> Said {
    host.cluster(&[&["recover"], more].concat())
}

fn good(said: &Said) {
    assert_eq!(said.code, 0, "{}", said.all());
}

/// With the authority that the founder made.
#[test]
fn a_cluster_with_an_authority_of_its_own_is_recovered_by_a_running_agent_and_by_a_stopped_one() {
    let mut hosts = ["h1", "h2", "h3"].map(Host::new);
    let seed = hosts[0].secured_url();
    hosts[0].join_secured(None, &[]);
    hosts[0].until("a founder", |report| up(report) == 1);
    let token = hosts[0].cluster(&["token", "--uses", "2"]);
    good(&token);
    for host in &mut hosts[1..] {
        host.join_secured(Some(&seed), &["--token", token.out.trim()]);
    }
    let uuid = all_three(&hosts[0])["cluster"]["uuid"].clone();
    hosts[1].kill();
    hosts[2].kill();
    lost(&hosts[0]);
    good(&recover(&hosts[0], &["--lost-quorum"]));
    assert_eq!(alone(&hosts[0], 1)["cluster"]["uuid"], uuid);
    // Who has a certificate needs no other token.
    for host in &mut hosts[1..] {
        host.join_secured(Some(&seed), &[]);
    }
    all_three(&hosts[0]);
    hosts[0].kill();
    let said = recover(&hosts[0], &["--lost-quorum"]);
    assert_eq!(said.code, 3, "{}", said.all());
    let asked = "a quorum is possible: 3 of 3 voters can be reached";
    assert!(said.err.contains(asked), "asked with its certificate: {}", said.err);
    hosts[1].kill();
    hosts[2].kill();
    good(&recover(&hosts[0], &["--lost-quorum"]));
    hosts[0].join_secured(None, &[]);
    assert_eq!(alone(&hosts[0], 2)["cluster"]["uuid"], uuid);
}

/// With certificates that were made elsewhere: a stopped host cannot know where they are.
#[test]
fn with_certificate_files_a_running_agent_recovers_and_a_stopped_host_does_when_it_is_named() {
    let authority = Authority::new("a test");
    let text = |path: &Path| path.display().to_string();
    let issued = |name: &str| authority.issue(name, &[name, "127.0.0.1"], 2099);
    let files: [(PathBuf, PathBuf); 3] = ["h1", "h2", "h3"].map(issued);
    let mut hosts = ["h1", "h2", "h3"].map(Host::new);
    let seed = hosts[0].secured_url();
    let start = |host: &mut Host, n: usize| {
        let (cert, key) = (text(&files[n].0), text(&files[n].1));
        let ca = text(&authority.file);
        let words = ["--cert-file", &cert, "--key-file", &key, "--trusted-ca-file", &ca];
        host.join_secured((n > 0).then_some(seed.as_str()), &words);
    };
    for (n, host) in hosts.iter_mut().enumerate() {
        start(host, n);
    }
    let uuid = all_three(&hosts[0])["cluster"]["uuid"].clone();
    hosts[1].kill();
    hosts[2].kill();
    lost(&hosts[0]);
    good(&recover(&hosts[0], &["--lost-quorum"]));
    assert_eq!(alone(&hosts[0], 1)["cluster"]["uuid"], uuid);
    for (n, host) in hosts.iter_mut().enumerate().skip(1) {
        start(host, n);
    }
    all_three(&hosts[0]);
    hosts.iter_mut().for_each(Host::kill);
    let said = recover(&hosts[0], &["--lost-quorum"]);
    assert_eq!(said.code, 1, "{}", said.all());
    assert!(said.err.contains("--from h1 recovers without asking"), "{}", said.err);
    good(&recover(&hosts[0], &["--lost-quorum", "--from", "h1"]));
    start(&mut hosts[0], 0);
    assert_eq!(alone(&hosts[0], 2)["cluster"]["uuid"], uuid);
}

/// A site that was renumbered: no member finds another one.
#[test]
fn hosts_that_all_moved_are_recovered_on_one_and_the_others_join_it() {
    let mut hosts = hosts(3, 3);
    let uuid = all_three(&hosts[0])["cluster"]["uuid"].clone();
    for running in [true, false] {
        for host in &mut hosts {
            host.kill();
            host.moves();
        }
        let peer = hosts[0].peer_url();
        if running {
            hosts[0].join(3, None);
            lost(&hosts[0]);
            good(&recover(&hosts[0], &["--addresses-changed"]));
        } else {
            good(&recover(&hosts[0], &["--addresses-changed", "--server-urls", &peer]));
            hosts[0].join(3, None);
        }
        let seed = hosts[0].url();
        for host in &mut hosts[1..] {
            host.join(3, Some(&seed));
        }
        let report = all_three(&hosts[0]);
        assert_eq!(report["cluster"]["uuid"], uuid);
        let listed = report.to_string();
        for host in &hosts {
            assert!(listed.contains(&host.url()), "{} is where it was: {report}", host.name);
        }
    }
}
