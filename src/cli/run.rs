//! `quorate run`: the flags as typed, then the settings that they mean.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::agent::{self, ClusterSettings, Converged, Input, MetricsSettings, Settings};
use crate::cluster::timers::Timers;
use crate::ident::HostName;

/// Arguments of `run`. List flags may be repeated, or hold several values split by comma or
/// semicolon.
#[derive(clap::Args)]
#[command(
    after_help = "Without any of --seeds, --ideal-cluster-size, --client-urls and --server-urls \
the agent runs on its own, on a store in its own memory.\n\
TERM stops and stays a member of the cluster; INT (ctrl-c) leaves it.\n\
QUORATE_LOG filters the log: `quorate=debug`, `warn,quorate::agent=trace`. The lines of \
--log-format json carry the fields `resource`, `kind` and `run` of the run that they are about.\n\n\
Examples:\n  \
quorate run yaml site.yaml\n  \
quorate run --collect rules.yaml yaml site.yaml      (collect rules in a file of their own)\n  \
quorate run --log-format json yaml site.yaml 2> agent.log\n  \
quorate run --prometheus-listen yaml site.yaml       (curl http://127.0.0.1:9233/metrics)"
)]
pub(super) struct Args {
    #[command(subcommand)]
    front_end: FrontEnd,

