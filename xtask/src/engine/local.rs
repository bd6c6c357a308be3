//! An engine without containers: nodes are plain processes of this machine on loopback addresses.
//!
//! Keeps what an engine keeps, containers, networks, volumes and images, as files below one folder,
//! with the same names and labels, so that every verb works on it as on a real one. Each node has a
//! folder that stands for its disk; the agent's own folders are mapped into it, any other absolute
//! path of a command is this machine's. Refuses what plain processes cannot have: a network of
//! their own, and with it faults in it; limits of memory and processors.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{
    About, Answer, Container, ContainerSpec, EngineError, Image, Labels, Machine, Network,
    NetworkSpec, Trouble, Volume,
};
use crate::paths::Exit;

mod disk;
mod exec;
mod logs;
mod power;
mod process;
mod supervise;

pub(crate) use supervise::supervise;

/// The folder of all local clusters; for tests.
const ROOT: &str = "QUORATE_LOCAL";
/// Where each agent's etcd serves; nobody else may do so at a node's address.
const ETCD_PORT: u16 = 2379;
/// Longest path of a socket, without its final zero: the kernel's bound.
const LONGEST_SOCKET: usize = 107;
/// The agent's socket in its node.
const SOCKET: &str = "var/lib/quorate/agent.sock";
/// Folders of a node that commands mean by these names wherever the node's own folder is.
const MAPPED: [&str; 2] = ["/var/lib/quorate", "/etc/quorate"];

/// The folder that stands for an engine.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    root: PathBuf,
}

/// A node's record.
#[derive(Debug, Serialize, Deserialize)]
struct Made {
    spec: ContainerSpec,
    created: i64,
}

/// A volume's record: it holds nothing but its labels.
#[derive(Debug, Serialize, Deserialize)]
struct Marked {
    name: String,
    labels: Labels,
}

/// An image's record.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    tag: String,
    labels: Labels,
    made: u64,
}

impl From<io::Error> for EngineError {
    fn from(failure: io::Error) -> EngineError {
        let trouble = match failure.kind() {
            io::ErrorKind::NotFound => Trouble::Missing,
            io::ErrorKind::AlreadyExists => Trouble::Conflict,
            _ => Trouble::Other,
        };
        EngineError { trouble, message: failure.to_string() }
    }
}

impl Local {
    /// The one of this user.
    ///
    /// # Errors
    /// The system is not Linux: only there the whole of 127.0.0.0/8 is this machine.
    pub(crate) fn new() -> anyhow::Result<Local> {
        if !cfg!(target_os = "linux") {
            let text = "--engine local needs Linux, where all of 127.0.0.0/8 is this machine. \
                        Start a container engine instead.";
            return Err(Exit::error(Exit::MISSING, text));
        }
        let home =
            |name: &str, below: &str| Some(PathBuf::from(std::env::var_os(name)?).join(below));
        let root = (home(ROOT, ""))
            .or_else(|| home("XDG_STATE_HOME", "quorate-lab"))
            .or_else(|| home("HOME", ".local/state/quorate-lab"))
            .unwrap_or_else(|| std::env::temp_dir().join("quorate-lab"));
        Ok(Local { root })
    }

    /// What it says about itself.
    pub(crate) fn about(&self) -> About {
        let kernel = nix::sys::utsname::uname();
        let kernel = kernel.map(|u| u.release().to_string_lossy().into_owned());
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        About {
            version: "plain processes".to_owned(),
            api: "local".to_owned(),
            arch: arch.to_owned(),
            kernel: kernel.unwrap_or_default(),
        }
    }

    /// What the machine has; none of it can be limited.
    pub(crate) fn machine(&self) -> Machine {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kilobytes = total.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        Machine {
            cpus: i64::try_from(cpus).unwrap_or(i64::MAX),
            memory: kilobytes.unwrap_or(0_i64).saturating_mul(1024),
            cgroup: String::new(),
            storage: self.root.display().to_string(),
            init: "cargo xtask".to_owned(),
            limits: [false; 3],
        }
    }

    /// Nodes, running or not.
    pub(crate) fn containers(&self) -> Answer<Vec<Container>> {
        let mut all = Vec::new();
        for name in names(&self.root.join("nodes"))? {
            let node = self.node(&name);
            // One that is being made or removed has no record.
            let Some(made) = read::<Made>(&node.record())? else { continue };
            all.push(Container {
                id: name.clone(),
                name,
                image: made.spec.image,
                labels: made.spec.labels,
                state: node.state(),
                created: made.created,
            });
        }
        Ok(all)
    }

