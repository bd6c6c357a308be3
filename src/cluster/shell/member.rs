//! The membership of this host: seek, volunteer, start etcd, watch over it, and begin again when it
//! ends.
//!
//! Refuses to start etcd without a stored list, a stored token and a phase on disk that names the
//! start.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::time::timeout;

use super::serve::{self, End};
use super::{Agent, adopt, fault, now_seconds, readdress, silence, tls};
use crate::cluster::StartError;
use crate::cluster::address::{CLIENT_PORT, Url};
use crate::cluster::aftermath::{self, Cause, Next, Streak};
use crate::cluster::flags::Mode;
use crate::cluster::identity::Phase;
use crate::cluster::keys::{
    self, ClusterRecord, LeaveRecord, NominateRecord, PerHost, VolunteerRecord,
};
use crate::cluster::logline::Class;
use crate::cluster::start::Start;
use crate::cluster::status::Role;
use crate::cluster::writes;
use crate::store::Store;

/// The pause before etcd is started again after it ended, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// After this long in health the pauses begin anew.
const HEALTHY: Duration = Duration::from_secs(60);
/// How long telling the others about another address may hold up the start.
const READDRESS: Duration = Duration::from_secs(2);
/// For how many seconds a host that failed to join asks to be left alone, at first and at most.
const REST: (u64, u64) = (5, 300);
/// The pause before something that another host must do first is looked at again.
const AGAIN: Duration = Duration::from_millis(500);

