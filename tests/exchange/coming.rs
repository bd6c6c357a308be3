//! Rows C11 and C12 on real agents, and when exports come and go: a rule that waits, an export that
//! is ready, and what is removed when nobody exports it any more.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::presence::Site;
use super::*;

fn text(site: &Site, name: &str) -> String {
    std::fs::read_to_string(site.folder.path().join(name)).unwrap_or_default()
}

fn holds(site: &Site, name: &str, wanted: &str) {
    wait_for(name, std::slice::from_ref(&site.lb1), || text(site, name) == wanted);
}

fn rests(site: &Site) {
    wait_for("rest", std::slice::from_ref(&site.lb1), || site.status("lb1", "converged") == true);
}

fn end(agent: &mut Agent, signal: Signal) {
    kill(Pid::from_raw(agent.child.id().cast_signed()), signal).expect("it is ours");
    agent.child.wait().expect("it ends");
}

/// Since when each resource of `lb1` is in its state.
fn since(site: &Site, id: &str) -> serde_json::Value {
    let resources = site.status("lb1", "resources");
    let all = resources.as_array().expect("lb1 runs");
    let one = all.iter().find(|one| one["id"] == id);
    one.unwrap_or_else(|| panic!("{id} is not there"))["since_ms"].clone()
}

#[test]
fn the_first_export_adds_its_edge_and_refreshes_what_ran_alone_once_c11() {
    let site = Site::of(
        "graph: lb\nresources:\n  exec:\n  - name: served\n    cmd: echo served >> DIR/served\n    \
         shell: /bin/sh\n    refreshonly: true\ncollect:\n- kind: file\n  into: DIR/\n  before: \
         [\"exec[served]\"]\n  notify: [\"exec[served]\"]\n",
    );
    rests(&site);
    assert_eq!(text(&site, "served"), "", "alone it has nothing to do");
    let _web1 = site.web1(&["a"], &[]);
    holds(&site, "served", "served\n");
    assert_eq!(text(&site, "a"), "a\n", "and runs after the file");
    rests(&site);
    assert_eq!(text(&site, "served"), "served\n", "once");
}

#[test]
fn who_comes_after_a_rule_that_made_nothing_is_left_alone_when_it_makes_something_c12() {
    let site = Site::of(
        "graph: lb\nresources:\n  file:\n  - name: vhost\n    path: DIR/vhost\n    content: v\n\
         collect:\n- rule: certs\n  kind: file\n  into: DIR/\n  before: [\"file[vhost]\"]\n",
    );
    rests(&site);
    let before = since(&site, "file[vhost]");
    let _web1 = site.web1(&["a", "b"], &[]);
    holds(&site, "b", "b\n");
    rests(&site);
    assert_eq!(since(&site, "file[vhost]"), before, "C12");
}

#[test]
fn a_rule_that_waits_makes_one_graph_of_many_changes() {
    let site = Site::of(
        "graph: lb\nresources: {}\ncollect:\n- rule: list\n  kind: file\n  within: DIR/\n  \
         wait: {quiet: 2s, max: 30s}\n  gather:\n    kind: file\n    name: list\n    path: \
         DIR/list\n    content: \"{% for e in exports %}{{ e.name }} {% endfor %}\"\n",
    );
    rests(&site);
    let generation = site.generation();
    let names: Vec<String> = (0..5).map(|n| format!("f{n}")).collect();
    let all: Vec<Agent> = names
        .iter()
        .map(|name| {
            let graph = format!(
                "graph: g\nresources: {{file: [{{name: \"@@{name}\", path: /x/{name}}}]}}\n"
            );
            Agent::start(site.folder.path(), &site.etcd, &format!("host-{name}"), &graph)
        })
        .collect();
    holds(&site, "list", "f0 f1 f2 f3 f4 ");
    assert_eq!(site.generation(), generation + 1, "one change of the graph");
    drop(all);
}

