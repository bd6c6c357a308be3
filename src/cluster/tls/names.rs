//! What a host's certificate has to say: its names and addresses, and who it is to the cluster.
//!
//! Refuses names that only the authority may give.

use std::net::SocketAddr;

use super::super::address::{Addresses, Url};

/// What every agent reaches its own etcd by.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// The end of the name that says which host of the cluster this is. No such name is ever resolved,
/// and nobody can ask for one.
const IDENTITY: &str = ".host.quorate";

/// The name that stands for `host` inside the cluster.
pub fn identity(host: &str) -> String {
    format!("{host}{IDENTITY}")
}

/// The names that others know this host by, without the local ones.
pub fn advertised(addresses: &Addresses) -> Vec<String> {
    let urls = addresses.client.iter().chain(&addresses.peer);
    let hosts = urls.filter_map(|url| Some(Url::parse("", url, 1).ok()?.host));
    let mut names = Vec::new();
    for host in hosts.filter(|host| !LOCAL.contains(&host.as_str())) {
        if !names.contains(&host) {
            names.push(host);
        }
    }
    names
}

/// Everything that a certificate of this host is asked for. `listen` are the addresses behind the
/// names: members check where a connection comes from.
pub fn wanted(host: &str, addresses: &Addresses, listen: &[SocketAddr]) -> Vec<String> {
    let mut names = vec![host.to_owned()];
    let behind = listen.iter().filter(|at| !at.ip().is_unspecified()).map(|at| at.ip().to_string());
    let local = LOCAL.iter().map(|name| (*name).to_owned());
    for name in advertised(addresses).into_iter().chain(behind).chain(local) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Whether a host may have a name in its certificate for the asking.
pub fn may_be_asked_for(name: &str) -> bool {
    !name.is_empty() && name.len() <= 253 && !name.contains('*') && !name.ends_with(IDENTITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(client: &[&str], peer: &[&str]) -> Addresses {
        let texts = |urls: &[&str]| urls.iter().map(|u| (*u).to_owned()).collect();
        Addresses {
            listen_client: Vec::new(),
            listen_peer: Vec::new(),
            client: texts(client),
            peer: texts(peer),
            seeds: Vec::new(),
            tls: true,
        }
    }

    #[test]
    fn a_certificate_names_the_host_what_it_advertises_and_what_is_local() {
        let named = addresses(&["https://h1:2379"], &["https://h1:2380", "https://[fd00::1]:2380"]);
        assert_eq!(advertised(&named), ["h1", "fd00::1"]);
        let listen = ["10.0.0.1:2379", "0.0.0.0:2380"].map(|at| at.parse().unwrap());
        let want = ["h1", "fd00::1", "10.0.0.1", "localhost", "127.0.0.1", "::1"];
        assert_eq!(wanted("h1", &named, &listen), want);
        let local = addresses(&["https://127.0.0.1:2379"], &["https://localhost:2380"]);
        assert_eq!(advertised(&local), [""; 0]);
    }

    #[test]
    fn nobody_can_ask_for_the_identity_of_a_host_or_for_all_names() {
        assert_eq!(identity("h1"), "h1.host.quorate");
        for (name, may) in [
            ("h1", true),
            ("10.0.0.1", true),
            ("h2.host.quorate", false),
            ("*.example", false),
            ("", false),
        ] {
            assert_eq!(may_be_asked_for(name), may, "{name}");
        }
    }
}
