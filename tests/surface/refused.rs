//! Examples of kinds and forms that are not built: each is refused by the name of what is missing,
//! before anything runs. What mgmt dropped without a word is said.

use super::{answer, refused};

/// A file of mgmt's set, what its graph says of resources (in our words), and what is answered.
struct Row {
    file: &'static str,
    resources: &'static str,
    said: &'static [&'static str],
}

const PKG: &[&str] = &["kind `pkg` is not built yet"];
const VIRT: &[&str] = &["kind `virt` is not built yet"];

const ROWS: [Row; 19] = [
    Row {
        file: "augeas1",
        resources: "  augeas:\n  - name: x\n    lens: Sshd.lns\n    file: \
        DIR/sshd_config\n    sets: \
                    [{path: X11Forwarding, value: false}]\n",
        said: &["kind `augeas` is not built yet"],
    },
    Row {
        file: "autoedges2",
        resources: "  file:\n  - {name: file1, path: DIR/drbd.conf, content: x}\n  - {name: file2, \
                    path: DIR/drbd.d/, content: x}\n  pkg:\n  - {name: drbd-utils, state: \
                    installed}\n",
        said: &["kind `pkg` is not built yet", "file[file2]: a directory cannot have `content`"],
    },
    Row {
        file: "autoedges4",
        resources: "  user:\n  - {name: ann, state: exists, groups: [one, two]}\n  group:\n  - \
        {name: \
                    one, state: exists}\n",
        said: &["kind `user` is not built yet", "kind `group` is not built yet"],
    },
    Row {
        file: "autoedges5",
        resources: "  pkg:\n  - {name: httpd, meta: {noop: true}}\n  exec:\n  - {name: \
        /bin/true}\n",
        said: PKG,
    },
    Row {
        file: "autogroup1",
        resources: "  pkg:\n  - {name: a}\n  - {name: b, meta: {autogroup: false}}\n  - {name: \
        c}\n",
        said: PKG,
    },
    Row { file: "autogroup2", resources: "  pkg:\n  - {name: a}\n  - {name: b}\n", said: PKG },
    Row {
        file: "aws_ec2_1",
        resources: "  aws:ec2:\n  - {name: host, state: running, region: eu-west-1}\n",
        said: &["kind `aws:ec2` is not built yet"],
    },
    Row {
        file: "group1",
        resources: "  group:\n  - {name: g, gid: 10000, state: exists}\n",
        said: &["kind `group` is not built yet"],
    },
    Row {
        file: "hostname",
        resources: "  hostname:\n  - {name: h, hostname: h.example}\n",
        said: &["kind `hostname` is not built yet"],
    },
    Row {
        file: "nspawn1",
        resources: "  nspawn:\n  - {name: machine, state: running}\n",
        said: &["kind `nspawn` is not built yet"],
    },
    Row { file: "pkg1", resources: "  pkg:\n  - {name: powertop, state: installed}\n", said: PKG },
    Row {
        file: "pkg2",
        resources: "  pkg:\n  - {name: powertop, state: uninstalled}\n",
        said: PKG,
    },
    Row {
        file: "svc1",
        resources: "  svc:\n  - {name: s, state: running, startup: enabled}\n",
        said: &["kind `svc` is not built yet"],
    },
    Row {
        file: "svc2",
        resources: "  svc:\n  - {name: s, state: running, session: true}\n",
        said: &["kind `svc` is not built yet"],
    },
    Row {
        file: "user1",
        resources: "  user:\n  - {name: u, uid: 1002, gid: 100, state: exists}\n",
        said: &["kind `user` is not built yet"],
    },
    Row {
        file: "virt1",
        resources: "  virt:\n  - {name: v, uri: 'test:///default', state: shutoff, transient: \
        true}\n",
        said: VIRT,
    },
    Row {
        file: "virt2",
        resources: "  virt:\n  - {name: v, uri: 'test:///default', state: shutoff}\n",
        said: VIRT,
    },
    Row {
        file: "virt3",
        resources: "  virt:\n  - {name: v, state: running, disk: [{type: qcow2, source: \
        DIR/v.img}]}\n",
        said: VIRT,
    },
    Row {
        file: "virt4",
        resources: "  virt:\n  - {name: v, state: running, meta: {limit: .inf, burst: 0}}\n",
        said: VIRT,
    },
];

/// The files that are refused here.
pub(crate) fn files() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.file)
}

#[test]
fn kinds_that_are_not_built_are_refused_by_name() {
    for Row { file, resources, said } in &ROWS {
        let answer = refused(&format!("graph: {file}\nresources:\n{resources}"));
        for part in *said {
            assert!(answer.contains(part), "{file}: no {part:?} in\n{answer}");
        }
        let errors = answer.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(errors, said.len(), "{file}: {answer}");
    }
}

#[test]
fn autoedges3_a_directory_of_a_device_is_refused_beside_the_kinds_that_are_not_built() {
    let answer = refused(
        "graph: autoedges3\nresources:\n  pkg:\n  - {name: p, meta: {noop: true}}\n  file:\n  - \
        {name: \
         f, path: DIR/d/, source: /dev/null, meta: {noop: true}}\n  svc:\n  - {name: s, meta: \
         {noop: \
         true}}\n",
    );
    for part in
        ["kind `pkg` is not built yet", "kind `svc` is not built yet", "file[f]", "`source`"]
    {
        assert!(answer.contains(part), "no {part:?} in\n{answer}");
    }
}

#[test]
fn remote1_remote2a_and_remote2b_a_remote_host_is_said_to_do_nothing() {
    for keys in ["remote: 'ssh://root:pw@host:22'\n", "remote: ssh://a@b\ncollect: []\n"] {
        let output = answer(&format!("graph: r\n{keys}resources:\n  noop:\n  - name: n\n"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(said.contains("warning: `remote` does nothing"), "{said}");
    }
}
