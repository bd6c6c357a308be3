//! Who may export what: labels, policy, and a store that asks who writes.

use std::collections::BTreeSet;
use std::time::Instant;

use nix::sys::signal::Signal;
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
        "graph: g
resources:
  file:
  - name: \"@@f-{name}\"
    path: /x/f-{name}
    content: \"{content}\"
collect:
- {{rule: all, kind: file, into: DIR/out/}}
"
    )
}

fn prepared(name: &str) -> Host {
    let mut host = Host::new(name);
    std::fs::create_dir(host.path("out")).expect("a folder");
    host.graph(&exchanging(name, "one"));
    host
}

/// The store of a host as who holds another one's own certificate reaches it.
fn as_host(host: &Host, at: &Host) -> EtcdStore {
    let tls = |name: &str| {
        std::fs::read_to_string(host.state().join("tls").join(name)).expect("a certificate")
    };
    let access = Access::new(None);
    access.set_tls(&tls("authority.crt"), Some((&tls("host.crt"), &tls("host.key"))));
    EtcdStore::new(Endpoints::reached(vec![at.secured_url()], None, false, access))
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
        "sk/h2",
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

/// Three voters that exchange files, and a token for a fourth host.
fn three() -> (Vec<Host>, String) {
    let mut hosts = ["h1", "h2", "h3"].map(prepared);
    let seed = hosts[0].secured_url();
    hosts[0].join_secured(None, &[]);
    hosts[0].until("a founder", |report| up(report) == 1);
    let token = good(hosts[0].cluster(&["token", "--uses", "3"])).out;
    for host in &mut hosts[1..] {
        host.join_secured(Some(&seed), &["--token", token.trim()]);
    }
    hosts[0].until("three voters", |report| up(report) == 3);
    hosts.iter().for_each(|host| until_collected(host, &["f-h1", "f-h2", "f-h3"]));
    (hosts.into(), token.trim().to_owned())
}

/// The policy decides in the store, too: a right that was there is taken.
fn deny(late: &Host, hosts: &[Host], runtime: &tokio::runtime::Runtime) {
    let policy = hosts[0].path("policy.yaml");
    std::fs::write(&policy, "rules:\n- deny: {hosts: [h4], kinds: [file]}\n").expect("a file");
    good(hosts[0].ask(&["exports", "policy", "set", &policy.display().to_string()]));
    for host in hosts {
        wait("h4 is denied", || match host.ask(&["status", "--json"]).json() {
            status if status["collected"] == 3 => Ok(()),
            status => Err(status["messages"].to_string()),
        });
    }
    let late_store = as_host(late, &hosts[0]);
    wait("the right is taken", || {
        let own = put("x/default/file/h4/more", b"{}");
        match runtime.block_on(late_store.txn(Txn { when: Vec::new(), then: vec![own] })) {
            Err(StoreError::Refused(why)) if why.contains("permission denied") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

#[test]
fn e6_with_users_no_host_writes_for_another_one_and_the_cluster_goes_on() {
    let (mut hosts, token) = three();
    let seed = hosts[0].secured_url();
    assert_eq!(by_auth(&hosts[0], "no"), 3);
    let enabled = good(hosts[0].cluster(&["auth", "enable", "--json"])).json();
    assert_eq!(enabled["on"], true, "{enabled}");
    assert_eq!(enabled["certificate"].as_array().map(Vec::len), Some(2), "{enabled}");
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(impersonate(&as_host(&hosts[0], &hosts[0])));
    // What they published before is published again, by who may.
    wait("all exporters are known", || match by_auth(&hosts[1], "rbac") {
        3 => Ok(()),
        n => Err(format!("{n} of 3: {}", hosts[1].ask(&["exports", "list"]).all())),
    });

    // So are the keys that they show for others to seal by.
    wait("all keys count again", || {
        let listed = hosts[1].ask(&["host", "list"]).all();
        if listed.matches(" key ").count() == 3 { Ok(()) } else { Err(listed) }
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

    // A host that comes later is let in, and may export; it may say nothing for others.
    let mut late = prepared("h4");
    late.join_secured(Some(&seed), &["--token", &token]);
    let four = ["f-h1", "f-h2", "f-h3", "f-h4"];
    until_collected(&late, &four);
    hosts.iter().for_each(|host| until_collected(host, &four));
    let not_here = late.cluster(&["auth", "disable"]);
    assert_eq!(not_here.code, 3, "{}", not_here.all());
    assert!(not_here.err.contains("does not have the authority's key"), "{}", not_here.all());
    let refused = late.ask(&["host", "label", "h4", "role=web"]);
    assert_eq!(refused.code, 3, "{}", refused.all());
    good(hosts[2].ask(&["host", "label", "h4", "role=web"]));
    deny(&late, &hosts, &runtime);
    let disabled = good(hosts[0].cluster(&["auth", "disable", "--json"])).json();
    assert_eq!(disabled["on"], false, "{disabled}");
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

/// What exists, and who takes what, goes by labels.
const LABELLED: &str = "\
resources:
  file:
  - name: DIR/out/web
    hosts: {labels: {role: web}}
    content: web
  - name: for-web
    path: /x/for-web
    content: x
    hidden: true
    export: {to: {labels: {role: web}}}
  - name: \"@@for-all\"
    path: /x/for-all
    content: y
collect:
- rule: r
  kind: file
  take: [content]
  set: {path: \"DIR/out/{{ name }}-{{ me.labels.role }}\"}
";

#[test]
fn b14_labels_that_an_operator_gives_decide_at_once_what_exists_and_who_takes_what() {
    let host = alone(LABELLED);
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
    assert!(listed.contains("h1    present  2        key   dc=a role=web"), "{listed}");
    good(host.ask(&["host", "label", "h1", "role=db"]));
    there("for-all-db");
    wait("one is for others", || {
        let explained = host.ask(&["collect", "explain", "file[for-web]"]).out;
        if explained.contains("not for h1") { Ok(()) } else { Err(explained) }
    });
}

#[test]
fn e8_a_host_on_its_own_opens_what_it_seals_for_itself_and_shows_it_nowhere() {
    let host = alone(
        "resources:
  file:
  - name: secret
    path: /x/secret
    content: hunter2
    hidden: true
    export: {to: [h1], seal: [content]}
collect:
- {rule: r, kind: file, into: DIR/out/}
",
    );
    wait("it is opened", || match out(&host, "secret") {
        Some(text) if text == "hunter2" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    for words in [
        &["exports", "list", "--json"][..],
        &["exports", "get", "file[secret]"],
        &["collect", "explain", "file[secret]"],
        &["status", "--json"],
    ] {
        let said = good(host.ask(words)).all();
        assert!(!said.contains("hunter2"), "{words:?}: {said}");
    }
    let listed = good(host.ask(&["exports", "list"])).out;
    assert!(listed.contains("live, sealed to 1 host"), "{listed}");
}

/// Two exports, both taken.
const TWO: &str = "\
resources:
  file:
  - {name: \"@@a\", path: /x/a, content: a}
  - {name: \"@@b\", path: /x/b, content: b}
collect:
- {rule: r, kind: file, into: DIR/out/}
";

#[test]
fn e4_a_policy_is_checked_at_once_where_it_is_exported_and_one_that_is_wrong_is_not_set() {
    let host = alone(TWO);
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

/// What an export with this number says of its host.
const ROLES: [&str; 4] = ["web", "db", "cache", ""];

/// Two hundred exports, and rules that take some of them.
fn many() -> String {
    let mut text = "resources:\n  file:\n".to_owned();
    for n in 0..200 {
        let role = ROLES[n % 4];
        let labels = if role.is_empty() { "{}".to_owned() } else { format!("{{role: {role}}}") };
        let name = format!("name: e{n:03}, path: /x/f{n}, content: c{n}, hidden: true");
        text.push_str(&format!("  - {{{name}, export: {{labels: {labels}}}}}\n"));
    }
    text + "collect:
- {rule: webs, kind: file, into: DIR/out/, where: {labels: {role: web}}}
- {rule: dbs, kind: file, within: DIR/out/, where: {labels: {role: db}}}
- rule: tens
  kind: file
  take: [content]
  where: {name: \"e??[05]\"}
  set: {path: \"DIR/out/{{ labels.role }}-{{ name }}\"}
"
}

/// What has to be said of an export with this number: its state, how the result begins and ends.
fn expected(n: usize) -> (&'static str, String, &'static str) {
    let id = format!("file[e{n:03}]");
    match (ROLES[n % 4], n.is_multiple_of(5)) {
        ("web", _) | ("cache", true) => ("claimed", id, "]"),
        ("db", _) => ("held", format!("XC04 {id} from h1: /x/f{n} leaves "), ", rule dbs"),
        ("", true) => {
            ("held", format!("XC05 {id} from h1: labels.role is undefined"), ", rule tens")
        }
        _ => ("unmatched", "nearest rule webs failed at labels.role".to_owned(), "role"),
    }
}

/// Acceptance: for 200 exports it names the rule, or what failed, as the agent did.
#[test]
fn what_is_explained_of_two_hundred_exports_is_what_the_agent_did() {
    let host = alone(&many());
    let (status, explained) = wait("it settles", || {
        let explained = host.ask(&["collect", "explain", "--json"]).json();
        let status = host.ask(&["status", "--json"]).json();
        let all = explained["exports"].as_array().cloned().unwrap_or_default();
        // The store is read for an explanation, and may be ahead of what the agent was told.
        let claimed = all.iter().filter(|one| one["state"] == "claimed").count();
        let settled = status["converged"] == true && status["collected"] == claimed;
        if all.len() == 200 && settled {
            Ok((status, explained))
        } else {
            Err(format!("{} {settled}", all.len()))
        }
    });
    let all = status["resources"].as_array().expect("a list").iter();
    let running: BTreeSet<&str> =
        all.filter(|one| one["state"] == "ok").filter_map(|one| one["id"].as_str()).collect();
    let messages = status["messages"].to_string();
    let mut states = BTreeSet::new();
    for (n, one) in explained["exports"].as_array().expect("a list").iter().enumerate() {
        let (state, begins, ends) = expected(n);
        let result = one["result"].as_str().expect("a result");
        assert_eq!(one["state"], state, "{one}");
        assert!(result.starts_with(&begins) && result.ends_with(ends), "{one}");
        let id = format!("file[e{n:03}]");
        assert_eq!(running.contains(id.as_str()), state == "claimed", "{id}: {one}");
        assert_eq!(messages.contains(&id), state == "held", "{id}: {one}");
        states.insert(state);
    }
    assert_eq!(states.len(), 3, "{states:?}");
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
