//! Names of clusters, nodes and of what they consist of. Pure.

use crate::paths::Exit;

/// Longest name of a cluster.
const LONGEST: usize = 20;
/// Most nodes of a cluster: a block of 32 ports holds them.
pub(crate) const MOST_NODES: u8 = 30;

/// Checks a cluster's name, as clap's parser.
///
/// # Errors
/// Says what a name looks like.
pub(crate) fn parse(text: &str) -> Result<String, String> {
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase());
    let holds = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if starts && holds && text.len() <= LONGEST {
        return Ok(text.to_owned());
    }
    Err(format!(
        "a cluster's name starts with a lower case letter and holds up to {LONGEST} lower case \
         letters, digits and hyphens"
    ))
}

/// Host name of the n-th node, from 1.
pub(crate) fn node(number: u8) -> String {
    format!("h{number}")
}

/// The n of host name `hn`; nothing for any other text.
pub(crate) fn number(node: &str) -> Option<u8> {
    let digits = node.strip_prefix('h')?;
    let number: u8 = digits.parse().ok()?;
    (number.to_string() == digits && (1..=MOST_NODES).contains(&number)).then_some(number)
}

/// Name of a node's container.
pub(crate) fn container(cluster: &str, node: &str) -> String {
    format!("quorate-{cluster}-{node}")
}

/// Name of the cluster's network.
pub(crate) fn network(cluster: &str) -> String {
    format!("quorate-{cluster}")
}

/// Name of the volume that says that the cluster was finished.
pub(crate) fn marker(cluster: &str) -> String {
    format!("quorate-{cluster}-made")
}

/// Name of the volume that holds a node's state where it outlives the node.
pub(crate) fn state(cluster: &str, node: &str) -> String {
    format!("quorate-{cluster}-state-{node}")
}

/// The error of a verb that needs a cluster which is not there.
pub(crate) fn no_cluster(cluster: &str) -> anyhow::Error {
    let name = if cluster == "demo" { String::new() } else { format!(" --name {cluster}") };
    Exit::error(
        Exit::ABSENT,
        format!("there is no cluster {cluster}. Start it: cargo xtask cluster up{name}"),
    )
}

/// The error of a verb that names a node which is not there.
pub(crate) fn no_node(cluster: &str, node: &str, there: &[String]) -> anyhow::Error {
    let text = format!("cluster {cluster} has no node {node}. It has {}", there.join(", "));
    Exit::error(Exit::ABSENT, text)
}

/// A small stable number for a name: where its subnet and ports are looked for first.
pub(crate) fn hash(name: &str) -> u8 {
    use sha2::{Digest, Sha256};
    Sha256::digest(name.as_bytes())[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clusters_name_is_a_short_lower_case_word() {
        for (text, fine) in [
            ("demo", true),
            ("a", true),
            ("book-export-7f3a", true),
            ("abcdefghijklmnopqrst", true),
            ("abcdefghijklmnopqrstu", false),
            ("", false),
            ("1a", false),
            ("-a", false),
            ("Demo", false),
            ("a_b", false),
            ("a/b", false),
            ("dämo", false),
        ] {
            assert_eq!(parse(text).is_ok(), fine, "{text}");
        }
    }

    #[test]
    fn only_the_names_that_nodes_get_are_nodes() {
        for (text, wanted) in [
            ("h1", Some(1)),
            ("h30", Some(30)),
            ("h31", None),
            ("h0", None),
            ("h01", None),
            ("x1", None),
            ("h", None),
            ("h+1", None),
        ] {
            assert_eq!(number(text), wanted, "{text}");
        }
    }
}
