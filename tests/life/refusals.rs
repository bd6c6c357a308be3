//! Every refusal of a start: its sentence, its exit code, and that it changed nothing.

use std::fs;
use std::net::TcpListener;

use nix::sys::signal::Signal;

use crate::kit::{Host, LONG, healthy};

/// Replaces the value of a flag.
fn with(mut words: Vec<String>, flag: &str, value: &str) -> Vec<String> {
    match words.iter().position(|word| word == flag) {
        Some(at) => words[at + 1] = value.into(),
        None => words.splice(0..0, [flag.to_owned(), value.to_owned()]).for_each(drop),
    }
    words
}

/// Row A2 and 3.14: what is wrong with the flags.
#[test]
fn flags_that_cannot_work_are_refused_and_leave_no_folder() {
    let host = Host::new("h1");
    for (flag, value, code, sentence) in [
        (
            "--seeds",
            "http://10.255.0.7:2379",
            3,
            format!(
                "this agent would advertise {}, which other hosts cannot reach; pass --client-urls \
                 http://ADDRESS:{}",
                host.client_url(),
                host.client
            ),
        ),
        (
            "--client-urls",
            "http://10.255.0.8:2379",
            3,
            "http://10.255.0.8:2379 is reachable from the network without certificates; write \
             https:// for TLS, or pass --insecure-network if that is what you want"
                .into(),
        ),
        (
            "--server-urls",
            &host.client_url(),
            2,
            format!(
                "--server-urls {}: clients and members need different ports",
                host.client_url()
            ),
        ),
        (
            "--client-urls",
            "ftp://127.0.0.1:1",
            2,
            "--client-urls ftp://127.0.0.1:1: only http and https are understood".into(),
        ),
        (
            "--advertise-client-urls",
            "http://0.0.0.0:2379",
            2,
            "--advertise-client-urls http://0.0.0.0:2379: every address of this host can be \
             listened on but not advertised"
                .into(),
        ),
    ] {
        host.refused(&with(host.words(&[]), flag, value), code, &sentence);
    }
    assert!(!host.state().exists());
}

/// 3.14: an address that would be listened on must be one of this host.
#[test]
fn addresses_that_are_not_of_this_host_are_refused_and_leave_no_folder() {
    let host = Host::new("h1");
    for (url, sentence) in [
        (
            "http://nobody.invalid:2379",
            "nobody.invalid does not resolve on this host; etcd needs an address to listen on",
        ),
        (
            // One that is kept for documents.
            "http://192.0.2.1:2379",
            "192.0.2.1 port 2379 cannot be listened on: Cannot assign requested address (os error \
             99); choose another with --client-urls",
        ),
    ] {
        let mut words = with(host.words(&[]), "--client-urls", url);
        words.insert(0, "--insecure-network".into());
        host.refused(&words, 3, sentence);
    }
    assert!(!host.state().exists());
}

#[test]
fn flags_that_need_or_contradict_each_other_are_refused_and_leave_no_folder() {
    let host = Host::new("h1");
    let mixed = format!(
        "{} is without TLS, but https://127.0.0.1:1 asks for it; write https:// for all or for \
         none",
        host.client_url()
    );
    for (flag, value, code, sentence) in [
        ("--seeds", "https://127.0.0.1:1", 2, mixed.as_str()),
        ("--user", "ann", 2, "--user needs --password-file"),
        (
            "--prometheus-listen",
            "0.0.0.0:9",
            3,
            "http://0.0.0.0:9/metrics is reachable from the network without certificates; pass \
             --insecure-network if that is what you want",
        ),
    ] {
        host.refused(&with(host.words(&[]), flag, value), code, sentence);
    }
    let mut words = host.words(&[]);
    words.insert(0, "--no-server".into());
    // Said before any sentence of ours is due: the line names the flag below this.
    host.refused(&words, 2, "the following required arguments were not provided:");
    assert!(!host.state().exists());
}

