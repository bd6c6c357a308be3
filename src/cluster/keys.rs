//! The keys of the clustering and the JSON records behind them (3.2).
//!
//! Refuses to guess: a record that this version cannot read is `None`, never a default. Only fields
//! that came later have one. Refuses to compare clocks of hosts as well: what others wait for is a
//! number of seconds from when they first saw the record. [`super::writes`] says who writes what.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::identity::hex;
use super::timers::Timers;
use crate::ident::encode_segment;
use crate::store::PREFIX;

/// The version of the records' form.
pub const VERSION: u32 = 1;

/// The cluster's own record.
pub fn cluster() -> String {
    format!("{PREFIX}cluster")
}

/// How many voters are wanted.
pub fn size() -> String {
    format!("{PREFIX}size")
}

/// Who decides about members.
pub fn controller() -> String {
    format!("{PREFIX}controller")
}

/// The one change of membership that is under way.
pub fn change() -> String {
    format!("{PREFIX}change")
}

/// What the deciding host saw last, and why it does no more.
pub fn decision() -> String {
    format!("{PREFIX}decision")
}

/// Every finished change.
pub fn histories() -> String {
    format!("{PREFIX}history/")
}

/// A finished change. Padded, so that the keys sort by age.
pub fn history(seq: i64) -> String {
    format!("{PREFIX}history/{seq:020}")
}

/// Where the voters serve clients.
pub fn endpoints() -> String {
    format!("{PREFIX}endpoints")
}

/// What is known of a token.
pub fn token(id: &str) -> String {
    format!("{PREFIX}token/{}", encode_segment(id))
}

/// One kind of key that exists once per host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerHost {
    /// A live agent's claim to its name.
    Host,
    /// A host that is ready to serve.
    Volunteer,
    /// The order to a host to start its etcd.
    Nominate,
    /// A host that wants out.
    Leave,
    /// A host that said that it will be back.
    Away,
    /// A host that failed to join and is left alone for a while.
    Quarantine,
    /// What a person wants a host's agent to do.
    Order,
}

impl PerHost {
    fn word(self) -> &'static str {
        match self {
            PerHost::Host => "host",
            PerHost::Volunteer => "volunteer",
            PerHost::Nominate => "nominate",
            PerHost::Leave => "leave",
            PerHost::Away => "away",
            PerHost::Quarantine => "quarantine",
            PerHost::Order => "order",
        }
    }

    /// The prefix of all of them.
    pub fn all(self) -> String {
        format!("{PREFIX}{}/", self.word())
    }

    /// The key of one host.
    pub fn of(self, host: &str) -> String {
        format!("{PREFIX}{}/{}", self.word(), encode_segment(host))
    }

    /// The host of a key.
    pub fn host(self, key: &str) -> Option<String> {
        crate::ident::decode_segment(key.strip_prefix(&self.all())?)
    }
}

/// `cluster`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// [`VERSION`]
    pub v: u32,
    /// Made at bootstrap.
    pub uuid: String,
    /// The token of etcd, random per bootstrap.
    pub token: String,
    /// Seconds since 1970, for people.
    pub created: u64,
    /// Counts recoveries from a lost quorum.
    pub epoch: u64,
    /// How soon its members miss their leader; without it each goes by its own flags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timers: Option<Timers>,
}

/// `size`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeRecord {
    /// [`VERSION`]
    pub v: u32,
    /// How many voters.
    pub n: u16,
    /// Never fewer voters than this by any decision.
    #[serde(default = "one")]
    pub floor: u16,
    /// An even number of voters is wanted as well.
    #[serde(default)]
    pub allow_even: bool,
    /// The host that said so.
    pub by: String,
    /// Seconds since 1970, for people.
    pub at: u64,
}

fn one() -> u16 {
    1
}

