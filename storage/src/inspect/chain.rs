//! Walks the chain of segments from the newest to the oldest, past what is missing or bad.
//!
//! It follows what each header says of its predecessor, as an open does, and stops where an open
//! stops. Where an open refuses (a file is missing, or is not the one that was named) it says so and
//! goes on with the next older file there is, whose end nobody states then.
//!
//! Above: `verify`. Below: `tally`, `recovery::chain`.

use std::{collections::BTreeMap, path::Path};

use crate::{
    batch::HEAD_LEN,
    error::{Error, Reason},
    fs::Fs,
    header::{Header, Predecessor},
    index::file::Identity,
    inspect::{
        finding::{Code, Finding, Severity, Trouble},
        inventory::Inventory,
        tally::{Tally, tally},
    },
    layout::{SegmentId, index_name},
    recovery::{
        chain::{Opened, open_segment, read_index, read_state},
        evidence::Place,
    },
    segment::segment_path,
    state::LogState,
};

/// A segment of the chain.
pub(crate) struct Member {
    pub(crate) header: Header,
    /// What the successor says of it; None for the newest, or where that is not known.
    pub(crate) sealed: Option<Predecessor>,
    pub(crate) begins: Option<LogState>,
    /// Lowest index from which it drops entries of older ones.
    pub(crate) cut: Option<u64>,
    /// None where the index file was believed.
    pub(crate) tally: Option<Tally>,
    pub(crate) indexed: bool,
}

/// The headers of all segments, and the findings about them, by segment: they count only where the
/// chain needs the segment.
#[derive(Default)]
pub(crate) struct Headers {
    pub(crate) sound: BTreeMap<SegmentId, (Header, u64)>,
    pub(crate) findings: BTreeMap<SegmentId, Finding>,
    pub(crate) troubles: Vec<Trouble>,
    /// The newest segment there is, readable or not.
    pub(crate) newest: SegmentId,
}

impl Headers {
    pub(crate) fn read(fs: &dyn Fs, found: &Inventory) -> Self {
        let newest = found.segments.keys().next_back().copied().unwrap_or(0);
        let mut headers = Self { newest, ..Self::default() };
        for &id in found.segments.keys() {
            let path = segment_path(fs, id);
            match open_segment(fs, id) {
                Ok(Opened { header, len, copies, .. }) => {
                    headers.sound.insert(id, (header, len));
                    if let Some(bad) = copies.iter().position(|sound| !sound) {
                        let offset = bad as u64 * crate::batch::PAGE;
                        let finding = Finding::new(Code::W304, Severity::Warning, path)
                            .at(offset, HEAD_LEN as u64)
                            .says("one of the two copies is bad; the other one serves");
                        headers.findings.insert(id, finding);
                    }
                }
                Err(Error::Corrupt(damage)) => {
                    let finding = Finding::new(Code::W304, Severity::Error, path)
                        .says(damage.reason.to_string());
                    headers.findings.insert(id, finding);
                }
                Err(Error::NewerFormat { path, found, supported }) => {
                    headers.troubles.push(Trouble::NewerFormat { file: path, found, supported });
                }
                // Removed since the directory was listed: if the chain needs it, it is missing.
                Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => {
                    headers.troubles.push(Trouble::Io { file: path, message: e.to_string() });
                }
            }
        }
        headers
    }
}

/// The walk along the chain.
pub(crate) struct Chain<'a> {
    pub(crate) fs: &'a dyn Fs,
    pub(crate) headers: &'a Headers,
    pub(crate) quick: bool,
    /// Newest first.
    pub(crate) members: Vec<Member>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) troubles: Vec<Trouble>,
}

