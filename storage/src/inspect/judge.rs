//! Puts what the segments say together into one verdict, from the newest segment to the oldest:
//! whether a bad payload counts depends on what newer segments truncated, refilled and trimmed.
//!
//! Above: `verify`. Below: `chain` and `tally`, which have read everything. Pure but for a look at
//! names.

use std::{collections::BTreeSet, path::Path};

use crate::{
    entry::{EntryId, Index, LogId},
    fs::{Dir, Fs},
    inspect::{
        chain::{Headers, Member},
        finding::{Code, Finding, Severity, Trouble},
        inventory::Inventory,
        report::{Contents, Role, SegmentReport, Summary},
        tally::{BadPayload, Tally},
    },
    layout::{SegmentId, index_name, segment_name},
    segment::segment_path,
    verdict::Verdict,
};

/// Findings kept of a directory; the rest is counted.
const FINDINGS_MAX: usize = 10_000;
/// How names of prepared segments in `tmp/` begin.
const SPARE: &str = "spare-";

/// What comes together while the segments are gone through.
pub(crate) struct Judge<'a> {
    pub(crate) fs: &'a dyn Fs,
    pub(crate) live: bool,
    pub(crate) found: &'a Inventory,
    pub(crate) headers: &'a Headers,
    pub(crate) summary: Summary,
    pub(crate) findings: Vec<Finding>,
    pub(crate) omitted: u64,
    pub(crate) troubles: Vec<Trouble>,
}