/// What comes next.
#[derive(Clone, Copy)]
enum Stage {
    Found,
    Seek,
    Volunteer,
    Run(Mode),
    /// Put the data aside, for this reason, and volunteer.
    Abandon(&'static str),
    /// Ask for the removal of the member, for this reason, and volunteer as a new one.
    GiveUp(&'static str),
    /// etcd is not started any more: only a person can help.
    Rest,
}

/// Keeps the membership, for as long as it is polled. What the state folder refuses is tried again:
/// a full disk may be cleared.
pub(super) async fn run(agent: &Arc<Agent>, first: Start) {
    let mut member =
        Membership { failed: None, pause: BACKOFF.0, fails: 0, streak: Streak::default() };
    let mut stage = match first {
        Start::Found => Stage::Found,
        // Without etcd the data stay as they are: it may be installed again.
        _ if agent.etcd.is_none() => Stage::Seek,
        Start::FoundAgain => Stage::Run(Mode::New),
        Start::Spawn => Stage::Run(Mode::Existing),
        Start::Archive => Stage::Abandon("removed"),
        Start::DiskLost | Start::FinishLeaving => Stage::GiveUp("disk-lost"),
        // The refusals never come here.
        _ => Stage::Seek,
    };
    loop {
        match member.pass(agent, stage).await {
            Ok(next) => stage = next,
            Err(error) => {
                let path = agent.folder.path().display();
                agent.say(Role::Blocked, Some(format!("cannot write to {path}: {error}")));
                tokio::time::sleep(BACKOFF.1).await;
            }
        }
    }
}

/// What the membership remembers from one stage to the next.
struct Membership {
    /// The change that added the member which failed last; a nomination of it is not followed
    /// twice.
    failed: Option<i64>,
    /// The pause before etcd is started again.
    pause: Duration,
    /// How often in a row it could not become a member that lasts.
    fails: u32,
    /// How often in a row it ended in the same way.
    streak: Streak,
}

impl Membership {
    /// Goes through one stage; gives the next. After an error the same stage can be passed again.
    async fn pass(&mut self, agent: &Arc<Agent>, stage: Stage) -> io::Result<Stage> {
        match stage {
            Stage::Found => found(agent),
            Stage::Seek => Ok(seek(agent).await),
            Stage::Abandon("removed") if agent.no_rejoin => stay_out(agent),
            Stage::Abandon(reason) => abandon(agent, reason),
            Stage::GiveUp(reason) => {
                self.fails = self.fails.saturating_add(1);
                give_up_member(agent, reason).await
            }
            Stage::Volunteer => {
                let order = volunteer(agent, self.failed, self.fails).await;
                self.failed = Some(order.seq);
                follow(agent, &order)
            }
            Stage::Run(mode) => self.serve(agent, mode).await,
            Stage::Rest => std::future::pending().await,
        }
    }

    async fn serve(&mut self, agent: &Agent, mode: Mode) -> io::Result<Stage> {
        // Refused or not, it starts: it dials the others, who need not know where it is for that.
        drop(timeout(READDRESS, readdress::through_others(agent)).await);
        let started = Instant::now();
        let end = serve::run(agent, mode).await;
        if let (Err(_), Some(running)) = (&end, agent.child()) {
            running.signal(Signal::SIGKILL);
            running.ended().await;
        }
        agent.serving.send_replace(None);
        agent.set_child(None);
        let healthy = started.elapsed() > HEALTHY;
        if healthy {
            self.pause = BACKOFF.0;
            self.fails = 0;
        }
        let next = after(agent, &end?, &mut self.streak, healthy)?;
        if matches!(next, Stage::Run(_)) {
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(BACKOFF.1);
        }
        Ok(next)
    }
}

/// Founds a cluster: the token is random, so that a wiped folder founds a different cluster at the
/// same address.
fn found(agent: &Agent) -> io::Result<Stage> {
    agent.folder.archive("found")?;
    agent.folder.update(|i| {
        i.phase = Phase::Bootstrapping;
        i.cluster_uuid = Some(uuid::Uuid::new_v4().to_string());
        i.token = Some(uuid::Uuid::new_v4().to_string());
        i.initial_cluster = Vec::new();
        i.peer.clone_from(&agent.addresses.peer);
        i.client.clone_from(&agent.addresses.client);
    })?;
    Ok(Stage::Run(Mode::New))
}

/// Waits until the cluster answers and is ours.
async fn seek(agent: &Agent) -> Stage {
    let role = if agent.etcd.is_some() { Role::Volunteer } else { Role::Client };
    tls::obtained(agent, role).await;
    if !*agent.settled.borrow() || agent.endpoints.expected().is_none() {
        let seeds: Vec<String> = known(agent).into_iter().map(|seed| seed.text).collect();
        agent.say(role, Some(format!("waiting for an answer from {}", seeds.join(", "))));
    }
    loop {
        let mut asked = std::pin::pin!(settle(agent));
        let answer = tokio::select! {
            answer = &mut asked => answer,
            // Long before the store gives up, a plain connection tells what is the matter.
            why = unreachable(agent) => {
                agent.say(role, Some(why));
                asked.await
            }
        };
        match answer {
            Ok(()) => break,
            Err(error @ StartError::ForeignCluster { .. }) => {
                agent.say(Role::Blocked, Some(error.to_string()));
            }
            Err(error) => {
                let why = silence::reasons(&known(agent)).await;
                agent.say(role, Some(why.unwrap_or_else(|| error.to_string())));
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
    if agent.etcd.is_none() {
        agent.say(Role::Client, agent.no_etcd.clone());
        std::future::pending::<()>().await;
    }
    Stage::Volunteer
}

/// Why nobody can be reached; waits for ever while somebody can.
async fn unreachable(agent: &Agent) -> String {
    tokio::time::sleep(AGAIN).await;
    match silence::reasons(&known(agent)).await {
        Some(why) => why,
        None => std::future::pending().await,
    }
}

/// Everybody who may answer: the seeds, or, without any, who answered last time.
fn known(agent: &Agent) -> Vec<Url> {
    if !agent.addresses.seeds.is_empty() {
        return agent.addresses.seeds.clone();
    }
    let urls = agent.endpoints.urls();
    urls.iter().filter_map(|url| Url::parse("--seeds", url, CLIENT_PORT).ok()).collect()
}

/// Learns which cluster answers and checks that it is the folder's; remembers it when the folder
/// had none.
pub(super) async fn settle(agent: &Agent) -> Result<(), StartError> {
    let unknown = |why: String| StartError::Io {
        what: "cannot join through the seeds for",
        path: agent.folder.path().into(),
        source: std::io::Error::other(why),
    };
    let (lists, revision) =
        agent.store.read_many(&[keys::cluster()]).await.map_err(|e| unknown(e.to_string()))?;
    let entry = lists.first().and_then(|l| l.first());
    let record: Option<ClusterRecord> = match entry {
        Some(entry) => keys::read(&entry.value),
        None if agent.etcd.is_some() => adopt::written(agent, revision).await,
        None => adopt::record(agent).await,
    };
    let record = record.ok_or_else(|| {
        unknown("the cluster there is not one of quorate, or not set up yet".into())
    })?;
    let cluster = agent.endpoints.expected();
    let identity = agent.folder.identity();
    if let Some(ours) = identity.cluster_uuid.filter(|ours| *ours != record.uuid) {
        let seed = agent.endpoints.urls().first().cloned().unwrap_or_default();
        return Err(StartError::ForeignCluster { seed, theirs: record.uuid, ours });
    }
    let stored = agent.folder.update(|i| {
        i.cluster_uuid = Some(record.uuid);
        i.token = Some(record.token);
        i.cluster_id = i.cluster_id.or(cluster);
    });
    stored.map_err(|e| unknown(e.to_string()))?;
    agent.settled.send_replace(true);
    Ok(())
}

/// Offers to serve until a nomination comes that is not the one which `failed`.
async fn volunteer(agent: &Agent, failed: Option<i64>, fails: u32) -> NominateRecord {
    let mut claim = agent.claim.subscribe();
    // Who failed stands behind those who have not tried yet.
    let since = if fails == 0 { agent.started } else { now_seconds() };
    let rest = fails.checked_sub(1).map_or(0, |n| REST.0.saturating_mul(1 << n.min(16)));
    loop {
        let Ok(held) = claim.wait_for(Option::is_some).await.map(|c| *c) else {
            std::future::pending::<()>().await;
            continue;
        };
        let Some(held) = held else { continue };
        let offer = VolunteerRecord {
            v: keys::VERSION,
            instance: agent.instance.clone(),
            peer: agent.addresses.peer.clone(),
            client: agent.addresses.client.clone(),
            since,
            not_before: rest.min(REST.1),
            etcd: agent.etcd.as_ref().map(|e| e.version.to_string()).unwrap_or_default(),
        };
        match agent.store.txn(writes::volunteer(&agent.host, &offer, held)).await {
            Ok(done) if done.applied => {
                fault::point("volunteered");
                agent.say(Role::Volunteer, None);
            }
            // A claim that is no longer ours is made anew by its own task.
            _ => {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        }
        claim.mark_unchanged();
        tokio::select! {
            order = nominated(agent, failed) => return order,
            // The lease was lost and with it the offer.
            _ = claim.changed() => {}
        }
    }
}

async fn nominated(agent: &Agent, failed: Option<i64>) -> NominateRecord {
    let key = PerHost::Nominate.of(&agent.host);
    loop {
        let revision = match agent.store.range(&key).await {
            Ok(snapshot) => {
                let entry = snapshot.entries.iter().find(|e| e.key == key);
                let order: Option<NominateRecord> = entry.and_then(|e| keys::read(&e.value));
                if let Some(order) = order.filter(|o| Some(o.seq) != failed) {
                    return order;
                }
                snapshot.revision
            }
            Err(_) => {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        if let Ok(mut changes) = agent.store.watch(&key, revision + 1).await {
            // Whatever comes, a change or an error: look again.
            drop(changes.recv().await);
        }
    }
}

/// Prepares the folder for a nomination.
fn follow(agent: &Agent, order: &NominateRecord) -> io::Result<Stage> {
    fault::point("nominated");
    agent.folder.archive("stale")?;
    fault::point("archived");
    agent.folder.update(|i| {
        i.phase = Phase::Joining;
        i.member = Some(order.member);
        i.token = Some(order.token.clone());
        i.cluster_uuid = Some(order.uuid.clone());
        i.initial_cluster.clone_from(&order.initial_cluster);
        i.peer.clone_from(&agent.addresses.peer);
        i.client.clone_from(&agent.addresses.client);
    })?;
    fault::point("joining");
    Ok(Stage::Run(Mode::Existing))
}

/// What follows the end of etcd.
fn after(agent: &Agent, end: &End, streak: &mut Streak, healthy: bool) -> io::Result<Stage> {
    let phase = agent.folder.identity().phase;
    let exit = match end {
        // Nobody can have joined: the record that joining rests on comes after this phase.
        End::Abandoned(why) if phase == Phase::Bootstrapping => {
            tracing::warn!("{why}; founding the cluster on new data");
            agent.folder.archive("unfounded")?;
            return Ok(again(phase));
        }
        // Only who is no member yet may start over: a stranger on our port is no reason to put
        // the data of a member aside.
        End::Abandoned(why) if phase != Phase::Joining => {
            agent.say(Role::Blocked, Some(why.clone()));
            return Ok(again(phase));
        }
        End::Abandoned(why) => {
            tracing::warn!("{why}; asking for another try");
            return Ok(Stage::GiveUp("failed"));
        }
        End::Exit(exit) => exit,
    };
    let others = agent.others_have_quorum();
    let times = streak.count(exit.cause(), healthy);
    let sentence = exit.sentence();
    match aftermath::next(aftermath::End { cause: exit.cause(), phase, others, times }) {
        Next::Again => {
            agent.say(Role::Starting, Some(sentence));
            Ok(again(phase))
        }
        Next::Rejoin("removed") => {
            let text = "this member was removed from the cluster; data moved to archive/";
            agent.say(Role::Removed, Some(text.into()));
            Ok(Stage::Abandon("removed"))
        }
        // The others need not wait until the place of this member has run out of time.
        Next::Rejoin("failed") => {
            tracing::warn!("{sentence}; asking for another try");
            Ok(Stage::GiveUp("failed"))
        }
        Next::Rejoin(reason) => {
            tracing::warn!("{sentence}; volunteering again");
            abandon(agent, reason)
        }
        Next::GiveUp => {
            tracing::error!("{sentence}; giving up this member and volunteering as a new one");
            Ok(Stage::GiveUp("disk-lost"))
        }
        Next::Rest => {
            let sentence = match (exit.cause(), &agent.etcd) {
                (Cause::Told(Class::Version), Some(etcd)) => {
                    format!("etcd {} cannot join this cluster: {sentence}", etcd.version)
                }
                _ => sentence,
            };
            let tried = if times > 1 { format!(" {times} times") } else { String::new() };
            let log = agent.folder.path().join("etcd.log");
            let reason = format!(
                "{sentence}{tried}; the data stay where they are, see {}, and start the agent \
                 again once it is mended",
                log.display()
            );
            agent.say(Role::Blocked, Some(reason));
            Ok(Stage::Rest)
        }
    }
}

fn again(phase: Phase) -> Stage {
    Stage::Run(if phase == Phase::Bootstrapping { Mode::New } else { Mode::Existing })
}

/// Puts the data aside and starts over as a volunteer of the same cluster.
fn abandon(agent: &Agent, reason: &str) -> io::Result<Stage> {
    agent.folder.archive(reason)?;
    agent.folder.update(|i| i.forget_membership())?;
    Ok(Stage::Seek)
}

/// The others have removed this member, and a person wants it to stay out.
fn stay_out(agent: &Agent) -> io::Result<Stage> {
    abandon(agent, "removed")?;
    let reason = "this member was removed from the cluster and stays out (--no-rejoin); its data \
                  are in archive/, start the agent without the flag to join as a new one";
    agent.say(Role::Removed, Some(reason.into()));
    Ok(Stage::Rest)
}

/// The member cannot come back: asks for its removal, then volunteers as a new one. Its data stay
/// until the wish is stored: a person may still be able to mend them.
async fn give_up_member(agent: &Agent, reason: &'static str) -> io::Result<Stage> {
    let identity = agent.folder.identity();
    let Some(member) = identity.member else { return abandon(agent, reason) };
    let leave = LeaveRecord {
        v: keys::VERSION,
        instance: agent.instance.clone(),
        member,
        reason: reason.into(),
        deadline: None,
    };
    let txn = writes::disk_lost(&agent.host, &leave, None);
    while let Err(error) = agent.store.txn(txn.clone()).await {
        let why = format!(
            "the etcd data of this member are of no use, and the others cannot take it out: {error}"
        );
        agent.say(Role::Blocked, Some(why));
        tokio::time::sleep(AGAIN).await;
    }
    abandon(agent, reason)
}
