//! Compares the logs of several replicas: entry by entry, all at once, in one pass.
//!
//! ```text
//!   Window n1 ─▶ ids and sums ─╮
//!   Window n2 ─▶ ids and sums ─┼─▶ by index: same term? same bytes? ─▶ DiffReport
//!   Window n3 ─▶ ids and sums ─╯
//! ```
//!
//! What must hold is Log Matching (§5.3 of the Raft paper): where two logs hold an entry of the same
//! index and term, they are equal there and everywhere before. And below the commit index of both,
//! two logs are equal whatever happened. That tails differ above it is what crashes and elections
//! leave; the next leader overwrites them.
//!
//! Above: callers. Below: `window`. A thread for each replica reads; payloads are compared by the
//! checksums that their batches state.
//! INVARIANT: memory is that of the windows and some thousand ids for each.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    path::PathBuf,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use crate::{
    entry::{EntryId, Index},
    error::{Error, Result},
    fs::Fs,
    inspect::{
        finding::{Code, Finding, Severity},
        report::{Outcome, VerifyReport},
        window::{Live, Window},
    },
};

/// Replicas that are compared at once.
pub const REPLICAS_MAX: usize = 16;
/// Ids sent to the comparison at once, and such pieces under way.
const PIECE: usize = 1024;
const PIECES: usize = 4;

/// One replica as the comparison saw it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Replica {
    /// The quick look at it.
    pub report: VerifyReport,
    /// First and last entry; None where the log is empty.
    pub span: Option<(Index, Index)>,
    /// Entries that could not be read there.
    pub missing: u64,
}

/// How the logs of two replicas differ. Replicas are numbered as they were given.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Difference {
    /// Which two.
    pub replicas: (usize, usize),
    /// The first index at which they hold different entries.
    pub index: Index,
    /// What each of them holds there.
    pub ids: (EntryId, EntryId),
    /// The last index at which they were seen to differ.
    pub last: Index,
    /// Both call the first of them committed.
    pub committed: bool,
    /// What it breaks, if anything.
    pub breaks: Option<Broken>,
}

/// What two logs must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broken {
    /// The same index and term, other bytes.
    Bytes(Index),
    /// The same index and term behind an index at which they differ.
    Behind(Index),
    /// Different entries that both call committed.
    Committed(Index),
}

/// What the comparison found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DiffReport {
    /// The replicas, in the order given.
    pub replicas: Vec<Replica>,
    /// First and last index up to which all of them hold the same entries; None where their windows
    /// share no index, or differ from the first one on.
    pub common: Option<(Index, Index)>,
    /// Indexes that at least two of them hold.
    pub compared: u64,
    /// The pairs that differ.
    pub differences: Vec<Difference>,
    /// The same as findings, and what else is wrong.
    pub findings: Vec<Finding>,
}

impl DiffReport {
    /// Whether nothing is broken that Raft promises.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        self.differences.iter().all(|difference| difference.breaks.is_none())
    }

    /// The exit code: damage of a replica counts as well.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let outcomes = self.replicas.iter().map(|replica| replica.report.outcome());
        let worst = outcomes.max_by_key(|outcome| outcome.code()).unwrap_or(Outcome::Clean);
        if self.is_consistent() || worst.code() > Outcome::Damaged.code() {
            worst
        } else {
            Outcome::Damaged
        }
    }
}

