//! The header of a chapter: TOML in an HTML comment on its first line. It refuses keys that it does
//! not know.

use std::time::Duration;

use super::problem::{At, Problem};

/// The keys of a header.
const KEYS: [&str; 6] = ["nodes", "voters", "agent", "cluster", "timeout", "title"];
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
            "cluster" => word(value, &[("fresh", Making::Fresh), ("page", Making::Page)])
                .map(|making| header.making = making),
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
    fn each_mistake_in_a_header_is_named() {
        for (line, expected) in [
            ("<!-- quorate: node = 3 -->", "unknown header key `node`; did you mean `nodes`?"),
            ("<!-- quorate: nodes = 31 -->", "header key `nodes`: expected a number from 1 to 30"),
            ("<!-- quorate: nodes = 1, voters = 3 -->", "3 voters among 1 nodes"),
            ("<!-- quorate: agent = \"none\" -->", "header key `agent`: expected auto or manual"),
            ("<!-- quorate: timeout = 3 -->", "expected a duration in quotes"),
            ("<!-- quorate: nodes = 3", "does not end with `-->`"),
            ("<!-- quorate: nodes = -->", "chapter header: "),
        ] {
            let problems = read(line).expect_err(line);
            assert!(problems.iter().any(|text| text.contains(expected)), "{line}: {problems:?}");
            assert!(problems.iter().all(|text| text.starts_with("book/src/a.md:1: ")));
        }
    }
}
