//! The full-screen view of a cluster: from a view to lines and to a screen. Pure.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table};
use serde_json::Value;

use super::view::{Node, View};

/// The columns of the table of nodes and their widths.
const COLUMNS: [(&str, Constraint); 8] = [
    ("NODE", Constraint::Length(4)),
    ("ROLE", Constraint::Length(10)),
    ("STATE", Constraint::Length(15)),
    ("ADDRESS", Constraint::Length(15)),
    ("RESOURCES", Constraint::Fill(3)),
    ("EXPORTS", Constraint::Length(15)),
    ("SETTLED", Constraint::Length(7)),
    ("FAULTS", Constraint::Fill(1)),
];

/// What is shown.
pub(super) struct Panel {
    /// The cluster as it was looked at last; nothing before the first look.
    pub(super) view: Option<View>,
    /// Why the last look failed.
    pub(super) trouble: Option<String>,
    /// What is broken on purpose, a line each.
    pub(super) faults: Vec<String>,
    /// The time of day of the last look.
    pub(super) at: String,
}

/// Draws it over the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, cluster: &str, panel: &Panel) {
    let nodes = panel.view.as_ref().map_or(0, |view| view.nodes.len());
    let high = u16::try_from(nodes).unwrap_or(u16::MAX).saturating_add(3);
    let faults = u16::try_from(panel.faults.len()).unwrap_or(u16::MAX).saturating_add(2);
    let areas = Layout::vertical([
        Constraint::Length(2),
        Constraint::Max(high),
        Constraint::Fill(1),
        Constraint::Max(faults.min(10)),
        Constraint::Length(1),
    ])
    .split(frame.area());
    frame.render_widget(Paragraph::new(head(cluster, panel)), areas[0]);
    if let Some(view) = &panel.view {
        frame.render_widget(table(view), areas[1]);
        let lines = unsettled(view).into_iter().map(Line::from).collect::<Vec<_>>();
        let lines =
            if lines.is_empty() { vec![Line::from("all of it is as wanted")] } else { lines };
        frame.render_widget(Paragraph::new(lines).block(framed("not as wanted yet")), areas[2]);
    }
    let faults: Vec<Line<'_>> = panel.faults.iter().map(|line| Line::from(line.as_str())).collect();
    let faults = if faults.is_empty() { vec![Line::from("none")] } else { faults };
    frame.render_widget(Paragraph::new(faults).block(framed("faults")), areas[3]);
    frame.render_widget(Paragraph::new("q or ctrl-c ends it".dim()), areas[4]);
}

fn framed(title: &str) -> Block<'_> {
    Block::new().borders(Borders::TOP).title(title)
}

fn head(cluster: &str, panel: &Panel) -> Vec<Line<'static>> {
    let name = Span::from(format!("cluster {cluster}  ")).bold();
    let time = Span::from(format!("  {}", panel.at)).dim();
    let (word, colour) = match (&panel.trouble, &panel.view) {
        (Some(trouble), _) => (trouble.clone(), Color::Red),
        (None, None) => ("looking".to_owned(), Color::Yellow),
        (None, Some(view)) => match view.missing() {
            None => ("healthy".to_owned(), Color::Green),
            Some(missing) => (format!("degraded: {missing}"), Color::Yellow),
        },
    };
    let second = panel.view.as_ref().map(|view| {
        let leader = view.leader().unwrap_or("none");
        format!("leader {leader}  {}", view.seats())
    });
    let state = Span::styled(word, Style::new().fg(colour).add_modifier(Modifier::BOLD));
    vec![Line::from(vec![name, state, time]), Line::from(second.unwrap_or_default())]
}

fn table(view: &View) -> Table<'static> {
    let rows = view.nodes.iter().zip(cells(view)).map(|(node, cells)| {
        let colour = if node.healthy() { Color::Reset } else { Color::Yellow };
        Row::new(cells.into_iter().map(Cell::from)).style(Style::new().fg(colour))
    });
    let widths = COLUMNS.map(|(_, width)| width);
    let head = Row::new(COLUMNS.map(|(name, _)| name)).style(Style::new().bold());
    Table::new(rows, widths)
        .header(head)
        .block(Block::new().borders(Borders::TOP))
        .column_spacing(1)
}

/// The cells of each node.
fn cells(view: &View) -> Vec<Vec<String>> {
    let table = view.table();
    let each = view.nodes.iter().zip(table.into_iter().skip(1));
    each.map(|(node, mut row)| {
        let faults = row.pop().unwrap_or_default();
        let _client = row.pop();
        row.extend([resources(node), exchange(node), settled(node), faults]);
        row
    })
    .collect()
}

fn list(node: &Node) -> impl Iterator<Item = &Value> {
    node.agent["resources"].as_array().into_iter().flatten()
}

