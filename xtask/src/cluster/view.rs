//! What a cluster looks like: the engine's states and the agents' answers put together. Pure.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::cut::{self, Cut};
use super::diff::Listed;
use super::label;
use super::name;
use super::spec::CLIENT_PORT;
use super::wear::{self, Wear};
use crate::engine::State;
use crate::ui::counted;

/// Version of the JSON that `status` prints.
const SCHEMA: u32 = 1;

/// A node as it is seen from outside, and what its agent says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Host name.
    pub(crate) node: String,
    /// The container's id.
    pub(crate) id: String,
    /// State of its container.
    pub(crate) state: State,
    /// Whether an agent is meant to run in it.
    pub(crate) managed: bool,
    /// Exit code and whether memory ran out, where it has ended.
    pub(crate) ended: Option<(i64, bool)>,
    /// Whether one of its processes was killed for want of memory since it was started.
    pub(crate) starved: bool,
    /// `quorate status --json`; null where no agent answers.
    pub(crate) agent: Value,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Every node is as it should be.
    All,
    /// These nodes are.
    There(Vec<String>),
    /// This node is a member no more, and the others have a quorum.
    Gone(String),
}

impl Goal {
    /// Whether it cannot be reached once this node has ended.
    pub(crate) fn needs(&self, host: &str) -> bool {
        match self {
            Goal::All => true,
            Goal::There(hosts) => hosts.iter().any(|there| there == host),
            Goal::Gone(_) => false,
        }
    }
}

/// A cluster as it is seen from outside.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct View {
    /// Its name.
    pub(crate) cluster: String,
    /// Its nodes in order.
    pub(crate) nodes: Vec<Node>,
    /// How many are to vote.
    pub(crate) voters: usize,
    /// Address and published port of each node.
    pub(crate) addresses: Vec<(String, String)>,
    /// Who cannot reach whom at this time.
    pub(crate) cuts: BTreeSet<Cut>,
    /// Whose network is bad at this time, and how.
    pub(crate) wears: Vec<Wear>,
}

impl View {
    /// From what the engine lists of one cluster; the agents' answers are filled in later.
    pub(crate) fn new(cluster: &str, ours: &Listed, now: u64) -> View {
        let place = ours.place();
        let nodes: Vec<Node> = (ours.nodes().into_iter())
            .map(|(node, container)| Node {
                node,
                id: container.id.clone(),
                state: container.state,
                managed: label::get(&container.labels, label::AGENT) != "manual",
                ended: None,
                starved: false,
                agent: Value::Null,
            })
            .collect();
        let address = |node: &Node| match (name::number(&node.node), place) {
            (Some(n), Some(place)) if place.local() => {
                (place.address(n), format!("{}:{CLIENT_PORT}", place.address(n)))
            }
            (Some(n), Some(place)) => (place.address(n), format!("127.0.0.1:{}", place.port(n))),
            _ => ("-".to_owned(), "-".to_owned()),
        };
        View {
            cluster: cluster.to_owned(),
            addresses: nodes.iter().map(address).collect(),
            voters: ours.voters().min(nodes.len()),
            wears: wear::recorded(ours).into_iter().filter(|wear| wear.holds(now)).collect(),
            cuts: cut::recorded(ours).into_iter().filter(|cut| cut.holds(now)).collect(),
            nodes,
        }
    }

    /// Whether every node is as it should be and as many vote as wanted.
    pub(crate) fn healthy(&self) -> bool {
        let managed = self.nodes.iter().any(|node| node.managed);
        let voters = !managed || self.voting() == self.target();
        let all = self.nodes.iter().all(Node::healthy) && self.behind().is_empty();
        !self.nodes.is_empty() && voters && all
    }

    /// Nodes that vote already and have not noticed yet: their own word would contradict the count.
    fn behind(&self) -> Vec<&str> {
        let voters = self.voters_seen();
        let behind = |node: &&Node| {
            node.managed
                && node.healthy()
                && node.role() != "voter"
                && voters.contains(&node.node.as_str())
        };
        self.nodes.iter().filter(behind).map(|node| node.node.as_str()).collect()
    }