impl Chain<'_> {
    /// Walks from segment `top` on; `read` hears of each segment that was read.
    pub(crate) fn walk(&mut self, top: SegmentId, read: &mut dyn FnMut(&Path, u64)) {
        let mut next = Some((top, None));
        let mut first = None;
        while let Some((id, sealed)) = next.take() {
            let Some(&(header, len)) = self.headers.sound.get(&id) else { return };
            let member = self.member(header, sealed);
            read(&segment_path(self.fs, id), len);
            if first.is_none() {
                first = Some(window_first(&member));
            }
            let needs_older = self.needs_older(&member, first.flatten());
            if needs_older && let Some(predecessor) = header.predecessor {
                next = self.older(&header, predecessor, &member);
            }
            self.members.push(member);
        }
    }

    /// Whether an older segment may hold entries of the window: the rule of an open.
    fn needs_older(&self, member: &Member, first: Option<u64>) -> bool {
        let (Some(state), Some(first)) = (&member.begins, first) else { return true };
        state.next > first && !state.is_empty() && member.cut.is_none_or(|cut| cut > first)
    }

    /// The segment to read next, and what is known of its end.
    fn older(
        &mut self,
        header: &Header,
        named: Predecessor,
        newer: &Member,
    ) -> Option<(SegmentId, Option<Predecessor>)> {
        let path = segment_path(self.fs, named.id);
        let older = self.headers.sound.range(..header.id);
        let same = |(_, (found, _)): &(&SegmentId, &(Header, u64))| found.log_id == header.log_id;
        let stand_in = older.rev().find(same).map(|(&id, _)| (id, None));
        let Some(&(found, len)) = self.headers.sound.get(&named.id) else {
            let known = self.headers.findings.contains_key(&named.id)
                || self.headers.troubles.iter().any(|trouble| trouble.concerns(&path));
            if !known {
                let last = newer.begins.as_ref().and_then(|state| state.next.checked_sub(1));
                let finding = Finding::new(Code::W301, Severity::Error, path).says(format!(
                    "segment {} names it as the one before, and counts on it{}",
                    header.id,
                    last.map_or(String::new(), |last| format!(" for entries up to {last}"))
                ));
                self.findings.push(finding);
            }
            return stand_in;
        };
        if found.log_id != header.log_id {
            let says = format!("log {} where {} was expected", found.log_id, header.log_id);
            self.findings.push(Finding::new(Code::W303, Severity::Error, path).says(says));
            return stand_in;
        }
        if found.salt != named.salt || named.id >= header.id {
            let says = format!("not the file that segment {} names as the one before", header.id);
            self.findings.push(Finding::new(Code::W302, Severity::Error, path).says(says));
            return stand_in.filter(|_| named.id < header.id);
        }
        if len < named.end {
            let says = format!(
                "{len} bytes, where segment {} states that {} were durable",
                header.id, named.end
            );
            let finding = Finding::new(Code::W302, Severity::Error, path);
            self.findings.push(finding.at(len, named.end - len).says(says));
        }
        Some((named.id, Some(named)))
    }

    fn member(&mut self, header: Header, sealed: Option<Predecessor>) -> Member {
        let path = segment_path(self.fs, header.id);
        let indexed = sealed.and_then(|sealed| {
            let identity = Identity {
                log_id: header.log_id,
                id: header.id,
                salt: header.salt,
                end: sealed.end,
                last_seq: sealed.last_seq,
            };
            read_index(self.fs, header.id).filter(|(found, _)| *found == identity)
        });
        let mut member = Member {
            header,
            sealed,
            begins: None,
            cut: None,
            tally: None,
            indexed: indexed.is_some(),
        };
        let read = open_segment(self.fs, header.id).and_then(|opened| {
            let end = sealed.map(|sealed| sealed.end.min(opened.len));
            if self.quick
                && let Some((_, summary)) = &indexed
            {
                let state = read_state(&*opened.file, &path, &header, end.unwrap_or(opened.len));
                return Ok((None, summary.lowest_cut, Some(state?)));
            }
            let place = Place::new((&*opened.file, &path), &header, opened.len, end);
            let tally = tally(place)?;
            let (cut, state) = (tally.cut, tally.begins.clone());
            Ok((Some(tally), cut, state))
        });
        match read {
            Ok((tally, cut, begins)) => {
                (member.tally, member.cut, member.begins) = (tally, cut, begins);
            }
            Err(Error::Corrupt(damage)) if damage.reason == Reason::State => {
                let finding = Finding::new(Code::W201, Severity::Error, path)
                    .at(damage.offset, 0)
                    .judged(crate::Verdict::Corrupt, damage.evidence)
                    .says(damage.reason.to_string());
                self.findings.push(finding);
            }
            // Trimmed since its header was read.
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => self.troubles.push(Trouble::Io { file: path, message: e.to_string() }),
        }
        self.check_index(&member);
        member
    }

    /// The index file beside a segment: needed by nobody, made again by an open.
    fn check_index(&mut self, member: &Member) {
        let id = member.header.id;
        let path = self.fs.root().join(index_name(id));
        let there = self.index_is_there(id);
        let says = match (member.sealed.is_some(), member.indexed, there) {
            (true, true, _) | (false, _, false) => return,
            (true, false, true) => "it is bad, or speaks of another segment",
            (true, false, false) => "it is missing",
            (false, ..) if id != self.headers.newest => return,
            (false, _, true) => {
                self.check_sealed_top(member, &path);
                return;
            }
        };
        let finding = Finding::new(Code::W104, Severity::Warning, path)
            .says(format!("{says}: an open scans the segment and makes it again"));
        self.findings.push(finding);
    }

    fn index_is_there(&self, id: SegmentId) -> bool {
        self.fs.open(crate::fs::Dir::Root, &index_name(id), crate::fs::Access::Read).is_ok()
    }

    /// An index file of the newest segment says that it was sealed: then its successor is missing.
    fn check_sealed_top(&mut self, member: &Member, path: &Path) {
        let header = &member.header;
        let finding = match read_index(self.fs, header.id) {
            Some((identity, _))
                if (identity.log_id, identity.salt) == (header.log_id, header.salt) =>
            {
                let successor = segment_path(self.fs, header.id.saturating_add(1));
                Finding::new(Code::W301, Severity::Error, successor).says(format!(
                    "the index file {} says that segment {} was sealed, so a newer one existed",
                    index_name(header.id),
                    header.id
                ))
            }
            _ => Finding::new(Code::W104, Severity::Warning, path)
                .says("it belongs to no sealed segment: it is made again or goes"),
        };
        self.findings.push(finding);
    }
}

/// First index of the window as the newest segment says.
fn window_first(top: &Member) -> Option<u64> {
    let known = top.begins.is_some();
    top.tally.as_ref().filter(|_| known).map(|tally| tally.now.first)
}
