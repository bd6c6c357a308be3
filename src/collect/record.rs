//! What stands under the keys of the exchange: records, publishers and presences as canonical JSON.
//!
//! Refuses to panic or to guess: what is not exactly in our form is named and held, never repaired,
//! and a key that an older agent does not know is not ignored, since it might restrict the record.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::collect::Content;
use crate::spec::{Fields, HostSelector, Value};

mod to;

use to::terms;
pub(super) use to::{To, of_wire, to_wire};

/// The form of records that say neither labels nor who may collect them, and of publishers and
/// presences. Older agents read these only, so that what restricts a record is never overlooked.
const VERSION: u64 = 1;
/// The form of records with labels, or for some hosts only.
const VERSION_WITH_TERMS: u64 = 2;
/// The version of every kind's field table.
const SCHEMA: u64 = 1;
/// The longest record, in bytes.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;
/// Generations stay exact in every JSON reader.
pub const GENERATION_MAX: u64 = 1 << 53;

/// How long an export lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Life {
    /// As long as its host is present.
    Session,
    /// Until it is withdrawn.
    Permanent,
}

/// One export as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The generation of the host's set that it came with.
    pub generation: u64,
    /// The session that wrote it; for listing.
    pub session: String,
    /// How long it lives.
    pub life: Life,
    /// What it says.
    pub fields: Fields,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Who may collect it.
    pub to: HostSelector,
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Its generation; 0 when it cannot be read.
    pub generation: u64,
    /// How long it lives; the session when it cannot be read.
    pub life: Life,
    /// The digest of all that it says; `None` when it cannot be read.
    pub digest: Option<String>,
    /// What it says.
    pub content: Content,
    /// Its labels; none when it cannot be read.
    pub labels: BTreeMap<String, String>,
    /// Who may collect it. When that cannot be read, nothing else can.
    pub to: HostSelector,
}

/// Who publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// One state folder.
    pub instance: String,
    /// One process.
    pub run: String,
    /// Ends with the presence; a process that is started in time continues it.
    pub session: String,
}

/// What a host says about its whole set of exports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publisher {
    v: u64,
    /// Who wrote it: one state folder.
    pub instance: String,
    /// The process that wrote it.
    pub run: String,
    /// The session that wrote it. Exports live while the presence names the same one.
    pub session: String,
    /// Records with a higher generation belong to a set that is not complete yet.
    #[serde(rename = "gen")]
    pub generation: u64,
    /// How many records the set has.
    pub count: usize,
    /// The digest of the set; for listing.
    pub digest: String,
    /// Where the records are, as `CHANNEL/KIND`.
    pub slots: Vec<String>,
}

/// That a host is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    v: u64,
    /// Who: one state folder.
    pub instance: String,
    /// The session that it continues.
    pub session: String,
    /// The version of the agent.
    pub version: String,
}

#[derive(Serialize)]
struct Written<'a> {
    v: u64,
    schema: String,
    life: Life,
    session: &'a str,
    #[serde(rename = "gen")]
    generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<To>,
    fields: BTreeMap<&'a str, Wire<'a>>,
    digest: String,
}

/// A value of a field as JSON. Maps are sorted, so equal values have equal bytes.
#[derive(Serialize)]
#[serde(untagged)]
enum Wire<'a> {
    Bool(bool),
    Int(i64),
    Str(&'a str),
    List(Vec<Wire<'a>>),
    Map(BTreeMap<&'a str, Wire<'a>>),
}

fn wire(value: &Value) -> Wire<'_> {
    match value {
        Value::Bool(value) => Wire::Bool(*value),
        Value::Int(value) => Wire::Int(*value),
        Value::Str(text) => Wire::Str(text),
        Value::List(items) => Wire::List(items.iter().map(wire).collect()),
        Value::Map(entries) => {
            Wire::Map(wire_fields(entries.iter().map(|(name, value)| (name.as_str(), value))))
        }
    }
}

