//! Whether etcd can listen where it is to, and who is there already.
//!
//! Refuses to end anybody: the owner of a port is only named.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use super::Listen;
use crate::cluster::StartError;
use crate::cluster::address::{CLIENT_FLAG, PEER_FLAG};
use crate::cluster::tls::join;

/// How long the ports of an etcd may stay taken after it can be seen no more: the kernel takes its
/// arguments away before its sockets.
const ENDING: Duration = Duration::from_secs(2);
/// How often they are looked at; they have no way to tell.
const LOOK: Duration = Duration::from_millis(20);

/// Refuses addresses that are taken or not ours. Ports that nobody can be seen to hold are waited
/// for: an etcd that an earlier agent left may be just ending, on a folder that was wiped since.
pub(super) async fn are_free(listen: &Listen) -> Result<(), StartError> {
    let deadline = Instant::now() + ENDING;
    loop {
        match all_free(listen) {
            Err(StartError::PortTaken { by, .. }) if by.is_empty() && Instant::now() < deadline => {
                tokio::time::sleep(LOOK).await;
            }
            answer => return answer,
        }
    }
}

fn all_free(listen: &Listen) -> Result<(), StartError> {
    let all =
        [(CLIENT_FLAG, &listen.client), (PEER_FLAG, &listen.peer), (join::FLAG, &listen.join)];
    for (flag, urls) in all {
        for url in urls {
            let Some(at) = url.split_once("://").and_then(|(_, at)| at.parse().ok()) else {
                continue;
            };
            check(at, flag)?;
        }
    }
    Ok(())
}

fn check(at: SocketAddr, flag: &'static str) -> Result<(), StartError> {
    let Err(error) = TcpListener::bind(at) else { return Ok(()) };
    if error.kind() != std::io::ErrorKind::AddrInUse {
        let (port, address) = (at.port(), at.ip().to_string());
        return Err(StartError::NoAddress { address, port, why: error.to_string(), flag });
    }
    Err(taken(at, flag, owner(at)))
}

fn taken(at: SocketAddr, flag: &'static str, owner: Option<Owner>) -> StartError {
    let (port, address) = (at.port(), at.ip().to_string());
    let by = owner.as_ref().map(|owner| format!(" by {}", owner.text())).unwrap_or_default();
    let service = owner.and_then(|owner| owner.service);
    let advice = match service {
        Some(service) if service == "etcd" => {
            "; Debian starts one when the package is installed: systemctl disable --now etcd"
        }
        _ => "",
    };
    StartError::PortTaken { port, address, by, flag, advice }
}

/// The process that listens on a port.
#[derive(Debug, PartialEq, Eq)]
struct Owner {
    name: String,
    pid: u32,
    /// The system service that it belongs to.
    service: Option<String>,
    /// The name that an etcd was given.
    member: Option<String>,
}

impl Owner {
    fn text(&self) -> String {
        let service = self.service.iter().map(|name| format!(", system service {name}"));
        let member = self.member.iter().map(|name| format!(", member {name}"));
        let more: String = service.chain(member).collect();
        format!("{} (pid {}{more})", self.name, self.pid)
    }
}

/// Who listens there; `None` when the system does not show it to us.
fn owner(at: SocketAddr) -> Option<Owner> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let sockets: Vec<String> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| {
            let inodes = listeners(&table, at.port()).into_iter();
            inodes.map(|inode| format!("socket:[{inode}]")).collect::<Vec<_>>()
        })
        .collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter_map(|process| Some((process.file_name().to_str()?.parse().ok()?, process.path())))
        .find(|(_, path)| holds(path, &sockets))
        .and_then(|(pid, path)| describe(pid, &path))
}

fn holds(process: &Path, sockets: &[String]) -> bool {
    let Ok(open) = fs::read_dir(process.join("fd")) else { return false };
    open.flatten().filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| {
        target.to_str().is_some_and(|target| sockets.iter().any(|socket| socket == target))
    })
}

