//! Tables for the planner of `up`.

use super::super::spec::tests::{PLACE, owner, wanted};
use super::*;
use crate::engine::Labels;

/// What the engine lists once `up` is done.
fn made(wanted: &Wanted) -> Listed {
    let network = wanted.network(&PLACE, &owner(), 0);
    let nodes = (1..=wanted.nodes).map(|n| wanted.node(n, &PLACE, &[], &owner(), 0));
    let (name, labels) = wanted.marker(&owner(), 0);
    Listed {
        containers: nodes
            .map(|spec| Container {
                id: format!("id-{}", spec.name),
                name: spec.name,
                image: spec.image,
                labels: spec.labels,
                state: State::Running,
                created: 0,
            })
            .collect(),
        networks: vec![Network {
            id: "n".to_owned(),
            name: network.name,
            labels: network.labels,
            subnets: vec![network.subnet],
        }],
        volumes: vec![Volume { name, labels }],
    }
}

#[test]
fn nothing_is_there_so_all_is_made_and_the_marker_last() {
    let steps = plan(&wanted(2), &Listed::default());
    let all = vec![Step::Network, Step::Make(1), Step::Make(2), Step::Marker];
    assert_eq!(steps, Ok(all));
}

#[test]
fn a_finished_cluster_needs_no_step() {
    assert_eq!(plan(&wanted(3), &made(&wanted(3))), Ok(vec![]));
}

#[test]
fn exactly_what_is_missing_is_made_again() {
    let mut listed = made(&wanted(4));
    listed.containers.remove(1);
    listed.containers[1].state = State::Exited;
    listed.containers[2].state = State::Paused;
    let steps = plan(&wanted(4), &listed);
    assert_eq!(steps, Ok(vec![Step::Make(2), Step::Start(3), Step::Unpause(4)]));
    listed.volumes.clear();
    assert_eq!(plan(&wanted(4), &listed).map(|s| s.last().cloned()), Ok(Some(Step::Marker)));
}

#[test]
fn other_clusters_do_not_matter() {
    let other = Wanted { cluster: "demo-two".to_owned(), ..wanted(3) };
    let steps = plan(&wanted(1), &made(&other));
    assert_eq!(steps, Ok(vec![Step::Network, Step::Make(1), Step::Marker]));
}

#[test]
fn what_carries_our_name_without_our_label_stops_everything() {
    let strip = |labels: &mut Labels| labels.clear();
    let mut container = made(&wanted(1));
    strip(&mut container.containers[0].labels);
    let mut network = made(&wanted(1));
    strip(&mut network.networks[0].labels);
    let mut volume = made(&wanted(1));
    strip(&mut volume.volumes[0].labels);
    for (listed, text) in [
        (
            container,
            "container quorate-demo-h1 exists but carries no quorate label; it is not ours.",
        ),
        (network, "network quorate-demo exists but carries no quorate label; it is not ours."),
        (volume, "volume quorate-demo-made exists but carries no quorate label; it is not ours."),
    ] {
        let wanted_text = format!("{text} Remove it or pick --name.");
        assert_eq!(plan(&wanted(1), &listed), Err(Conflict::Foreign(wanted_text)));
    }
}

#[test]
fn two_networks_of_one_name_are_never_chosen_between() {
    let mut listed = made(&wanted(1));
    listed.networks.push(Network { id: "m".to_owned(), ..listed.networks[0].clone() });
    assert!(matches!(
        plan(&wanted(1), &listed),
        Err(Conflict::Foreign(text)) if text.contains("two networks")
    ));
}

#[test]
fn a_cluster_made_for_something_else_is_not_touched_and_what_differs_is_named() {
    let key = Wanted { image_key: "ffff".to_owned(), ..wanted(2) };
    let no_network = Listed { networks: vec![], ..made(&wanted(2)) };
    for (asked, listed, what) in [
        (Wanted { voters: 3, ..wanted(2) }, made(&wanted(3)), vec!["it has h3 too"]),
        (wanted(2), made(&key), vec!["h1, h2: another image"]),
        (
            Wanted { memory: 1, ..wanted(2) },
            made(&wanted(2)),
            vec!["h1, h2: made with other options"],
        ),
        (
            Wanted { internal: true, ..wanted(1) },
            made(&wanted(1)),
            vec!["its network was made with other options", "h1: made with other options"],
        ),
        (wanted(2), no_network, vec!["its network is gone"]),
    ] {
        let what: Vec<String> = what.into_iter().map(str::to_owned).collect();
        assert_eq!(plan(&asked, &listed), Err(Conflict::Differs(what)), "{asked:?}");
    }
}

#[test]
fn nodes_come_in_the_order_of_their_numbers() {
    let listed = made(&wanted(12));
    let names: Vec<String> = listed.nodes().into_iter().map(|(node, _)| node).collect();
    assert_eq!(names[1], "h2");
    assert_eq!(names[9], "h10");
}
