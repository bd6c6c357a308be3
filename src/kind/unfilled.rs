//! A resource in the place of one that lacks a value which another one has to send.
//!
//! Refuses to run with less than was asked for: a key of the store whose value has not come yet
//! would otherwise be removed.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Context, Outcome, Resource, Watch};
use crate::ident::ResourceId;

/// What runs while `field` lacks what `from` sends under `key`.
pub fn unfilled(field: &str, from: &ResourceId, key: &str) -> Arc<dyn Resource> {
    let why = format!(
        "`{field}` comes from {from}, which has not sent `{key}` yet; see its state, or write a \
         `{field}` to begin with"
    );
    Arc::new(Unfilled { why })
}

#[derive(Debug)]
struct Unfilled {
    why: String,
}

#[async_trait]
impl Resource for Unfilled {
    fn watches(&self) -> Vec<Watch> {
        Vec::new()
    }

    async fn run(&self, cx: &Context) -> Result<Outcome, String> {
        match cx.apply {
            true => Err(self.why.clone()),
            // The sender may not be allowed to change anything either, and so has nothing to send.
            false => Ok(Outcome::WouldChange(self.why.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{context, would_change};
    use super::*;

    #[tokio::test]
    async fn it_fails_by_the_name_of_the_sender_and_only_waits_where_nothing_may_change() {
        let waiting = unfilled("value", &ResourceId::new("exec", "x"), "stdout");
        let error = waiting.run(&context()).await.unwrap_err();
        assert!(error.starts_with("`value` comes from exec[x], which has not sent `stdout`"));
        would_change(waiting.run(&Context { apply: false, ..context() }).await);
    }
}
