//! What the status shows of the cluster, looked at once a second, by every agent for itself.
//!
//! Refuses to influence anything: the controller makes its own observations.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::rpc::{Member, Probe};
use super::{Agent, controller, fault, now_seconds};
use crate::cluster::decide::quorum;
use crate::cluster::flags::host_of;
use crate::cluster::identity::{Phase, show_id};
use crate::cluster::keys::{self, ClusterRecord, SizeRecord};
use crate::cluster::space;
use crate::cluster::status::{ClusterView, MemberView, Role};

/// How often to look. Members do not tell when they are gone.
const LOOK: Duration = Duration::from_secs(1);
/// So many looks in a row must find that the others do not list this member: one may be old.
const UNLISTED: u32 = 3;

/// Looks for as long as it is polled.
pub(super) async fn run(agent: Arc<Agent>) {
    let mut settled = agent.settled.subscribe();
    if settled.wait_for(|known| *known).await.is_err() {
        return;
    }
    let mut known = agent.folder.remembered_endpoints();
    let mut missed = 0;
    loop {
        if let Some(view) = look(&agent).await {
            if agent.status.borrow().role == Role::Voter {
                fault::point("voter");
            }
            missed = if unlisted(&agent, &view).await { missed + 1 } else { 0 };
            if missed >= UNLISTED {
                // Told again for as long as it is so: an etcd may be in the middle of its start.
                agent.unlisted.notify_one();
            }
            agent.status.send_if_modified(|status| {
                let new = status.cluster.as_ref() != Some(&view);
                if new {
                    status.cluster = Some(view);
                }
                new
            });
        }
        let urls = worth_remembering(&agent);
        if urls != known && agent.folder.remember_endpoints(&urls).is_ok() {
            known = urls;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether our etcd waits for others who have a quorum without it: nobody who is left can tell it
/// that it was removed when all have moved. So many of them must say so that one of them knows of
/// every change: who lags behind tells the list that it last knew.
async fn unlisted(agent: &Agent, view: &ClusterView) -> bool {
    let identity = agent.folder.identity();
    let member = matches!(identity.phase, Phase::Member | Phase::Leaving);
    let (Some(own), Some(cluster)) = (identity.member.filter(|_| member), identity.cluster_id)
    else {
        return false;
    };
    let listed = view.members.iter().any(|member| member.id == show_id(own));
    if agent.serving.borrow().is_some() || !view.quorum || listed {
        return false;
    }
    let urls = view.voters().filter_map(|voter| voter.client.first());
    let lists = futures_util::future::join_all(urls.map(|url| agent.rpc.members(url))).await;
    let lists: Vec<Vec<Member>> = lists
        .into_iter()
        .flatten()
        .filter(|(of, _)| *of == cluster)
        .map(|(_, list)| list)
        .collect();
    lists.len() >= quorum(view.voters().count())
        && lists.iter().flatten().all(|member| member.id != own)
}

/// Everybody who could tell about the cluster at the next start: who is asked now, and every voter
/// seen.
fn worth_remembering(agent: &Agent) -> Vec<String> {
    let mut urls = agent.endpoints.urls();
    if let Some(view) = &agent.status.borrow().cluster {
        let voters = view.members.iter().filter(|m| m.role == Role::Voter);
        urls.extend(voters.flat_map(|m| m.client.iter().cloned()));
    }
    urls.sort();
    urls.dedup();
    urls
}

/// The cluster as it is now; without anybody who answers, what is remembered of it, and that it is
/// lost.
async fn look(agent: &Agent) -> Option<ClusterView> {
    let identity = agent.folder.identity();
    let expected = identity.cluster_id?;
    let earlier = agent.status.borrow().cluster.clone().unwrap_or_default();
    let mut view = ClusterView { uuid: identity.cluster_uuid.clone()?, ..ClusterView::default() };
    view.desired = earlier.desired;
    // An etcd that was started without a quorum answers only at its port for peers.
    let lonely = !earlier.quorum;
    let Some(members) = members(agent, expected, lonely).await else {
        view.members.clone_from(&earlier.members);
        view.members.iter_mut().for_each(|m| {
            m.up = false;
            m.answers = false;
            m.leader = false;
        });
        view.remember(&earlier, now_seconds());
        view.note = Some("no member of the cluster answers".into());
        return Some(view);
    };
    let (stranger, space) = describe(agent, (expected, lonely), &members, &mut view).await;
    view.remember(&earlier, now_seconds());
    if view.quorum
        && let Ok((lists, _)) = agent.store.read_many(&[keys::size(), keys::cluster()]).await
    {
        let size = lists.first().and_then(|l| l.first());
        if let Some(size) = size.and_then(|e| keys::read::<SizeRecord>(&e.value)) {
            view.desired = Some(size.n);
        }
        let record = lists.get(1).and_then(|l| l.first());
        if let Some(record) = record.and_then(|e| keys::read::<ClusterRecord>(&e.value)) {
            view.uuid = record.uuid;
        }
    }
    view.note = note(stranger.or_else(|| agent.endpoints.foreign()), &view).or(space);
    Some(view)
}

/// The list of the first that answers and belongs to us: our own etcd, then the others.
async fn members(agent: &Agent, expected: u64, lonely: bool) -> Option<Vec<Member>> {
    let mut urls = agent.endpoints.urls();
    if agent.serving.borrow().is_some() {
        urls.insert(0, agent.own_url.clone());
    }
    if lonely && agent.child().is_some() {
        urls.extend(agent.listen.peer.iter().cloned());
    }
    for url in urls {
        if let Some((cluster, members)) = agent.rpc.members(&url).await
            && cluster == expected
        {
            return Some(members);
        }
    }
    None
}

/// Fills in what the members say; gives the stranger that answers in the place of one of them, and
/// what is to be said about space.
async fn describe(
    agent: &Agent,
    (expected, lonely): (u64, bool),
    members: &[Member],
    view: &mut ClusterView,
) -> (Option<(String, u64)>, Option<String>) {
    let asked = members.iter().map(|member| async move {
        if let Some(url) = member.client.first()
            && let Some(probe) = agent.rpc.probe(url).await
        {
            return Some((url.clone(), probe));
        }
        let url = member.peer.first().filter(|_| lonely)?;
        agent.rpc.probe_early(url, member.id).await.map(|probe| (url.clone(), probe))
    });
    let answers = futures_util::future::join_all(asked).await;
    let strange = |(url, probe): &(String, Probe)| {
        (probe.cluster != expected).then(|| (url.clone(), probe.cluster))
    };
    let stranger = answers.iter().flatten().find_map(strange);
    let own =
        |member: &Member, probe: &Probe| probe.cluster == expected && probe.member == member.id;
    let answers = members.iter().zip(answers);
    let probes: Vec<Option<Probe>> = answers
        .map(|(member, answer)| answer.map(|(_, probe)| probe).filter(|p| own(member, p)))
        .collect();
    let mut leaders: HashMap<u64, usize> = HashMap::new();
    for probe in probes.iter().flatten().filter(|p| p.leader != 0) {
        *leaders.entry(probe.leader).or_default() += 1;
    }
    let leader = leaders.into_iter().max_by_key(|(_, votes)| *votes).map(|(id, _)| id);
    for (member, probe) in members.iter().zip(&probes) {
        view.members.push(MemberView {
            host: host_of(&member.name).into(),
            id: show_id(member.id),
            role: if member.learner { Role::Learner } else { Role::Voter },
            up: probe.as_ref().is_some_and(|p| p.leader != 0),
            answers: probe.is_some(),
            since: 0,
            leader: leader == Some(member.id),
            client: member.client.clone(),
            peer: member.peer.clone(),
        });
    }
    view.members.sort_by_key(|m| (m.role == Role::Learner, m.host.clone()));
    view.leader = view.members.iter().find(|m| m.leader).map(|m| m.host.clone());
    let voters = members.iter().filter(|m| !m.learner).count();
    let up = view.members.iter().filter(|m| m.role == Role::Voter && m.up).count();
    view.quorum = leader.is_some() && up >= quorum(voters);
    let full = probes.iter().flatten().any(|probe| probe.full);
    let usage = members.iter().zip(&probes);
    let usage = usage.filter_map(|(m, probe)| controller::space::usage(m, probe.as_ref()));
    let usage: Vec<_> = usage.collect();
    (stranger, space::notice(agent.quota, &usage, full))
}

fn note(stranger: Option<(String, u64)>, view: &ClusterView) -> Option<String> {
    if let Some((url, stranger)) = stranger {
        let stranger = show_id(stranger);
        return Some(format!("{url} answers for another cluster ({stranger}) and is not used"));
    }
    view.missing()
}
