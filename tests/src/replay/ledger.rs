//! What the caller was told, kept apart from the log so that it can judge it.
//!
//! A port of the model's `Ledger`. It knows the states that a recovery may show, one for each batch
//! written since the last open; which of them was acknowledged; where each batch lies in which file;
//! and what else on the disk states how much durable.

use std::collections::BTreeMap;

use hardlog::{Error, error::Reason};

use super::look::{Outcome, Seen, View, Vows};

/// Bytes of a sector.
pub(super) const SECTOR: u64 = 512;
/// Bytes at the start of a batch in which its statement of durability lies.
const STATED_WITHIN: u64 = 104;

/// A stretch of a segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Place {
    fn meets(&self, other: &Self) -> bool {
        self.file == other.file && self.start < other.end && other.start < self.end
    }
}

/// What was done to a disk besides cutting its power.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// A failed writeback harmed this sector, which may still count.
    Harmed { place: Place },
    /// This sector rotted; `zeroed` says whether to zeros.
    Rotten { place: Place, zeroed: bool },
}

/// What the log showed after one batch.
#[derive(Clone, Debug)]
struct Stage {
    view: View,
    /// Lowest index that the batch touched.
    lowest: Option<u64>,
    seq: u64,
}

/// A statement on the disk that everything up to `durable` was synced; without a place where no one
/// rotten sector can harm it.
#[derive(Clone, Debug)]
struct Statement {
    durable: u64,
    place: Option<Place>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    stages: Vec<Stage>,
    acked: usize,
    vows: Vec<Vows>,
    vows_acked: usize,
    /// The newest batch is one whose write failed.
    unknown: bool,
    /// A batch whose write is under way: its sequence, and whether it changes a promise.
    writing: Option<(u64, bool)>,
    /// Where batches lie, with their bytes.
    places: BTreeMap<u64, (Place, Vec<u8>)>,
    vow_markers: Vec<Place>,
    last_write: Option<Place>,
    proof: Vec<Statement>,
    unsynced: Vec<Statement>,
}

impl Ledger {
    /// An open handed this out: it is acknowledged, and all of it is proven.
    pub(super) fn rebase(&mut self, seen: &Seen, seq: u64) {
        *self = Self {
            stages: vec![Stage { view: seen.view.clone(), lowest: None, seq }],
            vows: vec![seen.vows.clone()],
            proof: vec![Statement { durable: seq, place: None }],
            ..Self::default()
        };
    }

    /// A batch is about to be written.
    pub(super) fn writes(&mut self, view: View, vows: &Vows, lowest: Option<u64>) {
        let seq = self.last_seq() + 1;
        self.stages.push(Stage { view, lowest, seq });
        let vow = self.vows.last() != Some(vows);
        if vow {
            self.vows.push(vows.clone());
        }
        self.writing = Some((seq, vow));
    }

    /// The batch that is about to be written will fail, whatever of it reaches the file.
    pub(super) fn will_fail(&mut self) {
        self.unknown = true;
    }

    pub(super) fn last_seq(&self) -> u64 {
        self.stages.last().map_or(0, |stage| stage.seq)
    }

    pub(super) fn is_begun(&self) -> bool {
        !self.stages.is_empty()
    }

    /// Tells apart the times at which the same disk must be judged differently.
    pub(super) fn moment(&self) -> (usize, usize) {
        (self.acked, self.stages.len())
    }

    /// The disk took a write to a segment that has its name. Nothing but batches, each in one write
    /// with the marker that it brings, and markers is written there.
    pub(super) fn saw_write(&mut self, place: Place, bytes: &[u8]) {
        const PAGE: u64 = 4096;
        let durable = self.stages.get(self.acked).map_or(0, |stage| stage.seq);
        self.last_write = Some(place.clone());
        let Some((seq, vow)) = self.writing.take() else {
            self.unsynced.push(Statement { durable, place: Some(place) });
            return;
        };
        let mut batch = place.clone();
        if vow {
            // Its marker is the last thing in the write, and begins at a page.
            batch.end = (place.end.saturating_sub(1) / PAGE * PAGE).max(place.start);
            let marker = Place { start: batch.end, ..place.clone() };
            self.vow_markers.push(marker.clone());
            self.unsynced.push(Statement { durable, place: Some(marker) });
        }
        let head = Place { end: batch.end.min(batch.start + STATED_WITHIN), ..batch.clone() };
        self.unsynced.push(Statement { durable, place: Some(head) });
        let len = usize::try_from(batch.end - batch.start).expect("within a segment");
        self.places.insert(seq, (batch, bytes.get(..len).unwrap_or_default().to_vec()));
    }

