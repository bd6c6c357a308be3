//! Has etcd ask who writes, and says who may write what.
//!
//! Refuses where the certificates are not the cluster's own: nobody could act as `root` then, and
//! members would change no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    Client, ConnectOptions, Error, Permission, PermissionType, RoleRevokePermissionOptions,
    UserAddOptions,
};

use super::operate::Operator;
use super::{Agent, now_seconds};
use crate::cluster::address::Url;
use crate::cluster::auth::{self, AuthRecord, ROOT, Right, SHARED, Slot};
use crate::cluster::keys::{self, PerHost};
use crate::store::etcd::Access;
use crate::store::{Op, Store, Txn};

/// How long a question to etcd may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which hosts may export what.
pub type Grants = BTreeMap<String, BTreeSet<Slot>>;

/// What is known about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthView {
    /// etcd asks who writes.
    pub on: bool,
    /// What the store says about it.
    pub record: Option<AuthRecord>,
    /// The users of etcd, as far as this host may see them.
    pub users: Vec<String>,
    /// Why this host cannot change anything about it.
    pub obstacle: Option<String>,
}

/// What etcd said against it.
enum No {
    /// It is like that already.
    Already,
    Other(String),
}

impl From<Error> for No {
    fn from(error: Error) -> Self {
        match error {
            Error::GRpcStatus(status) => {
                let why = status.message();
                let already = ["already exists", "already granted", "is not granted"];
                if already.iter().any(|one| why.contains(one)) {
                    No::Already
                } else {
                    No::Other(why.to_owned())
                }
            }
            other => No::Other(other.to_string()),
        }
    }
}

/// What is like that already is as good as done.
fn done<T>(answer: Result<T, Error>) -> Result<(), String> {
    match answer.map_err(No::from) {
        Ok(_) | Err(No::Already) => Ok(()),
        Err(No::Other(why)) => Err(why),
    }
}

impl Operator {
    /// Whether etcd asks who writes, found out by asking for what only `root` may know.
    pub async fn is_asked(&self) -> Result<bool, String> {
        let agent = self.agent.upgrade().ok_or("the agent is ending")?;
        asks(&agent).await
    }

    /// What is known about it.
    pub async fn auth_view(&self) -> Result<AuthView, String> {
        let agent = self.agent.upgrade().ok_or("the agent is ending")?;
        let obstacle = obstacle(&agent);
        let users = match obstacle {
            None => {
                let listed = client(&agent).await?.user_list().await;
                listed.map(|list| list.users().to_vec()).unwrap_or_default()
            }
            Some(_) => Vec::new(),
        };
        Ok(AuthView { on: asks(&agent).await?, record: record(&agent).await?, users, obstacle })
    }

    /// Makes users of all these hosts, gives them their rights, and has etcd ask from now on.
    /// Gives the files of the operator's certificate.
    pub async fn auth_enable(
        &self,
        hosts: &Grants,
        channels: BTreeSet<String>,
    ) -> Result<[std::path::PathBuf; 2], String> {
        let agent = self.agent.upgrade().ok_or("the agent is ending")?;
        permitted(&agent)?;
        if hosts.contains_key(ROOT) {
            return Err(format!("a host is called `{ROOT}`; give it another name first"));
        }
        let mut client = client(&agent).await?;
        let no_password = Some(UserAddOptions::new().with_no_pwd());
        done(client.user_add(ROOT, "", no_password).await)?;
        done(client.user_grant_role(ROOT, ROOT).await)?;
        share(&mut client).await?;
        for (host, slots) in hosts {
            admit(&mut client, host, Some(slots)).await?;
        }
        let files = agent.tls.save_operator().map_err(|why| why.to_string())?;
        let enabled = client.auth_enable().await;
        enabled.map_err(|why| why.to_string())?;
        tracing::warn!("the store asks who writes from now on: each host writes only its own");
        tell(&agent, true, channels).await?;
        Ok(files)
    }

    /// Gives exactly these rights to these hosts.
    pub async fn auth_grant(&self, hosts: &Grants) -> Result<(), String> {
        let agent = self.agent.upgrade().ok_or("the agent is ending")?;
        permitted(&agent)?;
        let mut client = client(&agent).await?;
        share(&mut client).await?;
        for (host, slots) in hosts {
            admit(&mut client, host, Some(slots)).await?;
        }
        Ok(())
    }

    /// Has etcd ask no more. Users and roles stay as they are.
    pub async fn auth_disable(&self) -> Result<(), String> {
        let agent = self.agent.upgrade().ok_or("the agent is ending")?;
        permitted(&agent)?;
        tell(&agent, false, BTreeSet::new()).await?;
        let mut client = client(&agent).await?;
        client.auth_disable().await.map(drop).map_err(|why| why.to_string())?;
        tracing::warn!("the store does not ask any more who writes");
        Ok(())
    }

    /// Whether this host may say who may write what.
    pub fn may_grant(&self) -> bool {
        self.agent.upgrade().is_some_and(|agent| obstacle(&agent).is_none())
    }

    /// All hosts that are members, or whose agents claim their names.
    pub async fn hosts(&self) -> Result<BTreeSet<String>, String> {
        let agent = self.agent.upgrade().ok_or("the agent is ending")?;
        let mut hosts = BTreeSet::new();
        for of in [PerHost::Host, PerHost::Volunteer, PerHost::Nominate] {
            let found = agent.store.range(&of.all()).await.map_err(|why| why.to_string())?;
            hosts.extend(found.entries.iter().filter_map(|entry| of.host(&entry.key)));
        }
        if let Some((_, members)) = agent.rpc.members(&agent.own_url).await {
            let names = members.iter().map(|one| crate::cluster::flags::host_of(&one.name));
            hosts.extend(names.filter(|name| !name.is_empty()).map(str::to_owned));
        }
        Ok(hosts)
    }
}

