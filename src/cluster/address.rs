//! Which URLs an agent listens on, advertises and joins through (3.8), and which of them are
//! refused.
//!
//! Refuses to resolve names itself: the shell resolves, this module judges.

use std::net::{IpAddr, SocketAddr};

use super::StartError;

/// The port for clients when none is given.
pub const CLIENT_PORT: u16 = 2379;
/// The port for members when none is given.
pub const PEER_PORT: u16 = 2380;

/// The flag of the client URLs.
pub const CLIENT_FLAG: &str = "--client-urls";
/// The flag of the peer URLs.
pub const PEER_FLAG: &str = "--server-urls";

/// A URL taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// As it was typed, without a trailing slash; without a scheme, `http://` is put in front.
    pub text: String,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// It begins with `https`.
    pub tls: bool,
}

impl Url {
    /// Takes `text` apart. `flag` and `default_port` are those of the option that it came from.
    pub fn parse(flag: &'static str, text: &str, default_port: u16) -> Result<Url, StartError> {
        let bad = |why| StartError::BadUrl { flag, url: text.into(), why };
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return Err(bad("only http and https are understood")),
            None => (false, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@', ',']) || rest.contains(char::is_whitespace) {
            return Err(bad("a URL here is a scheme, a host and a port, nothing else"));
        }
        let (host, port) = split_port(rest).ok_or_else(|| bad("the port is not a number"))?;
        if host.is_empty() {
            return Err(bad("the host is missing"));
        }
        let port = port.unwrap_or(default_port);
        if port == 0 {
            return Err(bad("port 0 cannot be advertised"));
        }
        let shown = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let scheme = if tls { "https" } else { "http" };
        Ok(Url { text: format!("{scheme}://{shown}:{port}"), host: host.into(), port, tls })
    }

    /// The host as an address, if it is one. `localhost` counts as the address that it always is.
    pub fn address(&self) -> Option<IpAddr> {
        if self.host == "localhost" {
            return Some(IpAddr::from([127, 0, 0, 1]));
        }
        self.host.parse().ok()
    }

    /// It can only be reached from this machine.
    pub fn is_loopback(&self) -> bool {
        self.address().is_some_and(|a| a.is_loopback())
    }
}

/// Host and port of an authority; `None` when what follows the colon is no port.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return match after.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None => after.is_empty().then_some((host, None)),
        };
    }
    match text.split_once(':') {
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((text, None)),
    }
}

/// The URLs as they were typed.
#[derive(Clone, Copy, Debug)]
pub struct Typed<'a> {
    /// `--client-urls`.
    pub client: &'a [String],
    /// `--server-urls`.
    pub peer: &'a [String],
    /// `--advertise-client-urls`.
    pub advertise_client: &'a [String],
    /// `--advertise-server-urls`.
    pub advertise_peer: &'a [String],
    /// `--seeds`.
    pub seeds: &'a [String],
    /// `--insecure-network`.
    pub insecure: bool,
}

/// What to listen on and what to tell others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Listened on for clients; hosts may still be names.
    pub listen_client: Vec<Url>,
    /// Listened on for members; hosts may still be names.
    pub listen_peer: Vec<Url>,
    /// Told to clients.
    pub client: Vec<String>,
    /// Told to members.
    pub peer: Vec<String>,
    /// Where to ask for the cluster; our own URLs are left out.
    pub seeds: Vec<Url>,
}

/// Judges the URLs of an agent that may run etcd.
pub fn choose(typed: Typed<'_>) -> Result<Addresses, StartError> {
    let listen_client = parse_all(CLIENT_FLAG, typed.client, CLIENT_PORT)?;
    let listen_peer = parse_all(PEER_FLAG, typed.peer, PEER_PORT)?;
    let client =
        advertised("--advertise-client-urls", typed.advertise_client, &listen_client, CLIENT_PORT)?;
    let peer =
        advertised("--advertise-server-urls", typed.advertise_peer, &listen_peer, PEER_PORT)?;
    if let Some(url) = listen_client.iter().find(|c| listen_peer.iter().any(|p| same(c, p))) {
        return Err(StartError::BadUrl {
            flag: PEER_FLAG,
            url: url.text.clone(),
            why: "clients and members need different ports",
        });
    }
    for url in listen_client.iter().chain(&listen_peer) {
        if url.tls {
            return Err(StartError::TlsMissing { url: url.text.clone() });
        }
        if !typed.insecure && !url.is_loopback() {
            return Err(StartError::InsecureNetwork { url: url.text.clone() });
        }
    }
    let mut seeds = seeds(typed.seeds)?;
    let remote = seeds.iter().any(|s| !s.is_loopback());
    for (flag, urls) in [(CLIENT_FLAG, &client), (PEER_FLAG, &peer)] {
        if let Some(url) = urls.iter().find(|u| remote && u.is_loopback()) {
            let (url, port) = (url.text.clone(), url.port);
            return Err(StartError::LoopbackAdvertised { url, flag, port });
        }
    }
    seeds.retain(|s| !listen_client.iter().chain(&client).any(|own| same(own, s)));
    let texts = |urls: Vec<Url>| urls.into_iter().map(|u| u.text).collect();
    Ok(Addresses { listen_client, listen_peer, client: texts(client), peer: texts(peer), seeds })
}