    /// How many members vote in the end: agents keep that number odd, an even one would not be
    /// safer. The one that is left over follows as a learner; one that votes already stays a voter
    /// when others leave.
    pub(crate) fn target(&self) -> usize {
        let wanted = self.wanted();
        let even = wanted.is_multiple_of(2) && self.voting() != wanted;
        if even { wanted.saturating_sub(1) } else { wanted }
    }

    /// How many vote, and how many are to, in words.
    pub(crate) fn seats(&self) -> String {
        format!("{} of {}", self.voting(), counted(self.target(), "voter"))
    }

    /// How many members are wanted to vote, as far as there are nodes for them.
    fn wanted(&self) -> usize {
        let said = self.asked().and_then(|node| node.agent["cluster"]["desired"].as_u64());
        let said = said.and_then(|said| usize::try_from(said).ok());
        said.map_or(self.voters, |said| said.min(self.nodes.len()))
    }

    /// The node whose word counts: the leader's, or else the first that knows one.
    fn asked(&self) -> Option<&Node> {
        let leads = self.nodes.iter().find(|node| node.leader() == Some(node.node.as_str()));
        leads.or_else(|| self.nodes.iter().find(|node| node.leader().is_some()))
    }

    /// The leader that the agents name.
    pub(crate) fn leader(&self) -> Option<&str> {
        self.nodes.iter().find_map(Node::leader)
    }

    /// How many members vote, as the leader's agent sees it, or else the first one that answers.
    pub(crate) fn voting(&self) -> usize {
        self.voters_seen().len()
    }

    fn voters_seen(&self) -> Vec<&str> {
        let members = self.asked().and_then(|node| node.agent["cluster"]["members"].as_array());
        let votes = |member: &&Value| member["role"] == "voter" && member["up"] != false;
        let names = members.into_iter().flatten().filter(votes);
        names.map(|member| member["host"].as_str().unwrap_or_default()).collect()
    }

    /// The nodes whose last lines may tell why a cluster is not ready: one that has ended or is not
    /// well, and the first, which founds the cluster and which the others wait for.
    pub(crate) fn telling(&self) -> Vec<&Node> {
        let first = self.nodes.first();
        let blamed = (self.nodes.iter().find(|node| node.ended.is_some()))
            .or_else(|| self.nodes.iter().find(|node| !node.healthy()))
            .or(first);
        let founder = first.filter(|first| blamed.is_some_and(|blamed| blamed.node != first.node));
        blamed.into_iter().chain(founder).collect()
    }

    /// What is still missing, as one sentence; nothing when it is healthy.
    pub(crate) fn missing(&self) -> Option<String> {
        if self.healthy() {
            return None;
        }
        let mut what: Vec<String> =
            (self.nodes.iter()).filter(|node| !node.healthy()).map(Node::account).collect();
        what.extend(self.behind().iter().map(|node| format!("{node} is about to vote")));
        if self.nodes.iter().any(|node| node.managed) {
            what.push(self.seats());
        }
        Some(what.join(", "))
    }

    /// What is still missing of something that is waited for, as one sentence.
    pub(crate) fn lacks(&self, goal: &Goal) -> Option<String> {
        match goal {
            Goal::All => self.missing(),
            Goal::There(hosts) => {
                let of = |node: &&Node| hosts.contains(&node.node) && !node.healthy();
                let what: Vec<String> = self.nodes.iter().filter(of).map(Node::account).collect();
                (!what.is_empty()).then(|| what.join(", "))
            }
            Goal::Gone(host) if self.nodes.iter().any(|node| node.managed) => {
                let Some(asked) = self.asked().filter(|node| node.quorum()) else {
                    return Some("no node has a quorum".to_owned());
                };
                let members = asked.agent["cluster"]["members"].as_array();
                let still = members.into_iter().flatten().any(|m| m["host"] == host.as_str());
                still.then(|| format!("{host} is a member still"))
            }
            Goal::Gone(_) => None,
        }
    }

