//! The one place where a [`Ready`] meets the log: save, sync, send, apply.
//!
//! ```text
//!   pump:  watermark ─▶ proof ─▶ core.durable ─▶ core.ready
//!                                                  │
//!          one Batch ─▶ log.try_write ─▶ ticket ◀──┤ save
//!          promises, opened by the proof ◀─────────┤ promises
//!          jobs for the applier ◀──────────────────┤ apply_to, reads
//!          messages ◀──────────────────────────────┘ send
//! ```
//! Above: the node, which feeds it from an inbox and carries out what it puts into [`Output`].
//! Below: the core and the log. It waits for nothing: when the log would have to wait, the save
//! stays in the core and is tried again.
//!
//! Invariants:
//! - Term, vote, truncation and entries of a step are one batch; so are the reset, the hard state
//!   and the mark of a snapshot that is installed.
//! - A promise leaves only when the log's own watermark covers the save that it needs.
//! - An installed snapshot is restored only after the batch that marks it is durable, and before
//!   any entry after it is applied.
//! - The log is trimmed only in the batch that marks the snapshot, or after it.

mod notes;
pub(crate) mod orders;
mod save;
#[cfg(test)]
mod tests;
mod transfer;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, atomic::AtomicU64},
};

use bytes::Bytes;
use hardlog::{Error as LogError, Index, Log, SnapshotMark, Syncer, Term, Ticket};

use self::{
    notes::Unsynced,
    orders::{Order, Orders},
    transfer::Transfers,
};
use crate::{
    boot::{self, Seen},
    call::{Call, ProposeError},
    core::{Core, Install, RoleName},
    durable::{Durable, Ledger, Promise, SaveNumber},
    error::Error,
    identity,
    message::Message,
    metrics,
    ready::{ReadReady, ReadToken, Ready, Snapshots},
    trace::{Voice, What},
    view::View,
    work::{Apply, Carry, Report, Waiting},
};

/// What a round of the driver wants done.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) send: Vec<Message>,
    pub(crate) apply: Vec<Apply>,
    pub(crate) carry: Vec<Carry>,
    /// The log could not take the save yet: pump again soon.
    pub(crate) again: bool,
}

/// What a driver starts with.
pub(crate) struct Parts {
    pub(crate) core: Core<View>,
    pub(crate) log: Log,
    /// Highest index that the state machine holds.
    pub(crate) applied: Index,
    /// Entries that stay behind a snapshot.
    pub(crate) keep_behind: u64,
    /// Called, from any thread, when the log's watermark rose or a sync failed.
    pub(crate) wake: Arc<dyn Fn() + Send + Sync>,
    /// Index of the newest snapshot that was installed.
    pub(crate) installed: Arc<AtomicU64>,
    /// Tells what happens to the node.
    pub(crate) voice: Voice,
}

/// Drives one node.
pub(crate) struct Driver {
    core: Core<View>,
    log: Log,
    syncer: Syncer,
    ledger: Ledger<Ticket>,
    /// Promises that wait for the watermark, in the order in which they were made.
    held: VecDeque<Promise<Message>>,
    /// Proposals of this leader that are not handed to the applier yet, by index.
    waiting: VecDeque<Waiting>,
    reads: BTreeMap<ReadToken, Call<()>>,
    next_read: ReadToken,
    /// Reads that wait for the applier to be handed what they need.
    ready_reads: Vec<(ReadReady, Call<()>)>,
    /// Up to where entries were handed to the applier.
    dispatched: Index,
    /// Commit index that is durable here, as the core last said.
    apply_to: Index,
    transfers: Transfers,
    /// A snapshot of this node's own state that the log does not mark yet.
    taken: Option<SnapshotMark>,
    /// The leader's snapshot that the next save begins the log with.
    install: Option<SnapshotMark>,
    /// The save that marked it, and the snapshot to restore once that is durable.
    restore: Option<(SaveNumber, SnapshotMark)>,
    keep_behind: u64,
    wake: Arc<dyn Fn() + Send + Sync>,
    installed: Arc<AtomicU64>,
    /// What the log's callback said of a sync that failed.
    sync_failure: Arc<Mutex<Option<LogError>>>,
    /// A sync failed for now; the log is asked again at the next tick.
    sync_again: bool,
    orders: Orders,
    /// Peers as their last hello showed them, and whether the log has yet to be told.
    seen: Seen,
    seen_is_news: bool,
    /// The term in which the log was opened, while it may have lost something.
    loss_term: Option<Term>,
    /// An operator accepted a loss: there is no vote before that is made up for.
    abstains: bool,
    voice: Voice,
    unsynced: Unsynced,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Self {
        let opened_in = parts.log.hard_state().term;
        let unsynced = Unsynced::new(parts.log.incarnation());
        let abstains = boot::abstains(&parts.log);
        let mut driver = Self {
            orders: Orders::default(),
            seen: boot::seen(&parts.log).unwrap_or_default(),
            seen_is_news: false,
            loss_term: parts.log.maybe_lost().map(|_| opened_in).or(abstains.then_some(opened_in)),
            abstains,
            core: parts.core,
            syncer: parts.log.syncer(),
            log: parts.log,
            ledger: Ledger::new(),
            held: VecDeque::new(),
            waiting: VecDeque::new(),
            reads: BTreeMap::new(),
            next_read: 0,
            ready_reads: Vec::new(),
            dispatched: parts.applied,
            apply_to: parts.applied,
            transfers: Transfers::default(),
            taken: None,
            install: None,
            restore: None,
            keep_behind: parts.keep_behind,
            wake: parts.wake,
            installed: parts.installed,
            sync_failure: Arc::default(),
            sync_again: false,
            voice: parts.voice,
            unsynced,
        };
        driver.core.abstain(abstains);
        let written = driver.log.written();
        if driver.log.durable() < written {
            // A log that found no room for a new segment: it can be read, and nothing it holds is
            // promised until there is room.
            driver.ledger.written(driver.core.found_undurable(), written);
            driver.ask_for_sync(written);
        }
        if driver.voice.is_on() {
            driver.core.keep_notes();
            driver.tell();
        }
        driver
    }

