//! What stands under the keys of the exchange: records, publishers and presences as canonical JSON.
//!
//! Refuses to panic or to guess: what is not exactly in our form is named and held, never repaired,
//! and a key that an older agent does not know is not ignored, since it might restrict the record.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value as Json;

use crate::collect::Content;
use crate::spec::{Fields, HostSelector, Value};

pub use crate::spec::rule::Lifetime as Life;
pub use body::{BODY_BYTES_MAX, Body, CHUNK_BYTES, content_of, pieces};
pub use digest::{About, digest, digest_of};
pub use said::{Presence, Publisher, Session, is_decommissioned};
pub use sealed::{HOSTS_MAX, SEALED, Seal, Sealed, words as sealed_to};

mod body;
mod digest;
mod said;
mod sealed;
mod to;

use digest::{digest_with, sha256};
use to::terms;
pub(super) use to::{To, of_wire, to_wire};

/// The form of records that say neither labels nor who may collect them, and of publishers and
/// presences. Older agents read these only, so that what restricts a record is never overlooked.
const VERSION: u64 = 1;
/// The form of records with labels, or for some hosts only.
const VERSION_WITH_TERMS: u64 = 2;
/// The form of records that live for a duration, or whose fields stand elsewhere.
const VERSION_WITH_MORE: u64 = 3;
/// The form of records of which some fields are sealed.
const VERSION_WITH_SEAL: u64 = 4;
/// The version of every kind's field table.
const SCHEMA: u64 = 1;
/// The longest record, in bytes.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;
/// Generations stay exact in every JSON reader.
pub const GENERATION_MAX: u64 = 1 << 53;

/// One export as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The generation of the host's set that it came with.
    pub generation: u64,
    /// The session that wrote it, and when; for listing. See [`written_at`].
    pub session: String,
    /// How long it lives.
    pub life: Life,
    /// What it says; the sealed bytes are among them.
    pub fields: Fields,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Who may collect it.
    pub to: HostSelector,
    /// What of it is sealed, and for whom.
    pub seal: Option<Seal>,
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
    /// Where its fields stand, if not in the record: they have to be read before it says anything.
    pub body: Option<Body>,
    /// What of it is sealed, and for whom.
    pub seal: Option<Seal>,
    /// Its labels; none when it cannot be read.
    pub labels: BTreeMap<String, String>,
    /// Who may collect it. When that cannot be read, nothing else can.
    pub to: HostSelector,
    /// When its host wrote it, by that host's clock, as far as it says so.
    pub at: Option<u64>,
}

#[derive(Serialize)]
struct Written<'a> {
    v: u64,
    schema: String,
    life: String,
    session: &'a str,
    #[serde(rename = "gen")]
    generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<To>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seal: Option<&'a Seal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<BTreeMap<&'a str, Wire<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<usize>,
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

/// Fields as canonical JSON.
pub(super) fn fields_json(fields: &Fields) -> Vec<u8> {
    json(&wire_fields(fields))
}

/// The fields that these bytes are as JSON, if they are.
pub(super) fn fields_of(bytes: &[u8]) -> Option<Fields> {
    match serde_json::from_slice(bytes) {
        Ok(Json::Object(map)) => values(map).ok(),
        _ => None,
    }
}

/// The bytes of a record of this kind.
pub fn encode(kind: &str, record: &Record) -> Vec<u8> {
    written(kind, record, None)
}

/// The bytes of a record of this kind whose fields stand elsewhere, where they stand, and they.
pub fn encode_apart(kind: &str, record: &Record) -> (Vec<u8>, Body, Vec<u8>) {
    let bytes = json(&wire_fields(&record.fields));
    let body = Body { digest: sha256(&bytes), size: bytes.len() };
    (written(kind, record, Some(&body)), body, bytes)
}

fn written(kind: &str, record: &Record, body: Option<&Body>) -> Vec<u8> {
    let about = About { labels: &record.labels, to: &record.to, seal: record.seal.as_ref() };
    let plain = record.labels.is_empty() && record.to.is_everybody() && record.seal.is_none();
    let more = body.is_some() || matches!(record.life, Life::For(_));
    json(&Written {
        v: match plain {
            _ if record.seal.is_some() => VERSION_WITH_SEAL,
            _ if more => VERSION_WITH_MORE,
            true => VERSION,
            false => VERSION_WITH_TERMS,
        },
        seal: about.seal,
        labels: (!plain).then_some(&record.labels),
        to: (!plain).then(|| to_wire(&record.to)),
        schema: format!("{kind}@{SCHEMA}"),
        life: record.life.to_string(),
        session: &record.session,
        generation: record.generation,
        fields: body.is_none().then(|| wire_fields(&record.fields)),
        body: body.map(|body| body.digest.clone()),
        size: body.map(|body| body.size),
        digest: match body {
            Some(body) => digest_with(body.digest.clone(), about),
            None => digest_of(&record.fields, about),
        },
    })
}

