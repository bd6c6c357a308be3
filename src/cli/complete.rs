//! Completion in shells: the scripts, and the words in them that only the store knows.
//!
//! Refuses to hang (a shell waits for it), to say why it knows nothing, and to offer a word that a
//! shell could read as more than a word: other hosts choose the names of their exports.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use clap_complete::Shell;

use super::agents::Which;
use super::site::ask;
use crate::collect::request::{Answer, Request};

/// How long a person may wait who has pressed a key.
const PATIENCE: Duration = Duration::from_secs(1);

/// Arguments of `complete`, which scripts call.
#[derive(clap::Args)]
pub(super) struct Args {
    what: What,
    #[command(flatten)]
    which: Which,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    /// The hosts of the site.
    Hosts,
    /// What is exported, as KIND[NAME].
    Exports,
}

/// Prints the words that there are, one a line; nothing when no agent answers in time.
pub(super) fn run(args: Args) -> ExitCode {
    let (to, from) = mpsc::channel();
    std::thread::spawn(move || to.send(words(&args)));
    let words = from.recv_timeout(PATIENCE).unwrap_or_default();
    let text: String = words.iter().map(|word| format!("{word}\n")).collect();
    super::exit_after(std::io::stdout().write_all(text.as_bytes()))
}

fn words(args: &Args) -> BTreeSet<String> {
    let request = match args.what {
        What::Hosts => Request::Hosts,
        What::Exports => Request::Exports { from: None, channel: None, kind: None, in_full: false },
    };
    let all: Vec<String> = match ask(&args.which, &request) {
        Ok(Answer::Hosts(hosts)) => hosts.into_iter().map(|row| row.host).collect(),
        Ok(Answer::Exports(listing)) => {
            listing.rows.iter().map(|row| format!("{}[{}]", row.kind, row.name)).collect()
        }
        _ => Vec::new(),
    };
    all.into_iter().filter(|word| is_plain(word)).collect()
}

/// Whether no shell finds anything in it but a word.
fn is_plain(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._/@+-[]".contains(&byte))
}

/// A shell's script with the words of the store.
pub(super) fn script(shell: Shell, command: &mut clap::Command) -> String {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, command, "quorate", &mut bytes);
    let script = String::from_utf8_lossy(&bytes).into_owned();
    match shell {
        Shell::Bash => {
            script.replace("complete -F _quorate ", "complete -F _quorate_words ") + BASH
        }
        Shell::Fish => script + FISH,
        Shell::Zsh => script
            .replace(":HOST:_default", ":HOST:_quorate_hosts")
            .replace("':host -- The host:_default'", "':host -- The host:_quorate_hosts'")
            .replace("KIND\\[NAME\\]:_default'", "KIND\\[NAME\\]:_quorate_exports'")
            .replacen("#compdef quorate\n", ZSH, 1),
        _ => script,
    }
}

const BASH: &str = r#"
_quorate_words() {
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" what="" word
    case "${prev}" in
        --from | --on | label | decommission) what=hosts ;;
        get | explain) [[ "${cur}" == -* ]] || what=exports ;;
    esac
    if [[ -n "${what}" ]]; then
        # One by one: a list of words would be expanded, and KIND[NAME] is a pattern of files.
        COMPREPLY=()
        while IFS= read -r word; do
            COMPREPLY+=("${word}")
        done < <(compgen -W "$(quorate complete ${what} 2>/dev/null)" -- "${cur}")
        return 0
    fi
    _quorate "$@"
}
"#;

/// In fish: which words of the command line say that a host or an export comes.
const FISH: &str = r#"
function __quorate_words
    quorate complete $argv 2>/dev/null
end
set -l seen __fish_seen_subcommand_from
complete -c quorate -n "$seen exports collect" -l from -x -a "(__quorate_words hosts)"
complete -c quorate -n "$seen collect" -l on -x -a "(__quorate_words hosts)"
complete -c quorate -n "$seen label decommission" -f -a "(__quorate_words hosts)"
complete -c quorate -n "$seen get explain" -f -a "(__quorate_words exports)"
"#;

const ZSH: &str = r#"#compdef quorate

_quorate_hosts() { compadd -- ${(f)"$(quorate complete hosts 2>/dev/null)"} }
_quorate_exports() { compadd -- ${(f)"$(quorate complete exports 2>/dev/null)"} }
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn made(shell: Shell) -> String {
        script(shell, &mut super::super::Cli::command())
    }

    #[test]
    fn what_another_host_named_is_no_command_in_a_shell() {
        for word in ["web1", "file[/etc/a.b]", "kv[a_b-c+d@e]"] {
            assert!(is_plain(word), "{word}");
        }
        for word in ["file[$(id)]", "file[`id`]", "a b", "a;b", "a\nb", "a*", "a'b", "a\"b", "a\\b"]
        {
            assert!(!is_plain(word), "{word}");
        }
    }

    #[test]
    fn the_scripts_ask_for_hosts_and_exports() {
        let bash = made(Shell::Bash);
        assert_eq!(bash.matches("complete -F _quorate_words ").count(), 2, "both versions of bash");
        assert!(!bash.contains("complete -F _quorate "));
        let zsh = made(Shell::Zsh);
        assert!(zsh.starts_with("#compdef quorate\n\n_quorate_hosts()"));
        assert!(!zsh.contains(":HOST:_default"));
        for wanted in ["The host:_quorate_hosts'", "NAME\\]:_quorate_exports'"] {
            assert!(zsh.contains(wanted), "{wanted}");
        }
        assert!(made(Shell::Fish).contains("(__quorate_words hosts)"));
        assert!(!made(Shell::Elvish).contains("quorate complete"));
    }
}
