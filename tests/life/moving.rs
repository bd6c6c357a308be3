//! Rows A12 and A13: everybody is killed, and members that move.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::kit::{Host, LONG, Writer, healthy, three};
use crate::program::ports;

/// Row A12.
#[test]
fn a_killed_cluster_writes_again_when_any_two_of_three_are_back() {
    let (hosts, agents) = three();
    let mut running = Vec::from(agents);
    let start = |host: &Host| host.again(&hosts[0]);
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for order in orders {
        running.iter_mut().for_each(crate::kit::Agent::kill);
        let [one, two, three] = order.map(|n| &hosts[n]);
        let first = start(one);
        std::thread::sleep(Duration::from_millis(300));
        let began = Instant::now();
        let second = start(two);
        let writer = Writer::start(&[one, two]);
        writer.goes_on(1);
        println!("{order:?}: writes after {:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(10), "{order:?}: {:?}", began.elapsed());
        writer.end();
        let third = start(three);
        healthy(&[&first, &second, &third], 3);
        running = vec![first, second, third];
    }
}

/// Row A13.
#[test]
fn a_member_that_moves_is_listed_at_its_new_address_and_nobody_waits() {
    let (mut hosts, agents) = three();
    let mut agents = Vec::from(agents);
    let writer = Writer::start(&hosts.each_ref());
    for n in [2, 1, 0] {
        let id = hosts[n].identity("member");
        assert_eq!(agents[n].stop(Signal::SIGTERM, LONG).0, 0);
        (hosts[n].client, hosts[n].peer) = (ports(1), ports(1));
        let (client, peer) = (hosts[n].client_url(), hosts[n].peer_url());
        let began = Instant::now();
        agents[n] = hosts[n].again(&hosts[0]);
        for other in &agents {
            other.until(LONG, |s| {
                let members = s["cluster"]["members"].as_array().cloned().unwrap_or_default();
                let moved = members.iter().find(|m| m["id"] == id);
                moved.is_some_and(|m| m["peer"][0] == peer && m["client"][0] == client)
            });
        }
        println!("h{} is listed anew after {:?}", n + 1, began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
        healthy(&agents.iter().collect::<Vec<_>>(), 3);
        assert_eq!(hosts[n].identity("member"), id, "it is the same member");
        writer.goes_on(20);
    }
    let written = writer.end();
    assert_eq!(written.failed, 0, "{written:?}");
    assert!(written.gap < Duration::from_secs(2), "{written:?}");
}
