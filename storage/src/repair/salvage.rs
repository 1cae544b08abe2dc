//! Reads a log that an open refuses: what each entry of the window is worth, whatever is damaged.
//!
//! The chain is walked backwards once to know which segments belong to it (as `inspect` does it), then
//! replayed forwards into a [`Ledger`], past every gap. Where damage hides what a batch did, what
//! comes later says how the log stood: the State of the next segment, the next entries.
//!
//! Above: `repair`, for the log itself and for a replica. Below: `inspect::{chain, walk}`, `ledger`.
//! Reads only, takes no lock, maps nothing. Memory follows the number of segments, truncations and
//! changes of term, not the entries.

use std::ops::ControlFlow;

use crate::{
    batch::{Head, Section, Sections},
    entry::{EntryId, LogId},
    error::Result,
    fs::Fs,
    header::{BATCHES_AT, Header, Predecessor},
    inspect::{
        chain::{Chain, Headers},
        inventory::Inventory,
        walk::{BadBody, Ending, Event, Gap, walk},
    },
    layout::SegmentId,
    meaning::{Step, steps_of_batch},
    recovery::{
        chain::{Opened, open_segment, read_index},
        evidence::Place,
        outline::Promises,
    },
    repair::ledger::Ledger,
    segment::segment_path,
    state::LogState,
    verdict::Verdict,
};

/// A segment of the chain, after its replay.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) header: Header,
    /// What its successor says of it.
    pub(crate) sealed: Option<Predecessor>,
    /// Nothing at all is wrong in it, and it fits what came before.
    pub(crate) sound: bool,
    /// Where its batches end.
    pub(crate) end: u64,
    /// The log as of its end.
    pub(crate) after: LogState,
}

/// A log as far as it can be read.
#[derive(Clone, Debug)]
pub(crate) struct Salvage {
    pub(crate) log_id: LogId,
    /// Oldest first.
    pub(crate) parts: Vec<Part>,
    pub(crate) ledger: Ledger,
    /// The newest promises found anywhere in the newest segment.
    pub(crate) promises: Promises,
    /// Lost batches may have held a newer term, vote or promise slot.
    pub(crate) vows_doubtful: bool,
    /// Lost batches, or a State that nothing else tells of, may have held newer metadata.
    pub(crate) slots_doubtful: bool,
    /// Highest commit index that anything valid states.
    pub(crate) commit_seen: u64,
    /// The verdict on the end is unproven: from here on entries may be lost.
    pub(crate) unproven: Option<u64>,
    /// Highest sequence of a batch that counts.
    pub(crate) last_seq: u64,
    /// Where the newest segment's batches end.
    pub(crate) x: u64,
    /// Largest batch that any segment allows.
    pub(crate) batch_max: u64,
}

/// Reads the log in `fs`; `Ok(None)` where no header of a segment can be read.
pub(crate) fn salvage(fs: &dyn Fs, found: &Inventory) -> Result<Option<Salvage>> {
    let headers = Headers::read(fs, found);
    let Some((&top, &(header, _))) = headers.sound.iter().next_back() else { return Ok(None) };
    let mut chain = Chain {
        fs,
        headers: &headers,
        quick: true,
        members: Vec::new(),
        findings: Vec::new(),
        troubles: Vec::new(),
    };
    chain.walk(top, 1, &mut |_, _| {});
    let members: Vec<_> = chain.members.iter().rev().map(|m| (m.header, m.sealed)).collect();
    let mut replay = Replay {
        fs,
        found: Salvage {
            log_id: header.log_id,
            parts: Vec::with_capacity(members.len()),
            ledger: Ledger::adrift(),
            promises: Promises::default(),
            vows_doubtful: false,
            slots_doubtful: false,
            commit_seen: 0,
            unproven: None,
            last_seq: 0,
            x: BATCHES_AT,
            batch_max: 0,
        },
        joined: false,
    };
    let count = members.len();
    for (at, (header, sealed)) in members.into_iter().enumerate() {
        replay.part(header, sealed, at + 1 == count, headers.newest)?;
    }
    let mut salvaged = replay.found;
    // A promise of an older segment never replaces one of the newest.
    salvaged.promises.clone().give(&mut salvaged.ledger.state);
    Ok(Some(salvaged))
}

