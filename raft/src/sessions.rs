//! Exactly once: a command that a client sends again is not applied again (dissertation 6.3).
//!
//! A client whose leader vanishes does not know whether its command took effect, so it sends it
//! once more. [`Sessions`] is a layer around a [`StateMachine`] and is one itself: it remembers, for
//! each client, which serial numbers it has seen and what the machine replied, and returns that
//! reply again. Above: the node. Below: the service's machine, which sees each command once.
//!
//! ```text
//!   Request::Open ─────────────────────▶ the index of the entry: the client's id for ever
//!   Request::Command {client, serial} ─▶ new: to the machine, reply kept
//!                                        seen: the reply that was kept
//!   Request::Plain ────────────────────▶ to the machine, each time
//! ```
//! INVARIANT: what is kept is a function of the log alone. Nothing depends on time, on how commands
//! are grouped into batches, or on who leads; so all nodes refuse and forget the same.
//! INVARIANT: a command of a client that is forgotten, or whose serial is older than what is kept,
//! is never applied: the answer says so, and what became of it is for the client to find out.
//!
//! Sessions are part of the snapshot. Their memory is bounded by [`Limits`]: sessions × replies ×
//! bytes of a reply.

mod store;
#[cfg(test)]
mod tests;
mod wire;

use std::{collections::BTreeMap, io, sync::Arc};

use bytes::Bytes;

use self::store::Table;
pub use self::wire::{Answer, Request, WireError};
use crate::state_machine::{Command, FrozenSnapshot, StateMachine};

/// How much is remembered. All nodes of a cluster must have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Clients; the one that was silent for the most entries is forgotten for a new one. 4096 by
    /// default, at least 1.
    pub sessions_max: usize,
    /// Replies of one client; the one with the smallest serial goes first. 64 by default, at least
    /// 1: as many as a client has under way at once.
    pub replies_max: usize,
    /// Bytes of a reply that is kept; of a larger one it is only remembered that it was given.
    /// 4 KiB by default.
    pub reply_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { sessions_max: 4096, replies_max: 64, reply_bytes_max: 4096 }
    }
}

/// A state machine behind sessions.
#[derive(Debug)]
pub struct Sessions<S> {
    machine: S,
    limits: Limits,
    /// Shared with views that are being written out.
    table: Arc<Table>,
}

/// What becomes of a command of a batch.
enum Plan {
    /// The machine's reply number this, passed on.
    Plain(usize),
    /// The machine's reply number this, kept for a client.
    Applied { reply: usize, client: u64, serial: u64 },
    /// The reply number this, which another command of the batch got.
    Again(usize),
    /// Known without the machine.
    Known(Answer),
}

impl<S> Sessions<S> {
    /// A machine behind sessions, none of which is open.
    ///
    /// # Panics
    /// If a limit on a number is 0.
    #[must_use]
    pub fn new(machine: S, limits: Limits) -> Self {
        assert!(limits.sessions_max > 0 && limits.replies_max > 0, "{limits:?} keeps nothing");
        Self { machine, limits, table: Arc::default() }
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &S {
        &self.machine
    }

    /// Clients that are remembered.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.table.len()
    }
}

impl<S: StateMachine> StateMachine for Sessions<S> {
    fn apply(&mut self, commands: &[Command]) -> Vec<Bytes> {
        let table = Arc::make_mut(&mut self.table);
        let mut fresh = Vec::with_capacity(commands.len());
        // Commands of this batch that have no reply yet.
        let mut under_way = BTreeMap::new();
        let mut plans = Vec::with_capacity(commands.len());
        for command in commands {
            let plan = match Request::decode(&command.data) {
                Err(_) => Plan::Known(Answer::Malformed),
                Ok(Request::Plain(data)) => {
                    fresh.push(Command { data, ..command.clone() });
                    Plan::Plain(fresh.len() - 1)
                }
                Ok(Request::Open) => {
                    table.open(command.index, self.limits.sessions_max);
                    Plan::Known(Answer::Opened { client: command.index })
                }
                Ok(Request::Close { client }) => {
                    table.close(client);
                    Plan::Known(Answer::Closed)
                }
                Ok(Request::Command { client, serial, answered_below, data }) => {
                    let seen = (command.index, self.limits.replies_max);
                    match table.begin(client, serial, answered_below, seen) {
                        store::Begin::Fresh => {
                            fresh.push(Command { data, ..command.clone() });
                            under_way.insert((client, serial), fresh.len() - 1);
                            Plan::Applied { reply: fresh.len() - 1, client, serial }
                        }
                        store::Begin::Known(answer) => match under_way.get(&(client, serial)) {
                            Some(reply) => Plan::Again(*reply),
                            None => Plan::Known(answer),
                        },
                    }
                }
            };
            plans.push(plan);
        }
        let replies = self.machine.apply(&fresh);
        assert!(replies.len() == fresh.len(), "{} for {}", replies.len(), fresh.len());
        let reply = |number: usize| replies.get(number).cloned().unwrap_or_default();
        let mut answers = Vec::with_capacity(plans.len());
        for plan in plans {
            answers.push(match plan {
                Plan::Plain(number) | Plan::Again(number) => Answer::Reply(reply(number)),
                Plan::Applied { reply: number, client, serial } => {
                    let reply = reply(number);
                    table.finish(client, serial, &reply, self.limits.reply_bytes_max);
                    Answer::Reply(reply)
                }
                Plan::Known(answer) => answer,
            });
        }
        answers.iter().map(Answer::encode).collect()
    }

    fn snapshot(&self) -> Box<dyn FrozenSnapshot> {
        let (table, machine) = (Arc::clone(&self.table), self.machine.snapshot());
        Box::new(Frozen { table, machine })
    }

    fn restore(&mut self, from: &mut dyn io::Read) -> io::Result<()> {
        let table = Table::read(from, self.limits)?;
        self.machine.restore(from)?;
        self.table = Arc::new(table);
        Ok(())
    }
}

struct Frozen {
    table: Arc<Table>,
    machine: Box<dyn FrozenSnapshot>,
}

impl FrozenSnapshot for Frozen {
    fn write_to(&self, to: &mut dyn io::Write) -> io::Result<()> {
        self.table.write(to)?;
        self.machine.write_to(to)
    }
}
