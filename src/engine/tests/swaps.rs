//! Claims about taking over a new graph.

use std::sync::Arc;

use super::super::{Event, State, Timestamp};
use super::world::{World, graph};
use crate::spec::Fields;

/// `graph1a` and `graph1b`: file1 leaves, file2 stays as it is, file3 comes.
#[test]
fn a_swap_leaves_what_is_equal_untouched() {
    let mut world = World::settled("file1 file2 file1>file2");
    let kept = world.watched["file2"].clone();
    world.pass(400);
    world.graph("file2 file3 file2>file3");
    assert_eq!(world.said(), "unwatch:file1 watch:file3 run:file3");
    assert_eq!(world.watched["file2"], kept);
    let view = world.engine.vertices().next().unwrap();
    assert_eq!((view.id, view.state, view.since.0.as_millis()), (&kept, State::Ok, 0));
}

#[test]
fn an_equal_graph_asks_for_nothing() {
    let mut world = World::new();
    let text = "a b c! a>>b b>c";
    world.graph(text);
    world.said();
    world.timing();
    world.graph(text);
    world.send(Event::Graph(Arc::new(graph(text))));
    assert_eq!((world.said(), world.timing()), (String::new(), String::new()));
    assert_eq!(world.states(), "a:running b:pending c:pending");
}

#[test]
fn a_run_of_an_equal_vertex_goes_on_and_counts() {
    let mut world = World::new();
    world.graph("a b a>b");
    world.graph("a b c a>b");
    world.said();
    world.changed("a");
    assert_eq!(world.said(), "run:b");
}

#[test]
fn a_changed_vertex_waits_for_the_run_of_its_former_self_and_ignores_its_result() {
    let mut world = World::new();
    world.graph("a b a>b");
    let (old, run) = world.runs.remove("a").unwrap();
    world.graph("a=2 b a>b");
    assert_eq!(world.said(), "watch:a watch:b run:a unwatch:a watch:a");
    assert_eq!(world.engine.summary().running, 1);
    world.send(Event::Finished {
        vertex: old,
        run,
        result: Err("too late".into()),
        sent: Fields::new(),
    });
    assert_eq!(world.said(), "run:a");
    assert_eq!(world.states(), "a:running b:pending");
}

#[test]
fn a_vertex_that_comes_and_goes_during_one_run_still_waits_for_it() {
    let mut world = World::new();
    world.graph("a");
    let (old, run) = world.runs.remove("a").unwrap();
    for text in ["a=2", "", "b", "a=3", "a"] {
        world.graph(text);
        world.finish_all();
    }
    assert!(!world.runs.contains_key("a"));
    world.send(Event::Finished {
        vertex: old,
        run,
        result: Err("too late".into()),
        sent: Fields::new(),
    });
    assert_eq!(world.runs.keys().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn a_vertex_that_left_while_it_ran_holds_up_convergence_only() {
    let mut world = World::new();
    world.graph("a b a>b");
    world.graph("b");
    assert_eq!(world.said(), "watch:a watch:b run:a unwatch:a run:b");
    world.unchanged("b");
    world.pass(1_000);
    assert!(!world.engine.is_converged());
    world.unchanged("a");
    world.pass(1_000);
    assert!(world.engine.is_converged());
}

#[test]
fn edges_that_come_and_go_are_heeded_from_then_on() {
    let mut world = World::new();
    world.graph("a b a>b");
    world.fails("a");
    world.said();
    world.graph("a b");
    assert_eq!(world.said(), "run:b", "nobody blocks it any more");
    world.unchanged("b");
    world.graph("a b a>b");
    assert_eq!(world.said(), "", "b was right and stays so");
    world.touch("b");
    assert_eq!(world.states(), "a:failed b:blocked");
}

#[test]
fn a_new_notifying_edge_does_not_refresh_by_itself() {
    let mut world = World::settled("a b a>b");
    world.graph("a b a>>b");
    assert_eq!(world.said(), "");
    world.touch("a");
    world.changed("a");
    assert_eq!(world.said(), "run:a refresh:b");
}

/// z is freed and put before b in one swap: b was never blocked by it.
#[test]
fn a_vertex_is_looked_at_after_its_predecessors() {
    let mut world = World::new();
    world.graph("b x z x>z");
    world.unchanged("b");
    world.fails("x");
    world.send(Event::Pause);
    world.touch("b");
    assert_eq!(world.states(), "b:pending x:failed z:blocked");
    world.pass(400);
    world.graph("b x z z>b");
    assert_eq!(world.states(), "b:pending x:failed z:pending");
    let since = world.engine.vertices().next().unwrap().since;
    assert_eq!(since, Timestamp::default());
}

#[test]
fn what_a_run_changed_while_its_vertex_was_replaced_is_passed_on() {
    let mut world = World::settled("a b a>>b");
    world.touch("a");
    world.graph("a=2 b a>>b");
    world.changed("a");
    world.unchanged("a");
    assert!(world.said().ends_with("refresh:b"));
}

#[test]
fn a_pending_refresh_lives_as_long_as_its_edge() {
    let cases = [
        ("a b c a>>b", "refresh:b", "the edge is kept"),
        ("a=2 b c a>>b", "refresh:b", "who changed has been replaced"),
        ("a b c a>b", "run:b", "the edge no longer notifies"),
        ("a b c", "run:b", "the edge is gone"),
    ];
    for (text, expected, why) in cases {
        let mut world = World::settled("a b a>>b");
        world.touch("a");
        world.changed("a");
        world.fails("b");
        world.graph(text);
        if world.runs.contains_key("a") {
            world.unchanged("a");
        } else {
            world.touch("b");
        }
        assert!(world.said().ends_with(expected), "{why}");
    }
}

#[test]
fn a_vertex_that_is_replaced_keeps_the_refresh_that_it_owes() {
    let mut world = World::settled("a b a>>b");
    world.touch("a");
    world.changed("a");
    world.fails("b");
    world.said();
    world.graph("a b=2 a>>b");
    assert_eq!(world.said(), "unwatch:b watch:b refresh:b");
    world.unchanged("b");
    world.touch("b");
    assert_eq!(world.said(), "run:b");
}

#[test]
fn a_failed_vertex_whose_new_predecessor_is_done_is_checked_again() {
    let mut world = World::new();
    world.graph("file");
    world.fails("file");
    world.graph("dir file dir>file");
    world.said();
    world.unchanged("dir");
    assert_eq!(world.said(), "run:file");
}

#[test]
fn a_swap_during_a_pause_watches_but_does_not_run() {
    let mut world = World::settled("a");
    world.send(Event::Pause);
    world.graph("a=2 b");
    assert_eq!(world.said(), "unwatch:a watch:a watch:b");
    world.send(Event::Resume);
    assert_eq!(world.said(), "run:a run:b");
}

#[test]
fn an_edge_to_nowhere_orders_nothing_and_a_cycle_harms_only_its_members() {
    let mut world = World::new();
    world.graph("a b c a>nobody nobody>b b>c c>b");
    world.finish_all();
    for name in ["a", "b", "c"] {
        world.touch(name);
    }
    assert_eq!(world.states(), "a:running b:pending c:pending");
}
