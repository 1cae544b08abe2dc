//! What can happen, and what then does.

use std::cmp::Ordering;

use super::{Seat, Stage};
use crate::{
    message::{Message, NodeId},
    sim::{
        Micros,
        machine::{Machine, Worker},
        network::chance,
    },
    trace::{self, What},
};

/// Ticks that are made up for after a pause, as in a running node.
const LATE_TICKS_MAX: u32 = 3;

/// Something that will happen. The number beside a node is the life of the process that it is
/// meant for.
#[derive(Debug)]
pub(super) enum Event {
    Tick(NodeId, u64),
    Deliver(Box<Message>, Sent),
    Sync(NodeId, u64),
    Round(NodeId, u64),
    Work(NodeId, u64, Worker),
    Start(NodeId, u64),
    Resume(NodeId, u64),
}

/// A message on its way: its number in the trace, and the life of the process that sent it.
#[derive(Clone, Copy, Debug)]
pub(in crate::sim) struct Sent {
    pub(in crate::sim) number: u64,
    pub(in crate::sim) life: u64,
}

/// An event and its time; events of the same time happen in the order in which they were planned.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) at: Micros,
    pub(super) number: u64,
    pub(super) event: Event,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl Stage {
    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver(message, sent) => self.deliver(*message, sent),
            Event::Tick(id, life) => self.tick(id, life),
            Event::Sync(id, life) => self.sync(id, life),
            Event::Round(id, life) => {
                if let Some(seat) = self.seat(id, life) {
                    seat.round_planned = false;
                    self.round(id);
                }
            }
            Event::Work(id, life, worker) => self.work(id, life, worker),
            Event::Start(id, life) => {
                if self.seats.get(&id).is_some_and(|s| s.life == life && s.machine.is_none()) {
                    self.start(id);
                }
            }
            Event::Resume(id, life) => self.resume(id, life),
        }
    }

    /// The seat, if the process that the event is meant for still sits there.
    fn seat(&mut self, id: NodeId, life: u64) -> Option<&mut Seat> {
        self.seats.get_mut(&id).filter(|seat| seat.life == life && seat.machine.is_some())
    }

    fn deliver(&mut self, message: Message, sent: Sent) {
        let (from, to) = (message.from, message.to);
        if !self.network.lets_through(from, to) {
            return self.lost(sent.number, &message, "link cut");
        }
        let Some(seat) = self.seats.get_mut(&to) else { return };
        if seat.paused {
            seat.backlog.push((sent, message));
            return;
        }
        self.take(sent, message);
        self.round_soon(to);
    }

    /// A message is there: its process takes it, if it is there and talks to the sender.
    fn take(&mut self, sent: Sent, message: Message) {
        let (from, to) = (message.from, message.to);
        if self.are_acquainted((from, sent.life), to) {
            return self.step(sent.number, message);
        }
        let down = self.seats.get(&to).is_none_or(|seat| seat.machine.is_none());
        self.lost(sent.number, &message, if down { "node down" } else { "refused" });
    }

    fn step(&mut self, m: u64, message: Message) {
        let (from, to, now) = (message.from, message.to, self.now);
        let forgot = |id| self.seats.get(&id).is_some_and(|seat: &Seat| seat.amnesiac);
        if forgot(from) && !forgot(to) {
            let vote = self.checks.votes_once(&message);
            self.judge(vote.map(|_| ()));
        }
        let Some(seat) = self.seats.get_mut(&to) else { return };
        if seat.machine.as_ref().is_some_and(Machine::is_pressed) {
            self.round(to);
        }
        let seat = self.seats.get_mut(&to);
        let Some(machine) = seat.and_then(|seat| seat.machine.as_mut()) else {
            return self.lost(m, &message, "node down");
        };
        self.setting.tracer.note(to, || trace::received(m, &message));
        let words = [to, from, message.term, message.weight()];
        self.trace.note(now, &words, || {
            format!("{from} -> {to} in {}: {:?}", message.term, message.body)
        });
        machine.step(message);
        self.notice(to);
    }

    fn tick(&mut self, id: NodeId, life: u64) {
        let now = self.now;
        let Some(seat) = self.seat(id, life) else { return };
        let next = now + seat.tick;
        if seat.paused {
            seat.late_ticks += 1;
        } else if let Some(machine) = &mut seat.machine {
            seat.ticks += 1;
            let sent = machine.tick();
            self.notice(id);
            self.send(sent);
            self.round(id);
            self.hung_leader(id);
        }
        self.plan(next, Event::Tick(id, life));
    }

    fn sync(&mut self, id: NodeId, life: u64) {
        let now = self.now;
        let Some(seat) = self.seat(id, life) else { return };
        if seat.hangs_until > now {
            let at = seat.hangs_until;
            self.plan(at, Event::Sync(id, life));
            return;
        }
        seat.syncing = false;
        if let Some(machine) = &mut seat.machine {
            machine.sync();
        }
        if seat.paused {
            seat.round_missed = true;
        } else {
            self.round(id);
        }
    }

    fn work(&mut self, id: NodeId, life: u64, worker: Worker) {
        let Some(seat) = self.seat(id, life) else { return };
        seat.working.retain(|at_work| *at_work != worker);
        if seat.paused {
            seat.round_missed = true;
            return;
        }
        let Some(machine) = &mut seat.machine else { return };
        if machine.work(worker) {
            self.round_soon(id);
        } else {
            self.after(id);
        }
    }

    fn resume(&mut self, id: NodeId, life: u64) {
        let Some(seat) = self.seat(id, life) else { return };
        seat.paused = false;
        let backlog = std::mem::take(&mut seat.backlog);
        let late = std::mem::take(&mut seat.late_ticks);
        self.trace.note(self.now, &[id, 8], || format!("node {id} goes on"));
        self.setting.tracer.note(0, || What::fault("resume", [id]));
        // As in a running node: what waits in the inbox, the ticks that were missed, one round.
        for (sent, message) in backlog {
            if self.network.lets_through(message.from, id) {
                self.take(sent, message);
            } else {
                self.lost(sent.number, &message, "link cut");
            }
        }
        for _ in 0..late.min(LATE_TICKS_MAX) {
            let Some(seat) = self.seat(id, life) else { return };
            let sent = seat.machine.as_mut().map(Machine::tick).unwrap_or_default();
            self.notice(id);
            self.send(sent);
        }
        let Some(seat) = self.seat(id, life) else { return };
        if let Some(machine) = seat.machine.as_mut().filter(|_| late > LATE_TICKS_MAX) {
            machine.time_was_lost();
        }
        self.round(id);
    }

    // ---- rounds

    /// The raft thread looks at its inbox now.
    pub(in crate::sim) fn round(&mut self, id: NodeId) {
        let Some(machine) = self.seats.get_mut(&id).and_then(|seat| seat.machine.as_mut()) else {
            return;
        };
        let sent = machine.round();
        self.send(sent);
        self.after(id);
    }

    /// The raft thread looks at its inbox now, or a little later and then at more of it.
    pub(in crate::sim) fn round_soon(&mut self, id: NodeId) {
        let lag = self.setting.lag;
        if lag == 0 || chance(&mut self.rng, 500) {
            return self.round(id);
        }
        let delay = self.rng.next_u64() % lag;
        let Some(seat) = self.seats.get_mut(&id) else { return };
        if !seat.round_planned {
            seat.round_planned = true;
            let life = seat.life;
            self.plan(self.now + delay, Event::Round(id, life));
        }
    }
}
