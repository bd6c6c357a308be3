//! `quorate cluster token`.

use std::time::Duration;

use super::{EXIT_CODES, End, ask, print, print_json, unexpected};
use crate::cli::agents::Which;
use crate::cluster::request::{Answer, Request};
use crate::cluster::when;

const EXAMPLES: &str = "\
Examples:
  quorate cluster token                      good for one host, within an hour
  quorate cluster token --ttl 10m --uses 5   good for five hosts, within ten minutes
  quorate run --seeds https://h1:2379 --token-file FILE --client-urls https://h2:2379 \\
      --server-urls https://h2:2380 yaml site.yaml
                                             what the joining host does with it

The joining host believes only the authority that the token names, and reaches it at the join port:
that of the seed plus 2, unless --join-port says otherwise on all hosts.";

/// Arguments of `cluster token`.
#[derive(clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// How long the token is good: 90s, 10m, 1h, 2d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = time)]
    ttl: Duration,
    /// How many hosts may use it
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    uses: u16,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Prints a new token.
pub(super) fn run(args: &Args) -> Result<u8, End> {
    let request = Request::Token { seconds: args.ttl.as_secs(), uses: args.uses };
    let Answer::Token(made) = ask(&args.which, &request)?.1 else { return Err(unexpected()) };
    if args.json {
        return print_json(&serde_json::json!({
            "token": made.token.expose(),
            "expires": when::date_to_minute(made.until),
            "until": made.until,
            "uses": args.uses,
        }));
    }
    print(&format!("{}\n", made.token.expose()))
}

/// A number with a unit; a month is more than any host needs to be set up.
fn time(text: &str) -> Result<Duration, String> {
    let bad = || "write a number and one of s, m, h and d, such as 90s or 1h".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(bad)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(bad()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).ok_or_else(bad)?;
    match seconds {
        1..=2_592_000 => Ok(Duration::from_secs(seconds)),
        _ => Err("between 1s and 30d".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_a_bound() {
        for (text, want) in [("90s", 90), ("10m", 600), ("1h", 3600), ("2d", 172_800)] {
            assert_eq!(time(text), Ok(Duration::from_secs(want)), "{text}");
        }
        for bad in ["", "h", "1", "1w", "0s", "31d", "-1h", "é", "99999999999999999999d"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
