//! KILL at random moments of founding, joining and being promoted, and leaving, of the host itself
//! or of the one that decides: no etcd is left, a start is always possible, and no half-made member
//! stays.
//!
//! Moments follow from their number, so that a long run can be resumed: `QUORATE_KILLS=0..500`
//! tries so many, `QUORATE_KILLS=17` one.

use std::ops::Range;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::kit::{Agent, Host, LONG, healthy, insist, numbers, wait_for};

/// What is going on when the kill comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum During {
    Founding,
    Joining,
    Leaving,
}

/// Who is killed, during what, and how long after its beginning.
#[derive(Clone, Copy, Debug)]
struct Moment {
    during: During,
    decider: bool,
    after: Duration,
}

/// The n-th moment, whatever the ones before it were (splitmix64).
fn moment(n: usize) -> Moment {
    let dice = |within: Range<u64>| {
        let mut mixed = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        within.start + (mixed ^ (mixed >> 31)) % (within.end - within.start)
    };
    // As long as each takes on two cores, and a little longer.
    let (during, most) =
        [(During::Founding, 1_400), (During::Joining, 1_600), (During::Leaving, 400)][n % 3];
    let decider = during != During::Founding && n / 3 % 3 == 2;
    Moment { during, decider, after: Duration::from_millis(dice(0..most)) }
}

/// KILL, after which its etcd must be gone within a second.
fn kill(host: &Host, agent: &mut Agent) {
    agent.kill();
    let killed = Instant::now();
    let what = || format!("{}: etcd {:?} is gone", host.name, host.etcds());
    wait_for(2, what, || host.etcds().is_empty().then_some(()));
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
}

/// A host of its own, whose first start is killed.
fn founds(after: Duration) {
    let host = Host::new("h1");
    let mut agent = host.start(&[]);
    std::thread::sleep(after);
    kill(&host, &mut agent);
    let mut agent = insist(|| host.start(&[]));
    healthy(&[&agent], 1);
    kill(&host, &mut agent);
}

/// Three hosts, of which the third goes and comes.
struct Site {
    hosts: [Host; 3],
    agents: Vec<Agent>,
}

impl Site {
    fn new() -> Site {
        let (hosts, agents) = crate::kit::three();
        Site { hosts, agents: agents.into() }
    }

    fn start(&self, n: usize) -> Agent {
        insist(|| self.hosts[n].again(&self.hosts[0]))
    }

    /// The host of the first two whose etcd leads, or else the first: it decides.
    fn decider(&self) -> usize {
        let status = self.agents[0].until(LONG, |s| s["cluster"]["leader"].is_string());
        usize::from(status["cluster"]["leader"] == "h2")
    }

    /// The third joins or leaves; somebody is killed meanwhile, and started again.
    fn goes(&mut self, moment: Moment) {
        let victim = if moment.decider { self.decider() } else { 2 };
        match moment.during {
            During::Founding => unreachable!("that is done by a host of its own"),
            During::Joining => {
                assert_eq!(self.agents[2].stop(Signal::SIGINT, LONG).0, 0);
                self.agents[2] = self.hosts[2].again(&self.hosts[0]);
            }
            During::Leaving => self.agents[2].signal(Signal::SIGINT),
        }
        std::thread::sleep(moment.after);
        if !self.agents[victim].is_gone() {
            kill(&self.hosts[victim], &mut self.agents[victim]);
        }
        if moment.during == During::Leaving {
            // Without the decider it may take longer, but it ends.
            if victim != 2 {
                let code = self.agents[2].end(LONG).0;
                assert_eq!(code, 0, "{}", self.agents[2].log());
            }
            self.agents[2] = self.start(2);
        }
        if victim != 2 || moment.during == During::Joining {
            self.agents[victim] = self.start(victim);
        }
        healthy(&self.agents.iter().collect::<Vec<_>>(), 3);
        // Everybody listed is one of the three, as the member that its folder says.
        let own: Vec<_> = self.hosts.iter().map(|host| host.identity("member")).collect();
        self.agents[0].until(LONG, |s| {
            let members = s["cluster"]["members"].as_array().cloned().unwrap_or_default();
            members.len() == 3 && members.iter().all(|m| own.contains(&m["id"]))
        });
    }
}

/// Acceptance of the issue of clustering: 500 moments by hand, some in each run.
#[test]
fn whenever_an_agent_is_killed_no_etcd_is_left_and_it_comes_back_as_a_whole_member() {
    let mut site = Site::new();
    let wanted = numbers("QUORATE_KILLS", || (0..9).collect());
    let (began, count) = (Instant::now(), wanted.len());
    for n in wanted {
        let moment = moment(n);
        println!("{n}: {moment:?}");
        match moment.during {
            During::Founding => founds(moment.after),
            During::Joining | During::Leaving => site.goes(moment),
        }
    }
    println!("{count} kills in {:?}", began.elapsed());
}