fn wire_fields<'a>(
    fields: impl IntoIterator<Item = (&'a str, &'a Value)>,
) -> BTreeMap<&'a str, Wire<'a>> {
    fields.into_iter().map(|(name, value)| (name, wire(value))).collect()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("maps have text keys and writing to memory cannot fail")
}

fn sha256(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// The digest of fields: of their canonical JSON, with the algorithm in front.
pub fn digest(fields: &Fields) -> String {
    sha256(&json(&wire_fields(fields)))
}

/// The digest of all that a record says. That of one without terms is the digest of its fields.
pub fn digest_of(fields: &Fields, labels: &BTreeMap<String, String>, to: &HostSelector) -> String {
    if labels.is_empty() && to.is_everybody() {
        return digest(fields);
    }
    sha256(&json(&(digest(fields), labels, to_wire(to))))
}

/// The bytes of a record of this kind.
pub fn encode(kind: &str, record: &Record) -> Vec<u8> {
    let plain = record.labels.is_empty() && record.to.is_everybody();
    json(&Written {
        v: if plain { VERSION } else { VERSION_WITH_TERMS },
        labels: (!plain).then_some(&record.labels),
        to: (!plain).then(|| to_wire(&record.to)),
        schema: format!("{kind}@{SCHEMA}"),
        life: record.life,
        session: &record.session,
        generation: record.generation,
        fields: wire_fields(&record.fields),
        digest: digest_of(&record.fields, &record.labels, &record.to),
    })
}

/// Reads a record of this kind. Never fails: what is wrong is in the content.
pub fn decode(kind: &str, bytes: &[u8]) -> Decoded {
    match read(kind, bytes) {
        Ok(decoded) => decoded,
        Err(content) => Decoded {
            generation: 0,
            life: Life::Session,
            digest: None,
            content,
            labels: BTreeMap::new(),
            to: HostSelector::everybody(),
        },
    }
}

fn read(kind: &str, bytes: &[u8]) -> Result<Decoded, Content> {
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(broken(format!(
            "the record has {} bytes, at most {RECORD_BYTES_MAX} are read",
            bytes.len()
        )));
    }
    let mut map: serde_json::Map<String, Json> =
        serde_json::from_slice(bytes).map_err(|_| broken("the record is not a JSON object"))?;
    let version = map.remove("v");
    let with_terms = version.as_ref().and_then(Json::as_u64) == Some(VERSION_WITH_TERMS);
    match version {
        Some(Json::Number(version)) if version.as_u64() == Some(VERSION) || with_terms => {}
        Some(Json::Number(version)) => {
            return Err(Content::Unknown(format!("record version {version}")));
        }
        _ => return Err(broken("the record has no version")),
    }
    let schema = text(&mut map, "schema")?;
    let life = life(&text(&mut map, "life")?)?;
    text(&mut map, "session")?;
    let generation = generation(&mut map)?;
    let declared = text(&mut map, "digest")?;
    let Some(Json::Object(fields)) = map.remove("fields") else {
        return Err(broken("the record has no fields"));
    };
    let (labels, to) = match with_terms {
        true => terms(&mut map)?,
        false => (BTreeMap::new(), HostSelector::everybody()),
    };
    if let Some(key) = map.keys().next() {
        return Err(broken(format!("the record has the unknown key `{}`", shown(key))));
    }
    let content = match check_schema(kind, &schema).and_then(|()| values(fields)) {
        Err(content) => content,
        Ok(fields) if digest_of(&fields, &labels, &to) != declared => {
            broken("the digest is not that of the fields")
        }
        Ok(fields) => Content::Fields(fields),
    };
    let digest = matches!(content, Content::Fields(_)).then_some(declared);
    Ok(Decoded { generation, life, digest, content, labels, to })
}

/// Fields as a JSON object.
pub fn json_fields(fields: &Fields) -> serde_json::Map<String, Json> {
    let all = serde_json::to_value(wire_fields(fields)).ok();
    all.and_then(|all| all.as_object().cloned()).unwrap_or_default()
}

