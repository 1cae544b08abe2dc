//! Walks one segment to its end, past any damage, and says what it meets.
//!
//! ```text
//!   │State│marker│batch│batch│▒▒▒▒▒│batch│bad body│batch│▒▒▒▒ 0000
//!    Batch Batch  Batch Batch  Gap  Batch  BadBody Batch  (end)
//! ```
//!
//! Above: `tally` (counts and checks) and `dump` (shows). Below: `scan` (the loop over batches) and
//! `recovery::evidence` (the verdict): the same two that an open uses. Where an open stops, the walk
//! says so and goes on at the next valid head; what lies between is a gap.
//! INVARIANT: memory is two buffers, each as large as the largest batch at most.

use std::ops::ControlFlow;

use crate::{
    batch::{Flaw, HEAD_LEN, Head, is_zero},
    entry::EntryId,
    error::{Evidence, Result},
    fs::read_full,
    header::BATCHES_AT,
    inspect::finding::Code,
    meaning::{Step, state_of_batch, steps_of_batch},
    recovery::{
        evidence::{Judged, Place, Suspect},
        outline::{Promises, bad_entries},
    },
    scan::{HeadAt, Scan, Step as Scanned, Stop},
    state::LogState,
    verdict::Verdict,
};

/// What the walk meets, in the order of the file.
pub(crate) enum Event<'a> {
    /// The first batch of the segment.
    State(&'a HeadAt, Box<LogState>),
    /// A valid batch or marker.
    Batch(&'a HeadAt, &'a [u8], &'a [Step]),
    /// A batch that was durable, with a valid head and bad bodies.
    BadBody(BadBody<'a>),
    /// Bytes that were durable and hold no valid batch.
    Gap(Gap),
    /// Only markers are missing between these offsets.
    MarkersMissing { from: u64, to: u64, evidence: Evidence },
}

/// A batch whose head checks and whose bodies do not.
pub(crate) struct BadBody<'a> {
    pub(crate) at: &'a HeadAt,
    pub(crate) bytes: &'a [u8],
    /// Which entries are bad and what the batch does; None where more than payloads is bad.
    pub(crate) known: Option<(Vec<EntryId>, Vec<Step>)>,
    pub(crate) evidence: Evidence,
}

/// A span that was durable and is unreadable.
pub(crate) struct Gap {
    pub(crate) code: Code,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Sequence that was expected at its beginning.
    pub(crate) seq: u64,
    /// Sequence of the batch at its end, if there is one.
    pub(crate) next_seq: Option<u64>,
    /// How many batches are lost, if that is known; State and markers do not count.
    pub(crate) lost: Option<u64>,
    pub(crate) evidence: Evidence,
    pub(crate) detail: String,
}

/// How a walk ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    /// Where the batches end.
    pub(crate) x: u64,
    pub(crate) verdict: Verdict,
    pub(crate) evidence: Evidence,
    /// Bytes that a batch at X, or one found beyond it, takes: what an open goes on without.
    pub(crate) dropped: u64,
    /// Valid heads behind X.
    pub(crate) behind: u64,
    /// Sequence of the last batch.
    pub(crate) seq: u64,
}