    /// Where the last batch or marker that was written to a file ended.
    pub(super) fn end_of(&self, file: &str) -> Option<u64> {
        self.last_write.as_ref().filter(|place| place.file == file).map(|place| place.end)
    }

    /// Everything written so far is durable.
    pub(super) fn ack(&mut self) {
        if self.unknown {
            // It stayed behind in the old segment, beyond the end that counts.
            self.stages.pop();
            self.unknown = false;
        }
        self.acked = self.stages.len() - 1;
        self.vows_acked = self.vows.len() - 1;
        self.proof.append(&mut self.unsynced);
        self.writing = None;
    }

    /// As `ack`, by a new segment: it states everything in it durable, safe from any one sector.
    pub(super) fn ack_in_successor(&mut self) {
        self.ack();
        self.proof.push(Statement { durable: self.last_seq(), place: None });
    }

    /// Whether `outcome`, of a disk with this fault, breaks a promise: which, if so.
    pub(super) fn judge(&self, outcome: &Outcome, fault: Option<&Fault>) -> Option<String> {
        let row = outcome.row();
        let seen = match &outcome.seen {
            Ok(seen) => seen,
            Err(e) => {
                let fine = fault.is_some() && !is_missing(e) && is_typed(e);
                return (!fine).then(|| format!("open refuses: {e}"));
            }
        };
        let Some(at) = self.stages.iter().rposition(|stage| stage.view == seen.view) else {
            return Some(format!("a state that never was ({row}): {:?}", seen.view));
        };
        let vows = &self.vows[self.vows_acked..];
        let kept = |holds: &dyn Fn(&Vows) -> bool| vows.iter().any(holds);
        if !kept(&|v| v.hard == seen.vows.hard) || !kept(&|v| v.slot == seen.vows.slot) {
            return Some(format!("a promise was forgotten ({row}): {:?}", seen.vows));
        }
        let lost = self.stages.get(at + 1..=self.acked).unwrap_or_default();
        let first = lost.first()?;
        let seqs: Vec<u64> = lost.iter().map(|stage| stage.seq).collect();
        let what = format!("acknowledged batches {seqs:?} lost");
        let Some(fault) = fault else { return Some(format!("{what} ({row})")) };

        let proof = self.proof_left(fault);
        if first.seq <= proof {
            return Some(format!("{what}, though the disk proves {proof} durable ({row})"));
        }
        if outcome.is_unproven() {
            let low = lost.iter().filter_map(|stage| stage.lowest).min()?;
            let honest = seen.maybe_lost.is_some_and(|index| index <= low);
            let said = seen.maybe_lost;
            return (!honest).then(|| format!("{what} from {low} on, but maybe_lost is {said:?}"));
        }
        (!self.is_residue(lost, fault)).then(|| format!("{what} silently ({row})"))
    }

    /// The highest sequence that is stated durable outside of what the fault harmed.
    fn proof_left(&self, fault: &Fault) -> u64 {
        let (Fault::Rotten { place: bad, .. } | Fault::Harmed { place: bad }) = fault;
        let harmed = |statement: &Statement| {
            statement.place.as_ref().is_some_and(|stated| stated.meets(bad))
        };
        self.proof.iter().filter(|s| !harmed(s)).map(|s| s.durable).max().unwrap_or(0)
    }

    /// What remains without evidence: acknowledged last batches whose bytes other than zero all lie
    /// in one sector that turned to zeros, with no marker in it that was due.
    fn is_residue(&self, lost: &[Stage], fault: &Fault) -> bool {
        let Fault::Rotten { place: rot, zeroed: true } = fault else { return false };
        if self.vow_markers.iter().any(|marker| marker.meets(rot)) {
            return false;
        }
        lost.iter().all(|stage| {
            self.places.get(&stage.seq).is_some_and(|(place, bytes)| {
                let outside = (place.start..).zip(bytes).filter(|(at, _)| !rot.contains(*at));
                place.file == rot.file && outside.into_iter().all(|(_, byte)| *byte == 0)
            })
        })
    }
}

impl Place {
    fn contains(&self, offset: u64) -> bool {
        (self.start..self.end).contains(&offset)
    }
}

/// A file that the log counts on is gone: no rotten sector can do that.
fn is_missing(error: &Error) -> bool {
    match error {
        Error::Corrupt(damage) => {
            matches!(damage.reason, Reason::MissingSegment | Reason::MissingSnapshot)
        }
        Error::NotALog { .. } => true,
        _ => false,
    }
}

/// An error that an operator can act on after damage.
fn is_typed(error: &Error) -> bool {
    matches!(error, Error::Corrupt(_) | Error::Io { .. })
}
