//! The cluster's own authority: founding, joining by a token, renewal, and what is refused.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use quorate::cluster::Role;
use quorate::cluster::shell::{Config, Handle, mint};
use quorate::cluster::tls::Secret;

use crate::authority::{Authority, mode};
use crate::sentence::fits;
use crate::site::{Site, etcdctl, healthy, post, put, refused, started, stop_all, until};

const HOUR: Duration = Duration::from_secs(3600);

async fn token(handle: &Handle, ttl: Duration, uses: u16) -> Secret {
    let made = mint(handle.store.as_ref(), handle.state.path(), "h1", (ttl, uses)).await;
    made.expect("a token").token
}

fn with(mut config: Config, token: &Secret) -> Config {
    config.flags.tls.token = Some(token.clone());
    config
}

/// The founder, with its authority.
async fn founder() -> (Site, Handle) {
    let site = Site::new("h1");
    let handle = started(site.config(&[])).await;
    healthy(&[&handle], 1).await;
    (site, handle)
}

/// Three voters, the others by tokens.
async fn three() -> ([Site; 3], [Handle; 3]) {
    let (first, handle) = founder().await;
    let others = [Site::new("h2"), Site::new("h3")];
    let seeds = [first.client_url()];
    let seeds = seeds.each_ref().map(String::as_str);
    let (one, other) = (token(&handle, HOUR, 1).await, token(&handle, HOUR, 1).await);
    let [second, third] = others;
    let handles = tokio::join!(
        started(with(second.config(&seeds), &one)),
        started(with(third.config(&seeds), &other)),
    );
    let handles = [handle, handles.0, handles.1];
    healthy(&handles.each_ref(), 3).await;
    ([first, second, third], handles)
}

fn key_of(site: &Site) -> Option<String> {
    std::fs::read_to_string(site.path("state/tls/authority.key")).ok()
}

