//! What an agent does when it starts, as a table (3.5).
//!
//! Refuses to found a cluster whenever the folder knows of one or seeds were given.

use super::identity::Phase;

/// What is known when the decision is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// How far the folder had come.
    pub phase: Phase,
    /// Whose log etcd has written in the folder.
    pub data: Data,
    /// The folder knows a cluster.
    pub knows_cluster: bool,
    /// `--seeds` named somebody other than ourselves.
    pub seeds: bool,
    /// Who answered.
    pub contact: Contact,
    /// Whether this host can serve.
    pub server: Server,
}

/// Whether a host can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// It has an etcd program.
    Etcd,
    /// It was told never to.
    Never,
    /// It has no etcd program.
    Nowhere,
}

/// Whose data of etcd a folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// There are none.
    None,
    /// This member's, as far as can be told.
    Ours,
    /// Those of another member: the folder was exchanged.
    Foreign,
}

/// Who answered at the seeds and at the endpoints that the folder remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// Nobody.
    Silent,
    /// Only members of another cluster than the folder's.
    Foreign,
    /// The cluster; is our member in its list?
    Answers(Listed),
}

/// Whether our member id is in the cluster's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Yes.
    Yes,
    /// No, or we have no id.
    No,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Found a cluster with a new uuid and token.
    Found,
    /// Go on founding with what is stored: nobody can have joined yet.
    FoundAgain,
    /// Ask seeds and remembered endpoints until they answer, then volunteer.
    Seek,
    /// Start etcd with the stored list.
    Spawn,
    /// Put the data aside and volunteer.
    Archive,
    /// The data are gone: ask for the removal of the old member, then volunteer.
    DiskLost,
    /// Finish leaving, then volunteer.
    FinishLeaving,
    /// Refuse: etcd data without identity.
    RefuseData,
    /// Refuse: the data are gone and nobody answers.
    RefuseLost,
    /// Refuse: only another cluster answers.
    RefuseForeign,
    /// Refuse: it never serves, and has nobody to ask.
    RefuseNoSeeds,
    /// Refuse: it would found a cluster and has no etcd.
    RefuseNoEtcd,
}

/// Decides.
pub fn decide(facts: Facts) -> Start {
    use Start::{Archive, DiskLost, FinishLeaving, Found, FoundAgain, Spawn};
    match (facts.server, table(facts)) {
        (Server::Never, Found) => Start::RefuseNoSeeds,
        (Server::Nowhere, Found | FoundAgain) => Start::RefuseNoEtcd,
        // Without etcd the data stay as they are: it may be installed again.
        (
            Server::Never | Server::Nowhere,
            FoundAgain | Spawn | Archive | DiskLost | FinishLeaving,
        ) => Start::Seek,
        (_, start) => start,
    }
}

