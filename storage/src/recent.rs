//! Recent batches in memory: what a reader finds without the disk, and what must be written again
//! should the segment they are in fail.
//!
//! Above: `wal` and `reader`. Below: memory.
//! INVARIANT: a batch stays until a failed writeback can no longer harm it: until it is durable and
//! ends at or before the last page that is durable whole. The option `recent_max` bounds the rest.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use crate::{batch::PAGE, entry::Index, layout::SegmentId, wal::Version};

/// A batch as it stands in a segment.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) segment: SegmentId,
    pub(crate) offset: u64,
    pub(crate) end: u64,
    pub(crate) seq: u64,
    /// The whole batch, padding included.
    pub(crate) bytes: Bytes,
    /// The log as of its place in the order.
    pub(crate) after: Arc<Version>,
}

/// Batches in the order in which they were written.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    kept: VecDeque<Kept>,
    bytes: u64,
}

impl Recent {
    pub(crate) fn push(&mut self, kept: Kept) {
        self.bytes += weight(&kept);
        self.kept.push_back(kept);
    }

    /// Drops the oldest batches over `max` bytes, as far as they are safe on disk: those of older
    /// segments, and those of `segment` that end before the page of `durable_end`. Returns them.
    pub(crate) fn evict(&mut self, max: u64, segment: SegmentId, durable_end: u64) -> Vec<Kept> {
        let mut gone = Vec::new();
        while self.bytes > max {
            let safe = |k: &Kept| k.segment < segment || k.end <= durable_end / PAGE * PAGE;
            if !self.kept.front().is_some_and(safe) {
                break;
            }
            let Some(kept) = self.kept.pop_front() else { break };
            self.bytes -= weight(&kept);
            gone.push(kept);
        }
        gone
    }

    /// Lets go of the files behind everything before `first`, whose trim of sequence `seq` is proven:
    /// each batch holds the version of its time, and a version its files. Drops the batches before
    /// the trim as [`Self::evict`] would, and takes the trimmed part out of what must stay.
    pub(crate) fn release(
        &mut self,
        (seq, first): (u64, Index),
        segment: SegmentId,
        durable_end: u64,
    ) -> Option<Kept> {
        let mut last = None;
        let safe = |k: &Kept| k.segment < segment || k.end <= durable_end / PAGE * PAGE;
        while self.kept.front().is_some_and(|k| k.seq < seq && safe(k)) {
            let Some(kept) = self.kept.pop_front() else { break };
            self.bytes -= weight(&kept);
            last = Some(kept).filter(|kept| kept.segment == segment).or(last);
        }
        for kept in self.kept.iter_mut().take_while(|k| k.seq < seq) {
            Arc::make_mut(&mut kept.after).map.trim(first);
        }
        last
    }

    /// All batches of `segment`, in order.
    pub(crate) fn of(&self, segment: SegmentId) -> impl Iterator<Item = &Kept> {
        self.kept
            .iter()
            .skip_while(move |k| k.segment < segment)
            .take_while(move |k| k.segment == segment)
    }

    /// Forgets the batches of `segment` from `offset` on: they moved to its successor.
    pub(crate) fn forget_from(&mut self, segment: SegmentId, offset: u64) {
        while self.kept.back().is_some_and(|k| k.segment == segment && k.offset >= offset) {
            if let Some(kept) = self.kept.pop_back() {
                self.bytes -= weight(&kept);
            }
        }
    }

    /// The batch at or behind `offset` of `segment`, before `end`, that `holds` accepts first. Nothing
    /// after sequence `seq` is looked at: a reader's version knows nothing of it.
    pub(crate) fn find<T>(
        &self,
        segment: SegmentId,
        (offset, end): (u64, u64),
        seq: u64,
        mut holds: impl FnMut(&Kept) -> Option<T>,
    ) -> Option<T> {
        let at = self.kept.partition_point(|k| (k.segment, k.offset) < (segment, offset));
        self.kept
            .range(at..)
            .take_while(|k| k.segment == segment && k.offset < end && k.seq <= seq)
            .find_map(&mut holds)
    }
}

/// Bytes of memory that a batch takes, its version included.
fn weight(kept: &Kept) -> u64 {
    kept.bytes.len() as u64 + 512
}
