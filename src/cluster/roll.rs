//! Which agent is restarted next, so that writing never stops: one at a time, what is not well
//! first, the leader last, and only while the cluster can lose one.
//!
//! Refuses to look at a clock: how long all has been well is said to it.

use std::collections::BTreeMap;

use super::report::{Cluster, HostReport, Report};
use super::status::Role;
use crate::ident::counted;

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// This host's agent.
    Restart(String),
    /// Nothing yet, for this reason.
    Wait(String),
    /// Nothing more.
    Done,
}

/// When each agent was started, before anything was restarted: it is done once that differs.
pub fn before(report: &Report) -> BTreeMap<String, u64> {
    let hosts = report.cluster.iter().flat_map(|cluster| &cluster.hosts);
    hosts.filter_map(|one| Some((one.host.clone(), one.agent.as_ref()?.started))).collect()
}

/// Whether it may begin at all.
///
/// # Errors
/// One sentence.
pub fn may_begin(report: &Report, allow_gap: bool) -> Result<(), String> {
    let Some(cluster) = report.cluster.as_ref().filter(|one| one.quorum && one.readable) else {
        return Err("no quorum: nothing is restarted; see `quorate cluster status`".to_owned());
    };
    if cluster.tolerance == Some(0) && !allow_gap && cluster.voters < 3 {
        return Err(format!(
            "{} can lose none: nothing could be written while one starts anew; --allow-gap does it \
             all the same",
            counted(cluster.voters, "voter")
        ));
    }
    Ok(())
}

/// The next step. `calm` says that all has been well for as long as it should.
pub fn next(report: &Report, before: &BTreeMap<String, u64>, calm: bool, allow_gap: bool) -> Next {
    let Some(cluster) = &report.cluster else { return Next::Wait("no cluster is seen".into()) };
    let mut left: Vec<&HostReport> =
        cluster.hosts.iter().filter(|one| is_left(one, before)).collect();
    left.sort_by_key(|one| (order(one), one.host.clone()));
    let missing = before.keys().find(|name| cluster.hosts.iter().all(|one| one.host != **name));
    if let Some(name) = missing {
        return Next::Wait(format!("{name} is not back yet"));
    }
    let Some(first) = left.first() else {
        return match well(report, allow_gap) {
            Ok(()) => Next::Done,
            Err(why) => Next::Wait(why),
        };
    };
    // What is not well itself cannot be waited for, and costs nothing to restart.
    if !up(first) && first.agent.is_some() {
        return Next::Restart(first.host.clone());
    }
    match well(report, allow_gap) {
        Err(why) => Next::Wait(why),
        Ok(()) if !calm => Next::Wait("all is well; a moment longer".into()),
        Ok(()) => Next::Restart(first.host.clone()),
    }
}

/// All hosts in the order in which their agents are restarted, as things are now.
pub fn order_of(report: &Report) -> Vec<String> {
    let hosts = report.cluster.iter().flat_map(|cluster| &cluster.hosts);
    let mut hosts: Vec<&HostReport> = hosts.filter(|one| one.agent.is_some()).collect();
    hosts.sort_by_key(|one| (order(one), one.host.clone()));
    hosts.into_iter().map(|one| one.host.clone()).collect()
}

/// Whether all is well enough to take one away.
///
/// # Errors
/// What is not.
pub fn well(report: &Report, allow_gap: bool) -> Result<(), String> {
    let Some(cluster) = report.cluster.as_ref().filter(|one| one.quorum && one.readable) else {
        return Err("no quorum".to_owned());
    };
    if let Some(ticket) = &cluster.pending {
        return Err(format!("{} {}", ticket.kind.doing(), ticket.host));
    }
    for host in &cluster.hosts {
        let Some(member) = &host.member else { continue };
        if !member.up {
            return Err(format!("{} does not answer", host.host));
        }
        if host.agent.is_none() {
            return Err(format!("the agent of {} is not back yet", host.host));
        }
        let lag = member.health.as_ref().map_or(u64::MAX, |health| health.lag);
        if lag > LAG {
            return Err(format!("{} is {lag} entries behind", host.host));
        }
    }
    if slack(cluster) < 1 && !allow_gap {
        return Err(format!("{} can lose none", counted(cluster.voters, "voter")));
    }
    Ok(())
}

/// Members are asked one after the other while others write: what came in between is no lag.
const LAG: u64 = 100;

fn slack(cluster: &Cluster) -> usize {
    cluster.tolerance.unwrap_or_default()
}

/// Its agent is still the one from before.
fn is_left(host: &HostReport, before: &BTreeMap<String, u64>) -> bool {
    let started = host.agent.as_ref().map(|agent| agent.started);
    before.get(&host.host).is_some_and(|then| started.is_none_or(|now| now == *then))
}

fn up(host: &HostReport) -> bool {
    host.member.as_ref().is_none_or(|member| member.up)
}

