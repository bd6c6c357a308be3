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

/// The read that is under way.
#[derive(Default)]
pub(super) struct Reading {
    task: Option<JoinHandle<Loaded>>,
    /// Something happened to the file since it began.
    again: bool,
    /// What failed is to be looked at again after it.
    revive: bool,
}

impl Reading {
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
        if self.reading.task.is_some() {
            self.reading.again = true;
            return;
        }
        let (path, before) = (path.clone(), Arc::clone(&self.source));
        let read = move || source::load_again(&path, &before);
        self.reading.task = Some(tokio::task::spawn_blocking(read));
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
        if std::mem::take(&mut self.reading.again) {
            self.reload();
        } else if std::mem::take(&mut self.reading.revive) {
            self.feed(Event::Revive).await;
        }
    }

    /// Makes the file's graph anew after this change of what it says.
    async fn take(&mut self, change: impl FnOnce(&mut Source)) {
        change(Arc::make_mut(&mut self.source));
        self.say_changed();
        self.graph_error = None;
        self.rebuild().await;
    }

    /// Takes an edit: what it touches is all that is compiled, if it concerns nobody else.
    async fn edited(&mut self, edit: Edit, text: String) {
        let everywhere = self.settings.everywhere();
        let amended =
            edit.in_place.then(|| desired::amend(&self.graph, &edit.resources, &everywhere));
        let Some(graph) = amended.flatten() else {
            return self.take(|source| source.apply(edit, text)).await;
        };
        Arc::make_mut(&mut self.source).apply(edit, text);
        self.say_changed();
        self.publish_own();
        self.look_outside().await;
        if !Arc::ptr_eq(&graph, &self.graph) {
            self.run_graph(graph).await;
        }
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