    /// The table of `up` and `status`.
    pub(crate) fn table(&self) -> Vec<Vec<String>> {
        let head = ["NAME", "ROLE", "STATE", "ADDRESS", "CLIENT", "FAULTS"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for (node, (address, client)) in self.nodes.iter().zip(&self.addresses) {
            rows.push(vec![
                node.node.clone(),
                node.role(),
                node.condition(),
                address.clone(),
                client.clone(),
                self.faults(node),
            ]);
        }
        rows
    }

    fn faults(&self, node: &Node) -> String {
        let Some(number) = name::number(&node.node) else { return "-".to_owned() };
        let cuts = Some(cut::words(number, &self.cuts)).filter(|cuts| cuts != "-");
        let starved = node.starved.then(|| "ran out of memory".to_owned());
        let all = [cuts, wear::words(number, &self.wears), starved];
        let all: Vec<String> = all.into_iter().flatten().collect();
        if all.is_empty() { "-".to_owned() } else { all.join("; ") }
    }

    fn unreached(&self, node: &Node) -> Vec<String> {
        let of = |cut: &&Cut| name::number(&node.node) == Some(cut.node);
        self.cuts.iter().filter(of).map(|cut| name::node(cut.peer)).collect()
    }

    /// What is wrong with its network besides cuts, for JSON.
    fn told(&self, node: &Node) -> Vec<Value> {
        let own = |wear: &&Wear| name::number(&node.node) == Some(wear.node);
        self.wears.iter().filter(own).map(|wear| wear.json("in force")).collect()
    }

    /// What `status --json` prints.
    pub(crate) fn json(&self) -> Value {
        let node = |(node, (address, client)): (&Node, &(String, String))| {
            json!({
                "name": node.node,
                "role": node.role(),
                "state": node.condition(),
                "healthy": node.healthy(),
                "address": address,
                "client": client,
                "unreached": self.unreached(node),
                "faults": self.told(node),
                "exit": node.ended.map(|(code, _)| code),
                "out_of_memory": node.starved || node.ended.is_some_and(|(_, starved)| starved),
                "agent": node.agent,
            })
        };
        json!({
            "schema": SCHEMA,
            "cluster": self.cluster,
            "healthy": self.healthy(),
            "leader": self.leader(),
            "voters": {"wanted": self.target(), "voting": self.voting()},
            "nodes": self.nodes.iter().zip(&self.addresses).map(node).collect::<Vec<_>>(),
        })
    }
}

impl Node {
    /// Whether it is as it should be: its agent answers, has a store and knows a leader.
    pub(crate) fn healthy(&self) -> bool {
        let settled = ["voter", "learner", "volunteer", "client"].contains(&self.role().as_str());
        let runs = self.state == State::Running;
        runs && (!self.managed || (settled && self.leader().is_some() && self.quorum()))
    }

    fn quorum(&self) -> bool {
        self.agent["cluster"]["quorum"] == true
    }

    fn leader(&self) -> Option<&str> {
        self.agent["cluster"]["leader"].as_str()
    }

    /// Its role as its agent says it.
    pub(crate) fn role(&self) -> String {
        self.agent["role"].as_str().unwrap_or("-").to_owned()
    }

    /// In a word or two how it is.
    pub(crate) fn condition(&self) -> String {
        match self.state {
            State::Paused => return "paused".to_owned(),
            State::Created => return "not started".to_owned(),
            State::Exited => {
                return match self.ended {
                    Some((_, true)) => "out of memory".to_owned(),
                    Some((code, _)) => format!("exited with {code}"),
                    None => "exited".to_owned(),
                };
            }
            State::Other => return "changing".to_owned(),
            State::Running => {}
        }
        if self.agent.is_null() {
            let silent = if self.managed { "no answer" } else { "no agent" };
            return silent.to_owned();
        }
        if self.healthy() || !self.managed {
            let leads = self.leader() == Some(self.node.as_str());
            return if leads { "leader" } else { "healthy" }.to_owned();
        }
        match (self.role().as_str(), self.quorum()) {
            ("blocked", _) => "blocked".to_owned(),
            (_, false) => "no quorum".to_owned(),
            (_, true) => "joining".to_owned(),
        }
    }

