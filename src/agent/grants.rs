//! What an operator says about the site, followed in the store and taken into the running graph.
//!
//! Refuses to show anything before all of it was read, in this run or an earlier one, and to forget
//! it because the store is lost.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::body::Body;
use super::exchange::ExportsView;
use super::operate::Desk;
use crate::cluster::auth::{self, AuthRecord};
use crate::cluster::shell::Operator;
use crate::collect::grants::{Known, hosts_prefix};
use crate::collect::{Grants, Site, policy};
use crate::matching::Me;
use crate::spec::{CollectRule, HostSelector, Program};
use crate::store::follow::{Follow, follow};
use crate::store::{Change, Entry, PREFIX, Store};

/// What is kept of it, in the state folder.
const FILE: &str = "site.json";
/// The pause before it is asked again whether the store asks who writes, when nobody answered.
const AGAIN: Duration = Duration::from_secs(2);
/// The pause after hosts or the policy changed: several changes come together.
const TOGETHER: Duration = Duration::from_millis(500);

/// Follows it for as long as somebody listens, from what an earlier run kept on. `cluster` finds
/// out whether the store asks who writes: that it says so itself anybody could have written.
pub(super) fn start(
    store: &Arc<dyn Store>,
    cluster: Option<Operator>,
    state_dir: &Path,
) -> watch::Receiver<Arc<Grants>> {
    let (views, granted) = watch::channel(Arc::default());
    let (hosts_at, policy_at) = (hosts_prefix(), policy::key());
    let mut hosts = follow(Arc::clone(store), &hosts_at);
    let mut policies = follow(Arc::clone(store), &policy_at);
    let mut asked = cluster.is_some().then(|| follow(Arc::clone(store), &auth::key()));
    // A store that ends with its only user knows nothing of an earlier run.
    let file = store.leases_run_out().then(|| state_dir.join(FILE));
    tokio::spawn(async move {
        let mut known = kept(file.as_deref()).await;
        let first = known.grants();
        if first.complete {
            views.send_replace(Arc::new(first));
        }
        let (mut said, mut proved) = (None, None);
        loop {
            let again = said.is_some() && proved.is_none();
            let (message, prefix) = tokio::select! {
                () = views.closed() => return,
                message = hosts.recv() => match message {
                    Some(message) => (Some(message), &hosts_at),
                    None => return,
                },
                message = policies.recv() => match message {
                    Some(message) => (Some(message), &policy_at),
                    None => return,
                },
                Some(message) = next(&mut asked) => {
                    said = told(message, said);
                    proved = None;
                    (None, &policy_at)
                }
                () = tokio::time::sleep(AGAIN), if again => (None, &policy_at),
            };
            if let (Some(since), None, Some(cluster)) = (said, proved, &cluster) {
                match cluster.is_asked().await {
                    Ok(true) => proved = Some(since),
                    Ok(false) => {}
                    Err(why) => tracing::debug!(why, "not known whether the store asks"),
                }
            }
            match message {
                Some(Follow::Reset(snapshot)) => known.replace(prefix, snapshot),
                Some(Follow::Changes(batch)) => known.apply(batch.changes),
                Some(Follow::Lost(error)) => tracing::debug!(%error, prefix, "the store is lost"),
                None => {}
            }
            let grants = Grants { proved, ..known.grants() };
            let differs = grants.complete && **views.borrow() != grants;
            if differs {
                views.send_replace(Arc::new(grants));
                keep(file.as_deref(), &known).await;
            }
        }
    });
    granted
}

/// What an earlier run knew: a host that starts without the store goes by that.
async fn kept(file: Option<&Path>) -> Known {
    let Some(file) = file else { return Known::default() };
    match tokio::fs::read(file).await {
        Ok(bytes) => Known::of_kept(&bytes),
        Err(_) => Known::default(),
    }
}

/// Keeps it for the next run. The folder is for nobody else to read.
async fn keep(file: Option<&Path>, known: &Known) {
    let (Some(file), Some(bytes)) = (file, known.keep()) else { return };
    let draft = file.with_extension("json.new");
    let written = async {
        tokio::fs::write(&draft, bytes).await?;
        tokio::fs::rename(&draft, file).await
    };
    if let Err(error) = written.await {
        tracing::warn!(path = %file.display(), %error, "what the site says cannot be kept");
    }
}

