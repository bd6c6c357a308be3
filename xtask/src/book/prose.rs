//! Words in running text that name a verb or a flag of ours: whether there are such ones. Pure.
//!
//! Only text in backticks is looked at, and only what begins with our programs' names or is a flag.
//! The agent's verbs and flags are read from its own completions, since it is not linked.

use std::collections::{BTreeMap, BTreeSet};

use pulldown_cmark::{Event, Parser};

use super::block::{Action, Chapter};
use super::problem::{self, At, Problem};

/// What a program, or one verb of it, takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verbs {
    below: BTreeMap<String, Verbs>,
    flags: BTreeSet<String>,
}

/// How a reader calls the toolkit.
const TOOLKIT: &str = "cargo xtask";
/// How a reader calls the agent.
const AGENT: &str = "quorate";
/// What every verb has, so that nobody can rename it.
const HELP: &str = "--help";

/// Both programs.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    toolkit: Verbs,
    agent: Verbs,
}

impl Verbs {
    /// From our own command line.
    pub(crate) fn of_command(command: &clap::Command) -> Verbs {
        let mut verbs = Verbs::default();
        verbs.add(command, &BTreeSet::new());
        verbs
    }

    fn add(&mut self, command: &clap::Command, above: &BTreeSet<String>) {
        let mut global = above.clone();
        self.flags.insert(HELP.to_owned());
        self.flags.extend(above.iter().cloned());
        for argument in command.get_arguments() {
            let names = argument.get_long_and_visible_aliases().unwrap_or_default();
            let names = names.into_iter().map(|name| format!("--{name}"));
            let names: Vec<String> = names.collect();
            if argument.is_global_set() {
                global.extend(names.iter().cloned());
            }
            self.flags.extend(names);
        }
        for verb in command.get_subcommands() {
            self.below.entry(verb.get_name().to_owned()).or_default().add(verb, &global);
        }
    }

    /// From what `quorate completions bash` prints: which word leads from which state to which, and
    /// what may be written in each.
    pub(crate) fn of_completions(text: &str) -> Verbs {
        let mut steps: Vec<(&str, &str, &str)> = Vec::new();
        let mut options: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        let (mut label, mut at) = ("", None);
        for line in text.lines().map(str::trim) {
            if let Some(found) = line.strip_suffix(')') {
                label = found;
                at = found.split_once(',');
            } else if let Some(next) = quoted(line, "cmd=") {
                steps.extend(at.map(|(from, word)| (from, word, next)));
            } else if let Some(list) = quoted(line, "opts=") {
                let flags = list.split(' ').filter(|word| word.starts_with("--"));
                options.entry(label).or_default().extend(flags.map(str::to_owned));
            }
        }
        let mut verbs = Verbs::default();
        verbs.walk(AGENT, &steps, &options, 0);
        verbs
    }

    fn walk(
        &mut self,
        state: &str,
        steps: &[(&str, &str, &str)],
        options: &BTreeMap<&str, BTreeSet<String>>,
        depth: usize,
    ) {
        self.flags = options.get(state).cloned().unwrap_or_default();
        self.flags.insert(HELP.to_owned());
        // Help of help of help has no end that anybody needs.
        if depth > 4 {
            return;
        }
        for (from, word, next) in steps {
            if *from == state && *word != "help" {
                let below = self.below.entry((*word).to_owned()).or_default();
                below.walk(next, steps, options, depth + 1);
            }
        }
    }

    /// Whether anything was read at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.below.is_empty()
    }

    fn anywhere(&self, flag: &str) -> bool {
        self.flags.contains(flag) || self.below.values().any(|verbs| verbs.anywhere(flag))
    }

    /// How many verbs have a flag.
    fn owners(&self, flag: &str) -> usize {
        let below: usize = self.below.values().map(|verbs| verbs.owners(flag)).sum();
        below + usize::from(self.flags.contains(flag))
    }

    /// The verb that words name, as deep as they go.
    fn named(&self, words: &str) -> &Verbs {
        words.split_whitespace().fold(self, |here, word| here.below.get(word).unwrap_or(here))
    }

    fn all_flags(&self) -> BTreeSet<&str> {
        let below = self.below.values().flat_map(Verbs::all_flags);
        self.flags.iter().map(String::as_str).chain(below).collect()
    }

    /// What is wrong with words that follow the program's name.
    fn wrong(&self, words: &[&str]) -> Option<String> {
        let (mut here, mut named) = (self, Vec::new());
        let (mut deepest, mut value) = (true, false);
        for word in words {
            if *word == "--" {
                return None;
            }
            if word.starts_with("--") {
                let flag = word.split('=').next().unwrap_or(word);
                if !here.anywhere(flag) {
                    let known: Vec<&str> = here.all_flags().into_iter().collect();
                    let place = if named.is_empty() { String::new() } else { named.join(" ") };
                    return Some(unknown(&format!("flag of `{}`", place), flag, &known));
                }
                // What follows may be its value, if it is not a part of the flag's own word.
                value = !word.contains('=');
                continue;
            }
            let after_flag = std::mem::replace(&mut value, false);
            if let Some(next) = here.below.get(*word) {
                (here, deepest) = (next, true);
                named.push(*word);
                continue;
            }
            if after_flag {
                continue;
            }
            let plain = word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            if deepest && plain && !here.below.is_empty() && !word.is_empty() {
                let known: Vec<&str> = here.below.keys().map(String::as_str).collect();
                return Some(unknown("verb", word, &known));
            }
            deepest = false;
        }
        None
    }
}

