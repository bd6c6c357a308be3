//! Recovery from a lost quorum or from a snapshot (3.12), on a state folder whose agent does not
//! run.
//!
//! Refuses while a quorum is possible, and changes nothing before a copy is safe.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::private::{Private, copy};
use super::state::{self, StateFolder};
use super::{child, now_seconds, records, snapshots};
use crate::cluster::flags::host_of;
use crate::cluster::identity::Phase;
use crate::cluster::recover::{self, Failure, Found, Outcome, Recovery, Survivor};
use crate::cluster::start::Data;
use crate::ident::HostName;
use crate::store::etcd::Endpoints;

mod restore;

/// How long the others have for their answers.
const ASK: Duration = Duration::from_secs(3);

/// The file in the state folder that says what came of a recovery by an agent.
const OUTCOME: &str = "recovery.json";

/// Carries it out on a folder that no agent has, and on a runtime of its own.
///
/// # Errors
/// One sentence; see [`run`].
pub fn offline(path: &Path, host: &HostName, wanted: &Recovery) -> Result<String, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|why| why.to_string())?;
    let folder = state::open(path, host).map_err(|why| match why.exit_code() {
        1 => Failure::Failed(why.to_string()),
        _ => Failure::Refused(why.to_string()),
    })?;
    runtime.block_on(run(&folder, wanted))
}

/// The same, for an agent on its way to a new start: what came of it goes into the folder.
pub fn and_note(path: &Path, host: &HostName, request: &str, wanted: &Recovery) {
    let result = offline(path, host, wanted);
    let done = result.is_ok();
    let said = match result {
        Ok(said) => said,
        Err(Failure::Refused(why) | Failure::Failed(why)) => why,
    };
    match done {
        true => tracing::warn!("{said}"),
        false => tracing::error!("not recovered: {said}"),
    }
    let outcome = Outcome { request: request.into(), done, said };
    let text = serde_json::to_vec(&outcome).unwrap_or_default();
    if let Err(why) = state::write_atomically(&path.join(OUTCOME), &text) {
        tracing::error!("{}: {why}", path.join(OUTCOME).display());
    }
}

/// What came of a recovery by the agent of this folder, if it was the one of this request.
pub fn outcome(path: &Path, request: &str) -> Option<Outcome> {
    let text = std::fs::read(path.join(OUTCOME)).ok()?;
    let outcome: Outcome = serde_json::from_slice(&text).ok()?;
    (outcome.request == request).then_some(outcome)
}

/// Carries it out; one sentence says what came of it.
///
/// # Errors
/// One sentence; the data are as they were, unless it says otherwise.
pub async fn run(folder: &StateFolder, wanted: &Recovery) -> Result<String, Failure> {
    let found = child::find(None).await.map_err(|why| why.to_string())?;
    let etcd = found.ok_or_else(|| child::none_found().to_string())?;
    child::end_orphans(&folder.etcd_dir()).await;
    match wanted {
        Recovery::LostQuorum { from, peer, .. } => lost_quorum(folder, &etcd, from, peer).await,
        Recovery::Snapshot { file } => restore::run(folder, &etcd, file).await,
    }
}

async fn lost_quorum(
    folder: &StateFolder,
    etcd: &child::Program,
    from: &Option<String>,
    peer: &[String],
) -> Result<String, Failure> {
    let identity = folder.identity();
    if folder.data() != Data::Ours || !matches!(identity.phase, Phase::Member | Phase::Leaving) {
        return Err(Failure::Refused(format!(
            "{} has no data of a member to recover from; recover on a host that was a voter, or \
             from a snapshot",
            folder.path().display()
        )));
    }
    let found = survey(folder, etcd, from).await?;
    recover::judge(&found).map_err(Failure::Refused)?;
    folder.keep().map_err(|why| why.to_string())?;
    let archive = set_aside(folder).map_err(|why| format!("no copy could be made: {why}"))?;
    let forced = Private::start(folder, etcd, &["--force-new-cluster"]).await?;
    let made = found_anew(folder, &forced, peer).await;
    forced.end().await;
    made.map_err(|why| format!("{why}; the data as they were are in {}", archive.display()))?;
    Ok(recover::sentence(&found.own, found.voters, &archive.display().to_string()))
}