/// `host/H`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// [`VERSION`]
    pub v: u32,
    /// The identity of the agent's state folder.
    pub instance: String,
    /// A hash of the machine's id.
    pub machine: String,
    /// The machine's boot, to tell a restart of the machine from one of the agent.
    #[serde(default)]
    pub boot: String,
    /// Tells the agent's state folder from a copy of it on the same machine.
    #[serde(default)]
    pub place: String,
    /// The agent's process.
    pub pid: u32,
    /// Seconds since 1970, for people.
    pub started: u64,
    /// The client URLs that its etcd has or would have.
    pub client: Vec<String>,
    /// The peer URLs that its etcd has or would have.
    #[serde(default)]
    pub peer: Vec<String>,
    /// What fails together with this host: voters are spread over zones.
    #[serde(default)]
    pub zone: Option<String>,
    /// The agent's version.
    pub version: String,
    /// The version of its etcd program.
    pub etcd: Option<String>,
}

/// `volunteer/H`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolunteerRecord {
    /// [`VERSION`]
    pub v: u32,
    /// The identity of the agent's state folder.
    pub instance: String,
    /// The peer URLs that its etcd would have.
    pub peer: Vec<String>,
    /// The client URLs that its etcd would have.
    pub client: Vec<String>,
    /// Seconds since 1970; only orders volunteers.
    pub since: u64,
    /// Not to be taken up before so many seconds.
    #[serde(default)]
    pub not_before: u64,
    /// The version of its etcd program.
    pub etcd: String,
}

/// `controller`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerRecord {
    /// [`VERSION`]
    pub v: u32,
    /// The host whose etcd leads.
    pub host: String,
    /// Its agent's instance.
    pub instance: String,
    /// Its member id.
    #[serde(with = "hex")]
    pub member: u64,
    /// The raft term that it leads in.
    pub term: u64,
}

/// What a ticket changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// A learner is added.
    Add,
    /// A learner becomes a voter.
    Promote,
    /// A member goes.
    Remove,
}

impl ChangeKind {
    /// The word for people: what is being done to the host.
    pub fn doing(self) -> &'static str {
        match self {
            ChangeKind::Add => "adding",
            ChangeKind::Promote => "giving a vote to",
            ChangeKind::Remove => "removing",
        }
    }
}

/// `change`: the ticket that makes changes one at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRecord {
    /// [`VERSION`]
    pub v: u32,
    /// Orders the changes.
    pub seq: i64,
    /// What is done.
    pub kind: ChangeKind,
    /// To which host.
    pub host: String,
    /// To which member; 0 for an add, whose member has no id yet.
    #[serde(with = "hex")]
    pub member: u64,
    /// The peer URLs of an added host.
    pub peer: Vec<String>,
    /// The deciding host.
    pub by: String,
    /// Seconds since 1970, for people.
    pub started: u64,
    /// Why, for people.
    pub why: String,
    /// How many seconds a decider tries before it calls the change off.
    #[serde(default = "change_deadline")]
    pub deadline: u64,
}

/// How many seconds a change may take.
pub fn change_deadline() -> u64 {
    15
}

/// `nominate/H`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NominateRecord {
    /// [`VERSION`]
    pub v: u32,
    /// Of the change that added the member.
    pub seq: i64,
    /// The member's id.
    #[serde(with = "hex")]
    pub member: u64,
    /// The cluster.
    pub uuid: String,
    /// Its token.
    pub token: String,
    /// `name=url` of every member, as the add answered.
    pub initial_cluster: Vec<String>,
}

/// `leave/H`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaveRecord {
    /// [`VERSION`]
    pub v: u32,
    /// The identity of the agent's state folder.
    pub instance: String,
    /// The member that is to go.
    #[serde(with = "hex")]
    pub member: u64,
    /// `leave` or `disk-lost`.
    pub reason: String,
    /// The wish is void after so many seconds; without this it stands until it is fulfilled.
    #[serde(default)]
    pub deadline: Option<u64>,
}

/// `away/H`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwayRecord {
    /// [`VERSION`]
    pub v: u32,
    /// How many seconds the absence is planned to take.
    pub seconds: u64,
    /// Why, for people.
    pub why: String,
}

