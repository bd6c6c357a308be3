//! The kind `msg`: says something in the log, once for each content, and again by a refresh; if
//! asked, also in systemd's journal and in syslog.
//!
//! It watches nothing. Refuses to be silent about a log that is not there, and says nothing where
//! changes are not allowed.

mod socket;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::fields::Reader;
use super::replace::blocking;
use super::{Context, FieldDef, FieldError, FieldType, Kind, Outcome, Power, Resource, Watch};
use crate::ident::ResourceId;
use crate::spec::Fields;

/// The kind `msg`.
#[derive(Debug)]
pub(super) struct MsgKind;

const FIELDS: &[FieldDef] = &[
    FieldDef { name: "body", ty: FieldType::Str, doc: "what to say" },
    FieldDef {
        name: "priority",
        ty: FieldType::Str,
        doc: "`Emerg`, `Alert`, `Crit`, `Err`, `Warning`, `Notice`, `Info` (if absent) or `Debug`",
    },
    FieldDef {
        name: "fields",
        ty: FieldType::StrMap,
        doc: "more to say by name; names of letters, digits and `_`, beginning with a letter",
    },
    FieldDef { name: "journal", ty: FieldType::Bool, doc: "say it in systemd's journal, too" },
    FieldDef { name: "syslog", ty: FieldType::Bool, doc: "say it in syslog, too" },
];

/// How important a message is, as syslog counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Priority(u8);

const PRIORITIES: [(&str, Priority); 8] = [
    ("Emerg", Priority(0)),
    ("Alert", Priority(1)),
    ("Crit", Priority(2)),
    ("Err", Priority(3)),
    ("Warning", Priority(4)),
    ("Notice", Priority(5)),
    ("Info", Priority(6)),
    ("Debug", Priority(7)),
];

/// What a message has when it says nothing.
const INFO: Priority = Priority(6);

impl Kind for MsgKind {
    fn name(&self) -> &'static str {
        "msg"
    }

    fn fields(&self) -> &'static [FieldDef] {
        FIELDS
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
        let body = reader.owned("body").unwrap_or_default();
        if body.is_empty() {
            reader.refuse("body", "a message needs `body`".to_owned(), "add what to say");
        }
        let priority = reader.choice("priority", &PRIORITIES, INFO);
        let more = reader.map("fields");
        for name in more.keys().filter(|name| !is_field(name)) {
            let message = format!("`fields` has `{name}`, which cannot be a name");
            let help = "begin with a letter, go on with letters, digits and `_`; `message` and \
                        `priority` are taken";
            reader.refuse("fields", message, help);
        }
        let message = Message { body, priority, more };
        let (journal, syslog) = (reader.flag("journal"), reader.flag("syslog"));
        let said = AtomicBool::new(false);
        reader.done(Arc::new(Msg {
            id: id.clone(),
            message: Arc::new(message),
            journal,
            syslog,
            said,
        }) as Arc<dyn Resource>)
    }
}

fn is_field(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && upper != "MESSAGE"
        && upper != "PRIORITY"
}

/// What is said.
#[derive(Debug)]
struct Message {
    body: String,
    priority: Priority,
    more: BTreeMap<String, String>,
}

impl Message {
    /// In one line, for people.
    fn line(&self) -> String {
        let more = self.more.iter().map(|(name, value)| format!(" {name}={value}"));
        self.body.clone() + &more.collect::<String>()
    }

    fn log(&self, id: &ResourceId) {
        let line = self.line();
        match self.priority.0 {
            0..=3 => tracing::error!(resource = %id, "{line}"),
            4 => tracing::warn!(resource = %id, "{line}"),
            5 | 6 => tracing::info!(resource = %id, "{line}"),
            _ => tracing::debug!(resource = %id, "{line}"),
        }
    }
}

#[derive(Debug)]
struct Msg {
    id: ResourceId,
    message: Arc<Message>,
    journal: bool,
    syslog: bool,
    /// It was said since this resource is what it is.
    said: AtomicBool,
}

impl Msg {
    /// To the sockets that are asked for; the log is ours and cannot fail.
    async fn say(&self, journal: &'static Path, syslog: &'static Path) -> Result<(), String> {
        let (message, to_journal, to_syslog) =
            (Arc::clone(&self.message), self.journal, self.syslog);
        let send = move || {
            if to_journal {
                let why = "`journal` needs systemd's journal";
                socket::send(journal, &socket::journal_entry(&message), why)?;
            }
            if to_syslog {
                socket::send(syslog, &socket::syslog_line(&message), "`syslog` needs a syslog")?;
            }
            Ok(())
        };
        if self.journal || self.syslog {
            blocking(send).await?;
        }
        self.message.log(&self.id);
        Ok(())
    }
}

#[async_trait]
impl Resource for Msg {
    fn watches(&self) -> Vec<Watch> {
        Vec::new()
    }

    async fn run(&self, cx: &Context) -> Result<Outcome, String> {
        if self.said.load(Ordering::Relaxed) && !cx.refresh {
            return Ok(Outcome::Unchanged);
        }
        if !cx.apply {
            return Ok(Outcome::WouldChange("message said".to_owned()));
        }
        self.say(Path::new(socket::JOURNAL), Path::new(socket::SYSLOG)).await?;
        self.said.store(true, Ordering::Relaxed);
        Ok(Outcome::Changed("message said".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{Given, build, changed, context, mistakes, would_change};
    use super::*;
    use crate::spec::Value;

    #[tokio::test]
    async fn a_message_is_said_once_and_again_by_a_refresh() {
        let msg = build("msg", "m", &[("body", "hello")]).unwrap();
        let cx = context();
        let looking = Context { apply: false, ..cx.clone() };
        would_change(msg.run(&looking).await);
        changed(msg.run(&cx).await);
        assert_eq!(msg.run(&cx).await, Ok(Outcome::Unchanged));
        changed(msg.run(&Context { refresh: true, ..cx }).await);
    }

    #[test]
    fn the_priority_is_info_when_nothing_is_said() {
        assert!(PRIORITIES.contains(&("Info", INFO)));
        assert!(build("msg", "m", &[("body", "x")]).is_ok());
        assert!(build("msg", "m", &[("body", "x"), ("priority", "")]).is_ok());
    }

    #[test]
    fn every_mistake_is_reported() {
        let text = |text: &str| Value::Str(text.to_owned());
        let more = |names: &[&str]| {
            Value::Map(names.iter().map(|name| ((*name).to_owned(), text("x"))).collect())
        };
        let cases: [(Given, &[&str]); 4] = [
            (&[], &["body"]),
            (&[("body", text("")), ("priority", text("info"))], &["body", "priority"]),
            (&[("body", text("x")), ("fields", more(&["a_1", "B"]))], &[]),
            (
                &[("body", text("x")), ("fields", more(&["_a", "1", "a-b", "Message", ""]))],
                &["fields"; 5],
            ),
        ];
        for (fields, wrong) in cases {
            assert_eq!(mistakes("msg", "m", fields), wrong, "{fields:?}");
        }
    }

    #[test]
    fn a_line_holds_the_further_fields() {
        let more = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2 3".to_owned())].into();
        let message = Message { body: "hello".to_owned(), priority: INFO, more };
        assert_eq!(message.line(), "hello a=1 b=2 3");
    }
}
