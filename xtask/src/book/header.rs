//! The header of a chapter: TOML in an HTML comment on its first line. It refuses keys that it does
//! not know.

use std::time::Duration;

use super::problem::{At, Problem};

/// The keys of a header.
pub(crate) const KEYS: [&str; 9] =
    ["language", "nodes", "voters", "agent", "cluster", "isolation", "needs", "timeout", "title"];
/// The version of the language of headers and fences. Within a version, words are only added.
pub(crate) const LANGUAGE: u8 = 1;
/// Whole chapters take no longer unless their header says so.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(90);

/// Who starts the agents of a chapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agents {
    /// The nodes do, with an empty graph.
    Running,
    /// The chapter's blocks do.
    Manual,
}

/// Who makes the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Making {
    /// The runner, before the first block.
    Fresh,
    /// The chapter's own host blocks; the runner only removes it.
    Page,
    /// Nobody: the chapter has nothing to run.
    Nothing,
}

/// Something that not every machine can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// Nodes in containers.
    Engine,
    /// Nodes that are cut off from others.
    Partition,
    /// Messages that take longer.
    Delay,
    /// Messages that get lost.
    Loss,
    /// A network that is slow.
    Rate,
}

impl Need {
    /// All, as a header names them.
    pub(crate) const ALL: [(&str, Need); 5] = [
        ("engine", Need::Engine),
        ("partition", Need::Partition),
        ("delay", Need::Delay),
        ("loss", Need::Loss),
        ("rate", Need::Rate),
    ];

    /// Its name in a header.
    pub(crate) fn name(self) -> &'static str {
        Need::ALL.iter().find(|(_, need)| *need == self).map_or("", |(name, _)| name)
    }
}

/// What a chapter needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// How many nodes.
    pub(crate) nodes: u8,
    /// How many of them vote.
    pub(crate) voters: u8,
    /// Who starts the agents.
    pub(crate) agents: Agents,
    /// Who makes the cluster.
    pub(crate) making: Making,
    /// What the machine has to be able to do; elsewhere the chapter is not run.
    pub(crate) needs: Vec<Need>,
    /// Bound for the whole chapter.
    pub(crate) timeout: Duration,
}

/// Reads the first line of a chapter. A chapter without a header has nothing to run.
pub(crate) fn parse(line: &str, at: &At) -> Result<Header, Vec<Problem>> {
    let mut header = Header {
        nodes: 1,
        voters: 1,
        agents: Agents::Running,
        making: Making::Nothing,
        needs: Vec::new(),
        timeout: DEFAULT_TIMEOUT,
    };
    let Some(rest) = line.trim_start().strip_prefix("<!-- quorate:") else { return Ok(header) };
    let one = |message: String| vec![Problem::new(at.clone(), message)];
    let Some(body) = rest.trim_end().strip_suffix("-->") else {
        return Err(one("the chapter header does not end with `-->` on its line".into()));
    };
    let table = inline_table(body).map_err(|error| one(format!("chapter header: {error}")))?;
    header.making = Making::Fresh;
    let mut problems = Vec::new();
    let mut voters = None;
    for (key, value) in &table {
        let wrong = match key.as_str() {
            "nodes" => count(value).map(|n| header.nodes = n),
            "voters" => count(value).map(|n| voters = Some(n)),
            "agent" => word(value, &[("auto", Agents::Running), ("manual", Agents::Manual)])
                .map(|agents| header.agents = agents),
            // Two names of one thing: what the cluster is, and that no chapter has another's.
            "cluster" | "isolation" => {
                word(value, &[("fresh", Making::Fresh), ("page", Making::Page)])
                    .map(|making| header.making = making)
            }
            "needs" => needs(value).map(|needs| header.needs = needs),
            "language" => language(value),
            "timeout" => duration(value).map(|timeout| header.timeout = timeout),
            "title" => Ok(()),
            other => {
                problems.push(Problem::unknown(at.clone(), "header key", other, &KEYS));
                Ok(())
            }
        };
        if let Err(why) = wrong {
            problems.push(Problem::new(at.clone(), format!("header key `{key}`: {why}")));
        }
    }
    if table.contains_key("cluster") && table.contains_key("isolation") {
        let text = "header keys `cluster` and `isolation` mean the same; keep one";
        problems.push(Problem::new(at.clone(), text));
    }
    header.voters = voters.unwrap_or(header.nodes.min(5));
    if header.voters > header.nodes {
        let text = format!("{} voters among {} nodes", header.voters, header.nodes);
        problems.push(Problem::new(at.clone(), text));
    }
    if problems.is_empty() { Ok(header) } else { Err(problems) }
}

