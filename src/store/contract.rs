//! What every store promises, as claims that can be tried on one: the store of this process and
//! etcd are tested with the same ones.
//!
//! Refuses to panic: the first broken claim is returned in words.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    Batch, Change, Committed, Compare, Entry, LeaseId, Op, Store, StoreError, Txn, WATCH_QUEUE,
    Watched,
};

/// How long a watch may take to deliver, and a lease to be noticed as over, beside its own time.
const PATIENCE: Duration = Duration::from_secs(10);

/// The time of the leases that are tried: the least that etcd grants with its usual timing.
const TTL: Duration = Duration::from_secs(2);

/// Tries all claims below `prefix`, which ends in a slash and holds nothing.
pub async fn store_contract(store: &dyn Store, prefix: &str) -> Result<(), String> {
    let trial = Trial { store, prefix };
    trial.reading().await.map_err(|why| format!("reading: {why}"))?;
    trial.conditions().await.map_err(|why| format!("conditions: {why}"))?;
    trial.refusals().await.map_err(|why| format!("refusals: {why}"))?;
    trial.watching().await.map_err(|why| format!("watching: {why}"))?;
    trial.slow_reading().await.map_err(|why| format!("slow reading: {why}"))?;
    trial.revoking().await.map_err(|why| format!("revoking: {why}"))?;
    trial.expiring().await.map_err(|why| format!("expiring: {why}"))
}

struct Trial<'a> {
    store: &'a dyn Store,
    prefix: &'a str,
}

fn claim(holds: bool, claim: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("broken: {claim}")) }
}

fn put(key: &str, value: &str, lease: Option<LeaseId>) -> Op {
    Op::Put { key: key.to_owned(), value: value.as_bytes().to_vec(), lease }
}

fn delete(key: &str) -> Op {
    Op::Delete { key: key.to_owned() }
}

/// `key=value` or `-key` for each change.
fn shown(changes: &[Change], prefix: &str) -> Vec<String> {
    let show = |change: &Change| match change {
        Change::Put(entry) => format!("{}={}", entry.key, String::from_utf8_lossy(&entry.value)),
        Change::Delete { key } => format!("-{key}"),
    };
    changes.iter().map(|change| show(change).replace(prefix, "")).collect()
}

