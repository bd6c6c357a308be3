//! `quorate exports`: what all hosts export, as the agent of this host sees it.

use std::io::Write;
use std::process::ExitCode;

use clap::Subcommand;

use super::agents::Which;
use crate::agent::socket::Topic;
use crate::collect::record::shown;
use crate::collect::{Content, offline};
use crate::spec::HostSelector;

const EXAMPLES: &str = "\
Examples:
  quorate exports list                    one line for each export
  quorate exports list --json             all of them with their fields, to try rules on: \
`quorate collect explain --exports FILE`

Exit codes: 0 done; 1 no agent answers; 2 bad usage.";

/// Arguments of `exports`.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List the live exports of all hosts
    #[command(after_help = EXAMPLES)]
    List {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        which: Which,
    },
}

/// What is said where there is nothing to list.
pub(super) const NOTHING: &str =
    "no host exports anything; a resource whose name begins with `@@` is exported\n";

/// Lists exports.
pub(super) fn run(args: &Args) -> ExitCode {
    let Verb::List { json, which } = &args.verb;
    let text = which.answer(Topic::Exports).and_then(|answer| match json {
        true => Ok(answer + "\n"),
        false => table(&answer),
    });
    match text {
        Ok(text) => super::exit_after(std::io::stdout().write_all(text.as_bytes())),
        Err(why) => {
            super::print_error(why);
            ExitCode::from(super::EXIT_FAILED)
        }
    }
}

fn table(answer: &str) -> Result<String, String> {
    let all = offline::parse(answer).map_err(|why| {
        format!("the agent's answer is not understood ({why}); is it of another version?")
    })?;
    if all.exports.is_empty() {
        return Ok(NOTHING.to_owned());
    }
    let mut rows = vec![["FROM", "CHANNEL", "KIND", "NAME", "TO", "FIELDS"].map(str::to_owned)];
    for one in &all.exports {
        let to = match &one.to {
            HostSelector::Names(names) => names.join(","),
            HostSelector::Labels(_) => "by label".to_owned(),
        };
        let fields = match &one.content {
            Content::Fields(fields) => fields.keys().collect::<Vec<_>>().join(","),
            Content::Unknown(what) | Content::Broken(what) => format!("({what})"),
        };
        let at = &one.address;
        let cells = [at.from.as_str(), &at.channel, &at.kind, &at.name, &to, &fields];
        rows.push(cells.map(shown));
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..6).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_export_is_one_line_of_a_table() {
        let answer = r#"{"v":1,"exports":[
            {"from":"web1","kind":"file","name":"a","to":["lb*"],"fields":{"path":"/a"}},
            {"from":"web2","kind":"file","name":"b\nc","fields":{}}]}"#;
        let wanted = "FROM  CHANNEL  KIND  NAME  TO   FIELDS\n\
            web1  default  file  a     lb*  path\n\
            web2  default  file  b\u{fffd}c   *\n";
        assert_eq!(table(answer).unwrap(), wanted);
        assert!(table("{}").is_err());
        assert_eq!(table(r#"{"v":1,"exports":[]}"#).unwrap(), NOTHING);
    }
}
