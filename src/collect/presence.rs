//! Whether this host may publish: who holds its presence, and what to do about that.
//!
//! Refuses to take the presence from another agent that is alive: two of them with one name would
//! replace each other's exports for ever.

use crate::collect::publish::{Own, Session};
use crate::collect::roster::Present;
use crate::store::LeaseId;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Me {
    /// One state folder.
    pub instance: String,
    /// One process.
    pub run: String,
}

impl Me {
    /// Continues `session`.
    pub fn session(&self, session: &str) -> Session {
        Session {
            instance: self.instance.clone(),
            run: self.run.clone(),
            session: session.to_owned(),
            at: None,
        }
    }
}

/// Who has the presence instead of us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rival {
    /// Another state folder.
    Instance(String),
    /// Another process with a copy of our state folder.
    Copy,
    /// Somebody who writes it in another form.
    Unknown,
}

/// What to do about the presence of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is ours, of this process or of an earlier one that this one continues.
    Ours {
        /// The lease to keep alive.
        lease: LeaseId,
        /// The session to continue.
        session: String,
        /// The revision to publish under.
        revision: i64,
    },
    /// Nobody has it, or nobody keeps it alive.
    Free {
        /// The revision of the key that has to be replaced, if there is one.
        replaces: Option<i64>,
    },
    /// Another agent has it; publish nothing until it goes.
    Taken {
        /// Who.
        by: Rival,
    },
}

/// How we stand to what the store holds of our host. `written` is the revision of our last write to
/// its exports, 0 if there was none.
pub fn standing(me: &Me, present: Option<&Present>, own: &Own, written: i64) -> Standing {
    let Some(present) = present else { return Standing::Free { replaces: None } };
    let Some(lease) = present.lease else {
        // Without a lease it would stay for ever, so it does not say that anybody is alive.
        return Standing::Free { replaces: Some(present.revision) };
    };
    match &present.presence {
        None => Standing::Taken { by: Rival::Unknown },
        Some(other) if other.instance != me.instance => {
            Standing::Taken { by: Rival::Instance(other.instance.clone()) }
        }
        Some(_) if is_copied(me, own, written) => Standing::Taken { by: Rival::Copy },
        Some(ours) => {
            Standing::Ours { lease, session: ours.session.clone(), revision: present.revision }
        }
    }
}

/// Another process wrote after us under our own name. The one that came last stays, so that two
/// copies do not replace each other's exports for ever.
fn is_copied(me: &Me, own: &Own, written: i64) -> bool {
    let other = own.publisher.as_ref().is_some_and(|publisher| publisher.run != me.run);
    written > 0 && other && own.revision > Some(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::record::{Presence, Publisher};

    fn me() -> Me {
        Me { instance: "me".to_owned(), run: "r".to_owned() }
    }

    #[test]
    fn a_presence_is_continued_only_by_its_own_instance() {
        let lease = Some(LeaseId(5));
        let of = |instance| Some(Presence::new(instance, "s"));
        let ours = Standing::Ours { lease: LeaseId(5), session: "s".to_owned(), revision: 7 };
        let taken = |by| Standing::Taken { by };
        let free = |replaces| Standing::Free { replaces };
        let cases = [
            (None, free(None)),
            (Some((of("me"), lease)), ours),
            (Some((of("me"), None)), free(Some(7))),
            (Some((of("other"), None)), free(Some(7))),
            (Some((of("other"), lease)), taken(Rival::Instance("other".to_owned()))),
            (Some((None, lease)), taken(Rival::Unknown)),
        ];
        for (given, wanted) in cases {
            let present = given.map(|(presence, lease)| Present { presence, revision: 7, lease });
            let found = standing(&me(), present.as_ref(), &Own::default(), 0);
            assert_eq!(found, wanted, "{present:?}");
        }
    }

    #[test]
    fn the_later_of_two_copies_of_a_state_folder_stays() {
        let present = Present {
            presence: Some(Presence::new("me", "s")),
            revision: 7,
            lease: Some(LeaseId(5)),
        };
        let cases = [
            ("r", 9, 9, false, "our own write"),
            ("other", 9, 0, false, "an earlier process wrote it; we have not written yet"),
            ("other", 8, 9, false, "we wrote after it"),
            ("other", 9, 8, true, "it wrote after us"),
            ("r", 9, 8, false, "our own write whose answer was lost"),
        ];
        for (run, revision, written, copied, why) in cases {
            let session = Session { run: run.to_owned(), ..me().session("s") };
            let publisher = Some(Publisher::new(&session, 1));
            let own = Own { revision: Some(revision), publisher, ..Own::default() };
            let found = standing(&me(), Some(&present), &own, written);
            assert_eq!(found == Standing::Taken { by: Rival::Copy }, copied, "{why}");
        }
    }
}