    /// A file of further collect rules, which come after those of the graph
    #[arg(
        long,
        global = true,
        env = "QUORATE_COLLECT",
        value_name = "FILE",
        help_heading = "Host"
    )]
    collect: Option<PathBuf>,
    /// The name of this host in the cluster
    #[arg(
        long,
        global = true,
        env = "QUORATE_HOSTNAME",
        value_name = "NAME",
        help_heading = "Host"
    )]
    hostname: Option<String>,
    /// The folder for the agent's state; default $STATE_DIRECTORY, else /var/lib/quorate/HOST or
    /// ~/.local/state/quorate/HOST
    #[arg(long, global = true, env = "QUORATE_PREFIX", value_name = "DIR", help_heading = "Host")]
    prefix: Option<PathBuf>,
    /// Keep the state in a new temporary folder
    #[arg(
        long,
        global = true,
        env = "QUORATE_TMP_PREFIX",
        conflicts_with = "prefix",
        help_heading = "Host"
    )]
    tmp_prefix: bool,

    /// Client addresses of a cluster to join
    #[arg(
        long,
        short,
        global = true,
        env = "QUORATE_SEEDS",
        value_name = "URL",
        value_delimiter = ',',
        help_heading = "Cluster"
    )]
    seeds: Vec<String>,
    /// Where this host's etcd serves clients [default: http://127.0.0.1:2379]
    #[arg(
        long,
        global = true,
        env = "QUORATE_CLIENT_URLS",
        value_name = "URL",
        value_delimiter = ',',
        help_heading = "Cluster"
    )]
    client_urls: Vec<String>,
    /// Where this host's etcd serves its peers [default: http://127.0.0.1:2380]
    #[arg(
        long,
        alias = "peer-urls",
        global = true,
        env = "QUORATE_SERVER_URLS",
        value_name = "URL",
        value_delimiter = ',',
        help_heading = "Cluster"
    )]
    server_urls: Vec<String>,
    /// What others are told as this host's client addresses [default: the client addresses]
    #[arg(
        long,
        global = true,
        env = "QUORATE_ADVERTISE_CLIENT_URLS",
        value_name = "URL",
        value_delimiter = ',',
        help_heading = "Cluster"
    )]
    advertise_client_urls: Vec<String>,
    /// What others are told as this host's peer addresses [default: the server addresses]
    #[arg(
        long,
        alias = "advertise-peer-urls",
        global = true,
        env = "QUORATE_ADVERTISE_SERVER_URLS",
        value_name = "URL",
        value_delimiter = ',',
        help_heading = "Cluster"
    )]
    advertise_server_urls: Vec<String>,
    /// How many voters the cluster should have; counts on the host that founds it [default: 5]
    #[arg(long, global = true, env = "QUORATE_IDEAL_CLUSTER_SIZE", value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=7), help_heading = "Cluster")]
    ideal_cluster_size: Option<u16>,
    /// How long a voter may be silent before another host takes its place [default: 60]
    #[arg(long, global = true, env = "QUORATE_DEAD_AFTER", value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..=86_400), help_heading = "Cluster")]
    dead_after: Option<u64>,
    /// Never leave fewer voters than this by any decision; counts on the host that founds the
    /// cluster [default: 1]
    #[arg(long, global = true, env = "QUORATE_MIN_CLUSTER_SIZE", value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=7), help_heading = "Cluster")]
    min_cluster_size: Option<u16>,
    /// Let an even number of hosts vote as well; counts on the host that founds the cluster
    #[arg(long, global = true, env = "QUORATE_ALLOW_EVEN", help_heading = "Cluster")]
    allow_even: bool,
    /// What fails together with this host, such as a rack; voters are spread over zones
    #[arg(
        long,
        global = true,
        env = "QUORATE_ZONE",
        value_name = "ZONE",
        help_heading = "Cluster"
    )]
    zone: Option<String>,
    /// Have etcd check changes of members as well: slower, and a dead voter is removed before
    /// another host takes its place
    #[arg(long, global = true, env = "QUORATE_ETCD_STRICT", help_heading = "Cluster")]
    etcd_strict: bool,
    /// What INT (ctrl-c) does to the membership
    #[arg(
        long,
        global = true,
        env = "QUORATE_ON_INT",
        value_name = "WHAT",
        default_value = "leave",
        help_heading = "Cluster"
    )]
    on_int: OnSignal,
    /// What TERM does to the membership
    #[arg(
        long,
        global = true,
        env = "QUORATE_ON_TERM",
        value_name = "WHAT",
        default_value = "stay",
        help_heading = "Cluster"
    )]
    on_term: OnSignal,
    /// Stay out when the others have removed this member, instead of joining as a new one
    #[arg(long, global = true, env = "QUORATE_NO_REJOIN", help_heading = "Cluster")]
    no_rejoin: bool,
    /// How many MiB this host's etcd may store; give all hosts the same [default: 2048]
    #[arg(long, global = true, env = "QUORATE_ETCD_QUOTA", value_name = "MIB",
        value_parser = clap::value_parser!(u64).range(4..=8_192), help_heading = "Cluster")]
    etcd_quota: Option<u64>,
    /// How often the leader's etcd gives a sign of life; give all hosts the same [default: a tenth
    /// of the time to an election]
    #[arg(
        long,
        global = true,
        env = "QUORATE_ETCD_HEARTBEAT",
        value_name = "MS",
        help_heading = "Cluster"
    )]
    etcd_heartbeat: Option<u32>,
    /// After how long without a sign of life another leader is elected: 200 is good among hosts of
    /// one site; give all hosts the same [default: 1000]
    #[arg(
        long,
        global = true,
        env = "QUORATE_ETCD_ELECTION",
        value_name = "MS",
        help_heading = "Cluster"
    )]
    etcd_election: Option<u32>,
    /// Never run an etcd here; needs --seeds
    #[arg(
        long,
        global = true,
        env = "QUORATE_NO_SERVER",
        requires = "seeds",
        help_heading = "Cluster"
    )]
    no_server: bool,
    /// Allow addresses beyond this machine without certificates: whoever reaches them can read and
    /// write everything
    #[arg(long, global = true, env = "QUORATE_INSECURE_NETWORK", help_heading = "Cluster")]
    insecure_network: bool,

    #[command(flatten)]
    tls: super::tls::Args,

    /// Exit once nothing has changed for this many seconds
    #[arg(
        long,
        short = 't',
        global = true,
        env = "QUORATE_CONVERGED_TIMEOUT",
        value_name = "SECONDS",
        allow_negative_numbers = true,
        conflicts_with = "converger_timeout",
        help_heading = "Ending"
    )]
    converged_timeout: Option<i64>,
    /// With --converged-timeout: say so, but go on
    #[arg(long, global = true, env = "QUORATE_CONVERGED_TIMEOUT_NO_EXIT", help_heading = "Ending")]
    converged_timeout_no_exit: bool,
    /// Like --converged-timeout, but go on unless --converged-exit is given
    #[arg(
        long,
        global = true,
        env = "QUORATE_CONVERGER_TIMEOUT",
        value_name = "SECONDS",
        allow_negative_numbers = true,
        help_heading = "Ending"
    )]
    converger_timeout: Option<i64>,
    /// With --converger-timeout: exit once converged
    #[arg(long, global = true, env = "QUORATE_CONVERGED_EXIT", help_heading = "Ending")]
    converged_exit: bool,
    /// Give up after this many seconds, with exit code 4
    #[arg(
        long,
        global = true,
        env = "QUORATE_MAX_RUNTIME",
        value_name = "SECONDS",
        help_heading = "Ending"
    )]
    max_runtime: Option<u64>,

    /// Say what would change and change nothing
    #[arg(long, global = true, env = "QUORATE_NOOP", help_heading = "Behaviour")]
    noop: bool,
    /// At the end withdraw what is exported, instead of leaving it for a restart within 60 s
    #[arg(long, global = true, env = "QUORATE_WITHDRAW", help_heading = "Behaviour")]
    withdraw: bool,
    /// Converged only once what was written has reached the disks, so that it survives a power cut
    #[arg(long, global = true, env = "QUORATE_DURABLE", help_heading = "Behaviour")]
    durable: bool,
    /// Run at most this many resources at once; 0 or less bounds nothing
    #[arg(
        long,
        global = true,
        env = "QUORATE_SEMA",
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Behaviour"
    )]
    sema: Option<i64>,
    /// Do not follow changes of the graph file
    #[arg(long, global = true, env = "QUORATE_NO_WATCH", help_heading = "Behaviour")]
    no_watch: bool,
    /// How log lines look
    #[arg(
        long,
        global = true,
        env = "QUORATE_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text",
        help_heading = "Behaviour"
    )]
    log_format: LogFormat,
    /// Serve metrics in the text format of Prometheus at http://ADDR/metrics; ADDR is IP:PORT, IP,
    /// :PORT, or left out for 127.0.0.1:9233
    #[arg(
        long,
        alias = "metrics",
        global = true,
        env = "QUORATE_PROMETHEUS_LISTEN",
        value_name = "ADDR",
        value_parser = super::listen::address,
        help_heading = "Behaviour"
    )]
    prometheus_listen: Option<SocketAddr>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnSignal {
    /// Stop and stay a member
    Stay,
    /// Leave the cluster
    Leave,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Subcommand)]
