//! What the driver tells of its node: the core's notes, and what becomes of the log.
//!
//! Above: the round of the driver. Below: a [`Voice`](crate::trace::Voice), which says nothing
//! unless somebody listens. Time is looked at here and nowhere else in the driver, to measure;
//! nothing depends on it.

use std::collections::VecDeque;

use hardlog::{EntryId, Ticket};

use super::Driver;
use crate::{ready::Save, trace::What};

/// Batches that the log took and that are not known to be durable, with the time of each.
#[derive(Debug)]
pub(super) struct Unsynced {
    batches: VecDeque<(Ticket, u64)>,
    /// Batches since the node started.
    count: u64,
    /// The log's active segment.
    segment: u64,
}

impl Unsynced {
    pub(super) fn new(segment: u64) -> Self {
        Self { batches: VecDeque::new(), count: 0, segment }
    }
}

impl Driver {
    /// Passes on what the core noted.
    #[inline]
    pub(super) fn tell(&mut self) {
        if self.voice.is_on() {
            self.core.take_notes().into_iter().for_each(|what| self.voice.note(|| what));
        }
    }

    pub(super) fn tell_snapshot(&self, what: &'static str, id: EntryId) {
        let (index, term) = (id.index, id.term);
        self.voice.note(|| What::Snapshot { what: what.into(), index, term });
    }

    /// What is to be told of the next batch once the log took it.
    pub(super) fn told(&self, save: Option<&Save>) -> Vec<What> {
        if !self.voice.is_on() {
            return Vec::new();
        }
        let mut told = Vec::new();
        if let Some(after) = save.and_then(|save| save.truncate_from) {
            told.push(What::TrimTail { after: after.saturating_sub(1) });
        }
        let hard_state = save.and_then(|save| save.hard_state);
        let entries = save.map_or(&[][..], |save| &save.entries);
        told.push(What::Write {
            first: entries.first().map(hardlog::Entry::index),
            last: entries.last().map(hardlog::Entry::index),
            term: hard_state.map(|state| state.term),
            vote: hard_state.and_then(|state| state.vote),
            batch: self.unsynced.count + 1,
        });
        let reset = save.and_then(|save| save.reset).map(|id| id.index + 1);
        let trim = self.due_mark().map(|mark| self.trim_to(mark.id.index));
        let first = self.log.first_log_index();
        let begins = reset.or(trim.filter(|to| *to > first));
        told.extend(begins.map(|first| What::TrimPrefix { first }));
        told
    }

    /// The log took it.
    pub(super) fn tell_written(&mut self, told: Vec<What>, ticket: Ticket) {
        self.unsynced.count += 1;
        self.unsynced.batches.push_back((ticket, self.voice.now()));
        told.into_iter().for_each(|what| self.voice.note(|| what));
        let segment = self.log.incarnation();
        if segment != self.unsynced.segment {
            self.unsynced.segment = segment;
            self.voice.note(|| What::Rotate { segment });
        }
    }

    /// The log's watermark may have risen.
    pub(super) fn tell_synced(&mut self) {
        let durable = self.syncer.durable();
        let done = self.unsynced.batches.partition_point(|(ticket, _)| *ticket <= durable);
        let Some((_, oldest)) = self.unsynced.batches.drain(..done).next() else { return };
        let us = self.voice.now().saturating_sub(oldest);
        self.voice.note(|| What::Sync { us });
    }
}