/// How far this host's log goes, and who else answers.
async fn survey(
    folder: &StateFolder,
    etcd: &child::Program,
    from: &Option<String>,
) -> Result<Found, Failure> {
    let looked = Private::start(folder, etcd, &[]).await?;
    let seen = look(folder, &looked, from).await;
    looked.end().await;
    Ok(seen?)
}

async fn look(folder: &StateFolder, own: &Private, from: &Option<String>) -> Result<Found, String> {
    let identity = folder.identity();
    let member = identity.member.ok_or("the folder does not say which member it is")?;
    let probe = own.reads(member).await?;
    let (cluster, members) =
        own.rpc.members(&own.early).await.ok_or("the members cannot be read from its data")?;
    let voters: Vec<_> = members.iter().filter(|one| !one.learner).collect();
    if voters.iter().all(|one| one.id != probe.member) {
        return Err(format!("{} was no voter, and has no vote to recover with", identity.hostname));
    }
    let others = voters.iter().filter(|one| one.id != probe.member);
    let secured = others.clone().flat_map(|one| &one.client).any(|url| url.starts_with("https"));
    if secured && from.is_none() && !super::tls::given(folder.path()).cert.exists() {
        return Err(format!(
            "the other voters use certificates that are not in {}, so they cannot be asked whether \
             a quorum is possible; --from {} recovers without asking",
            folder.path().display(),
            identity.hostname
        ));
    }
    let asked = others.map(|one| async {
        // One that was started without a quorum answers only its peers.
        let client = one.client.iter().map(|url| own.rpc.probe(url));
        let peer = one.peer.iter().map(|url| own.rpc.probe_early(url, one.id));
        let asked = async {
            let both =
                (futures_util::future::join_all(client), futures_util::future::join_all(peer));
            tokio::join!(both.0, both.1)
        };
        let (client, peer) = tokio::time::timeout(ASK, asked).await.unwrap_or_default();
        let mut answers = client.into_iter().chain(peer).flatten();
        let answer = answers.find(|it| it.cluster == cluster && it.member == one.id)?;
        let host = host_of(&one.name).to_owned();
        Some(Survivor { host, term: answer.term, index: answer.index })
    });
    let others = futures_util::future::join_all(asked).await.into_iter().flatten().collect();
    let own = Survivor { host: identity.hostname, term: probe.term, index: probe.index };
    Ok(Found { voters: voters.len(), own, others, named: from.clone() })
}

/// Copies the data; where to.
fn set_aside(folder: &StateFolder) -> std::io::Result<PathBuf> {
    let at = folder.path().join("archive").join(format!("{:012}-before-recover", now_seconds()));
    copy(&folder.etcd_dir(), &at)?;
    Ok(at)
}

/// Makes the forced member the only one, with records that say so.
async fn found_anew(folder: &StateFolder, forced: &Private, peer: &[String]) -> Result<(), String> {
    let probe = forced.leads().await?;
    let (_, members) = forced.rpc.members(&forced.url).await.ok_or("it has no members")?;
    // Some versions keep a learner.
    for other in members.iter().filter(|one| one.id != probe.member) {
        forced.rpc.remove(&forced.url, other.id).await?;
    }
    if !peer.is_empty() {
        forced.rpc.update(&forced.url, probe.member, peer).await?;
    }
    let endpoints = Endpoints::new(vec![forced.url.clone()], Some(probe.cluster), true);
    records::renew(endpoints, None).await?;
    let identity = folder.identity();
    let stored = folder.update(|one| {
        one.phase = Phase::Member;
        one.member = Some(probe.member);
        one.cluster_id = Some(probe.cluster);
        one.initial_cluster = Vec::new();
        if !peer.is_empty() {
            one.peer = peer.to_vec();
        }
    });
    stored.map_err(|why| why.to_string())?;
    folder.remember_endpoints(&identity.client).map_err(|why| why.to_string())
}

/// Whether a snapshot's file can be restored.
fn whole(file: &Path) -> Result<(), Failure> {
    match snapshots::check(file) {
        Ok((_, true)) => Ok(()),
        Ok((bytes, false)) => Err(Failure::Refused(format!(
            "{} is no whole snapshot ({bytes} bytes): its hash is missing or wrong",
            file.display()
        ))),
        Err(why) => Err(Failure::Failed(format!("{}: {why}", file.display()))),
    }
}