enum FrontEnd {
    /// A graph in a YAML file, followed when it changes
    Yaml {
        /// The graph file
        file: PathBuf,
    },
    /// No graph: only take part in the cluster
    Empty,
}

/// Runs the agent until it ends.
pub(super) fn run(args: Args) -> ExitCode {
    start_logging(args.log_format);
    match settings(args) {
        Ok(settings) => ExitCode::from(agent::run(settings)),
        Err(refusal) => {
            super::print_error(refusal);
            ExitCode::from(super::EXIT_USAGE)
        }
    }
}

fn start_logging(format: LogFormat) {
    use std::io::IsTerminal;
    let wanted = std::env::var("QUORATE_LOG").ok();
    let filter = filter(wanted.as_deref(), format);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // That nobody reads the log any more is no reason to panic.
        .log_internal_errors(false)
        .with_writer(agent::Lines::default)
        .with_target(false)
        .with_ansi(colour);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).init(),
    }
}

/// What is logged. The span around each run is for programs: a line for people names the resource
/// itself. Who filters by its target gets it all the same.
fn filter(wanted: Option<&str>, format: LogFormat) -> EnvFilter {
    let default = "quorate=info,warn";
    let wanted = wanted.filter(|text| EnvFilter::try_new(text).is_ok()).unwrap_or(default);
    match format {
        LogFormat::Text if !wanted.contains(agent::RUN_TARGET) => {
            EnvFilter::new(format!("{wanted},{}=off", agent::RUN_TARGET))
        }
        _ => EnvFilter::new(wanted),
    }
}

