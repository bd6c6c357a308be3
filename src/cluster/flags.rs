//! The flags of the etcd child (4.2) and the version that they are for.
//!
//! Refuses to leave anything to etcd's defaults that differ between versions or that could found a
//! cluster by accident.

use serde::{Deserialize, Serialize};

use super::identity::Identity;
use super::timers::Timers;
use super::tls::Files;

/// How many characters of the instance are in a member's name.
const INSTANCE: usize = 8;

/// A version of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// The first number.
    pub major: u16,
    /// The second.
    pub minor: u16,
    /// The third.
    pub patch: u16,
}

/// The oldest etcd that knows learners.
pub const OLDEST: Version = Version { major: 3, minor: 4, patch: 0 };

impl Version {
    /// Reads `3.4.23`, also with a suffix such as `-rc.0`.
    pub fn parse(text: &str) -> Option<Version> {
        let mut parts = text.trim().splitn(3, '.');
        let mut next = || {
            let digits = parts.next()?;
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            digits.get(..end)?.parse().ok()
        };
        Some(Version { major: next()?, minor: next()?, patch: next()? })
    }

    /// An etcd of this version can join a cluster whose oldest member has `oldest`. Older versions
    /// refuse to start, and 3.6 takes a promoted learner for a learner still when one of the 3.5
    /// before 3.5.26 promoted it (etcd-io/etcd#19557).
    pub fn may_join(self, oldest: Version) -> bool {
        let (has, least) = ((self.major, self.minor), (oldest.major, oldest.minor));
        let forgets = oldest < Version { major: 3, minor: 5, patch: 26 };
        has == least || (has > least && !(has >= (3, 6) && forgets))
    }

    /// Reads the first line that `etcd --version` prints.
    pub fn from_output(output: &str) -> Option<Version> {
        output.lines().find_map(|l| Version::parse(l.strip_prefix("etcd Version: ")?))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// How the child is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Founds a cluster of one.
    New,
    /// Joins, or starts again on its data. Always with a list: without one and without data, etcd
    /// would found a cluster.
    Existing,
}

/// What the flags depend on.
#[derive(Clone, Debug)]
pub struct Child<'a> {
    /// Whose child it is.
    pub identity: &'a Identity,
    /// Founding or not.
    pub mode: Mode,
    /// etcd is to check changes of members itself: it refuses what our own rules allow, so growth
    /// takes 5 s a voter.
    pub strict: bool,
    /// How many bytes its data may have.
    pub quota: u64,
    /// How soon a leader is missed.
    pub timers: Timers,
    /// The data folder, absolute.
    pub data_dir: &'a str,
    /// Listened on for clients; addresses, no names.
    pub listen_client: &'a [String],
    /// Listened on for members; addresses, no names.
    pub listen_peer: &'a [String],
    /// Told to clients.
    pub client: &'a [String],
    /// Told to members.
    pub peer: &'a [String],
    /// The files towards clients and among members; `None` without TLS.
    pub tls: Option<&'a (Files, Files)>,
}

/// The name of a host's member. etcd does not care; `--initial-cluster` needs it to be unique.
pub fn member_name(identity: &Identity) -> String {
    name_of(&identity.hostname, &identity.instance)
}

/// The name of the member of an instance on a host.
pub fn name_of(host: &str, instance: &str) -> String {
    format!("{host}-{}", instance.get(..INSTANCE).unwrap_or(instance))
}

/// The host in a member's name.
pub fn host_of(name: &str) -> &str {
    // The dash as well.
    name.len().checked_sub(INSTANCE + 1).and_then(|end| name.get(..end)).unwrap_or(name)
}

/// Whether one of our agents gave a member this name.
pub fn is_ours(name: &str) -> bool {
    let tail = name.strip_prefix(host_of(name)).and_then(|tail| tail.strip_prefix('-'));
    tail.is_some_and(|tail| tail.len() == INSTANCE && tail.chars().all(|c| c.is_ascii_hexdigit()))
}