#[test]
fn an_export_is_published_when_what_comes_before_it_is_done_and_stays_published() {
    let site = Site::of("graph: lb\nresources: {}\ncollect:\n- {kind: file, into: DIR/}\n");
    let web = "graph: web\nresources:\n  exec:\n  - name: made\n    cmd: test -e DIR/go\n    \
        shell: /bin/sh\n    watchfiles: [DIR/go]\n  file:\n  - name: cert\n    path: \
        DIR/web/cert\n    content: c\n    export: {as: cert-of-web}\n  - name: now\n    path: \
        DIR/web/now\n    content: n\n    export: {when: declared}\nedges:\n- from: {kind: exec, \
        name: made}\n  to: {kind: file, name: cert}\n";
    let folder = site.folder.path();
    std::fs::create_dir(folder.join("web")).expect("a folder");
    let web1 = Agent::start(folder, &site.etcd, "web1", web);
    holds(&site, "now", "n");
    assert_eq!(text(&site, "cert"), "", "what makes it has failed so far");
    assert_eq!(site.status("web1", "exports"), 1);
    std::fs::write(folder.join("go"), "").expect("a file");
    holds(&site, "cert", "c");
    // It fails again, and the agent comes back while it does.
    drop(web1);
    std::fs::remove_file(folder.join("go")).expect("a file");
    let _web1 = Agent::start(folder, &site.etcd, "web1", web);
    wait_for("it is back", &[], || {
        let failed = site.status("web1", "resources");
        failed.as_array().is_some_and(|all| all.iter().any(|one| one["state"] == "failed"))
    });
    assert_eq!(site.status("web1", "exports"), 2, "what is published stays");
    rests(&site);
    assert_eq!(site.status("lb1", "collected"), 2);
}

#[test]
fn what_nobody_exports_any_more_is_removed_once_where_a_rule_says_so() {
    let site = Site::of(
        "graph: lb\nresources: {}\ncollect:\n- {rule: all, kind: file, into: DIR/here/, gone: \
         remove, allow: [remove]}\n",
    );
    let here = site.folder.path().join("here");
    std::fs::create_dir(&here).expect("a folder");
    let web1 = site.web1(&["a", "b"], &[]);
    holds(&site, "here/a", "a\n");
    holds(&site, "here/b", "b\n");
    drop(web1);
    let _web1 = site.web1(&["b"], &[]);
    let lb1 = std::slice::from_ref(&site.lb1);
    wait_for("it is removed", lb1, || !here.join("a").exists());
    wait_for("and forgotten", lb1, || site.status("lb1", "collected") == 1);
    rests(&site);
    std::fs::write(here.join("a"), "mine\n").expect("a file");
    let third = Agent::start(site.folder.path(), &site.etcd, "web3", &presence::exports(&["c"]));
    holds(&site, "here/c", "c\n");
    assert_eq!(text(&site, "here/a"), "mine\n", "once");
    drop(third);
}

#[test]
fn what_is_gone_is_removed_by_the_next_run_of_an_agent_that_was_down_or_could_not() {
    let graph = "graph: lb\nresources: {}\ncollect:\n- {rule: all, kind: file, into: DIR/here/, \
        gone: remove, allow: [remove]}\n";
    let mut site = Site::of(graph);
    let folder = site.folder.path().to_owned();
    let here = folder.join("here");
    std::fs::create_dir(&here).expect("a folder");
    let exports = |names: &[&str]| {
        let directory = "  - name: \"@@d\"\n    path: DIR/from/d/\n    state: exists\n";
        let text = presence::exports(names);
        if names.contains(&"b") { text } else { format!("{text}{directory}") }
    };
    let web1 = Agent::start(&folder, &site.etcd, "web1", &exports(&["a"]));
    holds(&site, "here/a", "a\n");
    wait_for("the directory", std::slice::from_ref(&site.lb1), || here.join("d").is_dir());
    rests(&site);
    // One cannot be removed now, and the other one is withdrawn while nobody collects.
    std::fs::write(here.join("d/mine"), "").expect("a file");
    drop(web1);
    let web1 = site.web1(&["a", "b"], &[]);
    holds(&site, "here/b", "b\n");
    let failed = || site.lb1.log().contains("file[d] failed: ");
    wait_for("it is not empty", std::slice::from_ref(&site.lb1), failed);
    end(&mut site.lb1, Signal::SIGKILL);
    drop(web1);
    let web1 = site.web1(&["b"], &[]);
    wait_for("it is withdrawn", std::slice::from_ref(&web1), || {
        site.status("web1", "exports") == 1
    });
    assert!(here.join("a").exists() && here.join("d").exists());
    std::fs::remove_file(here.join("d/mine")).expect("a file");
    site.lb1 = Agent::start(&folder, &site.etcd, "lb1", graph);
    let lb1 = std::slice::from_ref(&site.lb1);
    wait_for("both go", lb1, || !here.join("a").exists() && !here.join("d").exists());
    wait_for("and are forgotten", lb1, || site.status("lb1", "collected") == 1);
    rests(&site);
    std::fs::write(here.join("a"), "mine\n").expect("a file");
    end(&mut site.lb1, Signal::SIGTERM);
    site.lb1 = Agent::start(&folder, &site.etcd, "lb1", graph);
    rests(&site);
    assert_eq!(text(&site, "here/a"), "mine\n", "once");
}