fn describe(pid: u32, process: &Path) -> Option<Owner> {
    let name = fs::read_to_string(process.join("comm")).ok()?.trim().to_owned();
    let groups = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
    let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
    if arguments.is_empty() {
        // It is ending.
        return None;
    }
    let member = arguments
        .split(|byte| *byte == 0)
        .find_map(|word| String::from_utf8(word.strip_prefix(b"--name=")?.to_vec()).ok());
    let service = service(&groups).filter(|unit| *unit != "quorate").map(str::to_owned);
    Some(Owner { name, pid, service, member })
}

/// The inodes of the sockets in a table of the kernel that listen on a port.
fn listeners(table: &str, port: u16) -> Vec<&str> {
    const LISTENING: &str = "0A";
    let wanted = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| {
        let here = row.get(1).is_some_and(|address| address.ends_with(&wanted));
        here && row.get(3) == Some(&LISTENING)
    })
    .filter_map(|row| row.get(9).copied())
    .collect()
}

/// The service in the list of a process's control groups.
fn service(groups: &str) -> Option<&str> {
    let last = groups.lines().filter_map(|line| line.rsplit('/').next());
    last.filter_map(|name| name.strip_suffix(".service")).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_that_listen_on_the_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n\
            0: 0100007F:094B 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 11 1 0\n\
            1: 0100007F:094B 0100007F:C001 01 00000000:00000000 00:00000000 00000000 0 0 22 1 0\n\
            2: 00000000:094C 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 33 1 0\n\
            cut";
        assert_eq!(listeners(table, 2379), ["11"]);
        assert_eq!(listeners(table, 2380), ["33"]);
        assert!(listeners("", 1).is_empty());
    }

    #[test]
    fn a_service_is_told_by_its_control_group() {
        for (groups, want) in [
            ("0::/system.slice/etcd.service\n", Some("etcd")),
            ("12:cpu:/\n1:name=systemd:/system.slice/etcd.service\n", Some("etcd")),
            ("0::/user.slice/user-0.slice/session-1.scope\n", None),
            ("", None),
        ] {
            assert_eq!(service(groups), want, "{groups}");
        }
    }

    #[test]
    fn our_own_listener_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let owner = owner(at).unwrap();
        assert_eq!((owner.pid, owner.member), (std::process::id(), None));
        let said = check(at, CLIENT_FLAG).unwrap_err().to_string();
        assert!(said.contains(&format!("(pid {}", std::process::id())), "{said}");
    }

    #[test]
    fn the_etcd_that_a_package_started_is_named_with_how_to_be_rid_of_it() {
        let at = "127.0.0.1:2379".parse().unwrap();
        let owner = |service: Option<&str>| {
            let service = service.map(str::to_owned);
            Some(Owner { name: "etcd".into(), pid: 401, service, member: None })
        };
        for (owner, want) in [
            (
                owner(Some("etcd")),
                "port 2379 on 127.0.0.1 is taken by etcd (pid 401, system service etcd); free it \
                 or choose another with --client-urls; Debian starts one when the package is \
                 installed: systemctl disable --now etcd",
            ),
            (
                owner(None),
                "port 2379 on 127.0.0.1 is taken by etcd (pid 401); free it or choose another with \
                 --client-urls",
            ),
            (None, "port 2379 on 127.0.0.1 is taken; free it or choose another with --client-urls"),
        ] {
            let refused = taken(at, CLIENT_FLAG, owner);
            assert_eq!((refused.exit_code(), refused.to_string().as_str()), (3, want));
        }
    }

    #[test]
    fn what_is_known_of_an_owner_is_in_one_bracket() {
        let owner = |service: Option<&str>, member: Option<&str>| Owner {
            name: "etcd".into(),
            pid: 401,
            service: service.map(str::to_owned),
            member: member.map(str::to_owned),
        };
        assert_eq!(owner(None, None).text(), "etcd (pid 401)");
        assert_eq!(owner(Some("etcd"), None).text(), "etcd (pid 401, system service etcd)");
        assert_eq!(owner(None, Some("h1-9f3c1234")).text(), "etcd (pid 401, member h1-9f3c1234)");
    }
}
