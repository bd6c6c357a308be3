//! Questions and orders to single members of etcd, each with a limit of its own.
//!
//! Refuses to try again or elsewhere: an order about members must not be repeated blindly.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{
    AlarmAction, AlarmMember, AlarmOptions, AlarmType, Client, CompactionOptions, ConnectOptions,
    MemberAddOptions, ResponseHeader,
};
use tokio::time::timeout;

use crate::cluster::flags::Version;
pub(super) use crate::cluster::seen::{Member, Probe};
use crate::store::etcd::Access;

/// How long a member may take to say how it is.
pub(super) const PROBE: Duration = Duration::from_millis(500);
/// How long an order about members may take. etcd itself gives up after 7 s.
const ORDER: Duration = Duration::from_secs(8);
/// How long a member may take to give its free space back; 2 GiB take seconds.
const DEFRAGMENT: Duration = Duration::from_secs(60);

/// Connections to members, by URL.
pub(super) struct Rpc {
    access: Arc<Access>,
    clients: Mutex<HashMap<String, Client>>,
}

impl Rpc {
    /// None yet.
    pub(super) fn new(access: Arc<Access>) -> Self {
        Rpc { access, clients: Mutex::default() }
    }

    /// How the member at `url` is; `None` when it does not answer in time.
    pub(super) async fn probe(&self, url: &str) -> Option<Probe> {
        let mut client = self.client(url).await?;
        let Ok(Ok(status)) = timeout(PROBE, client.status()).await else {
            self.forget(url);
            return None;
        };
        let header = status.header()?;
        Some(Probe {
            cluster: header.cluster_id(),
            member: header.member_id(),
            leader: status.leader(),
            term: status.raft_term(),
            index: status.raft_index(),
            applied: status.raft_applied_index(),
            learner: status.is_learner(),
            version: Version::parse(status.version()),
            db_bytes: bytes(status.db_size()),
            db_used_bytes: bytes(status.raft_used_db_size()),
            full: status.errors().iter().any(|text| text.contains("NOSPACE")),
        })
    }

    /// How the member `id` is, asked at its port for peers, where etcd answers before it had a
    /// leader. Asked for its state before it has read in its log that it is a member, etcd 3.4 ends
    /// in a panic; so the list is asked for first.
    pub(super) async fn probe_early(&self, url: &str, id: u64) -> Option<Probe> {
        let (_, members) = self.members(url).await?;
        if members.iter().all(|one| one.id != id) {
            return None;
        }
        self.probe(url).await
    }

    /// The members as `url` knows them, with the cluster's id.
    pub(super) async fn members(&self, url: &str) -> Option<(u64, Vec<Member>)> {
        let mut client = self.client(url).await?;
        let Ok(Ok(list)) = timeout(PROBE * 2, client.member_list()).await else {
            self.forget(url);
            return None;
        };
        let cluster = list.header().map(ResponseHeader::cluster_id)?;
        Some((cluster, list.members().iter().map(member).collect()))
    }

    /// The members' names, from the first of `urls` that answers.
    pub(super) async fn names(&self, urls: &[String]) -> Option<Vec<String>> {
        for url in urls {
            if let Some((_, members)) = self.members(url).await {
                return Some(members.into_iter().map(|member| member.name).collect());
            }
        }
        None
    }

    /// Adds a learner; its id and everybody's list.
    pub(super) async fn add_learner(
        &self,
        url: &str,
        peer: &[String],
    ) -> Result<(u64, Vec<Member>), String> {
        let mut client = self.client(url).await.ok_or("no connection")?;
        let options = MemberAddOptions::new().with_is_learner();
        let answer = self.order(url, client.member_add(peer, Some(options))).await?;
        let id = answer.member().map(etcd_client::Member::id).ok_or("no member in the answer")?;
        Ok((id, answer.member_list().iter().map(member).collect()))
    }

    /// Makes a learner a voter.
    pub(super) async fn promote(&self, url: &str, id: u64) -> Result<(), String> {
        let mut client = self.client(url).await.ok_or("no connection")?;
        self.order(url, client.member_promote(id)).await.map(drop)
    }

    /// Removes a member.
    pub(super) async fn remove(&self, url: &str, id: u64) -> Result<(), String> {
        let mut client = self.client(url).await.ok_or("no connection")?;
        self.order(url, client.member_remove(id)).await.map(drop)
    }