/// Makes a user of a host that is about to join, when that is needed.
pub(super) async fn expect(agent: &Agent, host: &str) -> Result<(), String> {
    if host == ROOT {
        return Err(format!("no host may be called `{ROOT}`"));
    }
    match record(agent).await? {
        Some(record) if record.on => admit(&mut client(agent).await?, host, None).await,
        _ => Ok(()),
    }
}

fn obstacle(agent: &Agent) -> Option<String> {
    if !agent.tls.by_authority() {
        return Some(
            "this cluster has no authority of its own: found it with https:// addresses and \
             without certificates from files"
                .to_owned(),
        );
    }
    match agent.tls.holds_key() {
        true => None,
        false => Some(
            "this host does not have the authority's key; ask the agent of a voter, see `quorate \
             cluster status`"
                .to_owned(),
        ),
    }
}

fn permitted(agent: &Agent) -> Result<(), String> {
    obstacle(agent).map_or(Ok(()), Err)
}

async fn client(agent: &Agent) -> Result<Client, String> {
    agent.rpc.client(&agent.own_url).await.ok_or_else(|| "the etcd of this host is silent".into())
}

async fn record(agent: &Agent) -> Result<Option<AuthRecord>, String> {
    let found = agent.store.range(&auth::key()).await.map_err(|why| why.to_string())?;
    let entry = found.entries.iter().find(|entry| entry.key == auth::key());
    Ok(entry.and_then(|entry| keys::read(&entry.value)))
}

async fn tell(agent: &Agent, on: bool, channels: BTreeSet<String>) -> Result<(), String> {
    let record = AuthRecord::new(on, &agent.host, now_seconds(), channels);
    let put = Op::Put { key: auth::key(), value: keys::write(&record), lease: None };
    let txn = Txn { when: Vec::new(), then: vec![put] };
    agent.store.txn(txn).await.map(drop).map_err(|why| why.to_string())
}

/// Asks as this host for what only `root` may know.
async fn asks(agent: &Agent) -> Result<bool, String> {
    let Some((authority, own)) = agent.tls.shown() else { return Ok(false) };
    let access: Arc<Access> = Access::new(None);
    access.set_tls(&authority, Some((own.0.as_str(), own.1.expose())));
    let urls = agent.endpoints.urls();
    let mut last = "no endpoint is known".to_owned();
    for url in urls.iter().filter(|url| url.starts_with("https://")) {
        // It is reached where it listens, and shows what it advertises.
        let advertised = agent.addresses.client.first().filter(|_| *url == agent.own_url);
        if let Some(host) = advertised.and_then(|one| Url::parse("", one, 1).ok()) {
            access.set_alias(url, &host.host);
        }
        let options = ConnectOptions::new().with_connect_timeout(PATIENCE);
        let asked = async {
            let mut client = access.connect(url, options, PATIENCE).await?;
            client.user_list().await.map(drop)
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(())) => return Ok(false),
            Ok(Err(Error::GRpcStatus(status)))
                if status.message().contains("permission denied") =>
            {
                return Ok(true);
            }
            Ok(Err(why)) => last = why.to_string(),
            Err(_) => last = "no answer in time".to_owned(),
        }
    }
    Err(last)
}

/// Gives the role of all hosts its rights.
async fn share(client: &mut Client) -> Result<(), String> {
    done(client.role_add(SHARED).await)?;
    set(client, SHARED, &auth::shared()).await
}

/// Makes a user of a host; without `slots`, what it may export stays as it is.
async fn admit(
    client: &mut Client,
    host: &str,
    slots: Option<&BTreeSet<Slot>>,
) -> Result<(), String> {
    let role = auth::role_of(host);
    done(client.user_add(host, "", Some(UserAddOptions::new().with_no_pwd())).await)?;
    done(client.role_add(role.as_str()).await)?;
    done(client.user_grant_role(host, SHARED).await)?;
    done(client.user_grant_role(host, role.as_str()).await)?;
    match slots {
        Some(slots) => set(client, &role, &auth::rights(host, slots)).await,
        None => {
            let wanted = auth::rights(host, &BTreeSet::new());
            let has = rights(client, &role).await?;
            set(client, &role, &has.union(&wanted).cloned().collect()).await
        }
    }
}

async fn rights(client: &mut Client, role: &str) -> Result<BTreeSet<Right>, String> {
    let answer = client.role_get(role).await.map_err(|why| why.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let right = |one: &Permission| Right {
        write: one.get_type() != PermissionType::Read as i32,
        key: text(one.key()),
        end: text(one.range_end()),
    };
    Ok(answer.permissions().iter().map(right).collect())
}

async fn set(client: &mut Client, role: &str, wanted: &BTreeSet<Right>) -> Result<(), String> {
    let has = rights(client, role).await?;
    let (grant, revoke) = auth::change(&has, wanted);
    for one in revoke {
        let end = RoleRevokePermissionOptions::new().with_range_end(one.end.as_str());
        done(client.role_revoke_permission(role, one.key.as_str(), Some(end)).await)?;
    }
    for one in grant {
        let permission = match one.write {
            true => Permission::read_write(one.key.as_str()),
            false => Permission::read(one.key.as_str()),
        };
        let permission = permission.with_range_end(one.end.as_str());
        done(client.role_grant_permission(role, permission).await)?;
    }
    Ok(())
}