/// Walks the segment at `place`; `each` may end it early.
///
/// # Errors
/// `Io` alone: damage is told, not returned.
pub(crate) fn walk(
    place: Place<'_>,
    each: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<(Ending, Promises)> {
    let seq = place.first_seq();
    let scan = Scan::new(place.file, place.frame, BATCHES_AT, seq);
    let walk =
        Walk { place, begun: false, vow: false, promises: Promises::default(), reread: None, each };
    walk.run(scan)
}

struct Walk<'a, 'e> {
    place: Place<'a>,
    begun: bool,
    /// The last batch changed a promise and its marker has not come yet.
    vow: bool,
    promises: Promises,
    /// The last place that was read a second time.
    reread: Option<u64>,
    each: &'e mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
}

/// Where to go on: the offset, and the sequence before the batch there.
type GoOn = (u64, u64);

impl<'a> Walk<'a, '_> {
    fn run(mut self, mut scan: Scan<'a>) -> Result<(Ending, Promises)> {
        loop {
            let here = scan.offset;
            let (step, bytes) = scan.next().map_err(|e| self.place.io(e))?;
            let (bad, zero_head) = match step {
                Scanned::Batch(at) => {
                    if self.batch(&at, bytes).is_break() {
                        return Ok((self.ending(here, scan.seq), self.promises));
                    }
                    continue;
                }
                Scanned::Stop(Stop { at_end: true, .. })
                    if self.place.sealed.is_some() && here == self.place.frame.end =>
                {
                    return Ok((self.ending(here, scan.seq), self.promises));
                }
                // A torn write leaves no valid head: an open refuses it, whatever may prove what.
                Scanned::BadBody(at) if at.bodies == Err(Flaw::Meaning) => {
                    if self.refused(&at).is_break() {
                        return Ok((self.ending(here, scan.seq), self.promises));
                    }
                    scan.pass(at.end(), at.head.seq);
                    continue;
                }
                Scanned::BadBody(at) => {
                    let steps = steps_of_batch(&at.head, bytes).ok();
                    (Some((at, bytes.to_vec(), bad_entries(&at.head, bytes).zip(steps))), false)
                }
                Scanned::Stop(stop) => (None, stop.zero_head),
            };
            let seq = scan.seq.wrapping_add(1);
            let suspect = Suspect { x: here, zero_head, seq, begun: self.begun, vow: self.vow };
            let judged = self.place.judge(suspect)?;
            if judged.verdict == Verdict::Corrupt && self.reread != Some(here) {
                // A live writer may have been at it. What states these bytes durable was written
                // after them, so they are whole by now, or damaged.
                self.reread = Some(here);
                scan = Scan::new(self.place.file, self.place.frame, here, scan.seq);
                continue;
            }
            let go_on = match (judged.verdict, bad) {
                (Verdict::CleanEnd | Verdict::Unproven, bad) => {
                    let ending = self.judged_ending(here, scan.seq, &judged, bad.map(|b| b.0));
                    self.promises.take(&judged.beyond.promises);
                    return Ok((ending, self.promises));
                }
                (Verdict::MarkersMissing, _) => {
                    let to = judged.beyond.go_on.unwrap_or(self.place.frame.end);
                    let evidence = judged.evidence;
                    let event = Event::MarkersMissing { from: here, to, evidence };
                    (self.tell(event), Some((to, scan.seq)))
                }
                (Verdict::Corrupt, Some((at, bytes, known))) => {
                    self.bad_body(&at, &bytes, known, judged.evidence)
                }
                (Verdict::Corrupt, None) => self.gap(suspect, &judged)?,
            };
            match go_on {
                (ControlFlow::Continue(()), Some((offset, seq))) => scan.pass(offset, seq),
                _ => {
                    let ending = self.judged_ending(here, scan.seq, &judged, None);
                    return Ok((ending, self.promises));
                }
            }
        }
    }

    fn tell(&mut self, event: Event<'_>) -> ControlFlow<()> {
        (self.each)(event)
    }

    fn refused(&mut self, at: &HeadAt) -> ControlFlow<()> {
        self.begun = true;
        let gap = self.meaningless(at);
        self.tell(Event::Gap(gap))
    }

    /// A batch whose head checks and that says what nobody writes.
    fn meaningless(&self, at: &HeadAt) -> Gap {
        Gap {
            code: Code::W204,
            from: at.offset,
            to: at.end(),
            seq: at.head.seq,
            next_seq: None,
            lost: None,
            evidence: Evidence::BornEnd(self.place.header.born_end),
            detail: "a valid batch says what no version of this log writes".to_owned(),
        }
    }

    fn batch(&mut self, at: &HeadAt, bytes: &[u8]) -> ControlFlow<()> {
        if !std::mem::replace(&mut self.begun, true) {
            self.vow = true;
            return match state_of_batch(&at.head, bytes) {
                Ok(Some(state)) => {
                    self.promises.take_state(&state);
                    self.tell(Event::State(at, Box::new(state)))
                }
                Ok(None) | Err(_) => {
                    let gap = Gap {
                        detail: "the segment does not begin with a State batch".to_owned(),
                        ..self.meaningless(at)
                    };
                    self.tell(Event::Gap(gap))
                }
            };
        }
        match steps_of_batch(&at.head, bytes) {
            Ok(steps) if !at.state => {
                self.vow = self.promises.hear(&steps, at.head.is_marker());
                self.tell(Event::Batch(at, bytes, &steps))
            }
            Ok(_) | Err(_) => self.tell(Event::Gap(self.meaningless(at))),
        }
    }

    fn bad_body(
        &mut self,
        at: &HeadAt,
        bytes: &[u8],
        known: Option<(Vec<EntryId>, Vec<Step>)>,
        evidence: Evidence,
    ) -> (ControlFlow<()>, Option<GoOn>) {
        self.begun = true;
        let known = known.filter(|_| !at.state);
        self.vow = at.state
            || known
                .as_ref()
                .is_some_and(|(_, steps)| self.promises.hear(steps, at.head.is_marker()));
        let event = Event::BadBody(BadBody { at, bytes, known, evidence });
        (self.tell(event), Some((at.end(), at.head.seq)))
    }

    /// Tells of the bytes from X to the next valid head, and goes on there.
    fn gap(&mut self, at: Suspect, judged: &Judged) -> Result<(ControlFlow<()>, Option<GoOn>)> {
        let beyond = &judged.beyond;
        let next = beyond.here.or(beyond.first);
        let (code, detail) = match beyond.here {
            Some(found) => {
                (Code::W205, format!("sequence {} where {} was expected", found.head.seq, at.seq))
            }
            None => self.why_no_head(at.x)?,
        };
        let evidence = judged.evidence;
        let to = next.map_or(self.place.frame.end, |next| next.offset).max(at.x);
        let next_seq = next.map(|next| next.head.seq);
        // State and markers carry the sequence of the batch before them.
        let go_on = next.map(|next| {
            let still = next.state || next.head.is_marker();
            (next.offset, next.head.seq.wrapping_sub(u64::from(!still)))
        });
        let lost = go_on.and_then(|(_, before)| before.checked_sub(at.seq.wrapping_sub(1)));
        let gap = Gap { code, from: at.x, to, seq: at.seq, next_seq, lost, evidence, detail };
        self.begun |= next.is_some_and(|next| !next.state);
        self.vow = false;
        Ok((self.tell(Event::Gap(gap)), go_on))
    }

    /// What is wrong with the head at X.
    fn why_no_head(&self, x: u64) -> Result<(Code, String)> {
        let place = &self.place;
        let mut raw = [0; HEAD_LEN];
        let got = read_full(place.file, &mut raw, x).map_err(|e| place.io(e))?;
        let raw = &raw[..got];
        if is_zero(raw) {
            return Ok((Code::W201, "zeros where a batch was".to_owned()));
        }
        let Some(head) = Head::peek(raw, place.header.salt, x) else {
            return Ok((Code::W201, "no head of this place".to_owned()));
        };
        let len = head.len() as u64;
        if len > place.frame.batch_max || len > place.frame.end.saturating_sub(x) {
            return Ok((Code::W203, format!("a length of {len} bytes")));
        }
        let mut bytes = vec![0; head.head_len()];
        let got = read_full(place.file, &mut bytes, x).map_err(|e| place.io(e))?;
        bytes.truncate(got);
        let detail = match head.sums(&bytes, place.header.salt, x) {
            Some((stored, computed)) if stored != computed => {
                format!("stored {stored:08x} computed {computed:08x}")
            }
            _ => "numbers that no writer writes".to_owned(),
        };
        Ok((Code::W201, detail))
    }

    fn ending(&self, x: u64, seq: u64) -> Ending {
        Ending {
            x,
            verdict: Verdict::CleanEnd,
            evidence: Evidence::SealedEnd(x),
            dropped: 0,
            behind: 0,
            seq,
        }
    }

    fn judged_ending(&self, x: u64, seq: u64, judged: &Judged, bad: Option<HeadAt>) -> Ending {
        let end = judged.beyond.end.max(bad.map_or(0, |at| at.end()));
        Ending {
            verdict: judged.verdict,
            evidence: judged.evidence,
            dropped: end.saturating_sub(x),
            behind: judged.beyond.heads - u64::from(judged.beyond.here.is_some()),
            ..self.ending(x, seq)
        }
    }
}