/// Judges the seeds alone, for an agent that never serves.
pub fn seeds(typed: &[String]) -> Result<Vec<Url>, StartError> {
    let mut seeds = Vec::new();
    for text in typed.iter().flat_map(|s| s.split(',')).filter(|s| !s.is_empty()) {
        let url = Url::parse("--seeds", text, CLIENT_PORT)?;
        if url.tls {
            return Err(StartError::TlsMissing { url: url.text });
        }
        seeds.push(url);
    }
    Ok(seeds)
}

/// Replaces names by what they resolved to, for listening. Several names may share an address.
pub fn listen_urls(resolved: &[SocketAddr]) -> Vec<String> {
    let mut urls: Vec<String> = resolved.iter().map(|a| format!("http://{a}")).collect();
    urls.sort();
    urls.dedup();
    urls
}

fn same(a: &Url, b: &Url) -> bool {
    a.port == b.port && (a.host == b.host || (a.address().is_some() && a.address() == b.address()))
}

fn parse_all(flag: &'static str, typed: &[String], port: u16) -> Result<Vec<Url>, StartError> {
    let texts: Vec<&str> =
        typed.iter().flat_map(|s| s.split(',')).filter(|s| !s.is_empty()).collect();
    if texts.is_empty() {
        return Ok(vec![Url::parse(flag, "127.0.0.1", port)?]);
    }
    texts.into_iter().map(|t| Url::parse(flag, t, port)).collect()
}

fn advertised(
    flag: &'static str,
    typed: &[String],
    listen: &[Url],
    port: u16,
) -> Result<Vec<Url>, StartError> {
    let urls = if typed.iter().all(String::is_empty) {
        listen.to_vec()
    } else {
        parse_all(flag, typed, port)?
    };
    match urls.iter().find(|u| u.address().is_some_and(|a| a.is_unspecified())) {
        Some(url) => Err(StartError::BadUrl {
            flag,
            url: url.text.clone(),
            why: "every address of this host can be listened on but not advertised",
        }),
        None => Ok(urls),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    /// What `choose` makes of these flags: the seeds left over, or the refusal's sentence.
    fn judged(client: &[&str], peer: &[&str], seeds: &[&str], insecure: bool) -> String {
        let (client, peer, seeds) = (texts(client), texts(peer), texts(seeds));
        let typed = Typed {
            client: &client,
            peer: &peer,
            advertise_client: &[],
            advertise_peer: &[],
            seeds: &seeds,
            insecure,
        };
        match choose(typed) {
            Ok(chosen) => {
                let seeds: Vec<_> = chosen.seeds.iter().map(|s| s.text.as_str()).collect();
                format!("{} {} {}", chosen.client.join(","), chosen.peer.join(","), seeds.join(","))
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn urls_are_taken_apart() {
        for (text, want) in [
            ("http://127.0.0.1:2381", Some(("127.0.0.1", 2381, "http://127.0.0.1:2381"))),
            ("h1", Some(("h1", 2379, "http://h1:2379"))),
            ("http://h1/", Some(("h1", 2379, "http://h1:2379"))),
            ("[::1]:5", Some(("::1", 5, "http://[::1]:5"))),
            ("https://h1:1", Some(("h1", 1, "https://h1:1"))),
            ("ftp://h1", None),
            ("http://h1:x", None),
            ("http://h1:99999", None),
            ("http://:1", None),
            ("http://h1:0", None),
            ("http://h1:1/path", None),
            ("", None),
        ] {
            let got = Url::parse("--seeds", text, 2379).ok();
            let got = got.as_ref().map(|u| (u.host.as_str(), u.port, u.text.as_str()));
            assert_eq!(got, want, "{text:?}");
        }
    }

    #[test]
    fn loopback_is_not_advertised_to_remote_seeds() {
        let said = judged(&[], &[], &["http://10.0.0.7:2379"], false);
        assert_eq!(
            said,
            "this agent would advertise http://127.0.0.1:2379, which other hosts cannot reach; \
             pass --client-urls http://ADDRESS:2379"
        );
        let said = judged(&["http://10.0.0.8"], &["localhost"], &["http://10.0.0.7"], true);
        assert!(said.contains("--server-urls http://ADDRESS:2380"), "{said}");
    }

    #[test]
    fn the_network_needs_the_flag() {
        let said = judged(&["http://10.0.0.8:2379"], &[], &[], false);
        assert!(said.starts_with("http://10.0.0.8:2379 is reachable from the network"), "{said}");
        let said = judged(&["http://10.0.0.8"], &["http://10.0.0.8"], &[], true);
        assert_eq!(said, "http://10.0.0.8:2379 http://10.0.0.8:2380 ");
    }

    #[test]
    fn odd_combinations_are_refused_in_one_sentence() {
        for (client, peer, insecure, want) in [
            ("127.0.0.1:5", "127.0.0.1:5", false, "clients and members need different ports"),
            ("localhost:5", "127.0.0.1:5", false, "clients and members need different ports"),
            ("0.0.0.0:5", "127.0.0.1:6", true, "listened on but not advertised"),
            ("https://127.0.0.1:5", "127.0.0.1:6", false, "asks for TLS"),
        ] {
            let said = judged(&[client], &[peer], &[], insecure);
            assert!(said.contains(want), "{client} {peer}: {said}");
        }
    }

    #[test]
    fn an_agent_does_not_join_through_itself() {
        let seeds = ["http://127.0.0.1:2379", "http://127.0.0.1:2381"];
        let said = judged(&["http://127.0.0.1:2379"], &[], &seeds, false);
        assert!(said.ends_with(" http://127.0.0.1:2381"), "{said}");
    }
}
