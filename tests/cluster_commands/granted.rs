//! Who may export what: labels, policy, and a store that asks who writes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use nix::sys::signal::Signal;
use quorate::ident::HostName;
use quorate::store::etcd::{Access, Endpoints, EtcdStore};
use quorate::store::{LeaseId, Op, Store, StoreError, Txn};
use serde_json::Value;

use crate::hosts::{Host, LONG, Said, up};

/// Waits until a condition gives something.
fn wait<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(last) => assert!(started.elapsed() < LONG, "{what}: {last}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// The files in the folder that a host collects into.
fn collected(host: &Host) -> BTreeSet<String> {
    let entries = std::fs::read_dir(host.path("out")).expect("a folder");
    entries.map(|one| one.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

fn until_collected(host: &Host, wanted: &[&str]) {
    let wanted: BTreeSet<String> = wanted.iter().map(|one| (*one).to_owned()).collect();
    wait(&format!("{} collects {wanted:?}", host.name), || match collected(host) {
        found if found == wanted => Ok(()),
        found => Err(format!("{found:?}\n{}", host.ask(&["status", "--json"]).all())),
    });
}

fn good(said: Said) -> Said {
    assert_eq!(said.code, 0, "{}", said.all());
    said
}

/// Exports a file of this content under the name of the host, and collects those of all.
fn exchanging(name: &str, content: &str) -> String {
    format!(
        "graph: g\nresources:\n  file:\n  - name: \"@@f-{name}\"\n    path: /x/f-{name}\n    content: \
         \"{content}\"\ncollect:\n- {{rule: all, kind: file, into: DIR/out/}}\n"
    )
}

fn prepared(name: &str) -> Host {
    let mut host = Host::new(name);
    std::fs::create_dir(host.path("out")).expect("a folder");
    host.graph(&exchanging(name, "one"));
    host
}

/// The store as who holds this host's own certificate reaches it.
fn as_host(host: &Host) -> EtcdStore {
    let tls = |name: &str| {
        std::fs::read_to_string(host.state().join("tls").join(name)).expect("a certificate")
    };
    let access = Access::new(None);
    access.set_tls(&tls("authority.crt"), Some((&tls("host.crt"), &tls("host.key"))));
    EtcdStore::new(Endpoints::reached(vec![host.secured_url()], None, false, access))
}

fn put(key: &str, value: &[u8]) -> Op {
    Op::Put { key: format!("/quorate/1/{key}"), value: value.to_vec(), lease: None }
}

fn delete(key: &str) -> Op {
    Op::Delete { key: format!("/quorate/1/{key}") }
}

fn refused(what: &str, answer: Result<impl std::fmt::Debug, StoreError>) {
    match answer {
        Err(StoreError::Refused(why)) => {
            assert!(why.contains("permission denied"), "{what}: {why}")
        }
        other => panic!("{what} was not refused: {other:?}"),
    }
}

/// Everything that a host could try with its own certificate.
async fn impersonate(store: &EtcdStore) {
    let write = |ops: Vec<Op>| store.txn(Txn { when: Vec::new(), then: ops });
    for key in [
        "x/default/file/h2/a",
        "x/default/file/h10/a",
        "x/default/exec/h1/a",
        "xo/h2",
        "s/h2",
        "xb/h2/00/0000",
        "conv/h2",
        "host/h2",
        "h/h1",
        "p/exports",
        "auth",
        "controller",
        "size",
        "token/x",
    ] {
        refused(key, write(vec![put(key, b"{}")]).await);
    }
    refused("a foreign delete", write(vec![delete("x/default/file/h2/f-h2")]).await);
    let both = vec![put("x/default/file/h1/own", b"{}"), put("x/default/file/h2/own", b"{}")];
    refused("a foreign part of a transaction", write(both).await);
    let presence = store.range("/quorate/1/s/h2").await.expect("it may be read");
    let lease: LeaseId = presence.entries[0].lease.expect("a lease");
    refused("a foreign lease revoked", store.revoke(lease).await);
    let own = vec![put("x/default/file/h1/own", b"{}"), put("kv/own", b"x")];
    assert!(write(own).await.expect("its own keys").applied);
    assert!(write(vec![delete("x/default/file/h1/own")]).await.expect("its own key").applied);
}

/// The records that `exports list` shows with this word under AUTH.
fn by_auth(host: &Host, auth: &str) -> usize {
    let listed = good(host.ask(&["exports", "list"])).out;
    listed.lines().filter(|line| line.trim_end().ends_with(&format!(" {auth}"))).count()
}

#[test]
fn e6_with_users_no_host_writes_for_another_one_and_the_cluster_goes_on() {
    let mut hosts = ["h1", "h2", "h3"].map(prepared);
    let seed = hosts[0].secured_url();
    hosts[0].join_secured(None, &[]);
    hosts[0].until("a founder", |report| up(report) == 1);
    let token = good(hosts[0].cluster(&["token", "--uses", "3"])).out;
    for host in &mut hosts[1..] {
        host.join_secured(Some(&seed), &["--token", token.trim()]);
    }
    hosts[0].until("three voters", |report| up(report) == 3);
    let three = ["f-h1", "f-h2", "f-h3"];
    hosts.iter().for_each(|host| until_collected(host, &three));
    assert_eq!(by_auth(&hosts[0], "no"), 3);

    let enabled = good(hosts[0].cluster(&["auth", "enable", "--json"])).json();
    assert_eq!(enabled["on"], true, "{enabled}");
    assert_eq!(enabled["certificate"].as_array().map(Vec::len), Some(2), "{enabled}");
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(impersonate(&as_host(&hosts[0])));
    // What they published before is published again, by who may.
    wait("all exporters are known", || match by_auth(&hosts[1], "rbac") {
        3 => Ok(()),
        n => Err(format!("{n} of 3: {}", hosts[1].ask(&["exports", "list"]).all())),
    });

    // A change reaches everybody, and a restarted host comes back.
    hosts[0].graph(&exchanging("h1", "two"));
    assert_eq!(hosts[1].end_with(Signal::SIGTERM), Some(0));
    hosts[1].join_secured(Some(&seed), &[]);
    for host in &hosts {
        wait("the change", || {
            let text = std::fs::read_to_string(host.path("out/f-h1")).unwrap_or_default();
            if text == "two" { Ok(()) } else { Err(text) }
        });
    }
    hosts[0].until("three voters", |report| up(report) == 3);

    // A host that comes later is let in, and may export.
    let mut late = prepared("h4");
    late.join_secured(Some(&seed), &["--token", token.trim()]);
    let four = ["f-h1", "f-h2", "f-h3", "f-h4"];
    until_collected(&late, &four);
    hosts.iter().for_each(|host| until_collected(host, &four));
    let not_here = late.cluster(&["auth", "disable"]);
    assert_eq!(not_here.code, 3, "{}", not_here.all());
    assert!(not_here.err.contains("does not have the authority's key"), "{}", not_here.all());
    let refused = late.ask(&["host", "label", "h4", "role=web"]);
    assert_eq!(refused.code, 3, "{}", refused.all());
    good(hosts[2].ask(&["host", "label", "h4", "role=web"]));

    // The policy decides in the store, too.
    hosts[0].graph(&exchanging("h1", "three"));
    let policy = hosts[0].path("policy.yaml");
    std::fs::write(&policy, "rules:\n- deny: {hosts: [h4], kinds: [file]}\n").expect("a file");
    let policy = policy.display().to_string();
    good(hosts[0].ask(&["exports", "policy", "set", &policy]));
    hosts.iter().for_each(|host| {
        wait("h4 is denied", || {
            let status = host.ask(&["status", "--json"]).json();
            let text = status["messages"].to_string() + &status["collected"].to_string();
            if status["collected"] == 3 { Ok(()) } else { Err(text) }
        });
    });
    let late_store = as_host_elsewhere(&late, &hosts[0]);
    wait("the right is taken", || {
        let own = put("x/default/file/h4/more", b"{}");
        match runtime.block_on(late_store.txn(Txn { when: Vec::new(), then: vec![own] })) {
            Err(StoreError::Refused(why)) if why.contains("permission denied") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let disabled = good(hosts[0].cluster(&["auth", "disable", "--json"])).json();
    assert_eq!(disabled["on"], false, "{disabled}");
}

/// The same, asked at another host's etcd.
fn as_host_elsewhere(host: &Host, at: &Host) -> EtcdStore {
    let tls = |name: &str| {
        std::fs::read_to_string(host.state().join("tls").join(name)).expect("a certificate")
    };
    let access: Arc<Access> = Access::new(None);
    access.set_tls(&tls("authority.crt"), Some((&tls("host.crt"), &tls("host.key"))));
    EtcdStore::new(Endpoints::reached(vec![at.secured_url()], None, false, access))
}

/// A host on its own, which takes what it exports itself.
fn alone(rest: &str) -> Host {
    let mut host = Host::new("h1");
    std::fs::create_dir(host.path("out")).expect("a folder");
    host.graph(&format!("graph: g\n{rest}"));
    host.start(&[]);
    wait("the agent answers", || match host.ask(&["status", "--json"]) {
        said if said.code == 0 => Ok(()),
        said => Err(said.all()),
    });
    host
}

fn out(host: &Host, name: &str) -> Option<String> {
    std::fs::read_to_string(host.path("out").join(name)).ok()
}

#[test]
fn b14_labels_that_an_operator_gives_decide_at_once_what_exists_and_who_takes_what() {
    let host = alone(
        "resources:\n  file:\n  - name: DIR/out/web\n    hosts: {labels: {role: web}}\n    content: \
         web\n  - name: for-web\n    path: /x/for-web\n    content: x\n    hidden: true\n    export: {to: {labels: \
         {role: web}}}\n  - name: \"@@for-all\"\n    path: /x/for-all\n    content: y\ncollect:\n- {rule: \
         r, kind: file, take: [content], set: {path: \"DIR/out/{{ name }}-{{ me.labels.role }}\"}}\n",
    );
    let there = |name: &str| wait(name, || out(&host, name).ok_or("missing".to_owned()));
    wait("it is held", || {
        let messages = host.ask(&["status", "--json"]).json()["messages"].to_string();
        let held = messages.contains("me.labels.role is undefined")
            && messages.contains("XC14 file[for-web] from h1: not for h1");
        if held { Ok(()) } else { Err(messages) }
    });
    good(host.ask(&["host", "label", "h1", "role=web", "dc=a"]));
    for name in ["web", "for-web-web", "for-all-web"] {
        there(name);
    }
    let listed = good(host.ask(&["host", "list"])).out;
    assert!(listed.contains("h1    present  2        -     dc=a role=web"), "{listed}");
    good(host.ask(&["host", "label", "h1", "role=db"]));
    there("for-all-db");
    wait("one is for others", || {
        let explained = host.ask(&["collect", "explain", "file[for-web]"]).out;
        if explained.contains("not for h1") { Ok(()) } else { Err(explained) }
    });
}

#[test]
fn e4_a_policy_is_checked_at_once_where_it_is_exported_and_one_that_is_wrong_is_not_set() {
    let host = alone(
        "resources:\n  file:\n  - name: \"@@a\"\n    path: /x/a\n    content: a\n  - name: \"@@b\"\n    \
         path: /x/b\n    content: b\ncollect:\n- {rule: r, kind: file, into: DIR/out/}\n",
    );
    until_collected(&host, &["a", "b"]);
    let policy = host.path("policy.yaml");
    let file = policy.display().to_string();
    std::fs::write(&policy, "rules:\n- deny: {names: [b], kind: file}\n").expect("a file");
    let wrong = host.ask(&["exports", "policy", "set", &file]);
    assert_eq!(wrong.code, 1, "{}", wrong.all());
    assert!(wrong.err.contains("policy.yaml:2:22") && wrong.err.contains("kinds"), "{}", wrong.err);
    std::fs::write(&policy, "rules:\n- deny: {names: [b], kinds: [file]}\n").expect("a file");
    let checked = good(host.ask(&["exports", "policy", "check", &file])).out;
    let wanted =
        "file[b] from h1: would be denied by rule 1\n1 rule; of 2 exports 1 would be denied\n";
    assert_eq!(checked, wanted);
    good(host.ask(&["exports", "policy", "set", &file]));
    wait("it is withdrawn", || {
        let status = host.ask(&["status", "--json"]).json();
        let messages = status["messages"].to_string();
        let held = messages.contains("XE03 file[b]: denied by policy rule 1");
        if held && status["collected"] == 1 { Ok(()) } else { Err(status.to_string()) }
    });
    let shown = good(host.ask(&["exports", "policy", "show"])).out;
    assert_eq!(shown, "rules:\n- deny: {kinds: [\"file\"], names: [\"b\"]}\n");
    good(host.ask(&["exports", "policy", "clear"]));
    wait("it is back", || match host.ask(&["status", "--json"]).json()["collected"].as_u64() {
        Some(2) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let listed = good(host.ask(&["exports", "list"])).out;
    assert!(
        listed.ends_with("\n") && listed.contains("2 exports from 1 host, revision "),
        "{listed}"
    );
    let got = good(host.ask(&["exports", "get", "file[b]"])).out;
    assert!(got.contains("file[b] from h1: live\n") && got.contains("content: \"b\"\n"), "{got}");
    let file = host.path("site.yaml").display().to_string();
    assert_eq!(good(host.ask(&["exports", "diff", &file])).out, "2 exports as in the file\n");
    let purged = host.ask(&["exports", "purge", "--from", "h1"]);
    assert_eq!(purged.code, 3, "{}", purged.all());
    assert!(
        purged.err.contains("h1 is there and would publish its exports again"),
        "{}",
        purged.err
    );
    good(host.ask(&["host", "decommission", "h1"]));
    wait("nothing is taken of it", || match host.ask(&["status", "--json"]).json() {
        status if status["collected"] == 0 => Ok(()),
        status => Err(status.to_string()),
    });
}

/// Acceptance: for 200 exports it names the rule, or what failed, as the agent did.
#[test]
fn what_is_explained_of_two_hundred_exports_is_what_the_agent_did() {
    let roles = ["web", "db", "cache", ""];
    let mut text = "resources:\n  file:\n".to_owned();
    for n in 0..200 {
        let role = roles[n % 4];
        let labels = if role.is_empty() { "{}".to_owned() } else { format!("{{role: {role}}}") };
        let path = if n % 10 == 9 { "../../up" } else { "f" };
        text.push_str(&format!(
            "  - name: e{n:03}\n    path: /x/{path}{n}\n    content: c{n}\n    hidden: true\n    export: {{labels: \
             {labels}}}\n"
        ));
    }
    text.push_str(
        "collect:\n- {rule: webs, kind: file, into: DIR/out/, where: {labels: {role: web}}}\n- {rule: \
         dbs, kind: file, within: DIR/out/, take: [content, path], where: {labels: {role: db}}}\n- {rule: \
         tens, kind: file, take: [content], where: {name: \"e??[05]\"}, set: {path: \"DIR/out/{{ labels.role \
         }}-{{ name }}\"}}\n",
    );
    let host = alone(&text);
    let (status, explained) = wait("it settles", || {
        let status = host.ask(&["status", "--json"]).json();
        let explained = host.ask(&["collect", "explain", "--json"]).json();
        let all = explained["exports"].as_array().map_or(0, Vec::len);
        match (status["converged"] == true, all) {
            (true, 200) => Ok((status, explained)),
            _ => Err(format!("{all} {}", status["converged"])),
        }
    });
    let running: BTreeSet<&str> = status["resources"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|one| one["state"] == "ok")
        .filter_map(|one| one["id"].as_str())
        .collect();
    let messages = status["messages"].to_string();
    let mut counts = [0; 3];
    for (n, one) in explained["exports"].as_array().expect("a list").iter().enumerate() {
        let (state, result) = (one["state"].as_str().expect("a state"), one["result"].as_str());
        let (result, id) = (result.expect("a result"), format!("file[e{n:03}]"));
        let steps = one["steps"].to_string();
        let (is_ten, role) = (n % 5 == 0, roles[n % 4]);
        match (role, is_ten) {
            ("web", _) => {
                assert_eq!((state, result), ("claimed", id.as_str()), "{one}");
                assert!(steps.contains("[\"rule webs\",\"claimed\"]"), "{one}");
                counts[0] += 1;
            }
            ("db", _) => {
                assert_eq!(state, "held", "{one}");
                assert!(result.starts_with("XC04 ") && result.ends_with(", rule dbs"), "{one}");
                assert!(messages.contains(&id), "{id}");
                counts[1] += 1;
            }
            ("cache", true) => {
                assert_eq!((state, result), ("claimed", id.as_str()), "{one}");
                assert!(steps.contains("[\"rule tens\",\"claimed\"]"), "{one}");
                counts[0] += 1;
            }
            ("", true) => {
                assert_eq!(state, "held", "{one}");
                assert!(result.contains("labels.role is undefined"), "{one}");
                counts[1] += 1;
            }
            _ => {
                assert_eq!(state, "unmatched", "{one}");
                assert_eq!(result, "nearest rule webs failed at labels.role", "{one}");
                counts[2] += 1;
            }
        }
        assert_eq!(running.contains(id.as_str()), state == "claimed", "{id}: {one}");
    }
    assert_eq!(counts.iter().sum::<usize>(), 200, "{counts:?}");
    assert!(counts.iter().all(|n| *n > 0), "{counts:?}");
    let from = HostName::parse("h1").expect("a name");
    assert!(
        explained["exports"]
            .as_array()
            .expect("a list")
            .iter()
            .all(|one| one["from"] == from.as_str())
    );
}

#[test]
fn rules_in_a_file_of_their_own_come_after_those_of_the_graph_and_are_followed() {
    let mut host = Host::new("h1");
    std::fs::create_dir(host.path("out")).expect("a folder");
    host.graph(
        "graph: g\nresources:\n  file:\n  - name: \"@@a\"\n    path: /x/a\n    content: a\n",
    );
    let rules = host.path("rules.yaml");
    let write = |dir: &str| {
        let into = host.path("out").join(dir).display().to_string();
        let text = format!(
            "collect:\n- {{rule: r, kind: file, set: {{path: \"{into}{{{{ name }}}}\"}}}}\n"
        );
        let draft = host.path("rules.new");
        std::fs::write(&draft, text).expect("a file");
        std::fs::rename(draft, &rules).expect("a rename");
    };
    write("one-");
    let file = rules.display().to_string();
    let graph = host.path("site.yaml").display().to_string();
    let checked = good(host.plain(&["check", "--collect", &file, &graph])).out;
    assert!(checked.ends_with("rules.yaml: ok\n"), "{checked}");
    host.start(&["--collect", &file]);
    until_collected(&host, &["one-a"]);
    let write = |text: &str| std::fs::write(&rules, text).expect("a file");
    let into = host.path("out").display().to_string();
    write(&format!(
        "collect:\n- {{rule: r, kind: file, set: {{path: \"{into}/two-{{{{ name }}}}\"}}}}\n"
    ));
    wait("the new rule", || out(&host, "two-a").ok_or("missing".to_owned()));
    write("colect: []\n");
    let status = wait("the mistake is told", || {
        let status: Value = host.ask(&["status", "--json"]).json();
        match status["graph"]["error"].as_str() {
            Some(why) if why.contains("the file has no `collect`") => Ok(status),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(status["collected"], 1, "the graph before it keeps running");
}
