//! How etcd is reached: certificates and a user's password, in one place that can be changed while
//! channels are open.
//!
//! Refuses to be printed. A channel keeps what it was opened with; the next one takes what is new.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Error, Identity, TlsOptions};
use tokio::time::timeout;
use zeroize::Zeroizing;

/// What every channel shows to etcd, and whom it trusts.
#[derive(Default)]
pub struct Access {
    inner: Mutex<Inner>,
    user: Option<(String, Zeroizing<String>)>,
}

#[derive(Default)]
struct Inner {
    tls: Option<TlsOptions>,
    alias: Option<(String, String)>,
}

impl Access {
    /// Without certificates and, unless `user` is given, without a password.
    pub fn new(user: Option<(String, Zeroizing<String>)>) -> Arc<Self> {
        Arc::new(Access { user, ..Access::default() })
    }

    /// From now on servers must come from `authority`, and see `own`: certificate and key. All in
    /// PEM form.
    pub fn set_tls(&self, authority: &str, own: Option<(&str, &str)>) {
        let options = TlsOptions::new().ca_certificate(Certificate::from_pem(authority));
        let options = match own {
            Some((cert, key)) => options.identity(Identity::from_pem(cert, key)),
            None => options,
        };
        self.guard().tls = Some(options);
    }

    /// The server at `url` may show a certificate for `host` instead of the URL's own.
    pub fn set_alias(&self, url: &str, host: &str) {
        self.guard().alias = Some((url.to_owned(), host.to_owned()));
    }

    /// The user, when there is one.
    pub fn user(&self) -> Option<&str> {
        self.user.as_ref().map(|(name, _)| name.as_str())
    }

    /// Opens a channel. With a password this asks the server; else nothing is sent yet.
    ///
    /// # Errors
    /// The URL is none, or the password is refused, or nobody answers within `limit`.
    pub async fn connect(
        &self,
        url: &str,
        mut options: ConnectOptions,
        limit: Duration,
    ) -> Result<Client, Error> {
        if url.starts_with("https://") {
            let inner = self.guard();
            let alias = inner.alias.as_ref().filter(|(own, _)| own == url);
            let tls = inner.tls.clone().unwrap_or_default();
            options = options.with_tls(match alias {
                Some((_, host)) => tls.domain_name(host.as_str()),
                None => tls,
            });
        }
        if let Some((name, password)) = &self.user {
            options = options.with_user(name.as_str(), password.as_str());
        }
        let connected = timeout(limit, Client::connect([url], Some(options))).await;
        connected.unwrap_or_else(|_| Err(Error::Internal("no answer in time".into())))
    }

    fn guard(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("user", &self.user()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_password_nor_a_key_is_shown() {
        let access = Access::new(Some(("ann".into(), Zeroizing::new("sesame".into()))));
        access.set_tls("authority", Some(("certificate", "private")));
        let shown = format!("{access:?}");
        assert!(shown.contains("ann"), "{shown}");
        assert!(!shown.contains("sesame") && !shown.contains("private"), "{shown}");
    }
}
