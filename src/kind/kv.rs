//! The kind `kv`: one key of the store has a value, or is gone.
//!
//! Refuses to write where changes are not allowed, and to write over what it did not look at: every
//! write is bound to the revision that it decided on.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::fields::Reader;
use super::{Context, FieldDef, FieldError, FieldType, Kind, Outcome, Power, Resource, Watch};
use crate::ident::{ResourceId, encode_segment};
use crate::spec::Fields;
use crate::store::{Compare, Op, PREFIX, Store, StoreError, Txn};

/// How long one look and its write may take, as in mgmt.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a write is tried anew when others change the key at the same moment.
const TRIES: usize = 5;

/// The kind `kv`.
#[derive(Debug)]
pub(super) struct KvKind;

const FIELDS: &[FieldDef] = &[
    FieldDef { name: "key", ty: FieldType::Str, doc: "the key; the resource's name when absent" },
    FieldDef {
        name: "value",
        ty: FieldType::Str,
        doc: "the value; absent means that the key has to go",
    },
    FieldDef {
        name: "mapped",
        ty: FieldType::Bool,
        doc: "one entry for each host in place of one for all",
    },
    FieldDef {
        name: "skiplessthan",
        ty: FieldType::Bool,
        doc: "leave a stored value that is greater than or equal to ours",
    },
    FieldDef {
        name: "skipcmpstyle",
        ty: FieldType::Int,
        doc: "how `skiplessthan` compares: 0 as whole numbers, 1 as text",
    },
];

impl Kind for KvKind {
    fn name(&self) -> &'static str {
        "kv"
    }

    fn fields(&self) -> &'static [FieldDef] {
        FIELDS
    }

    fn power(&self) -> Power {
        Power::Content
    }

    /// The key goes.
    fn inverse(&self, fields: &Fields) -> Option<Fields> {
        let mut inverse = fields.clone();
        inverse.retain(|name, _| matches!(name, "key" | "mapped"));
        Some(inverse)
    }

    /// Its key; that of one host is another one than that of all.
    fn subject(&self, id: &ResourceId, fields: &Fields) -> Option<String> {
        let (key, mapped) = place(&Reader::new(fields), id);
        Some(if mapped { format!("{key}/") } else { key })
    }

    fn build(
        &self,
        id: &ResourceId,
        fields: &Fields,
    ) -> Result<Arc<dyn Resource>, Vec<FieldError>> {
        let mut reader = Reader::new(fields);
        reader.no_nul(&["key"]);
        let value = reader.raw("value");
        let skip = check_skip(value.as_deref(), &mut reader);
        let (key, mapped) = place(&reader, id);
        reader.done(Arc::new(Kv { key, value, mapped, skip }) as Arc<dyn Resource>)
    }
}

/// The full key, without the host that a mapped one ends in, and whether it is mapped.
fn place(reader: &Reader, id: &ResourceId) -> (String, bool) {
    let key = reader.text("key").unwrap_or(id.name());
    (format!("{PREFIX}kv/{}", encode_segment(key)), reader.flag("mapped"))
}

/// How stored and wanted value are compared when greater ones stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skip {
    Never,
    AsNumber,
    AsText,
}

fn check_skip(value: Option<&str>, reader: &mut Reader) -> Skip {
    let style = match reader.number("skipcmpstyle", 0..=1, ", numbers or text") {
        None | Some(0) => Skip::AsNumber,
        Some(_) => Skip::AsText,
    };
    if !reader.flag("skiplessthan") {
        return Skip::Never;
    }
    match value {
        None => {
            let message = "`skiplessthan` without `value` compares nothing".to_owned();
            reader.refuse("value", message, "add `value`, or remove `skiplessthan`");
        }
        Some(value) if style == Skip::AsNumber && number(value).is_none() => {
            let message = format!("`value` is `{value}`, which `skiplessthan` cannot compare");
            let help = "write a whole number, or `skipcmpstyle: 1` to compare as text";
            reader.refuse("value", message, help);
        }
        Some(_) => {}
    }
    style
}

fn number(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

#[derive(Debug)]
struct Kv {
    /// The full key, without the host that a mapped one ends in.
    key: String,
    value: Option<String>,
    mapped: bool,
    skip: Skip,
}

/// What has to happen to the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Leave,
    Set,
    Remove,
}

