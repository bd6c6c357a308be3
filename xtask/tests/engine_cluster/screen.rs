//! The watched status on a terminal of its own: what it shows, and that the terminal is put back.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Named, engine_there};

#[test]
fn engine_a_watched_status_shows_the_cluster_and_puts_the_terminal_back() {
    if !engine_there("status --watch") {
        return;
    }
    let demo = Named::new("watch");
    demo.expect(0, &["up", "--nodes", "2", "--voters", "1", "--wait", "60s"]);
    for key in [b"q", b"\x03"] {
        let watch = format!(
            "stty rows 30 cols 120; stty -g; {} cluster --name {} status --watch; \
             echo \"code $?\"; stty -g",
            env!("CARGO_BIN_EXE_xtask"),
            demo.0
        );
        let mut script = Command::new("script");
        script.args(["-qec", &watch, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut terminal = script.spawn().unwrap();
        let mut keys = terminal.stdin.take().unwrap();
        let mut out = terminal.stdout.take().unwrap();
        let (sender, shown) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let (mut all, mut piece) = (Vec::new(), [0; 4096]);
            while let Ok(count @ 1..) = out.read(&mut piece) {
                all.extend_from_slice(&piece[..count]);
                if sender.send(String::from_utf8_lossy(&all).into_owned()).is_err() {
                    return;
                }
            }
        });
        let mut text = String::new();
        while !(text.contains("healthy") && text.contains("ctrl-c ends it")) {
            text = shown.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| {
                panic!("the screen does not come: {text}");
            });
        }
        keys.write_all(key).unwrap();
        for more in shown.iter() {
            text = more;
        }
        assert!(terminal.wait().unwrap().success());
        for part in ["\u{1b}[?1049h", "\u{1b}[?1049l", "leader", "h2", "faults", "code 0"] {
            assert!(text.contains(part), "{part} is not in\n{text:?}");
        }
        let settings: Vec<&str> =
            text.lines().map(str::trim).filter(|line| line.matches(':').count() > 20).collect();
        assert_eq!(settings.len(), 2, "{text:?}");
        assert_eq!(settings[0], settings[1], "the terminal is not as it was");
    }
}
