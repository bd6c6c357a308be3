//! What an agent does about certificates while it runs: renews its own, and as a voter holds the
//! authority's key and serves joiners.
//!
//! Refuses to end a connection that is open: what is new counts for the next one. etcd reads its
//! files at each handshake.

use std::sync::Arc;
use std::time::Duration;

use super::ask::{self, Failed};
use super::authority::{self, Authority};
use super::files::{self, Material};
use super::{Credentials, check, config, service};
use crate::cluster::address::{CLIENT_PORT, Url};
use crate::cluster::shell::{Agent, now_seconds};
use crate::cluster::status::Role;
use crate::cluster::tls::join::{self, Grant, KeyGrant, KeyRequest, Request};
use crate::cluster::tls::lifetime::Validity;
use crate::cluster::tls::{Plan, Secret, TlsError, names};
use crate::cluster::when::date_to_minute;

/// The pause before the others are asked again for the key, or for a new certificate.
const AGAIN: Duration = Duration::from_secs(1);
/// How often it is said that a certificate cannot be renewed.
const TELL_AGAIN: u32 = 3600;

/// Does its duties for as long as it is polled.
pub(in crate::cluster::shell) async fn run(agent: Arc<Agent>) {
    match agent.tls.plan {
        Plan::Plain => {}
        Plan::Files { .. } | Plan::ClientFiles(_) => reload(&agent.tls).await,
        Plan::Authority => {
            tokio::join!(renew(&agent), hold_office(&agent));
        }
    }
}

/// Takes what somebody else has put into the files.
async fn reload(tls: &Credentials) {
    loop {
        let validity = tls.material().and_then(|material| material.validity());
        let wait = validity.map_or(3600, |one| one.look_again(now_seconds()));
        tokio::time::sleep(Duration::from_secs(wait.max(1))).await;
        match read_files(&tls.plan, &[]) {
            Ok(Some(new)) if Some(&new) != tls.material().as_ref() => {
                tracing::info!("the certificate of this host was replaced");
                tls.take(new);
            }
            Ok(_) => {}
            Err(why) => tracing::warn!("{why}"),
        }
    }
}

/// The files that somebody else keeps; `None` when there are none.
pub(super) fn read_files(plan: &Plan, names: &[String]) -> Result<Option<Material>, TlsError> {
    let now = now_seconds();
    match plan {
        Plan::Plain | Plan::Authority => Ok(None),
        Plan::ClientFiles(trust) => files::load_client(files::CLIENT, trust, &[], now).map(Some),
        Plan::Files { client, peer } => {
            if peer != client {
                files::load(files::PEER, peer, names, now)?;
            }
            files::load(files::CLIENT, client, names, now).map(Some)
        }
    }
}

