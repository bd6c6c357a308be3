//! What requests read: the records in the store, and what members say of themselves.
//!
//! Refuses to wait long: a report without a quorum must come, too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::timeout;

use crate::cluster::identity::parse_id;
use crate::cluster::keys::{self, HostRecord, PerHost, SizeRecord};
use crate::cluster::report::{Health, Records};
use crate::cluster::request::Answer;
use crate::cluster::shell::Agent;
use crate::cluster::shell::rpc::Probe;
use crate::cluster::told::Told;
use crate::cluster::verdict::Known;
use crate::cluster::writes::Claim;
use crate::store::Entry;

/// How long the store may take; without a leader it would be asked for ten.
const READ: Duration = Duration::from_secs(2);
/// How often the deciding host is looked for, and the pause in between: after an election the new
/// one needs a moment.
const LOOKS: usize = 12;
const PAUSE: Duration = Duration::from_millis(250);

/// What is said of the members of an etcd that is only used.
const FOREIGN: &str = "no agent founded this etcd cluster (--no-server uses it as it is), so none \
    looks after its members; change them with etcdctl member";

/// The records of the cluster; `None` when the store does not answer.
pub(super) async fn records(agent: &Agent) -> Option<Records> {
    lists(agent).await.map(|lists| Records::read(&lists))
}

async fn lists(agent: &Agent) -> Option<Vec<Vec<Entry>>> {
    let prefixes = Records::prefixes();
    let read = timeout(READ, agent.store.read_many(&prefixes)).await;
    read.ok()?.ok().map(|(lists, _)| lists)
}

/// What a change is judged by.
pub(super) struct Sight {
    /// What the deciding host saw last.
    pub(super) told: Told,
    /// The wanted size, and its revision.
    pub(super) size: Option<(SizeRecord, i64)>,
    /// The claims to their names of the hosts whose agents live.
    pub(super) claims: BTreeMap<String, Claimed>,
    alive: BTreeSet<String>,
}

/// A claim of another host.
pub(super) struct Claimed {
    pub(super) claim: Claim,
    pub(super) instance: String,
}

impl Sight {
    pub(super) fn known(&self) -> Known<'_> {
        Known { seen: &self.told.seen, alive: &self.alive }
    }
}

/// Everything that a change is judged by; an answer when there is nobody to judge.
pub(super) async fn sight(agent: &Agent) -> Result<Sight, Answer> {
    for _ in 0..LOOKS {
        let Some(lists) = lists(agent).await else {
            let view = agent.status.borrow().cluster.clone().unwrap_or_default();
            let why = view.missing().unwrap_or_else(|| "the store does not answer".into());
            return Err(Answer::Refused(format!("nothing can be changed: {why}")));
        };
        let records = Records::read(&lists);
        if let Some(told) = records.current().cloned() {
            return Ok(read(told, &lists));
        }
        // A founder writes both at once; a client that finds nobody's etcd, the first alone.
        if records.cluster.is_some() && records.size.is_none() {
            return Err(Answer::Refused(FOREIGN.into()));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Answer::Refused(
        "no host decides about members at the moment; see `quorate cluster status`".into(),
    ))
}

fn read(told: Told, lists: &[Vec<Entry>]) -> Sight {
    let mut claims = BTreeMap::new();
    let entries = lists.iter().flatten();
    for entry in entries.clone().filter(|one| one.key.starts_with(&PerHost::Host.all())) {
        let record = keys::read::<HostRecord>(&entry.value);
        if let (Some(host), Some(record), Some(lease)) =
            (PerHost::Host.host(&entry.key), record, entry.lease)
        {
            let claim = Claim { lease, revision: entry.revision };
            claims.insert(host, Claimed { claim, instance: record.instance });
        }
    }
    let size = entries.filter(|one| one.key == keys::size());
    let size = size.filter_map(|one| Some((keys::read(&one.value)?, one.revision))).next();
    Sight { told, size, alive: claims.keys().cloned().collect(), claims }
}

/// What the known members say of themselves, by id; all are asked at the same time.
pub(super) async fn health(agent: &Agent) -> BTreeMap<String, Health> {
    let view = agent.status.borrow().cluster.clone().unwrap_or_default();
    let lonely = !view.quorum;
    let expected = agent.endpoints.expected();
    let asked = view.members.iter().map(|member| async move {
        let id = parse_id(&member.id)?;
        let mut probe = agent.rpc.probe(member.client.first()?).await;
        // An etcd that was started without a quorum answers only at its port for peers.
        if let (None, true, Some(url)) = (&probe, lonely, member.peer.first()) {
            probe = agent.rpc.probe_early(url, id).await;
        }
        let probe = probe
            .filter(|it| it.member == id && expected.is_none_or(|cluster| cluster == it.cluster))?;
        Some((member.id.clone(), of(&probe)))
    });
    futures_util::future::join_all(asked).await.into_iter().flatten().collect()
}

fn of(probe: &Probe) -> Health {
    Health {
        version: probe.version.map(|v| v.to_string()).unwrap_or_default(),
        term: probe.term,
        index: probe.index,
        applied: probe.applied,
        lag: 0,
        db_bytes: probe.db_bytes,
        db_used_bytes: probe.db_used_bytes,
    }
}