async fn next(asked: &mut Option<mpsc::Receiver<Follow>>) -> Option<Follow> {
    match asked {
        Some(asked) => asked.recv().await,
        None => std::future::pending().await,
    }
}

/// Since which revision the store says that it asks.
fn told(message: Follow, before: Option<i64>) -> Option<i64> {
    let since = |entry: &Entry| {
        let record: AuthRecord = serde_json::from_slice(&entry.value).ok()?;
        (entry.key == auth::key() && record.on).then_some(entry.revision)
    };
    match message {
        Follow::Reset(snapshot) => snapshot.entries.iter().find_map(since),
        Follow::Changes(batch) => {
            batch.changes.iter().fold(before, |before, change| match change {
                Change::Put(entry) if entry.key == auth::key() => since(entry),
                Change::Delete { key } if *key == auth::key() => None,
                _ => before,
            })
        }
        Follow::Lost(_) => before,
    }
}

/// Makes the rights of all hosts fit, where this agent may: hosts come, and get other labels, and
/// the policy changes.
pub(super) fn keep_rights(desk: Desk) {
    let Some(cluster) = desk.cluster.clone() else { return };
    let mut hosts = follow(Arc::clone(&desk.store), &format!("{PREFIX}host/"));
    let mut granted = desk.granted.clone();
    tokio::spawn(async move {
        let mut before = None;
        loop {
            tokio::select! {
                changed = granted.changed() => if changed.is_err() { return },
                message = hosts.recv() => if message.is_none() { return },
            }
            tokio::time::sleep(TOGETHER).await;
            while hosts.try_recv().is_ok() {}
            let grants = granted.borrow_and_update().clone();
            if grants.proved.is_none() || !cluster.may_grant() {
                continue;
            }
            match desk.make_rights_fit(&cluster, &mut before).await {
                Ok(()) => {}
                Err(why) => tracing::warn!("the rights of hosts cannot be changed: {why}"),
            }
        }
    });
}

impl Body {
    /// What is known about this host and the others.
    pub(super) fn site(&self) -> Site<'_> {
        site(&self.me, &self.grants)
    }

    /// What others export. Nothing is, as far as we know, until it is known who may.
    pub(super) fn known_exports(&mut self) -> ExportsView {
        let view = self.exports.borrow_and_update();
        match self.grants.complete {
            true => view.clone(),
            false => ExportsView::default(),
        }
    }

    /// What is said about this site is another thing now.
    pub(super) async fn site_changed(&mut self) {
        let grants = Arc::clone(&self.granted.borrow_and_update());
        let labels = grants.labels(&self.settings.host);
        let relabelled = labels != self.me.labels;
        self.me = Me { labels, ..self.me.clone() };
        self.grants = grants;
        let program = &self.source.program;
        if !program.collect.is_empty() || (relabelled && minds_labels(program)) {
            return self.rebuild().await;
        }
        // Also when it exports nothing: what an earlier run left has to go.
        self.publish_own();
        self.exported().await;
    }
}

/// What `grants` say, seen from this host.
pub(super) fn site<'a>(me: &'a Me, grants: &'a Grants) -> Site<'a> {
    let Grants { policy, hosts, proved, .. } = grants;
    Site { me, hosts, policy, proved: *proved }
}

/// Whether what exists on a host depends on its labels.
pub(super) fn minds_labels(program: &Program) -> bool {
    let by_label = |hosts: &HostSelector| matches!(hosts, HostSelector::Labels(_));
    let rule = |one: &CollectRule| match one {
        CollectRule::Legacy { .. } => false,
        CollectRule::Full(rule) => rule.hosts.as_ref().is_some_and(by_label),
    };
    let mut resources = program.resources.iter();
    resources.any(|one| one.hosts.as_ref().is_some_and(|hosts| by_label(hosts)))
        || program.collect.iter().any(rule)
}