/// Renews the certificate of this host while a third of it is left, and when what it is known by
/// has changed.
async fn renew(agent: &Agent) {
    let tls = &agent.tls;
    let mut held = tls.material.subscribe();
    let mut failures = 0;
    loop {
        let Ok(material) = held.wait_for(Option::is_some).await.map(|one| one.clone()) else {
            return;
        };
        let Some(material) = material else { continue };
        let (now, validity) = (now_seconds(), material.validity());
        let due = validity.is_none_or(|one| one.renewal() <= now) || !tls.names_all(&material, now);
        if !due {
            let wait = validity.map_or(1, |one| one.look_again(now));
            tokio::time::sleep(Duration::from_secs(wait)).await;
            continue;
        }
        match renewed(agent).await.and_then(|()| tls.save().map_err(|why| why.to_string())) {
            Ok(()) => {
                failures = 0;
                let until = tls.material().and_then(|one| one.validity()).map_or(0, |v| v.until);
                tracing::info!(
                    "the certificate of this host is new, until {}",
                    date_to_minute(until)
                );
            }
            Err(why) => {
                if failures % TELL_AGAIN == 0 {
                    tracing::warn!("the certificate of this host cannot be renewed yet: {why}");
                }
                failures += 1;
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn renewed(agent: &Agent) -> Result<(), String> {
    let tls = &agent.tls;
    let Some(asking) = &tls.asking else { return Ok(()) };
    let public = authority::public(&asking.key)?;
    if let Some(authority) = tls.authority() {
        let (authority, validity) = (authority?, Validity::new(now_seconds(), tls.lifetime));
        let certificate = authority.issue(&tls.host, &asking.names, &public, validity)?;
        return tls.accept(Grant { certificate, authority: authority.certificate });
    }
    let request = Request::new(None, &tls.host, &asking.names, &public);
    tls.accept(anybody(agent, join::CERTIFICATE, &request).await?)
}

/// Asks every join port that may be one, until one says yes.
async fn anybody<T: serde::de::DeserializeOwned>(
    agent: &Agent,
    path: &str,
    request: &impl serde::Serialize,
) -> Result<T, String> {
    let tls = &agent.tls;
    let mut last = "no voter is known".to_owned();
    let mut urls = agent.endpoints.urls();
    urls.extend(agent.addresses.seeds.iter().map(|seed| seed.text.clone()));
    urls.retain(|url| *url != agent.own_url && !agent.addresses.client.contains(url));
    let port = tls.asking.as_ref().and_then(|asking| asking.port);
    for url in urls {
        let Ok(url) = Url::parse("--seeds", &url, CLIENT_PORT) else { continue };
        let Some(at) = join::beside(&url, port) else { continue };
        let material = tls.material().ok_or("there is no certificate to show")?;
        let shown = (config::client(&material)?, tls.trusted.as_str());
        match ask::post(&at, path, request, shown).await {
            Ok(answer) => return Ok(answer),
            Err(Failed::Silent(why)) => last = why,
            Err(Failed::Refused(why)) => last = why.to_string(),
        }
    }
    Err(last)
}

/// Once a voter: holds the authority's key, and serves joiners.
async fn hold_office(agent: &Arc<Agent>) {
    let mut status = agent.status.subscribe();
    if status.wait_for(|status| status.role == Role::Voter).await.is_err() {
        return;
    }
    while agent.tls.key().is_none() {
        if let Err(why) = fetch_key(agent).await {
            tracing::debug!(why, "the key of the authority is not here yet");
            tokio::time::sleep(AGAIN).await;
        }
    }
    service::serve(agent).await;
}

async fn fetch_key(agent: &Agent) -> Result<(), String> {
    let tls = &agent.tls;
    let request = KeyRequest { host: tls.host.clone() };
    let grant: KeyGrant = anybody(agent, join::AUTHORITY, &request).await?;
    let key = Secret::new(grant.key);
    let material = tls.material().ok_or("there is no certificate")?;
    prove(&material, &key, &tls.host)?;
    tls.set_key(key);
    tls.take(material);
    // A channel shows what it was opened with: from now on we act as who holds the key.
    agent.rpc.renew();
    agent.endpoints.renew();
    tls.save().map_err(|why| why.to_string())
}

/// Whether a key is that of the authority that we trust: what it issues must be good.
fn prove(material: &Material, key: &Secret, host: &str) -> Result<(), String> {
    let own = material.own.as_ref().ok_or("there is no certificate")?;
    let (now, authority) = (now_seconds(), Authority::load(material.authority.clone(), key)?);
    let public = authority::public(&own.1)?;
    let issued = authority.issue(host, &[], &public, Validity::new(now, 60))?;
    let trial = Material { own: Some((issued, own.1.clone())), ..material.clone() };
    let held = check::holds(&trial, &names::identity(host), now);
    held.map_err(|fault| format!("the key is not that of the authority: {fault:?}"))
}

impl Credentials {
    /// Whether the certificate is for everything that this host is known by.
    fn names_all(&self, material: &Material, now: u64) -> bool {
        let names = self.asking.iter().flat_map(|asking| &asking.names);
        names.into_iter().all(|name| check::holds(material, name, now).is_ok())
    }
}
