//! Which agent of this host is asked, and asking it.
//!
//! Refuses to choose when there are several.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::agent::Surroundings;
use crate::agent::socket::{self, Topic};
use crate::ident::HostName;

/// The flags that choose an agent.
#[derive(clap::Args)]
pub(super) struct Which {
    /// The agent with this host name
    #[arg(long, env = "QUORATE_HOSTNAME", value_name = "NAME")]
    hostname: Option<String>,
    /// The agent with this state folder
    #[arg(long, env = "QUORATE_PREFIX", value_name = "DIR")]
    prefix: Option<PathBuf>,
}

impl Which {
    /// The state folder of the agent, which answers.
    pub(super) fn folder(&self) -> Result<PathBuf, String> {
        self.find(Topic::Status).map(|(folder, _)| folder)
    }

    /// The state folder that is meant, whether its agent runs or not.
    pub(super) fn state_folder(&self) -> Result<PathBuf, String> {
        let around = Surroundings::read();
        if let Some(folder) = &self.prefix {
            return Ok(folder.clone());
        }
        if let Some(name) = &self.hostname {
            let host = HostName::parse(name).map_err(|why| format!("--hostname {name}: {why}"))?;
            return Ok(around.state_dir(&host));
        }
        let mut folders = kept(&around);
        match folders.len() {
            0 => Err("no agent has left its state on this host; name the folder with --prefix"
                .to_owned()),
            1 => Ok(folders.remove(0)),
            n => {
                let names = folders.iter().map(|at| at.display().to_string());
                let names = names.collect::<Vec<_>>().join(", ");
                Err(format!(
                    "{n} agents have their state on this host; choose with --prefix: {names}"
                ))
            }
        }
    }

    /// What the agent answers.
    pub(super) fn answer(&self, topic: Topic) -> Result<String, String> {
        self.find(topic).map(|(_, answer)| answer)
    }

    /// The state folder of the agent, and what it answers.
    pub(super) fn find(&self, topic: Topic) -> Result<(PathBuf, String), String> {
        let around = Surroundings::read();
        if let Some(folder) = &self.prefix {
            return ask(folder, topic);
        }
        if let Some(name) = &self.hostname {
            let host = HostName::parse(name).map_err(|why| format!("--hostname {name}: {why}"))?;
            return ask(&around.state_dir(&host), topic);
        }
        let mut answers: Vec<(PathBuf, String)> = candidates(&around)
            .into_iter()
            .filter_map(|folder| Some((folder.clone(), socket::ask(&folder, topic).ok()?)))
            .collect();
        match answers.len() {
            0 => {
                Err("no agent is running on this host. Start one with `quorate run`, or name its \
                      state folder with --prefix"
                    .to_owned())
            }
            1 => Ok(answers.remove(0)),
            n => {
                let names: Vec<String> =
                    answers.iter().map(|(at, _)| at.display().to_string()).collect();
                let names = names.join(", ");
                Err(format!("{n} agents run on this host; choose with --prefix: {names}"))
            }
        }
    }
}

fn ask(folder: &Path, topic: Topic) -> Result<(PathBuf, String), String> {
    socket::ask(folder, topic)
        .map(|answer| (folder.to_owned(), answer))
        .map_err(|why| format!("no agent answers in {}: {why}", folder.display()))
}

/// The folders in which an agent of this user may have its socket.
fn candidates(around: &Surroundings) -> Vec<PathBuf> {
    let mut folders = possible(around);
    folders.retain(|folder| folder.join(socket::NAME).exists());
    folders
}

/// The folders in which an agent of this user has left its state.
fn kept(around: &Surroundings) -> Vec<PathBuf> {
    let mut folders = possible(around);
    folders.retain(|folder| folder.join("identity.json").exists());
    folders
}

/// The folders in which an agent of this user may have its state.
fn possible(around: &Surroundings) -> Vec<PathBuf> {
    let root = around.state_root();
    let mut folders = vec![root.clone()];
    folders.extend(around.state_directory.clone());
    folders.extend(subfolders(&root, ""));
    folders.extend(subfolders(&std::env::temp_dir(), "quorate-"));
    // A socket in somebody else's folder would answer what that user likes.
    let me = nix::unistd::geteuid().as_raw();
    let own = |folder: &PathBuf| std::fs::symlink_metadata(folder).is_ok_and(|of| of.uid() == me);
    folders.retain(own);
    folders.sort();
    folders.dedup();
    folders
}

fn subfolders(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return Vec::new();
    };
    let named = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    };
    entries.flatten().map(|entry| entry.path()).filter(named).collect()
}