/// How many resources are in each state, the good ones first.
fn resources(node: &Node) -> String {
    const STATES: [&str; 6] = ["ok", "would-change", "running", "pending", "blocked", "failed"];
    if node.agent.is_null() {
        return "-".to_owned();
    }
    let count = |state: &str| list(node).filter(|one| one["state"] == state).count();
    let counts = STATES.iter().map(|state| (count(state), state)).filter(|(count, _)| *count > 0);
    let words: Vec<String> = counts.map(|(count, state)| format!("{count} {state}")).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(" ") }
}

/// What it gives and what it has taken, and whether the store is heard.
fn exchange(node: &Node) -> String {
    let number = |name: &str| node.agent[name].as_u64();
    match (number("exports"), number("collected")) {
        (Some(out), Some(taken)) => {
            let live = matches!(node.agent["store"]["state"].as_str(), Some("live") | None);
            let late = if live { "" } else { " stale" };
            format!("{out} out {taken} in{late}")
        }
        _ => "-".to_owned(),
    }
}

fn settled(node: &Node) -> String {
    match node.agent["converged"].as_bool() {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    }
    .to_owned()
}

/// A line for each resource that is not as wanted, and for what an agent has to say.
fn unsettled(view: &View) -> Vec<String> {
    let mut lines = Vec::new();
    for node in &view.nodes {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if let Some(error) = node.agent["graph"]["error"].as_str() {
            lines.push(format!("{:<4} graph: {error}", node.node));
        }
        for one in list(node) {
            let state = text(&one["state"]);
            if ["ok", "would-change"].contains(&state.as_str()) {
                continue;
            }
            let blocked = one["blocked_by"].as_array().into_iter().flatten();
            let blocked: Vec<String> = blocked.map(text).collect();
            let why = match one["error"].as_str() {
                Some(error) => format!(": {error}"),
                None if !blocked.is_empty() => format!(" by {}", blocked.join(", ")),
                None => String::new(),
            };
            lines.push(format!("{:<4} {} {state}{why}", node.node, text(&one["id"])));
        }
        for message in node.agent["messages"].as_array().into_iter().flatten() {
            lines.push(format!("{:<4} says: {}", node.node, text(message)));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::*;
    use crate::engine::State;

    fn node(number: usize, agent: Value) -> Node {
        let node = format!("h{number}");
        let (id, state) = (node.clone(), State::Running);
        Node { node, id, state, managed: true, ended: None, starved: false, agent }
    }

    fn panel() -> Panel {
        let member = |n: u8| json!({"host": format!("h{n}"), "role": "voter"});
        let agent = |resources: Value| {
            json!({"role": "voter", "converged": false, "exports": 2, "collected": 1,
                "resources": resources, "store": {"state": "live"}, "messages": ["disk is slow"],
                "cluster": {"leader": "h1", "quorum": true, "members": [member(1)]}})
        };
        let resources = json!([
            {"id": "file[a]", "state": "ok"},
            {"id": "file[b]", "state": "failed", "error": "no space left"},
            {"id": "file[c]", "state": "blocked", "blocked_by": ["file[b]"]},
        ]);
        let nodes = vec![node(1, agent(resources)), node(2, Value::Null)];
        let addresses = nodes.iter().map(|_| ("10.91.1.11".to_owned(), "c".to_owned())).collect();
        let view = View {
            cluster: "demo".to_owned(),
            nodes,
            voters: 1,
            addresses,
            cuts: BTreeSet::new(),
            wears: vec![],
        };
        let faults = vec!["h2 does not reach h1".to_owned()];
        Panel { view: Some(view), trouble: None, faults, at: "12:00:00".to_owned() }
    }

    fn screen(panel: &Panel, size: (u16, u16)) -> String {
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
        terminal.draw(|frame| draw(frame, "demo", panel)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn the_screen_names_members_leader_states_exports_and_faults() {
        let text = screen(&panel(), (120, 24));
        for part in [
            "cluster demo  degraded: h2 no answer",
            "leader h1  1 of 1 voter",
            "1 ok 1 blocked 1 failed",
            "2 out 1 in",
            "h1   file[b] failed: no space left",
            "h1   file[c] blocked by file[b]",
            "h1   says: disk is slow",
            "h2 does not reach h1",
            "q or ctrl-c ends it",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("file[a]"), "what is well needs no line\n{text}");
    }

    #[test]
    fn a_small_screen_and_no_answer_at_all_are_drawn_too() {
        screen(&panel(), (20, 5));
        let trouble = Some("there is no cluster demo".to_owned());
        let none = Panel { view: None, trouble, faults: vec![], at: String::new() };
        assert!(screen(&none, (60, 10)).contains("there is no cluster demo"));
        screen(&none, (1, 1));
    }
}
