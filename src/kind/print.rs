//! The kind `print`: says a message each time it runs, in the log and as a line on standard output.
//!
//! Refuses to count as a change: a message is never wrong. Where changes are not allowed it stays
//! silent.

use std::io::Write;
use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Context, FieldDef, FieldError, FieldType, Kind, Outcome, Power, Resource, Watch, str_field,
};
use crate::ident::ResourceId;
use crate::spec::Fields;

/// The kind `print`.
#[derive(Debug)]
pub(super) struct PrintKind;

const FIELDS: &[FieldDef] = &[FieldDef {
    name: "msg",
    ty: FieldType::Str,
    doc: "what to say; the resource's name when absent",
}];

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
        let message = str_field(fields, "msg").unwrap_or(id.name()).to_owned();
        Ok(Arc::new(Print { id: id.clone(), message }))
    }
}

#[derive(Debug)]
struct Print {
    id: ResourceId,
    message: String,
}

#[async_trait]
impl Resource for Print {
    fn watches(&self) -> Vec<Watch> {
        Vec::new()
    }

    async fn run(&self, cx: &Context) -> Result<Outcome, String> {
        if !cx.apply {
            return Ok(Outcome::Unchanged);
        }
        tracing::info!(resource = %self.id, "{}", self.message);
        // The text may come from another host: it must not drive this terminal.
        let tame = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
        let text: String = format!("{}: {}", self.id, self.message).chars().map(tame).collect();
        let line = text + "\n";
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
