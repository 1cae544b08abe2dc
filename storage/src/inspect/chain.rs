//! Walks the chain of segments from the newest to the oldest, past what is missing or bad.
//!
//! It follows what each header says of its predecessor, as an open does, and stops where an open
//! stops. Where an open refuses (a file is missing, or is not the one that was named) it says so and
//! goes on with the next older file there is, whose end nobody states then.
//!
//! Above: `verify`. Below: `ahead`, which reads several segments at once; `recovery::chain`.

use std::{collections::BTreeMap, path::Path};

use crate::{
    batch::HEAD_LEN,
    entry::Index,
    error::Error,
    fs::Fs,
    header::{Header, Predecessor},
    inspect::{
        ahead::{Ahead, Job, with_ahead},
        finding::{Code, Finding, Severity, Trouble},
        inventory::Inventory,
        tally::Tally,
    },
    layout::{SegmentId, index_name},
    recovery::chain::{Opened, open_segment, read_index},
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
    /// One past the last index when it ended, as far as its own bytes or its index file tell.
    pub(crate) next: Option<Index>,
    /// Refilled entries, and the batches that hold their bytes, in the order in which they count.
    pub(crate) refills: Vec<(Index, u64)>,
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
    /// Walks from segment `top` on, with so many threads; `read` hears of each segment that was read.
    pub(crate) fn walk(
        &mut self,
        top: SegmentId,
        threads: usize,
        read: &mut dyn FnMut(&Path, u64),
    ) {
        let jobs = self.expected(top);
        let threads = if self.quick { 1 } else { threads };
        with_ahead(self.fs, (&jobs, self.quick), threads, |ahead| self.follow(top, ahead, read));
    }

    /// The segments that the walk will want if nothing is wrong, in its order.
    fn expected(&self, top: SegmentId) -> Vec<Job> {
        let (mut jobs, mut next) = (Vec::new(), Some((top, None)));
        while let Some((id, sealed)) = next.take() {
            let Some(&(header, _)) = self.headers.sound.get(&id) else { break };
            jobs.push(Job { header, sealed });
            next = header.predecessor.filter(|p| p.id < id).map(|p| (p.id, Some(p)));
        }
        jobs
    }

    fn follow(&mut self, top: SegmentId, ahead: &mut Ahead<'_>, read: &mut dyn FnMut(&Path, u64)) {
        let mut next = Some((top, None));
        let mut first = None;
        while let Some((id, sealed)) = next.take() {
            let Some(&(header, len)) = self.headers.sound.get(&id) else { return };
            let got = ahead.member(Job { header, sealed });
            self.findings.extend(got.finding);
            self.troubles.extend(got.trouble);
            let member = got.member;
            self.check_index(&member);
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
        if self.fs.is_part() {
            return None;
        }
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
