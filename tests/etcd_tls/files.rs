//! Certificates in files that somebody else keeps.

use crate::authority::{Authority, mode};
use crate::site::{Site, etcdctl, healthy, put, refused, started, stop_all};

const LOCAL: [&str; 2] = ["127.0.0.1", "localhost"];

/// One agent whose certificate is good.
async fn one(authority: &Authority) -> (Site, quorate::cluster::shell::Handle) {
    let site = Site::new("h1");
    let mut config = site.config(&[]);
    authority.give(&mut config, &LOCAL, 2050);
    let handle = started(config).await;
    healthy(&[&handle], 1).await;
    (site, handle)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_agents_with_certificate_files_form_a_cluster_that_plain_clients_cannot_use() {
    let authority = Authority::new("ours");
    let (first, handle) = one(&authority).await;
    let others = [Site::new("h2"), Site::new("h3")];
    let mut handles = vec![handle];
    for site in &others {
        let mut config = site.config(&[&first.client_url()]);
        authority.give(&mut config, &LOCAL, 2050);
        handles.push(started(config).await);
    }
    healthy(&handles.iter().collect::<Vec<_>>(), 3).await;
    assert!(put(&handles[2].store, "/quorate/1/kv/a", "1").await);

    let (cert, key) = authority.issue("operator", &["operator"], 2050);
    for port in [first.client, first.client + 1] {
        let asks = |scheme: &str, words: &[String]| {
            let url = format!("--endpoints={scheme}://127.0.0.1:{port}");
            let mut all = vec![url];
            all.extend_from_slice(words);
            all.extend(["get", "/quorate/1/kv/a", "--print-value-only"].map(str::to_owned));
            all
        };
        let trust = format!("--cacert={}", authority.file.display());
        let own = [format!("--cert={}", cert.display()), format!("--key={}", key.display())];
        let (done, said) = etcdctl(&asks("http", &[])).await;
        assert!(!done, "plain on {port}: {said}");
        let (done, said) = etcdctl(&asks("https", std::slice::from_ref(&trust))).await;
        assert!(!done, "without a certificate on {port}: {said}");
        if port == first.client {
            let words = [vec![trust], own.to_vec()].concat();
            let (done, said) = etcdctl(&asks("https", &words)).await;
            assert!(done && said.trim() == "1", "{said}");
        }
    }
    stop_all(handles).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_seed_shows_and_we_cannot_accept_is_refused_in_one_sentence() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (first, handle) = one(&ours).await;
    let url = first.client_url();

    let site = Site::new("h2");
    let mut config = site.config(&[&url]);
    theirs.give(&mut config, &LOCAL, 2050);
    let file = theirs.file.display();
    let want = format!(
        "{url} shows a certificate of another authority than those in --trusted-ca-file {file}; \
         wrong seed, or it belongs to another cluster"
    );
    assert_eq!(refused(config).await, (3, want));

    let mut config = site.config(&[&url]);
    theirs.give(&mut config, &LOCAL, 2050);
    config.flags.tls.trusted_ca_file = Some(ours.file.clone());
    let want = format!(
        "the certificate {} was not issued by an authority in {}; give the two that belong \
         together",
        config.flags.tls.cert_file.as_ref().unwrap().display(),
        ours.file.display()
    );
    assert_eq!(refused(config).await, (3, want));

    let mut config = site.client_config(&[&url]);
    config.flags.tls.trusted_ca_file = Some(ours.file.clone());
    let want = format!(
        "{url} asks for a certificate of this host; pass --token (quorate cluster token), or \
         --cert-file and --key-file"
    );
    assert_eq!(refused(config).await, (3, want));

    let mut config = Site::plain("h2").client_config(&[&url.replace("https", "http")]);
    config.flags.insecure_network = true;
    let plain = url.replace("https", "http");
    let want = format!(
        "{plain} speaks TLS only; write https:// and pass --token (quorate cluster token), or \
         --cert-file, --key-file and --trusted-ca-file"
    );
    assert_eq!(refused(config).await, (3, want));
    assert!(put(&handle.store, "/quorate/1/kv/a", "1").await, "the first is undisturbed");
    stop_all([handle]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_by_a_name_that_its_certificate_does_not_have_is_refused_with_those_it_has() {
    let authority = Authority::new("ours");
    let first = Site::new("h1");
    let mut config = first.config(&[]);
    authority.give(&mut config, &["h1.example", "127.0.0.1"], 2050);
    let handle = started(config).await;
    healthy(&[&handle], 1).await;
    let url = format!("https://localhost:{}", first.client);
    let mut config = Site::new("h2").config(&[&url]);
    authority.give(&mut config, &LOCAL, 2050);
    let want = format!(
        "{url} shows a certificate for h1.example, 127.0.0.1, not for localhost; seed by one of \
         those names"
    );
    assert_eq!(refused(config).await, (3, want));
    stop_all([handle]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_without_tls_is_told_from_one_with_it() {
    let first = Site::plain("h1");
    let handle = started(first.config(&[])).await;
    healthy(&[&handle], 1).await;
    let url = first.client_url().replace("http", "https");
    let authority = Authority::new("ours");
    let mut config = Site::new("h2").config(&[&url]);
    authority.give(&mut config, &LOCAL, 2050);
    let want = format!(
        "{url} does not speak TLS; if that cluster was started with --insecure-network, seed with \
         http:// and start this host the same way"
    );
    assert_eq!(refused(config).await, (3, want));
    stop_all([handle]).await;
}

#[tokio::test]
async fn every_fault_of_a_file_is_refused_before_anything_is_touched() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let site = Site::new("h1");
    let good = || {
        let mut config = site.config(&[]);
        ours.give(&mut config, &LOCAL, 2050);
        config
    };
    let cert = good().flags.tls.cert_file.unwrap();
    let key = good().flags.tls.key_file.unwrap();
    let (shown, shown_key) = (cert.display(), key.display());

    let mut config = good();
    config.flags.tls.cert_file = Some(site.path("absent"));
    let absent = site.path("absent");
    let want = format!(
        "--cert-file {}: it cannot be read: No such file or directory (os error 2)",
        absent.display()
    );
    assert_eq!(refused(config).await, (3, want));

    let mut config = good();
    config.flags.tls.trusted_ca_file = Some(key.clone());
    let want = format!("--trusted-ca-file {shown_key}: it holds no certificate in PEM form");
    assert_eq!(refused(config).await, (3, want));

    let mut config = good();
    config.flags.tls.key_file = Some(ours.issue("other", &LOCAL, 2050).1);
    let other = config.flags.tls.key_file.clone().unwrap();
    let want =
        format!("{} is not the key of {shown}; give the two that belong together", other.display());
    assert_eq!(refused(config).await, (3, want));

    let config = good();
    mode(&key, 0o644);
    let want = format!(
        "--key-file {shown_key}: others may read or change it (mode 0644); run: chmod 600 \
         {shown_key}"
    );
    assert_eq!(refused(config).await, (3, want));

    let mut config = site.config(&[]);
    ours.give(&mut config, &LOCAL, 2025);
    let want = format!("the certificate {shown} ended on 2025-01-01 00:00 UTC; renew it");
    assert_eq!(refused(config).await, (3, want));

    let mut config = good();
    config.flags.tls.trusted_ca_file = Some(theirs.file.clone());
    let want = format!(
        "the certificate {shown} was not issued by an authority in {}; give the two that belong \
         together",
        theirs.file.display()
    );
    assert_eq!(refused(config).await, (3, want));

    let mut config = site.config(&[]);
    ours.give(&mut config, &["h9", "10.9.9.9"], 2050);
    config.flags.client_urls = vec!["https://10.0.0.8:2379".into()];
    let want = format!(
        "the certificate {shown} is for h9, 10.9.9.9, not for 10.0.0.8, which this host \
         advertises; advertise one of those names, or have it issued for 10.0.0.8"
    );
    assert_eq!(refused(config).await, (3, want));
}
