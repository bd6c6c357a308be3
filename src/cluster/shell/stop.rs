//! Stop and leave (3.7): what [`crate::cluster::ladder`] commands is done here, and what becomes of
//! it is told to it.
//!
//! Refuses to return while a child of ours runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use nix::sys::signal::Signal;
use tokio::sync::watch;

use super::child::Exit;
use super::loops::Loops;
use super::roles::{outcome_of, until};
use super::rpc::{Member, Probe};
use super::{Agent, Serving, StopMode};
use crate::cluster::aftermath::Cause;
use crate::cluster::decide::quorum;
use crate::cluster::identity::Phase;
use crate::cluster::keys::{self, AwayRecord, LeaveRecord};
use crate::cluster::ladder::{Command, Event, Ladder, Standing, Told};
use crate::cluster::logline::Class;
use crate::cluster::status::Role;
use crate::cluster::writes;
use crate::store::Store;

/// How long a stopped host counts as away and not as dead.
const AWAY: Duration = Duration::from_secs(600);

/// Carries out the wish, and stronger ones that come meanwhile.
pub(super) async fn run(
    agent: &Arc<Agent>,
    mut wish: watch::Receiver<Option<StopMode>>,
    deciding: Loops,
) {
    let clock = Instant::now();
    let mode = wish.borrow_and_update().unwrap_or(StopMode::Now);
    let child = agent.child();
    let serving = agent.serving.borrow().clone();
    let standing = Standing { child: child.is_some(), member: serving.is_some() };
    let mut deciding = Some(deciding);
    let mut work: Option<BoxFuture<'_, Event>> = None;
    let mut end: Option<BoxFuture<'_, Exit>> =
        child.map(|child| Box::pin(async move { child.ended().await }) as _);
    let (mut ladder, mut commands) = Ladder::begin(mode, standing, Duration::ZERO);
    loop {
        for command in commands {
            match command {
                Command::Exit => return,
                Command::Tell(what) => tell(what),
                Command::Term | Command::Kill => {
                    work = None;
                    let kills = command == Command::Kill;
                    let signal = if kills { Signal::SIGKILL } else { Signal::SIGTERM };
                    agent.child().into_iter().for_each(|child| child.signal(signal));
                }
                Command::Cease => work = Some(Box::pin(cease(deciding.take()))),
                _ => work = Some(Box::pin(act(agent, serving.clone(), command))),
            }
        }
        let due = ladder.until().map(|until| clock + until);
        let event = tokio::select! {
            biased;
            exit = outcome_of(&mut end) => {
                agent.set_child(None);
                Event::ChildEnded { removed: exit.cause() == Cause::Told(Class::Removed) }
            }
            Ok(()) = wish.changed() => {
                Event::Wish(wish.borrow_and_update().unwrap_or(StopMode::Now))
            }
            event = outcome_of(&mut work) => event,
            () = until(due) => Event::Time,
        };
        commands = ladder.step(clock.elapsed(), event);
    }
}

fn tell(what: Told) {
    match what {
        Told::Stays => {
            tracing::info!(
                "stays a member: it is the only voter, or too few answer to take it out"
            );
        }
        Told::Unfinished => {
            tracing::warn!("the others did not take this member out; the next start finishes it");
        }
        Told::Left => tracing::info!("left the cluster"),
    }
}

/// Ends these tasks; they have ended afterwards.
async fn cease(tasks: Option<Loops>) -> Event {
    if let Some(tasks) = tasks {
        tasks.end().await;
    }
    Event::Done
}

/// Carries out a command about our member or our claim.
async fn act(agent: &Agent, serving: Option<Serving>, command: Command) -> Event {
    let well = match (command, &serving) {
        (Command::Look, Some(serving)) => return look(agent, serving).await,
        (Command::Prepare, Some(serving)) => prepare(agent, serving).await,
        (Command::Ask, Some(serving)) => ask(agent, serving).await,
        (Command::RemoveSelf, Some(serving)) => remove_self(agent, serving).await,
        (Command::Archive, _) => archive(agent),
        (Command::Note, _) => note_absence(agent).await,
        (Command::HandOver, Some(serving)) => hand_over(agent, serving).await,
        (Command::Revoke, _) => revoke(agent).await,
        _ => false,
    };
    if well { Event::Done } else { Event::Failed }
}

/// Who could take us out.
async fn look(agent: &Agent, serving: &Serving) -> Event {
    let Some((_, members)) = agent.rpc.members(&agent.own_url).await else { return Event::Failed };
    let voters: Vec<_> = members.iter().filter(|m| !m.learner).collect();
    let voting = voters.iter().any(|m| m.id == serving.member);
    let seen = agent.status.borrow().cluster.as_ref().is_some_and(|c| c.quorum);
    // What was seen last may be from before the others came.
    let quorum = seen || answering(agent, serving, &voters).await >= quorum(voters.len());
    Event::Seen { alone: voting && voters.len() == 1, quorum }
}