/// What a look and a write led to.
enum Tried {
    Done(Outcome),
    /// The key changed in between; the words of a write that may have been what changed it.
    Refused(Option<String>),
}

impl Kv {
    /// What to do when `stored` is there. A refresh sets the exact value.
    fn plan(&self, stored: Option<&[u8]>, refresh: bool) -> Action {
        let Some(wanted) = &self.value else {
            return if stored.is_some() { Action::Remove } else { Action::Leave };
        };
        let Some(stored) = stored else {
            return Action::Set;
        };
        if stored == wanted.as_bytes() || (!refresh && self.skips(stored, wanted)) {
            Action::Leave
        } else {
            Action::Set
        }
    }

    /// A stored value that is no number is not greater than any: it is repaired.
    fn skips(&self, stored: &[u8], wanted: &str) -> bool {
        let order = match self.skip {
            Skip::Never => None,
            Skip::AsText => Some(stored.cmp(wanted.as_bytes())),
            Skip::AsNumber => {
                let stored = std::str::from_utf8(stored).ok().and_then(number);
                stored.zip(number(wanted)).map(|(stored, wanted)| stored.cmp(&wanted))
            }
        };
        matches!(order, Some(Ordering::Equal | Ordering::Greater))
    }

    fn full_key(&self, cx: &Context) -> String {
        match self.mapped {
            true => format!("{}/{}", self.key, encode_segment(cx.host.as_str())),
            false => self.key.clone(),
        }
    }

    async fn converge(&self, cx: &Context) -> Result<Outcome, String> {
        let key = self.full_key(cx);
        let mut unsure = None;
        for _ in 0..TRIES {
            match self.attempt(&*cx.store, &key, cx).await {
                // Nothing is left to do: the write that came back as refused had been made before.
                Ok(Tried::Done(Outcome::Unchanged)) => {
                    return Ok(unsure.map_or(Outcome::Unchanged, Outcome::Changed));
                }
                Ok(Tried::Done(outcome)) => return Ok(outcome),
                Ok(Tried::Refused(may_be_made)) => unsure = may_be_made,
                Err(error) => return Err(format!("key {key}: {error}")),
            }
        }
        Err(format!("key {key}: changed by others {TRIES} times in a row; see who else sets it"))
    }

    /// One look and one write.
    async fn attempt(
        &self,
        store: &dyn Store,
        key: &str,
        cx: &Context,
    ) -> Result<Tried, StoreError> {
        let found = store.range(key).await?.entries.into_iter().find(|entry| entry.key == key);
        let stored = found.as_ref().map(|entry| entry.value.as_slice());
        let (op, words) = match self.plan(stored, cx.refresh) {
            Action::Leave => return Ok(Tried::Done(Outcome::Unchanged)),
            Action::Remove => (Op::Delete { key: key.to_owned() }, "key removed"),
            Action::Set => {
                let value = self.value.clone().unwrap_or_default().into_bytes();
                (Op::Put { key: key.to_owned(), value, lease: None }, "value set")
            }
        };
        if !cx.apply {
            return Ok(Tried::Done(Outcome::WouldChange(words.to_owned())));
        }
        let when = match &found {
            Some(entry) => Compare::Revision(key.to_owned(), entry.revision),
            None => Compare::Missing(key.to_owned()),
        };
        let committed = store.txn(Txn { when: vec![when], then: vec![op] }).await?;
        Ok(match committed.applied {
            true => Tried::Done(Outcome::Changed(words.to_owned())),
            false => Tried::Refused(committed.repeated.then(|| words.to_owned())),
        })
    }
}

#[async_trait]
impl Resource for Kv {
    fn watches(&self) -> Vec<Watch> {
        // The host is not known here. A mapped key watches the entries of all hosts, which are few
        // and change seldom.
        vec![Watch::Key(if self.mapped { format!("{}/", self.key) } else { self.key.clone() })]
    }

