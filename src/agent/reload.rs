//! The graph file read again, on a thread of its own: however large it is, the loop goes on.
//!
//! Refuses to read twice at a time: what happens to the file during a read leads to one more.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::body::Body;
use super::desired;
use super::settings::Input;
use super::source::{self, Again, Refused, Source};
use crate::engine::Event;
use crate::yaml::Edit;

/// What came of it.
pub(super) type Loaded = Result<Again, Refused>;

/// The read that is under way. The deciding part: what happens during a read is not forgotten.
#[derive(Default)]
pub(super) struct Reading {
    task: Option<JoinHandle<Loaded>>,
    /// Something happened to the file since it began.
    again: bool,
    /// What failed is to be looked at again after it.
    revive: bool,
}

/// What is to be done when a read came to its end.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// The file may have changed meanwhile.
    ReadAgain,
    /// To look again at what failed.
    Revive,
    Nothing,
}

impl Reading {
    /// Has the file read; once more after the read that is under way, if there is one.
    fn begin(&mut self, read: impl FnOnce() -> Loaded + Send + 'static) {
        match self.task {
            Some(_) => self.again = true,
            None => self.task = Some(tokio::task::spawn_blocking(read)),
        }
    }

    /// A read was taken in.
    fn ended(&mut self) -> Next {
        if std::mem::take(&mut self.again) {
            return Next::ReadAgain;
        }
        match std::mem::take(&mut self.revive) {
            true => Next::Revive,
            false => Next::Nothing,
        }
    }

    /// What came of the read; for ever when none is under way.
    pub(super) async fn next(&mut self) -> Loaded {
        let Some(task) = &mut self.task else { return std::future::pending().await };
        let done = task.await;
        self.task = None;
        done.unwrap_or_else(|failure| {
            let summary = format!("the graph file was not read to its end: {failure}");
            Err(Refused { report: format!("error: {summary}\n"), summary })
        })
    }
}

impl Body {
    /// The graph file may have changed: reads it.
    pub(super) fn reload(&mut self) {
        let Input::Yaml(path) = &self.settings.input else { return };
        let (path, before) = (path.clone(), Arc::clone(&self.source));
        let rules = self.settings.rules.clone();
        self.reading.begin(move || source::load_again(&path, rules.as_deref(), &before));
    }

    /// Reads the graph file, and then looks again at what failed.
    pub(super) async fn look_again(&mut self) {
        self.reload();
        match self.reading.task {
            Some(_) => self.reading.revive = true,
            None => self.feed(Event::Revive).await,
        }
    }

    /// Takes the file when it is good, keeps the graph when it is not.
    pub(super) async fn loaded(&mut self, loaded: Loaded) {
        let failing = self.graph_error.is_some();
        match loaded {
            Ok(Again::Same) if !failing => {}
            Ok(Again::Same) => self.take(|_| {}).await,
            Ok(Again::Edited(edit, text)) if !failing => self.edited(edit, text).await,
            Ok(Again::Edited(edit, text)) => self.take(|source| source.apply(edit, text)).await,
            Ok(Again::Whole(new, warnings)) => {
                warn_each(&warnings);
                self.take(|source| *source = new).await;
            }
            Err(refused) => self.refused(refused),
        }
        match self.reading.ended() {
            Next::ReadAgain => self.reload(),
            Next::Revive => self.feed(Event::Revive).await,
            Next::Nothing => {}
        }
    }

    /// Makes the file's graph anew after this change of what it says.
    async fn take(&mut self, change: impl FnOnce(&mut Source)) {
        change(Arc::make_mut(&mut self.source));
        self.local = self.local.anew();
        self.say_changed();
        self.graph_error = None;
        self.rebuild().await;
    }

    /// Takes an edit: what it touches is all that is compiled, if it concerns nobody else.
    async fn edited(&mut self, edit: Edit, text: String) {
        let everywhere = self.settings.everywhere();
        // What is collected is judged against what the file says.
        let alone = self.source.program.collect.is_empty();
        let amended = (alone && edit.in_place)
            .then(|| desired::amend(&self.graph, &edit.resources, &everywhere));
        let Some(graph) = amended.flatten() else {
            return self.take(|source| source.apply(edit, text)).await;
        };
        Arc::make_mut(&mut self.source).apply(edit, text);
        self.local = self.local.anew();
        self.say_changed();
        self.look_outside().await;
        self.forget_awaited();
        if !Arc::ptr_eq(&graph, &self.graph) {
            self.run_graph(graph).await;
        }
        self.publish_own();
    }

    fn say_changed(&self) {
        if let Input::Yaml(path) = &self.settings.input {
            let name = &self.source.program.name;
            tracing::info!("{} changed: graph `{name}`", path.display());
        }
    }

    fn refused(&mut self, refused: Refused) {
        if self.graph_error.as_ref() != Some(&refused.summary) {
            warn_each(&refused.report);
            tracing::error!("{}; the graph before it keeps running", refused.summary);
        }
        self.graph_error = Some(refused.summary);
    }
}

/// A report of several lines as log lines.
pub(super) fn warn_each(report: &str) {
    for line in report.lines().filter(|line| !line.trim().is_empty()) {
        tracing::warn!("{line}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn an_edit_during_a_read_is_not_lost() {
        let (go, wait) = mpsc::channel();
        let mut reading = Reading::default();
        reading.begin(move || {
            wait.recv().expect("the test lets it go on");
            Ok(Again::Same)
        });
        reading.revive = true;
        reading.begin(|| unreachable!("one read at a time"));
        reading.begin(|| unreachable!("one read at a time"));
        go.send(()).expect("it waits");
        assert!(matches!(reading.next().await, Ok(Again::Same)));
        assert_eq!(reading.ended(), Next::ReadAgain);
        reading.begin(|| Ok(Again::Same));
        assert!(matches!(reading.next().await, Ok(Again::Same)));
        assert_eq!(reading.ended(), Next::Revive, "which waited for the newest text");
        assert_eq!(reading.ended(), Next::Nothing);
    }

    #[tokio::test]
    async fn a_read_that_fails_is_refused_and_the_next_one_can_begin() {
        let mut reading = Reading::default();
        reading.begin(|| panic!("a mistake of ours"));
        let Err(Refused { summary, .. }) = reading.next().await else { panic!("it was read") };
        assert!(summary.starts_with("the graph file was not read to its end"), "{summary}");
        assert_eq!(reading.ended(), Next::Nothing);
        reading.begin(|| Ok(Again::Same));
        assert!(matches!(reading.next().await, Ok(Again::Same)));
    }
}
