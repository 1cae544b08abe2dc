//! A save becomes one batch of the log, and what follows from it.

use std::sync::{Arc, PoisonError, atomic::Ordering};

use hardlog::{Batch, Error as LogError, Index, SnapshotMark, Ticket};

use super::{Driver, Output};
use crate::{
    boot,
    core::Slot,
    durable::{Durable, SaveNumber},
    error::Error,
    ready::Save,
    work::Apply,
};

impl Driver {
    /// Writes what is due: the core's save, the mark of a snapshot of this node's own, or both.
    pub(super) fn write(&mut self, save: Option<Save>, out: &mut Output) -> Result<(), Error> {
        let due = save.as_ref().map(|save| save.number);
        let told = self.told(save.as_ref());
        let batch = self.batch(save);
        if batch.is_empty() {
            return Ok(());
        }
        match self.log.try_write(&batch) {
            Ok(ticket) => {
                self.tell_written(told, ticket);
                self.written(due, ticket);
            }
            Err(LogError::WouldBlock) => out.again = true,
            Err(error @ LogError::Full { .. }) => {
                tracing::warn!(%error, "the log is full: nothing is taken until there is room");
                self.give_up(due, "its disk is full");
            }
            // The node was started with limits that fit, so a peer with others sent it. It harms
            // nobody but who sends it again and again.
            Err(error @ LogError::TooLarge { .. }) => {
                tracing::error!(%error, "a peer sent more than a batch of this log holds");
                self.give_up(due, "more than a batch of its log holds");
            }
            Err(error) => return Err(Error::Log(error)),
        }
        Ok(())
    }

    fn batch(&mut self, save: Option<Save>) -> Batch {
        let mut batch = Batch::new();
        if let Some(save) = save {
            if let Some(id) = save.reset {
                batch.reset(id.index + 1, Some(id));
                // The applier may meet the hole as soon as the batch is written.
                self.installed.store(id.index, Ordering::Release);
            }
            if let Some(from) = save.truncate_from {
                batch.truncate_from(from);
            }
            if !save.entries.is_empty() {
                batch.append(save.entries);
            }
            if let Some(hard_state) = save.hard_state {
                batch.hard_state(hard_state);
            }
            if let Some(configurations) = save.configurations {
                boot::put_configurations(&mut batch, &configurations);
            }
            if save.reset.is_some() {
                let mark = self.install.expect("the core resets only what is installed");
                assert!(Some(mark.id) == save.reset, "{mark:?} is not {:?}", save.reset);
                batch.snapshot_mark(mark);
                // Older than what is installed, so never to be marked.
                self.taken = None;
            }
        } else if self.due_mark().is_some() && self.core.hard_state() != self.log.hard_state() {
            // The mark never runs ahead of the commit index.
            batch.hard_state(self.core.hard_state());
        }
        if self.seen_is_news {
            boot::put_seen(&mut batch, &mut self.seen, self.core.membership());
        }
        if self.has_made_up_for_loss() {
            batch.acknowledge_loss();
            if self.abstains {
                boot::put_caught_up(&mut batch);
            }
        }
        if let Some(mark) = self.due_mark() {
            batch.snapshot_mark(mark);
            let to = self.trim_to(mark.id.index);
            if to > self.log.first_log_index() {
                batch.trim_before(to);
            }
        }
        batch
    }

    /// Whether what this log may have lost before it was opened no longer matters: it holds,
    /// durably, a committed entry of a later term than the one in which it was opened.
    ///
    /// Why that: terms are promises and never forgotten, so whatever this node acknowledged before
    /// was of that term or an older one. What of it was committed stands before every entry of a
    /// later term (Leader Completeness), and where an entry matches, so does everything before it
    /// (Log Matching). The same term proves nothing: its leader may have counted what is lost.
    fn has_made_up_for_loss(&self) -> bool {
        let Some(opened_in) = self.loss_term else { return false };
        matches!(self.core.term_at(self.apply_to), Slot::Present(term) if term > opened_in)
    }

    /// The snapshot of this node's own that may be marked now: never one ahead of the commit index,
    /// which goes back where a full disk took what was committed.
    pub(super) fn due_mark(&self) -> Option<SnapshotMark> {
        self.taken.filter(|mark| mark.id.index <= self.core.commit())
    }

    /// First index to keep once a snapshot up to `index` is marked: some entries stay for followers
    /// that are a little behind, and those after a snapshot that is on its way.
    pub(super) fn trim_to(&self, index: Index) -> Index {
        (index + 1).saturating_sub(self.keep_behind).min(self.transfers.floor())
    }

    fn written(&mut self, due: Option<SaveNumber>, ticket: Ticket) {
        // The commit index and a snapshot's mark promise nothing to anybody.
        // DURABILITY: a batch of those alone is not synced; it goes with the next sync, and the
        // engine removes no file before the mark that allows it is durable.
        self.taken = self.taken.filter(|mark| mark.id.index > self.core.commit());
        if self.abstains && !boot::abstains(&self.log) {
            tracing::info!("the node has caught up and votes again");
            self.abstains = false;
            self.core.abstain(false);
        }
        if self.log.maybe_lost().is_none() && !self.abstains {
            self.loss_term = None;
        }
        if std::mem::take(&mut self.seen_is_news) {
            // DURABILITY: what a peer showed of itself outlives a restart of all: the slot is a
            // promise, since to forget it is to accept an older copy of that peer's disk. Nobody
            // waits for this sync.
            self.ask_for_sync(ticket);
        }
        let Some(number) = due else {
            return self.core.commit_saved(self.log.hard_state().commit);
        };
        self.ledger.written(number, ticket);
        self.core.saved(number);
        if let Some(mark) = self.install.take() {
            self.restore = Some((number, mark));
        }
        self.ask_for_sync(ticket);
    }

    /// DURABILITY: the sync that covers `ticket`; one serves all that are asked for meanwhile.
    pub(super) fn ask_for_sync(&self, ticket: Ticket) {
        let wake = Arc::clone(&self.wake);
        let failure = Arc::clone(&self.sync_failure);
        self.syncer.notify(ticket, move |result| {
            if let Err(error) = result {
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
            wake();
        });
    }

    /// Looks whether a sync failed. A full disk is asked again at the next tick; after anything else
    /// the log has stopped, and so does the node: it would keep silent for ever.
    pub(super) fn check_sync(&mut self) -> Result<(), Error> {
        let failure = self.sync_failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failure {
            None => Ok(()),
            Some(error @ LogError::Full { .. }) => {
                tracing::warn!(%error, "a sync failed and is tried again");
                self.sync_again = true;
                Ok(())
            }
            Some(error) => Err(Error::Log(error)),
        }
    }

    /// The log does not take it: as if the node had stopped before this save and started again.
    fn give_up(&mut self, due: Option<SaveNumber>, why: &'static str) {
        let Some(due) = due else { return };
        self.core.abandon_unsaved(why);
        self.held.retain(|promise| promise.needs() < due);
        self.install = None;
    }

    /// Once the batch that marks an installed snapshot is durable, the state machine gets it.
    pub(super) fn finish_install(&mut self, proof: Durable, out: &mut Output) {
        let Some((number, mark)) = self.restore else { return };
        if number <= proof.number() {
            self.restore = None;
            self.dispatched = mark.id.index;
            self.tell_snapshot("installed", mark.id);
            out.apply.push(Apply::Restore(mark.id));
        }
    }
}
