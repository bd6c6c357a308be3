//! One claim for each meta parameter, and for what is sent.

use std::time::Duration;

use super::super::{Attempt, Event, State, Timestamp};
use super::world::World;

fn at(millis: u64) -> Timestamp {
    Timestamp(Duration::from_millis(millis))
}

/// The next attempt of the only vertex.
fn attempt(world: &World) -> Option<Attempt> {
    world.engine.vertices().next().unwrap().retry
}

#[test]
fn a_failed_run_is_repeated_so_often_and_so_far_apart_as_it_says() {
    let mut world = World::new();
    world.graph("a@retry/2,delay/5000 b a>b");
    world.fails("a");
    assert_eq!(world.states(), "a:failed b:blocked");
    assert_eq!(attempt(&world), Some(Attempt { at: at(5_000), left: Some(2) }));
    world.said();
    world.pass(4_999);
    assert_eq!(world.said(), "");
    world.pass(1);
    assert_eq!(world.said(), "run:a");
    world.fails("a");
    assert_eq!(attempt(&world), Some(Attempt { at: at(10_000), left: Some(1) }));
    world.pass(5_000);
    world.fails("a");
    assert_eq!(attempt(&world), None, "it has failed for good");
    world.pass(60_000);
    assert_eq!(world.said(), "run:a");
}

#[test]
fn attempts_without_a_delay_or_without_an_end_back_off_from_a_second() {
    for metas in ["retry/4", "forever", "forever,delay/3"] {
        let mut world = World::new();
        world.graph(&format!("a@{metas}"));
        for wait in [1_000, 2_000, 4_000] {
            world.fails("a");
            assert_eq!(attempt(&world).unwrap().at, world.now.after(at(wait).0), "{metas}");
            world.pass(wait);
        }
    }
}

#[test]
fn an_event_on_a_failed_vertex_checks_at_once_and_counts_anew() {
    let mut world = World::new();
    world.graph("a@retry/2,delay/5000");
    world.fails("a");
    world.pass(5_000);
    world.fails("a");
    world.said();
    world.touch("a");
    assert_eq!(world.said(), "run:a");
    world.fails("a");
    assert_eq!(attempt(&world).unwrap().left, Some(2));
    world.pass(5_000);
    world.fails("a");
    world.pass(5_000);
    world.fails("a");
    assert_eq!(attempt(&world), None);
    world.said();
    world.touch("a");
    assert_eq!(world.said(), "run:a", "nor is it ever dead");
}

#[test]
fn a_good_run_gives_the_attempts_back_unless_they_are_kept() {
    for (metas, left) in [("retry/1,delay/1", Some(1)), ("retry/1,delay/1,keep", None)] {
        let mut world = World::new();
        world.graph(&format!("a@{metas}"));
        world.fails("a");
        world.pass(1);
        world.unchanged("a");
        world.touch("a");
        world.fails("a");
        assert_eq!(attempt(&world).map(|next| next.left), left.map(Some), "{metas}");
    }
}

#[test]
fn who_has_a_last_attempt_ahead_is_not_quiet_and_who_repeats_for_ever_has_failed() {
    let mut world = World::new();
    world.graph("a@retry/1,delay/5000");
    world.fails("a");
    world.pass(4_000);
    assert!(!world.engine.is_converged() && !world.engine.is_quiescent());
    world.pass(1_000);
    world.fails("a");
    world.pass(1_000);
    assert!(world.engine.is_converged());

    let mut world = World::new();
    world.graph("a@forever,delay/5000");
    world.fails("a");
    world.pass(1_000);
    assert!(world.engine.is_converged());
    assert_eq!(world.engine.summary().failed.len(), 1, "which is what the exit code says");
}

#[test]
fn a_wait_for_an_attempt_is_paused_swapped_and_stopped_like_any_other_state() {
    let mut world = World::new();
    world.graph("a@retry/1,delay/500");
    world.fails("a");
    world.said();
    for event in [Event::Pause, Event::Pause] {
        world.send(event);
    }
    world.pass(500);
    assert_eq!((world.said(), world.states()), (String::new(), "a:pending".to_owned()));
    world.send(Event::Resume);
    assert_eq!(world.said(), "run:a");
    world.fails("a");
    let mut world = World::new();
    world.graph("a@retry/1,delay/500");
    world.fails("a");
    world.graph("a@retry/1,delay/500 b");
    assert_eq!(attempt(&world).unwrap().at, at(500), "a kept vertex keeps its wait");
    world.unchanged("b");
    world.said();
    world.send(Event::Stop);
    assert_eq!(world.said(), "stopped");
}

#[test]
fn a_new_graph_starts_what_failed_anew_only_if_it_asks_for_it() {
    for (metas, said) in [("", "run:b"), ("@rewatch", "unwatch:a watch:a watch:b run:a run:b")] {
        let mut world = World::new();
        world.graph(&format!("a{metas}"));
        world.fails("a");
        world.said();
        world.graph(&format!("a{metas}"));
        assert_eq!(world.said(), "", "an equal graph changes nothing");
        world.graph(&format!("a{metas} b"));
        assert!(world.said().ends_with(said), "{metas}");
    }
}

