//! The kind `password`: a random password, made once, kept, and sent to others.
//!
//! It watches nothing: its file lies in the agent's own folder. Refuses to show the password in a
//! log, an error or a debug print, to send one that is empty, and to replace a kept one that it
//! cannot read.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::fields::Reader;
use super::replace::{blocking, open, reason, state_file, write_state};
use super::{Context, FieldDef, FieldError, FieldType, Kind, Outcome, Power, Resource, Watch};
use crate::ident::ResourceId;
use crate::spec::{Fields, Value};

/// What a password is made of: what no shell, file format or keyboard changes.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Random bytes from here on are thrown away: they would make the first characters more frequent.
const FAIR: usize = 256 - 256 % ALPHABET.len();

/// As many characters as mgmt makes when nothing is said.
const LENGTH: i64 = 64;

/// The longest password.
const LENGTH_MAX: i64 = 65_535;

/// The kind `password`.
#[derive(Debug)]
pub(super) struct PasswordKind;

const FIELDS: &[FieldDef] = &[
    FieldDef { name: "length", ty: FieldType::Int, doc: "how many characters; 64 when absent" },
    FieldDef {
        name: "saved",
        ty: FieldType::Bool,
        doc: "keep it for the next start (the default); otherwise each start makes a new one",
    },
];

const SENDS: &[FieldDef] =
    &[FieldDef { name: "password", ty: FieldType::Str, doc: "the password" }];

impl Kind for PasswordKind {
    fn name(&self) -> &'static str {
        "password"
    }

    fn fields(&self) -> &'static [FieldDef] {
        FIELDS
    }

    fn sends(&self) -> &'static [FieldDef] {
        SENDS
    }

    fn power(&self) -> Power {
        Power::Inert
    }

    fn build(
        &self,
        id: &ResourceId,
        fields: &Fields,
    ) -> Result<Arc<dyn Resource>, Vec<FieldError>> {
        let mut reader = Reader::new(fields);
        let length = reader.number("length", 1..=LENGTH_MAX, " characters").unwrap_or(LENGTH);
        let length = usize::try_from(length).unwrap_or_default();
        let saved = reader.flag("saved") || !reader.has("saved");
        let made = Mutex::new(None);
        reader.done(Arc::new(Password { id: id.clone(), length, saved, made }) as Arc<dyn Resource>)
    }
}

struct Password {
    id: ResourceId,
    length: usize,
    saved: bool,
    /// What this process made or read, when it is not kept anywhere else.
    made: Mutex<Option<String>>,
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Password {{ id: {}, length: {}, saved: {} }}", self.id, self.length, self.saved)
    }
}

/// What has to happen to the password.
#[derive(PartialEq, Eq)]
enum Action {
    /// This one is right.
    Keep(String),
    /// There is none, or it is not wanted any more; says so.
    Make(&'static str),
    /// Something else stands in its place.
    Damaged,
}

/// What has to happen when `old` is there.
fn plan(old: Option<&[u8]>, length: usize, refresh: bool) -> Action {
    let Some(old) = old else { return Action::Make("password made") };
    match std::str::from_utf8(old) {
        Ok(text) if old.iter().all(|byte| ALPHABET.contains(byte)) => match refresh {
            true => Action::Make("password replaced"),
            false if text.len() == length => Action::Keep(text.to_owned()),
            false => Action::Make("password of another length made"),
        },
        _ => Action::Damaged,
    }
}

/// As many characters, all equally likely, from random bytes that are asked for piece by piece.
fn characters(
    length: usize,
    mut random: impl FnMut(&mut [u8]) -> Result<(), String>,
) -> Result<String, String> {
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 256];
    while text.len() < length {
        random(&mut bytes)?;
        let fair = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < FAIR);
        let chosen = fair.map(|byte| char::from(ALPHABET[byte % ALPHABET.len()]));
        text.extend(chosen.take(length - text.len()));
    }
    Ok(text)
}

fn make(length: usize) -> Result<String, String> {
    characters(length, |bytes| {
        getrandom::fill(bytes)
            .map_err(|error| format!("the system gives no random bytes: {error}; try again"))
    })
}

/// The password that is kept here; nothing when there is none. One that others may read is made
/// private again when anything may be changed.
fn load(path: &Path, apply: bool) -> Result<Option<Vec<u8>>, String> {
    use std::os::unix::fs::PermissionsExt;
    let Some(file) = open(path)? else { return Ok(None) };
    let cannot =
        |error: std::io::Error| format!("cannot read {}: {}", path.display(), reason(&error));
    if apply {
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(cannot)?;
    }
    let mut bytes = Vec::new();
    file.take(LENGTH_MAX.unsigned_abs() + 1).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(Some(bytes))
}

impl Password {
    async fn old(&self, path: &Path, apply: bool) -> Result<Option<Vec<u8>>, String> {
        if self.saved {
            let path = path.to_owned();
            return blocking(move || load(&path, apply)).await;
        }
        Ok(self.in_memory().clone().map(String::into_bytes))
    }

