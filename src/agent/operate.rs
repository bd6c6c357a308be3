//! Requests about the site, as they come through the agent's socket.
//!
//! Refuses to overwrite what somebody else wrote at the same moment, and to remove what a host that
//! is there would publish again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::cluster::shell::{self as cluster, Operator};
use crate::collect::grants::{HostRecord, host_key};
use crate::collect::listing::{self, Parts, Row, Wanted};
use crate::collect::policy::{self, Policy};
use crate::collect::request::{Answer, AuthRow, AuthVerb, PATIENCE, PolicyView, Request};
use crate::collect::{Address, Grants, keys, purge, slots};
use crate::ident::{HostName, counted, encode_segment};
use crate::store::{Compare, Op, PREFIX, Snapshot, Store, StoreError, Txn};

/// How often a change is made anew when somebody else changed the same meanwhile.
const TRIES: usize = 5;
/// How many records are removed at once: etcd takes 128 operations.
const AT_ONCE: usize = 100;

/// Why a request led to nothing.
enum No {
    Refused(String),
    Failed(StoreError),
}

impl From<StoreError> for No {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(why) if why.contains("permission denied") => No::Refused(
                "this agent may not write that: who may export what is for the operator to say; \
                 run it on a voter, see `quorate cluster status`"
                    .to_owned(),
            ),
            error => No::Failed(error),
        }
    }
}

/// Who answers requests about the site.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) store: Arc<dyn Store>,
    /// The membership, if there is one.
    pub(super) cluster: Option<Operator>,
    /// What the site says, as it is followed.
    pub(super) granted: watch::Receiver<Arc<Grants>>,
}

impl Desk {
    /// Answers within its time.
    pub(super) async fn answer(&self, request: Request) -> Answer {
        match timeout(PATIENCE, self.serve(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(No::Refused(why))) => Answer::Refused(why),
            Ok(Err(No::Failed(error))) => Answer::Failed(error.to_string()),
            Err(_) => {
                let seconds = PATIENCE.as_secs();
                Answer::Failed(format!("the store did not answer within {seconds} s"))
            }
        }
    }

    async fn serve(&self, request: Request) -> Result<Answer, No> {
        match request {
            Request::Hosts => Ok(Answer::Hosts(listing::hosts(&self.read(None, None).await?))),
            Request::Label { host, set, unset } => self.label(&host, &set, &unset).await,
            Request::Decommission { host, undo } => self.decommission(&host, undo).await,
            Request::Policy => self.policy().await.map(Answer::Policy),
            Request::SetPolicy { policy } => self.set_policy(policy).await,
            Request::Exports { from, channel, kind, in_full } => {
                let from = from.as_deref().map(name).transpose()?;
                let parts = self.read(channel.as_deref(), kind.as_deref()).await?;
                let wanted = Wanted { from: from.as_ref(), kind: kind.as_deref(), in_full };
                Ok(Answer::Exports(listing::list(&parts, wanted)))
            }
            Request::Purge { from, dry } => self.purge(from.as_deref(), dry).await,
            Request::Auth(verb) => self.auth(verb).await.map(Answer::Auth),
        }
    }

    async fn read(&self, channel: Option<&str>, kind: Option<&str>) -> Result<Parts, No> {
        let [records, publishers, presences, hosts, policy, keys] =
            listing::prefixes(channel, kind);
        let read = |prefix: String| async move { self.store.range(&prefix).await };
        Ok(Parts {
            records: read(records).await?,
            publishers: read(publishers).await?,
            presences: read(presences).await?,
            hosts: read(hosts).await?,
            policy: read(policy).await?,
            keys: read(keys).await?,
            proved: self.granted.borrow().proved,
        })
    }

    async fn label(
        &self,
        host: &str,
        set: &BTreeMap<String, String>,
        unset: &[String],
    ) -> Result<Answer, No> {
        let host = name(host)?;
        let change = |record: &mut HostRecord| record.label(set, unset);
        let record = self.change(&host, change).await?;
        let labels: Vec<String> =
            record.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let labels = match labels.is_empty() {
            true => "no labels".to_owned(),
            false => labels.join(" "),
        };
        let known = self.is_known(&host).await?;
        let note = if known { "" } else { "; no host of this name is there now" };
        Ok(Answer::Said(format!("{host} has {labels}{note}")))
    }