/// 3.14: the owner of a port is named.
#[test]
fn a_taken_port_is_refused_with_its_owner() {
    let host = Host::new("h1");
    let other = TcpListener::bind(("127.0.0.1", host.client)).unwrap();
    let name = fs::read_to_string("/proc/self/comm").unwrap();
    let sentence = format!(
        "port {} on 127.0.0.1 is taken by {} (pid {}); free it or choose another with \
         --client-urls",
        host.client,
        name.trim(),
        std::process::id()
    );
    host.refused(&host.words(&[]), 3, &sentence);
    drop(other);
    let mut agent = host.start(&[]);
    healthy(&[&agent], 1);
    let second = Host::new("h2");
    let words = with(second.words(&[&host]), "--server-urls", &host.peer_url());
    let sentence = format!(
        "port {} on 127.0.0.1 is taken by etcd (pid {}, member h1-*); free it or choose another \
         with --server-urls",
        host.peer,
        host.etcds()[0]
    );
    second.refused(&words, 3, &sentence);
    let seed = with(second.words(&[]), "--seeds", &host.peer_url());
    let sentence = format!(
        "{} is the peer port of h1; pass --seeds {}, its port for clients",
        host.peer_url(),
        host.client_url()
    );
    second.refused(&seed, 3, &sentence);
    assert_eq!(agent.stop(Signal::SIGTERM, LONG).0, 0);
}

/// The metrics' port is looked at before anything is changed, of a new host and of a member.
#[test]
fn a_taken_port_for_metrics_is_refused_before_the_folder_is_touched() {
    let host = Host::new("h1");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let words = with(host.words(&[]), "--prometheus-listen", &address);
    let sentence = format!(
        "metrics cannot be served on {address}: *; choose another address with --prometheus-listen"
    );
    host.refused(&words, 3, &sentence);
    assert!(!host.state().exists());
    let mut agent = host.start(&[]);
    healthy(&[&agent], 1);
    assert_eq!(agent.stop(Signal::SIGTERM, LONG).0, 0);
    host.refused(&words, 3, &sentence);
}

/// 3.3, 3.5 and row A14: what is wrong with the folder.
#[test]
fn a_folder_without_its_identity_or_with_a_damaged_one_is_refused() {
    let host = Host::new("h1");
    let mut agent = host.start(&[]);
    healthy(&[&agent], 1);
    assert_eq!(agent.stop(Signal::SIGTERM, LONG).0, 0);
    let folder = host.state().canonicalize().unwrap();
    let file = folder.join("identity.json");
    let good = fs::read(&file).unwrap();
    let mut flipped = good.clone();
    flipped[0] ^= 0x80;
    for bad in [&[][..], &good[..good.len() / 2], &flipped, b"{\"v\": 2}"] {
        fs::write(&file, bad).unwrap();
        let sentence = format!(
            "{} is damaged (*); move the folder aside and start again to join as a new member",
            file.display()
        );
        host.refused(&host.words(&[]), 3, &sentence);
    }
    fs::remove_file(&file).unwrap();
    let sentence = format!(
        "{} holds etcd data but no identity of quorate; give this agent its own --prefix",
        folder.display()
    );
    host.refused(&host.words(&[]), 3, &sentence);
    fs::write(&file, &good).unwrap();
    let etcd = folder.join("etcd");
    fs::rename(&etcd, folder.join("elsewhere")).unwrap();
    let sentence = format!(
        "the etcd data of this member in {} are gone and no other member answers; start the \
         others first",
        folder.display()
    );
    host.refused(&host.words(&[]), 3, &sentence);
    fs::rename(folder.join("elsewhere"), &etcd).unwrap();
    let agent = host.start(&[]);
    healthy(&[&agent], 1);
}

/// 3.5: the whole folder of another host, and the data of another member.
#[test]
fn data_of_another_member_are_refused_while_nobody_answers() {
    let hosts = ["h1", "h2"].map(Host::new);
    for host in &hosts {
        let mut agent = host.start(&[]);
        healthy(&[&agent], 1);
        assert_eq!(agent.stop(Signal::SIGTERM, LONG).0, 0);
    }
    let [one, two] = &hosts;
    let [mine, theirs] = hosts.each_ref().map(|h| h.state().canonicalize().unwrap());
    let away = theirs.join("etcd.mine");
    fs::rename(mine.join("etcd"), &away).unwrap();
    fs::rename(theirs.join("etcd"), mine.join("etcd")).unwrap();
    fs::rename(&away, theirs.join("etcd")).unwrap();
    for (host, folder) in [(one, &mine), (two, &theirs)] {
        let sentence = format!(
            "the etcd data of this member in {} are those of another member and no other member \
             answers; start the others first",
            folder.display()
        );
        host.refused(&host.words(&[]), 3, &sentence);
    }
    // The identity goes with the folder: it is the whole state that was exchanged.
    fs::rename(&mine, one.folder().join("mine")).unwrap();
    fs::rename(&theirs, &mine).unwrap();
    let sentence = format!(
        "state folder {} belongs to host h2, not to h1; give this agent its own --prefix",
        mine.display()
    );
    one.refused(&one.words(&[]), 3, &sentence);
}