impl Trial<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    async fn commit(&self, when: Vec<Compare>, then: Vec<Op>) -> Result<Committed, String> {
        self.store.txn(Txn { when, then }).await.map_err(|error| error.to_string())
    }

    async fn entries(&self, name: &str) -> Result<Vec<Entry>, String> {
        let snapshot = self.store.range(&self.key(name)).await;
        Ok(snapshot.map_err(|error| error.to_string())?.entries)
    }

    async fn reading(&self) -> Result<(), String> {
        let (a, b) = (self.key("r/a"), self.key("r/b"));
        claim(self.entries("r/").await?.is_empty(), "what nobody wrote is not there")?;
        let both = vec![put(&b, "2", None), put(&a, "1", None), put(&self.key("q"), "", None)];
        let done = self.commit(Vec::new(), both).await?;
        let found = self.entries("r/").await?;
        let keys: Vec<&str> = found.iter().map(|entry| entry.key.as_str()).collect();
        claim(keys == [a.as_str(), b.as_str()], "a range is sorted and ends with its prefix")?;
        let same = found.iter().all(|entry| entry.revision == done.revision);
        claim(same, "all writes of a transaction have one revision")?;
        claim(found[0].value == b"1" && found[0].lease.is_none(), "a value comes back")?;
        let again = self.commit(Vec::new(), vec![delete(&a), delete(&self.key("r/none"))]).await?;
        claim(again.revision == done.revision + 1, "a transaction is one revision")?;
        let none = self.commit(Vec::new(), vec![delete(&a)]).await?;
        claim(none.applied && none.revision == again.revision, "removing nothing is no revision")?;
        claim(self.entries("r/").await?.len() == 1, "a removed key is gone")
    }

    async fn conditions(&self) -> Result<(), String> {
        let key = self.key("c/a");
        let missing = || vec![Compare::Missing(key.clone())];
        let first = self.commit(missing(), vec![put(&key, "1", None)]).await?;
        claim(first.applied, "a missing key is missing")?;
        let second = self.commit(missing(), vec![put(&key, "2", None)]).await?;
        claim(!second.applied && second.revision == first.revision, "it is not missing twice")?;
        let at = |revision| vec![Compare::Revision(key.clone(), revision)];
        let third = self.commit(at(first.revision), vec![put(&key, "3", None)]).await?;
        claim(third.applied, "the revision of a key's last change holds")?;
        let mut both = at(third.revision);
        both.push(Compare::Missing(self.key("c/a")));
        let fourth = self.commit(both, vec![put(&key, "4", None)]).await?;
        claim(!fourth.applied, "all conditions have to hold")?;
        let fifth = self.commit(at(first.revision), vec![put(&key, "5", None)]).await?;
        claim(!fifth.applied, "an older revision does not hold")?;
        claim(self.entries("c/a").await?[0].value == b"3", "only what was applied is written")
    }

    async fn refusals(&self) -> Result<(), String> {
        let key = self.key("f");
        let twice = vec![put(&key, "1", None), put(&key, "2", None)];
        let refused = self.store.txn(Txn { when: Vec::new(), then: twice }).await;
        claim(matches!(refused, Err(StoreError::Refused(_))), "no key is written twice")?;
        let bound = vec![put(&key, "1", Some(LeaseId(0x7777_7777)))];
        let refused = self.store.txn(Txn { when: Vec::new(), then: bound }).await;
        claim(refused == Err(StoreError::LeaseGone), "no key is bound to an unknown lease")?;
        let gone = LeaseId(0x7777_7777);
        let refreshed = self.store.refresh(gone).await;
        claim(refreshed == Err(StoreError::LeaseGone), "an unknown lease is not refreshed")?;
        let revoked = self.store.revoke(gone).await;
        claim(revoked == Err(StoreError::LeaseGone), "an unknown lease is not revoked")?;
        claim(self.entries("f").await?.is_empty(), "what is refused writes nothing")
    }

    async fn watch(&self, name: &str, from: i64) -> Result<Watched, String> {
        self.store.watch(&self.key(name), from).await.map_err(|error| error.to_string())
    }

    async fn next(&self, watched: &mut Watched) -> Result<Batch, String> {
        match timeout(PATIENCE, watched.recv()).await {
            Ok(Some(Ok(batch))) => Ok(batch),
            Ok(Some(Err(error))) => Err(error.to_string()),
            Ok(None) => Err("the watch ended".to_owned()),
            Err(_) => Err("the watch yields nothing".to_owned()),
        }
    }

    /// Reads `count` changes; whole revisions may come in one batch or in several.
    async fn changes(&self, watched: &mut Watched, count: usize) -> Result<Vec<Change>, String> {
        let mut changes = Vec::new();
        while changes.len() < count {
            changes.extend(self.next(watched).await?.changes);
        }
        Ok(changes)
    }

    async fn watching(&self) -> Result<(), String> {
        let (a, b) = (self.key("w/a"), self.key("w/b"));
        let first = self.commit(Vec::new(), vec![put(&a, "1", None), put(&b, "1", None)]).await?;
        self.commit(Vec::new(), vec![put(&self.key("v"), "", None)]).await?;
        self.commit(Vec::new(), vec![put(&a, "2", None)]).await?;
        let mut past = self.watch("w/", first.revision).await?;
        let mut later = self.watch("w/", first.revision + 1).await?;
        let seen = shown(&self.changes(&mut past, 3).await?, self.prefix);
        claim(seen == ["w/a=1", "w/b=1", "w/a=2"], "a watch tells what came before it, in order")?;
        let seen = shown(&self.changes(&mut later, 1).await?, self.prefix);
        claim(seen == ["w/a=2"], "a watch starts at its revision")?;
        let last = self.commit(Vec::new(), vec![delete(&a), put(&b, "3", None)]).await?;
        let batch = self.next(&mut past).await?;
        let seen = shown(&batch.changes, self.prefix);
        claim(seen == ["-w/a", "w/b=3"], "a watch tells both changes of a revision at once")?;
        claim(batch.revision == last.revision, "a batch carries its newest revision")?;
        let future = self.watch("w/", last.revision + 2).await;
        let mut future = future?;
        self.commit(Vec::new(), vec![put(&a, "4", None)]).await?;
        self.commit(Vec::new(), vec![put(&a, "5", None)]).await?;
        let seen = shown(&self.changes(&mut future, 1).await?, self.prefix);
        claim(seen == ["w/a=5"], "a watch may start in the future")
    }

    async fn slow_reading(&self) -> Result<(), String> {
        let count = 3 * WATCH_QUEUE;
        let key = self.key("s/a");
        let first = self.commit(Vec::new(), vec![put(&key, "0", None)]).await?;
        let mut watched = self.watch("s/", first.revision + 1).await?;
        for number in 0..count {
            self.commit(Vec::new(), vec![put(&key, &number.to_string(), None)]).await?;
        }
        let seen = shown(&self.changes(&mut watched, count).await?, self.prefix);
        let all: Vec<String> = (0..count).map(|number| format!("s/a={number}")).collect();
        claim(seen == all, "a reader that starts late misses nothing")
    }

    async fn revoking(&self) -> Result<(), String> {
        let (a, b) = (self.key("l/a"), self.key("l/b"));
        let lease = self.store.grant(Duration::from_secs(60)).await;
        let lease = lease.map_err(|error| error.to_string())?;
        let bound = vec![put(&a, "", Some(lease)), put(&b, "", Some(lease))];
        self.commit(Vec::new(), bound).await?;
        let kept = self.commit(Vec::new(), vec![put(&self.key("l/c"), "", Some(lease))]).await?;
        let bound = self.entries("l/").await?.iter().all(|entry| entry.lease == Some(lease));
        claim(bound, "a range tells the lease of a key")?;
        let freed = self.commit(Vec::new(), vec![put(&self.key("l/c"), "", None)]).await?;
        claim(kept.applied && freed.applied, "a put binds and frees")?;
        let mut watched = self.watch("l/", freed.revision + 1).await?;
        self.store.revoke(lease).await.map_err(|error| error.to_string())?;
        let batch = self.next(&mut watched).await?;
        let mut seen = shown(&batch.changes, self.prefix);
        seen.sort();
        claim(seen == ["-l/a", "-l/b"], "the keys of a lease go in one revision, freed ones stay")?;
        let again = self.store.revoke(lease).await;
        claim(again == Err(StoreError::LeaseGone), "a lease ends once")?;
        claim(self.entries("l/").await?.len() == 1, "the keys of an ended lease are gone")
    }

    async fn expiring(&self) -> Result<(), String> {
        let (kept, left) = (self.key("e/kept"), self.key("e/left"));
        let grant = || async { self.store.grant(TTL).await.map_err(|error| error.to_string()) };
        let (held, leaving) = (grant().await?, grant().await?);
        let bound = vec![put(&kept, "", Some(held)), put(&left, "", Some(leaving))];
        let done = self.commit(Vec::new(), bound).await?;
        let mut watched = self.watch("e/", done.revision + 1).await?;
        let refreshing = async {
            loop {
                tokio::time::sleep(TTL / 4).await;
                if let Err(error) = self.store.refresh(held).await {
                    return format!("a refresh failed: {error}");
                }
            }
        };
        let batch = tokio::select! {
            why = refreshing => return Err(why),
            batch = self.next(&mut watched) => batch?,
        };
        let seen = shown(&batch.changes, self.prefix);
        claim(seen == ["-e/left"], "only the lease that nobody refreshed ends")?;
        let refreshed = self.store.refresh(leaving).await;
        claim(refreshed == Err(StoreError::LeaseGone), "a lease that ended stays ended")?;
        self.store.revoke(held).await.map_err(|error| error.to_string())
    }
}