/// `endpoints`: voters only, and never none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointsRecord {
    /// [`VERSION`]
    pub v: u32,
    /// The recovery that the list is of, as in [`ClusterRecord::epoch`].
    pub epoch: u64,
    /// Counts the lists.
    pub seq: u64,
    /// The voters, by host.
    pub list: Vec<Endpoint>,
}

/// One voter in [`EndpointsRecord`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its host.
    pub host: String,
    /// Its id.
    #[serde(with = "hex")]
    pub member: u64,
    /// Where it serves clients.
    pub urls: Vec<String>,
}

/// `quarantine/H`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineRecord {
    /// [`VERSION`]
    pub v: u32,
    /// How many seconds the host is left alone.
    pub seconds: u64,
    /// How often in a row it failed to join.
    pub fails: u32,
    /// Why, for people.
    pub why: String,
}

/// `order/H`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRecord {
    /// [`VERSION`]
    pub v: u32,
    /// `leave` or `restart`.
    pub what: String,
    /// The host on which it was asked for.
    pub by: String,
    /// Seconds since 1970, for people.
    pub at: u64,
}

/// `history/SEQ`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRecord {
    /// The ticket.
    pub change: ChangeRecord,
    /// `done`, or why not.
    pub outcome: String,
    /// Seconds since 1970, for people.
    pub ended: u64,
}

/// A record's value.
pub fn write<T: Serialize>(record: &T) -> Vec<u8> {
    // Only maps with keys that are no strings fail here, and no record has one.
    serde_json::to_vec(record).unwrap_or_default()
}

/// The record behind a value; `None` when it is not one of ours.
pub fn read<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_keys_are_taken_apart_again() {
        for host in ["h1", "h1.example", "a/b", "ü"] {
            let key = PerHost::Volunteer.of(host);
            assert_eq!(PerHost::Volunteer.host(&key).as_deref(), Some(host));
            assert_eq!(PerHost::Host.host(&key), None);
        }
        assert_eq!(PerHost::Host.of("h1"), "/quorate/1/host/h1");
    }

    #[test]
    fn member_ids_are_hex_text_since_json_numbers_lose_digits() {
        let record = LeaveRecord {
            v: VERSION,
            instance: "i".into(),
            member: 0x8e9e_05c5_2164_694d,
            reason: "leave".into(),
            deadline: None,
        };
        let text = String::from_utf8(write(&record)).unwrap();
        assert!(text.contains("\"8e9e05c52164694d\""), "{text}");
        assert_eq!(read(text.as_bytes()), Some(record));
        assert_eq!(read::<LeaveRecord>(b"{}"), None);
    }

    #[test]
    fn records_of_earlier_versions_are_read() {
        let host: HostRecord = read(
            br#"{"v":1,"instance":"i","machine":"","pid":7,"started":1,"client":["http://a:1"],
                "version":"0.1.0","etcd":null}"#,
        )
        .expect("a host record without boot, peer and zone");
        assert_eq!((host.boot.as_str(), host.peer.len(), host.zone), ("", 0, None));
        let size: SizeRecord = read(br#"{"v":1,"n":3,"by":"h1","at":0}"#).expect("a size");
        assert_eq!((size.floor, size.allow_even), (1, false));
        let change: ChangeRecord = read(
            br#"{"v":1,"seq":4,"kind":"add","host":"h2","member":"0000000000000000","peer":[],
                "by":"h1","started":0,"why":""}"#,
        )
        .expect("a change without a deadline");
        assert_eq!(change.deadline, 15);
        let leave: LeaveRecord =
            read(br#"{"v":1,"instance":"i","member":"0000000000000007","reason":"leave"}"#)
                .expect("a wish without a deadline");
        assert_eq!(leave.deadline, None);
        let offer: VolunteerRecord =
            read(br#"{"v":1,"instance":"i","peer":[],"client":[],"since":3,"etcd":"3.4.23"}"#)
                .expect("an offer for now");
        assert_eq!(offer.not_before, 0);
    }

    #[test]
    fn history_keys_sort_by_age() {
        assert!(history(9) < history(10));
        assert!(history(10).starts_with(&histories()));
    }
}
