//! Reads segments on several threads, in the order in which the walk along the chain wants them, and
//! never further ahead than a few.
//!
//! ```text
//!   jobs, newest first ─▶ │ 9 │ 8 │ 7 │ 6 │ 5 │ …
//!                          taken  ready  being read  not begun: at most so many ahead
//! ```
//!
//! Above: `chain`, which takes the results one by one and may stop before the end. Below: `tally`, and
//! the index files.
//! INVARIANT: memory is that of the segments in flight: two buffers and one tally for each.
//! INVARIANT: a result depends on the segment alone, so the number of threads changes nothing.

use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::{
    error::{Error, Reason},
    fs::Fs,
    header::{Header, Predecessor},
    index::{Summary, file::Identity},
    inspect::{
        chain::Member,
        finding::{Code, Finding, Severity, Trouble},
        tally::tally,
    },
    recovery::{
        chain::{open_segment, read_index, read_state},
        evidence::Place,
    },
    segment::segment_path,
};

/// A segment to be read, and what its successor says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) header: Header,
    pub(crate) sealed: Option<Predecessor>,
}

/// What came of a job.
pub(crate) struct Got {
    pub(crate) member: Member,
    pub(crate) finding: Option<Finding>,
    pub(crate) trouble: Option<Trouble>,
}

/// Hands out results in the order of the jobs.
pub(crate) struct Ahead<'a> {
    fs: &'a dyn Fs,
    jobs: &'a [Job],
    quick: bool,
    /// None where everything is read by the caller's own thread.
    pool: Option<&'a Pool>,
    taken: usize,
}

/// Calls `work` with somebody who reads `jobs` ahead on `threads` threads.
pub(crate) fn with_ahead(
    fs: &dyn Fs,
    (jobs, quick): (&[Job], bool),
    threads: usize,
    work: impl FnOnce(&mut Ahead<'_>),
) {
    let threads = threads.min(jobs.len());
    if threads < 2 {
        work(&mut Ahead { fs, jobs, quick, pool: None, taken: 0 });
        return;
    }
    let pool = Pool { state: Mutex::default(), changed: Condvar::new(), ahead_max: threads + 1 };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| pool.work(fs, jobs, quick));
        }
        // However `work` ends, the threads are told to.
        let _stop = Stop(&pool);
        work(&mut Ahead { fs, jobs, quick, pool: Some(&pool), taken: 0 });
    });
}

impl Ahead<'_> {
    /// The result of `job`: from the pool if it is the one that comes next there.
    pub(crate) fn member(&mut self, job: Job) -> Got {
        let next = self.jobs.get(self.taken).filter(|next| **next == job);
        match (self.pool, next) {
            (Some(pool), Some(_)) => {
                self.taken += 1;
                pool.take(self.taken - 1)
            }
            // The chain went another way than its headers promised.
            _ => read(self.fs, job, self.quick),
        }
    }
}

/// What the threads share.
struct Pool {
    state: Mutex<Shared>,
    changed: Condvar,
    /// Jobs that may be begun and not taken.
    ahead_max: usize,
}

#[derive(Default)]
struct Shared {
    begun: usize,
    taken: usize,
    stop: bool,
    ready: BTreeMap<usize, Got>,
}

/// Stops the pool when it goes out of scope.
struct Stop<'a>(&'a Pool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.lock().stop = true;
        self.0.changed.notify_all();
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, fs: &dyn Fs, jobs: &[Job], quick: bool) {
        let mut shared = self.lock();
        loop {
            if shared.stop {
                return;
            }
            let Some(job) = jobs.get(shared.begun) else { return };
            if shared.begun >= shared.taken + self.ahead_max {
                shared = self.changed.wait(shared).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let at = shared.begun;
            shared.begun += 1;
            drop(shared);
            let got = read(fs, *job, quick);
            shared = self.lock();
            shared.ready.insert(at, got);
            self.changed.notify_all();
        }
    }

    fn take(&self, at: usize) -> Got {
        let mut shared = self.lock();
        loop {
            if let Some(got) = shared.ready.remove(&at) {
                shared.taken = at + 1;
                self.changed.notify_all();
                return got;
            }
            shared = self.changed.wait(shared).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Reads one segment, or its index file and State where that is enough.
fn read(fs: &dyn Fs, job: Job, quick: bool) -> Got {
    let Job { header, sealed } = job;
    let path = segment_path(fs, header.id);
    let indexed = sealed.and_then(|sealed| {
        let identity = Identity {
            log_id: header.log_id,
            id: header.id,
            salt: header.salt,
            end: sealed.end,
            last_seq: sealed.last_seq,
        };
        read_index(fs, header.id).filter(|(found, _)| *found == identity)
    });
    let mut member = Member {
        header,
        sealed,
        begins: None,
        cut: None,
        next: None,
        refills: Vec::new(),
        tally: None,
        indexed: indexed.is_some(),
    };
    let summary = indexed.map(|(_, summary)| summary).filter(|_| quick);
    let (mut finding, mut trouble) = (None, None);
    match fill(fs, &mut member, summary) {
        Ok(()) => {}
        Err(Error::Corrupt(damage)) if damage.reason == Reason::State => {
            let found = Finding::new(Code::W201, Severity::Error, path)
                .at(damage.offset, 0)
                .judged(crate::Verdict::Corrupt, damage.evidence)
                .says(damage.reason.to_string());
            finding = Some(found);
        }
        // Trimmed since its header was read.
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => trouble = Some(Trouble::Io { file: path, message: e.to_string() }),
    }
    Got { member, finding, trouble }
}

fn fill(fs: &dyn Fs, member: &mut Member, summary: Option<Summary>) -> crate::Result<()> {
    let header = member.header;
    let path = segment_path(fs, header.id);
    let opened = open_segment(fs, header.id)?;
    let end = member.sealed.map(|sealed| sealed.end.min(opened.len));
    if let Some(summary) = summary {
        let state = read_state(&*opened.file, &path, &header, end.unwrap_or(opened.len))?;
        (member.cut, member.begins) = (summary.lowest_cut, Some(state));
        member.next = Some(summary.next);
        let refills = summary.refills.iter();
        member.refills = refills.map(|&(index, offset)| (index, u64::from(offset))).collect();
        return Ok(());
    }
    let place = Place::new((&*opened.file, &path), &header, opened.len, end);
    let tally = tally(place)?;
    (member.cut, member.begins) = (tally.cut, tally.begins.clone());
    member.next = (!tally.is_lost()).then_some(tally.now.next);
    member.refills = tally.refills.iter().map(|(id, offset)| (id.index, *offset)).collect();
    member.tally = Some(tally);
    Ok(())
}
