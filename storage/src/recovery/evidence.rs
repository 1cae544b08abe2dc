//! What proves, or does not prove, that the bytes missing at X were durable.
//!
//! Above: `recovery::outline`, which stops or steps over, and `inspect`, which goes on. Both ask here,
//! so a tool and an open cannot disagree about a verdict. Below: `scan`, `verdict`. Reads only.

use std::{ops::ControlFlow, path::Path};

use crate::{
    batch::{Class, PAGE},
    error::{Error, Evidence, Result},
    fs::File,
    header::Header,
    meaning::{Step, steps_of_batch},
    scan::{Frame, HeadAt, content_end, search},
    verdict::{Observed, Row, Verdict, judge},
};

/// Nothing of a segment lies at or beyond this offset (FORMAT.md, "Limits").
const SEGMENT_LEN_MAX: u64 = 4 << 30;
/// No batch is longer: half of the largest segment that can be configured.
const BATCH_LEN_MAX: u64 = 512 << 20;

/// One segment, and up to where it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) file: &'a dyn File,
    pub(crate) path: &'a Path,
    pub(crate) header: &'a Header,
    pub(crate) frame: Frame,
    /// P of the successor, if any.
    pub(crate) sealed: Option<u64>,
    /// The file has a length that a writer gives it: a whole number of pages.
    pub(crate) uncut: bool,
}

impl<'a> Place<'a> {
    /// The segment in `file`, whose length is `len`; to its P only where that is known.
    pub(crate) fn new(
        (file, path): (&'a dyn File, &'a Path),
        header: &'a Header,
        len: u64,
        sealed: Option<u64>,
    ) -> Self {
        // A segment is shorter than that: what lies beyond is no writer's, and a file that somebody
        // made large with a hole would take hours to read.
        let end = sealed.unwrap_or(len).min(SEGMENT_LEN_MAX);
        let batch_max = header.batch_max.min(BATCH_LEN_MAX);
        let frame = Frame { salt: header.salt, batch_max, end };
        Self {
            file,
            path,
            header,
            frame,
            sealed,
            uncut: sealed.is_some() || len.is_multiple_of(PAGE),
        }
    }

    /// Sequence that State carries, one below that of the first batch.
    pub(crate) fn first_seq(&self) -> u64 {
        self.header.predecessor.map_or(0, |p| p.last_seq)
    }

    pub(crate) fn io(&self, e: std::io::Error) -> Error {
        Error::io("read", self.path, e)
    }
}

/// A place where no valid batch of the expected sequence stands, or one with bad bodies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suspect {
    pub(crate) x: u64,
    /// A zero head stands at X.
    pub(crate) zero_head: bool,
    /// The sequence that was expected.
    pub(crate) seq: u64,
    /// State was read before.
    pub(crate) begun: bool,
    /// The last batch changed a promise, and its marker has not come yet.
    pub(crate) vow: bool,
}

/// The verdict on X and what was seen beyond.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) row: Row,
    pub(crate) verdict: Verdict,
    pub(crate) evidence: Evidence,
    pub(crate) beyond: Beyond,
}

impl Place<'_> {
    /// The verdict on a suspect place.
    pub(crate) fn judge(&self, at: Suspect) -> Result<Judged> {
        let end = self.frame.end;
        let born_end = self.header.born_end;
        let before_born_end = at.x < born_end || !at.begun;
        let before_sealed_end = self.sealed.is_some_and(|end| at.x < end);
        // What was stated durable needs no more proof: the first head behind X is enough then.
        let stated = before_born_end || before_sealed_end;
        let content =
            if stated { end } else { content_end(self.file, at.x, end).map_err(|e| self.io(e))? };
        let empty = at.zero_head && content == at.x;
        // Where old bytes may stand, nobody knows which of them are a loss.
        let known = if self.header.reused { at.x } else { content };
        let mut beyond = Beyond { end: known, ..Beyond::default() };
        if !empty {
            search(self.file, self.frame, at.x, at.seq, |head, bytes| {
                beyond.head(at.x, at.seq, head, bytes);
                if stated && beyond.first.is_some() {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })
            .map_err(|e| self.io(e))?;
        }
        let observed = Observed {
            before_born_end,
            before_sealed_end,
            stated_durable: beyond.durable.is_some_and(|(_, durable)| durable >= at.seq),
            only_markers_missing: beyond.go_on.is_some(),
            zeros_to_end: empty && self.uncut,
            marker_was_due: at.vow,
        };
        let (row, verdict) = judge(&observed);
        let evidence = match row {
            Row::BornEnd => Evidence::BornEnd(born_end),
            Row::SealedEnd => Evidence::SealedEnd(end),
            Row::StatedDurable => beyond.durable.map_or(Evidence::Chain, |(offset, durable)| {
                Evidence::LaterBatch { offset, durable }
            }),
            Row::Zeros | Row::Otherwise => Evidence::Chain,
        };
        Ok(Judged { row, verdict, evidence, beyond })
    }
}

/// What the search from X on found.
#[derive(Debug, Default)]
pub(crate) struct Beyond {
    /// Valid heads.
    pub(crate) heads: u64,
    /// End of the last byte other than zero, or of the last valid batch.
    pub(crate) end: u64,
    /// The head that states the highest sequence durable: its offset, and that sequence.
    pub(crate) durable: Option<(u64, u64)>,
    /// Where only markers are missing: the batch with the expected sequence.
    pub(crate) go_on: Option<u64>,
    /// The valid head at X itself, whose sequence is another one or whose bodies are bad.
    pub(crate) here: Option<HeadAt>,
    /// The first valid head strictly after X.
    pub(crate) first: Option<HeadAt>,
    pub(crate) promises: Vec<Step>,
}

impl Beyond {
    fn head(&mut self, x: u64, seq: u64, at: HeadAt, bytes: &[u8]) {
        self.heads += 1;
        self.end = self.end.max(at.end());
        if self.durable.is_none_or(|(_, durable)| at.head.durable > durable) {
            self.durable = Some((at.offset, at.head.durable));
        }
        if at.offset == x {
            self.here = Some(at);
        } else if self.first.is_none() {
            self.first = Some(at);
            let is_next = !at.head.is_marker() && at.head.seq == seq && at.bodies.is_ok();
            self.go_on = is_next.then_some(at.offset);
        }
        let Ok(steps) = steps_of_batch(&at.head, bytes) else { return };
        let whole = at.bodies.is_ok();
        self.promises.extend(steps.into_iter().filter(|step| match step {
            Step::HardState(_) => true,
            Step::Meta(_, slot) => whole && slot.class == Class::Promise,
            _ => false,
        }));
    }
}