    fn in_memory(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Resource for Password {
    fn watches(&self) -> Vec<Watch> {
        Vec::new()
    }

    async fn run(&self, cx: &Context) -> Result<Outcome, String> {
        let path = state_file(&cx.state_dir, &self.id);
        let old = self.old(&path, cx.apply).await?;
        let words = match plan(old.as_deref(), self.length, cx.refresh) {
            Action::Keep(password) => {
                cx.outbox.put("password", Value::Str(password));
                return Ok(Outcome::Unchanged);
            }
            Action::Make(words) => words,
            Action::Damaged => {
                let path = path.display();
                return Err(format!(
                    "what is kept in {path} is no password; put it back, or remove the file to \
                     have a new one made"
                ));
            }
        };
        if !cx.apply {
            return Ok(Outcome::WouldChange(words.to_owned()));
        }
        let password = make(self.length)?;
        if self.saved {
            let kept = password.clone();
            blocking(move || write_state(&path, kept.as_bytes())).await?;
        } else {
            *self.in_memory() = Some(password.clone());
        }
        cx.outbox.put("password", Value::Str(password));
        Ok(Outcome::Changed(words.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::super::trial::{build_values, changed, context, would_change};
    use super::*;

    fn password(length: i64, saved: bool) -> Arc<dyn Resource> {
        let fields = [("length", Value::Int(length)), ("saved", Value::Bool(saved))];
        build_values("password", "p", &fields).unwrap()
    }

    fn cx_in(dir: &tempfile::TempDir) -> Context {
        Context { state_dir: dir.path().into(), ..context() }
    }

    fn sent(cx: &Context) -> Option<String> {
        match cx.outbox.take().remove("password") {
            Some(Value::Str(text)) => Some(text),
            _ => None,
        }
    }

    #[tokio::test]
    async fn a_kept_password_survives_a_restart_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let cx = cx_in(&dir);
        assert_eq!(changed(password(20, true).run(&cx).await), "password made");
        let first = sent(&cx).unwrap();
        assert_eq!(first.len(), 20);
        let file = state_file(dir.path(), &ResourceId::new("password", "p"));
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let looking = Context { apply: false, ..cx.clone() };
        assert_eq!(password(20, true).run(&looking).await, Ok(Outcome::Unchanged));
        let mode = fs::metadata(&file).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o644, "looking changes nothing");
        assert_eq!(password(20, true).run(&cx).await, Ok(Outcome::Unchanged));
        assert_eq!(sent(&cx).as_ref(), Some(&first));
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
        changed(password(21, true).run(&cx).await);
        assert_eq!(sent(&cx).unwrap().len(), 21);
    }

    #[tokio::test]
    async fn one_that_is_not_kept_is_new_after_a_restart_and_never_empty() {
        let dir = tempfile::tempdir().unwrap();
        let cx = cx_in(&dir);
        let before = password(30, false);
        changed(before.run(&cx).await);
        let first = sent(&cx).unwrap();
        assert_eq!(before.run(&cx).await, Ok(Outcome::Unchanged));
        assert_eq!(sent(&cx).as_ref(), Some(&first));
        changed(password(30, false).run(&cx).await);
        let second = sent(&cx).unwrap();
        assert_eq!(second.len(), 30);
        assert_ne!(first, second);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is kept");
    }

    #[tokio::test]
    async fn looking_makes_and_sends_none_and_a_refresh_replaces_it() {
        let dir = tempfile::tempdir().unwrap();
        let cx = cx_in(&dir);
        let looking = Context { apply: false, ..cx.clone() };
        would_change(password(8, true).run(&looking).await);
        assert_eq!(sent(&cx), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        changed(password(8, true).run(&cx).await);
        let first = sent(&cx);
        let refreshed = Context { refresh: true, ..cx.clone() };
        assert_eq!(changed(password(8, true).run(&refreshed).await), "password replaced");
        assert_ne!(sent(&cx), first);
    }

    #[tokio::test]
    async fn what_is_no_password_is_neither_sent_nor_replaced_nor_shown() {
        let dir = tempfile::tempdir().unwrap();
        let cx = cx_in(&dir);
        let file = state_file(dir.path(), &ResourceId::new("password", "p"));
        write_state(&file, b"not one\n").unwrap();
        let error = password(8, true).run(&cx).await.unwrap_err();
        assert!(error.contains("remove the file") && !error.contains("not one"), "{error}");
        assert_eq!(sent(&cx), None);
        assert_eq!(fs::read(&file).unwrap(), b"not one\n");
    }

    #[tokio::test]
    async fn no_print_shows_it() {
        let dir = tempfile::tempdir().unwrap();
        let cx = cx_in(&dir);
        let one = password(24, false);
        let words = changed(one.run(&cx).await);
        let secret = sent(&cx).unwrap();
        assert!(!format!("{one:?} {words}").contains(&secret));
    }

    #[test]
    fn characters_are_chosen_without_a_bias() {
        // Every byte value equally often: every character has to come out equally often.
        let mut left = 0;
        let all = characters(FAIR * 3, |bytes| {
            left += 1;
            (0..=255).zip(bytes).for_each(|(value, byte)| *byte = value);
            Ok(())
        });
        let text = all.unwrap();
        for character in ALPHABET {
            let found = text.bytes().filter(|byte| byte == character).count();
            assert_eq!(found, 3 * FAIR / ALPHABET.len());
        }
        assert_eq!(left, 3, "only the unfair bytes are thrown away");
        assert_ne!(make(64).unwrap(), make(64).unwrap());
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        for length in [0, -1, LENGTH_MAX + 1] {
            let errors = build_values("password", "p", &[("length", Value::Int(length))]);
            assert_eq!(errors.unwrap_err()[0].field, Some("length"));
        }
    }
}
