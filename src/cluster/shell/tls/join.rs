//! A host without a certificate gets one for its token.
//!
//! Refuses to ask anybody but the authority that the token names.

use std::time::Duration;

use super::ask::{self, Failed};
use super::files::Material;
use super::{Credentials, check, pin};
use crate::cluster::address::Url;
use crate::cluster::shell::roles::Tell;
use crate::cluster::shell::{Agent, now_seconds};
use crate::cluster::tls::join::{self, Grant, Request};
use crate::cluster::tls::{TlsError, names};

/// The words for whom a joiner trusts.
const TRUSTED: &str = "the one that the token names";
/// The pause before the seeds are asked again.
const AGAIN: Duration = Duration::from_millis(250);

impl Credentials {
    /// Asks each seed once, if a certificate is missing. That nobody answers is no refusal.
    pub(in crate::cluster::shell) async fn admit(&self, seeds: &[Url]) -> Result<(), TlsError> {
        if !self.by_authority() || self.material.borrow().is_some() || seeds.is_empty() {
            return Ok(());
        }
        self.needs_token()?;
        match self.join(seeds).await {
            Err(Failed::Refused(why)) => Err(why),
            Ok(()) | Err(Failed::Silent(_)) => Ok(()),
        }
    }

    /// Asks one seed after another: a token is used up by the first that takes it.
    async fn join(&self, seeds: &[Url]) -> Result<(), Failed> {
        let Some(asking) = &self.asking else { return Ok(()) };
        let Some(token) = &asking.token else {
            return Err(Failed::Refused(TlsError::NoCertificate));
        };
        let mut failed = Failed::Silent("no seed answers".into());
        for seed in seeds {
            let Some(at) = join::beside(seed, asking.port) else { continue };
            let broken = |why: String| Failed::Silent(why);
            let public = super::authority::public(&asking.key).map_err(broken)?;
            let request = Request::new(Some(token), &self.host, &asking.names, &public);
            let config = pin::client(&token.authority).map_err(broken)?;
            match ask::post(&at, join::CERTIFICATE, &request, (config, TRUSTED)).await {
                Ok(grant) => return self.accept(grant).map_err(broken),
                Err(refused @ Failed::Refused(_)) => failed = refused,
                Err(silent) if matches!(failed, Failed::Silent(_)) => failed = silent,
                Err(_) => {}
            }
        }
        Err(failed)
    }

    /// Takes what was granted, if it is what was asked for.
    pub(super) fn accept(&self, grant: Grant) -> Result<(), String> {
        let Some(asking) = &self.asking else { return Ok(()) };
        let own = Some((grant.certificate, asking.key.clone()));
        let material = Material { authority: grant.authority, own };
        let held = check::holds(&material, &names::identity(&self.host), now_seconds());
        held.map_err(|fault| format!("the certificate that was granted is not good: {fault:?}"))?;
        self.take(material);
        Ok(())
    }
}

/// Returns when this host has a certificate, or needs none; tells what it waits for.
pub(in crate::cluster::shell) async fn obtained(agent: &Agent, tell: &Tell) {
    let (tls, seeds) = (&agent.tls, &agent.addresses.seeds);
    while tls.by_authority() && tls.material.borrow().is_none() {
        match tls.join(seeds).await {
            Ok(()) => match tls.save() {
                Ok(()) => return,
                Err(why) => {
                    let folder = tls.folder.display();
                    tell.barred(format!("cannot write {folder}: {why}"));
                }
            },
            Err(Failed::Refused(why)) => tell.barred(why.to_string()),
            Err(Failed::Silent(why)) => {
                tell.silent(format!("waiting for a certificate: {why}"));
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}