    pub(crate) fn core(&self) -> &Core<View> {
        &self.core
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// The log, for closing it.
    pub(crate) fn into_log(self) -> Log {
        self.log
    }

    // ---- inputs

    pub(crate) fn step(&mut self, message: Message) {
        self.core.step(message);
        self.tell();
    }

    pub(crate) fn tick(&mut self, out: &mut Output) {
        self.core.tick();
        self.tell();
        if std::mem::take(&mut self.sync_again) {
            self.ask_for_sync(self.log.written());
        }
        self.transfers.retain(&self.core, out);
        for to in self.transfers.tick(out) {
            self.core.snapshot_failed(to);
        }
    }

    pub(crate) fn propose(&mut self, data: &Bytes, mut call: Call<Bytes>) {
        match self.core.propose(data) {
            Ok(id) => {
                call.place(id);
                self.waiting.push_back(Waiting { index: id.index, term: id.term, call });
            }
            Err(refused) => call.answer(Err(refused.into())),
        }
    }

    pub(crate) fn order(&mut self, order: Order, out: &mut Output) {
        match order {
            Order::Change(change, call) => self.change(&change, call),
            Order::Transfer(to, call) => self.hand_over(to, call),
            Order::Snapshot => out.apply.push(Apply::Snapshot),
        }
    }

    /// The node's thread was held up for longer than its ticks say.
    pub(crate) fn time_was_lost(&mut self) {
        self.core.time_was_lost();
    }

    pub(crate) fn read(&mut self, call: Call<()>) {
        let token = self.next_read;
        self.next_read += 1;
        match self.core.read(token) {
            Ok(()) => drop(self.reads.insert(token, call)),
            Err(refused) => call.answer(Err(refused.into())),
        }
    }

    /// Takes what another thread of the node says.
    pub(crate) fn report(&mut self, report: Report, out: &mut Output) -> Result<(), Error> {
        match report {
            Report::Taken(mark) => {
                // It was on its way while the leader's newer one was installed: to mark it would
                // leave the log without a snapshot that reaches its first entry.
                let newest = self.log.snapshot_mark().map_or(0, |mark| mark.id.index);
                if mark.id.index > newest {
                    self.taken = Some(mark);
                    self.tell_snapshot("taken", mark.id);
                }
            }
            Report::Piece { to, chunk } => {
                let (from, term) = (self.core.id(), self.core.term());
                if self.core.role() == RoleName::Leader {
                    if chunk.offset + chunk.data.len() as u64 >= chunk.offer.len {
                        metrics::snapshot_sent(to);
                    }
                    let body = crate::message::Body::Snapshot(chunk);
                    out.send.push(Message { from, to, term, body });
                }
            }
            Report::Unreadable { to } => {
                self.transfers.remove(to);
                self.core.snapshot_failed(to);
            }
            Report::Stored { from, id, offset } => self.core.want_chunk(from, id, offset),
            Report::Complete { from, mark, configuration } => {
                self.tell_snapshot("received", mark.id);
                metrics::snapshot_received(from);
                let install = self.core.install_snapshot(from, mark.id, configuration);
                if install == Install::Replace {
                    self.install = Some(mark);
                }
            }
            Report::Met { peer, log_id, incarnation } => {
                let before = self.seen.insert(peer, (log_id, incarnation));
                self.seen_is_news |= before != Some((log_id, incarnation));
            }
            Report::Disowned { by } => {
                identity::disown(&mut self.log, by);
                return Err(Error::Disowned { by });
            }
            Report::Failed(error) => return Err(error),
        }
        Ok(())
    }

    /// Entries that wait to be written are many: pump before stepping further.
    pub(crate) fn is_pressed(&self, unsaved_bytes_max: u64) -> bool {
        self.core.unsaved_bytes() >= unsaved_bytes_max / 2
    }

    /// This leader is writing a batch that is not committed either: what is proposed meanwhile could
    /// not be durable here before the next sync, and does best to gather for that. Where the others
    /// are faster than this node's disk they commit, and nothing waits for the disk.
    pub(crate) fn is_writing(&self) -> bool {
        self.core.role() == RoleName::Leader
            && self.core.commit() < self.core.last_id().index
            && self.log.durable() < self.log.written()
    }

    // ---- the round

    /// Does everything that can be done now.
    ///
    /// # Errors
    /// What the node cannot go on after: the log failed, or a peer broke the rules.
    pub(crate) fn pump(&mut self, out: &mut Output) -> Result<(), Error> {
        self.check_sync()?;
        let proof = self.ledger.reached(&self.syncer);
        self.tell_synced();
        self.core.durable(proof);
        let Ready { save, send, promises, apply_to, reads, reads_lost, snapshots } =
            self.core.ready();
        self.tell();
        if let Some(violation) = self.core.violation() {
            let text = violation.to_string();
            self.voice.note(|| What::Violation { rule: "raft".into(), text: text.into() });
            return Err(violation.into());
        }
        out.send.extend(send);
        self.held.extend(promises);
        self.apply_to = apply_to;
        self.take_reads(&reads, &reads_lost);
        self.take_snapshots(snapshots, out);
        self.write(save, out)?;
        self.release(proof, out);
        self.finish_install(proof, out);
        self.dispatch(out);
        self.forget_what_others_lead();
        self.answer_orders();
        self.tell();
        Ok(())
    }

    fn take_reads(&mut self, ready: &[ReadReady], lost: &[ReadToken]) {
        for read in ready {
            if let Some(call) = self.reads.remove(&read.token) {
                self.ready_reads.push((*read, call));
            }
        }
        let leader = self.core.leader();
        for call in lost.iter().filter_map(|token| self.reads.remove(token)) {
            call.answer(Err(ProposeError::NotLeader { leader }));
        }
    }

    fn take_snapshots(&mut self, snapshots: Snapshots, out: &mut Output) {
        let Snapshots { wanted, chunks_wanted, chunks } = snapshots;
        for to in wanted {
            match self.log.snapshot_mark() {
                Some(mark) => {
                    self.transfers.begin(to, mark.id, out);
                    self.tell_snapshot("sending", mark.id);
                }
                None => self.core.snapshot_failed(to),
            }
        }
        for (to, id, offset) in chunks_wanted {
            self.transfers.wanted(to, id, offset, out);
        }
        let received = chunks.into_iter().map(|(from, chunk)| Carry::Received { from, chunk });
        out.carry.extend(received);
    }

    /// Opens the promises that the log's watermark covers.
    fn release(&mut self, proof: Durable, out: &mut Output) {
        while let Some(promise) = self.held.pop_front() {
            match promise.open(proof) {
                Ok(message) => out.send.push(message),
                Err(promise) => return self.held.push_front(promise),
            }
        }
    }

    /// Hands the applier what it may apply, and then the reads that waited for it.
    fn dispatch(&mut self, out: &mut Output) {
        if self.apply_to > self.dispatched && self.restore.is_none() {
            let to = self.apply_to;
            let count = self.waiting.partition_point(|waiting| waiting.index <= to);
            let waiting = self.waiting.drain(..count).collect();
            out.apply.push(Apply::Entries { to, waiting });
            self.dispatched = to;
        }
        let dispatched = self.dispatched;
        let served = self.ready_reads.extract_if(.., |(read, _)| read.index <= dispatched);
        let served: Vec<_> = served.map(|(_, call)| call).collect();
        if !served.is_empty() {
            out.apply.push(Apply::Reads(served));
        }
    }

    /// Whoever waits for a proposal of a term that this node does not lead any more is told that
    /// its outcome is unknown.
    fn forget_what_others_lead(&mut self) {
        let leads = self.core.role() == RoleName::Leader;
        let term = self.core.term();
        while self.waiting.front().is_some_and(|waiting| !leads || waiting.term != term) {
            self.waiting.pop_front();
        }
    }
}
