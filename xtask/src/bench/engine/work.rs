//! The same work in each tool's own language: N files of 100 distinct bytes with mode 0644.
//!
//! Pure. Refuses to run anything.

use std::fmt::Write as _;
use std::path::Path;

/// How the files depend on one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// No order.
    Flat,
    /// Each after the one before it.
    Chain,
    /// All but the first and the last after the first, and the last after them.
    Wide,
    /// Each after up to four earlier ones, drawn by a fixed rule.
    Random,
}

impl Shape {
    /// The pairs (first, second).
    pub(super) fn edges(self, n: usize) -> Vec<(usize, usize)> {
        match self {
            Shape::Flat => Vec::new(),
            Shape::Chain => (1..n).map(|at| (at - 1, at)).collect(),
            Shape::Wide => {
                let between = 1..n.saturating_sub(1);
                between.flat_map(|at| [(0, at), (at, n - 1)]).collect()
            }
            Shape::Random => {
                let mut edges: Vec<_> = (1..n).flat_map(|at| draw(at).map(|to| (to, at))).collect();
                edges.sort_unstable();
                edges.dedup();
                edges
            }
        }
    }
}

/// Four numbers below `bound`, always the same ones (Weyl sequence, then a multiplicative mix).
fn draw(bound: usize) -> [usize; 4] {
    std::array::from_fn(|k| {
        let seed = (bound * 4 + k + 1) as u64;
        let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
        let mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        usize::try_from(mixed % bound as u64).unwrap_or_default()
    })
}

/// What file number `at` holds, without the line's end.
pub(super) fn line(at: usize) -> String {
    format!("{at:08} {}", "x".repeat(90))
}

/// What file number `at` holds.
pub(super) fn content(at: usize) -> String {
    line(at) + "\n"
}

/// The name of file number `at`.
pub(super) fn name(at: usize) -> String {
    format!("f{at:06}")
}

/// Our graph. What `more` holds stands before the files, at the level of the kinds.
pub(super) fn quorate(shape: Shape, n: usize, target: &Path, more: &str) -> String {
    let target = target.display();
    let mut text = format!("graph: bench\nresources:\n{more}  file:\n");
    for at in 0..n {
        let (name, line) = (name(at), line(at));
        // Writing to a string cannot fail.
        let _ok = write!(
            text,
            "  - name: {name}\n    path: {target}/{name}\n    mode: '0644'\n    content: \
             \"{line}\\n\"\n"
        );
    }
    let edges = shape.edges(n);
    if !edges.is_empty() {
        text.push_str("edges:\n");
    }
    for (index, (from, to)) in edges.into_iter().enumerate() {
        let (from, to) = (name(from), name(to));
        let _ok = write!(
            text,
            "- name: e{index}\n  from: {{kind: file, name: {from}}}\n  to: {{kind: file, name: \
             {to}}}\n"
        );
    }
    text
}

/// A policy for `cf-agent`.
pub(super) fn cfengine(shape: Shape, n: usize, target: &Path) -> String {
    let target = target.display();
    let mut text = "body common control\n{\n  bundlesequence => { \"main\" };\n}\n\
        body perms m644\n{\n  mode => \"644\";\n  rxdirs => \"false\";\n}\n\
        body agent control\n{\n  ifelapsed => \"0\";\n}\nbundle agent main\n{\nfiles:\n"
        .to_owned();
    for at in 0..n {
        let (name, line) = (name(at), line(at));
        let chain = shape == Shape::Chain;
        let handle = if chain { format!("    handle => \"h{at}\",\n") } else { String::new() };
        let needs = match at.checked_sub(1) {
            Some(before) if chain => format!("    depends_on => {{ \"h{before}\" }},\n"),
            _ => String::new(),
        };
        let _ok = write!(
            text,
            "  \"{target}/{name}\"\n{handle}{needs}    create => \"true\",\n    perms => \
             m644,\n    content => \"{line}$(const.n)\";\n"
        );
    }
    text + "}\n"
}

/// A manifest for `puppet apply`.
pub(super) fn puppet(shape: Shape, n: usize, target: &Path) -> String {
    let target = target.display();
    let mut text = String::new();
    for at in 0..n {
        let (name, line) = (name(at), line(at));
        let needs = match at.checked_sub(1).map(self::name) {
            Some(before) if shape == Shape::Chain => {
                format!("  require => File['{target}/{before}'],\n")
            }
            _ => String::new(),
        };
        let _ok = write!(
            text,
            "file {{ '{target}/{name}':\n  ensure  => file,\n  mode    => '0644',\n{needs}  \
             content => \"{line}\\n\",\n}}\n"
        );
    }
    text
}

/// States for `salt-call`.
pub(super) fn salt(shape: Shape, n: usize, target: &Path) -> String {
    let target = target.display();
    let mut text = String::new();
    for at in 0..n {
        let (name, line) = (name(at), line(at));
        let needs = match at.checked_sub(1).map(self::name) {
            Some(before) if shape == Shape::Chain => {
                format!("    - require:\n      - file: {target}/{before}\n")
            }
            _ => String::new(),
        };
        let _ok = write!(
            text,
            "{target}/{name}:\n  file.managed:\n    - mode: '0644'\n    - contents: \
             \"{line}\"\n{needs}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_holds_100_bytes_of_its_own() {
        assert!([0, 7, 99_999].iter().all(|at| content(*at).len() == 100));
        assert_ne!(content(1), content(2));
    }

    #[test]
    fn edges_lead_from_earlier_files_to_later_ones() {
        for shape in [Shape::Flat, Shape::Chain, Shape::Wide, Shape::Random] {
            for n in [0, 1, 2, 3, 50] {
                let edges = shape.edges(n);
                assert!(edges.iter().all(|(from, to)| from < to && *to < n), "{shape:?} {n}");
            }
        }
        assert_eq!(Shape::Wide.edges(4), [(0, 1), (1, 3), (0, 2), (2, 3)]);
        assert!(Shape::Random.edges(1000).len() > 3000);
    }

    #[test]
    fn each_tool_gets_all_files_and_the_order() {
        let target = Path::new("/t");
        for text in [
            quorate(Shape::Chain, 3, target, ""),
            cfengine(Shape::Chain, 3, target),
            puppet(Shape::Chain, 3, target),
            salt(Shape::Chain, 3, target),
        ] {
            assert!((0..3).all(|at| text.contains(&line(at))), "{text}");
            assert!((0..3).all(|at| text.contains(&format!("/t/{}", name(at)))), "{text}");
        }
    }
}
