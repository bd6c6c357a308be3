//! Since when things are as they are, and what that makes of them: who is dead, overdue, settled or
//! still to be left alone (3.6).
//!
//! Refuses to take over clocks from another host, or to compare them: a new decider starts its own,
//! with `now` from its monotonic clock.

use std::collections::HashMap;
use std::time::Duration;

use super::decide::{Barred, Learner, Lost, Observation, Spare, Voter};
use super::flags::{self, Version};
use super::keys::VolunteerRecord;
use super::seen::{Kept, Member, Probe, Seen, find};

/// How many times longer a silent voter is waited for while its agent lives, whose own supervision
/// comes first.
const WITH_AGENT: u32 = 10;
/// Answers in a row that must be missed before a voter can count as dead.
const MISSES: u32 = 3;
/// How long a learner may be silent before it is ready.
const READY: Duration = Duration::from_secs(30);
/// How long a learner that answers may go without any progress of its log.
const PROGRESS: Duration = Duration::from_secs(60);
/// How long a learner must have been ready while not all is well. A new decider does not ask for
/// it so long after its start, or each failover would cost a pause.
const STABLE: Duration = Duration::from_secs(10);
/// How long a voter that nobody of us made is left alone: whoever added it may yet start it.
const STRANGER: Duration = Duration::from_secs(60);

/// What a host decides by.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a silent voter is waited for.
    pub dead_after: Duration,
    /// How many voters are wanted before the store says so.
    pub ideal: u16,
    /// etcd checks changes as well.
    pub strict: bool,
}

/// What was seen since when, by this host's monotonic clock.
#[derive(Clone, Debug)]
pub struct Clocks {
    settings: Settings,
    began: Option<Duration>,
    /// The answers missed in a row, and since when.
    misses: HashMap<u64, (u32, Duration)>,
    /// Since when a learner is ready.
    ready: HashMap<u64, Duration>,
    /// Since when a learner is neither ready nor heard of.
    silent: HashMap<u64, Duration>,
    /// The end of a learner's data, and since when it has not moved.
    progress: HashMap<u64, (u64, Duration)>,
    unknown: HashMap<u64, Duration>,
    /// When each record was first seen, by its revision.
    records: HashMap<i64, Duration>,
}

impl Clocks {
    /// Nothing seen yet.
    pub fn new(settings: Settings) -> Self {
        Clocks {
            settings,
            began: None,
            misses: HashMap::new(),
            ready: HashMap::new(),
            silent: HashMap::new(),
            progress: HashMap::new(),
            unknown: HashMap::new(),
            records: HashMap::new(),
        }
    }

    /// How long the record of this revision has been known.
    pub fn age(&mut self, revision: i64, now: Duration) -> Duration {
        now.saturating_sub(*self.records.entry(revision).or_insert(now))
    }

    /// The observation for the decision.
    pub fn observe(&mut self, seen: &Seen, now: Duration) -> Observation {
        self.keep_to(seen, now);
        self.began.get_or_insert(now);
        let size = seen.size.as_ref();
        let mut observation = Observation {
            desired: size.map_or(self.settings.ideal, |s| s.n),
            floor: size.map_or(1, |s| s.floor),
            allow_even: size.is_some_and(|s| s.allow_even),
            strict: self.settings.strict,
            leader: seen.own.leader,
            ticket: seen.ticket.as_ref().map(|(t, _)| (t.kind, t.host.clone())),
            ..Observation::default()
        };
        let members = || seen.members.iter().zip(seen.probes.iter().map(Option::as_ref));
        for (member, probe) in members().filter(|(m, _)| !m.learner) {
            observation.voters.push(self.voter(seen, member, probe, now));
        }
        let calm = observation.voters.iter().all(|v| v.up && !v.leaving);
        for (member, probe) in members().filter(|(m, _)| m.learner) {
            observation.learners.push(self.learner(seen, member, probe, calm, now));
        }
        let hosts: Vec<String> = seen.members.iter().map(|m| seen.host_of(m.id)).collect();
        for offer in seen.volunteers.iter().filter(|o| !hosts.contains(&o.host)) {
            let agent = seen.agent(&offer.host);
            // An offer of an agent that is gone, or of an earlier one.
            if agent.is_some_and(|agent| agent.instance == offer.record.instance) {
                observation.spares.push(self.spare(seen, offer, now));
            }
        }
        observation
    }

    fn voter(
        &mut self,
        seen: &Seen,
        member: &Member,
        probe: Option<&Probe>,
        now: Duration,
    ) -> Voter {
        let host = seen.host_of(member.id);
        // One missed answer is enough to wait with a change, but not to call it dead.
        let up = seen.fit(probe, member.id);
        let entry = self.misses.entry(member.id).or_insert((0, now));
        *entry = if up { (0, now) } else { (entry.0.saturating_add(1), entry.1) };
        let (misses, since) = *entry;
        let dead = misses >= MISSES && now >= self.dies_at(seen, &host, since, now);
        let order = seen.nominations.iter().find(|o| o.record.member == member.id);
        let stranger = order.is_none() && !flags::is_ours(&member.name);
        let stranger = stranger && {
            let since = *self.unknown.entry(member.id).or_insert(now);
            now.saturating_sub(since) >= STRANGER
        };
        Voter {
            id: member.id,
            zone: seen.agent(&host).and_then(|agent| agent.zone.clone()),
            up,
            dead,
            leaving: seen.leaves(member.id) || (!up && replaced(seen, member, &host)),
            stranger,
            joined: order.map_or(0, |order| order.record.seq),
            index: probe.map_or(0, |p| p.index),
            host,
        }
    }

