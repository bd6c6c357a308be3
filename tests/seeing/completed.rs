//! What shells offer when TAB is pressed, with the script that `quorate completions` prints.
//!
//! Refuses to guess for a shell that is not installed: bash is everywhere where tests run, the
//! others are asked where they are.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{PROGRAM, Site, wait_for};

/// Two exports, of which the name of one is a pattern that a file in the folder fits.
const EXPORTS: &str = "\
graph: site
resources:
  file:
  - name: '@@/out'
    content: x
  kv:
  - name: '@@ab'
    value: x
";

/// As bash does it: it asks the function that the script has named for `quorate`, with the words so
/// far and the place of the one that is to be completed.
const BASH: &str = r#"
source <(quorate completions bash)
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*"
COMP_POINT=${#COMP_LINE}
[[ $(complete -p quorate) =~ -F\ ([^ ]+) ]] || exit 1
"${BASH_REMATCH[1]}" quorate "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
for word in "${COMPREPLY[@]}"; do echo "$word"; done
"#;

/// What a completion calls has no other effect here than to print the words.
const ZSH: &str = r#"
compdef() { }
compadd() { shift; print -rl -- "$@" }
source <(quorate completions zsh)
"_quorate_$1"
"#;

const FISH: &str = r#"
quorate completions fish | source
# Without the descriptions; where there are none, nothing is replaced, and that is no failure.
complete -C "$argv" | string replace -r "\t.*" ""
true
"#;

/// A host with its agent's folder, where `quorate` is a command.
struct Desk(Site);

impl Desk {
    fn new() -> Desk {
        let site = Site::new();
        std::fs::create_dir(site.path("bin")).expect("a folder");
        std::os::unix::fs::symlink(PROGRAM, site.path("bin/quorate")).expect("a link");
        // What `kv[ab]` fits as a pattern.
        std::fs::write(site.path("kva"), "").expect("a file");
        Desk(site)
    }

    /// What the shell says to a script of ours; nothing when there is no such shell.
    fn asks(&self, shell: &str, script: &str, words: &[&str]) -> Option<BTreeSet<String>> {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(shell);
        match shell {
            "bash" => command.args(["--norc", "--noprofile", "-c", script, "bash"]),
            "zsh" => command.args(["-f", "-c", script, "zsh"]),
            _ => command.args(["--no-config", "-c", script]),
        };
        command.args(words).current_dir(self.0.path(""));
        command.env("PATH", format!("{}:{path}", self.0.path("bin").display()));
        let output = command.env("QUORATE_PREFIX", self.0.path("state")).output().ok()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{shell} {words:?}: {said}");
        Some(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }

    fn bash(&self, words: &[&str]) -> BTreeSet<String> {
        self.asks("bash", BASH, words).expect("bash is installed where these tests run")
    }
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_shell_completes_hosts_and_exports_from_what_the_agent_knows() {
    let desk = Desk::new();
    desk.0.write("site.yaml", EXPORTS);
    let _agent = desk.0.agent(&["yaml", "DIR/site.yaml"]);
    let exports = ["quorate", "exports", "get", ""];
    let (file, kv) = ("file[/out]", "kv[ab]");
    wait_for(10, "both are exported", || {
        Some(desk.bash(&exports)).filter(|words| *words == set(&[file, kv]))
    });
    for (words, want) in [
        (&["quorate", "exports", "--from", ""][..], &["h1"][..]),
        (&["quorate", "exports", "--from", "h"], &["h1"]),
        (&["quorate", "exports", "--from", "x"], &[]),
        (&["quorate", "collect", "explain", "--on", ""], &["h1"]),
        (&["quorate", "host", "label", ""], &["h1"]),
        (&["quorate", "host", "decommission", "h"], &["h1"]),
        (&["quorate", "exports", "get", "k"], &[kv]),
        (&["quorate", "collect", "explain", "f"], &[file]),
        (&["quorate", "ru"], &["run"]),
        (&["quorate", "run", "--ideal"], &["--ideal-cluster-size"]),
    ] {
        assert_eq!(desk.bash(words), set(want), "{words:?}");
    }
    for (what, want) in [("hosts", &["h1"][..]), ("exports", &[file, kv])] {
        let words = desk.asks("zsh", ZSH, &[what]);
        assert!(words.is_none_or(|words| words == set(want)), "zsh: {what}");
    }
    for (line, want) in [
        ("quorate exports --from ", &["h1"][..]),
        ("quorate host label ", &["h1"]),
        ("quorate exports get k", &[kv]),
    ] {
        let words = desk.asks("fish", FISH, &[line]);
        assert!(words.is_none_or(|words| words == set(want)), "fish: {line}");
    }
}

#[test]
fn without_an_agent_a_shell_is_answered_at_once_and_flags_are_completed_all_the_same() {
    let desk = Desk::new();
    let began = Instant::now();
    assert_eq!(desk.bash(&["quorate", "exports", "--from", ""]), set(&[]));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(desk.bash(&["quorate", "run", "--no-w"]), set(&["--no-watch"]));
}