    /// Blocks of loopback addresses that clusters have taken.
    pub(crate) fn networks(&self) -> Answer<Vec<Network>> {
        let listed = self.all::<NetworkSpec>("networks")?.into_iter();
        Ok(listed
            .map(|(id, spec)| Network {
                id,
                name: spec.name,
                labels: spec.labels,
                subnets: vec![spec.subnet],
            })
            .collect())
    }

    /// Records that hold labels only.
    pub(crate) fn volumes(&self) -> Answer<Vec<Volume>> {
        let listed = self.all::<Marked>("volumes")?.into_iter();
        Ok(listed.map(|(_, v)| Volume { name: v.name, labels: v.labels }).collect())
    }

    /// Takes a block of loopback addresses; its id is the block.
    pub(crate) fn create_network(&self, spec: &NetworkSpec) -> Answer<String> {
        let id = spec.subnet.replace('/', "-");
        let refused = |text: String| EngineError { trouble: Trouble::Refused, message: text };
        if let Some(base) = spec.subnet.strip_suffix("0/24") {
            // Whoever serves at the first node's address has the block, though no record says so.
            let address = format!("{base}11:{ETCD_PORT}");
            if TcpListener::bind(&address).is_err() {
                return Err(refused(format!("{address} is in use")));
            }
        }
        match create(&self.file("networks", &id), spec) {
            Err(failure) if failure.trouble == Trouble::Conflict => {
                Err(refused(format!("{} is taken", spec.subnet)))
            }
            other => other.map(|()| id),
        }
    }

    /// Records labels under a name.
    pub(crate) fn create_volume(&self, name: &str, labels: &Labels) -> Answer<()> {
        let marked = Marked { name: name.to_owned(), labels: labels.clone() };
        match create(&self.file("volumes", name), &marked) {
            // As an engine does: the one that is there stays as it is.
            Err(failure) if failure.trouble == Trouble::Conflict => Ok(()),
            other => other,
        }
    }

    /// Makes a node's folder; starts nothing.
    pub(crate) fn create_container(&self, spec: &ContainerSpec) -> Answer<String> {
        let node = self.node(&spec.name);
        let socket = node.disk().join(SOCKET);
        if socket.as_os_str().len() > LONGEST_SOCKET {
            return Err(EngineError::other(format!(
                "{} is longer than the path of a socket may be; set {ROOT} to a shorter folder",
                socket.display()
            )));
        }
        fs::create_dir_all(self.root.join("nodes"))?;
        fs::create_dir(&node.folder)?;
        node.furnish()?;
        if let Some((volume, folder)) = &spec.state {
            node.keep(&self.kept(volume), folder)?;
        }
        create(&node.record(), &Made { spec: spec.clone(), created: now_signed() })?;
        Ok(spec.name.clone())
    }

    /// Kills what runs in a node and removes its folder.
    pub(crate) async fn remove_container(&self, id: &str) -> Answer<()> {
        let node = self.node(id);
        if !node.folder.exists() {
            return Ok(());
        }
        node.kill().await?;
        gone(fs::remove_file(node.record()))?;
        gone(fs::remove_dir_all(&node.folder))
    }

    /// Gives a block of addresses back.
    pub(crate) fn remove_network(&self, id: &str) -> Answer<()> {
        gone(fs::remove_file(self.file("networks", id)))
    }

    /// Forgets labels.
    pub(crate) fn remove_volume(&self, name: &str) -> Answer<()> {
        gone(fs::remove_file(self.file("volumes", name)))?;
        gone(fs::remove_dir_all(self.kept(name)))
    }

    /// What a volume holds, if a node has put anything there.
    fn kept(&self, volume: &str) -> PathBuf {
        self.root.join("kept").join(volume)
    }

    /// Size of the programs under this tag; nothing when there are none.
    pub(crate) fn image_size(&self, tag: &str) -> Answer<Option<i64>> {
        let folder = self.image(tag);
        if read::<Stored>(&folder.join("image.json"))?.is_none() {
            return Ok(None);
        }
        let mut size = 0;
        for entry in fs::read_dir(folder)? {
            size += entry?.metadata()?.len();
        }
        Ok(Some(i64::try_from(size).unwrap_or(i64::MAX)))
    }

