//! The value of `--prometheus-listen`, which may be left out.
//!
//! Pure. Refuses to judge whether an address may be served; the agent does.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The port when none is given.
const PORT: u16 = 9233;

/// Both names of the flag.
const FLAGS: [&str; 2] = ["--prometheus-listen", "--metrics"];
/// What follows the flag when its value was left out, besides another flag.
const FRONT_ENDS: [&str; 2] = ["yaml", "empty"];

/// The command line with the value put in where it was left out: `run --metrics yaml FILE` names no
/// address called `yaml`.
pub(super) fn with_default(args: Vec<OsString>) -> Vec<OsString> {
    let ends = |next: Option<&OsString>| {
        next.and_then(|word| word.to_str()).is_none_or(|word| {
            word.is_empty() || word.starts_with('-') || FRONT_ENDS.contains(&word)
        })
    };
    let mut out: Vec<OsString> = Vec::with_capacity(args.len());
    let mut words = args.into_iter().peekable();
    while let Some(word) = words.next() {
        let bare = FLAGS.iter().any(|flag| word == *flag) && ends(words.peek());
        out.push(word);
        if bare {
            out.push(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)).to_string().into());
        }
    }
    out
}

/// `IP:PORT`, `IP`, `:PORT`, and `localhost` for the address that it always is.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    let named = match text.strip_prefix("localhost") {
        Some(rest) if rest.is_empty() || rest.starts_with(':') => format!("127.0.0.1{rest}"),
        _ => text.to_owned(),
    };
    let local = || named.strip_prefix(':').and_then(|port| port.parse().ok());
    let alone = named.trim_start_matches('[').trim_end_matches(']');
    let found = named
        .parse::<SocketAddr>()
        .ok()
        .or_else(|| local().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
        .or_else(|| alone.parse::<IpAddr>().ok().map(|ip| SocketAddr::from((ip, PORT))));
    found
        .ok_or_else(|| "an address is IP:PORT, IP or :PORT, for instance 127.0.0.1:9233".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_lack_its_port_or_its_host() {
        for (text, expected) in [
            ("127.0.0.1:1234", "127.0.0.1:1234"),
            ("10.0.0.1", "10.0.0.1:9233"),
            (":80", "127.0.0.1:80"),
            ("localhost", "127.0.0.1:9233"),
            ("localhost:1", "127.0.0.1:1"),
            ("[::1]:5", "[::1]:5"),
            ("::1", "[::1]:9233"),
        ] {
            assert_eq!(address(text).map(|found| found.to_string()).as_deref(), Ok(expected));
        }
        for text in ["", "yaml", "127.0.0.1:x", "1.2.3.4:99999", "localhosts"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_flag_without_a_value_takes_no_front_end_and_no_other_flag_for_one() {
        let ask = |line: &str| {
            let words = with_default(line.split(' ').map(OsString::from).collect());
            let words: Vec<String> =
                words.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
            words.join(" ")
        };
        let put_in = "q run --metrics 127.0.0.1:9233 yaml f";
        assert_eq!(ask("q run --metrics yaml f"), put_in);
        assert_eq!(ask(put_in), put_in);
        assert_eq!(ask("q run yaml f --metrics"), "q run yaml f --metrics 127.0.0.1:9233");
        assert_eq!(
            ask("q --prometheus-listen --noop"),
            "q --prometheus-listen 127.0.0.1:9233 --noop"
        );
        assert_eq!(ask("q check f"), "q check f");
    }
}
