//! A new cluster with the data of a snapshot: another uuid and another token, so that no member of
//! the old one can ever connect.
//!
//! Refuses while the old cluster has a leader that answers.

use std::path::{Path, PathBuf};

use super::whole;
use crate::cluster::flags;
use crate::cluster::identity::Phase;
use crate::cluster::recover::Failure;
use crate::cluster::shell::private::{Private, access};
use crate::cluster::shell::rpc::Rpc;
use crate::cluster::shell::state::StateFolder;
use crate::cluster::shell::{child, records};
use crate::cluster::when;
use crate::store::etcd::Endpoints;

/// The programs of etcd that restore, the newer first.
const PROGRAMS: [&str; 2] = ["etcdutl", "etcdctl"];

pub(super) async fn run(
    folder: &StateFolder,
    etcd: &child::Program,
    file: &Path,
) -> Result<String, Failure> {
    whole(file)?;
    alive(folder).await?;
    let identity = folder.identity();
    if identity.peer.is_empty() {
        return Err(Failure::Refused(format!(
            "{} has never served, so its addresses are not known; start its agent once without \
             --seeds, stop it, and restore then",
            folder.path().display()
        )));
    }
    folder.keep().map_err(|why| why.to_string())?;
    let token = uuid::Uuid::new_v4().to_string();
    let made = folder.path().join("etcd.restored");
    unpack(folder, etcd, file, (&made, &token)).await?;
    folder.archive("before-restore").map_err(|why| why.to_string())?;
    let placed = std::fs::rename(&made, folder.etcd_dir());
    placed.map_err(|why| format!("{}: {why}", made.display()))?;
    let uuid = uuid::Uuid::new_v4().to_string();
    let stored = folder.update(|one| {
        one.phase = Phase::Member;
        one.cluster_uuid = Some(uuid.clone());
        one.cluster_id = None;
        one.member = None;
        one.token = Some(token.clone());
        one.initial_cluster = Vec::new();
    });
    stored.map_err(|why| why.to_string())?;
    let private = Private::start(folder, etcd, &[]).await?;
    let renewed = renew(folder, &private, (uuid.clone(), token)).await;
    private.end().await;
    renewed?;
    let at = file.file_name().and_then(|name| name.to_str());
    let at = at.and_then(crate::cluster::snapshot::parse).map(|(at, _)| when::date(at));
    Ok(format!(
        "restored from {}{}, as cluster {uuid}; the data before are in archive/; hosts of the old \
         cluster join with: quorate cluster rejoin",
        file.display(),
        at.map(|at| format!(" (saved {at})")).unwrap_or_default()
    ))
}

/// Refuses when the old cluster lives.
async fn alive(folder: &StateFolder) -> Result<(), Failure> {
    let rpc = Rpc::new(access(folder));
    let ours = folder.identity().cluster_id;
    for url in folder.remembered_endpoints() {
        if let Some(probe) = rpc.probe(&url).await
            && probe.leader != 0
            && ours.is_none_or(|ours| ours == probe.cluster)
        {
            return Err(Failure::Refused(format!(
                "{url} answers, and its cluster has a leader: restoring would found a second one; \
                 stop its agents first"
            )));
        }
    }
    Ok(())
}

/// Has etcd's own program make a data folder of the snapshot.
async fn unpack(
    folder: &StateFolder,
    etcd: &child::Program,
    file: &Path,
    (made, token): (&Path, &str),
) -> Result<(), Failure> {
    let identity = folder.identity();
    let name = flags::member_name(&identity);
    let peers: Vec<String> = identity.peer.iter().map(|url| format!("{name}={url}")).collect();
    if made.exists() {
        std::fs::remove_dir_all(made).map_err(|why| format!("{}: {why}", made.display()))?;
    }
    let program = find(etcd)?;
    let mut command = child::scrubbed(tokio::process::Command::new(&program));
    command
        .env("ETCDCTL_API", "3")
        .args(["snapshot", "restore"])
        .arg(file)
        .args(["--name", &name, "--initial-cluster", &peers.join(",")])
        .args(["--initial-cluster-token", token])
        .args(["--initial-advertise-peer-urls", &identity.peer.join(",")])
        .arg("--data-dir")
        .arg(made);
    let output = command.output().await;
    let output = output.map_err(|why| format!("{}: {why}", program.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or("it said nothing").to_owned();
    Err(Failure::Failed(format!("{} could not restore: {last}", program.display())))
}

/// Beside etcd, else on the search path.
fn find(etcd: &child::Program) -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beside = etcd.path.parent().map(Path::to_path_buf);
    let places: Vec<PathBuf> = beside.into_iter().chain(std::env::split_paths(&path)).collect();
    let all = PROGRAMS.iter().flat_map(|name| places.iter().map(move |dir| dir.join(name)));
    all.into_iter().find(|file| file.is_file()).ok_or_else(|| {
        Failure::Failed(
            "neither etcdutl nor etcdctl was found beside etcd or on PATH; install one (Debian, \
             Ubuntu: apt install etcd-client)"
                .into(),
        )
    })
}

/// Writes the records of the new cluster, and what the folder has to know of it.
async fn renew(
    folder: &StateFolder,
    private: &Private,
    (uuid, token): (String, String),
) -> Result<(), String> {
    let probe = private.leads().await?;
    let endpoints = Endpoints::new(vec![private.url.clone()], Some(probe.cluster), true);
    records::renew(endpoints, Some((uuid, token))).await?;
    let stored = folder.update(|one| {
        one.cluster_id = Some(probe.cluster);
        one.member = Some(probe.member);
    });
    let identity = stored.map_err(|why| why.to_string())?;
    folder.remember_endpoints(&identity.client).map_err(|why| why.to_string())
}