fn quoted<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.strip_prefix(name)?.strip_prefix('"')?.strip_suffix('"')
}

fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    match problem::nearest(word, known) {
        Some(near) => format!("the text names {word}, and there is no such {what}; {near}?"),
        None => format!("the text names {word}, and there is no such {what}"),
    }
}

impl Programs {
    /// Both.
    pub(crate) fn new(toolkit: Verbs, agent: Verbs) -> Programs {
        Programs { toolkit, agent }
    }

    /// The verbs that commands name.
    fn named<'a>(&self, commands: impl Iterator<Item = &'a str>) -> Vec<&Verbs> {
        let parts =
            commands.flat_map(|command| command.split(['|', '&', ';', '\n'])).map(str::trim);
        let programs = [(TOOLKIT, &self.toolkit), (AGENT, &self.agent)];
        let verb = |part: &str| {
            programs.iter().find_map(|(name, program)| {
                let rest = part.strip_prefix(name).filter(|rest| starts(rest))?;
                Some(program.named(rest))
            })
        };
        parts.filter_map(verb).collect()
    }

    /// What is wrong with a text in backticks, if it is about our programs. `named` are the verbs
    /// of the page.
    fn judge(&self, code: &str, named: &[&Verbs]) -> Option<String> {
        let words =
            |rest: &str| -> Vec<String> { rest.split_whitespace().map(str::to_owned).collect() };
        let check = |verbs: &Verbs, rest: &str| {
            let words = words(rest);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            // A command in a node is a command of ours too.
            let inner = words.iter().position(|word| *word == "--");
            let inner = inner.and_then(|at| self.judge(&words.get(at + 1..)?.join(" "), named));
            verbs.wrong(&words).or(inner)
        };
        if let Some(rest) = code.strip_prefix(TOOLKIT).filter(|rest| starts(rest)) {
            return check(&self.toolkit, rest);
        }
        if let Some(rest) = code.strip_prefix(AGENT).filter(|rest| starts(rest)) {
            return check(&self.agent, rest);
        }
        if let Some(whole) = self.shortened(code) {
            return Some(format!("the text names `{code}` without its program; write `{whole}`"));
        }
        let flag = code.split([' ', '=']).next().filter(|word| word.starts_with("--"))?;
        if flag.len() < 3 || flag == HELP {
            return None;
        }
        match self.toolkit.owners(flag) + self.agent.owners(flag) {
            0 => {}
            1 => return None,
            _ if named.iter().any(|verb| verb.flags.contains(flag)) => return None,
            // Renamed in the one that is meant, it would still be there in another one.
            _ => {
                return Some(format!(
                    "the text names {flag}, which several verbs have and none that this page \
                     names; write it with its verb"
                ));
            }
        }
        let known: Vec<&str> =
            self.agent.all_flags().into_iter().chain(self.toolkit.all_flags()).collect();
        Some(unknown("flag of ours", flag, &known))
    }
}

impl Programs {
    /// The whole command, where a text is the last part of one: a verb and what it takes. What has
    /// not its program's name could be renamed without being noticed here.
    fn shortened(&self, code: &str) -> Option<String> {
        let mut words = code.split_whitespace();
        let (verb, next) = (words.next()?, words.next()?);
        let begins = |program: &Verbs| {
            let below = program.below.get(verb)?;
            (below.below.contains_key(next) || below.flags.contains(next)).then_some(())
        };
        let named = [(AGENT, &self.agent), (TOOLKIT, &self.toolkit)];
        let (name, _) = named.into_iter().find(|(_, program)| begins(program).is_some())?;
        Some(format!("{name} {code}"))
    }
}

/// Whether a program's name ends here.
fn starts(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(' ')
}

/// Everything in a chapter's running text that names what is not there.
pub(crate) fn check(chapter: &Chapter, programs: &Programs) -> Vec<Problem> {
    let codes = codes(chapter);
    let blocks = chapter.blocks.iter();
    let consoles = blocks.filter_map(|block| match &block.action {
        Action::Console(console) => Some(console),
        _ => None,
    });
    let typed = consoles.flat_map(|console| &console.steps).map(|step| step.command.as_str());
    let named = programs.named(codes.iter().map(|(_, code)| code.as_str()).chain(typed));
    let wrong = |(at, code): &(At, String)| {
        let what = programs.judge(code, &named)?;
        Some(Problem::new(at.clone(), what))
    };
    codes.iter().filter_map(wrong).collect()
}

