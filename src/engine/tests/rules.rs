//! One claim for each rule of the scheduler.

use super::super::{Engine, Event, Options, RunId, State, Timestamp};
use super::world::{World, graph};
use crate::spec::Fields;

#[test]
fn independent_vertices_run_at_once_and_edges_are_kept_in_order() {
    let mut world = World::new();
    world.graph("a b c d a>b b>c");
    assert_eq!(world.said(), "watch:a watch:b watch:c watch:d run:a run:d");
    world.unchanged("a");
    assert_eq!(world.said(), "run:b");
    world.changed("b");
    world.unchanged("d");
    assert_eq!(world.said(), "run:c");
    world.unchanged("c");
    assert_eq!(world.states(), "a:ok b:ok c:ok d:ok");
}

#[test]
fn nothing_runs_before_its_watch_is_armed() {
    let mut world = World::new();
    world.arms = false;
    world.graph("a b a>b");
    world.watching("b", None);
    assert_eq!(world.said(), "watch:a watch:b");
    world.watching("a", None);
    assert_eq!(world.said(), "run:a");
}

#[test]
fn a_vertex_that_cannot_be_watched_has_failed_until_it_can() {
    let mut world = World::new();
    world.arms = false;
    world.graph("a b a>b");
    world.watching("b", None);
    world.watching("a", Some("no watches left"));
    assert_eq!(world.states(), "a:failed b:blocked");
    assert_eq!(world.engine.summary().failed[0].error, "no watches left");
    world.watching("a", None);
    world.unchanged("a");
    world.unchanged("b");
    world.watching("a", Some("lost"));
    assert_eq!(world.states(), "a:failed b:ok");
    world.said();
    world.watching("a", None);
    assert_eq!(world.said(), "run:a", "the gap may have hidden an event");
}

#[test]
fn an_event_during_a_run_leads_to_another_run() {
    let mut world = World::new();
    world.graph("a b a>b");
    world.touch("a");
    world.touch("a");
    world.said();
    world.unchanged("a");
    assert_eq!(world.said(), "run:a", "once for both, and b waits");
    world.unchanged("a");
    assert_eq!(world.said(), "run:b");
}

#[test]
fn an_event_on_one_vertex_runs_only_that_one() {
    let mut world = World::settled("a b c a>b b>c");
    world.touch("b");
    world.unchanged("b");
    assert_eq!(world.said(), "run:b");
}

#[test]
fn a_failure_blocks_what_follows_and_nothing_else() {
    let mut world = World::new();
    world.graph("a b c d e a>b b>c d>e");
    world.fails("a");
    assert_eq!(world.states(), "a:failed b:blocked c:blocked d:running e:pending");
    world.unchanged("d");
    world.unchanged("e");
    let summary = world.engine.summary();
    let blocked = summary.blocked.iter().map(|b| format!("{} by {:?}", b.id, b.by));
    let blocked: Vec<_> = blocked.collect();
    assert_eq!(blocked, ["t[b] by [t[a]]", "t[c] by [t[b]]"]);
    assert_eq!((summary.ok, summary.pending, summary.running), (2, 0, 0));
    assert!(!summary.is_clean());
}

#[test]
fn a_failed_vertex_is_checked_again_on_an_event_and_frees_what_it_blocked() {
    let mut world = World::new();
    world.graph("a b a>b");
    world.fails("a");
    world.said();
    world.touch("a");
    assert_eq!(world.said(), "run:a");
    assert_eq!(world.states(), "a:running b:pending");
    world.unchanged("a");
    assert_eq!(world.said(), "run:b");
}

#[test]
fn a_failed_successor_is_checked_again_when_its_predecessor_changed() {
    let mut world = World::settled("a b a>b");
    world.touch("b");
    world.fails("b");
    world.touch("a");
    world.unchanged("a");
    assert_eq!(world.said(), "run:b run:a", "nothing changed, so b stays failed");
    world.touch("a");
    world.changed("a");
    assert_eq!(world.said(), "run:a run:b");
}

#[test]
fn a_failed_successor_is_checked_again_when_its_predecessor_recovered() {
    let mut world = World::settled("a b a>b");
    world.touch("b");
    world.fails("b");
    world.touch("a");
    world.fails("a");
    world.said();
    world.touch("a");
    world.unchanged("a");
    assert_eq!(world.said(), "run:a run:b");
}

#[test]
fn a_run_that_fails_while_its_predecessor_changes_is_repeated() {
    let mut world = World::settled("a b a>b");
    world.touch("b");
    world.touch("a");
    world.changed("a");
    world.said();
    world.fails("b");
    assert_eq!(world.said(), "run:b");
    world.fails("b");
    assert_eq!(world.said(), "", "but only once");
}

#[test]
fn a_change_of_one_of_two_predecessors_refreshes_their_successor() {
    let mut world = World::settled("u1 u2 v u1>>v u2>>v");
    world.touch("u1");
    world.changed("u1");
    assert_eq!(world.said(), "run:u1 refresh:v", "u2 says nothing and is not asked");
    world.unchanged("v");
    world.touch("u1");
    world.unchanged("u1");
    assert_eq!(world.said(), "run:u1");
}

