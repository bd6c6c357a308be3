//! Which engine a verb acts on: the one that is asked for, the one that has the cluster, or what
//! answers. The deciding half is pure.

use clap::ValueEnum;

use super::look;
use crate::engine::Engine;

/// What `--engine` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// Whatever has the cluster, or else answers; plain processes if nothing does
    Auto,
    /// Docker, or Podman's service
    Docker,
    /// Plain processes of this machine on loopback addresses, without containers
    Local,
}

/// What is acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pick {
    /// The container engine, which answers.
    Engine,
    /// Plain processes; the cluster is there already.
    Local,
    /// Plain processes, for want of an engine.
    Instead,
    /// Nothing: there is no engine.
    Nothing,
}

/// `has`: a cluster of plain processes has the name. `makes`: the verb would make one.
fn pick(choice: Choice, has: bool, answers: bool, makes: bool) -> Pick {
    match choice {
        Choice::Docker if answers => Pick::Engine,
        Choice::Docker => Pick::Nothing,
        Choice::Local => Pick::Local,
        Choice::Auto if has => Pick::Local,
        Choice::Auto if answers => Pick::Engine,
        Choice::Auto if makes => Pick::Instead,
        Choice::Auto => Pick::Nothing,
    }
}

/// The engine for a verb on one cluster.
///
/// # Errors
/// There is none that can be had.
pub(super) async fn one(choice: Choice, cluster: &str, makes: bool) -> anyhow::Result<Engine> {
    let local = Engine::local();
    let has = match &local {
        Ok(local) => !look::list(local).await?.of(cluster).is_empty(),
        Err(_) => false,
    };
    if choice == Choice::Local || (choice == Choice::Auto && has) {
        return local;
    }
    let engine = Engine::connect().await;
    match pick(choice, has, engine.is_ok(), makes && local.is_ok()) {
        Pick::Engine | Pick::Nothing => engine,
        Pick::Local => local,
        Pick::Instead => {
            if let Err(failure) = engine {
                eprintln!("notice: {failure}");
            }
            warn();
            local
        }
    }
}

/// Says what plain processes are not.
pub(super) fn warn() {
    eprintln!(
        "notice: the nodes are plain processes of this machine (--engine local): what their graphs \
         name, files above all, is this machine's own; limits do not hold, and faults of the \
         network are refused"
    );
}

/// Every engine that has something, for a verb on all clusters.
///
/// # Errors
/// None answers, and no plain processes are there.
pub(super) async fn all(choice: Choice) -> anyhow::Result<Vec<Engine>> {
    match choice {
        Choice::Docker => return Ok(vec![Engine::connect().await?]),
        Choice::Local => return Ok(vec![Engine::local()?]),
        Choice::Auto => {}
    }
    let mut all = Vec::new();
    if let Ok(local) = Engine::local()
        && !(look::list(&local).await?.is_empty() && local.images().await?.is_empty())
    {
        all.push(local);
    }
    match Engine::connect().await {
        Ok(engine) => all.insert(0, engine),
        Err(failure) if all.is_empty() => return Err(failure),
        Err(_) => {}
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_the_cluster_comes_before_what_answers_and_processes_are_the_last_resort() {
        use Choice::{Auto, Docker, Local};
        for (choice, has, answers, makes, wanted) in [
            (Auto, false, true, true, Pick::Engine),
            (Auto, true, true, true, Pick::Local),
            (Auto, true, false, false, Pick::Local),
            (Auto, false, false, true, Pick::Instead),
            (Auto, false, false, false, Pick::Nothing),
            (Docker, true, true, true, Pick::Engine),
            (Docker, true, false, true, Pick::Nothing),
            (Local, false, true, false, Pick::Local),
        ] {
            let case = format!("{choice:?} {has} {answers} {makes}");
            assert_eq!(pick(choice, has, answers, makes), wanted, "{case}");
        }
    }
}