impl Judge<'_> {
    pub(crate) fn log_id(&self) -> LogId {
        self.summary.log_id.unwrap_or_default()
    }

    /// Everything about the segments, newest first.
    pub(crate) fn judge(&mut self, members: &[Member]) {
        self.names(members);
        let Some(top) = members.first() else { return };
        self.summary.log_id = Some(top.header.log_id);
        self.top(top);
        let window = self.summary.window;
        let mut clip: Option<Index> = None;
        let mut refilled: BTreeSet<EntryId> = BTreeSet::new();
        for (at, member) in members.iter().enumerate() {
            let newer = at.checked_sub(1).and_then(|at| members.get(at));
            let Some(tally) = &member.tally else {
                clip = lowest(clip, member.cut);
                continue;
            };
            self.findings.extend(tally.findings.iter().cloned());
            self.omitted += tally.omitted;
            self.end_of(member, tally, newer);
            for bad in &tally.bad {
                let dropped = window
                    .is_some_and(|(first, next)| bad.id.index < first || bad.id.index >= next)
                    || clip.is_some_and(|clip| bad.id.index >= clip)
                    || refilled.contains(&bad.id);
                self.bad_payload(member, bad, !dropped);
            }
            for dead in &tally.dead {
                self.bad_payload(member, dead, false);
            }
            clip = lowest(clip, tally.cut);
            refilled.extend(tally.refills.keys().copied());
        }
    }

    fn bad_payload(&mut self, member: &Member, bad: &BadPayload, counts: bool) {
        let path = segment_path(self.fs, member.header.id);
        let (code, severity) =
            if counts { (Code::W202, Severity::Error) } else { (Code::W105, Severity::Warning) };
        let (stored, computed) = bad.sums;
        let mut says = format!("stored {stored:08x} computed {computed:08x}");
        if bad.refill {
            says.push_str(", in the bytes that refilled it");
        }
        let finding = Finding::new(code, severity, path)
            .at(bad.offset, bad.len)
            .entries(Some((bad.id.index, bad.id.index)), Some(bad.id.term))
            .judged(Verdict::Corrupt, bad.evidence)
            .says(says);
        self.findings.push(finding);
    }

    /// The newest segment: what the log says of itself, and what stands behind its last batch.
    fn top(&mut self, top: &Member) {
        let Some(tally) = &top.tally else { return };
        if top.header.id != self.headers.newest {
            // The newest segment cannot be read: what an older one says of the log is out of date.
            return;
        }
        let mut state = tally.now.clone();
        tally.promises.give(&mut state);
        let path = segment_path(self.fs, top.header.id);
        let mut maybe_lost = state.maybe_lost;
        if let Some(ending) = tally.ending.filter(|ending| ending.verdict == Verdict::Unproven) {
            let low = state.hard_state.commit.saturating_add(1).max(state.first);
            let severity = if self.live { Severity::Note } else { Severity::Warning };
            let says = if self.live {
                "a write of the live process may be under way".to_owned()
            } else {
                maybe_lost = Some(maybe_lost.map_or(low, |older| older.min(low)));
                match ending.behind {
                    0 if top.header.reused => {
                        "the file was used before, and behind its end stand bytes of an older \
                         segment; nothing states whether any that are gone were durable"
                            .to_owned()
                    }
                    0 => "nothing later states that it was durable".to_owned(),
                    n => format!(
                        "nothing later states that it was durable; valid heads behind it: {n}"
                    ),
                }
            };
            let finding = Finding::new(Code::W101, severity, path.clone())
                .at(ending.x, ending.dropped)
                .judged(ending.verdict, ending.evidence)
                .says(says);
            self.findings.push(finding);
        }
        let known = tally.begins.is_some();
        self.summary = Summary {
            window: known.then_some((state.first, state.next)),
            prev: state.prev,
            last: state.last_id(),
            hard_state: state.hard_state,
            slots: state.slots.len(),
            meta: state.slots.iter().map(|(key, s)| (*key, s.class, s.value.clone())).collect(),
            mark: state.mark,
            maybe_lost,
            ..self.summary.clone()
        };
        if known && !tally.is_lost() {
            self.meaning(&state, &path);
        }
    }

    /// What Raft would stumble over.
    fn meaning(&mut self, state: &crate::state::LogState, path: &Path) {
        let hs = state.hard_state;
        if hs.commit > 0 && hs.commit >= state.next {
            let says = format!("commit {} and the next entry is {}", hs.commit, state.next);
            self.findings.push(Finding::new(Code::W403, Severity::Error, path).says(says));
        }
        // A term of 0 means that the embedder keeps its hard state elsewhere.
        if let Some(last) = state.last_id().filter(|last| hs.term > 0 && last.term > hs.term) {
            let says = format!("term {} and entry {} of term {}", hs.term, last.index, last.term);
            let finding = Finding::new(Code::W404, Severity::Error, path)
                .entries(Some((last.index, last.index)), Some(last.term))
                .says(says);
            self.findings.push(finding);
        }
        if let Some(mark) = state.mark
            && mark.id.index.saturating_add(1) < state.first
        {
            let says = format!(
                "the newest mark is of entry {} and the log begins at {}",
                mark.id.index, state.first
            );
            let finding = Finding::new(Code::W504, Severity::Error, path)
                .entries(Some((mark.id.index + 1, state.first - 1)), None)
                .says(says);
            self.findings.push(finding);
        }
    }

    /// Whether a sealed segment holds all that its successor counts on.
    fn end_of(&mut self, member: &Member, tally: &Tally, newer: Option<&Member>) {
        let next = newer.and_then(|newer| newer.begins.as_ref()).map(|state| state.next);
        let Some((sealed, ending)) = member.sealed.zip(tally.ending) else {
            self.name_missing(newer, tally.now.next, next);
            return;
        };
        let path = segment_path(self.fs, member.header.id);
        if tally.findings.iter().all(|f| f.severity < Severity::Error)
            && ending.seq != sealed.last_seq
        {
            let says = format!(
                "the batches end with sequence {} and the successor states {}",
                ending.seq, sealed.last_seq
            );
            let finding = Finding::new(Code::W205, Severity::Error, path.clone());
            self.findings.push(finding.at(ending.x, 0).says(says));
        }
        if let Some(next) = next.filter(|&next| next != tally.now.next && !tally.is_lost()) {
            let says = format!(
                "the entries end before {} and the successor goes on at {next}",
                tally.now.next
            );
            self.findings.push(Finding::new(Code::W401, Severity::Error, path).says(says));
        }
    }

    /// Which entries lay in a file that is missing: those between its neighbours.
    fn name_missing(&mut self, newer: Option<&Member>, from: Index, next: Option<Index>) {
        let Some(named) = newer.and_then(|newer| newer.header.predecessor) else { return };
        let Some(last) = next.and_then(|next| next.checked_sub(1)).filter(|last| from <= *last)
        else {
            return;
        };
        let path = segment_path(self.fs, named.id);
        let gone = [Code::W301, Code::W302, Code::W303, Code::W304];
        for finding in self.findings.iter_mut().filter(|f| f.file == path) {
            if gone.contains(&finding.code) && finding.severity == Severity::Error {
                finding.indexes = Some((from, last));
            }
        }
    }

    /// Files that the chain does not name, unfinished work, and names that should not be.
    fn names(&mut self, members: &[Member]) {
        let chain: BTreeSet<SegmentId> = members.iter().map(|m| m.header.id).collect();
        let newest = chain.last().copied().unwrap_or(0);
        let leftover = if self.live { Severity::Note } else { Severity::Warning };
        self.troubles.extend(self.headers.troubles.iter().cloned());
        for (id, finding) in &self.headers.findings {
            let needed =
                chain.contains(id) || members.iter().any(|m| names(m, *id)) || *id > newest;
            let mut finding = finding.clone();
            if !needed {
                finding = Finding { code: Code::W103, severity: leftover, ..finding };
            }
            self.findings.push(finding);
        }
        let root = self.fs.root().to_path_buf();
        let mut left = |name: String, says: &str| {
            let finding = Finding::new(Code::W103, leftover, root.join(name)).says(says);
            self.findings.push(finding);
        };
        for id in self.headers.sound.keys().filter(|id| !chain.contains(id)) {
            left(segment_name(*id), "the chain does not need it: it goes at the next open");
        }
        // Beside a segment that the chain misses it is no leftover but evidence.
        let alone = |id: &&SegmentId| {
            !self.found.segments.contains_key(id) && !members.iter().any(|m| names(m, **id))
        };
        for id in self.found.indexes.keys().filter(alone) {
            left(index_name(*id), "an index file without its segment");
        }
        for (name, _) in &self.found.temporary {
            let path = format!("{}/{name}", Dir::Tmp.name());
            left(path, "unfinished work: it goes at the next open");
        }
        for finding in &mut self.findings {
            // Every log that is being written has one ready, and leaves it when it stops.
            if finding.file_name().starts_with(SPARE) && finding.code == Code::W103 {
                finding.severity = Severity::Note;
                finding.detail = "space prepared for the next segment".to_owned();
            }
        }
        if self.found.segments.is_empty() {
            let says = "there are files of a log, and no segment";
            self.findings.push(Finding::new(Code::W301, Severity::Error, root.clone()).says(says));
        }
        for name in &self.found.irregular {
            let file = root.join(name);
            let message = format!("{}: not a regular file", file.display());
            self.troubles.push(Trouble::Io { file, message });
        }
    }

    pub(crate) fn rows(&self, members: &[Member]) -> Vec<SegmentReport> {
        let live = live_spans(members, self.summary.window);
        let row = |(&id, &len): (&SegmentId, &u64)| {
            let file = segment_path(self.fs, id);
            let mut report = SegmentReport {
                id,
                file,
                role: Role::Unreadable,
                len,
                end: len,
                created: std::time::Duration::ZERO,
                begins: None,
                live: None,
                contents: None,
                indexed: false,
            };
            if let Some((header, _)) = self.headers.sound.get(&id) {
                report.role = Role::Leftover;
                report.created = std::time::Duration::from_nanos(header.created);
            }
            let Some(at) = members.iter().position(|m| m.header.id == id) else { return report };
            let member = &members[at];
            report.role = if at == 0 { Role::Active } else { Role::Sealed };
            let ended = member.tally.as_ref().and_then(|tally| tally.ending).map(|e| e.x);
            report.end = ended.or(member.sealed.map(|s| s.end)).unwrap_or(len);
            report.live = live.get(at).copied().flatten();
            report.begins = member.begins.as_ref().map(|state| state.next);
            report.contents = member.tally.as_ref().map(contents);
            report.indexed = member.indexed;
            report
        };
        self.found.segments.iter().map(row).collect()
    }

    /// Sorts the findings, and cuts the list at its limit: the worst stay.
    pub(crate) fn settle(&mut self) {
        if self.live {
            for finding in self.findings.iter_mut().filter(|f| f.code == Code::W104) {
                finding.severity = Severity::Note;
            }
        }
        if self.findings.len() > FINDINGS_MAX {
            self.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
            self.omitted += (self.findings.len() - FINDINGS_MAX) as u64;
            self.findings.truncate(FINDINGS_MAX);
        }
        self.findings.sort_by(|a, b| {
            (&a.file, a.offset, a.code, a.indexes).cmp(&(&b.file, b.offset, b.code, b.indexes))
        });
    }
}

