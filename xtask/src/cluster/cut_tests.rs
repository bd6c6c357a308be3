//! Cuts as values: pairs, labels, scripts, probes and words.

use super::super::spec::tests::PLACE;
use super::*;

fn cut(node: u8, peer: u8) -> Cut {
    Cut { node, peer, mode: Mode::Drop, since: 100, until: None }
}

fn cuts(pairs: &[(u8, u8)]) -> BTreeSet<Cut> {
    pairs.iter().map(|(node, peer)| cut(*node, *peer)).collect()
}

#[test]
fn a_cut_has_a_route_on_both_sides_unless_it_is_one_way() {
    for (one, other, one_way, wanted) in [
        (vec![3], vec![1, 2], false, Ok(vec![(1, 3), (2, 3), (3, 1), (3, 2)])),
        (vec![3], vec![1, 2], true, Ok(vec![(3, 1), (3, 2)])),
        (vec![1, 1], vec![2], false, Ok(vec![(1, 2), (2, 1)])),
        (vec![1, 2], vec![2, 3], false, Err("h2 is on both sides of the cut")),
        (vec![1], vec![], false, Err("a cut needs a node on each side")),
    ] {
        let seen = between(&one, &other, one_way).map_err(|failure| failure.to_string());
        assert_eq!(seen, wanted.map_err(str::to_owned), "{one:?} {other:?} {one_way}");
    }
}

#[test]
fn in_a_ring_each_node_reaches_its_two_neighbours_only() {
    for size in 4..=9u8 {
        let nodes: Vec<u8> = (1..=size).collect();
        let sides = ring(&nodes).unwrap();
        let pairs: Vec<(u8, u8)> =
            sides.iter().flat_map(|(one, other)| between(one, other, false).unwrap()).collect();
        for node in &nodes {
            let reached: BTreeSet<u8> = (nodes.iter().copied())
                .filter(|peer| peer != node && !pairs.contains(&(*node, *peer)))
                .collect();
            let neighbours = [node % size + 1, (node + size - 2) % size + 1];
            assert_eq!(reached, BTreeSet::from(neighbours), "h{node} of {size}");
        }
        assert_eq!(pairs.len(), pairs.iter().collect::<BTreeSet<_>>().len(), "told once");
    }
    let small = ring(&[1, 2, 3]).unwrap_err().to_string();
    assert!(small.starts_with("a ring needs at least 4 nodes"), "{small}");
}

#[test]
fn a_bridge_reaches_both_halves_which_do_not_reach_each_other() {
    assert_eq!(bridge(3, &[1, 2, 3, 4, 5]).unwrap(), (vec![1, 2], vec![4, 5]));
    assert_eq!(bridge(1, &[1, 2, 3, 4]).unwrap(), (vec![2, 3], vec![4]));
    let small = bridge(1, &[1, 2]).unwrap_err().to_string();
    assert!(small.starts_with("a bridge needs at least 3 nodes"), "{small}");
}

#[test]
fn a_cut_survives_its_labels_and_carries_whose_it_is() {
    let network = [
        (label::CLUSTER, "demo"),
        (label::LEASE, "book"),
        (label::OWNER, "boot/1/2"),
        (label::PORTS, "24000"),
    ];
    let network: Labels = network.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
    for wanted in [cut(1, 3), Cut { mode: Mode::Reject, until: Some(130), ..cut(30, 1) }] {
        let labels = wanted.labels(&network);
        assert_eq!((get(&labels, label::CLUSTER), get(&labels, label::LEASE)), ("demo", "book"));
        assert_eq!(get(&labels, label::PORTS), "");
        let volume = Volume { name: wanted.volume("demo"), labels };
        let listed = Listed { volumes: vec![volume], ..Listed::default() };
        assert_eq!(recorded(&listed), BTreeSet::from([wanted]));
    }
    assert_eq!(cut(1, 3).volume("demo"), "quorate-demo-cut-h1-h3");
}