/// What a record says of who wrote it and when. Agents that know of no time read it as one text.
pub fn stamp(session: &Session) -> String {
    match session.at {
        Some(at) => format!("{}@{at}", session.session),
        None => session.session.clone(),
    }
}

/// When a record says that it was written, in seconds since 1970 by its host's clock.
fn written_at(session: &str) -> Option<u64> {
    session.rsplit_once('@')?.1.parse().ok()
}

/// Reads a record of this kind. Never fails: what is wrong is in the content.
pub fn decode(kind: &str, bytes: &[u8]) -> Decoded {
    if bytes.len() > RECORD_BYTES_MAX {
        let (bytes, most) = (bytes.len(), RECORD_BYTES_MAX);
        let why = format!("the record has {bytes} bytes, at most {most} are read");
        return unreadable(broken(why));
    }
    decode_any(kind, bytes)
}

/// [`decode`] of a record of any length: one that this host wrote for itself.
pub fn decode_any(kind: &str, bytes: &[u8]) -> Decoded {
    read(kind, bytes).unwrap_or_else(unreadable)
}

fn unreadable(content: Content) -> Decoded {
    Decoded {
        generation: 0,
        life: Life::Session,
        digest: None,
        content,
        body: None,
        seal: None,
        labels: BTreeMap::new(),
        to: HostSelector::everybody(),
        at: None,
    }
}

fn read(kind: &str, bytes: &[u8]) -> Result<Decoded, Content> {
    let mut map: serde_json::Map<String, Json> =
        serde_json::from_slice(bytes).map_err(|_| broken("the record is not a JSON object"))?;
    let version = map.remove("v");
    let form = match &version {
        Some(Json::Number(version)) => match version.as_u64() {
            Some(form @ VERSION..=VERSION_WITH_SEAL) => form,
            _ => return Err(Content::Unknown(format!("record version {version}"))),
        },
        _ => return Err(broken("the record has no version")),
    };
    let schema = text(&mut map, "schema")?;
    let life = life(form, &text(&mut map, "life")?)?;
    let at = written_at(&text(&mut map, "session")?);
    let generation = generation(&mut map)?;
    let declared = text(&mut map, "digest")?;
    let with_terms = map.contains_key("labels") || map.contains_key("to");
    let apart = form >= VERSION_WITH_MORE && map.contains_key("body");
    let said = if apart { Said::Apart(body::named(&mut map)?) } else { Said::of(&mut map)? };
    let (labels, to) = match form {
        VERSION_WITH_TERMS | VERSION_WITH_SEAL => terms(&mut map)?,
        VERSION_WITH_MORE if with_terms => terms(&mut map)?,
        _ => (BTreeMap::new(), HostSelector::everybody()),
    };
    let seal = match form {
        VERSION_WITH_SEAL => Some(sealed::named(&mut map, &to)?),
        _ => None,
    };
    if let Some(key) = map.keys().next() {
        return Err(broken(format!("the record has the unknown key `{}`", shown(key))));
    }
    let about = About { labels: &labels, to: &to, seal: seal.as_ref() };
    let checked = check_schema(kind, &schema).and_then(|()| said.check(&declared, about));
    let (content, body, digest) = match checked {
        Err(content) => (content, None, None),
        Ok((content, body)) => (content, body, Some(declared)),
    };
    Ok(Decoded { generation, life, digest, content, body, seal, labels, to, at })
}

/// What a record says, or where.
enum Said {
    Here(serde_json::Map<String, Json>),
    Apart(Body),
}

impl Said {
    fn of(map: &mut serde_json::Map<String, Json>) -> Result<Self, Content> {
        match map.remove("fields") {
            Some(Json::Object(fields)) => Ok(Said::Here(fields)),
            _ => Err(broken("the record has no fields")),
        }
    }

    /// The content, if its digest is the declared one.
    fn check(self, declared: &str, about: About<'_>) -> Result<(Content, Option<Body>), Content> {
        let (found, content, body) = match self {
            Said::Here(fields) => {
                let fields = values(fields)?;
                let found = digest(&fields);
                let content = match about.seal {
                    Some(seal) => seal.content(fields),
                    None => Content::Fields(fields),
                };
                (found, content, None)
            }
            Said::Apart(body) => (body.digest.clone(), body.unread(), Some(body)),
        };
        if digest_with(found, about) != declared {
            return Err(broken("the digest is not that of the fields"));
        }
        Ok((content, body))
    }
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

fn life(form: u64, text: &str) -> Result<Life, Content> {
    match Life::parse(text) {
        Some(Life::For(_)) | None if form < VERSION_WITH_MORE => {}
        Some(life) => return Ok(life),
        None => {}
    }
    Err(broken(format!("`{}` is no lifetime", shown(text))))
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

#[cfg(test)]
#[path = "record/tests.rs"]
mod tests;
