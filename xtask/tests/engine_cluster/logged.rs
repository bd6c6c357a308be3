//! What the nodes wrote, in the order of time.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Named, engine_there};

/// How many lines each node writes.
const LINES: usize = 1000;
/// Has a node's first process say them, as if its agent did.
const WRITE: &str =
    "i=0; while [ $i -lt 1000 ]; do i=$((i+1)); echo \"stamped $i\"; done >/proc/1/fd/1";

/// The stamp of a line, as far as it is one that was written here.
fn stamp(line: &str) -> Option<(&str, &str)> {
    let (stamp, rest) = line.split_once(' ')?;
    rest.contains(" | stamped ").then_some((stamp, rest))
}

fn seconds(stamp: &str) -> f64 {
    let time = stamp.split_once('T').unwrap().1.trim_end_matches('Z');
    time.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
}

#[test]
fn engine_what_nodes_write_comes_in_the_order_of_time() {
    if !engine_there("the order of logs") {
        return;
    }
    let demo = Named::new("logs");
    demo.expect(0, &["up", "--wait", "60s"]);
    let mut follow = demo.command(&["logs", "-f", "--utc", "--since", "1s"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    let followed = BufReader::new(follow.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let lines = followed.lines().map_while(Result::ok);
        lines.filter(|line| stamp(line).is_some()).take(3 * LINES).collect::<Vec<String>>()
    });
    demo.expect(0, &["exec", "--all", "--", WRITE]);
    let begun = Instant::now();
    while !reader.is_finished() {
        assert!(begun.elapsed() < Duration::from_secs(20), "what is written does not come");
        std::thread::yield_now();
    }
    let live = reader.join().unwrap();
    kill(Pid::from_raw(follow.id() as i32), Signal::SIGINT).unwrap();
    follow.wait().unwrap();
    assert_eq!(live.len(), 3 * LINES);
    let times: Vec<f64> = live.iter().filter_map(|line| Some(seconds(stamp(line)?.0))).collect();
    // Beyond the window in which a line waits for older ones of other nodes.
    let mut latest = 0.0_f64;
    let mut late = 0;
    for time in times {
        late += usize::from(time < latest - 0.25);
        latest = latest.max(time);
    }
    eprintln!("{late} of {} lines came late", 3 * LINES);
    assert!(late <= 3 * LINES / 100, "{late} lines");

    let text = demo.expect(0, &["logs", "--utc"]);
    let all: Vec<(&str, &str)> = text.lines().filter_map(stamp).collect();
    assert_eq!(all.len(), 3 * LINES);
    assert!(all.is_sorted_by_key(|(stamp, _)| *stamp), "not in the order of time");
    for node in ["h1", "h2", "h3"] {
        let own: Vec<&str> = (all.iter())
            .filter_map(|(_, line)| line.strip_prefix(&format!("{node} | stamped ")))
            .collect();
        let wanted: Vec<String> = (1..=LINES).map(|n| n.to_string()).collect();
        assert_eq!(own, wanted, "of {node}");
    }
    assert!(!text.contains('\u{1b}'), "colours in a pipe");
    colours(&demo);
}

/// On a terminal each node has its own colour, the same each time, unless nobody wants any.
fn colours(demo: &Named) {
    let xtask = env!("CARGO_BIN_EXE_xtask");
    let seen = |colour: &str| {
        let line = format!("{colour} {xtask} cluster --name {} logs", demo.0);
        let mut script = std::process::Command::new("script");
        let output = script.args(["-qec", &line, "/dev/null"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let first = seen("env -u NO_COLOR");
    let of = |text: &str, node: &str| {
        let line = text.lines().find(|line| line.contains(&format!("m{node} |"))).unwrap();
        line.split('m').next().unwrap().to_owned()
    };
    for node in ["h1", "h2", "h3"] {
        assert_eq!(of(&first, node), of(&seen("env -u NO_COLOR"), node));
    }
    assert_ne!(of(&first, "h1"), of(&first, "h2"));
    assert!(!seen("NO_COLOR=1").contains('\u{1b}'));
}