#[test]
fn everything_that_failed_is_checked_again_when_asked() {
    let mut world = World::new();
    world.graph("a b@retry/1,delay/5000 c d d>e e");
    world.fails("a");
    world.fails("b");
    world.unchanged("c");
    world.fails("d");
    world.said();
    world.send(Event::Revive);
    assert_eq!(world.said(), "run:a run:b run:d");
}

#[test]
fn a_burst_of_events_runs_at_once_and_the_rest_one_at_a_time() {
    let mut world = World::settled("a@limit/5000/2");
    for _ in 0..2 {
        world.touch("a");
        world.unchanged("a");
    }
    assert_eq!(world.said(), "run:a run:a");
    for _ in 0..3 {
        world.touch("a");
    }
    assert_eq!((world.said(), world.states()), (String::new(), "a:pending".to_owned()));
    world.pass(4_999);
    assert_eq!(world.said(), "");
    world.pass(1);
    assert_eq!(world.said(), "run:a", "one token for all three");
    world.unchanged("a");
    world.pass(60_000);
    assert_eq!(world.said(), "", "and none is owed");
}

#[test]
fn refreshes_and_first_runs_need_no_token() {
    let mut world = World::settled("a b@limit/5000/1 a>>b");
    for _ in 0..3 {
        world.touch("a");
        world.changed("a");
        world.unchanged("b");
    }
    assert_eq!(world.said(), "run:a refresh:b run:a refresh:b run:a refresh:b");
}

/// Of ten edits in a row, each of which is healed, five are healed at once: the events that the
/// healing itself makes cost nothing.
#[test]
fn what_a_run_does_to_itself_costs_no_token() {
    let mut world = World::settled("a@limit/5000/5");
    let mut healed = 0;
    for _ in 0..10 {
        world.touch("a");
        if world.runs.contains_key("a") {
            healed += 1;
            world.touch("a");
            world.changed("a");
            world.finish_all();
        }
    }
    assert_eq!(healed, 5);
}

/// Nor does it help to come before the echo and be taken for it.
#[test]
fn what_was_no_echo_is_paid_afterwards() {
    let mut world = World::settled("a@limit/5000/4");
    let mut healed = 0;
    for _ in 0..100 {
        world.touch("a");
        if world.runs.contains_key("a") {
            healed += 1;
            world.changed("a");
        }
    }
    assert_eq!(healed, 4);
    world.pass(4_999);
    assert!(world.runs.is_empty());
    world.pass(1);
    assert!(world.runs.contains_key("a"));
}

#[test]
fn who_polls_looks_at_once_and_then_every_so_often() {
    let mut world = World::new();
    world.graph("a@poll/5000");
    assert_eq!(world.said(), "watch:a run:a");
    world.unchanged("a");
    world.pass(4_999);
    assert_eq!(world.said(), "");
    world.pass(1);
    assert_eq!(world.said(), "run:a");
    world.unchanged("a");
    world.pass(60_000);
    assert_eq!(world.said(), "run:a", "what was missed is not made up for");
    world.unchanged("a");
    world.pass(5_000);
    assert_eq!(world.said(), "run:a");
}

#[test]
fn to_look_every_so_often_is_no_work_that_convergence_waits_for() {
    let mut world = World::new();
    world.graph("a@poll/500 b a>b");
    world.unchanged("a");
    world.unchanged("b");
    world.pass(500);
    assert_eq!(world.said(), "watch:a watch:b run:a run:b run:a");
    assert!(world.engine.is_quiescent(), "it only looks");
    world.unchanged("a");
    world.pass(500);
    assert!(world.engine.is_converged(), "after a second, though it looks twice in it");
    world.changed("a");
    assert!(!world.engine.is_converged(), "it found something to do");
    world.pass(500);
    world.unchanged("a");
    world.pass(500);
    assert!(world.engine.is_converged());
    world.touch("a");
    assert!(!world.engine.is_quiescent(), "what happens during a look is work");
    world.unchanged("a");
    world.unchanged("a");
    world.pass(1_000);
    assert!(world.engine.is_converged());
    world.fails("a");
    world.pass(500);
    assert!(!world.engine.is_quiescent() || world.runs.is_empty(), "who failed does not only look");
}

/// Found as schedule 27697: two of them took turns and were never quiet.
#[test]
fn to_look_every_so_often_gives_no_attempts_back() {
    let mut world = World::new();
    world.graph("a@poll/1300,retry/1,delay/400");
    world.fails("a");
    world.pass(400);
    world.fails("a");
    assert_eq!(attempt(&world), None);
    world.pass(900);
    world.fails("a");
    assert_eq!(attempt(&world), None, "it is looked at again, but that is all");
    assert!(world.engine.is_quiescent());
}