fn inline_table(body: &str) -> Result<toml::Table, String> {
    let text = format!("header = {{ {} }}", body.trim());
    let whole: toml::Table =
        text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    match whole.get("header") {
        Some(toml::Value::Table(table)) if whole.len() == 1 => Ok(table.clone()),
        _ => Err("expected `key = value, ...`".to_owned()),
    }
}

fn count(value: &toml::Value) -> Result<u8, String> {
    let number = value.as_integer().and_then(|n| u8::try_from(n).ok());
    number.filter(|n| (1..=30).contains(n)).ok_or_else(|| "expected a number from 1 to 30".into())
}

fn word<T: Copy>(value: &toml::Value, words: &[(&str, T)]) -> Result<T, String> {
    let found = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    found.map(|(_, meaning)| *meaning).ok_or_else(|| format!("expected {}", names.join(" or ")))
}

fn needs(value: &toml::Value) -> Result<Vec<Need>, String> {
    let list = value.as_array().ok_or("expected a list, like [\"partition\"]")?;
    list.iter().map(|one| word(one, &Need::ALL)).collect()
}

fn language(value: &toml::Value) -> Result<(), String> {
    match value.as_integer() {
        Some(version) if version == i64::from(LANGUAGE) => Ok(()),
        _ => Err(format!("this tool reads version {LANGUAGE} of the language")),
    }
}

fn duration(value: &toml::Value) -> Result<Duration, String> {
    let text = value.as_str().ok_or("expected a duration in quotes, like \"90s\"")?;
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn read(line: &str) -> Result<Header, Vec<String>> {
        let at = At { file: Arc::from("book/src/a.md"), line: 1 };
        parse(line, &at).map_err(|problems| problems.iter().map(Problem::to_string).collect())
    }

    #[test]
    fn a_header_states_what_the_chapter_needs() {
        let header =
            read("<!-- quorate: nodes = 3, voters = 2, agent = \"manual\", timeout = \"2m\" -->")
                .expect("parses");
        assert_eq!((header.nodes, header.voters), (3, 2));
        assert_eq!((header.agents, header.making), (Agents::Manual, Making::Fresh));
        assert_eq!(header.timeout, Duration::from_secs(120));
        assert_eq!(read("# Title").expect("none").making, Making::Nothing);
    }

    #[test]
    fn a_header_says_what_the_machine_must_be_able_to_do_and_in_which_language_it_is() {
        let text = "<!-- quorate: language = 1, isolation = \"page\", needs = [\"partition\", \
                    \"delay\"] -->";
        let header = read(text).expect("parses");
        assert_eq!(header.needs, [Need::Partition, Need::Delay]);
        assert_eq!((header.making, header.needs[1].name()), (Making::Page, "delay"));
    }

    #[test]
    fn each_mistake_in_a_header_is_named() {
        for (line, expected) in [
            ("<!-- quorate: node = 3 -->", "unknown header key `node`; did you mean `nodes`?"),
            ("<!-- quorate: nodes = 31 -->", "header key `nodes`: expected a number from 1 to 30"),
            ("<!-- quorate: nodes = 1, voters = 3 -->", "3 voters among 1 nodes"),
            ("<!-- quorate: agent = \"none\" -->", "header key `agent`: expected auto or manual"),
            ("<!-- quorate: timeout = 3 -->", "expected a duration in quotes"),
            ("<!-- quorate: needs = \"loss\" -->", "`needs`: expected a list"),
            (
                "<!-- quorate: needs = [\"gain\"] -->",
                "expected engine or partition or delay or loss or rate",
            ),
            ("<!-- quorate: language = 2 -->", "this tool reads version 1 of the language"),
            (
                "<!-- quorate: cluster = \"page\", isolation = \"page\" -->",
                "`cluster` and `isolation` mean the same; keep one",
            ),
            ("<!-- quorate: nodes = 3", "does not end with `-->`"),
            ("<!-- quorate: nodes = -->", "chapter header: "),
        ] {
            let problems = read(line).expect_err(line);
            assert!(problems.iter().any(|text| text.contains(expected)), "{line}: {problems:?}");
            assert!(problems.iter().all(|text| text.starts_with("book/src/a.md:1: ")));
        }
    }
}