/// The table. A member with data starts even when a stranger answers at a seed: its own peers may
/// still come, and etcd itself keeps clusters with different ids apart.
fn table(facts: Facts) -> Start {
    use Contact::{Answers, Foreign, Silent};
    // Data of another member are as good as none, and must never be started with.
    let wal = facts.data == Data::Ours;
    match (facts.phase, wal, facts.contact) {
        (Phase::None, _, _) if facts.data != Data::None => Start::RefuseData,
        (Phase::None, _, Foreign) => Start::RefuseForeign,
        (Phase::None, _, _) if facts.seeds || facts.knows_cluster => Start::Seek,
        (Phase::None, _, _) => Start::Found,
        (Phase::Bootstrapping, _, _) => Start::FoundAgain,
        (Phase::Joining, _, Answers(Listed::Yes)) if facts.data == Data::Foreign => Start::Archive,
        (Phase::Joining, _, Answers(Listed::Yes)) => Start::Spawn,
        (Phase::Joining, _, Answers(Listed::No)) => Start::Archive,
        (Phase::Joining | Phase::Member, true, Silent | Foreign) => Start::Spawn,
        (Phase::Joining, false, Silent) => Start::Seek,
        (Phase::Joining | Phase::Member, false, Foreign) => Start::RefuseForeign,
        (Phase::Member, true, Answers(Listed::Yes)) => Start::Spawn,
        (Phase::Member, true, Answers(Listed::No)) => Start::Archive,
        (Phase::Member, false, Answers(Listed::Yes)) => Start::DiskLost,
        (Phase::Member, false, Answers(Listed::No)) => Start::Archive,
        (Phase::Member, false, Silent) => Start::RefuseLost,
        // Its vote may be needed for its own removal: the data stay until the others took it out.
        (Phase::Leaving, true, Silent | Foreign | Answers(Listed::Yes)) => Start::Spawn,
        (Phase::Leaving, _, Answers(Listed::No)) => Start::Archive,
        (Phase::Leaving, false, Answers(Listed::Yes)) => Start::FinishLeaving,
        (Phase::Leaving, false, Silent | Foreign) => Start::Seek,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Contact::{Answers, Foreign, Silent};

    const PHASES: [Phase; 5] =
        [Phase::None, Phase::Bootstrapping, Phase::Joining, Phase::Member, Phase::Leaving];
    const CONTACTS: [Contact; 4] = [Silent, Foreign, Answers(Listed::Yes), Answers(Listed::No)];

    const SERVERS: [Server; 3] = [Server::Etcd, Server::Never, Server::Nowhere];
    const DATA: [Data; 3] = [Data::None, Data::Ours, Data::Foreign];

    fn all() -> Vec<Facts> {
        let mut all = Vec::new();
        for bits in 0..4 {
            let bit = |n: u8| bits >> n & 1 == 1;
            for phase in PHASES {
                for (data, server) in DATA.into_iter().flat_map(|d| SERVERS.map(|s| (d, s))) {
                    all.extend(CONTACTS.map(|contact| Facts {
                        phase,
                        data,
                        knows_cluster: bit(0),
                        seeds: bit(1),
                        contact,
                        server,
                    }));
                }
            }
        }
        all
    }

    #[test]
    fn a_cluster_is_founded_only_by_a_folder_that_knows_nothing() {
        for facts in all() {
            let clean = facts.phase == Phase::None && facts.data == Data::None;
            let alone = !facts.seeds && !facts.knows_cluster && facts.contact != Foreign;
            let able = facts.server == Server::Etcd;
            assert_eq!(decide(facts) == Start::Found, clean && alone && able, "{facts:?}");
        }
    }

    #[test]
    fn who_cannot_serve_leaves_its_data_as_they_are_and_looks_for_the_cluster() {
        for facts in all().into_iter().filter(|f| f.server != Server::Etcd) {
            let served = decide(Facts { server: Server::Etcd, ..facts });
            let never = facts.server == Server::Never;
            let want = match served {
                Start::RefuseData | Start::RefuseLost | Start::RefuseForeign => served,
                Start::Found if never => Start::RefuseNoSeeds,
                Start::Found | Start::FoundAgain if !never => Start::RefuseNoEtcd,
                _ => Start::Seek,
            };
            assert_eq!(decide(facts), want, "{facts:?}");
        }
    }

    #[test]
    fn etcd_is_never_started_as_existing_on_an_empty_folder_that_was_a_member() {
        for facts in all().into_iter().filter(|f| f.phase == Phase::Member) {
            let spawned = decide(facts) == Start::Spawn;
            assert!(!spawned || facts.data == Data::Ours, "{facts:?}");
        }
    }

    #[test]
    fn nobody_starts_with_the_data_of_another_member() {
        let told = |phase| matches!(phase, Phase::Joining | Phase::Member | Phase::Leaving);
        for facts in all().into_iter().filter(|f| f.data == Data::Foreign && told(f.phase)) {
            assert_ne!(decide(facts), Start::Spawn, "{facts:?}");
        }
    }

    #[test]
    fn the_table_of_the_design_holds() {
        let facts = |phase, data, contact| Facts {
            phase,
            data,
            knows_cluster: phase != Phase::None,
            seeds: true,
            contact,
            server: Server::Etcd,
        };
        use Data::Ours;
        for (phase, data, contact, want) in [
            (Phase::None, Data::None, Silent, Start::Seek),
            (Phase::None, Data::None, Answers(Listed::No), Start::Seek),
            (Phase::None, Ours, Silent, Start::RefuseData),
            (Phase::None, Ours, Foreign, Start::RefuseData),
            (Phase::Bootstrapping, Data::None, Silent, Start::FoundAgain),
            (Phase::Bootstrapping, Ours, Silent, Start::FoundAgain),
            (Phase::Joining, Data::None, Answers(Listed::Yes), Start::Spawn),
            (Phase::Joining, Ours, Answers(Listed::Yes), Start::Spawn),
            (Phase::Joining, Data::None, Answers(Listed::No), Start::Archive),
            (Phase::Member, Ours, Silent, Start::Spawn),
            (Phase::Member, Ours, Foreign, Start::Spawn),
            (Phase::Member, Ours, Answers(Listed::Yes), Start::Spawn),
            (Phase::Member, Ours, Answers(Listed::No), Start::Archive),
            (Phase::Member, Data::None, Answers(Listed::Yes), Start::DiskLost),
            (Phase::Member, Data::None, Silent, Start::RefuseLost),
            (Phase::Member, Data::Foreign, Answers(Listed::Yes), Start::DiskLost),
            (Phase::Member, Data::Foreign, Silent, Start::RefuseLost),
            (Phase::Leaving, Ours, Answers(Listed::Yes), Start::Spawn),
            (Phase::Leaving, Data::None, Answers(Listed::Yes), Start::FinishLeaving),
            (Phase::None, Data::None, Foreign, Start::RefuseForeign),
        ] {
            let got = decide(facts(phase, data, contact));
            assert_eq!(got, want, "{phase:?} {data:?} {contact:?}");
        }
    }
}