/// Whether a member's name is of the form that [`member_name`] gives.
pub fn is_member_name(name: &str) -> bool {
    let tail = name.rsplit_once('-').map(|(host, instance)| (host.is_empty(), instance));
    tail.is_some_and(|(nobody, instance)| {
        !nobody && instance.len() == 8 && instance.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

/// The arguments of the child.
pub fn arguments(child: &Child<'_>) -> Vec<String> {
    let name = member_name(child.identity);
    let own: Vec<String> = child.peer.iter().map(|url| format!("{name}={url}")).collect();
    let stored = &child.identity.initial_cluster;
    let (state, list) = match child.mode {
        Mode::New => ("new", own),
        Mode::Existing if stored.is_empty() => ("existing", own),
        Mode::Existing => ("existing", stored.clone()),
    };
    // A socket in the child's working directory: absolute paths fail on 3.4.
    let mut listen_client = child.listen_client.to_vec();
    listen_client.push("unix://client:0".into());
    let token = child.identity.token.as_deref().unwrap_or_default();
    let mut arguments: Vec<String> = [
        ("name", name.as_str()),
        ("data-dir", child.data_dir),
        ("listen-client-urls", &listen_client.join(",")),
        ("advertise-client-urls", &child.client.join(",")),
        ("listen-peer-urls", &child.listen_peer.join(",")),
        ("initial-advertise-peer-urls", &child.peer.join(",")),
        ("initial-cluster", &list.join(",")),
        ("initial-cluster-state", state),
        ("initial-cluster-token", token),
        ("pre-vote", "true"),
        ("strict-reconfig-check", if child.strict { "true" } else { "false" }),
        ("logger", "zap"),
        ("log-outputs", "stderr"),
        ("log-level", "info"),
        ("heartbeat-interval", &child.timers.heartbeat.to_string()),
        ("election-timeout", &child.timers.election.to_string()),
        ("quota-backend-bytes", &child.quota.to_string()),
        ("auto-compaction-mode", "periodic"),
        ("auto-compaction-retention", "1h"),
        ("max-txn-ops", "512"),
        ("grpc-keepalive-min-time", "1s"),
        ("snapshot-count", "10000"),
    ]
    .iter()
    .map(|(flag, value)| format!("--{flag}={value}"))
    .collect();
    if let Some((client, peer)) = child.tls {
        arguments.extend(certificates("", client));
        // The whole interface for clients is served to members too.
        arguments.extend(certificates("peer-", peer));
    }
    arguments
}

/// Both sides have to show a certificate.
fn certificates(side: &str, files: &Files) -> [String; 4] {
    [
        format!("--{side}cert-file={}", files.cert.display()),
        format!("--{side}key-file={}", files.key.display()),
        format!("--{side}trusted-ca-file={}", files.authority.display()),
        format!("--{side}client-cert-auth=true"),
    ]
}

/// The variables that the child may see. `ETCD_NAME` would end it and `ETCD_SNAPSHOT_COUNT` would
/// be obeyed silently.
pub fn keeps_variable(name: &str) -> bool {
    const KEPT: &[&str] =
        &["PATH", "HOME", "TMPDIR", "LANG", "GOMAXPROCS", "ETCD_UNSUPPORTED_ARCH"];
    KEPT.contains(&name)
}

/// The list of members for a joiner's flags: our own under our name, the others under their id.
/// Unstarted members count.
pub fn initial_cluster<'a>(
    members: impl IntoIterator<Item = (u64, &'a [String])>,
    own: (u64, &str),
) -> Vec<String> {
    let mut list = Vec::new();
    for (id, urls) in members {
        let name = if id == own.0 { own.1.to_owned() } else { super::identity::show_id(id) };
        list.extend(urls.iter().map(|url| format!("{name}={url}")));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments_of(identity: &Identity, mode: Mode) -> Vec<String> {
        let urls = ["http://10.0.0.1:2380".to_owned()];
        let clients = ["http://10.0.0.1:2379".to_owned()];
        arguments(&Child {
            identity,
            mode,
            strict: false,
            quota: 2_147_483_648,
            timers: Timers::default(),
            data_dir: "/s/etcd",
            listen_client: &clients,
            listen_peer: &urls,
            client: &clients,
            peer: &urls,
            tls: None,
        })
    }

    #[test]
    fn a_restart_always_carries_a_list() {
        let mut identity = Identity::new("9f3c1234-77".into(), "h1".into(), String::new());
        identity.token = Some("t".into());
        let said = arguments_of(&identity, Mode::Existing);
        assert!(said.contains(&"--initial-cluster=h1-9f3c1234=http://10.0.0.1:2380".into()));
        assert!(said.contains(&"--initial-cluster-state=existing".into()));
        identity.initial_cluster = vec!["a=http://b".into(), "c=http://d".into()];
        let said = arguments_of(&identity, Mode::Existing);
        assert!(said.contains(&"--initial-cluster=a=http://b,c=http://d".into()), "{said:?}");
        let said = arguments_of(&identity, Mode::New);
        assert!(said.contains(&"--initial-cluster=h1-9f3c1234=http://10.0.0.1:2380".into()));
        assert!(said.contains(&"--initial-cluster-token=t".into()));
        assert!(said.contains(&"--strict-reconfig-check=false".into()));
    }

    #[test]
    fn members_of_ours_are_told_by_their_names() {
        let identity = Identity::new("9f3c1234-77".into(), "h1".into(), String::new());
        assert!(is_member_name(&member_name(&identity)));
        for name in ["default", "infra1", "etcd-node-1", "-9f3c1234", ""] {
            assert!(!is_member_name(name), "{name}");
        }
    }

    #[test]
    fn with_tls_both_sides_show_certificates_to_clients_and_among_members() {
        let files = |side: &str| Files {
            cert: format!("{side}.crt").into(),
            key: format!("{side}.key").into(),
            authority: format!("{side}.ca").into(),
        };
        let identity = Identity::new("9f3c1234-77".into(), "h1".into(), String::new());
        let urls = ["https://h1:1".to_owned()];
        let said = arguments(&Child {
            identity: &identity,
            mode: Mode::New,
            strict: false,
            data_dir: "/s/etcd",
            listen_client: &urls,
            listen_peer: &urls,
            client: &urls,
            peer: &urls,
            tls: Some(&(files("c"), files("p"))),
            quota: 2_147_483_648,
            timers: Timers::default(),
        });
        for want in [
            "--cert-file=c.crt",
            "--key-file=c.key",
            "--trusted-ca-file=c.ca",
            "--client-cert-auth=true",
            "--peer-cert-file=p.crt",
            "--peer-key-file=p.key",
            "--peer-trusted-ca-file=p.ca",
            "--peer-client-cert-auth=true",
        ] {
            assert!(said.contains(&want.to_owned()), "{want}: {said:?}");
        }
    }

    #[test]
    fn versions_are_read_and_compared() {
        let output = "etcd Version: 3.4.23\nGit SHA: x\n";
        let version = Version::from_output(output);
        assert_eq!(version, Some(Version { major: 3, minor: 4, patch: 23 }));
        assert!(Version::parse("3.3.27") < Some(OLDEST));
        assert!(Version::parse("3.6.0-rc.1") > Some(OLDEST));
        assert_eq!(Version::parse("nonsense"), None);
    }

    #[test]
    fn the_host_of_a_member_is_its_name_without_the_instance() {
        assert_eq!(name_of("h1", "9f3c1234-77"), "h1-9f3c1234");
        for (name, host, ours) in [
            ("h1-9f3c1234", "h1", true),
            ("h-1.example-9f3c1234", "h-1.example", true),
            ("default", "default", false),
            ("somebodys-etcd", "someb", false),
            ("", "", false),
        ] {
            assert_eq!((host_of(name), is_ours(name)), (host, ours), "{name}");
        }
    }

    #[test]
    fn versions_join_as_the_design_found() {
        let v = |text| Version::parse(text).unwrap();
        for (joiner, oldest, may) in [
            ("3.4.23", "3.4.23", true),
            ("3.5.16", "3.4.23", true),
            ("3.4.23", "3.5.30", false),
            ("3.5.16", "3.5.30", true),
            ("3.6.1", "3.5.16", false),
            ("3.6.1", "3.5.26", true),
            ("3.6.1", "3.4.30", false),
            ("3.6.1", "3.6.11", true),
        ] {
            assert_eq!(v(joiner).may_join(v(oldest)), may, "{joiner} joins {oldest}");
        }
    }

    #[test]
    fn etcd_variables_do_not_reach_the_child() {
        assert!(keeps_variable("PATH"));
        assert!(!keeps_variable("ETCD_NAME"));
        assert!(!keeps_variable("ETCD_SNAPSHOT_COUNT"));
    }
}