    /// Copies programs to where nodes of this tag take them from, so that one that is built anew
    /// does not change under nodes that are there.
    pub(crate) fn store_image(
        &self,
        tag: &str,
        labels: Labels,
        programs: &BTreeMap<&'static str, PathBuf>,
    ) -> Answer<()> {
        let folder = self.image(tag);
        fs::create_dir_all(&folder)?;
        for (name, source) in programs {
            let part = folder.join(format!(".{name}.{}", std::process::id()));
            fs::copy(source, &part)?;
            fs::rename(&part, folder.join(name))?;
        }
        let stored = Stored { tag: tag.to_owned(), labels, made: seconds() };
        match create(&folder.join("image.json"), &stored) {
            Err(failure) if failure.trouble == Trouble::Conflict => Ok(()),
            other => other,
        }
    }

    /// All sets of programs.
    pub(crate) fn images(&self) -> Answer<Vec<Image>> {
        let mut images = Vec::new();
        for name in names(&self.root.join("images"))? {
            let record = self.root.join("images").join(&name).join("image.json");
            let Some(stored) = read::<Stored>(&record)? else { continue };
            let size = self.image_size(&stored.tag)?.unwrap_or_default();
            images.push(Image { id: name, tags: vec![stored.tag], labels: stored.labels, size });
        }
        Ok(images)
    }

    /// When a set of programs was stored; text order is time order.
    pub(crate) fn image_tagged(&self, id: &str) -> Answer<String> {
        let stored = read::<Stored>(&self.root.join("images").join(id).join("image.json"))?;
        Ok(format!("{:020}", stored.map_or(0, |stored| stored.made)))
    }

    /// Removes a set of programs.
    pub(crate) fn remove_image(&self, tag: &str) -> Answer<bool> {
        gone(fs::remove_dir_all(self.image(tag))).map(|()| true)
    }

    fn image(&self, tag: &str) -> PathBuf {
        let key = tag.rsplit([':', '/']).next().unwrap_or_default();
        self.root.join("images").join(key)
    }

    fn file(&self, kind: &str, name: &str) -> PathBuf {
        self.root.join(kind).join(format!("{name}.json"))
    }

    fn all<T: DeserializeOwned>(&self, kind: &str) -> Answer<Vec<(String, T)>> {
        let mut all = Vec::new();
        for file in names(&self.root.join(kind))? {
            let Some(name) = file.strip_suffix(".json") else { continue };
            all.extend(read(&self.file(kind, name))?.map(|value| (name.to_owned(), value)));
        }
        Ok(all)
    }

    fn node(&self, id: &str) -> Node {
        Node { folder: self.root.join("nodes").join(id), images: self.root.join("images") }
    }
}

/// One node's folder.
struct Node {
    folder: PathBuf,
    images: PathBuf,
}

impl Node {
    fn record(&self) -> PathBuf {
        self.folder.join("node.json")
    }

    /// What stands for its disk.
    fn disk(&self) -> PathBuf {
        self.folder.join("fs")
    }

    fn made(&self) -> Answer<Made> {
        let missing = || EngineError {
            trouble: Trouble::Missing,
            message: format!("there is no {}", self.folder.display()),
        };
        read(&self.record())?.ok_or_else(missing)
    }

    /// The programs that its agent runs.
    fn programs(&self, made: &Made) -> PathBuf {
        self.images.join(made.spec.image.rsplit([':', '/']).next().unwrap_or_default())
    }

    /// A word of a command as it has to be on this machine.
    fn mapped(&self, word: &str, programs: &Path) -> String {
        let mut word =
            word.replace("/usr/bin/quorate", &programs.join("quorate").to_string_lossy());
        for name in MAPPED {
            // A path that was mapped already holds the name again behind the node's folder.
            let here = self.disk().join(name.trim_start_matches('/'));
            let here = here.to_string_lossy();
            word = word.replace(&*here, name).replace(name, &here);
        }
        word
    }