async fn until_key(site: &Site) -> String {
    for _ in 0..400 {
        if let Some(key) = key_of(site) {
            return key;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} has no key of the authority", site.name);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_agents_form_a_cluster_by_tokens_within_five_seconds() {
    let begun = Instant::now();
    let (sites, handles) = three().await;
    let took = begun.elapsed();
    println!("three voters with TLS after {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(put(&handles[2].store, "/quorate/1/kv/a", "1").await);

    let modes = |path: &str| std::fs::metadata(sites[0].path(path)).unwrap().permissions().mode();
    assert_eq!(modes("state") & 0o777, 0o700);
    for file in ["authority.key", "host.key"] {
        assert_eq!(modes(&format!("state/tls/{file}")) & 0o777, 0o600, "{file}");
    }
    for port in [sites[1].client, sites[1].client + 1] {
        let ask = |scheme: &str, words: &[String]| {
            let mut all = vec![format!("--endpoints={scheme}://127.0.0.1:{port}")];
            all.extend_from_slice(words);
            all.extend(["get", "/quorate/1/kv/a", "--print-value-only"].map(str::to_owned));
            all
        };
        let file = |name: &str| sites[2].path(&format!("state/tls/{name}")).display().to_string();
        let trust = vec![format!("--cacert={}", file("authority.crt"))];
        assert!(!etcdctl(&ask("http", &[])).await.0, "plain on {port}");
        assert!(!etcdctl(&ask("https", &trust)).await.0, "without a certificate on {port}");
        // The port for members speaks etcd's own protocol only, once TLS is on.
        if port != sites[1].client {
            continue;
        }
        let own = [format!("--cert={}", file("host.crt")), format!("--key={}", file("host.key"))];
        let (done, said) = etcdctl(&ask("https", &[trust, own.to_vec()].concat())).await;
        assert!(done && said.trim() == "1", "{said}");
    }
    stop_all(handles).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_voter_hands_out_certificates_after_the_founder_is_gone() {
    let (sites, [first, second, third]) = three().await;
    let key = until_key(&sites[0]).await;
    for site in &sites[1..] {
        assert_eq!(until_key(site).await, key);
    }
    stop_all([first]).await;
    let made = token(&second, HOUR, 1).await;
    let fourth = Site::new("h4");
    let seeds = sites.each_ref().map(Site::client_url);
    let seeds = seeds.each_ref().map(String::as_str);
    let spare = started(with(fourth.config(&seeds), &made)).await;
    until(&spare, "volunteer", |s| s.role == Role::Volunteer && s.reason.is_none()).await;
    assert!(put(&spare.store, "/quorate/1/kv/a", "1").await);
    assert_eq!(key_of(&fourth), None, "only voters hold the key");
    // The founder comes back by its old command, without a token: its certificate is kept.
    let first = started(sites[0].config(&[])).await;
    healthy(&[&first, &second, &third], 3).await;
    stop_all([first, second, third, spare]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_used_forged_or_expired_is_refused_in_one_sentence() {
    let (first, handle) = founder().await;
    let (url, join) = (first.client_url(), format!("https://127.0.0.1:{}", first.client + 2));
    let good = token(&handle, HOUR, 1).await;
    let brief = token(&handle, Duration::ZERO, 1).await;

    // Refusals first: none of them may use the good token up.
    let config = Site::new("h2").config(&[&url]);
    let want = "this host has no certificate of the cluster; pass --token (quorate cluster token \
                on a host of it prints one), or --cert-file, --key-file and --trusted-ca-file";
    assert_eq!(refused(config).await, (3, want.to_owned()));

    let config = with(Site::new("h2").config(&[&url]), &Secret::from("abc"));
    let want = "this is no token: pass what quorate cluster token printed, three groups of hex \
                digits with dots between them";
    assert_eq!(refused(config).await, (2, want.to_owned()));

    let parts: Vec<&str> = good.expose().split('.').collect();
    let [id, secret, authority] = parts.as_slice() else { panic!("three parts") };
    let unknown = format!(
        "{join} gives this host no certificate: the token is not one of this cluster; make another \
         with quorate cluster token"
    );
    let turned: String = secret.chars().rev().collect();
    for forged in
        [format!("{id}.{turned}.{authority}"), format!("000000000000.{secret}.{authority}")]
    {
        let config = with(Site::new("h2").config(&[&url]), &Secret::new(forged));
        assert_eq!(refused(config).await, (3, unknown.clone()));
    }

    let other = Secret::new(format!("{id}.{secret}.{}", "0".repeat(64)));
    let want = format!(
        "{join} shows a certificate of another authority than the one that the token names; wrong \
         seed, or it belongs to another cluster"
    );
    assert_eq!(refused(with(Site::new("h2").config(&[&url]), &other)).await, (3, want));

    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let (code, said) = refused(with(Site::new("h2").config(&[&url]), &brief)).await;
    let want = format!(
        "{join} gives this host no certificate: the token expired on *-*-* *:* UTC; make another \
         with quorate cluster token"
    );
    assert!(code == 3 && fits(&said, &want), "{said}");

    let config = with(Site::new("h1").config(&[&url]), &good);
    let want = format!(
        "{join} gives this host no certificate: another agent named h1 is alive; host names must \
         be unique"
    );
    assert_eq!(refused(config).await, (3, want));

    let second = started(with(Site::new("h2").config(&[&url]), &good)).await;
    until(&second, "known", |s| s.reason.is_none() && s.role != Role::Starting).await;
    let (code, said) = refused(with(Site::new("h3").config(&[&url]), &good)).await;
    let want = format!(
        "{join} gives this host no certificate: the token was used by h2 on *-*-* *:* UTC; make \
         another with quorate cluster token"
    );
    assert!(code == 3 && fits(&said, &want), "{said}");
    stop_all([handle, second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_file_that_others_may_read_is_refused_and_a_private_one_is_used() {
    let (first, handle) = founder().await;
    let site = Site::new("h2");
    let file = site.path("token");
    std::fs::write(&file, format!("{}\n", token(&handle, HOUR, 1).await.expose())).unwrap();
    let config = || {
        let mut config = site.config(&[&first.client_url()]);
        config.flags.tls.token_file = Some(file.clone());
        config
    };
    mode(&file, 0o644);
    let shown = file.display();
    let want = format!(
        "--token-file {shown}: others may read or change it (mode 0644); run: chmod 600 {shown}"
    );
    assert_eq!(refused(config()).await, (3, want));
    mode(&file, 0o600);
    let second = started(config()).await;
    until(&second, "known", |s| s.reason.is_none() && s.role != Role::Starting).await;
    stop_all([handle, second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_waits_for_a_founder_that_is_not_up_yet() {
    // A founder that was up before, so that there is a token.
    let (first, handle) = founder().await;
    let made = token(&handle, HOUR, 1).await;
    stop_all([handle]).await;
    let second = started(with(Site::new("h2").config(&[&first.client_url()]), &made)).await;
    until(&second, "waiting", |s| {
        s.reason.as_ref().is_some_and(|why| why.starts_with("waiting for a certificate: https://"))
    })
    .await;
    let handle = started(first.config(&[])).await;
    until(&second, "known", |s| s.reason.is_none() && s.role != Role::Starting).await;
    stop_all([handle, second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_before_they_end_by_voters_and_by_clients() {
    let short = |mut config: Config| {
        config.flags.tls.lifetime = Some(Duration::from_secs(12));
        config
    };
    let first = Site::new("h1");
    let handle = started(short(first.config(&[]))).await;
    healthy(&[&handle], 1).await;
    let made = token(&handle, HOUR, 1).await;
    let site = Site::new("h2");
    let client = started(with(site.client_config(&[&first.client_url()]), &made)).await;
    until(&client, "client", |s| s.role == Role::Client && s.reason.is_none()).await;
    let held = |site: &Site| std::fs::read(site.path("state/tls/host.crt")).unwrap();
    let before = [held(&first), held(&site)];
    // Past the end of the first certificates: nothing works any more that was not renewed.
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert_ne!([held(&first), held(&site)], before);
    let url = first.client_url();
    let file = |name: &str| site.path(&format!("state/tls/{name}")).display().to_string();
    let words = [
        vec![format!("--endpoints={url}"), format!("--cacert={}", file("authority.crt"))],
        vec![format!("--cert={}", file("host.crt")), format!("--key={}", file("host.key"))],
        ["get", "/quorate/1/cluster", "--keys-only"].map(str::to_owned).to_vec(),
    ];
    let (done, said) = etcdctl(&words.concat()).await;
    assert!(done && said.contains("/quorate/1/cluster"), "{said}");
    assert!(put(&client.store, "/quorate/1/kv/a", "1").await);
    stop_all([handle, client]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_the_authority_is_for_voters_and_certificates_are_for_their_own_host() {
    let (first, handle) = founder().await;
    let made = token(&handle, HOUR, 1).await;
    let site = Site::new("h2");
    let client = started(with(site.client_config(&[&first.client_url()]), &made)).await;
    until(&client, "client", |s| s.role == Role::Client && s.reason.is_none()).await;
    let (port, state) = (first.client + 2, site.path("state"));
    let ask = async |path: &str, body: &str, own: bool| post(port, path, body, &state, own).await;
    let said = ask("/1/authority", r#"{"host":"h2"}"#, true).await;
    assert!(said.contains("h2 is no voter, and only voters hold the key"), "{said}");
    for (body, own) in [(r#"{"host":"h1"}"#, true), (r#"{"host":"h2"}"#, false)] {
        let said = ask("/1/authority", body, own).await;
        assert!(said.contains("neither a token nor its certificate"), "{body} {own}: {said}");
    }
    let key = format!("04{}", "11".repeat(64));
    let body = |host: &str, name: &str| {
        format!(r#"{{"token":null,"host":"{host}","names":["{name}"],"key":"{key}"}}"#)
    };
    let said = ask("/1/certificate", &body("h1", "h1"), true).await;
    assert!(said.contains("neither a token nor its certificate"), "{said}");
    let said = ask("/1/certificate", &body("h2", "h1.host.quorate"), true).await;
    assert!(said.contains("no certificate can be for `h1.host.quorate`"), "{said}");
    stop_all([handle, client]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_certificates_come_from_files_has_no_tokens() {
    let authority = Authority::new("ours");
    let site = Site::new("h1");
    let mut config = site.config(&[]);
    authority.give(&mut config, &["127.0.0.1"], 2050);
    let handle = started(config).await;
    healthy(&[&handle], 1).await;
    let made = mint(handle.store.as_ref(), handle.state.path(), "h1", (HOUR, 1)).await;
    let said = made.unwrap_err();
    assert!(said.starts_with("this cluster has no authority of its own"), "{said}");
    stop_all([handle]).await;
}

#[test]
fn the_commands_of_resources_do_not_see_the_token() {
    let site = Site::new("h1");
    let (graph, seen) = (site.path("site.yaml"), site.path("seen"));
    let text = format!(
        "graph: x\nresources:\n  exec:\n  - name: e\n    cmd: env > {}\n    shell: /bin/sh\n",
        seen.display()
    );
    std::fs::write(&graph, text).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(["run", "--hostname", "h1", "--converged-timeout", "0", "--max-runtime", "20"])
        .arg("--prefix")
        .arg(site.path("state"))
        .arg("yaml")
        .arg(&graph)
        .env("QUORATE_TOKEN", "sesame")
        .env("OTHER", "kept")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(seen.contains("OTHER=kept") && !seen.contains("sesame"), "{seen}");
}
