//! Questions and orders to single members of etcd, each with a limit of its own.
//!
//! Refuses to try again or elsewhere: an order about members must not be repeated blindly.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, MemberAddOptions, ResponseHeader};
use tokio::time::timeout;

/// How long a member may take to say how it is.
pub(super) const PROBE: Duration = Duration::from_millis(500);
/// How long an order about members may take. etcd itself gives up after 7 s.
const ORDER: Duration = Duration::from_secs(8);

/// What a member says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) cluster: u64,
    pub(super) member: u64,
    pub(super) leader: u64,
    pub(super) term: u64,
    pub(super) index: u64,
    pub(super) applied: u64,
    pub(super) learner: bool,
    /// Of its etcd.
    pub(super) version: String,
    pub(super) db_bytes: u64,
    /// Of them, those that hold something.
    pub(super) db_used_bytes: u64,
}

/// A member as the list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: u64,
    /// Empty until it has started once.
    pub(super) name: String,
    pub(super) peer: Vec<String>,
    /// Empty until it has started once.
    pub(super) client: Vec<String>,
    pub(super) learner: bool,
}

/// Connections to members, by URL.
#[derive(Default)]
pub(super) struct Rpc {
    clients: Mutex<HashMap<String, Client>>,
}

impl Rpc {
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
            version: status.version().to_owned(),
            db_bytes: u64::try_from(status.db_size()).unwrap_or_default(),
            db_used_bytes: u64::try_from(status.raft_used_db_size()).unwrap_or_default(),
        })
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

    /// Tells the members that one of them is reached elsewhere.
    pub(super) async fn update(&self, url: &str, id: u64, peer: &[String]) -> Result<(), String> {
        let mut client = self.client(url).await.ok_or("no connection")?;
        self.order(url, client.member_update(id, peer)).await.map(drop)
    }

    /// Removes a member.
    pub(super) async fn remove(&self, url: &str, id: u64) -> Result<(), String> {
        let mut client = self.client(url).await.ok_or("no connection")?;
        self.order(url, client.member_remove(id)).await.map(drop)
    }

    /// Hands the leadership over; `url` is the leader's.
    pub(super) async fn move_leader(&self, url: &str, to: u64) -> Result<(), String> {
        let mut client = self.client(url).await.ok_or("no connection")?;
        self.order(url, client.move_leader(to)).await.map(drop)
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

    async fn client(&self, url: &str) -> Option<Client> {
        if let Some(client) = self.guard().get(url) {
            return Some(client.clone());
        }
        let options = ConnectOptions::new()
            .with_connect_timeout(PROBE)
            .with_keep_alive(Duration::from_secs(5), Duration::from_secs(2))
            .with_keep_alive_while_idle(false);
        let client = Client::connect([url], Some(options)).await.ok()?;
        self.guard().insert(url.to_owned(), client.clone());
        Some(client)
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