/// Unhealthy first, then those without a vote, then voters, the leader last.
fn order(host: &HostReport) -> u8 {
    let leads = host.member.as_ref().is_some_and(|member| member.leader);
    match host.role {
        _ if !up(host) => 0,
        _ if leads => 4,
        Some(Role::Voter) => 3,
        Some(Role::Learner) => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::report::{AgentReport, Health, MemberReport};

    fn host(name: &str, role: Role, leader: bool) -> HostReport {
        let member = MemberReport {
            id: name.into(),
            up: true,
            leader,
            since: 0,
            health: Some(Health::default()),
            client: Vec::new(),
            peer: Vec::new(),
        };
        let agent = AgentReport { version: "0".into(), started: 7, pid: 1, etcd: None };
        HostReport {
            host: name.into(),
            role: Some(role),
            agent: Some(agent),
            member: (role != Role::Volunteer).then_some(member),
            why: Vec::new(),
        }
    }

    fn report() -> Report {
        let hosts = vec![
            host("h1", Role::Voter, true),
            host("h2", Role::Voter, false),
            host("h3", Role::Voter, false),
            host("h4", Role::Volunteer, false),
        ];
        let cluster = Cluster {
            voters: 3,
            up: 3,
            quorum: true,
            readable: true,
            tolerance: Some(1),
            hosts,
            ..Cluster::default()
        };
        Report {
            v: 1,
            at: 0,
            host: "h1".into(),
            role: Role::Voter,
            reason: None,
            instance: String::new(),
            etcd: None,
            cluster: Some(cluster),
        }
    }

    fn change(report: &mut Report, name: &str, act: impl Fn(&mut HostReport)) {
        let hosts = &mut report.cluster.as_mut().unwrap().hosts;
        act(hosts.iter_mut().find(|one| one.host == name).unwrap());
    }

    #[test]
    fn all_are_restarted_once_those_without_a_vote_first_and_the_leader_last() {
        let mut report = report();
        let before = before(&report);
        assert_eq!(order_of(&report), ["h4", "h2", "h3", "h1"]);
        let mut order = Vec::new();
        while let Next::Restart(name) = next(&report, &before, true, false) {
            change(&mut report, &name, |one| one.agent.as_mut().unwrap().started = 8);
            order.push(name);
        }
        assert_eq!(order, ["h4", "h2", "h3", "h1"]);
        assert_eq!(next(&report, &before, true, false), Next::Done);
    }

    #[test]
    fn who_is_not_well_comes_first_and_nobody_else_until_it_is() {
        let mut report = report();
        let before = before(&report);
        change(&mut report, "h3", |one| one.member.as_mut().unwrap().up = false);
        assert_eq!(next(&report, &before, false, false), Next::Restart("h3".into()));
        change(&mut report, "h3", |one| one.agent.as_mut().unwrap().started = 8);
        assert_eq!(next(&report, &before, true, false), Next::Wait("h3 does not answer".into()));
        change(&mut report, "h3", |one| one.agent = None);
        let waits = next(&report, &before, true, false);
        assert_eq!(waits, Next::Wait("h3 does not answer".into()));
    }

    #[test]
    fn it_waits_for_whatever_is_not_well() {
        let calm = |report: &Report| next(report, &before(report), true, false);
        let mut behind = report();
        change(&mut behind, "h2", |one| {
            one.member.as_mut().unwrap().health.as_mut().unwrap().lag = 101;
        });
        assert_eq!(calm(&behind), Next::Wait("h2 is 101 entries behind".into()));
        let mut tight = report();
        tight.cluster.as_mut().unwrap().tolerance = Some(0);
        assert_eq!(calm(&tight), Next::Wait("3 voters can lose none".into()));
        assert!(matches!(next(&tight, &before(&tight), true, true), Next::Restart(_)));
        let well = report();
        let waits = next(&well, &before(&well), false, false);
        assert_eq!(waits, Next::Wait("all is well; a moment longer".into()));
    }

    #[test]
    fn a_host_that_does_not_come_back_stops_it() {
        let mut report = report();
        let before = before(&report);
        report.cluster.as_mut().unwrap().hosts.retain(|one| one.host != "h4");
        assert_eq!(next(&report, &before, true, false), Next::Wait("h4 is not back yet".into()));
    }

    #[test]
    fn what_can_lose_none_is_not_begun_unless_a_gap_is_allowed() {
        let mut report = report();
        assert_eq!(may_begin(&report, false), Ok(()));
        let cluster = report.cluster.as_mut().unwrap();
        (cluster.voters, cluster.tolerance) = (1, Some(0));
        assert!(may_begin(&report, false).is_err_and(|why| why.contains("--allow-gap")));
        assert_eq!(may_begin(&report, true), Ok(()));
        report.cluster.as_mut().unwrap().quorum = false;
        assert!(may_begin(&report, true).is_err());
    }
}
