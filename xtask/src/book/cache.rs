//! Which chapters need no run: those that were fine with the same text, files, rules, programs and
//! runner. A memory in the target folder and nothing more: without it everything is run.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};

use super::block::Chapter;
use super::fence::digest;
use super::library::Library;
use super::record::FileRecord;

/// Changes when the runner judges or runs in another way.
const RUNNER: &str = "1";
/// Its name in the folder of what the book makes.
const FILE: &str = "cache.json";

/// What is known of chapters, by name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Cache {
    chapters: BTreeMap<String, Known>,
}

/// A chapter that was fine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// All that it depends on.
    key: String,
    /// The redaction rules that fired.
    pub(crate) fired: Vec<String>,
}

/// All that a chapter depends on, in one word. `image` is the key of the nodes' image, `rules` the
/// text of the redaction rules.
pub(crate) fn key(
    chapter: &Chapter,
    files: &BTreeMap<String, FileRecord>,
    rules: &str,
    image: &str,
) -> String {
    let mut parts = vec![RUNNER.to_owned(), image.to_owned(), digest(&[rules.to_owned()])];
    parts.push(digest(&chapter.source.lines));
    parts.extend(files.iter().map(|(path, file)| format!("{path} {}", file.digest)));
    digest(&parts)
}

impl Cache {
    /// What is remembered; nothing where several people's runs must not mix, or when it cannot be
    /// read.
    pub(crate) fn load(library: &Library) -> Cache {
        if std::env::var_os("CI").is_some() {
            return Cache::default();
        }
        let text = fs::read_to_string(library.work().join(FILE)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// What is known of a chapter with this key.
    pub(crate) fn of(&self, chapter: &str, key: &str) -> Option<&Known> {
        self.chapters.get(chapter).filter(|known| known.key == key)
    }

    /// Remembers a chapter that was fine.
    pub(crate) fn keep(&mut self, chapter: &str, key: String, fired: Vec<String>) {
        self.chapters.insert(chapter.to_owned(), Known { key, fired });
    }

    /// Forgets a chapter that was not.
    pub(crate) fn forget(&mut self, chapter: &str) {
        self.chapters.remove(chapter);
    }

    /// Writes it down. Failing costs time later, nothing else.
    pub(crate) fn save(&self, library: &Library) {
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        let folder = library.work();
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(folder.join(FILE), text));
        drop(written);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fence_tests::chapter;
    use super::*;

    #[test]
    fn a_chapter_is_known_until_anything_that_it_depends_on_changes() {
        let text = "```console {node=h1 id=a}\n$ true\n```\n";
        let one = chapter(text).expect("a chapter");
        let files = BTreeMap::from([("x.yaml".to_owned(), FileRecord::of("a: 1\n"))]);
        let base = key(&one, &files, "rules", "image");
        let mut cache = Cache::default();
        cache.keep("c", base.clone(), vec!["id".to_owned()]);
        assert_eq!(cache.of("c", &base).map(|known| known.fired.len()), Some(1));
        let other = chapter(&text.replace("true", "false")).expect("a chapter");
        let more = BTreeMap::from([("x.yaml".to_owned(), FileRecord::of("a: 2\n"))]);
        for changed in [
            key(&other, &files, "rules", "image"),
            key(&one, &more, "rules", "image"),
            key(&one, &files, "others", "image"),
            key(&one, &files, "rules", "another"),
        ] {
            assert_eq!(cache.of("c", &changed), None);
        }
        cache.forget("c");
        assert_eq!(cache.of("c", &base), None);
    }
}
