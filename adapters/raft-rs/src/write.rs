//! The write side: a Ready of raft-rs becomes one batch of the log.
//!
//! ```text
//!  Ready ── snapshot ──▶ file, durable ─┐
//!           entries ────────────────────┼─▶ Batch { reset + mark + members │ truncate │ append │
//!           hard state ─────────────────┘           hard state }  ── one write ──▶ Ticket
//! ```
//!
//! Above: the loop that drives a `RawNode`. Below: `Log::write`, `Syncer`.
//!
//! INVARIANT: after a crash hard state, entries, membership and snapshot mark are as of the same
//! batch (term and vote may be newer, never older).
//! INVARIANT: writing the same Ready twice leaves what writing it once does, so that a write which
//! was refused for want of room can be repeated.

use hardlog::{Batch, Class, EntryId, HardState, Index, Log, SnapshotMark, Ticket};
use tikv_raft::{
    LightReady, Ready,
    eraftpb::{self, ConfState, Entry, Snapshot},
};

use crate::{
    convert,
    error::{Error, Result},
    storage::{CONF_STATE_SLOT, LogStorage},
};

/// What a Ready wants saved. `(&ready).into()` makes it; tools put their own together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Update<'a> {
    /// Replaces the log: everything up to its index is in it.
    pub snapshot: Option<&'a Snapshot>,
    /// Follow the log, or replace its end.
    pub entries: &'a [Entry],
    /// Replaces term, vote and commit.
    pub hard_state: Option<&'a eraftpb::HardState>,
}

impl<'a> From<&'a Ready> for Update<'a> {
    fn from(ready: &'a Ready) -> Self {
        let snapshot = Some(ready.snapshot()).filter(|snapshot| !snapshot.is_empty());
        Self { snapshot, entries: ready.entries(), hard_state: ready.hs() }
    }
}

/// A snapshot from the leader whose file is durable.
pub(crate) struct Installed {
    pub(crate) id: EntryId,
    pub(crate) mark: SnapshotMark,
    pub(crate) members: bytes::Bytes,
}

/// What one batch does.
#[derive(Default)]
struct Part<'a> {
    installed: Option<&'a Installed>,
    truncate_from: Option<Index>,
    entries: &'a [Entry],
    hard_state: Option<HardState>,
}

impl LogStorage {
    /// Makes a new log the beginning of a group with these members, durably. Each founding member
    /// does the same; who joins later does nothing and gets a snapshot.
    ///
    /// The log then begins behind an entry 1 of term 1 that nobody ever had, so that a log without
    /// a beginning is never taken for an empty one.
    ///
    /// # Errors
    /// `NotNew` where the log holds anything; of the log.
    pub fn bootstrap(&mut self, members: impl Into<ConfState>) -> Result<()> {
        let log = &self.log;
        let untouched = log.last_id().is_none() && log.hard_state() == HardState::default();
        if self.is_initialized() || !untouched {
            return Err(Error::NotNew);
        }
        let start = EntryId::new(1, 1);
        let mut batch = Batch::new();
        batch
            .reset(start.index + 1, Some(start))
            .hard_state(HardState { term: start.term, vote: None, commit: start.index })
            .meta(CONF_STATE_SLOT, Class::Ordered, convert::members(start.index, &members.into())?);
        let ticket = self.log.write(&batch)?;
        // DURABILITY: a member that forgets that it was one could be bootstrapped differently.
        Ok(self.log.syncer().wait(ticket)?)
    }