struct Replay<'a> {
    fs: &'a dyn Fs,
    found: Salvage,
    /// The segment before was read to the end that this one states.
    joined: bool,
}

impl Replay<'_> {
    fn part(
        &mut self,
        header: Header,
        stated: Option<Predecessor>,
        is_top: bool,
        newest: SegmentId,
    ) -> Result<()> {
        let gone = self.successor_gone(&header, is_top, newest);
        let sealed = stated.or(gone);
        let Opened { file, len, copies, .. } = open_segment(self.fs, header.id)?;
        let path = segment_path(self.fs, header.id);
        let end = sealed.map(|sealed| sealed.end.min(len));
        let place = Place::new((&*file, &path), &header, len, end);
        let mut reading = Reading {
            found: &mut self.found,
            header: &header,
            joined: self.joined,
            sound: copies == [true; 2],
            begun: false,
        };
        let (ending, promises) = walk(place, &mut |event| {
            reading.event(event);
            ControlFlow::Continue(())
        })?;
        let mut sound = reading.sound && reading.begun;
        let found = &mut self.found;
        if found.parts.last().is_some_and(|part| part.sealed.is_none()) {
            sound = false;
        }
        found.batch_max = found.batch_max.max(header.batch_max);
        found.last_seq = found.last_seq.max(ending.seq);
        let whole = sealed.is_some_and(|s| ending.seq == s.last_seq && len >= s.end);
        let unread = ending.verdict == Verdict::Corrupt;
        if (sealed.is_some() && !whole) || gone.is_some() || (!is_top && sealed.is_none()) || unread
        {
            found.ledger.gap();
            found.slots_doubtful = true;
            sound = false;
        }
        if is_top {
            self.top(&header, &ending, promises, gone.is_some() || header.id != newest);
        }
        let found = &mut self.found;
        self.joined = whole && !unread;
        let after = found.ledger.state.clone();
        let end = ending.x;
        found.parts.push(Part { header, sealed: stated, sound, end, after });
        Ok(())
    }

    /// What the index file of the newest segment says of its end: then its successor is gone.
    fn successor_gone(
        &self,
        header: &Header,
        is_top: bool,
        newest: SegmentId,
    ) -> Option<Predecessor> {
        if !is_top || header.id != newest {
            return None;
        }
        let (index, _) = read_index(self.fs, header.id)
            .filter(|(index, _)| (index.log_id, index.salt) == (header.log_id, header.salt))?;
        let (id, salt) = (index.id, index.salt);
        Some(Predecessor { id, salt, end: index.end, last_seq: index.last_seq })
    }

    fn top(&mut self, header: &Header, ending: &Ending, promises: Promises, headless: bool) {
        let found = &mut self.found;
        (found.promises, found.x) = (promises, ending.x.max(header.born_end));
        if headless {
            // What the newest segment said is gone with it.
            found.ledger.gap();
            (found.vows_doubtful, found.slots_doubtful) = (true, true);
        } else if ending.verdict == Verdict::Unproven {
            let state = &mut found.ledger.state;
            let commit = state.hard_state.commit;
            let low = if commit == 0 { 0 } else { commit.saturating_add(1) }.max(state.first);
            state.maybe_lost = Some(state.maybe_lost.map_or(low, |older| older.min(low)));
            found.unproven = Some(low);
        }
    }
}

/// One segment on its way into the ledger.
struct Reading<'a> {
    found: &'a mut Salvage,
    header: &'a Header,
    joined: bool,
    sound: bool,
    begun: bool,
}