/// What stands in backticks outside of fences, with its place.
fn codes(chapter: &Chapter) -> Vec<(At, String)> {
    let text: String = chapter.source.lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    let mut codes = Vec::new();
    for (event, range) in Parser::new(&text).into_offset_iter() {
        if let Event::Code(code) = event {
            let line = text[..range.start].matches('\n').count();
            codes.push((chapter.source.at(line), code.to_string()));
        }
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::super::fence_tests::chapter;
    use super::*;

    const COMPLETIONS: &str = r#"
            ",$1")
                cmd="quorate"
                ;;
            quorate,cluster)
                cmd="quorate__subcmd__cluster"
                ;;
            quorate,run)
                cmd="quorate__subcmd__run"
                ;;
            quorate__subcmd__cluster,size)
                cmd="quorate__subcmd__cluster__subcmd__size"
                ;;
        quorate__subcmd__cluster__subcmd__size)
            opts="-h --no-wait --help [N]"
            ;;
            quorate__subcmd__run,yaml)
                cmd="quorate__subcmd__run__subcmd__yaml"
                ;;
        quorate__subcmd__run)
            opts="-h --hostname --help yaml empty"
            ;;
    "#;

    fn programs() -> Programs {
        let toolkit = clap::Command::new("xtask").subcommand(
            clap::Command::new("cluster")
                .arg(clap::Arg::new("name").long("name").global(true))
                .subcommand(clap::Command::new("up").arg(clap::Arg::new("n").long("nodes")))
                .subcommand(clap::Command::new("gc").arg(clap::Arg::new("w").long("no-wait"))),
        );
        Programs::new(Verbs::of_command(&toolkit), Verbs::of_completions(COMPLETIONS))
    }

    #[test]
    fn what_the_text_names_is_there_or_its_line_is_told() {
        let text = "# T\n\nSay `cargo xtask cluster up --nodes 3 --name x`, or\n`cargo xtask \
            cluster upp`, `--nodes`, `--node`,\n`quorate run --hostname h1 yaml FILE`, `quorate \
            cluster sizes`,\n`quorate cluster size 3 --no-wait`, `quorate run --hostnam h1`, \
            `quorate`, `quorate-x y`.\n`cargo xtask cluster up -- quorate runn`\n`cluster size \
            3`, `run FILE`,\n`quorate run --hostname h1 yamll FILE`\n";
        let chapter = chapter(text).expect("a chapter");
        let seen: Vec<String> =
            check(&chapter, &programs()).iter().map(ToString::to_string).collect();
        let parts = [
            ":5: the text names upp, and there is no such verb; up?",
            ":5: the text names --node, and there is no such flag of ours; --nodes?",
            ":6: the text names sizes, and there is no such verb; size?",
            ":7: the text names --hostnam, and there is no such flag of `run`; --hostname?",
            ":8: the text names runn, and there is no such verb; run?",
            "`cluster size 3` without its program; write `quorate cluster size 3`",
            ":10: the text names yamll, and there is no such verb; yaml?",
        ];
        assert_eq!(seen.len(), parts.len(), "{seen:#?}");
        for (text, part) in seen.iter().zip(parts) {
            assert!(text.ends_with(part), "{text} is not {part}");
        }
    }
    #[test]
    fn a_flag_of_several_verbs_stands_on_a_page_that_names_one_of_them() {
        let seen = |text: &str| -> Vec<String> {
            let chapter = chapter(&format!("# T\n\n{text}\n")).expect("a chapter");
            check(&chapter, &programs()).iter().map(ToString::to_string).collect()
        };
        let fence = |command: &str| {
            format!("`--no-wait` is of\n\n```console {{node=h1 id=a}}\n$ {command}\n```")
        };
        for text in [
            "`quorate cluster size 3`: `--no-wait` does not wait",
            "`cargo xtask cluster gc` has `--no-wait=x`",
            &fence("x | quorate cluster size 3"),
            "`--nodes`, `--hostname` and `--help`",
        ] {
            assert_eq!(seen(text), Vec::<String>::new(), "{text}");
        }
        // As if it were renamed where the page means it: others still have it.
        let ends = "--no-wait, which several verbs have and none that this page names; write it \
                    with its verb";
        for text in
            ["`--no-wait` is of `quorate run`", "`--no-wait`", &fence("quorate cluster status")]
        {
            let seen = seen(text);
            assert!(seen.len() == 1 && seen[0].ends_with(ends), "{text}: {seen:?}");
        }
    }
}