    /// When a voter that is silent since then is dead.
    fn dies_at(&mut self, seen: &Seen, host: &str, since: Duration, now: Duration) -> Duration {
        if seen.agent(host).is_some() {
            return since + self.settings.dead_after * WITH_AGENT;
        }
        let planned = find(&seen.away, host).map(|away| {
            let began = now.saturating_sub(self.age(away.revision, now));
            began + Duration::from_secs(away.record.seconds)
        });
        since.max(planned.unwrap_or_default()) + self.settings.dead_after
    }

    fn learner(
        &mut self,
        seen: &Seen,
        member: &Member,
        probe: Option<&Probe>,
        calm: bool,
        now: Duration,
    ) -> Learner {
        let id = member.id;
        let host = seen.host_of(id);
        let ready = seen.fit(probe, id) && probe.is_some_and(|p| p.learner);
        let since = *self.ready.entry(id).or_insert(now);
        if !ready {
            self.ready.remove(&id);
        }
        let young = now.saturating_sub(self.began.unwrap_or(now)) < STABLE;
        let stable = ready && (calm || young || now.saturating_sub(since) >= STABLE);
        let known = seen.nominations.iter().any(|o| o.record.member == id) || seen.ticket.is_some();
        let overdue = self.overdue(id, ready, probe, now);
        let agent = seen.agent(&host);
        let lost = match () {
            () if !known => Some(Lost::Foreign),
            () if seen.leaves(id) => Some(Lost::Leaving),
            () if agent.is_none() && !ready => Some(Lost::Gone),
            () => overdue,
        };
        let zone = agent.and_then(|agent| agent.zone.clone());
        Learner { id, host, zone, ready, stable, lost }
    }

    /// What has taken a learner too long, if anything has.
    fn overdue(
        &mut self,
        id: u64,
        ready: bool,
        probe: Option<&Probe>,
        now: Duration,
    ) -> Option<Lost> {
        let applied = probe.filter(|p| p.member == id && p.leader != 0).map(|p| p.applied);
        let silent = *self.silent.entry(id).or_insert(now);
        if ready || applied.is_some() {
            self.silent.insert(id, now);
        }
        let entry = self.progress.entry(id).or_insert((0, now));
        match applied {
            Some(applied) if ready || applied > entry.0 => *entry = (applied, now),
            _ => {}
        }
        let stuck = now.saturating_sub(entry.1) >= PROGRESS;
        match applied {
            _ if ready => None,
            Some(_) => stuck.then_some(Lost::Stuck),
            None => (now.saturating_sub(silent) >= READY).then_some(Lost::Silent),
        }
    }

    fn spare(&mut self, seen: &Seen, offer: &Kept<VolunteerRecord>, now: Duration) -> Spare {
        let Kept { host, record, revision } = offer;
        let quarantine = find(&seen.quarantined, host);
        let alone = quarantine.is_some_and(|kept| {
            self.age(kept.revision, now) < Duration::from_secs(kept.record.seconds)
        });
        let rests = self.age(*revision, now) < Duration::from_secs(record.not_before);
        let failed = quarantine.filter(|_| alone).map(|kept| Barred::Quarantined {
            fails: kept.record.fails,
            why: kept.record.why.clone(),
        });
        let leaves = find(&seen.leaves, host).is_some();
        Spare {
            host: host.clone(),
            zone: seen.agent(host).and_then(|agent| agent.zone.clone()),
            fails: quarantine.map_or(0, |kept| kept.record.fails),
            since: record.since,
            barred: failed
                .or(rests.then_some(Barred::Resting))
                .or(leaves.then_some(Barred::Leaving))
                .or_else(|| address(seen, record))
                .or_else(|| version(seen, record)),
        }
    }

    /// Forgets what is gone, and starts the clocks of what is new.
    fn keep_to(&mut self, seen: &Seen, now: Duration) {
        let listed = |id: &u64| seen.members.iter().any(|m| m.id == *id);
        self.misses.retain(|id, _| listed(id));
        self.ready.retain(|id, _| listed(id));
        self.silent.retain(|id, _| listed(id));
        self.progress.retain(|id, _| listed(id));
        self.unknown.retain(|id, _| listed(id));
        let mut kept: Vec<i64> = seen.ticket.iter().map(|(_, revision)| *revision).collect();
        kept.extend(seen.away.iter().map(|k| k.revision));
        kept.extend(seen.leaves.iter().map(|k| k.revision));
        kept.extend(seen.volunteers.iter().map(|k| k.revision));
        kept.extend(seen.quarantined.iter().map(|k| k.revision));
        self.records.retain(|revision, _| kept.contains(revision));
        for revision in kept {
            self.records.entry(revision).or_insert(now);
        }
    }
}

/// The host lives under another instance: the folder of this member is gone.
fn replaced(seen: &Seen, member: &Member, host: &str) -> bool {
    let other =
        |instance: &str| instance.get(..8).is_some_and(|short| !member.name.ends_with(short));
    !member.name.is_empty() && seen.agent(host).is_some_and(|agent| other(&agent.instance))
}

/// A member that has an address of the volunteer.
fn address(seen: &Seen, offer: &VolunteerRecord) -> Option<Barred> {
    let same = |m: &&Member| m.peer.iter().any(|url| offer.peer.contains(url));
    let member = seen.members.iter().find(same)?;
    Some(Barred::Address { host: seen.host_of(member.id) })
}

/// The volunteer's etcd cannot join those that vote. What has no version is tried.
fn version(seen: &Seen, offer: &VolunteerRecord) -> Option<Barred> {
    let has = Version::parse(&offer.etcd)?;
    let oldest = seen.probes.iter().flatten().filter_map(|p| p.version).min()?;
    (!has.may_join(oldest)).then_some(Barred::Version { has, oldest })
}

#[cfg(test)]
pub(super) mod tests;
