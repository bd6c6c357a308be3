//! The membership of this host: what [`crate::cluster::roles`] commands is begun here, and what
//! happens is told to it.
//!
//! Refuses to decide what is done next, and to wait for one thing only.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use nix::sys::signal::Signal;
use tokio::sync::mpsc;

use super::child::Exit;
use super::rpc::Probe;
use super::{Agent, member, readdress, serve};
use crate::cluster::keys::NominateRecord;
use crate::cluster::roles::{Command, Event, Follows, Membership, Nomination, Pace, Why};
use crate::cluster::start::Start;
use crate::cluster::writes::Claim;

/// An event, and what comes with it.
struct Heard {
    event: Event,
    words: Option<String>,
    /// The claim that an offer was written with.
    claim: Option<Claim>,
}

impl From<Event> for Heard {
    fn from(event: Event) -> Self {
        Heard { event, words: None, claim: None }
    }
}

impl Heard {
    fn with(event: Event, words: String) -> Self {
        Heard { event, words: Some(words), claim: None }
    }
}

/// Says how what is in hand goes, while it goes on.
#[derive(Clone)]
pub(super) struct Tell(mpsc::UnboundedSender<Heard>);

impl Tell {
    /// Nobody answers yet.
    pub(super) fn silent(&self, why: String) {
        self.0.send(Heard::with(Event::Silent, why)).ok();
    }

    /// Who answers turns us away.
    pub(super) fn barred(&self, why: String) {
        self.0.send(Heard::with(Event::Barred, why)).ok();
    }
}

/// Keeps the membership, for as long as it is polled.
pub(super) async fn run(agent: &Arc<Agent>, first: Start) {
    let (tell, told) = mpsc::unbounded_channel();
    let identity = agent.folder.identity();
    let begin = Event::Begin { start: first, phase: identity.phase, member: identity.member };
    let mut shell = Shell {
        agent,
        machine: Membership::new(agent.etcd.is_some(), agent.no_rejoin),
        clock: Instant::now(),
        happened: VecDeque::from([begin.into()]),
        tell: Tell(tell),
        told,
        work: None,
        child: None,
        look: None,
        pace: None,
        probe: None,
        order: None,
        revision: None,
        nomination: None,
        held: None,
        lost: None,
    };
    loop {
        let heard = match shell.happened.pop_front() {
            Some(heard) => heard,
            None => shell.wait().await,
        };
        shell.held = heard.claim.or(shell.held);
        for command in shell.machine.step(shell.clock.elapsed(), heard.event) {
            shell.act(command, heard.words.as_deref());
        }
    }
}

/// What runs for the machine.
struct Shell<'a> {
    agent: &'a Arc<Agent>,
    machine: Membership,
    clock: Instant,
    /// What is to be told to the machine before anything else.
    happened: VecDeque<Heard>,
    tell: Tell,
    told: mpsc::UnboundedReceiver<Heard>,
    /// The command in hand.
    work: Option<(Command, BoxFuture<'a, Heard>)>,
    /// The end of the child.
    child: Option<BoxFuture<'a, Exit>>,
    /// The next look at our etcd, and how it was timed.
    look: Option<BoxFuture<'a, Option<Probe>>>,
    pace: Option<Pace>,
    /// What our etcd answered last.
    probe: Option<Probe>,
    /// The next state of the order for us, after the revision that was seen last.
    order: Option<BoxFuture<'a, (Option<NominateRecord>, i64)>>,
    revision: Option<i64>,
    nomination: Option<NominateRecord>,
    /// The claim that our offer was written with, and its end.
    held: Option<Claim>,
    lost: Option<BoxFuture<'a, ()>>,
}