async fn prepare(agent: &Agent, serving: &Serving) -> bool {
    agent.say(Role::Leaving, None);
    // The way back: the founder has no seeds but these.
    if let Some((_, members)) = agent.rpc.members(&agent.own_url).await {
        let others = members.iter().filter(|m| m.id != serving.member);
        let urls: Vec<String> = others.flat_map(|m| m.client.iter().cloned()).collect();
        if let Err(error) = agent.folder.remember_endpoints(&urls) {
            tracing::warn!(%error, "where the others are cannot be remembered");
        }
    }
    let stored = agent.folder.update(|i| i.phase = Phase::Leaving);
    if let Err(error) = &stored {
        tracing::error!(%error, "the wish to leave cannot be stored; staying a member");
    }
    stored.is_ok()
}

async fn ask(agent: &Agent, serving: &Serving) -> bool {
    let record = LeaveRecord {
        v: keys::VERSION,
        instance: agent.instance.clone(),
        member: serving.member,
        reason: "leave".into(),
        deadline: None,
    };
    let claim = agent.claim.borrow().map(|claim| claim.revision);
    let asked = agent.store.txn(writes::leave(&agent.host, &record, claim)).await;
    asked.is_ok_and(|done| done.applied)
}

fn archive(agent: &Agent) -> bool {
    let archived = agent.folder.archive("left");
    let forgotten = agent.folder.update(|i| i.forget_membership());
    let failed = archived.err().or(forgotten.err());
    if let Some(error) = &failed {
        tracing::error!(%error, "the data of the member that left could not be put aside");
    }
    failed.is_none()
}

/// Gives the claim back, if there is one. Without an answer the lease ends by itself.
async fn revoke(agent: &Agent) -> bool {
    let claim = *agent.claim.borrow();
    match claim {
        Some(claim) => agent.store.revoke(claim.lease).await.is_ok(),
        None => true,
    }
}

/// Takes this member out through another one, when the voters that remain have a quorum of their
/// own. etcd's own check is off, so nobody else would refuse.
async fn remove_self(agent: &Agent, serving: &Serving) -> bool {
    let Some(members) = listed(agent, serving).await else { return false };
    let others: Vec<_> = members.iter().filter(|m| !m.learner && m.id != serving.member).collect();
    if answering(agent, serving, &others).await < quorum(others.len()) {
        return false;
    }
    for url in agent.endpoints.urls().iter().filter(|u| **u != agent.own_url) {
        let same = agent.rpc.probe(url).await.is_some_and(|p| p.cluster == serving.cluster);
        if same && agent.rpc.remove(url, serving.member).await.is_ok() {
            return true;
        }
    }
    false
}

/// The members, as our etcd or, when it has ended, one of the others tells.
async fn listed(agent: &Agent, serving: &Serving) -> Option<Vec<Member>> {
    for url in std::iter::once(agent.own_url.clone()).chain(agent.endpoints.urls()) {
        match agent.rpc.members(&url).await {
            Some((cluster, members)) if cluster == serving.cluster => return Some(members),
            _ => {}
        }
    }
    None
}

/// How many of these answer for our cluster and know its leader.
async fn answering(agent: &Agent, serving: &Serving, members: &[&Member]) -> usize {
    let urls = members.iter().filter_map(|m| m.client.first());
    let probes = futures_util::future::join_all(urls.map(|url| agent.rpc.probe(url))).await;
    let ours = |p: &&Probe| p.cluster == serving.cluster && p.leader != 0;
    probes.iter().flatten().filter(ours).count()
}

/// Tells the others that this absence is planned.
async fn note_absence(agent: &Agent) -> bool {
    let record = AwayRecord {
        v: keys::VERSION,
        seconds: AWAY.as_secs(),
        why: "the agent was stopped".into(),
    };
    let txn = writes::away(&agent.host, &record, *agent.claim.borrow());
    let noted = agent.store.txn(txn).await.is_ok();
    if !noted {
        tracing::debug!("the planned absence could not be announced");
    }
    noted
}

/// Gives the leadership to another voter that answers, if we have it.
async fn hand_over(agent: &Agent, serving: &Serving) -> bool {
    let Some(own) = agent.rpc.probe(&agent.own_url).await else { return false };
    if own.leader != serving.member {
        return true;
    }
    let Some((_, members)) = agent.rpc.members(&agent.own_url).await else { return false };
    for member in members.iter().filter(|m| !m.learner && m.id != serving.member) {
        let up = match member.client.first() {
            Some(url) => agent.rpc.probe(url).await.is_some_and(|p| p.leader == own.leader),
            None => false,
        };
        if up && agent.rpc.move_leader(&agent.own_url, member.id).await.is_ok() {
            return true;
        }
    }
    false
}
