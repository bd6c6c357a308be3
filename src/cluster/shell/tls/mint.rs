//! New tokens.
//!
//! Refuses where the cluster's own authority does not give the certificates.

use std::path::Path;
use std::time::Duration;

use super::authority::{self, Authority};
use super::files::Material;
use super::{AUTHORITY_CERT, check, folder};
use crate::cluster::keys;
use crate::cluster::shell::now_seconds;
use crate::cluster::tls::Secret;
use crate::cluster::tls::token::{NewToken, Token};
use crate::store::{Compare, Op, Store, Txn};

/// How long the record of a token outlives it, so that who comes late is told why he is refused.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// Makes a token that `uses` hosts may use within `ttl`, on the host with this name and state
/// folder. This is what `quorate cluster token` asks the agent for.
///
/// # Errors
/// One sentence: the cluster has no authority, or the store does not answer.
pub async fn mint(
    store: &dyn Store,
    state: &Path,
    host: &str,
    (ttl, uses): (Duration, u16),
) -> Result<NewToken, String> {
    let file = folder(state).join(AUTHORITY_CERT);
    let authority = std::fs::read(&file).map_err(|_| {
        "this cluster has no authority of its own: it was not founded with https:// addresses, or \
         its certificates come from files"
            .to_owned()
    })?;
    let authority = check::certificates(&authority)?;
    let authority = authority.first().ok_or("there is no authority")?;
    let mut random = [0; 22];
    getrandom::fill(&mut random).map_err(|why| format!("no random numbers: {why}"))?;
    let (mut id, mut secret) = ([0; 6], [0; 16]);
    let (first, rest) = random.split_at(id.len());
    id.copy_from_slice(first);
    secret.copy_from_slice(rest);
    let token = Token::new(id, secret, authority);
    let until = now_seconds().saturating_add(ttl.as_secs());
    let record = token.record(host, until, uses);
    let failed = |error: crate::store::StoreError| error.to_string();
    let lease = store.grant(ttl.saturating_add(REMEMBERED)).await.map_err(failed)?;
    let key = keys::token(&token.id);
    let value = keys::write(&record);
    let when = vec![Compare::Missing(key.clone())];
    let put = Op::Put { key: key.clone(), value: value.clone(), lease: Some(lease) };
    let done = store.txn(Txn { when, then: vec![put] }).await.map_err(failed)?;
    // Ours is there when an earlier try was made and its answer lost: nobody else has the secret.
    let ours = done.applied
        || (done.repeated && {
            let now = store.range(&key).await.map_err(failed)?;
            now.entries.iter().any(|one| one.key == key && one.value == value)
        });
    match ours {
        true => Ok(NewToken { token: token.text(), until }),
        false => Err("the same token exists already; try again".into()),
    }
}

/// A certificate for the key of `material` by which its holder acts as etcd's `root`, for as long
/// as the one that it takes the place of.
pub(super) fn operator(material: &Material, key: &Secret) -> Option<String> {
    let authority = Authority::load(material.authority.clone(), key).ok()?;
    let public = authority::public(&material.own.as_ref()?.1).ok()?;
    authority.operator(&public, material.validity()?).ok()
}
