//! What happens because its time has come, and what is given up.
//!
//! Refuses to read a clock: whoever steps the machine says what time it is.

use super::slot::Phase;
use super::{Command, Engine, Mode, State, Timestamp};

impl Engine {
    /// Does everything whose time has come.
    pub(super) fn due(&mut self, now: Timestamp) {
        self.agenda.woken();
        while let Some(at) = self.agenda.next_slot(now) {
            self.slots[at].alarm = None;
            self.slot_due(now, at);
            self.mark(at);
        }
        while let Some(resource) = self.agenda.next_gone(now) {
            let Some(gone) = self.draining.get_mut(&resource) else { continue };
            gone.deadline = None;
            gone.cancelled = true;
            self.commands.push(Command::Cancel { vertex: gone.vertex.clone(), run: gone.run });
        }
    }

    fn slot_due(&mut self, now: Timestamp, at: usize) {
        let slot = &mut self.slots[at];
        let come = |time: Timestamp| time <= now;
        if let Phase::Running(run) = &mut slot.phase {
            if !run.cancelled && run.deadline.is_some_and(come) {
                (run.cancelled, run.late) = (true, true);
                self.commands.push(Command::Cancel { vertex: slot.id.clone(), run: run.id });
            }
        } else if slot.stirred {
            slot.admit(now);
        }
        if slot.retries.at.take_if(|at| come(*at)).is_some() {
            // Not a new reason: the attempts go on being counted.
            let used = slot.retries.used;
            slot.prompt();
            slot.retries.used = used;
        }
        if let (Some(due), Some(every)) = (slot.poll, slot.vertex.meta.poll)
            && come(due)
        {
            let next = due.after(every);
            // Times that were missed are not made up for.
            slot.poll = Some(if come(next) { now.after(every) } else { next });
            slot.look(now);
        }
    }

    /// Has everything that failed checked again.
    pub(super) fn revive(&mut self) {
        for at in 0..self.slots.len() {
            if self.slots[at].state == State::Failed {
                self.slots[at].prompt();
                self.mark(at);
            }
        }
    }

    pub(super) fn stop(&mut self) {
        if matches!(self.mode, Mode::Going | Mode::Paused) {
            self.mode = Mode::Stopping { hurried: false };
        }
    }

    pub(super) fn hurry(&mut self) {
        self.stop();
        if self.mode != (Mode::Stopping { hurried: false }) {
            return;
        }
        self.mode = Mode::Stopping { hurried: true };
        for (resource, gone) in &mut self.draining {
            if let Some(due) = gone.deadline.take() {
                self.agenda.remove_gone(due, resource);
            }
            if !std::mem::replace(&mut gone.cancelled, true) {
                let (vertex, run) = (gone.vertex.clone(), gone.run);
                self.commands.push(Command::Cancel { vertex, run });
            }
        }
        for at in 0..self.slots.len() {
            let slot = &mut self.slots[at];
            if let Phase::Running(run) = &mut slot.phase
                && !std::mem::replace(&mut run.cancelled, true)
            {
                self.commands.push(Command::Cancel { vertex: slot.id.clone(), run: run.id });
                self.mark(at);
            }
        }
    }
}