    /// Writes snapshot, entries and hard state of a Ready as one batch: all of it or nothing.
    /// Visible at once, durable when the ticket is. A snapshot's file is durable before.
    ///
    /// Only where it is larger than `Options::batch_max` it becomes several batches, each of which
    /// leaves a state that the node could have been in; commit comes with the last.
    ///
    /// # Errors
    /// See [`Error::Log`]; `Snapshot`, `SnapshotOutOfDate`.
    pub fn write<'a>(&mut self, update: impl Into<Update<'a>>) -> Result<Ticket> {
        let update = update.into();
        let installed = update.snapshot.map(|snapshot| self.install(snapshot)).transpose()?;
        let hard_state = match (update.hard_state, &installed) {
            (Some(hs), _) => Some(convert::hard_state(hs)),
            (None, Some(installed)) => Some(after_install(self.log.hard_state(), installed.id)),
            (None, None) => None,
        };
        let (truncate_from, entries) = match installed {
            Some(_) => (None, update.entries),
            None => new_part(&self.log, update.entries)?,
        };
        let part = Part { installed: installed.as_ref(), truncate_from, entries, hard_state };
        let ticket = self.put(&part)?;
        if let Some(installed) = &installed {
            self.no_longer_wanted(installed.id.index);
        }
        Ok(ticket)
    }

    /// [`write`](Self::write), and waits until it is durable if the Ready must be: then call
    /// `advance` or `advance_append`, and send the persisted messages.
    ///
    /// # Errors
    /// As [`write`](Self::write); where the sync fails, whether it is durable is unknown.
    pub fn save(&mut self, ready: &Ready) -> Result<()> {
        let ticket = self.write(ready)?;
        if ready.must_sync() {
            self.must = ticket;
            // DURABILITY: votes, entries and snapshots are answered for once this returns.
            self.log.syncer().wait(ticket)?;
        }
        // DURABILITY: else only commit changed, which any later entry proves again.
        Ok(())
    }

    /// [`write`](Self::write), and calls `done` with the number of the Ready once that is durable:
    /// pass it to the thread of the node for `on_persist_ready`. Meanwhile call
    /// `advance_append_async`. Calls come in the order of the Readies, from a thread of the log
    /// (see [`hardlog::Syncer::notify`]); one sync serves all Readies written by then.
    ///
    /// # Errors
    /// As [`write`](Self::write): `done` is not called then. An error that `done` gets means that
    /// nobody knows what is durable: the node must stop.
    pub fn save_async(
        &mut self,
        ready: &Ready,
        done: impl FnOnce(hardlog::Result<u64>) + Send + 'static,
    ) -> Result<()> {
        let ticket = self.write(ready)?;
        if ready.must_sync() {
            self.must = ticket;
        }
        let number = ready.number();
        // DURABILITY: a Ready that need not be synced counts once those before it are durable.
        self.log.syncer().notify(self.must, move |result| done(result.map(|()| number)));
        Ok(())
    }

    /// Writes the commit index of a LightReady, if there is one. Need not be waited for.
    ///
    /// # Errors
    /// As [`save_commit`](Self::save_commit).
    pub fn save_light(&mut self, light: &LightReady) -> Result<Ticket> {
        self.save_commit(light.commit_index().unwrap_or(0))
    }

    /// Raises the commit index to `commit`; does nothing where it is there already. Of use also at
    /// a restart, with the applied index of a state machine that is durable on its own: raft-rs
    /// does not start with more applied than committed.
    ///
    /// # Errors
    /// `HardState` beyond the last entry; `Full`, `Io`, `Poisoned`.
    pub fn save_commit(&mut self, commit: Index) -> Result<Ticket> {
        let mut batch = Batch::new();
        commit_to(&mut batch, &self.log, commit);
        Ok(self.log.write(&batch)?)
    }

    /// Writes the membership that applying the change at `index` resulted in. Wait for the ticket
    /// before the state machine makes the application durable, where it does. A membership older
    /// than the one that is there is not written.
    ///
    /// # Errors
    /// `Invalid` beyond 4 KiB (about a thousand members); `HardState` beyond the last entry; `Full`,
    /// `Io`, `Poisoned`.
    pub fn save_conf_state(&mut self, index: Index, members: &ConfState) -> Result<Ticket> {
        if index < self.conf_state()?.0 {
            return Ok(self.log.written());
        }
        let mut batch = Batch::new();
        commit_to(&mut batch, &self.log, index);
        batch.meta(CONF_STATE_SLOT, Class::Ordered, convert::members(index, members)?);
        Ok(self.log.write(&batch)?)
    }

    /// Drops the entries before `index`, which must be applied, and covered by a marked snapshot
    /// unless the state machine is durable on its own. Below the window it does nothing.
    ///
    /// # Errors
    /// `BeyondEnd` more than one past the last entry; `Full`, `Io`, `Poisoned`.
    pub fn compact(&mut self, index: Index) -> Result<Ticket> {
        let next = self.log.next_log_index();
        if index <= self.log.first_log_index() {
            return Ok(self.log.written());
        }
        if index > next {
            return Err(hardlog::Error::BeyondEnd { index, next }.into());
        }
        let mut batch = Batch::new();
        // What was applied was committed, also where that was never written.
        commit_to(&mut batch, &self.log, index - 1);
        batch.trim_before(index);
        Ok(self.log.write(&batch)?)
    }

    /// Writes a part as one batch, or as several where it is too large for one.
    fn put(&mut self, part: &Part<'_>) -> Result<Ticket> {
        match self.log.write(&part.batch()) {
            Err(hardlog::Error::TooLarge { .. }) if part.entries.len() > 1 => {
                let (head, tail) = part.entries.split_at(part.entries.len() / 2);
                let floor = part.installed.map_or(0, |installed| installed.id.index);
                let commit = self.log.hard_state().commit.max(floor);
                // Term and vote first: entries of a term that the node has not seen are no state.
                let promise = part.hard_state.map(|hs| HardState { commit, ..hs });
                self.put(&Part { entries: head, hard_state: promise, ..*part })?;
                self.put(&Part { entries: tail, hard_state: part.hard_state, ..Part::default() })
            }
            other => Ok(other?),
        }
    }
}