    async fn run(&self, cx: &Context) -> Result<Outcome, String> {
        tokio::select! {
            biased;
            () = cx.cancel.cancelled() => Err("cancelled".to_owned()),
            done = tokio::time::timeout(PATIENCE, self.converge(cx)) => done.unwrap_or_else(|_| {
                let seconds = PATIENCE.as_secs();
                Err(format!("the store did not answer within {seconds} s; see `quorate status`"))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{build, build_values, changed, context, context_on, would_change};
    use super::*;
    use crate::ident::HostName;
    use crate::spec::Value;
    use crate::store::memory::MemoryStore;

    async fn stored(cx: &Context) -> Vec<(String, String)> {
        let entries = cx.store.range(PREFIX).await.unwrap().entries;
        let text = |value| String::from_utf8(value).unwrap();
        entries.into_iter().map(|e| (e.key.replace(PREFIX, ""), text(e.value))).collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[tokio::test]
    async fn a_key_is_set_once_and_repaired() {
        let cx = context();
        let kv = build("kv", "a/b", &[("value", "world")]).unwrap();
        assert_eq!(changed(kv.run(&cx).await), "value set");
        assert_eq!(stored(&cx).await, [pair("kv/a%2Fb", "world")]);
        assert_eq!(kv.run(&cx).await, Ok(Outcome::Unchanged));
        let other = build("kv", "other", &[("key", "a/b"), ("value", "")]).unwrap();
        changed(other.run(&cx).await);
        assert_eq!(stored(&cx).await, [pair("kv/a%2Fb", "")]);
        changed(kv.run(&cx).await);
        assert_eq!(stored(&cx).await, [pair("kv/a%2Fb", "world")]);
    }

    #[tokio::test]
    async fn without_a_value_only_this_very_key_goes() {
        let cx = context();
        for key in ["k", "k2"] {
            build("kv", key, &[("value", "x")]).unwrap().run(&cx).await.unwrap();
        }
        let gone = build("kv", "k", &[]).unwrap();
        assert_eq!(changed(gone.run(&cx).await), "key removed");
        assert_eq!(stored(&cx).await, [pair("kv/k2", "x")]);
        assert_eq!(gone.run(&cx).await, Ok(Outcome::Unchanged));
    }

    #[tokio::test]
    async fn looking_never_writes() {
        let cx = context();
        build("kv", "k", &[("value", "x")]).unwrap().run(&cx).await.unwrap();
        let looking = Context { apply: false, ..cx.clone() };
        for fields in [&[][..], &[("value", "y")]] {
            would_change(build("kv", "k", fields).unwrap().run(&looking).await);
        }
        assert_eq!(stored(&cx).await, [pair("kv/k", "x")]);
    }

    #[tokio::test]
    async fn a_mapped_key_has_an_entry_for_each_host() {
        let store = Arc::new(MemoryStore::new());
        let fields = [("value", Value::Str("x".to_owned())), ("mapped", Value::Bool(true))];
        let kv = build_values("kv", "k", &fields).unwrap();
        for host in ["h1", "h2"] {
            let host = HostName::parse(host).unwrap();
            kv.run(&Context { host, ..context_on(store.clone()) }).await.unwrap();
        }
        let all = stored(&context_on(store)).await;
        assert_eq!(all, [pair("kv/k/h1", "x"), pair("kv/k/h2", "x")]);
        assert_eq!(kv.watches(), [Watch::Key(format!("{PREFIX}kv/k/"))]);
    }

    fn skipping(value: &str, style: i64) -> Kv {
        let skip = if style == 1 { Skip::AsText } else { Skip::AsNumber };
        Kv { key: "k".to_owned(), value: Some(value.to_owned()), mapped: false, skip }
    }

    #[test]
    fn greater_values_stay_until_a_refresh() {
        let cases = [
            ("9", 0, "10", false, Action::Leave),
            ("9", 0, "9", false, Action::Leave),
            ("9", 0, "8", false, Action::Set),
            ("9", 0, "10", true, Action::Set),
            ("9", 0, "9", true, Action::Leave),
            ("9", 0, "no number", false, Action::Set),
            ("9", 1, "10", false, Action::Set),
            ("b", 1, "c", false, Action::Leave),
        ];
        for (ours, style, stored, refresh, action) in cases {
            let kv = skipping(ours, style);
            assert_eq!(kv.plan(Some(stored.as_bytes()), refresh), action, "{ours} {stored}");
        }
        assert_eq!(skipping("9", 0).plan(None, false), Action::Set);
    }

    #[tokio::test]
    async fn a_chain_on_one_key_ends_at_the_greatest_and_stays_there() {
        let cx = context();
        let skip = ("skiplessthan", Value::Bool(true));
        let chain = ["1", "2", "3"].map(|value| {
            let value = ("value", Value::Str(value.to_owned()));
            build_values("kv", "x", &[("key", Value::Str("k".to_owned())), value, skip.clone()])
                .unwrap()
        });
        for one in &chain {
            changed(one.run(&cx).await);
        }
        assert_eq!(stored(&cx).await, [pair("kv/k", "3")]);
        for one in &chain {
            assert_eq!(one.run(&cx).await, Ok(Outcome::Unchanged), "nobody pulls it back");
        }
    }

    #[test]
    fn keys_are_the_same_thing_whatever_the_names_of_those_that_set_them() {
        let about = |name: &str, fields: &[(&str, Value)]| {
            let fields = fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
            KvKind.subject(&ResourceId::new("kv", name), &fields.collect())
        };
        let key = |key: &str| ("key", Value::Str(key.to_owned()));
        let mapped = ("mapped", Value::Bool(true));
        let k = about("k", &[]);
        assert_eq!(k, Some(format!("{PREFIX}kv/k")));
        assert_eq!(about("other", &[key("k"), ("value", Value::Str("1".into()))]), k);
        for other in [about("l", &[]), about("k", &[key("k/")]), about("k", &[mapped])] {
            assert_ne!(other, k);
        }
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let skip = ("skiplessthan", Value::Bool(true));
        let value = |text: &str| ("value", Value::Str(text.to_owned()));
        let style = |style| ("skipcmpstyle", Value::Int(style));
        let cases = [
            (vec![skip.clone()], Some("value")),
            (vec![skip.clone(), value("x")], Some("value")),
            (vec![skip.clone(), value("x"), style(1)], None),
            (vec![skip, value("3")], None),
            (vec![value("3"), style(2)], Some("skipcmpstyle")),
        ];
        for (fields, expected) in cases {
            let errors = build_values("kv", "k", &fields).err().unwrap_or_default();
            let fields: Vec<_> = errors.iter().filter_map(|error| error.field).collect();
            assert_eq!(fields, expected.into_iter().collect::<Vec<_>>());
        }
    }

    /// A store that makes each write at its first try, loses the answer, and answers to the second.
    struct Forgetful(MemoryStore);

    #[async_trait]
    impl Store for Forgetful {
        async fn range(&self, prefix: &str) -> Result<crate::store::Snapshot, StoreError> {
            self.0.range(prefix).await
        }

        async fn watch(&self, p: &str, from: i64) -> Result<crate::store::Watched, StoreError> {
            self.0.watch(p, from).await
        }

        async fn txn(&self, txn: Txn) -> Result<crate::store::Committed, StoreError> {
            self.0.txn(txn.clone()).await?;
            let committed = self.0.txn(txn).await?;
            Ok(crate::store::Committed { repeated: true, ..committed })
        }

        async fn grant(&self, ttl: Duration) -> Result<crate::store::LeaseId, StoreError> {
            self.0.grant(ttl).await
        }

        async fn refresh(&self, lease: crate::store::LeaseId) -> Result<(), StoreError> {
            self.0.refresh(lease).await
        }

        async fn revoke(&self, lease: crate::store::LeaseId) -> Result<(), StoreError> {
            self.0.revoke(lease).await
        }
    }

    #[tokio::test]
    async fn a_write_whose_answer_was_lost_is_told_as_the_change_that_it_was() {
        let cx = context_on(Arc::new(Forgetful(MemoryStore::new())));
        let kv = build("kv", "k", &[("value", "x")]).unwrap();
        assert_eq!(changed(kv.run(&cx).await), "value set");
        assert_eq!(kv.run(&cx).await, Ok(Outcome::Unchanged));
        let gone = build("kv", "k", &[]).unwrap();
        assert_eq!(changed(gone.run(&cx).await), "key removed");
        assert_eq!(stored(&cx).await, []);
    }
}