/// The settings that the flags mean, or what is wrong with them.
fn settings(args: Args) -> Result<Settings, String> {
    let host = host_name(args.hostname.as_deref())?;
    let insecure_network = args.insecure_network;
    let metrics =
        args.prometheus_listen.map(|address| MetricsSettings { address, insecure_network });
    let timers = Timers::new(args.etcd_heartbeat, args.etcd_election).map_err(|e| e.to_string())?;
    let clustered = !args.seeds.is_empty()
        || args.ideal_cluster_size.is_some()
        || !args.client_urls.is_empty()
        || !args.server_urls.is_empty();
    let cluster = clustered.then(|| ClusterSettings {
        seeds: list(args.seeds),
        client_urls: list(args.client_urls),
        server_urls: list(args.server_urls),
        advertise_client_urls: list(args.advertise_client_urls),
        advertise_server_urls: list(args.advertise_server_urls),
        ideal_size: args.ideal_cluster_size,
        min_size: args.min_cluster_size,
        allow_even: args.allow_even,
        zone: args.zone,
        etcd_strict: args.etcd_strict,
        quota_bytes: args.etcd_quota.map(|mib| mib << 20),
        timers,
        no_server: args.no_server,
        no_rejoin: args.no_rejoin,
        insecure_network,
        dead_after: args.dead_after.map(Duration::from_secs),
        tls: args.tls.into(),
    });
    let converged = match (args.converged_timeout, args.converger_timeout) {
        (Some(seconds), _) => converged(seconds, !args.converged_timeout_no_exit),
        (None, Some(seconds)) => converged(seconds, args.converged_exit),
        (None, None) => None,
    };
    Ok(Settings {
        host,
        prefix: args.prefix,
        tmp_prefix: args.tmp_prefix,
        input: match args.front_end {
            FrontEnd::Yaml { file } => Input::Yaml(file),
            FrontEnd::Empty => Input::Empty,
        },
        rules: args.collect,
        follow: !args.no_watch,
        noop: args.noop,
        durable: args.durable,
        sema: args.sema.filter(|n| *n > 0).map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
        converged,
        max_runtime: args.max_runtime.filter(|&s| s > 0).map(Duration::from_secs),
        cluster,
        leave_on_int: args.on_int == OnSignal::Leave,
        leave_on_term: args.on_term == OnSignal::Leave,
        withdraw: args.withdraw,
        metrics,
    })
}

/// A negative number of seconds switches the detection off, as in mgmt.
fn converged(seconds: i64, exit: bool) -> Option<Converged> {
    let seconds = u64::try_from(seconds).ok()?;
    Some(Converged { after: Duration::from_secs(seconds), exit })
}

fn host_name(given: Option<&str>) -> Result<HostName, String> {
    if let Some(name) = given {
        return HostName::parse(name).map_err(|why| format!("--hostname {name}: {why}"));
    }
    let own = nix::unistd::gethostname().map_err(|e| format!("this host's name: {e}"))?;
    let own = own.to_string_lossy();
    HostName::parse(&own)
        .map_err(|why| format!("this host is called `{own}`: {why}; pass --hostname"))
}

/// mgmt also splits lists at semicolons and spaces.
fn list(values: Vec<String>) -> Vec<String> {
    let split = |value: &String| -> Vec<String> {
        value.split([';', ' ']).filter(|v| !v.is_empty()).map(str::to_owned).collect()
    };
    values.iter().flat_map(split).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p40_a_list_flag_takes_one_value_which_may_hold_several() {
        let split = |text: &str| list(vec![text.to_owned()]);
        for text in ["a;b", "a b", "a; b"] {
            assert_eq!(split(text), ["a", "b"], "{text}");
        }
        assert!(split("").is_empty());
    }

    #[test]
    fn a_negative_timeout_switches_convergence_off() {
        assert_eq!(converged(-1, true), None);
        let at_once = Some(Converged { after: Duration::ZERO, exit: true });
        assert_eq!(converged(0, true), at_once);
    }
}