    /// What every process of it gets to see; the mark by which it is found again is part of that.
    fn environment(&self, made: &Made) -> Vec<(String, String)> {
        let programs = self.programs(made);
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
        let state = self.disk().join("var/lib/quorate");
        [
            ("PATH", format!("{}:{path}", programs.display())),
            ("HOSTNAME", made.spec.host.clone()),
            ("QUORATE_HOSTNAME", made.spec.host.clone()),
            ("QUORATE_PREFIX", state.display().to_string()),
            (process::MARK, self.folder.display().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

/// A removal that found nothing has reached its aim.
fn gone(done: io::Result<()>) -> Answer<()> {
    match done {
        Err(failure) if failure.kind() == io::ErrorKind::NotFound => Ok(()),
        other => Ok(other?),
    }
}

/// The names in a folder, sorted; none when it is not there.
fn names(folder: &Path) -> Answer<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(failure) if failure.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(failure) => return Err(failure.into()),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Reads a record; nothing when it is not there.
fn read<T: DeserializeOwned>(path: &Path) -> Answer<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(failure) if failure.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(failure) => return Err(failure.into()),
    };
    let value = serde_json::from_slice(&bytes);
    value.map(Some).map_err(|e| EngineError::other(format!("{}: {e}", path.display())))
}

/// Writes a record that must not be there yet, whole or not at all.
fn create(path: &Path, value: &impl Serialize) -> Answer<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&file, value)
        .map_err(|e| EngineError::other(format!("{}: {e}", path.display())))?;
    file.persist_noclobber(path).map_err(|failure| failure.error)?;
    Ok(())
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn now_signed() -> i64 {
    i64::try_from(seconds()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::State;

    fn spec(name: &str) -> ContainerSpec {
        ContainerSpec {
            name: name.to_owned(),
            host: "h1".to_owned(),
            image: "local/quorate-node:0123".to_owned(),
            command: vec!["sleep".to_owned(), "600".to_owned()],
            network: "n".to_owned(),
            address: "127.0.9.11".to_owned(),
            publish: None,
            state: None,
            memory: 0,
            nano_cpus: 0,
            labels: Labels::from([("a".to_owned(), "b".to_owned())]),
        }
    }

    fn local() -> (tempfile::TempDir, Local) {
        let folder = tempfile::tempdir().unwrap();
        let local = Local { root: folder.path().to_owned() };
        (folder, local)
    }

    #[test]
    fn what_was_made_is_listed_once_and_gone_when_removed() {
        let (_folder, local) = local();
        let id = local.create_container(&spec("quorate-t-h1")).unwrap();
        assert_eq!(id, "quorate-t-h1");
        let again = local.create_container(&spec("quorate-t-h1")).unwrap_err();
        assert_eq!(again.trouble, Trouble::Conflict);
        let listed = local.containers().unwrap();
        assert_eq!((listed.len(), listed[0].state), (1, State::Created));
        assert_eq!(listed[0].labels["a"], "b");

        let volume = Labels::from([("x".to_owned(), "1".to_owned())]);
        local.create_volume("v", &volume).unwrap();
        local.create_volume("v", &Labels::new()).unwrap();
        assert_eq!(local.volumes().unwrap(), [Volume { name: "v".to_owned(), labels: volume }]);
        local.remove_volume("v").unwrap();
        local.remove_volume("v").unwrap();
        assert_eq!(local.volumes().unwrap(), []);
    }

    #[test]
    fn a_block_of_addresses_is_taken_once() {
        let (_folder, local) = local();
        let spec = |name: &str| NetworkSpec {
            name: name.to_owned(),
            subnet: "127.0.250.0/24".to_owned(),
            internal: false,
            labels: Labels::new(),
        };
        let id = local.create_network(&spec("one")).unwrap();
        let taken = local.create_network(&spec("two")).unwrap_err();
        assert_eq!(taken.trouble, Trouble::Refused);
        assert_eq!(local.networks().unwrap()[0].subnets, ["127.0.250.0/24"]);
        local.remove_network(&id).unwrap();
        local.create_network(&spec("two")).unwrap();
    }

    #[test]
    fn the_agents_folders_are_the_nodes_own_and_other_paths_are_left_alone() {
        let (folder, local) = local();
        let node = local.node("n");
        let programs = Path::new("/p");
        let disk = format!("{}/nodes/n/fs", folder.path().display());
        for (word, wanted) in [
            ("/usr/bin/quorate", "/p/quorate".to_owned()),
            ("--prefix=/var/lib/quorate", format!("--prefix={disk}/var/lib/quorate")),
            ("cat /etc/quorate/site.yaml", format!("cat {disk}/etc/quorate/site.yaml")),
            ("/srv/x", "/srv/x".to_owned()),
        ] {
            let once = node.mapped(word, programs);
            assert_eq!(once, wanted);
            assert_eq!(node.mapped(&once, programs), wanted, "a second time");
        }
    }
}