    async fn decommission(&self, host: &str, undo: bool) -> Result<Answer, No> {
        let host = name(host)?;
        if !undo && !self.is_known(&host).await? {
            let why = format!("no host {host} is known; `quorate host list` shows all");
            return Err(No::Refused(why));
        }
        let change = |record: &mut HostRecord| {
            record.decommissioned = !undo;
            Ok(())
        };
        self.change(&host, change).await?;
        Ok(Answer::Said(match undo {
            true => format!("{host} exports again, as soon as it is there"),
            false => format!(
                "what {host} exports is taken nowhere any more; `quorate exports purge --from \
                 {host}` removes it"
            ),
        }))
    }

    /// Whether the store holds anything of this host.
    async fn is_known(&self, host: &HostName) -> Result<bool, No> {
        let segment = encode_segment(host.as_str());
        for of in [keys::presence(host), keys::publisher(host), format!("{PREFIX}host/{segment}")] {
            let found = self.store.range(&of).await?;
            if found.entries.iter().any(|entry| entry.key == of) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Changes what is said about a host, compared with what was read.
    async fn change(
        &self,
        host: &HostName,
        change: impl Fn(&mut HostRecord) -> Result<(), String>,
    ) -> Result<HostRecord, No> {
        let key = host_key(host);
        for _ in 0..TRIES {
            let found = exact(self.store.range(&key).await?, &key);
            let mut record = match &found {
                None => HostRecord::default(),
                Some((value, _)) => HostRecord::decode(value).ok_or_else(|| {
                    No::Refused(format!(
                        "what the store holds of {host} is of another version; use that one's \
                         program"
                    ))
                })?,
            };
            let before = record.clone();
            change(&mut record).map_err(No::Refused)?;
            if record == before && found.is_some() {
                return Ok(record);
            }
            let revision = found.map(|(_, revision)| revision);
            let op = match record.is_empty() {
                true => Op::Delete { key: key.clone() },
                false => Op::Put { key: key.clone(), value: record.encode(), lease: None },
            };
            if self.swap(&key, revision, op).await? {
                return Ok(record);
            }
        }
        Err(raced(&key))
    }

    /// Writes unless somebody else did since that revision.
    async fn swap(&self, key: &str, revision: Option<i64>, op: Op) -> Result<bool, No> {
        let when = match revision {
            Some(revision) => Compare::Revision(key.to_owned(), revision),
            None => Compare::Missing(key.to_owned()),
        };
        Ok(self.store.txn(Txn { when: vec![when], then: vec![op] }).await?.applied)
    }

    async fn policy(&self) -> Result<PolicyView, No> {
        let key = policy::key();
        let Some((value, revision)) = exact(self.store.range(&key).await?, &key) else {
            return Ok(PolicyView::default());
        };
        let unreadable = match Policy::decode(&value) {
            Policy::Unreadable(why) => Some(why),
            _ => None,
        };
        let policy = serde_json::from_slice(&value).ok();
        Ok(PolicyView { revision, policy, unreadable })
    }

    async fn set_policy(&self, policy: Option<serde_json::Value>) -> Result<Answer, No> {
        let key = policy::key();
        let value = policy.map(|policy| policy.to_string().into_bytes());
        let rules = match value.as_deref().map(Policy::decode) {
            Some(Policy::Unreadable(why)) => return Err(No::Refused(why)),
            Some(Policy::Rules(rules)) => rules.len(),
            _ => 0,
        };
        let found = exact(self.store.range(&key).await?, &key);
        let revision = found.as_ref().map(|(_, revision)| *revision);
        let (op, said) = match value {
            Some(value) if found.as_ref().is_some_and(|(before, _)| *before == value) => {
                return Ok(Answer::Said("the policy is this already".to_owned()));
            }
            Some(value) => {
                let rules = counted(rules, "rule");
                let put = Op::Put { key: key.clone(), value, lease: None };
                (put, format!("the policy has {rules}; exporters and collectors follow it"))
            }
            None if found.is_none() => {
                return Ok(Answer::Said("there is no policy".to_owned()));
            }
            None => {
                let gone = "there is no policy any more: all but powerful kinds may be exported";
                (Op::Delete { key: key.clone() }, gone.to_owned())
            }
        };
        match self.swap(&key, revision, op).await? {
            true => Ok(Answer::Said(said)),
            false => Err(raced("the policy")),
        }
    }

    async fn auth(&self, verb: AuthVerb) -> Result<AuthRow, No> {
        let Some(cluster) = &self.cluster else {
            let why = "this agent runs on its own, and nobody else writes its store";
            return Err(No::Refused(why.to_owned()));
        };
        let failed = |why: String| No::Failed(StoreError::Unavailable(why));
        let before = cluster.auth_view().await.map_err(failed)?;
        let channels = before.record.as_ref().map(|one| one.channels.clone()).unwrap_or_default();
        let mut certificate = Vec::new();
        match verb {
            AuthVerb::Status => {}
            AuthVerb::Enable { .. } | AuthVerb::Disable if before.obstacle.is_some() => {
                return Err(No::Refused(before.obstacle.unwrap_or_default()));
            }
            AuthVerb::Enable { channels: more } => {
                let channels: BTreeSet<String> = channels.union(&more).cloned().collect();
                let grants = self.slots(cluster, &channels).await?;
                let files = cluster.auth_enable(&grants, channels).await.map_err(No::Refused)?;
                certificate = files.iter().map(|file| file.display().to_string()).collect();
            }
            AuthVerb::Disable => cluster.auth_disable().await.map_err(No::Refused)?,
        }
        let view = cluster.auth_view().await.map_err(failed)?;
        let channels = view.record.as_ref().map(|one| one.channels.clone()).unwrap_or_default();
        let grants = self.slots(cluster, &channels).await?;
        let row = |(channel, kind): (String, String)| format!("{channel}/{kind}");
        Ok(AuthRow {
            on: view.on,
            by: view.record.as_ref().map(|one| one.by.clone()),
            at: view.record.as_ref().map(|one| one.at),
            proved: self.granted.borrow().proved,
            users: view.users,
            grants: grants
                .into_iter()
                .map(|(host, slots)| (host, slots.into_iter().map(row).collect()))
                .collect(),
            obstacle: view.obstacle,
            certificate,
        })
    }

    /// Gives every host the rights that it should have, if they are other ones than `before`.
    pub(super) async fn make_rights_fit(
        &self,
        cluster: &Operator,
        before: &mut Option<cluster::auth::Grants>,
    ) -> Result<(), String> {
        let view = cluster.auth_view().await?;
        let channels = view.record.map(|record| record.channels).unwrap_or_default();
        let grants = self.slots(cluster, &channels).await.map_err(|no| match no {
            No::Refused(why) => why,
            No::Failed(error) => error.to_string(),
        })?;
        if before.as_ref() != Some(&grants) {
            cluster.auth_grant(&grants).await?;
            *before = Some(grants);
        }
        Ok(())
    }

    /// What each host may export.
    async fn slots(
        &self,
        cluster: &Operator,
        channels: &BTreeSet<String>,
    ) -> Result<cluster::auth::Grants, No> {
        let parts = self.read(None, None).await?;
        let failed = |why: String| No::Failed(StoreError::Unavailable(why));
        let mut names = cluster.hosts().await.map_err(failed)?;
        names.extend(listing::hosts(&parts).into_iter().map(|row| row.host));
        let hosts = names.iter().filter_map(|name| HostName::parse(name).ok()).collect();
        let slots = slots::slots(&parts, &hosts, channels);
        Ok(slots.into_iter().map(|(host, slots)| (host.to_string(), slots)).collect())
    }

    async fn purge(&self, from: Option<&str>, dry: bool) -> Result<Answer, No> {
        let from = from.map(name).transpose()?;
        let parts = self.read(None, None).await?;
        let hosts = listing::hosts(&parts);
        let present = |host: &str| {
            hosts.iter().any(|one| one.host == host && one.present && !one.decommissioned)
        };
        if let Some(from) = from.as_ref().filter(|from| present(from.as_str())) {
            return Err(No::Refused(format!(
                "{from} is there and would publish its exports again; take them out of its graph, \
                 stop its agent, or say `quorate host decommission {from}`"
            )));
        }
        let mut listing =
            listing::list(&parts, Wanted { from: from.as_ref(), ..Wanted::default() });
        let dead = |row: &Row| matches!(&*row.state, "gone" | "decommissioned");
        // Whoever is there puts its own set right.
        listing.rows.retain(|row| (from.is_some() || dead(row)) && !present(&row.from));
        if !dry {
            self.remove(&parts, &listing.rows).await?;
        }
        Ok(Answer::Purged(listing))
    }

    /// Removes records, as long as their hosts do not come back meanwhile.
    async fn remove(&self, parts: &Parts, rows: &[Row]) -> Result<(), No> {
        for of_host in rows.chunk_by(|a, b| a.from == b.from) {
            let Some(first) = of_host.first() else { continue };
            let host = name(&first.from)?;
            let presence = keys::presence(&host);
            let there = exact(self.store.range(&presence).await?, &presence);
            let guard = match there {
                // Decommissioned: whatever it says, nobody listens.
                Some((_, revision)) => Compare::Revision(presence, revision),
                None => Compare::Missing(presence),
            };
            let record = |row: &Row| {
                let (channel, kind, name) =
                    (row.channel.clone(), row.kind.clone(), row.name.clone());
                keys::record(&Address { channel, kind, from: host.clone(), name })
            };
            let all: Vec<String> = of_host.iter().map(record).collect();
            let gone = all.iter().map(String::as_str).collect();
            let mut closing = purge::closing(parts, &host, &gone);
            let named = purge::bodies(parts, &host, &gone);
            let bodies = self.store.keys(&keys::bodies_prefix(&host)).await?.entries.into_iter();
            let bodies: Vec<String> = bodies
                .map(|one| one.key)
                .filter(|key| keys::chunk_of(&host, key).is_none_or(|(of, _)| !named.contains(&of)))
                .collect();
            let last = all.chunks(AT_ONCE).len();
            for (at, some) in all.chunks(AT_ONCE).chain(bodies.chunks(AT_ONCE)).enumerate() {
                let mut then: Vec<Op> =
                    some.iter().map(|key| Op::Delete { key: key.clone() }).collect();
                let mut when = vec![guard.clone()];
                if let Some((unchanged, op)) = closing.take_if(|_| at + 1 == last) {
                    when.push(unchanged);
                    then.push(op);
                }
                if !self.store.txn(Txn { when, then }).await?.applied {
                    return Err(No::Refused(format!("{host} came back meanwhile; try again")));
                }
            }
        }
        Ok(())
    }
}

fn raced(what: &str) -> No {
    No::Refused(format!("somebody else changed {what} at the same moment; try again"))
}

fn name(host: &str) -> Result<HostName, No> {
    HostName::parse(host).map_err(|why| No::Refused(format!("{host}: {why}")))
}

/// The value of exactly this key, with its revision.
fn exact(snapshot: Snapshot, key: &str) -> Option<(Vec<u8>, i64)> {
    let found = snapshot.entries.into_iter().find(|entry| entry.key == key);
    found.map(|entry| (entry.value, entry.revision))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::publish::{Own, Published, Session, plan};
    use crate::collect::record::Life;
    use crate::collect::roster::Roster;
    use crate::spec::{Fields, Value};
    use crate::store::memory::MemoryStore;

    fn desk() -> Desk {
        Desk { store: Arc::new(MemoryStore::new()), cluster: None, granted: granted() }
    }

    /// Nothing is said.
    fn granted() -> watch::Receiver<Arc<Grants>> {
        watch::channel(Arc::default()).1
    }

    async fn said(desk: &Desk, request: Request) -> String {
        match desk.answer(request).await {
            Answer::Said(what) => what,
            Answer::Refused(why) => format!("refused: {why}"),
            other => panic!("{other:?}"),
        }
    }

    fn label(host: &str, set: &[(&str, &str)], unset: &[&str]) -> Request {
        let own = |text: &&str| (*text).to_owned();
        Request::Label {
            host: host.to_owned(),
            set: set.iter().map(|(key, value)| (own(key), own(value))).collect(),
            unset: unset.iter().map(own).collect(),
        }
    }

    #[tokio::test]
    async fn labels_come_and_go_and_nothing_is_left_of_a_host_without_any() {
        let desk = desk();
        let note = "; no host of this name is there now";
        let first = said(&desk, label("web1", &[("role", "web"), ("dc", "a")], &[])).await;
        assert_eq!(first, format!("web1 has dc=a role=web{note}"));
        let second = said(&desk, label("web1", &[("dc", "b")], &["role"])).await;
        assert_eq!(second, format!("web1 has dc=b{note}"));
        // The key of another host begins with that of this one.
        said(&desk, label("web10", &[("role", "db")], &[])).await;
        let third = said(&desk, label("web1", &[], &["dc"])).await;
        assert_eq!(third, format!("web1 has no labels{note}"));
        let Answer::Hosts(hosts) = desk.answer(Request::Hosts).await else { panic!("no hosts") };
        assert_eq!(hosts.iter().map(|one| one.host.as_str()).collect::<Vec<_>>(), ["web10"]);
        assert!(said(&desk, label("-", &[], &[])).await.starts_with("refused: -: "));
        assert!(
            said(&desk, label("web1", &[("Big", "x")], &[])).await.contains("no key of a label")
        );
        let gone = Request::Decommission { host: "web9".into(), undo: false };
        assert!(said(&desk, gone).await.starts_with("refused: no host web9 is known"));
    }

    /// Publishes for a host that is not there.
    async fn publish(desk: &Desk, host: &HostName, wanted: &[Published]) {
        let session =
            Session { instance: "i".into(), run: "r".into(), session: "s".into(), at: None };
        let plan = plan(host, &Own::default(), wanted, &session);
        for txn in plan.bodies.into_iter().chain(plan.txns) {
            assert!(desk.store.txn(txn).await.unwrap().applied);
        }
    }

    #[tokio::test]
    async fn a_purge_of_a_part_leaves_the_rest_whole() {
        let (desk, web1) = (desk(), HostName::parse("web1").unwrap());
        let one = |name: &str, life, bytes: usize| {
            let fields = Fields::from([("content", Value::Str(name.repeat(bytes)))]);
            Published { life, ..Published::plain("default", "file", name, fields) }
        };
        let large = 100 << 10;
        let wanted = [
            one("a", Life::Session, 1),
            one("b", Life::Session, large),
            one("c", Life::Permanent, large),
        ];
        publish(&desk, &web1, &wanted).await;
        let purge = Request::Purge { from: None, dry: false };
        let Answer::Purged(gone) = desk.answer(purge).await else { panic!("nothing went") };
        assert_eq!(gone.rows.iter().map(|row| &*row.name).collect::<Vec<_>>(), ["a", "b"]);
        let mut roster = Roster::default();
        for prefix in [keys::records_prefix(), keys::publishers_prefix()] {
            roster.replace(&prefix, desk.store.range(&prefix).await.unwrap());
        }
        assert!(roster.is_complete(&web1), "nobody waits for what is gone");
        assert_eq!(roster.exports().len(), 1);
        let bodies = desk.store.range(&keys::bodies_prefix(&web1)).await.unwrap().entries;
        assert_eq!(bodies.len(), 1, "that of the one that is left");
        let purge = Request::Purge { from: Some("web1".into()), dry: false };
        assert!(matches!(desk.answer(purge).await, Answer::Purged(_)));
        assert_eq!(desk.store.range(PREFIX).await.unwrap().entries, []);
    }

    #[tokio::test]
    async fn a_policy_is_set_shown_and_cleared_and_one_that_is_wrong_is_not_taken() {
        let desk = desk();
        let good: serde_json::Value = serde_json::from_str(
            r#"{"v":1,"rules":[{"allow":true,"hosts":{"names":["*"]},"kinds":["file"],
            "names":["*"],"channels":["*"]}]}"#,
        )
        .unwrap();
        let set = |policy| Request::SetPolicy { policy };
        let wrong = Some(serde_json::json!({"v": 1, "rules": [{}]}));
        assert!(said(&desk, set(wrong)).await.starts_with("refused: missing field"));
        let first = said(&desk, set(Some(good.clone()))).await;
        assert_eq!(first, "the policy has 1 rule; exporters and collectors follow it");
        assert_eq!(said(&desk, set(Some(good.clone()))).await, "the policy is this already");
        let Answer::Policy(view) = desk.answer(Request::Policy).await else { panic!("none") };
        assert_eq!((view.policy, view.unreadable), (Some(good), None));
        assert!(said(&desk, set(None)).await.starts_with("there is no policy any more"));
        assert_eq!(said(&desk, set(None)).await, "there is no policy");
    }
}
