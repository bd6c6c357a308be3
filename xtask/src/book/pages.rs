//! The pages of the whole book, rendered from the records: what both ways into mdBook use. It
//! starts no process.

use std::collections::BTreeMap;

use super::library::Library;
use super::{provenance, render};
use crate::paths::Exit;

/// Page texts by path below the book's `src`. Every stale record is an error.
pub(crate) fn render_all(library: &Library) -> anyhow::Result<BTreeMap<String, String>> {
    let stamp = provenance::current(library);
    let rules = library.rules()?;
    let all = library.pages()?;
    let mut texts = BTreeMap::new();
    let mut problems = Vec::new();
    for page in &all {
        let record = library.record(&page.chapter.name)?;
        let files = library.files(&page.chapter);
        let (record, files) = (&record, &files);
        let sources = render::Sources { record, files, rules: &rules, stamp: stamp.as_ref() };
        match render::page(&page.chapter, &sources) {
            Ok(text) => drop(texts.insert(page.path.clone(), text)),
            Err(drifts) => problems.extend(drifts.iter().map(|drift| drift.report())),
        }
    }
    for orphan in library.orphans(&all) {
        let path = library.record_path(&orphan);
        problems.push(format!("{path} belongs to no chapter; remove it\n"));
    }
    if problems.is_empty() {
        return Ok(texts);
    }
    Err(Exit::error(Exit::FAILED, format!("the records are stale\n{}", problems.concat())))
}