fn check_schema(kind: &str, schema: &str) -> Result<(), Content> {
    let version = schema.strip_prefix(kind).and_then(|rest| rest.strip_prefix('@'));
    match version.map(str::parse::<u64>) {
        Some(Ok(SCHEMA)) => Ok(()),
        Some(Ok(version)) => Err(Content::Unknown(format!("schema {kind}@{version}"))),
        _ => Err(broken(format!("schema `{}` is none of {kind}", shown(schema)))),
    }
}

fn life(text: &str) -> Result<Life, Content> {
    match text {
        "session" => Ok(Life::Session),
        "permanent" => Ok(Life::Permanent),
        other => Err(broken(format!("`{}` is no lifetime", shown(other)))),
    }
}

fn generation(map: &mut serde_json::Map<String, Json>) -> Result<u64, Content> {
    let value = map.remove("gen").as_ref().and_then(Json::as_u64);
    value
        .filter(|value| *value <= GENERATION_MAX)
        .ok_or_else(|| broken("the record has no generation"))
}

fn text(map: &mut serde_json::Map<String, Json>, key: &str) -> Result<String, Content> {
    match map.remove(key) {
        Some(Json::String(text)) => Ok(text),
        _ => Err(broken(format!("the record has no text `{key}`"))),
    }
}

/// Fields, or other values by name, from a JSON object.
pub(super) fn values<T>(map: serde_json::Map<String, Json>) -> Result<T, Content>
where
    T: FromIterator<(String, Value)>,
{
    map.into_iter().map(|(name, json)| Ok((name.clone(), value(&name, json)?))).collect()
}

fn value(field: &str, json: Json) -> Result<Value, Content> {
    Ok(match json {
        Json::Bool(value) => Value::Bool(value),
        Json::String(text) => Value::Str(text),
        Json::Number(number) => Value::Int(number.as_i64().ok_or_else(|| {
            broken(format!("field {} has the number {number}, which is not whole", shown(field)))
        })?),
        Json::Array(items) => {
            Value::List(items.into_iter().map(|item| value(field, item)).collect::<Result<_, _>>()?)
        }
        Json::Object(map) => Value::Map(values(map)?),
        Json::Null => return Err(broken(format!("field {} is null", shown(field)))),
    })
}

fn broken(text: impl Into<String>) -> Content {
    Content::Broken(text.into())
}

/// Another host's text in one of our messages: one line, no control characters, not long.
pub fn shown(text: &str) -> String {
    let mut shown: String =
        text.chars().take(80).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if shown.len() < text.len() && text.chars().nth(80).is_some() {
        shown.push('…');
    }
    shown
}

impl Publisher {
    /// What is said about a set of this generation.
    pub fn new(session: &Session, generation: u64) -> Self {
        Publisher {
            v: VERSION,
            instance: session.instance.clone(),
            run: session.run.clone(),
            session: session.session.clone(),
            generation,
            count: 0,
            digest: String::new(),
            slots: Vec::new(),
        }
    }

    /// With the set itself: `CHANNEL/KIND` and the digest of every record, sorted.
    pub fn with_set(mut self, set: &[(String, String)]) -> Self {
        self.count = set.len();
        let lines: String = set.iter().map(|(_, digest)| format!("{digest}\n")).collect();
        self.digest = sha256(lines.as_bytes());
        self.slots = set.iter().map(|(slot, _)| slot.clone()).collect();
        self.slots.dedup();
        self
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        json(self)
    }

    /// Reads one; `None` when it is not in our form.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let publisher: Publisher = serde_json::from_slice(bytes).ok()?;
        (publisher.v == VERSION && publisher.generation <= GENERATION_MAX).then_some(publisher)
    }
}

impl Presence {
    /// That `instance` continues `session`.
    pub fn new(instance: &str, session: &str) -> Self {
        Presence {
            v: VERSION,
            instance: instance.to_owned(),
            session: session.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        json(self)
    }

    /// Reads one; `None` when it is not in our form.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let presence: Presence = serde_json::from_slice(bytes).ok()?;
        (presence.v == VERSION).then_some(presence)
    }
}

#[cfg(test)]
#[path = "record/tests.rs"]
mod tests;