#[test]
fn a_timed_cut_holds_until_its_time_and_any_other_for_ever() {
    let timed = Cut { until: Some(130), ..cut(1, 2) };
    assert_eq!([129, 130, 131].map(|now| timed.holds(now)), [true, false, false]);
    assert!(cut(1, 2).holds(u64::MAX));
}

#[test]
fn a_node_gets_its_own_routes_and_loses_all_others_of_ours() {
    let mut all = cuts(&[(1, 3), (3, 1)]);
    all.insert(Cut { mode: Mode::Reject, ..cut(1, 2) });
    let script = script(1, &all, &PLACE);
    for part in [
        "; ip route replace unreachable 10.91.12.12/32;",
        "; ip route replace 10.91.12.13/32 dev lo;",
        "for a in 10.91.12.11 10.91.12.14 ",
    ] {
        assert!(script.contains(part), "{part} is not in {script}");
    }
    assert!(script.ends_with("; ip route"), "{script}");
    let removed = script.split(';').next().unwrap_or_default();
    assert!(!removed.contains("10.91.12.12") && !removed.contains("10.91.12.13"), "{removed}");
    assert!(!removed.contains("10.91.12.1 "), "the way out is not ours: {removed}");
}

#[test]
fn a_timer_ends_each_cut_at_its_own_time() {
    let timed = |peer, until| Cut { until: Some(until), ..cut(1, peer) };
    let all = BTreeSet::from([timed(4, 130), timed(2, 110), timed(3, 110), cut(1, 5), cut(2, 1)]);
    let text = timer(1, &all, &PLACE, 100).unwrap();
    let plain: Vec<&str> = text.split("; ").filter(|p| !p.contains("ip route")).collect();
    assert_eq!(
        plain,
        [
            "sleep 10",
            "for a in 10.91.12.12",
            "done",
            "for a in 10.91.12.13",
            "done",
            "sleep 20",
            "for a in 10.91.12.14",
            "done"
        ]
    );
    assert_eq!(timer(1, &all, &PLACE, 300).unwrap().matches("sleep").count(), 0);
    assert_eq!(timer(2, &all, &PLACE, 100), None);
}

#[test]
fn cuts_are_read_back_from_routes_and_nothing_else_is_taken_for_one() {
    let lines = [
        "default via 10.91.12.1 dev eth0 ",
        "10.91.12.0/24 dev eth0 scope link  src 10.91.12.11 ",
        "10.91.12.13 dev lo scope link ",
        "10.91.12.1 dev lo scope link ",
        "unreachable 10.91.12.12 ",
        "unreachable 10.92.12.12 ",
        "",
    ];
    let seen = routed(&lines.map(str::to_owned), &PLACE);
    assert_eq!(seen, BTreeSet::from([(2, Mode::Reject), (3, Mode::Drop)]));
}

#[test]
fn whoever_answers_a_probe_or_refuses_it_was_reached() {
    let lines = [
        "h1 nc: timed out",
        "h2 nc: can't connect to remote host (10.91.12.12): Connection refused",
        "h3 nc: can't connect to remote host (10.91.12.13): No route to host",
        "h4 ",
    ];
    assert_eq!(reached(&lines.map(str::to_owned)), ["h2", "h4"]);
    let probe = probe(&[2, 3], 2379, &PLACE);
    assert!(probe.contains("nc -w 1 10.91.12.13 2379 ") && probe.ends_with("& wait"), "{probe}");
}

#[test]
fn a_nodes_cuts_are_told_in_a_few_words() {
    let all = cuts(&[(3, 1), (1, 3), (3, 2), (2, 3), (4, 1)]);
    for (node, wanted) in [
        (3, "cut from h1, h2"),
        (1, "cut from h3; hears nothing of h4"),
        (4, "cannot send to h1"),
        (5, "-"),
    ] {
        assert_eq!(words(node, &all), wanted);
    }
}