impl Reading<'_> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::State(_, state) => {
                self.begun = true;
                self.found.commit_seen = self.found.commit_seen.max(state.hard_state.commit);
                self.sound &= self.found.ledger.reconcile(&state);
            }
            Event::Batch(at, _, steps) if at.head.is_marker() => self.marker(steps),
            Event::Batch(at, _, steps) => self.batch(at.offset, steps),
            Event::BadBody(bad) => self.bad_body(&bad),
            Event::Gap(gap) => self.gap(&gap),
            Event::MarkersMissing { .. } => {
                self.found.ledger.pause();
                self.sound = false;
            }
        }
    }

    fn marker(&mut self, steps: &[Step]) {
        for step in steps {
            if let Step::HardState(hs) = step {
                self.found.ledger.vouch(hs.term);
                // What a marker says of the commit index is no change, and still what was known.
                self.found.commit_seen = self.found.commit_seen.max(hs.commit);
            }
        }
    }

    fn batch(&mut self, offset: u64, steps: &[Step]) {
        if !self.begun {
            self.without_state();
        }
        self.sound &= self.found.ledger.replay(steps, self.header.id, offset);
        let commit = self.found.ledger.state.hard_state.commit;
        self.found.commit_seen = self.found.commit_seen.max(commit);
    }

    /// State cannot be read: the log stands as the segment before left it, or where the entries
    /// begin if there is none.
    fn without_state(&mut self) {
        self.begun = true;
        self.sound = false;
        let first_of_all = self.found.parts.is_empty() && self.header.predecessor.is_none();
        if !self.joined && !first_of_all {
            self.found.slots_doubtful = true;
            self.found.vows_doubtful = true;
        }
        self.found.ledger.pause();
    }

    fn gap(&mut self, gap: &Gap) {
        self.sound = false;
        if gap.from == BATCHES_AT {
            self.without_state();
        }
        if gap.lost == Some(0) {
            return self.found.ledger.pause();
        }
        self.found.ledger.gap();
        self.found.slots_doubtful = true;
        // A promise stands in its batch and in the marker behind it: only where more than one batch
        // is lost may both copies be.
        self.found.vows_doubtful |= gap.lost.is_none_or(|lost| lost > 1);
    }

    fn bad_body(&mut self, bad: &BadBody<'_>) {
        self.sound = false;
        if bad.at.state {
            return self.without_state();
        }
        let Ok(steps) = steps_of_batch(&bad.at.head, bad.bytes) else {
            return self.found.ledger.gap();
        };
        if bad.at.head.is_marker() {
            return self.marker(&steps);
        }
        let mut whole = steps;
        if bad.known.is_none() {
            // A slot's value is bad; which slot it was, and everything else, stands in the head.
            whole.retain(|step| !matches!(step, Step::Meta(..)));
            self.found.slots_doubtful = true;
        }
        self.batch(bad.at.offset, &whole);
        for (id, crc) in bad_payloads(&bad.at.head, bad.bytes) {
            self.found.ledger.spoil(id, crc);
        }
    }
}

/// The entries of a batch whose payloads do not check, each with the CRC it should have.
fn bad_payloads(head: &Head, bytes: &[u8]) -> Vec<(EntryId, u32)> {
    let mut bad = Vec::new();
    let good = |body, crc| bytes.get(body).is_some_and(|body: &[u8]| crc32fast::hash(body) == crc);
    for section in Sections::of(head, bytes) {
        match section {
            Ok(Section::Entries(run)) => {
                let rows = (0..run.count).map(|i| (run.first.index + u64::from(i), run.payload(i)));
                let wrong = rows.filter(|(_, (body, crc))| !good(body.clone(), *crc));
                bad.extend(wrong.map(|(index, (_, crc))| (run.id(index), crc)));
            }
            Ok(Section::Refill { id, crc, body }) if !good(body.clone(), crc) => {
                bad.push((id, crc));
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    bad
}

impl Salvage {
    /// The header of a segment that was replayed.
    pub(crate) fn header(&self, id: SegmentId) -> Option<&Part> {
        self.parts.iter().find(|part| part.header.id == id)
    }

    /// Where the entries of `id` are to be read to: its end, as far as it counts.
    pub(crate) fn end_of(&self, id: SegmentId) -> u64 {
        self.header(id).and_then(|part| part.sealed).map_or(u64::MAX, |sealed| sealed.end)
    }
}
