//! What is refused, and what is said then: in full, and with its exit code.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::apart::rules;
use super::faults::routes;
use super::{Named, ask, engine_there};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_engine_that_is_too_old_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let body = r#"{"Version":"18.06.0","ApiVersion":"1.38","Os":"linux","Arch":"amd64"}"#;
    // Ends with the process.
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut piece = [0; 4096];
            while let Ok(1..) = client.read(&mut piece) {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
                drop(client.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()));
            }
        }
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["cluster", "status"]).env("QUORATE_LOCAL", folder.path().join("local"));
    let output =
        command.env("DOCKER_HOST", format!("unix://{}", socket.display())).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(
        said(&output),
        "error: engine API 1.38 is older than 1.41, the oldest this tool is tested with. Upgrade \
         Docker to 20.10 or later.\n"
    );
}

#[test]
fn engine_programs_that_are_missing_or_foreign_are_named_with_the_way_to_have_them() {
    if !engine_there("programs") {
        return;
    }
    let (_, about) = ask("GET", "/version", &Value::Null).unwrap();
    let arch = about["Arch"].as_str().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let build = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        for name in ["QUORATE_ETCD", "QUORATE_ETCDCTL", "QUORATE_BUSYBOX"] {
            command.env_remove(name);
        }
        command.args(["image", "build"]).args(arguments).env("PATH", folder.path());
        command.env("CARGO_TARGET_DIR", folder.path()).output().unwrap()
    };
    let output = build(&[]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(
        said(&output),
        format!(
            "error: no Linux etcd found for {arch} (this machine has no apt-get). Debian/Ubuntu: \
             apt install etcd-server. Fedora: dnf install etcd. Mac: image build --etcd PATH to a \
             Linux binary, or build from compose/Dockerfile.\n"
        )
    );
    let mac = folder.path().join("etcd-mac");
    std::fs::write(&mac, [0xcf, 0xfa, 0xed, 0xfe, 7, 0, 0, 1]).unwrap();
    let output = build(&["--etcd", mac.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let wanted =
        format!("error: {} is a Mach-O file; the nodes run Linux/{arch}.\n", mac.display());
    assert_eq!(said(&output), wanted);
}

#[test]
fn engine_a_container_of_our_name_and_without_our_label_is_refused_and_untouched() {
    if !engine_there("foreign container") {
        return;
    }
    let demo = Named::new("other");
    demo.expect(0, &["up", "--no-wait", "--nodes", "1"]);
    let name = format!("quorate-{}-h1", demo.0);
    let (_, seen) = ask("GET", &format!("/containers/{name}/json"), &Value::Null).unwrap();
    demo.expect(0, &["down"]);
    let body = serde_json::json!({"Image": seen["Image"], "Cmd": ["true"]});
    let path = format!("/containers/create?name={name}");
    let (status, made) = ask("POST", &path, &body).unwrap();
    assert_eq!(status, 201, "{made}");
    let text = demo.expect(5, &["up", "--no-wait"]);
    let wanted = format!(
        "error: container {name} exists but carries no quorate label; it is not ours. Remove it \
         or pick --name."
    );
    assert_eq!(text.lines().last(), Some(wanted.as_str()));
    assert_eq!(demo.left(), [name]);
    let id = made["Id"].as_str().unwrap();
    assert_eq!(ask("DELETE", &format!("/containers/{id}"), &Value::Null).unwrap().0, 204);
}

/// Removes the images that carry a tag that there was not before.
fn forget_new(before: &[String]) {
    for tag in tags().iter().filter(|tag| !before.contains(tag)) {
        ask("DELETE", &format!("/images/{tag}"), &Value::Null).unwrap();
    }
}

fn tags() -> Vec<String> {
    let (_, images) = ask("GET", "/images/json", &Value::Null).unwrap();
    let images = images.as_array().into_iter().flatten();
    let tags = images.flat_map(|image| image["RepoTags"].as_array().into_iter().flatten());
    tags.filter_map(|tag| tag.as_str().map(str::to_owned)).collect()
}

#[test]
fn engine_a_node_that_ends_is_named_with_its_last_lines_and_nothing_is_kept() {
    if !engine_there("a node that ends") {
        return;
    }
    let demo = Named::new("ends");
    let before = tags();
    let up = ["up", "--nodes", "1", "--agent", "/bin/false"];
    let text = demo.expect(6, &up);
    forget_new(&before);
    let last = text.lines().find(|line| line.starts_with("error: ")).unwrap_or(&text);
    let (head, tail) = last.split_once(" s: ").unwrap();
    let seconds = head.strip_prefix("error: not ready after ").unwrap();
    assert!(seconds.parse::<u64>().is_ok(), "{last}");
    assert_eq!(
        tail,
        "h1 exited with 1, 0 of 1 voter. Last lines of h1 follow. Kept nothing; use \
         --keep-on-failure to inspect."
    );
    assert_eq!(demo.left(), Vec::<String>::new());
}

/// A folder with this program under the name of the packet filter's.
fn instead_of_nft(program: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let nft = folder.path().join("nft");
    std::fs::copy(Path::new("/bin").join(program), &nft).unwrap();
    std::fs::set_permissions(&nft, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

#[test]
fn engine_faults_that_cannot_be_had_or_have_no_effect_change_nothing() {
    if !engine_there("faults that cannot be had") {
        return;
    }
    let demo = Named::new("vain");
    demo.expect(0, &["up", "--insecure", "--wait", "60s"]);
    demo.expect(0, &["loss", "h1", "--pct", "50"]);
    demo.expect(0, &["heal"]);
    let before = (routes(&demo), rules(&demo), tags());
    // Whatever it is asked for, one says yes and does nothing, the other knows nothing of it.
    for (program, wanted) in [
        ("true", "loss was set on h1 but 0 of 200 probe packets were lost; rule removed."),
        (
            "ls",
            "loss is not possible here: this kernel has no packet filter that drops by chance. \
             Try partition, pause or kill.",
        ),
    ] {
        let folder = instead_of_nft(program);
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", folder.path().display());
        let mut command = demo.command(&["loss", "h1", "--pct", "30"]);
        let output = command.env("PATH", path).output().unwrap();
        forget_new(&before.2);
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        // Where a storage driver minds how long a name is, `ls` says that instead.
        let other = "error: loss is not possible here: /usr/sbin/nft: cannot access ";
        if !(program == "ls" && said(&output).starts_with(other)) {
            assert_eq!(said(&output), format!("error: {wanted}\n"));
        }
        assert_eq!(demo.expect(0, &["faults"]), "no faults\n");
    }
    let output = demo.run(&["delay", "h1", "--ms", "50"]);
    if output.status.code() == Some(0) {
        // This kernel has it, and the delay was measured.
        demo.expect(0, &["heal"]);
    } else {
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        let wanted = "error: delay is not possible here: this kernel has no netem. Try partition, \
                      pause or kill.\n";
        assert_eq!(said(&output), wanted);
    }
    assert_eq!((routes(&demo), rules(&demo)), (before.0, before.1));
}
