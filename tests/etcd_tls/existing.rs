//! An etcd that no agent runs, with certificates and a password.

use std::process::Stdio;

use quorate::cluster::Role;

use crate::authority::{Authority, mode};
use crate::program::etcd;
use crate::site::{Site, etcdctl, put, refused, started, stop_all, until};

/// An etcd of somebody else, ended when dropped.
struct Existing {
    _child: tokio::process::Child,
    site: Site,
}

async fn existing(authority: &Authority, until: i32) -> Existing {
    let site = Site::new("theirs");
    let (cert, key) = authority.issue("server", &["127.0.0.1"], until);
    let (client, peer) = (site.client_url(), format!("http://127.0.0.1:{}", site.client + 1));
    let child = tokio::process::Command::new(etcd())
        .arg(format!("--data-dir={}", site.path("data").display()))
        .args([
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
        ])
        .args([
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
        ])
        .arg(format!("--initial-cluster=default={peer}"))
        .arg(format!("--cert-file={}", cert.display()))
        .arg(format!("--key-file={}", key.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("etcd starts");
    let found = Existing { _child: child, site };
    for _ in 0..100 {
        // Whatever its certificate says: this only waits.
        if control(&found, authority, &["get", "x", "--insecure-skip-tls-verify"]).await.0 {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the etcd does not serve");
}

async fn control(found: &Existing, authority: &Authority, words: &[&str]) -> (bool, String) {
    let mut all = vec![format!("--endpoints={}", found.site.client_url())];
    all.push(format!("--cacert={}", authority.file.display()));
    all.extend(words.iter().map(|word| (*word).to_owned()));
    etcdctl(&all).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_etcd_is_used_with_its_authority_and_a_password() {
    let authority = Authority::new("ours");
    let found = existing(&authority, 2050).await;
    let url = found.site.client_url();
    for words in [
        "user add root:secret",
        "user grant-role root root",
        "role add agent",
        "role grant-permission agent --prefix=true readwrite /quorate/1/",
        "user add ann:sesame",
        "user grant-role ann agent",
        "auth enable",
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let (done, said) = control(&found, &authority, &words).await;
        assert!(done, "{words:?}: {said}");
    }

    let site = Site::new("h1");
    let password = |text: &str| {
        let file = site.path("password");
        std::fs::write(&file, text).unwrap();
        mode(&file, 0o600);
        file
    };
    let config = |file| {
        let mut config = site.client_config(&[&url]);
        config.flags.tls.trusted_ca_file = Some(authority.file.clone());
        config.flags.tls.user = Some("ann".into());
        config.flags.tls.password_file = Some(file);
        config
    };
    let (code, said) = refused(config(password("wrong\n"))).await;
    let want = format!(
        "{url} does not accept the user ann (etcdserver: authentication failed, invalid user ID or \
         password); check --user and --password-file"
    );
    assert_eq!((code, said), (3, want));

    let first = started(config(password("sesame\n"))).await;
    until(&first, "client", |s| s.role == Role::Client && s.reason.is_none()).await;
    assert!(put(&first.store, "/quorate/1/kv/a", "1").await);
    assert!(!put(&first.store, "/elsewhere", "1").await, "the role does not reach there");

    // A second client finds the record of the first.
    let other = Site::new("h2");
    let mut second = config(password("sesame"));
    second.host = quorate::ident::HostName::parse("h2").unwrap();
    second.state_dir = other.path("state");
    let second = started(second).await;
    until(&second, "client", |s| s.role == Role::Client && s.reason.is_none()).await;
    let uuid = |h: &quorate::cluster::shell::Handle| h.state.identity().cluster_uuid;
    assert_eq!(uuid(&first), uuid(&second));
    stop_all([first, second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_whose_certificate_has_ended_is_refused_with_the_date() {
    let authority = Authority::new("ours");
    let found = existing(&authority, 2025).await;
    let url = found.site.client_url();
    let mut config = Site::new("h1").client_config(&[&url]);
    config.flags.tls.trusted_ca_file = Some(authority.file.clone());
    let want = format!(
        "{url} shows a certificate that ended on 2025-01-01 00:00 UTC; renew it there, or set the \
         clock of this host"
    );
    assert_eq!(refused(config).await, (3, want));
}
