//! Convergence, and the ways to an end.

use super::super::{Engine, Event, Options, Timestamp};
use super::world::{World, graph};

#[test]
fn quiet_for_long_enough_is_converged_and_new_work_is_not() {
    let mut world = World::new();
    world.graph("a b a>b");
    world.pass(5_000);
    assert_eq!(world.timing(), "", "work is under way");
    world.finish_all();
    assert_eq!(world.timing(), "wake:6000");
    world.pass(999);
    assert_eq!(world.timing(), "wake:6000", "woken too early, so it asks again");
    world.pass(1);
    assert_eq!(world.timing(), "converged:true");
    world.pass(5_000);
    assert_eq!(world.timing(), "");
    world.touch("a");
    assert_eq!(world.timing(), "converged:false");
    world.unchanged("a");
    assert_eq!(world.timing(), "wake:12000");
}

#[test]
fn the_hold_begins_when_nothing_more_is_to_come_from_outside() {
    let mut world = World::new();
    world.send(Event::Complete(false));
    world.graph("a");
    world.unchanged("a");
    world.pass(10_000);
    assert!(!world.engine.is_converged(), "others have not told what they export");
    world.send(Event::Complete(true));
    world.pass(999);
    assert!(!world.engine.is_converged(), "the hold has just begun");
    world.pass(1);
    assert!(world.engine.is_converged());
    world.send(Event::Complete(false));
    assert!(!world.engine.is_converged());
}

#[test]
fn the_hold_starts_anew_with_every_work() {
    let mut world = World::settled("a");
    world.pass(600);
    world.touch("a");
    world.unchanged("a");
    assert_eq!(world.timing(), "wake:1000 wake:1600", "the second request replaces the first");
    world.pass(400);
    assert!(!world.engine.is_converged());
    world.pass(600);
    assert!(world.engine.is_converged());
}

#[test]
fn failed_and_blocked_vertices_do_not_hold_up_convergence() {
    let mut world = World::new();
    world.graph("a b a>b c!");
    world.fails("a");
    world.would_change("c");
    world.pass(1_000);
    assert!(world.engine.is_converged());
    assert!(!world.engine.summary().is_clean());
    world.timing();
    world.touch("b");
    assert_eq!(world.timing(), "", "b is blocked: there is nothing to do");
    world.touch("a");
    assert_eq!(world.timing(), "converged:false");
}

#[test]
fn what_waits_in_a_pause_is_not_converged() {
    let mut world = World::settled("a b");
    world.send(Event::Pause);
    world.touch("a");
    world.pass(60_000);
    assert!(!world.engine.is_converged());
    world.send(Event::Resume);
    world.unchanged("a");
    world.pass(1_000);
    assert!(world.engine.is_converged());
}

#[test]
fn no_time_at_all_converges_in_the_same_step_and_none_never() {
    let zero = Some(std::time::Duration::ZERO);
    for (converged_after, expected) in [(zero, "[Converged(true)]"), (None, "[]")] {
        let mut engine = Engine::new(Options { converged_after });
        let commands = engine.step(Timestamp::default(), Event::Graph(graph("").into()));
        assert_eq!(format!("{commands:?}"), expected);
    }
}

#[test]
fn a_stop_lets_runs_finish_and_starts_none() {
    let mut world = World::new();
    world.graph("a b c a>b");
    world.said();
    world.send(Event::Stop);
    world.unchanged("a");
    world.touch("a");
    world.graph("a b c d");
    world.send(Event::Resume);
    assert_eq!(world.said(), "");
    world.unchanged("c");
    assert_eq!(world.said(), "stopped");
    for event in [Event::Stop, Event::Hurry, Event::Due, Event::Resume] {
        world.send(event);
    }
    assert_eq!((world.said(), world.timing()), (String::new(), String::new()));
}

#[test]
fn a_stop_with_nothing_under_way_is_done_at_once() {
    let mut world = World::new();
    world.send(Event::Stop);
    assert_eq!(world.said(), "stopped");
    let mut world = World::settled("a");
    world.send(Event::Pause);
    world.send(Event::Stop);
    assert_eq!(world.said(), "stopped");
}

#[test]
fn hurry_cancels_what_runs_once_and_waits_for_the_answers() {
    let mut world = World::new();
    world.graph("a b c a>c");
    world.send(Event::Stop);
    world.said();
    world.send(Event::Hurry);
    world.send(Event::Hurry);
    assert_eq!(world.said(), "cancel:a cancel:b");
    world.fails("a");
    world.fails("b");
    assert_eq!(world.said(), "stopped");
}

#[test]
fn hurry_without_a_stop_stops_too() {
    let mut world = World::new();
    world.graph("a b a>b");
    world.said();
    world.send(Event::Hurry);
    world.fails("a");
    assert_eq!(world.said(), "cancel:a stopped");
}

#[test]
fn a_stop_waits_for_runs_of_vertices_that_have_left() {
    let mut world = World::new();
    world.graph("a b");
    world.graph("b");
    world.unchanged("b");
    world.said();
    world.send(Event::Stop);
    let left: Vec<String> = world.engine.running().map(ToString::to_string).collect();
    assert_eq!(left, ["t[a]@1"]);
    world.send(Event::Hurry);
    world.unchanged("a");
    assert_eq!(world.said(), "cancel:a stopped");
}
