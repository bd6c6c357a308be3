//! Tasks that run for as long as the membership does, by name.
//!
//! Refuses to lose one silently: who goes on half alive neither serves nor makes room for another.

use std::collections::HashMap;

use tokio::task::{Id, JoinError, JoinSet};

/// Tasks of which none is meant to end by itself.
#[derive(Default)]
pub(super) struct Loops {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Loops {
    /// Starts one; the name is for people.
    pub(super) fn start(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.names.insert(self.tasks.spawn(task).id(), name);
    }

    /// Waits until one ends by itself, and says which and why; for ever while there is none.
    pub(super) async fn lost(&mut self) -> String {
        let Some(ended) = self.tasks.join_next_with_id().await else {
            return std::future::pending().await;
        };
        let (id, how) = match ended {
            Ok((id, ())) => (id, "came to an end".to_owned()),
            Err(error) => (error.id(), why(error)),
        };
        format!("{} {how}", self.names.get(&id).unwrap_or(&"a task"))
    }

    /// Ends all of them; they have ended afterwards.
    pub(super) async fn end(mut self) {
        // Aborted tasks hold the state folder until they have really ended.
        self.tasks.shutdown().await;
    }
}

fn why(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "was cancelled".into() };
    let words = panic.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("broke off: {}", words.unwrap_or("it does not say why"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_one_that_ends_is_named_with_its_reason_and_the_others_go_on() {
        let mut loops = Loops::default();
        loops.start("the look at members", std::future::pending());
        loops.start("the claim to the name", async { panic!("no {}", "lease") });
        assert_eq!(loops.lost().await, "the claim to the name broke off: no lease");
        loops.start("the care for certificates", async {});
        assert_eq!(loops.lost().await, "the care for certificates came to an end");
        let more = tokio::time::timeout(std::time::Duration::from_secs(1), loops.lost());
        assert!(more.await.is_err(), "the first one runs");
        loops.end().await;
    }

    #[tokio::test]
    async fn nothing_is_left_of_those_that_were_ended() {
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let mut loops = Loops::default();
        loops.start("a holder", async move {
            let _held = sender;
            std::future::pending().await
        });
        loops.end().await;
        assert!(receiver.await.is_err(), "what it held is free");
    }
}
