//! The kind `print`: says a message each time it runs, in the log and as a line on standard output.
//!
//! Refuses to count as a change: a message is never wrong. Where changes are not allowed it stays
//! silent.

use std::io::Write;
use std::sync::Arc;

use async_trait::async_trait;

use super::fields::flag;
use super::{
    Context, FieldDef, FieldError, FieldType, Kind, Outcome, Power, Resource, Watch, str_field,
};
use crate::ident::ResourceId;
use crate::spec::Fields;

/// The kind `print`.
#[derive(Debug)]
pub(super) struct PrintKind;

const FIELDS: &[FieldDef] = &[
    FieldDef {
        name: "msg",
        ty: FieldType::Str,
        doc: "what to say; the resource's name when absent",
    },
    FieldDef {
        name: "refresh_only",
        ty: FieldType::Bool,
        doc: "say it only when a notifying edge refreshes it",
    },
];

impl Kind for PrintKind {
    fn name(&self) -> &'static str {
        "print"
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
        let message = match str_field(fields, "msg") {
            None => id.name(),
            Some("") => "<empty>",
            Some(message) => message,
        };
        let refresh_only = flag(fields, "refresh_only");
        Ok(Arc::new(Print { id: id.clone(), message: message.to_owned(), refresh_only }))
    }
}

#[derive(Debug)]
struct Print {
    id: ResourceId,
    message: String,
    refresh_only: bool,
}

impl Print {
    /// The line that this run says, if any. The text may come from another host: it must not drive
    /// this terminal.
    fn line(&self, cx: &Context) -> Option<String> {
        let tame = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
        let said = cx.apply && (cx.refresh || !self.refresh_only);
        said.then(|| format!("{}: {}", self.id, self.message).chars().map(tame).collect())
    }
}

#[async_trait]
impl Resource for Print {
    fn watches(&self) -> Vec<Watch> {
        Vec::new()
    }

    async fn run(&self, cx: &Context) -> Result<Outcome, String> {
        let Some(line) = self.line(cx) else {
            return Ok(Outcome::Unchanged);
        };
        tracing::info!(resource = %self.id, "{}", self.message);
        let line = line + "\n";
        // Standard output may be a pipe that nobody reads; that must not hold up the loop.
        tokio::task::spawn_blocking(move || {
            let mut out = std::io::stdout().lock();
            out.write_all(line.as_bytes()).and_then(|()| out.flush())
        })
        .await
        .map_err(|error| format!("the printing task ended early: {error}"))?
        .map_err(|error| format!("cannot write to standard output: {error}; give the agent one"))?;
        Ok(Outcome::Unchanged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_said_when_it_may_be_and_by_a_refresh_alone_if_so_wanted() {
        let print = |refresh_only, message: &str| Print {
            id: ResourceId::new("print", "p"),
            message: message.to_owned(),
            refresh_only,
        };
        let cx = |apply, refresh| Context { apply, refresh, ..super::super::trial::context() };
        let said = Some("print[p]: hi".to_owned());
        assert_eq!(print(false, "hi").line(&cx(true, false)), said);
        assert_eq!(print(true, "hi").line(&cx(true, true)), said);
        assert_eq!(print(true, "hi").line(&cx(true, false)), None);
        assert_eq!(print(false, "hi").line(&cx(false, true)), None);
        let tamed = print(false, "a\u{1b}[2J").line(&cx(true, false));
        assert_eq!(tamed.as_deref(), Some("print[p]: a\u{fffd}[2J"));
    }
}
