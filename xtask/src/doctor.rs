//! `cargo xtask doctor`: what this machine has and lacks for clusters, examples and the book.
//!
//! Changes nothing and fetches nothing. Ends with 3 when clusters cannot be made here.

use std::process::ExitCode;

use serde_json::json;

use crate::engine::Engine;
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
