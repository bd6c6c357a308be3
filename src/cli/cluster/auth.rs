//! `quorate cluster auth`: has the store ask who writes, so that no host can export as another one.

use std::collections::BTreeSet;

use clap::Subcommand;

use super::{EXIT_CODES, End, print, print_json};
use crate::agent::socket;
use crate::cli::agents::Which;
use crate::cluster::when;
use crate::collect::record::shown;
use crate::collect::request::{Answer, AuthRow, AuthVerb, Request};

const EXAMPLES: &str = "\
Examples:
  quorate cluster auth status                who is a user of the store, and may export what
  quorate cluster auth enable                from now on each host writes only its own keys
  quorate cluster auth enable --channel vhosts
                                             exports to this channel are granted, too
  quorate cluster auth disable               everybody with a certificate may write everything

It is for clusters that make their own certificates, and is said on a voter. Each host is known by \
the name in its certificate. What it may export follows from `quorate exports policy`, at once; \
powerful kinds such as `exec` need a rule that allows them. What a host published before is \
published again. The operator's certificate is kept beside the voter's own, for etcdctl.";

/// Arguments of `cluster auth`.
#[derive(clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show whether the store asks who writes, and what each host may export
    #[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
    Status(Ask),
    /// Have the store ask who writes
    #[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
    Enable {
        /// Grant exports to this channel, too; channels in use and those of the policy are granted
        #[arg(long, value_name = "CHANNEL")]
        channel: Vec<String>,
        #[command(flatten)]
        ask: Ask,
    },
    /// Have the store ask no more
    #[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
    Disable(Ask),
}

#[derive(clap::Args)]
struct Ask {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

/// Carries out a verb.
pub(super) fn run(args: &Args) -> Result<u8, End> {
    let (verb, asked) = match &args.verb {
        Verb::Status(ask) => (AuthVerb::Status, ask),
        Verb::Enable { channel, ask } => {
            let channels: BTreeSet<String> = channel.iter().cloned().collect();
            (AuthVerb::Enable { channels }, ask)
        }
        Verb::Disable(ask) => (AuthVerb::Disable, ask),
    };
    let folder = asked.which.folder().map_err(End::failed)?;
    let answer = socket::ask_site(&folder, &Request::Auth(verb)).map_err(|why| {
        End::failed(format!("the agent in {} does not answer: {why}", folder.display()))
    })?;
    match answer {
        Answer::Auth(row) if asked.json => print_json(&row),
        Answer::Auth(row) => print(&text(&row)),
        Answer::Refused(why) => Err(End::refused(why)),
        Answer::Failed(why) => Err(End::failed(why)),
        _ => Err(super::unexpected()),
    }
}

fn text(row: &AuthRow) -> String {
    let mut lines = Vec::new();
    lines.push(match (row.on, &row.by, row.at) {
        (true, Some(by), Some(at)) => {
            format!("the store asks who writes, since {} on {by}", when::date_to_minute(at))
        }
        (true, ..) => "the store asks who writes".to_owned(),
        (false, ..) => "the store does not ask who writes: whoever reaches it with a certificate \
                        may export as any host"
            .to_owned(),
    });
    if let (true, Some(revision)) = (row.on, row.proved) {
        lines.push(format!("exporters are known from revision {revision} on"));
    }
    for file in &row.certificate {
        lines.push(format!("the operator's certificate and key: {file}"));
    }
    for (host, grants) in &row.grants {
        let user = if row.users.iter().any(|user| user == host) { "" } else { " (no user)" };
        let grants = if grants.is_empty() { "nothing".to_owned() } else { grants.join(" ") };
        let verb = if row.on { "may export" } else { "would be allowed to export" };
        lines.push(format!("{host}{user} {verb} {grants}"));
    }
    if let Some(why) = &row.obstacle {
        lines.push(format!("nothing can be changed here: {why}"));
    }
    lines.iter().map(|line| shown_line(line) + "\n").collect()
}

/// What other hosts wrote must not drive this terminal, nor forge a line.
fn shown_line(line: &str) -> String {
    match line.chars().any(char::is_control) {
        true => shown(line),
        false => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_whether_the_store_asks_and_what_each_host_may_export() {
        let off = AuthRow {
            grants: [("h1".to_owned(), vec!["default/file".to_owned()])].into(),
            obstacle: Some("no key".into()),
            ..AuthRow::default()
        };
        let told = text(&off);
        assert!(told.starts_with("the store does not ask who writes"), "{told}");
        assert!(told.contains("h1 (no user) would be allowed to export default/file\n"), "{told}");
        assert!(told.ends_with("nothing can be changed here: no key\n"), "{told}");
        let on = AuthRow {
            on: true,
            by: Some("h1".into()),
            at: Some(0),
            proved: Some(88),
            users: vec!["h1".into(), "root".into()],
            certificate: vec!["/x/operator.crt".into()],
            obstacle: None,
            ..off
        };
        let told = text(&on);
        assert!(told.contains(" on h1\nexporters are known from revision 88 on\n"), "{told}");
        assert!(told.contains("certificate and key: /x/operator.crt\nh1 may export "), "{told}");
    }
}
