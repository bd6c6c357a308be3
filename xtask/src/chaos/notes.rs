//! What the nodes export to each other while they fail: a note of each, which all collect. Pure.
//!
//! Refuses to judge where a note is missing: who reads the notes says where he looked.

/// Where a node's agent reads its graph.
pub(super) const GRAPH: &str = "/etc/quorate/site.yaml";
/// Prints all notes that a node has collected.
pub(super) const READ: &str = "cat /tmp/notes/* 2>/dev/null || true";

/// The graph of every node: exports a note with this text, and collects everybody's.
pub(super) fn graph(text: &str) -> String {
    format!(
        "graph: chaos
resources:
  file:
  - name: notes
    path: /tmp/notes/
    state: exists
  - name: \"@@note\"
    path: /tmp/note
    state: exists
    content: \"{text}\\n\"
collect:
- rule: notes
  kind: file
  where: {{name: note}}
  as: {{name: \"note-{{{{ host }}}}\"}}
  within: /tmp/notes/
  set: {{path: \"/tmp/notes/{{{{ host }}}}\"}}
"
    )
}

/// The text of the notes at one time of one schedule.
pub(super) fn text(when: &str, seed: u64) -> String {
    format!("note {when} seed {seed}.")
}

/// Whether each of so many nodes has the note of each, by all that was printed by all of them.
pub(super) fn everywhere(printed: &str, text: &str, nodes: u8) -> bool {
    printed.matches(text).count() == usize::from(nodes) * usize::from(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_to_have_the_note_of_every_node() {
        let (old, new) = (text("before", 7), text("after", 7));
        let mixed = format!("{new}\n{old}\n{new}\n{new}\n");
        assert!(!everywhere(&mixed, &new, 2));
        assert!(everywhere(&format!("{mixed}h2  {new}\n"), &new, 2));
        assert!(!everywhere("", &new, 2));
        assert!(!everywhere(&text("after", 71), &new, 1), "another schedule's note");
    }

    #[test]
    fn the_graph_has_the_text_once_and_its_templates_whole() {
        let graph = graph(&text("after", 7));
        assert_eq!(graph.matches("note after seed 7.").count(), 1);
        assert!(graph.contains(r#"path: "/tmp/notes/{{ host }}""#), "{graph}");
    }
}
