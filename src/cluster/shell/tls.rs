//! The effects of TLS: files read, certificates made and fetched, seeds looked at.
//!
//! Refuses to decide: which files, which sentence, what a token is worth and when to renew are
//! decided by [`crate::cluster::tls`].

use std::sync::Arc;

use zeroize::Zeroizing;

use super::rpc::Rpc;
use super::{Config, now_seconds};
use crate::cluster::StartError;
use crate::cluster::address::Addresses;
use crate::cluster::tls::lifetime::{WARN, date};
use crate::cluster::tls::{Files, Plan, TlsError, names, plan};
use crate::store::etcd::Access;

mod check;
mod config;
mod files;
mod probe;

use files::Material;

/// What is known of certificates before anything is touched.
pub(super) struct Prepared {
    /// How etcd is reached.
    pub(super) access: Arc<Access>,
    /// The files that etcd gets: towards clients and among members.
    pub(super) certificates: Option<(Files, Files)>,
    material: Option<Material>,
    /// Whom we trust, in words.
    trusted: String,
}

/// Reads and looks at everything that the flags name.
pub(super) fn prepare(config: &Config, addresses: &Addresses) -> Result<Prepared, StartError> {
    let flags = &config.flags.tls;
    let plan = plan::decide(flags, addresses.tls, !config.flags.no_server)?;
    let user = match (&flags.user, &flags.password_file) {
        (Some(user), Some(file)) => {
            let password = files::line("--password-file", file)?;
            Some((user.clone(), Zeroizing::new(password.expose().to_owned())))
        }
        _ => None,
    };
    let access = Access::new(user);
    let (now, names) = (now_seconds(), names::advertised(addresses));
    let mut prepared =
        Prepared { access, certificates: None, material: None, trusted: String::new() };
    let authority = match plan {
        Plan::Plain => return Ok(prepared),
        Plan::Authority => return Err(TlsError::NoCertificate.into()),
        Plan::ClientFiles(trust) => {
            prepared.material = Some(files::load_client(files::CLIENT, &trust, &[], now)?);
            trust.authority
        }
        Plan::Files { client, peer } => {
            prepared.material = Some(files::load(files::CLIENT, &client, &names, now)?);
            if peer != client {
                files::load(files::PEER, &peer, &names, now)?;
            }
            let authority = client.authority.clone();
            prepared.certificates = Some((files::absolute(&client), files::absolute(&peer)));
            authority
        }
    };
    prepared.trusted = format!("those in --trusted-ca-file {}", authority.display());
    if let Some(material) = &prepared.material {
        use_material(&prepared.access, material);
        warn_of_end(material, now);
    }
    Ok(prepared)
}

/// From now on channels show this.
fn use_material(access: &Access, material: &Material) {
    let own = material.own.as_ref().map(|(cert, key)| (cert.as_str(), key.expose()));
    access.set_tls(&material.authority, own);
}

/// Says when a certificate ends that nobody renews for us.
fn warn_of_end(material: &Material, now: u64) {
    let Some((cert, _)) = &material.own else { return };
    let chain = check::certificates(cert.as_bytes()).unwrap_or_default();
    let validity = chain.first().and_then(check::validity);
    if let Some(validity) = validity.filter(|one| one.until < now.saturating_add(WARN)) {
        tracing::warn!("the certificate of this host ends on {}; renew it", date(validity.until));
    }
}

/// Refuses seeds that are there and show that they will never talk to us as we are. One that
/// answers is enough; silence is no reason.
pub(super) async fn examine(
    prepared: &Prepared,
    rpc: &Rpc,
    addresses: &Addresses,
) -> Result<(), TlsError> {
    let asked = addresses.seeds.iter().map(|seed| rpc.members(&seed.text));
    let answers = futures_util::future::join_all(asked).await;
    if answers.iter().any(Option::is_some) {
        return Ok(());
    }
    let shown = probe::Shown {
        material: prepared.material.as_ref(),
        trusted: prepared.trusted.clone(),
        access: &prepared.access,
    };
    let looked = addresses.seeds.iter().map(|seed| probe::verdict(seed, &shown));
    let found = futures_util::future::join_all(looked).await;
    found.into_iter().flatten().next().map_or(Ok(()), Err)
}
