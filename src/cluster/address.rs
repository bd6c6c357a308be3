//! Which URLs an agent listens on, advertises and joins through (3.8), and which of them are
//! refused.
//!
//! Refuses to resolve names itself: the shell resolves, this module judges.

use std::net::{IpAddr, SocketAddr};

use super::StartError;
use super::tls::{TlsError, join};

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
    /// The flag that asks for TLS, if one does.
    pub asks_for_tls: Option<&'static str>,
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
    /// All of them are `https`; none is, otherwise.
    pub tls: bool,
}

/// Judges the URLs of an agent that may run etcd.
pub fn choose(typed: Typed<'_>) -> Result<Addresses, StartError> {
    let asks = asks_for_tls(&typed);
    let tls = asks.is_some();
    let listen_client = parse_all((CLIENT_FLAG, CLIENT_PORT), typed.client, tls)?;
    let listen_peer = parse_all((PEER_FLAG, PEER_PORT), typed.peer, tls)?;
    let flag = ("--advertise-client-urls", CLIENT_PORT);
    let client = advertised(flag, typed.advertise_client, &listen_client, tls)?;
    let flag = ("--advertise-server-urls", PEER_PORT);
    let peer = advertised(flag, typed.advertise_peer, &listen_peer, tls)?;
    if let Some(url) = listen_client.iter().find(|c| listen_peer.iter().any(|p| same(c, p))) {
        return Err(StartError::BadUrl {
            flag: PEER_FLAG,
            url: url.text.clone(),
            why: "clients and members need different ports",
        });
    }
    let mut seeds = parse_seeds(typed.seeds, tls)?;
    let served = listen_client.iter().chain(&listen_peer);
    refuse_open(served.clone(), typed.insecure)?;
    refuse_mixed(served.chain(&client).chain(&peer).chain(&seeds), asks)?;
    let remote = seeds.iter().any(|s| !s.is_loopback());
    for (flag, urls) in [(CLIENT_FLAG, &client), (PEER_FLAG, &peer)] {
        if let Some(url) = urls.iter().find(|u| remote && u.is_loopback()) {
            let scheme = if tls { "https" } else { "http" };
            let (url, port) = (url.text.clone(), url.port);
            return Err(StartError::LoopbackAdvertised { url, flag, scheme, port });
        }
    }
    seeds.retain(|s| !listen_client.iter().chain(&client).any(|own| same(own, s)));
    let texts = |urls: Vec<Url>| urls.into_iter().map(|u| u.text).collect();
    let (client, peer) = (texts(client), texts(peer));
    Ok(Addresses { listen_client, listen_peer, client, peer, seeds, tls })
}

/// Judges the seeds of an agent that never serves.
pub fn choose_client(typed: Typed<'_>) -> Result<Addresses, StartError> {
    let asks = asks_for_tls(&typed);
    let tls = asks.is_some();
    let seeds = parse_seeds(typed.seeds, tls)?;
    refuse_open(seeds.iter(), typed.insecure)?;
    refuse_mixed(seeds.iter(), asks)?;
    let (listen_client, listen_peer, client, peer) = Default::default();
    Ok(Addresses { listen_client, listen_peer, client, peer, seeds, tls })
}

/// What asks for TLS: a flag, or the first URL that says so.
fn asks_for_tls(typed: &Typed<'_>) -> Option<String> {
    let lists =
        [typed.client, typed.peer, typed.advertise_client, typed.advertise_peer, typed.seeds];
    let mut urls = lists.into_iter().flatten().flat_map(|list| list.split(','));
    let url = urls.find(|url| url.starts_with("https://")).map(str::to_owned);
    typed.asks_for_tls.map(str::to_owned).or(url)
}

/// Whoever reaches an address beyond this machine could read and write everything there.
fn refuse_open<'a>(urls: impl Iterator<Item = &'a Url>, insecure: bool) -> Result<(), StartError> {
    let mut open = urls.filter(|url| !url.tls && !insecure && !url.is_loopback());
    open.next().map_or(Ok(()), |url| Err(StartError::OpenNetwork { url: url.text.clone() }))
}

/// One door without a lock is no better than none with one.
fn refuse_mixed<'a>(
    mut urls: impl Iterator<Item = &'a Url>,
    asks: Option<String>,
) -> Result<(), StartError> {
    let Some(asks) = asks else { return Ok(()) };
    let plain = urls.find(|url| !url.tls).map(|url| url.text.clone());
    plain.map_or(Ok(()), |url| Err(TlsError::Mixed { url, asks }.into()))
}

fn parse_seeds(typed: &[String], tls: bool) -> Result<Vec<Url>, StartError> {
    parse_list(("--seeds", CLIENT_PORT), typed, tls)
}

