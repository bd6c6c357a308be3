//! Rows A2 to A4: one folder, one name, one cluster.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::kit::{Host, LONG, Writer, healthy, three};

/// Row A2.
#[test]
fn a_second_agent_on_a_folder_is_refused_at_once_and_the_first_goes_on() {
    let host = Host::new("h1");
    let first = host.start(&[]);
    healthy(&[&first], 1);
    let writer = Writer::start(&[&host]);
    let folder = host.state().canonicalize().unwrap();
    let lock = fs::read(host.state().join("lock")).unwrap();
    let in_use = format!(
        "state folder {} is in use by h1 (pid {}, started *:* UTC); give this agent its own \
         --hostname or --prefix",
        folder.display(),
        first.pid()
    );
    for name in ["h1", "h2"] {
        let mut words = host.words(&[]);
        words[1] = name.into();
        let took = host.start_with(&words).refused(3, &in_use);
        println!("refused after {took:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    assert_eq!(fs::read(host.state().join("lock")).unwrap(), lock);
    let written = writer.end();
    assert_eq!(written.failed, 0);
    assert!(written.gap < Duration::from_secs(2), "{written:?}");
    host.untouched_by(&first, || {
        for name in ["h1", "h2"] {
            let mut words = host.words(&[]);
            words[1] = name.into();
            host.refused(&words, 3, &in_use);
        }
    });
    let mut first = first;
    assert_eq!(first.stop(Signal::SIGTERM, LONG).0, 0);
    let mut words = host.words(&[]);
    words[1] = "h2".into();
    let of_other = format!(
        "state folder {} belongs to host h1, not to h2; give this agent its own --prefix",
        folder.display()
    );
    host.refused(&words, 3, &of_other);
}

/// Row A3, the race.
#[test]
fn of_ten_agents_that_take_one_name_at_once_exactly_one_gets_it() {
    let seed = Host::new("h1");
    let first = seed.start(&[]);
    healthy(&[&first], 1);
    let twins: Vec<Host> = (0..10).map(|_| Host::new("h2")).collect();
    let began = std::time::Instant::now();
    let mut agents: Vec<_> = twins.iter().map(|twin| (twin, twin.start(&[&seed]))).collect();
    let taken = "another agent named h2 is alive (instance *, pid *, at http://127.0.0.1:*); host \
                 names must be unique";
    let winner = crate::kit::wait_for(
        LONG,
        || "one of them is a learner".into(),
        || agents.iter().position(|(_, a)| a.status().is_some_and(|s| s["role"] == "learner")),
    );
    let winner = agents.remove(winner);
    for (twin, agent) in &mut agents {
        agent.refused(3, taken);
        assert!(!twin.state().exists(), "a refused start made a folder");
    }
    println!("decided after {:?}", began.elapsed());
    assert!(winner.1.status().is_some_and(|s| s["role"] == "learner"));
    healthy(&[&first], 1);
}

/// Row A3, later, and after KILL.
#[test]
fn a_name_in_use_is_refused_and_its_own_agent_takes_it_back_after_a_kill() {
    let (seed, host, twin) = (Host::new("h1"), Host::new("h2"), Host::new("h2"));
    let first = seed.start(&[]);
    let mut second = host.start(&[&seed]);
    second.role(LONG, "learner");
    let taken = format!(
        "another agent named h2 is alive (instance *, pid {}, at {}); host names must be unique",
        second.pid(),
        host.client_url()
    );
    let took = twin.refused(&twin.words(&[&seed]), 3, &taken);
    println!("refused after {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    second.kill();
    twin.refused(&twin.words(&[&seed]), 3, &taken);
    let second = host.start(&[&seed]);
    let began = std::time::Instant::now();
    second.until(LONG, |_| true);
    println!("started {:?} after the kill", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    second.role(LONG, "learner");
    healthy(&[&first], 1);
}

/// Row A3, the cloned folder.
#[test]
fn a_copy_of_a_living_agents_folder_is_refused() {
    let (seed, host, mut copy) = (Host::new("h1"), Host::new("h2"), Host::new("h2"));
    let _first = seed.start(&[]);
    let second = host.start(&[&seed]);
    second.role(LONG, "learner");
    fs::create_dir(copy.state()).unwrap();
    for name in ["lock", "identity.json", "endpoints.json"] {
        fs::copy(host.state().join(name), copy.state().join(name)).unwrap();
    }
    copy.name = "h2".into();
    let sentence = format!(
        "state folder {} is a copy of the one that h2 runs on at {} (a cloned machine?); move it \
         aside and give this agent its own --hostname",
        copy.state().canonicalize().unwrap().display(),
        host.client_url()
    );
    copy.refused(&copy.words(&[&seed]), 3, &sentence);
    let status = second.status().expect("the first is undisturbed");
    assert_eq!(status["role"], "learner");
}

/// Row A4: the seed founds another cluster under the old one's address.
#[test]
fn a_wiped_seed_is_named_a_stranger_within_three_seconds_and_nothing_is_lost() {
    let (hosts, [mut first, second, third]) = three();
    let [h1, h2, h3] = &hosts;
    let writer = Writer::start(&[h2, h3]);
    let uuid = |agent: &crate::kit::Agent| {
        agent.status().map(|s| s["cluster"]["uuid"].clone()).expect("a status")
    };
    let old = uuid(&second);
    first.kill();
    fs::remove_dir_all(h1.state()).unwrap();
    let first = h1.start(&[]);
    healthy(&[&first], 1);
    let told = |status: &serde_json::Value| {
        let note = status["cluster"]["note"].as_str().unwrap_or_default();
        let want = format!("{} answers for another cluster (*) and is not used", h1.client_url());
        crate::kit::fits(note, &want)
    };
    let began = std::time::Instant::now();
    second.until(LONG, told);
    println!("told after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_ne!(uuid(&first), old);
    assert_eq!((uuid(&second), uuid(&third)), (old.clone(), old));
    let members = |agent: &crate::kit::Agent| {
        let status = agent.status().expect("a status");
        let all = status["cluster"]["members"].as_array().cloned().unwrap_or_default();
        all.iter().map(|m| m["id"].clone()).collect::<Vec<_>>()
    };
    let new = members(&first);
    assert!(members(&second).iter().all(|id| !new.contains(id)), "one list has both");
    writer.end();
}

/// Row A4: the folder knows a cluster, and the seed belongs to another.
#[test]
fn a_folder_of_one_cluster_is_refused_at_the_seed_of_another() {
    let (one, other, host) = (Host::new("h1"), Host::new("h9"), Host::new("h2"));
    let first = one.start(&[]);
    let _stranger = other.start(&[]);
    let mut second = host.start(&[&one]);
    second.role(LONG, "learner");
    assert_eq!(second.stop(Signal::SIGTERM, LONG).0, 0);
    fs::remove_dir_all(host.state().join("etcd")).unwrap();
    // Nobody of its own cluster answers.
    drop(first);
    let sentence = format!(
        "{} belongs to cluster * but this folder belongs to cluster {}; wrong seed, or it was \
         set up anew",
        other.client_url(),
        host.identity("cluster_id").as_str().unwrap()
    );
    healthy(&[&_stranger], 1);
    host.refused(&host.words(&[&other]), 3, &sentence);
}