#[test]
fn a_change_along_a_plain_edge_refreshes_nobody() {
    let mut world = World::settled("a b a>b");
    world.touch("a");
    world.changed("a");
    assert_eq!(world.said(), "run:a");
    assert_eq!(world.states(), "a:ok b:ok");
}

#[test]
fn a_refresh_is_kept_until_a_run_that_saw_it_succeeded() {
    let mut world = World::settled("a b a>>b");
    world.touch("a");
    world.changed("a");
    world.fails("b");
    assert_eq!(world.said(), "run:a refresh:b", "it is not tried again by itself");
    world.touch("b");
    world.unchanged("b");
    assert_eq!(world.said(), "refresh:b");
    world.touch("b");
    assert_eq!(world.said(), "run:b");
}

#[test]
fn a_refresh_that_comes_during_a_run_leads_to_another_run() {
    let mut world = World::settled("a b a>>b");
    world.touch("b");
    world.touch("a");
    world.changed("a");
    world.unchanged("b");
    assert_eq!(world.said(), "run:b run:a refresh:b");
}

#[test]
fn what_was_only_looked_at_lets_others_run_and_notifies_nobody() {
    let mut world = World::new();
    world.graph("a! b a>>b");
    world.would_change("a");
    assert_eq!(world.said(), "watch:a watch:b run:a run:b");
    assert_eq!(world.states(), "a:would-change b:running");
    world.unchanged("b");
    assert!(world.engine.summary().is_clean());
    world.touch("a");
    world.changed("a");
    assert_eq!(world.said(), "run:a", "even if it claims a change");
}

#[test]
fn a_tick_is_a_change_and_its_edges_notify_even_unasked() {
    let mut world = World::new();
    world.graph("tick* exec tick>exec");
    world.unchanged("tick");
    assert_eq!(world.said(), "watch:exec watch:tick run:tick run:exec", "the first is no tick");
    world.unchanged("exec");
    for _ in 0..3 {
        world.touch("tick");
        world.unchanged("tick");
        world.unchanged("exec");
        assert_eq!(world.said(), "run:tick refresh:exec");
    }
    world.touch("tick");
    world.fails("tick");
    world.said();
    world.touch("tick");
    world.unchanged("tick");
    assert_eq!(world.said(), "run:tick refresh:exec");
}

#[test]
fn events_and_answers_of_another_life_are_dropped() {
    let mut world = World::new();
    world.graph("a b");
    let (old, run) = world.runs["a"].clone();
    world.fails("a");
    world.graph("a=2 b");
    world.unchanged("a");
    let states = world.states();
    world.said();
    let finished = |run| Event::Finished {
        vertex: old.clone(),
        run,
        result: Err("late".into()),
        sent: Fields::new(),
    };
    world.send(Event::Touched(old.clone()));
    world.send(Event::Watching { vertex: old.clone(), error: Some("late".into()) });
    world.send(finished(run));
    let (vertex, _) = world.runs["b"].clone();
    world.send(Event::Finished {
        vertex,
        run: RunId(99),
        result: Err("made up".into()),
        sent: Fields::new(),
    });
    assert_eq!(world.said(), "");
    assert_eq!(world.states(), states);
}

#[test]
fn an_engine_without_a_graph_takes_every_event_and_never_converges() {
    let mut engine = Engine::new(Options { converged_after: Some(std::time::Duration::ZERO) });
    for event in [Event::Due, Event::Pause, Event::Resume, Event::Due] {
        assert_eq!(engine.step(Timestamp::default(), event), []);
    }
    assert!(!engine.is_converged());
    let commands = engine.step(Timestamp::default(), Event::Graph(graph("").into()));
    assert_eq!(format!("{commands:?}"), "[Converged(true)]");
}

#[test]
fn pause_holds_back_new_runs_and_resume_catches_up() {
    let mut world = World::new();
    world.graph("a b a>b");
    world.send(Event::Pause);
    world.send(Event::Pause);
    world.unchanged("a");
    world.said();
    assert_eq!(world.state("b"), State::Pending);
    world.touch("a");
    assert_eq!(world.said(), "");
    world.send(Event::Resume);
    assert_eq!(world.said(), "run:a");
    world.send(Event::Resume);
    assert_eq!(world.said(), "");
}

/// The crash of the story: a worker that had failed for good was paused a second time.
#[test]
fn a_graph_with_failed_vertices_is_paused_and_swapped_as_often_as_you_like() {
    let mut world = World::new();
    world.graph("file other file>other");
    world.fails("file");
    for round in 0..3 {
        for event in [Event::Pause, Event::Pause, Event::Resume, Event::Resume] {
            world.send(event);
        }
        world.graph(&format!("file other file>other new={round}"));
        world.finish_all();
        assert_eq!(world.states(), "file:failed new:ok other:blocked");
    }
    world.graph("dir file other dir>file file>other");
    world.changed("dir");
    world.finish_all();
    assert_eq!(world.states(), "dir:ok file:ok other:ok");
}