impl Part<'_> {
    fn batch(&self) -> Batch {
        let mut batch = Batch::new();
        if let Some(Installed { id, mark, members }) = self.installed {
            batch.reset(id.index + 1, Some(*id)).snapshot_mark(*mark).meta(
                CONF_STATE_SLOT,
                Class::Ordered,
                members.clone(),
            );
        }
        if let Some(from) = self.truncate_from {
            batch.truncate_from(from);
        }
        batch.append(self.entries.iter().map(convert::to_log));
        // Behind the entries: its commit may be one of them.
        if let Some(hard_state) = self.hard_state {
            batch.hard_state(hard_state);
        }
        batch
    }
}

/// What of `entries` the log does not have yet, and from where on it must be cut off before.
///
/// # Errors
/// `Trimmed` where they begin below the window. A gap is found by the log.
fn new_part<'a>(log: &Log, entries: &'a [Entry]) -> Result<(Option<Index>, &'a [Entry])> {
    let (Some(from), Some(last)) = (entries.first(), entries.last()) else {
        return Ok((None, entries));
    };
    let (first, next) = (log.first_log_index(), log.next_log_index());
    if from.index < first {
        return Err(hardlog::Error::Trimmed { index: from.index, first }.into());
    }
    let there = |entry: &&Entry| {
        entry.index < next && log.id_at(entry.index).is_ok_and(|id| id == convert::id(entry))
    };
    let new = &entries[entries.iter().take_while(there).count()..];
    // All were there: the log ends with the last of them.
    let cut = new.first().map_or_else(|| last.index.saturating_add(1), |entry| entry.index);
    Ok(((cut < next).then_some(cut), new))
}

/// Raises commit to `index` in this batch, if it is lower.
pub(crate) fn commit_to(batch: &mut Batch, log: &Log, index: Index) {
    let now = log.hard_state();
    if now.commit < index {
        batch.hard_state(HardState { commit: index, ..now });
    }
}

/// The hard state behind a snapshot that came without one.
fn after_install(now: HardState, id: EntryId) -> HardState {
    let vote = now.vote.filter(|_| now.term >= id.term);
    HardState { term: now.term.max(id.term), vote, commit: now.commit.max(id.index) }
}
