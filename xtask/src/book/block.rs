//! What a chapter consists of, as values. Parsing is in `fence`, running in `runner`.

use std::time::Duration;

use super::header::Header;
use super::made::Made;
use super::pattern::Match;
use super::problem::At;
use super::source::Source;

/// A chapter, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Chapter {
    /// File stem or name of the example; the key of its records.
    pub(crate) name: String,
    /// What it needs.
    pub(crate) header: Header,
    /// Its text.
    pub(crate) source: Source,
    /// Its blocks in order.
    pub(crate) blocks: Vec<Block>,
}

/// One fence with attributes.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Its opening fence.
    pub(crate) at: At,
    /// Indices in the chapter's lines of the opening and the closing fence.
    pub(crate) span: (usize, usize),
    /// Language: the first word.
    pub(crate) language: String,
    /// Stable key in the records; only hidden blocks and files have none.
    pub(crate) id: Option<String>,
    /// SHA-256 of the fence, head and body.
    pub(crate) digest: String,
    /// Run, but folded away on the page.
    pub(crate) hide: bool,
    /// Where it acts.
    pub(crate) place: Place,
    /// What it does.
    pub(crate) action: Action,
}

/// Where a block acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the reader's machine: only `cargo xtask ...`.
    Host,
    /// In these nodes.
    Nodes(Vec<String>),
    /// In every node.
    All,
    /// Nowhere: a file that is only shown.
    Nowhere,
}

/// What a block does.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Runs commands.
    Console(Console),
    /// Shows a file of the repository and puts it into nodes.
    File(Shown),
    /// Draws the cluster from its live status.
    Topology {
        /// Text under the picture.
        caption: String,
    },
    /// Draws when the resources of nodes came to be as they are.
    Timeline {
        /// Text under the picture.
        caption: String,
    },
    /// Shows what the agent makes.
    Made {
        /// What it is.
        made: Made,
        /// Text under it.
        caption: String,
    },
    /// Says when and with what the book was recorded; runs nothing.
    Provenance,
    /// Shown, not run, and why.
    NotRun(String),
}

/// Commands and what is expected of them.
#[derive(Clone, Debug)]
pub(crate) struct Console {
    /// The commands in order.
    pub(crate) steps: Vec<Step>,
    /// Run once, or started and stopped.
    pub(crate) mode: Mode,
    /// Repeat for so long until it matches.
    pub(crate) eventually: Option<Duration>,
    /// Time between repetitions.
    pub(crate) every: Duration,
    /// Bound for each command.
    pub(crate) timeout: Duration,
    /// How output is compared.
    pub(crate) how: Match,
    /// What happens with the second stream.
    pub(crate) stderr: Stderr,
    /// Width and height of the terminal that it runs on, if it runs on one.
    pub(crate) terminal: Option<(u16, u16)>,
    /// What of its output later commands get to see.
    pub(crate) capture: Option<Capture>,
}

/// A value that later commands of the chapter name as `${NAME}`.
#[derive(Clone, Debug)]
pub(crate) struct Capture {
    /// Upper-case letters, digits and underscores.
    pub(crate) name: String,
    /// Finds it in its one group.
    pub(crate) regex: regex::Regex,
}

impl Capture {
    /// The value in some lines.
    pub(crate) fn of(&self, lines: &[String]) -> Option<String> {
        let found = lines.iter().find_map(|line| self.regex.captures(line))?;
        found.get(1).map(|value| value.as_str().to_owned())
    }
}

/// How a console block runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// To its end.
    Run,
    /// Stays running under this name; the expected lines are its first output.
    Start(String),
    /// Signals the named one and shows all that it wrote since the block that started it.
    Stop {
        /// The name.
        name: String,
        /// `INT` or `TERM`.
        signal: String,
    },
}

/// The second stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stderr {
    /// In one with the first, in the order written.
    Join,
    /// After the first, under a line of its own: [`SECOND`].
    Split,
    /// Thrown away.
    Drop,
}

/// The line above what went to the second stream, where a block shows them apart.
pub(crate) const SECOND: &str = "stderr:";

/// One command with its expected output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The command, continuation lines joined by newlines; empty in a block that stops something.
    pub(crate) command: String,
    /// Index in the chapter's lines where the command is.
    pub(crate) line: usize,
    /// The expected lines.
    pub(crate) expected: Vec<String>,
    /// Index in the chapter's lines of the first expected line, or of where it would be.
    pub(crate) first: usize,
    /// The expected exit code; `None` for any.
    pub(crate) exit: Option<i64>,
}

/// A file that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Path from the repository's root.
    pub(crate) path: String,
    /// Path in the node.
    pub(crate) to: Option<String>,
    /// First and last line shown, from 1; all when `None`.
    pub(crate) lines: Option<(usize, usize)>,
}

impl Block {
    /// Its name in messages: the id, or where it is.
    pub(crate) fn label(&self) -> String {
        self.id.clone().unwrap_or_else(|| match &self.action {
            Action::File(file) => file.path.clone(),
            _ => format!("at line {}", self.at.line),
        })
    }

    /// The words for where it acts, as in `h1, h2`.
    pub(crate) fn place_name(&self) -> String {
        match &self.place {
            Place::Host => "host".to_owned(),
            Place::Nodes(nodes) => nodes.join(", "),
            Place::All => "all nodes".to_owned(),
            Place::Nowhere => String::new(),
        }
    }
}