#[test]
fn a_lock_is_held_by_so_many_and_passed_on_in_the_order_of_asking() {
    let mut world = World::new();
    world.graph("a@sema/x:2 b@sema/x:2 c@sema/x:2 d@sema/x:2 e");
    world.said();
    assert_eq!(world.states(), "a:running b:running c:pending d:pending e:running");
    world.touch("a");
    world.unchanged("a");
    assert_eq!(world.said(), "run:c", "a wants it again, but d asked first");
    world.unchanged("b");
    assert_eq!(world.said(), "run:d");
    world.fails("c");
    assert_eq!(world.said(), "run:a", "a failure lets go of it too");
}

#[test]
fn two_texts_are_two_locks() {
    let mut world = World::new();
    world.graph("a@sema/x b@sema/x:1 c@sema/x");
    assert_eq!(world.states(), "a:running b:running c:pending");
}

#[test]
fn who_wants_two_locks_gets_both_or_none_and_is_not_overtaken() {
    let mut world = World::new();
    world.graph("a@sema/x b@sema/y c@sema/x,sema/y d@sema/x");
    world.said();
    world.unchanged("a");
    assert_eq!(world.said(), "", "y is not free, and d came after c");
    world.unchanged("b");
    assert_eq!(world.said(), "run:c");
    world.unchanged("c");
    assert_eq!(world.said(), "run:d");
}

#[test]
fn a_lock_is_not_held_while_waiting_for_anything_else() {
    let mut world = World::new();
    world.graph("a@sema/x,retry/3,delay/5000 b@sema/x c@sema/x,limit/5000/1 d p p>d");
    world.fails("a");
    world.unchanged("b");
    world.unchanged("c");
    assert_eq!(world.said(), "watch:a watch:b watch:c watch:d watch:p run:a run:p run:b run:c");
}

#[test]
fn a_vertex_that_left_keeps_its_lock_until_its_run_ends() {
    let mut world = World::new();
    world.graph("a@sema/x b@sema/x");
    world.graph("b@sema/x");
    assert_eq!(world.state("b"), State::Pending);
    world.unchanged("a");
    assert_eq!(world.state("b"), State::Running);
}

#[test]
fn a_run_beyond_its_time_is_cancelled_once_and_has_failed_whatever_it_says() {
    let mut world = World::new();
    world.graph("a@timeout/250 b a>>b");
    world.said();
    world.pass(249);
    assert_eq!(world.said(), "");
    world.pass(1);
    assert_eq!(world.said(), "cancel:a");
    world.pass(1_000);
    world.send(Event::Hurry);
    assert_eq!(world.said(), "", "it knows");
    world.changed("a");
    assert_eq!(world.engine.summary().failed[0].error, "no result within 250 ms");
}

#[test]
fn what_a_late_run_changed_is_passed_on_by_the_next_good_one() {
    let mut world = World::settled("a@timeout/250 b a>>b");
    world.touch("a");
    world.pass(250);
    world.changed("a");
    world.touch("a");
    world.unchanged("a");
    assert_eq!(world.said(), "run:a cancel:a run:a refresh:b");
}

#[test]
fn a_vertex_that_left_is_still_cancelled_in_time() {
    let mut world = World::new();
    world.graph("a@timeout/250");
    world.graph("");
    world.said();
    world.pass(250);
    assert_eq!(world.said(), "cancel:a");
    world.unchanged("a");
    world.pass(1_000);
    assert!(world.engine.is_converged());
}

#[test]
fn a_value_is_received_by_the_run_after_and_another_one_is_a_reason_to_run() {
    let mut world = World::new();
    world.graph("a b b<a");
    world.sends("a", 1);
    assert_eq!(world.said(), "watch:a watch:b run:a run:b(1)");
    world.unchanged("b");
    world.touch("a");
    world.sends("a", 1);
    assert_eq!(world.said(), "run:a", "the same value is no news");
    world.touch("a");
    world.sends("a", 2);
    assert_eq!(world.said(), "run:a run:b(2)");
}

#[test]
fn a_sender_that_never_sent_only_runs_first() {
    let mut world = World::new();
    world.graph("a b b<a");
    world.unchanged("a");
    assert_eq!(world.said(), "watch:a watch:b run:a run:b");
}

#[test]
fn what_was_sent_is_kept_with_its_vertex_across_graphs() {
    let mut world = World::new();
    world.graph("a b b<a");
    world.sends("a", 1);
    world.unchanged("b");
    world.graph("a b=2 b<a");
    world.unchanged("b");
    world.touch("a");
    world.finish_all();
    assert!(world.said().ends_with("unwatch:b watch:b run:b(1) run:a"));
    world.graph("a=2 b=2 b<a");
    world.sends("a", 1);
    assert_eq!(world.said(), "unwatch:a watch:a run:a run:b(1)", "a new sender is asked anew");
}

#[test]
fn a_failed_run_sends_nothing() {
    let mut world = World::settled("a@timeout/250 b b<a");
    world.touch("a");
    world.pass(250);
    world.sends("a", 1);
    world.touch("a");
    world.unchanged("a");
    assert_eq!(world.said(), "run:a cancel:a run:a");
}
