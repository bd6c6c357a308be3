//! The picture of a cluster: from the status of its nodes to lines on record, and from those to
//! SVG. Pure.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::fmt::Write as _;

use serde_json::Value;

/// One node in the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    host: String,
    role: String,
    up: bool,
    leader: bool,
}

/// What each node said, by host name, as lines for the record: one per node, then the leader.
pub(crate) fn describe(statuses: &[(String, Option<Value>)]) -> Vec<String> {
    let mut roles: BTreeMap<&str, &str> = BTreeMap::new();
    let mut leader = None;
    // The leader's host sees a change of members first: what it says comes last and stands.
    let leads = |(host, status): &&(String, Option<Value>)| {
        status.as_ref().is_some_and(|one| one["cluster"]["leader"] == host.as_str())
    };
    let views = statuses.iter().chain(statuses.iter().filter(leads));
    for status in views.filter_map(|(_, status)| status.as_ref()) {
        let cluster = &status["cluster"];
        leader = leader.or_else(|| cluster["leader"].as_str());
        for member in cluster["members"].as_array().into_iter().flatten() {
            if let (Some(host), Some(role)) = (member["host"].as_str(), member["role"].as_str()) {
                roles.insert(host, role);
            }
        }
    }
    let mut lines: Vec<String> = statuses
        .iter()
        .map(|(host, status)| {
            let own = status.as_ref().and_then(|status| status["role"].as_str());
            let role = roles.get(host.as_str()).copied().or(own).unwrap_or("unknown");
            format!("node {host} {role} {}", if status.is_some() { "up" } else { "down" })
        })
        .collect();
    lines.push(format!("leader {}", leader.unwrap_or("none")));
    lines
}

/// Whether two descriptions show the same nodes in the same roles. Who leads is chance and not
/// compared, whether anyone does is.
pub(crate) fn same(one: &[String], other: &[String]) -> bool {
    let plain = |lines: &[String]| -> Vec<String> {
        let short = |line: &String| match line.strip_prefix("leader ") {
            Some("none") => line.clone(),
            Some(_) => "leader".to_owned(),
            None => line.clone(),
        };
        lines.iter().map(short).collect()
    };
    plain(one) == plain(other)
}

fn read(lines: &[String]) -> Vec<Node> {
    let leader = lines.iter().find_map(|line| line.strip_prefix("leader "));
    let node = |line: &String| {
        let mut words = line.strip_prefix("node ")?.split(' ');
        let (host, role, state) = (words.next()?, words.next()?, words.next()?);
        let (up, leader) = (state == "up", leader == Some(host));
        Some(Node { host: host.to_owned(), role: role.to_owned(), up, leader })
    };
    lines.iter().filter_map(node).collect()
}

/// Half the width of the picture, in its own units.
const CENTRE: f64 = 200.0;
/// Distance of the nodes from the centre.
const RADIUS: f64 = 130.0;
/// Size of a node.
const DISC: f64 = 34.0;

/// The picture, coloured by the page's style sheet. The same lines give the same bytes.
pub(crate) fn svg(lines: &[String], caption: &str) -> String {
    let nodes = read(lines);
    let place = |index: usize| {
        let angle = TAU * index as f64 / nodes.len().max(1) as f64 - TAU / 4.0;
        (CENTRE + RADIUS * angle.cos(), CENTRE + RADIUS * angle.sin())
    };
    let lowest = (0..nodes.len()).map(|index| place(index).1).fold(0.0, f64::max);
    let height = lowest + DISC + 30.0;
    let mut svg = format!("<svg viewBox=\"0 0 400 {height:.0}\" role=\"img\" class=\"topology\">");
    // Writing to a string cannot fail.
    let _ok = write!(svg, "<title>{}</title>", escape(caption));
    for (one, a) in nodes.iter().enumerate() {
        for (other, b) in nodes.iter().enumerate().skip(one + 1) {
            if !(linked(a) && linked(b)) {
                continue;
            }
            let ((x1, y1), (x2, y2)) = (place(one), place(other));
            let class = if a.up && b.up { "link" } else { "link cut" };
            let _ok = write!(
                svg,
                "<line class=\"{class}\" data-edge=\"{}-{}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" \
                 x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>",
                a.host, b.host
            );
        }
    }
    for (index, node) in nodes.iter().enumerate() {
        let (x, y) = place(index);
        let mut class = String::from("node");
        class.push_str(if node.up { " up" } else { " down" });
        class.push_str(if node.leader && node.up { " leader" } else { "" });
        let role = match (node.up, node.leader) {
            (false, _) => "down",
            (true, true) => "leader",
            (true, false) => &node.role,
        };
        let _ok = write!(
            svg,
            "<g class=\"{class}\" data-node=\"{host}\"><circle cx=\"{x:.1}\" cy=\"{y:.1}\" \
             r=\"{DISC}\"/><text x=\"{x:.1}\" y=\"{y:.1}\">{host}</text>\
             <text class=\"role\" x=\"{x:.1}\" y=\"{below:.1}\">{role}</text></g>",
            host = escape(&node.host),
            below = y + DISC + 18.0,
            role = escape(role),
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Members of the store talk to each other; volunteers and clients do not.
fn linked(node: &Node) -> bool {
    matches!(node.role.as_str(), "voter" | "learner")
}

/// Text for HTML and XML.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn statuses() -> Vec<(String, Option<Value>)> {
        let cluster = json!({"leader": "h2", "members": [
            {"host": "h1", "role": "voter"}, {"host": "h2", "role": "voter"},
            {"host": "h3", "role": "voter"}]});
        let status = |role: &str| Some(json!({"role": role, "cluster": cluster}));
        vec![
            ("h1".into(), status("voter")),
            ("h2".into(), status("voter")),
            ("h3".into(), None),
            ("h4".into(), status("volunteer")),
        ]
    }

    #[test]
    fn the_description_names_each_node_its_role_and_the_leader() {
        let lines = describe(&statuses());
        assert_eq!(
            lines,
            [
                "node h1 voter up",
                "node h2 voter up",
                "node h3 voter down",
                "node h4 volunteer up",
                "leader h2"
            ]
        );
        assert_eq!(describe(&[("h1".into(), None)]), ["node h1 unknown down", "leader none"]);
    }

    #[test]
    fn another_leader_is_the_same_picture_and_no_leader_is_another() {
        let lines = describe(&statuses());
        let change = |to: &str| {
            let mut other = lines.clone();
            other[4] = format!("leader {to}");
            other
        };
        assert!(same(&lines, &change("h1")));
        assert!(!same(&lines, &change("none")));
        assert!(!same(&lines, &lines[1..]));
    }

    #[test]
    fn the_picture_has_one_element_per_node_and_one_per_link() {
        let svg = svg(&describe(&statuses()), "a <b>");
        assert_eq!(svg.matches("data-node=").count(), 4);
        assert_eq!(svg.matches("data-edge=").count(), 3, "only members are linked");
        assert_eq!(svg.matches("class=\"link cut\"").count(), 2);
        assert!(svg.contains("<title>a &lt;b&gt;</title>"));
    }
}