/// Where joiners get their certificates: where clients are served, on a port of its own.
pub fn join_urls(addresses: &Addresses, named: Option<u16>) -> Result<Vec<Url>, StartError> {
    let Some(first) = addresses.listen_client.first() else { return Ok(Vec::new()) };
    let refuse = |why| StartError::BadUrl { flag: join::FLAG, url: first.text.clone(), why };
    let port = join::port(first.port, named);
    let port = port.ok_or_else(|| refuse("there is no port two above; name another"))?;
    let served = addresses.listen_client.iter().chain(&addresses.listen_peer);
    if served.clone().any(|url| url.port == port) {
        return Err(refuse("joiners, clients and members need different ports; name another"));
    }
    let urls = addresses.listen_client.iter().filter_map(|url| join::beside(url, Some(port)));
    Ok(urls.collect())
}

/// Replaces names by what they resolved to, for listening. Several names may share an address.
pub fn listen_urls(resolved: &[SocketAddr], tls: bool) -> Vec<String> {
    let scheme = if tls { "https" } else { "http" };
    let mut urls: Vec<String> = resolved.iter().map(|a| format!("{scheme}://{a}")).collect();
    urls.sort();
    urls.dedup();
    urls
}

fn same(a: &Url, b: &Url) -> bool {
    a.port == b.port && (a.host == b.host || (a.address().is_some() && a.address() == b.address()))
}

/// A flag and the port for its URLs that name none.
type Flag = (&'static str, u16);

fn parse_all(flag: Flag, typed: &[String], tls: bool) -> Result<Vec<Url>, StartError> {
    let urls = parse_list(flag, typed, tls)?;
    match urls.is_empty() {
        true => parse_list(flag, &["127.0.0.1".to_owned()], tls),
        false => Ok(urls),
    }
}

fn parse_list((flag, port): Flag, typed: &[String], tls: bool) -> Result<Vec<Url>, StartError> {
    let texts = typed.iter().flat_map(|s| s.split(',')).filter(|s| !s.is_empty());
    let scheme = |text: &str| match tls && !text.contains("://") {
        true => format!("https://{text}"),
        false => text.to_owned(),
    };
    texts.map(|text| Url::parse(flag, &scheme(text), port)).collect()
}

fn advertised(
    flag: Flag,
    typed: &[String],
    listen: &[Url],
    tls: bool,
) -> Result<Vec<Url>, StartError> {
    let urls = if typed.iter().all(String::is_empty) {
        listen.to_vec()
    } else {
        parse_all(flag, typed, tls)?
    };
    match urls.iter().find(|u| u.address().is_some_and(|a| a.is_unspecified())) {
        Some(url) => Err(StartError::BadUrl {
            flag: flag.0,
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
            asks_for_tls: None,
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
            ("https://127.0.0.1:5", "http://127.0.0.1:6", false, "asks for it; write https://"),
        ] {
            let said = judged(&[client], &[peer], &[], insecure);
            assert!(said.contains(want), "{client} {peer}: {said}");
        }
    }

    #[test]
    fn with_tls_the_network_needs_no_flag_and_every_url_is_https() {
        let said = judged(&["https://h1"], &["h1"], &["h2", "10.0.0.7:5"], false);
        assert_eq!(said, "https://h1:2379 https://h1:2380 https://h2:2379,https://10.0.0.7:5");
        let said = judged(&[], &[], &["https://127.0.0.1:5"], false);
        assert_eq!(said, "https://127.0.0.1:2379 https://127.0.0.1:2380 https://127.0.0.1:5");
        for (client, peer, seeds, plain) in [
            ("https://h1", "http://127.0.0.1:2", "", "http://127.0.0.1:2"),
            ("https://h1", "h1", "http://h2", "http://h2:2379"),
            ("http://127.0.0.1:1", "", "https://127.0.0.1:3", "http://127.0.0.1:1"),
        ] {
            let said = judged(&[client], &[peer], &[seeds], false);
            let want = format!("{plain} is without TLS, but https://");
            assert!(said.starts_with(&want), "{client} {peer} {seeds}: {said}");
        }
    }

    #[test]
    fn a_client_needs_the_flag_for_a_seed_on_the_network_too() {
        let judged = |seed: &str, insecure, asks_for_tls| {
            let typed = Typed {
                client: &[],
                peer: &[],
                advertise_client: &[],
                advertise_peer: &[],
                seeds: &texts(&[seed]),
                insecure,
                asks_for_tls,
            };
            choose_client(typed).map_or_else(|e| e.to_string(), |a| a.seeds[0].text.clone())
        };
        assert!(judged("http://h1", false, None).contains("is reachable from the network without"));
        assert_eq!(judged("http://h1", true, None), "http://h1:2379");
        assert_eq!(judged("http://127.0.0.1", false, None), "http://127.0.0.1:2379");
        assert_eq!(judged("h1", false, Some("--token")), "https://h1:2379");
        assert!(judged("http://h1", true, Some("--token")).contains("but --token asks for it"));
    }

    #[test]
    fn an_agent_does_not_join_through_itself() {
        let seeds = ["http://127.0.0.1:2379", "http://127.0.0.1:2381"];
        let said = judged(&["http://127.0.0.1:2379"], &[], &seeds, false);
        assert!(said.ends_with(" http://127.0.0.1:2381"), "{said}");
    }
}