/// Whether the segment says that `id` came before it.
fn names(member: &Member, id: SegmentId) -> bool {
    member.header.predecessor.is_some_and(|named| named.id == id)
}

/// Of each segment the entries that the window counts on, first and last: those that it brought, that
/// nothing newer dropped, and that were not trimmed.
pub(crate) fn live_spans(
    members: &[Member],
    window: Option<(Index, Index)>,
) -> Vec<Option<(Index, Index)>> {
    let (first, next) = window.unwrap_or((0, Index::MAX));
    let mut clip = next;
    let mut spans = Vec::with_capacity(members.len());
    for (at, member) in members.iter().enumerate() {
        let newer = at.checked_sub(1).and_then(|at| members.get(at)?.begins.as_ref());
        let ends = newer.map(|state| state.next).or(member.next).unwrap_or(next);
        let begins = member.begins.as_ref().map_or(0, |state| state.next);
        let low = begins.min(member.cut.unwrap_or(Index::MAX)).max(first);
        let high = ends.min(clip);
        spans.push((low < high).then(|| (low, high - 1)));
        clip = clip.min(member.cut.unwrap_or(Index::MAX));
    }
    spans
}

fn lowest(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn contents(tally: &Tally) -> Contents {
    Contents {
        indexes: tally.indexes,
        terms: tally.terms,
        batches: tally.batches,
        markers: tally.markers,
        entries: tally.entries,
        bytes: tally.bytes,
    }
}