    /// Gives a member other peer URLs.
    pub(super) async fn update(&self, url: &str, id: u64, peer: &[String]) -> Result<(), String> {
        let mut client = self.client(url).await.ok_or("no connection")?;
        self.order(url, client.member_update(id, peer)).await.map(drop)
    }

    /// Hands the leadership over; `url` is the leader's.
    pub(super) async fn move_leader(&self, url: &str, to: u64) -> Result<(), String> {
        let mut client = self.client(url).await.ok_or("no connection")?;
        self.order(url, client.move_leader(to)).await.map(drop)
    }

    /// The members that have raised the alarm that they are full.
    pub(super) async fn full_members(&self, url: &str) -> Result<Vec<u64>, String> {
        let mut client = self.client(url).await.ok_or("no connection")?;
        let (get, any) = (AlarmAction::Get, AlarmType::None);
        let answer = self.order(url, client.alarm(get, any, None)).await?;
        let full = answer.alarms().iter().filter(|a| a.alarm() == AlarmType::Nospace);
        Ok(full.map(AlarmMember::member_id).collect())
    }

    /// Ends that alarm of one member.
    pub(super) async fn disarm(&self, url: &str, id: u64) -> Result<(), String> {
        let mut client = self.client(url).await.ok_or("no connection")?;
        let mut options = AlarmOptions::new();
        options.with_member(id);
        let (end, full) = (AlarmAction::Deactivate, AlarmType::Nospace);
        self.order(url, client.alarm(end, full, Some(options))).await.map(drop)
    }

    /// Drops what was overwritten before a revision; the space is free when this returns.
    pub(super) async fn compact(&self, url: &str, revision: i64) -> Result<(), String> {
        let mut client = self.client(url).await.ok_or("no connection")?;
        let options = CompactionOptions::new().with_physical();
        match self.order(url, client.compact(revision, Some(options))).await {
            // Somebody was there before: as good as done.
            Err(why) if why.contains("compacted") => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Has a member give its free space back to the disk; it is deaf meanwhile.
    pub(super) async fn defragment(&self, url: &str) -> Result<(), String> {
        let mut client = self.client(url).await.ok_or("no connection")?;
        match timeout(DEFRAGMENT, client.defragment()).await {
            Ok(answer) => answer.map(drop).map_err(|error| error.to_string()),
            Err(_) => Err("no answer in time".into()),
        }
    }

    /// The database of the member at `url`, piece by piece. Each piece has its own limit: how much
    /// there is, nobody knows.
    pub(super) async fn snapshot(
        &self,
        url: &str,
        mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), String> {
        let mut client = self.client(url).await.ok_or("no connection")?;
        let mut stream = self.order(url, client.snapshot()).await?;
        while let Some(piece) = self.order(url, stream.message()).await? {
            take(piece.blob()).map_err(|why| why.to_string())?;
        }
        Ok(())
    }

    async fn order<T>(
        &self,
        url: &str,
        order: impl Future<Output = Result<T, etcd_client::Error>>,
    ) -> Result<T, String> {
        match timeout(ORDER, order).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(etcd_client::Error::GRpcStatus(status))) => Err(status.message().to_owned()),
            Ok(Err(error)) => {
                self.forget(url);
                Err(error.to_string())
            }
            Err(_) => {
                self.forget(url);
                Err("no answer in time".into())
            }
        }
    }

    /// A connection to the member at `url`, for what is asked elsewhere.
    pub(super) async fn client(&self, url: &str) -> Option<Client> {
        if let Some(client) = self.guard().get(url) {
            return Some(client.clone());
        }
        let options = ConnectOptions::new()
            .with_connect_timeout(PROBE)
            .with_keep_alive(Duration::from_secs(5), Duration::from_secs(2))
            .with_keep_alive_while_idle(false);
        let client = self.access.connect(url, options, PROBE).await.ok()?;
        self.guard().insert(url.to_owned(), client.clone());
        Some(client)
    }

    /// Has every next question open a channel of its own, with what is shown to servers by now.
    pub(super) fn renew(&self) {
        self.guard().clear();
    }

    fn forget(&self, url: &str) {
        self.guard().remove(url);
    }

    fn guard(&self) -> std::sync::MutexGuard<'_, HashMap<String, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn member(member: &etcd_client::Member) -> Member {
    Member {
        id: member.id(),
        name: member.name().to_owned(),
        peer: member.peer_urls().to_vec(),
        client: member.client_urls().to_vec(),
        learner: member.is_learner(),
    }
}

/// etcd counts bytes with a sign.
fn bytes(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}
