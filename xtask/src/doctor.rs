//! `cargo xtask doctor`: what this machine has and lacks for clusters, examples and the book.
//!
//! Leaves nothing behind and fetches nothing: what the kernel can do to a network is tried in a
//! container without one, which is removed. Ends with 3 when clusters cannot be made here.

use std::process::ExitCode;

use serde_json::json;

use crate::engine::{Engine, HelperSpec};
use crate::paths::Exit;
use crate::ui::table;

/// What `doctor` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Memory that a node takes, in megabytes, measured with etcd and the agent; for the estimate of
/// how many fit.
const NODE_MB: i64 = 64;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    what: &'static str,
    fine: bool,
    needed: bool,
    text: String,
}

/// Runs it.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    crate::interrupt::block_on(async move |_| {
        let mut findings = engine().await;
        let arch = findings.1.take().unwrap_or_else(|| "amd64".to_owned());
        let mut findings = findings.0;
        findings.push(local());
        findings.extend(
            crate::image::inventory(&arch).into_iter().map(|(what, fine, text)| Finding {
                what,
                fine,
                needed: what != "etcdctl",
                text,
            }),
        );
        print(&findings, args.json);
        let broken = findings.iter().any(|finding| finding.needed && !finding.fine);
        Ok(ExitCode::from(if broken { Exit::MISSING } else { 0 }))
    })
}

/// Whether nodes can be plain processes.
fn local() -> Finding {
    let (fine, text) = match Engine::local() {
        Ok(_) => (true, "plain processes on 127.0.x.y: cluster up --engine local".to_owned()),
        Err(failure) => (false, failure.to_string()),
    };
    Finding { what: "local", fine, needed: false, text }
}

/// What can be tried with a queue or a rule on a loopback device, and what it is for.
const TRIALS: [(&str, &str, &str); 4] = [
    ("netem", "/usr/sbin/tc qdisc add dev lo root netem delay 1ms", "cluster delay"),
    (
        "tbf",
        "/usr/sbin/tc qdisc add dev lo root tbf rate 1mbit burst 16kb limit 100000",
        "cluster rate",
    ),
    (
        "numgen",
        "/usr/sbin/nft 'table inet t { chain c { numgen random mod 100 < 1 drop; }; }'",
        "cluster loss",
    ),
    ("routes", "ip link set lo up && ip route add 192.0.2.1/32 dev lo", "cluster partition"),
];

/// What the kernel of the engine's machine can do to the network of a node.
async fn faults(engine: &Engine) -> Vec<Finding> {
    let all = |text: &str| -> Vec<Finding> {
        let one = |(what, _, _): &(&'static str, _, _)| Finding {
            what,
            fine: false,
            needed: false,
            text: text.to_owned(),
        };
        TRIALS.iter().map(one).collect()
    };
    let image = match crate::image::tools(engine).await {
        Ok(image) => image,
        Err(failure) => return all(&format!("not tried: {failure}")),
    };
    let tries = TRIALS.map(|(what, command, _)| {
        format!(
            "if w=$({command} 2>&1); then echo {what} ok; else echo {what} $w; fi; \
             /usr/sbin/tc qdisc del dev lo root 2>/dev/null"
        )
    });
    let helper = HelperSpec {
        image,
        beside: None,
        script: tries.join("; "),
        probes: false,
        labels: crate::engine::Labels::new(),
    };
    match engine.help(&helper).await {
        Ok((_, lines)) => TRIALS.iter().map(|trial| tried(trial, &lines)).collect(),
        Err(failure) => all(&format!("not tried: {failure}")),
    }
}

/// What a trial's line says.
fn tried((what, _, use_): &(&'static str, &str, &str), lines: &[String]) -> Finding {
    let said = lines.iter().find_map(|line| line.strip_prefix(&format!("{what} ")));
    let (fine, text) = match said {
        Some("ok") => (true, (*use_).to_owned()),
        Some(why) => (false, format!("{use_} is not possible: {why}")),
        None => (false, format!("{use_} is not possible: no answer")),
    };
    Finding { what, fine, needed: false, text }
}

async fn engine() -> (Vec<Finding>, Option<String>) {
    let finding = |what, fine, needed, text: String| Finding { what, fine, needed, text };
    let engine = match Engine::connect().await {
        Ok(engine) => engine,
        Err(failure) => {
            return (vec![finding("engine", false, true, failure.to_string())], None);
        }
    };
    let about = engine.about().clone();
    let text =
        format!("{}, API {}, {}, kernel {}", about.version, about.api, about.arch, about.kernel);
    let mut findings = vec![finding("engine", true, true, text)];
    match engine.machine().await {
        Ok(machine) => {
            let init = machine.init.clone();
            findings.push(finding(
                "init",
                !init.is_empty(),
                true,
                match init.as_str() {
                    "" => "the engine has no init program; install docker-init or catatonit"
                        .to_owned(),
                    name => name.to_owned(),
                },
            ));
            let [memory, cpu, pids] = machine.limits;
            let text =
                format!("memory {memory}, cpu {cpu}, processes {pids}, cgroup {}", machine.cgroup);
            findings.push(finding("limits", memory && cpu && pids, false, text));
            findings.push(finding("storage", true, false, machine.storage));
            let megabytes = machine.memory / 1_000_000;
            let text = format!(
                "{} processors, {megabytes} MB: about {} nodes",
                machine.cpus,
                (megabytes / NODE_MB).clamp(0, 30)
            );
            findings.push(finding("machine", megabytes > 3 * NODE_MB, true, text));
        }
        Err(failure) => findings.push(finding("machine", false, false, failure.to_string())),
    }
    findings.extend(faults(&engine).await);
    (findings, Some(about.arch))
}

fn print(findings: &[Finding], as_json: bool) {
    if as_json {
        let list: Vec<_> = (findings.iter())
            .map(|f| json!({"what": f.what, "fine": f.fine, "needed": f.needed, "text": f.text}))
            .collect();
        println!("{}", json!({"schema": 1, "findings": list}));
        return;
    }
    let row = |f: &Finding| {
        let mark = match (f.fine, f.needed) {
            (true, _) => "ok",
            (false, true) => "MISSING",
            (false, false) => "limited",
        };
        vec![f.what.to_owned(), mark.to_owned(), f.text.clone()]
    };
    let rows: Vec<Vec<String>> = findings.iter().map(row).collect();
    table(&rows).iter().for_each(|line| println!("{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_says_what_the_kernel_lacks() {
        let lines = ["netem Error: unknown qdisc", "tbf ok"].map(str::to_owned);
        let seen = tried(&TRIALS[0], &lines);
        let wanted = "cluster delay is not possible: Error: unknown qdisc";
        assert_eq!((seen.fine, seen.text.as_str()), (false, wanted));
        assert!(tried(&TRIALS[1], &lines).fine);
        assert!(!tried(&TRIALS[2], &lines).fine);
    }
}