/// Compares the logs in `all`, two to [`REPLICAS_MAX`] of them.
///
/// # Errors
/// `NotALog` and `Io` of any of them; `Options` for a number of replicas that cannot be compared.
pub fn diff(all: &[&dyn Fs]) -> Result<DiffReport> {
    if !(2..=REPLICAS_MAX).contains(&all.len()) {
        return Err(Error::Options { what: "two to sixteen replicas can be compared" });
    }
    let windows = all.iter().map(|fs| Window::look(*fs)).collect::<Result<Vec<Window>>>()?;
    let mut comparison = Comparison::new(&windows);
    thread::scope(|scope| {
        let (mut streams, mut readers) = (Vec::new(), Vec::new());
        for (fs, window) in all.iter().zip(&windows) {
            let (to, from) = sync_channel(PIECES);
            readers.push(scope.spawn(move || read(*fs, window, &to)));
            streams.push(Stream { from, piece: Vec::new().into_iter(), head: None });
        }
        comparison.run(&mut streams);
        drop(streams);
        for (reader, replica) in readers.into_iter().zip(&mut comparison.replicas) {
            match reader.join() {
                Ok(missing) => replica.missing = missing?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(comparison.report(all))
    })
}

/// An entry as far as it is compared.
#[derive(Clone, Copy, Debug)]
struct Seen {
    id: EntryId,
    /// Length and CRC of its bytes; None where only the id is known.
    sum: Option<(u64, u32)>,
}

/// Sends what a window holds; returns how many entries could not be read.
fn read(fs: &dyn Fs, window: &Window, to: &SyncSender<Vec<Seen>>) -> Result<u64> {
    let (mut piece, mut missing) = (Vec::with_capacity(PIECE), 0_u64);
    window.entries(fs, 0..=Index::MAX, &mut |row| {
        match row {
            Live::Entry(entry) => {
                let sum = Some((entry.payload.len() as u64, entry.crc));
                piece.push(Seen { id: entry.id, sum });
            }
            Live::Missing((first, last), _) => missing += last - first + 1,
        }
        if piece.len() < PIECE {
            return ControlFlow::Continue(());
        }
        match to.send(std::mem::replace(&mut piece, Vec::with_capacity(PIECE))) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    // Nobody listens any more only where the comparison has ended.
    let _ = to.send(piece);
    Ok(missing)
}

/// The entries of one replica as they come.
struct Stream {
    from: Receiver<Vec<Seen>>,
    piece: std::vec::IntoIter<Seen>,
    head: Option<Seen>,
}

impl Stream {
    fn peek(&mut self) -> Option<Seen> {
        while self.head.is_none() {
            self.head = self.piece.next();
            if self.head.is_none() {
                self.piece = self.from.recv().ok()?.into_iter();
            }
        }
        self.head
    }

    fn take(&mut self, index: Index) -> Option<Seen> {
        let seen = self.peek().filter(|seen| seen.id.index == index);
        if seen.is_some() {
            self.head = None;
        }
        seen
    }
}

struct Comparison {
    replicas: Vec<Replica>,
    /// Ids that are known without an entry: before the window, and of the newest mark.
    extras: Vec<BTreeMap<Index, Seen>>,
    differences: BTreeMap<(usize, usize), Difference>,
    compared: u64,
    /// The lowest index that at least two hold.
    lowest: Option<Index>,
}

impl Comparison {
    fn new(windows: &[Window]) -> Self {
        let replica = |window: &Window| Replica {
            report: window.report().clone(),
            span: window.span(),
            missing: 0,
        };
        let extras = windows.iter().map(|window| {
            let summary = &window.report().summary;
            let known = summary.prev.into_iter().chain(summary.mark.map(|mark| mark.id));
            known.map(|id| (id.index, Seen { id, sum: None })).collect()
        });
        Self {
            replicas: windows.iter().map(replica).collect(),
            extras: extras.collect(),
            differences: BTreeMap::new(),
            compared: 0,
            lowest: None,
        }
    }

    fn run(&mut self, streams: &mut [Stream]) {
        loop {
            let heads = streams.iter_mut().filter_map(Stream::peek).map(|seen| seen.id.index);
            let known = self.extras.iter().filter_map(|extra| extra.keys().next().copied());
            let Some(index) = heads.chain(known).min() else { return };
            let row: Vec<Option<Seen>> = streams
                .iter_mut()
                .zip(&mut self.extras)
                .map(|(stream, extra)| {
                    let known = extra.remove(&index);
                    stream.take(index).or(known)
                })
                .collect();
            self.row(index, &row);
        }
    }

    fn row(&mut self, index: Index, row: &[Option<Seen>]) {
        let mut present = 0;
        for (b, right) in row.iter().enumerate() {
            let Some(right) = right else { continue };
            present += 1;
            for (a, left) in row.iter().enumerate().take(b) {
                if let Some(left) = left {
                    self.pair((a, b), index, (left, right));
                }
            }
        }
        if present > 1 {
            self.compared += 1;
            self.lowest.get_or_insert(index);
        }
    }

    fn pair(&mut self, replicas: (usize, usize), index: Index, (left, right): (&Seen, &Seen)) {
        let same_id = (left.id.term, left.id.tag) == (right.id.term, right.id.tag);
        let other_bytes = left.sum.zip(right.sum).is_some_and(|(left, right)| left != right);
        if same_id && !other_bytes {
            if let Some(difference) = self.differences.get_mut(&replicas) {
                difference.breaks.get_or_insert(Broken::Behind(index));
            }
            return;
        }
        let commit = |at: usize| self.replicas[at].report.summary.hard_state.commit;
        let committed = index <= commit(replicas.0).min(commit(replicas.1));
        let difference = self.differences.entry(replicas).or_insert(Difference {
            replicas,
            index,
            ids: (left.id, right.id),
            last: index,
            committed,
            breaks: None,
        });
        difference.last = index;
        if same_id {
            difference.breaks.get_or_insert(Broken::Bytes(index));
        } else if committed {
            difference.breaks.get_or_insert(Broken::Committed(index));
        }
    }

    fn report(self, all: &[&dyn Fs]) -> DiffReport {
        let Self { replicas, differences, compared, lowest, .. } = self;
        let differences: Vec<Difference> = differences.into_values().collect();
        let ends = replicas.iter().filter_map(|replica| replica.span).map(|(_, last)| last);
        let first_bad = differences.iter().map(|difference| difference.index).min();
        let end = match (ends.min(), first_bad.and_then(|index| index.checked_sub(1))) {
            (Some(end), Some(bad)) => Some(end.min(bad)),
            (end, None) if first_bad.is_none() => end,
            _ => None,
        };
        let common = lowest.zip(end).filter(|(first, last)| first <= last);
        let findings = differences.iter().map(|difference| {
            let name = |at: usize| all[at].root().display().to_string();
            finding(difference, all[difference.replicas.1].root().to_path_buf(), &name)
        });
        let findings = findings.collect();
        DiffReport { replicas, common, compared, differences, findings }
    }
}

/// A difference as a finding about the second of the two.
fn finding(difference: &Difference, file: PathBuf, name: &dyn Fn(usize) -> String) -> Finding {
    let (a, b) = difference.replicas;
    let (left, right) = difference.ids;
    let code = if difference.committed { Code::W601 } else { Code::W602 };
    let severity = if difference.breaks.is_some() { Severity::Error } else { Severity::Note };
    let terms = format!("term {} in {}, term {} in {}", left.term, name(a), right.term, name(b));
    let says = match difference.breaks {
        None => format!("{terms}: not committed by both, the next leader settles it"),
        Some(broken) => format!("{terms}; {broken}"),
    };
    Finding::new(code, severity, file)
        .entries(Some((difference.index, difference.last)), Some(right.term))
        .says(says)
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(index) => write!(
                f,
                "Log Matching is broken: entry {index} has the same term in both and other bytes"
            ),
            Self::Behind(index) => write!(
                f,
                "Log Matching is broken: they agree on the term of entry {index} behind a difference"
            ),
            Self::Committed(index) => {
                write!(f, "State Machine Safety is broken: both call entry {index} committed")
            }
        }
    }
}
