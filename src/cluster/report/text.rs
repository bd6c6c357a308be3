//! A report for people: a line of facts each, then a table of hosts, then what waits and why.
//!
//! Refuses to colour and to know the width of a terminal: what is long is broken by the terminal.

use super::{Cluster, HostReport, Report};
use crate::cluster::status::Role;
use crate::cluster::when;

/// The text, with a final line break.
pub fn render(report: &Report) -> String {
    let mut out = Lines::default();
    let etcd = report.etcd.as_ref().map(|v| format!(", etcd {v}")).unwrap_or_default();
    out.fact("host", &format!("{} ({}{etcd})", report.host, report.role.as_str()));
    if let Some(reason) = &report.reason {
        out.fact("", reason);
    }
    let Some(cluster) = &report.cluster else {
        out.fact("cluster", "none seen yet");
        return out.text;
    };
    facts(&mut out, report, cluster);
    out.text.push('\n');
    table(&mut out, report, cluster);
    out.text.push('\n');
    waiting(&mut out, report, cluster);
    out.text
}

#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn line(&mut self, line: &str) {
        // What other hosts wrote must not drive this terminal, nor forge a line.
        let line = line.replace(char::is_control, "\u{fffd}");
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn fact(&mut self, key: &str, value: &str) {
        self.line(&format!("{key:<10} {value}"));
    }
}

fn facts(out: &mut Lines, report: &Report, cluster: &Cluster) {
    let founded = cluster.created.map(|at| format!(", founded {} ago", when::ago(at, report.at)));
    let epoch = cluster.epoch.filter(|n| *n > 0);
    let epoch = epoch.map(|n| format!(", recovered {n} time{}", if n == 1 { "" } else { "s" }));
    let epoch = epoch.unwrap_or_default();
    out.fact("cluster", &format!("{}{}{epoch}", cluster.uuid, founded.unwrap_or_default()));
    let wanted = match cluster.desired {
        Some(n) => format!("{n} wanted"),
        None => "how many are wanted is not known".to_owned(),
    };
    out.fact("voters", &format!("{} of {} up, {wanted}", cluster.up, cluster.voters));
    out.fact("safety", &safety(cluster));
    out.fact("leader", cluster.leader.as_deref().unwrap_or("none"));
    if let Some(decides) =
        cluster.decides.as_ref().filter(|one| Some(*one) != cluster.leader.as_ref())
    {
        out.fact("decides", decides);
    }
    if let Some(note) = &cluster.note {
        out.fact("note", note);
    }
}

/// What the cluster can bear.
fn safety(cluster: &Cluster) -> String {
    match cluster.tolerance {
        None => "nothing can be written: too few voters answer".to_owned(),
        Some(0) if cluster.voters == 1 => {
            "can lose none: without this one voter nothing can be written".to_owned()
        }
        Some(0) => "can lose none: without one more voter nothing can be written".to_owned(),
        Some(n) => format!("can lose {n}"),
    }
}

const HEAD: [&str; 8] = ["HOST", "ROLE", "STATE", "LAG", "ETCD", "DATA", "AGENT", "CLIENTS"];

fn table(out: &mut Lines, report: &Report, cluster: &Cluster) {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(cluster.hosts.iter().map(|host| row(host, report, cluster)));
    let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        out.line(&cells.collect::<Vec<_>>().join("  "));
    }
}

fn row(host: &HostReport, report: &Report, cluster: &Cluster) -> [String; 8] {
    let none = || "-".to_owned();
    let member = host.member.as_ref();
    let health = member.and_then(|one| one.health.as_ref());
    let agent = host.agent.as_ref();
    let gone = if cluster.readable { "gone" } else { "not known" };
    [
        if host.host.is_empty() { none() } else { host.host.clone() },
        host.role.map_or("-", Role::as_str).to_owned(),
        state(host, report),
        health.map_or_else(none, |one| one.lag.to_string()),
        health
            .map(|one| one.version.clone())
            .or_else(|| agent.and_then(|one| one.etcd.clone()))
            .unwrap_or_else(none),
        health.map_or_else(none, |one| bytes(one.db_bytes)),
        agent.map_or_else(
            || gone.to_owned(),
            |one| format!("{}, {}", one.version, when::ago(one.started, report.at)),
        ),
        member.filter(|one| !one.client.is_empty()).map_or_else(none, |one| one.client.join(",")),
    ]
}

fn state(host: &HostReport, report: &Report) -> String {
    match &host.member {
        None if host.role == Some(Role::Volunteer) => "ready".to_owned(),
        None => "-".to_owned(),
        Some(one) if one.leader => "leads".to_owned(),
        Some(one) if one.up => "up".to_owned(),
        Some(one) if one.health.is_some() => "no leader".to_owned(),
        Some(one) => format!("down {}", when::ago(one.since, report.at)),
    }
}

/// A size in its largest unit that says something.
pub fn bytes(n: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(size, _)| n >= *size) {
        Some((size, unit)) => format!("{} {unit}", n / size),
        None => format!("{n} B"),
    }
}

fn waiting(out: &mut Lines, report: &Report, cluster: &Cluster) {
    match &cluster.pending {
        Some(ticket) => {
            let (doing, host) = (ticket.kind.doing(), &ticket.host);
            let age = when::ago(ticket.started, report.at);
            let (by, why) = (&ticket.by, &ticket.why);
            out.fact("pending", &format!("{doing} {host} for {age} (by {by}): {why}"));
        }
        None if cluster.readable => out.fact("pending", "nothing"),
        None => out.fact("pending", "not known"),
    }
    for host in &cluster.hosts {
        for why in &host.why {
            out.fact("waiting", &format!("{}: {why}", host.host));
        }
    }
}