impl<'a> Shell<'a> {
    /// Does what is commanded, or begins it.
    fn act(&mut self, command: Command, heard: Option<&str>) {
        let agent = self.agent;
        let work: BoxFuture<'a, Heard> = match command {
            Command::Say(role, why) => return agent.say(role, words(agent, why, heard)),
            Command::Tell(why, follows) => {
                return tell(&words(agent, why, heard).unwrap_or_default(), follows);
            }
            Command::Kill => {
                return agent.child().into_iter().for_each(|c| c.signal(Signal::SIGKILL));
            }
            Command::UseOwn => return serve::use_own(agent),
            Command::Found => return self.stored(member::found(agent)),
            Command::Follow => return self.stored(member::follow(agent, self.nomination.as_ref())),
            Command::Clear(reason) => return self.stored(agent.folder.archive(reason)),
            Command::Archive(reason) => return self.stored(member::abandon(agent, reason)),
            Command::Seek => {
                let tell = self.tell.clone();
                Box::pin(async move {
                    member::seek(agent, &tell).await;
                    Event::Done.into()
                })
            }
            Command::Offer { since, not_before } => {
                let since = agent.started + since.as_secs();
                Box::pin(async move {
                    let claim = member::volunteer(agent, since, not_before).await;
                    Heard { claim: Some(claim), ..Event::Done.into() }
                })
            }
            Command::Readdress => Box::pin(async move {
                readdress::through_others(agent).await;
                Event::Done.into()
            }),
            Command::Spawn(mode) => {
                Box::pin(async move { outcome(agent, serve::spawn(agent, mode).await) })
            }
            Command::Accept { mode, votes } => {
                let probe = self.probe.clone();
                Box::pin(async move {
                    let accepted = match probe {
                        Some(probe) => serve::accept(agent, mode, votes, &probe).await,
                        None => Err(io::Error::other("etcd has not said what it is")),
                    };
                    outcome(agent, accepted)
                })
            }
            Command::Correct => Box::pin(async move {
                let right = readdress::through_own(agent).await;
                if right { Event::Done.into() } else { Event::Failed.into() }
            }),
            Command::GiveUp(reason) => {
                let tell = self.tell.clone();
                Box::pin(async move {
                    member::give_up_member(agent, reason, &tell).await;
                    Event::Done.into()
                })
            }
        };
        self.work = Some((command, work));
    }

    fn stored(&mut self, result: io::Result<()>) {
        self.happened.push_back(outcome(self.agent, result));
    }

    /// Waits until something happens that the machine wants to know.
    async fn wait(&mut self) -> Heard {
        self.arm();
        let due = self.machine.until().map(|until| self.clock + until);
        let agent = self.agent;
        tokio::select! {
            biased;
            Some(heard) = self.told.recv() => heard,
            exit = outcome_of(&mut self.child) => {
                agent.serving.send_replace(None);
                agent.set_child(None);
                let others = agent.others_have_quorum();
                let event = Event::ChildEnded { cause: exit.cause(), others };
                Heard::with(event, exit.sentence())
            }
            heard = async {
                match &mut self.work {
                    Some((_, work)) => work.await,
                    None => std::future::pending().await,
                }
            } => {
                self.work = None;
                heard
            }
            (nomination, revision) = outcome_of(&mut self.order) => {
                self.revision = Some(revision);
                self.nomination = nomination;
                let order = self.nomination.as_ref();
                let order = order.map(|o| Nomination { seq: o.seq, member: o.member });
                Event::Order(order).into()
            }
            () = outcome_of(&mut self.lost) => Event::Claim.into(),
            () = agent.unlisted.notified() => Event::Unlisted.into(),
            probe = outcome_of(&mut self.look) => {
                self.probe = probe;
                let health = self.probe.as_ref().map(|probe| serve::health(agent, probe));
                let quorum = agent.status.borrow().cluster.as_ref().is_some_and(|c| c.quorum);
                let words = health.filter(|h| !h.ours).map(|_| serve::stranger(agent));
                Heard { words, ..Event::Look { health, quorum }.into() }
            }
            () = until(due) => Event::Time.into(),
        }
    }

    /// Sets going what the machine waits for, and lets go of what it no longer waits for.
    fn arm(&mut self) {
        let agent = self.agent;
        let in_hand = self.machine.in_hand();
        self.work = self.work.take().filter(|(command, _)| Some(*command) == in_hand);
        if self.child.is_none() {
            let running = agent.child();
            self.child = running.map(|running| Box::pin(async move { running.ended().await }) as _);
        }
        let pace = self.machine.looks();
        if pace != self.pace {
            (self.pace, self.look) = (pace, pace.map(|_| serve::look(agent, None)));
        } else if self.look.is_none() {
            self.look = pace.map(|pace| serve::look(agent, Some(pace)));
        }
        if !self.machine.awaits_order() {
            (self.order, self.revision) = (None, None);
        } else if self.order.is_none() {
            self.order = Some(Box::pin(member::nominated(agent, self.revision)));
        }
        if !self.machine.awaits_claim() {
            self.lost = None;
        } else if self.lost.is_none() {
            let (mut claim, held) = (agent.claim.subscribe(), self.held);
            self.lost = Some(Box::pin(async move {
                drop(claim.wait_for(|claim| *claim != held).await);
            }));
        }
    }
}

/// Waits for what is under way, if anything is.
pub(super) async fn outcome_of<T>(of: &mut Option<BoxFuture<'_, T>>) -> T {
    let Some(future) = of else { return std::future::pending().await };
    let value = future.await;
    *of = None;
    value
}

/// Waits for a moment, or for ever.
pub(super) async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// What the state folder said.
fn outcome(agent: &Agent, result: io::Result<()>) -> Heard {
    match result {
        Ok(()) => Event::Done.into(),
        Err(error) => {
            let path = agent.folder.path().display();
            Heard::with(Event::Refused, format!("cannot write to {path}: {error}"))
        }
    }
}

/// The words that are meant.
fn words(agent: &Agent, why: Why, heard: Option<&str>) -> Option<String> {
    match why {
        Why::Nothing => None,
        Why::Told(text) => Some(text.into()),
        Why::Heard => heard.map(Into::into),
        Why::NoEtcd => agent.no_etcd.clone(),
        Why::Mend { version, times } => {
            let mut sentence = heard.unwrap_or_default().to_owned();
            if let (true, Some(etcd)) = (version, &agent.etcd) {
                sentence = format!("etcd {} cannot join this cluster: {sentence}", etcd.version);
            }
            let tried = if times > 1 { format!(" {times} times") } else { String::new() };
            let log = agent.folder.path().join("etcd.log");
            Some(format!(
                "{sentence}{tried}; the data stay where they are, see {}, and start the agent \
                 again once it is mended",
                log.display()
            ))
        }
    }
}

fn tell(why: &str, follows: Follows) {
    match follows {
        Follows::FoundAnew => tracing::warn!("{why}; founding the cluster on new data"),
        Follows::AskAgain => tracing::warn!("{why}; asking for another try"),
        Follows::Volunteer => tracing::warn!("{why}; volunteering again"),
        Follows::GiveUp => {
            tracing::error!("{why}; giving up this member and volunteering as a new one");
        }
    }
}