    /// How it is, with the reason that its agent gives.
    fn account(&self) -> String {
        match self.agent["reason"].as_str() {
            Some(reason) if self.state == State::Running => {
                format!("{} {} ({reason})", self.node, self.condition())
            }
            _ => format!("{} {}", self.node, self.condition()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(host: &str, role: &str, leader: Option<&str>, voters: usize) -> Value {
        let members: Vec<Value> =
            (1..=voters).map(|n| json!({"host": format!("h{n}"), "role": "voter"})).collect();
        json!({
            "v": 1, "host": host, "role": role, "reason": null,
            "cluster": {"leader": leader, "quorum": leader.is_some(), "members": members},
        })
    }

    fn node(number: usize, state: State, agent: Value) -> Node {
        let node = format!("h{number}");
        Node { id: node.clone(), node, state, managed: true, ended: None, starved: false, agent }
    }

    fn view(nodes: Vec<Node>, voters: usize) -> View {
        let addresses = nodes.iter().map(|_| ("a".to_owned(), "c".to_owned())).collect();
        View {
            cluster: "demo".to_owned(),
            nodes,
            voters,
            addresses,
            cuts: BTreeSet::new(),
            wears: vec![],
        }
    }

    #[test]
    fn the_json_of_a_status_is_as_its_schema_says() {
        let broken = Node { ended: Some((1, false)), ..node(2, State::Exited, Value::Null) };
        let mut view = view(vec![running(1, "voter", Some("h1"), 1), broken], 1);
        let kind = wear::Kind::Loss(30);
        view.wears = vec![Wear { node: 1, kind, peers: vec![2], since: 1, until: None }];
        let schema = super::super::schema::of("status").unwrap();
        let told = view.json();
        assert_eq!(super::super::schema::differs(&schema, &told, "status"), None, "{told:#}");
    }

    #[test]
    fn a_node_that_is_not_well_and_the_one_that_it_waits_for_tell_why() {
        let well = |number| running(number, "voter", Some("h1"), 3);
        let mute = |number| node(number, State::Running, Value::Null);
        let ended =
            |number| Node { ended: Some((1, false)), ..node(number, State::Exited, Value::Null) };
        for (nodes, want) in [
            (vec![well(1), mute(2), mute(3)], vec!["h2", "h1"]),
            (vec![mute(1), mute(2), ended(3)], vec!["h3", "h1"]),
            (vec![mute(1), mute(2)], vec!["h1"]),
            (vec![well(1), well(2)], vec!["h1"]),
            (vec![], vec![]),
        ] {
            let view = view(nodes, 3);
            let told: Vec<&str> = view.telling().iter().map(|n| n.node.as_str()).collect();
            assert_eq!(told, want);
        }
    }

    fn running(number: usize, role: &str, leader: Option<&str>, voters: usize) -> Node {
        let host = format!("h{number}");
        node(number, State::Running, answer(&host, role, leader, voters))
    }

    #[test]
    fn a_cluster_is_healthy_when_all_answer_the_wanted_number_votes_and_one_leads() {
        let voter = |n, voters| running(n, "voter", Some("h2"), voters);
        let spare = |n| running(n, "volunteer", Some("h2"), 3);
        for (nodes, voters, missing) in [
            (vec![voter(1, 3), voter(2, 3), voter(3, 3)], 3, None),
            (vec![voter(1, 3), voter(2, 3), voter(3, 3), spare(4)], 3, None),
            (vec![voter(1, 2), voter(2, 2)], 3, Some("2 of 3 voters")),
            (
                vec![voter(1, 3), node(2, State::Running, Value::Null), voter(3, 3)],
                3,
                Some("h2 no answer, 3 of 3 voters"),
            ),
            (
                vec![voter(1, 2), voter(2, 2), running(3, "learner", Some("h2"), 2)],
                3,
                Some("2 of 3 voters"),
            ),
            (
                vec![voter(1, 3), voter(2, 3), running(3, "learner", Some("h2"), 3)],
                3,
                Some("h3 is about to vote, 3 of 3 voters"),
            ),
            (
                vec![voter(1, 2), voter(2, 2), running(3, "starting", Some("h2"), 2)],
                3,
                Some("h3 joining, 2 of 3 voters"),
            ),
            (vec![voter(1, 1), running(2, "learner", Some("h2"), 1)], 2, None),
            (vec![voter(1, 2), voter(2, 2)], 2, None),
            (vec![running(1, "voter", None, 0)], 1, Some("h1 no quorum, 0 of 1 voter")),
            (
                vec![voter(1, 1), Node { state: State::Paused, ..voter(2, 1) }],
                2,
                Some("h2 paused, 1 of 1 voter"),
            ),
        ] {
            let view = view(nodes, voters);
            assert_eq!(view.missing().as_deref(), missing);
            assert_eq!(view.healthy(), missing.is_none());
        }
        assert!(!view(vec![], 0).healthy());
    }

    #[test]
    fn as_many_are_to_vote_as_the_agents_say_and_as_there_are_nodes_for_and_an_odd_number() {
        for (nodes, said, target) in
            [(3, Some(3), 3), (5, Some(3), 3), (5, Some(5), 5), (4, Some(5), 3), (2, Some(3), 1)]
        {
            let node = |n| {
                let mut node = running(n, "voter", Some("h1"), 3);
                node.agent["cluster"]["desired"] = json!(said);
                node
            };
            assert_eq!(view((1..=nodes).map(node).collect(), 3).target(), target, "{nodes}");
        }
        let two = |n| {
            let mut node = running(n, "voter", Some("h1"), 2);
            node.agent["cluster"]["desired"] = json!(3);
            node
        };
        assert_eq!(view(vec![two(1), two(2)], 3).seats(), "2 of 2 voters", "one has left");
        assert_eq!(view(vec![running(1, "voter", None, 0)], 5).target(), 5);
    }

    #[test]
    fn a_goal_is_reached_when_its_own_nodes_are_there_or_its_host_is_no_member() {
        let voter = |n| running(n, "voter", Some("h1"), 3);
        let dead = Node { state: State::Exited, ..node(2, State::Exited, Value::Null) };
        let view = view(vec![voter(1), dead, voter(3)], 3);
        for (goal, lacks) in [
            (Goal::All, Some("h2 exited, 3 of 3 voters")),
            (Goal::There(vec!["h3".to_owned()]), None),
            (Goal::There(vec!["h2".to_owned(), "h3".to_owned()]), Some("h2 exited")),
            (Goal::Gone("h4".to_owned()), None),
            (Goal::Gone("h3".to_owned()), Some("h3 is a member still")),
        ] {
            assert_eq!(view.lacks(&goal).as_deref(), lacks, "{goal:?}");
        }
        assert!(!Goal::Gone("h2".to_owned()).needs("h2") && Goal::All.needs("h2"));
    }

    #[test]
    fn an_ended_node_tells_how_it_ended() {
        let ended = |ended| Node { ended, ..node(1, State::Exited, Value::Null) }.condition();
        assert_eq!(ended(Some((1, false))), "exited with 1");
        assert_eq!(ended(Some((137, true))), "out of memory");
        assert_eq!(ended(None), "exited");
    }

    #[test]
    fn nodes_whose_agent_is_started_by_hand_are_healthy_without_one() {
        let manual = Node { managed: false, ..node(1, State::Running, Value::Null) };
        let view = view(vec![manual], 1);
        assert!(view.healthy());
        assert_eq!(view.nodes[0].condition(), "no agent");
    }

    #[test]
    fn an_agent_that_is_blocked_says_why() {
        let mut blocked = running(1, "blocked", None, 0);
        blocked.agent["reason"] = json!("host name h1 is taken");
        assert_eq!(blocked.condition(), "blocked");
        assert_eq!(blocked.account(), "h1 blocked (host name h1 is taken)");
    }
}
