//! Exports of many hosts as one JSON document, to try rules without a cluster.
//!
//! Refuses a document that it does not understand to its last key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::record::{Seal, Sealed, json_fields, values};
use super::{Address, Content, DEFAULT_CHANNEL, Export, HostInfo};
use crate::ident::HostName;
use crate::spec::HostSelector;

/// The exports of a site and what it says about its hosts.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Offline {
    /// Sorted by address, none twice.
    pub exports: Vec<Arc<Export>>,
    /// What is known about hosts.
    pub hosts: BTreeMap<HostName, HostInfo>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    v: u64,
    exports: Vec<One>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    hosts: BTreeMap<String, Host>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    from: String,
    kind: String,
    name: String,
    #[serde(default = "default_channel")]
    channel: String,
    #[serde(default)]
    revision: i64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<Vec<String>>,
    /// What it says; `unreadable` says why there is none.
    #[serde(default)]
    fields: serde_json::Map<String, Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
    /// The names of fields that only these hosts can read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<Names>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    fields: BTreeSet<String>,
    to: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Host {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    authenticated: bool,
}

fn default_channel() -> String {
    DEFAULT_CHANNEL.to_owned()
}

/// Reads such a document.
pub fn parse(text: &str) -> Result<Offline, String> {
    let document: Document = serde_json::from_str(text).map_err(|why| why.to_string())?;
    if document.v != 1 {
        return Err(format!("version {} of the document is unknown here", document.v));
    }
    let mut exports = BTreeMap::new();
    for one in document.exports {
        let from = host(&one.from)?;
        let content = match (one.unreadable, values(one.fields)) {
            (Some(why), _) => Content::Broken(why),
            (None, Ok(open)) => match one.sealed {
                None => Content::Fields(open),
                Some(Names { fields, to }) => {
                    let keys = to.into_iter().map(|host| (host, String::new())).collect();
                    let (seal, bytes) = (Seal { fields, keys }, String::new());
                    Content::Sealed(Arc::new(Sealed { open, seal, bytes }))
                }
            },
            (None, Err(content)) => content,
        };
        let address = Address { channel: one.channel, kind: one.kind, from, name: one.name };
        let to = one.to.map_or_else(HostSelector::everybody, HostSelector::Names);
        let (labels, revision) = (one.labels, one.revision);
        let export = Export { address: address.clone(), content, revision, labels, to };
        if exports.insert(address.clone(), Arc::new(export)).is_some() {
            return Err(format!("{} from {} is there twice", address.id(), address.from));
        }
    }
    let hosts = document.hosts.into_iter().map(|(name, one)| {
        let Host { labels, authenticated } = one;
        let info = HostInfo { labels, authenticated, ..HostInfo::default() };
        Ok((host(&name)?, info))
    });
    let hosts = hosts.collect::<Result<_, String>>()?;
    Ok(Offline { exports: exports.into_values().collect(), hosts })
}

fn host(name: &str) -> Result<HostName, String> {
    HostName::parse(name).map_err(|why| format!("the host `{name}`: {why}"))
}

/// Such a document of these exports.
pub fn write(exports: &[Arc<Export>]) -> String {
    let one = |export: &Arc<Export>| {
        let fields = export.content.open().map(json_fields).unwrap_or_default();
        let (unreadable, sealed) = match &export.content {
            Content::Fields(_) => (None, None),
            Content::Sealed(sealed) => (None, Some(names(&sealed.seal))),
            Content::Unknown(why) | Content::Broken(why) => (Some(why.clone()), None),
        };
        let to = match &export.to {
            to if to.is_everybody() => None,
            HostSelector::Names(names) => Some(names.clone()),
            // Labels of hosts are not in here: nobody is the nearest that is safe.
            HostSelector::Labels(_) => Some(Vec::new()),
        };
        let address = &export.address;
        One {
            from: address.from.to_string(),
            kind: address.kind.clone(),
            name: address.name.clone(),
            channel: address.channel.clone(),
            revision: export.revision,
            labels: export.labels.clone(),
            to,
            fields,
            unreadable,
            sealed,
        }
    };
    let exports = exports.iter().map(one).collect();
    let document = Document { v: 1, exports, hosts: BTreeMap::new() };
    serde_json::to_string(&document).expect("maps have text keys and writing to memory cannot fail")
}

fn names(seal: &Seal) -> Names {
    Names { fields: seal.fields.clone(), to: seal.keys.keys().cloned().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_comes_back_as_it_was_written_and_says_what_it_does_not_understand() {
        let text = r#"{"v":1,"exports":[{"from":"web1","kind":"file","name":"a","channel":"c",
            "revision":7,"labels":{"role":"web"},"to":["lb*"],
            "fields":{"path":"/a","recurse":true,"fragments":["x"]}}]}"#;
        let first = parse(text).unwrap();
        assert_eq!(first.exports[0].labels["role"], "web");
        assert_eq!(parse(&write(&first.exports)).unwrap(), first);
        for (wrong, why) in [
            ("{\"v\":2,\"exports\":[]}", "version 2"),
            ("{\"v\":1,\"exports\":[],\"hots\":{}}", "unknown field `hots`"),
            (r#"{"v":1,"exports":[{"from":"-","kind":"file","name":"a"}]}"#, "the host `-`"),
            (
                r#"{"v":1,"exports":[{"from":"h","kind":"file","name":"a"},
                {"from":"h","kind":"file","name":"a"}]}"#,
                "is there twice",
            ),
        ] {
            let found = parse(wrong).unwrap_err();
            assert!(found.contains(why), "{found}");
        }
    }
}
