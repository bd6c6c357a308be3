//! What drives what: timers, watched commands, messages, keys; and commands that fail or run as
//! somebody else.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::converged;
use super::support::{Site, state_of, wait_for};

fn lines(site: &Site, name: &str) -> usize {
    site.read(name).unwrap_or_default().lines().count()
}

#[test]
fn timer1_and_timer2_each_command_runs_at_the_interval_of_its_own_timer() {
    let site = Site::new();
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  timer:\n  - {name: fast, interval: 1}\n  - {name: slow, interval: \
         3}\n  exec:\n  - {name: fast, cmd: echo tick >> DIR/fast, shell: /bin/sh}\n  - {name: \
         slow, \
         cmd: echo tick >> DIR/slow, shell: /bin/sh}\nedges:\n- {from: {kind: timer, name: fast}, \
         to: \
         {kind: exec, name: fast}, notify: true}\n- {from: {kind: timer, name: slow}, to: {kind: \
         exec, \
         name: slow}, notify: true}\n",
    );
    let _agent = site.agent(&["yaml", "DIR/site.yaml"]);
    let enough = |name: &str, count| {
        wait_for(15, name, || Some(lines(&site, name)).filter(|lines| *lines >= count))
    };
    enough("slow", 2);
    // The start and three ticks, or four and two when the machine is busy.
    assert!((3..=6).contains(&enough("fast", 3)), "{:?}", site.read("fast"));
}

#[test]
fn exec1c_and_exec1d_a_watched_command_that_ends_is_an_event_and_is_started_again() {
    let site = Site::new();
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  exec:\n  - name: first\n    shell: /bin/sh\n    cmd: echo run >> \
         DIR/first\n    watchcmd: sleep 0.5\n  - name: second\n    shell: /bin/sh\n    cmd: echo \
         run \
         >> DIR/second\nedges:\n- {from: {kind: exec, name: first}, to: {kind: exec, name: \
         second}}\n",
    );
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    wait_for(15, "once at the start and at two ends", || {
        Some(()).filter(|()| lines(&site, "first") >= 3)
    });
    assert!(lines(&site, "second") >= 1);
    let status = agent.status();
    assert_ne!(state_of(&status, "exec[first]"), "failed", "{status}");
}

#[test]
fn msg1_a_message_is_said_at_each_tick_without_a_priority() {
    let site = Site::new();
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  timer:\n  - {name: t, interval: 1}\n  msg:\n  - {name: m, body: \
         hello from the graph}\nedges:\n- {from: {kind: timer, name: t}, to: {kind: msg, name: m}, \
         notify: true}\n",
    );
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    wait_for(15, "three times", || {
        Some(()).filter(|()| agent.log().matches("hello from the graph").count() >= 3)
    });
}

#[test]
fn msg1_a_journal_that_is_not_there_is_named() {
    let site = Site::new();
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  msg:\n  - {name: m, body: hello, journal: true, syslog: false}\n",
    );
    let mut agent = site.agent(&["--converged-timeout", "0", "yaml", "DIR/site.yaml"]);
    let code = agent.end(10).code();
    if Path::new("/run/systemd/journal/socket").exists() {
        assert_eq!(code, Some(0), "{}", agent.log());
    } else {
        assert_eq!(code, Some(5), "{}", agent.log());
        assert!(agent.log().contains("needs systemd's journal"), "{}", agent.log());
    }
}

#[test]
fn kv1_to_kv4_keys_are_set_removed_left_when_greater_and_stepped_through() {
    let site = converged(
        "graph: g\nresources:\n  kv:\n  - {name: one, key: hello, value: world}\n  - {name: two, \
        key: \
         iamdeleted}\n  - {name: three, key: stage, value: 3, skiplessthan: true}\n",
    );
    drop(site);
    let site = Site::new();
    let step = |name: &str, value: u32| {
        format!("  - {{name: {name}, key: stage, value: {value}, skiplessthan: true}}\n")
    };
    let steps = [step("a", 1), step("b", 2), step("c", 3)].concat();
    site.write(
        "site.yaml",
        &format!(
            "graph: g\nresources:\n  kv:\n{steps}edges:\n- {{from: {{kind: kv, name: a}}, to: \
            {{kind: \
             kv, name: b}}}}\n- {{from: {{kind: kv, name: b}}, to: {{kind: kv, name: c}}}}\n"
        ),
    );
    let mut agent = site.agent(&["--converged-timeout", "1", "yaml", "DIR/site.yaml"]);
    assert_eq!(agent.end(20).code(), Some(0), "it comes to rest: {}", agent.log());
    let log = agent.log();
    let said = |id: &str| log.matches(&format!("kv[{id}]: ")).count();
    assert_eq!((said("a"), said("b"), said("c")), (1, 1, 1), "each step once: {log}");
}

#[test]
fn exec_fail_a_command_that_fails_ends_in_a_code_of_its_own_and_hangs_nothing() {
    let site = Site::new();
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  exec:\n  - name: e\n    cmd: false this takes no \
        words\n    timeout: \
         0\n    watchcmd: ''\n    ifcmd: ''\n  - name: other\n    shell: /bin/sh\n    cmd: echo \
         done > \
         DIR/other\n",
    );
    let mut agent = site.agent(&["--converged-timeout", "0", "yaml", "DIR/site.yaml"]);
    assert_eq!(agent.end(20).code(), Some(5), "{}", agent.log());
    assert!(agent.log().contains("exec[e] failed"), "{}", agent.log());
    assert_eq!(site.read("other").as_deref(), Some("done\n"));
}

#[test]
fn exec_usergroup_a_command_runs_as_the_user_and_the_group_that_it_names() {
    use std::os::unix::fs::PermissionsExt;
    let root = nix::unistd::geteuid().is_root();
    let nobody = nix::unistd::User::from_name("nobody").ok().flatten().expect("there is a nobody");
    let own = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let group = nix::unistd::Group::from_name("nogroup").ok().flatten();
    let group = group.or_else(|| nix::unistd::Group::from_name("nobody").ok().flatten());
    let group = group.expect("there is a group for nobody");
    let (user, gid) = (nobody.uid.as_raw(), group.gid.as_raw());
    let named = &group.name;
    let both = format!("user: nobody, group: {named}");
    for (fields, owner) in [
        ("user: nobody".to_owned(), (user, nobody.gid.as_raw())),
        (format!("group: {named}"), (own.0, gid)),
        (both, (user, gid)),
    ] {
        let site = Site::new();
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(site.path("."), open).expect("the folder is ours");
        site.write(
            "site.yaml",
            &format!(
                "graph: g\nresources:\n  exec:\n  - {{name: e, cmd: echo x > DIR/made, shell: \
                /bin/sh, \
                 {fields}}}\n"
            ),
        );
        let mut agent = site.agent(&["--converged-timeout", "0", "yaml", "DIR/site.yaml"]);
        let code = agent.end(20).code();
        if !root {
            assert_eq!(code, Some(5), "only root runs as somebody else: {}", agent.log());
            continue;
        }
        assert_eq!(code, Some(0), "{fields}: {}", agent.log());
        let made = site.path("made").metadata().expect("it was made");
        assert_eq!((made.uid(), made.gid()), owner, "{fields}");
    }
}
