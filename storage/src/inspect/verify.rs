//! Verify: reads everything, and puts what the segments say together into one verdict.
//!
//! On a live log the whole look is repeated before anything is called damage: only what is found each
//! time stands.
//!
//! Above: callers, and `window`, which goes on from the segments found here. Below: `chain` and
//! `tally` read, `judge` puts together, `snapshots`.

use std::{path::Path, time::Instant};

use crate::{
    error::Result,
    fs::Fs,
    inspect::{
        chain::{Chain, Headers, Member},
        finding::{Severity, Trouble},
        inventory::look,
        judge::Judge,
        report::{Summary, VerifyReport},
        snapshots,
    },
};

/// Looks at a live log before what is found each time is believed.
const LOOKS: usize = 5;
/// Segments read at once unless more are asked for.
const THREADS_MAX: usize = 8;

/// How thorough a verification is.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// Read what an open reads: headers, index files, the last segment, the ends of snapshots.
    pub quick: bool,
    /// Read snapshot files whole, also where everything else is only looked at.
    pub whole_snapshots: bool,
    /// Segments that are read at once; 0 stands for as many as there are processors.
    pub threads: usize,
}

impl VerifyOptions {
    /// Everything is read.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only what an open reads.
    #[must_use]
    pub fn quick(mut self, quick: bool) -> Self {
        self.quick = quick;
        self
    }

    /// Reads snapshot files whole, also with [`VerifyOptions::quick`].
    #[must_use]
    pub fn whole_snapshots(mut self, whole: bool) -> Self {
        self.whole_snapshots = whole;
        self
    }

    /// How many segments are read at once; 0, the default, for as many as there are processors (at
    /// most 8). The result does not depend on it. Each takes two buffers of the largest batch.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    fn thread_count(self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX),
            given => given,
        }
    }
}

/// How far a verification is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// The file that was read last.
    pub file: &'a str,
    /// Bytes of files read.
    pub done: u64,
    /// Bytes of all files of the log.
    pub total: u64,
}

/// Verifies the log in `fs` and changes nothing. `progress` hears of each file that was read.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("n1");
/// use hardlog::{Entry, Log, Options, fs::disk::DiskFs, inspect};
///
/// let mut log = Log::create(&path, Options::new())?;
/// log.append(&[Entry::new(1, 1, "set x 1")])?;
/// log.close()?;
///
/// let fs = DiskFs::new(&path);
/// let report = inspect::verify(&fs, inspect::VerifyOptions::new(), &mut |_| {})?;
/// assert_eq!(report.outcome(), inspect::Outcome::Clean, "{report}");
/// # Ok::<(), hardlog::Error>(())
/// ```
///
/// # Errors
/// `NotALog`; `Io` where the directory cannot be listed. Everything else stands in the report.
pub fn verify(
    fs: &dyn Fs,
    options: VerifyOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<VerifyReport> {
    verify_members(fs, options, progress).map(|(report, _)| report)
}

/// As [`verify`], with what was read of each segment of the chain, newest first.
pub(crate) fn verify_members(
    fs: &dyn Fs,
    options: VerifyOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(VerifyReport, Vec<Member>)> {
    let started = Instant::now();
    let (mut report, mut members) = look_once(fs, options, progress)?;
    for _ in 1..LOOKS {
        if !report.lock.may_be_live() || !is_alarming(&report) {
            break;
        }
        // Files come, go and grow while we look: what is wrong must be wrong each time.
        let (again, seen) = look_once(fs, options, progress)?;
        (report, members) = (confirmed(&report, again), seen);
    }
    report.took = started.elapsed();
    Ok((report, members))
}

fn is_alarming(report: &VerifyReport) -> bool {
    report.count(Severity::Error) > 0 || !report.troubles.is_empty()
}

/// The second look, without the errors that the first did not find.
fn confirmed(before: &VerifyReport, mut again: VerifyReport) -> VerifyReport {
    again.findings.retain(|finding| {
        finding.severity < Severity::Error
            || before.findings.iter().any(|older| older.is_same(finding))
    });
    again.troubles.retain(|trouble| {
        let (Trouble::Io { file, .. } | Trouble::NewerFormat { file, .. }) = trouble;
        before.troubles.iter().any(|older| older.concerns(file))
    });
    again
}

fn look_once(
    fs: &dyn Fs,
    options: VerifyOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(VerifyReport, Vec<Member>)> {
    let found = look(fs)?;
    let total = found.bytes();
    let mut done = 0;
    let mut read = |file: &str, len: u64| {
        done += len;
        progress(Progress { file, done, total });
    };
    let headers = Headers::read(fs, &found);
    let mut chain = Chain {
        fs,
        headers: &headers,
        quick: options.quick,
        members: Vec::new(),
        findings: Vec::new(),
        troubles: Vec::new(),
    };
    let top = headers.sound.keys().next_back().copied();
    if let Some(top) = top {
        chain.walk(top, options.thread_count(), &mut |path: &Path, len| {
            read(&path.file_name().unwrap_or_default().to_string_lossy(), len);
        });
    }
    let Chain { members, findings, troubles, .. } = chain;
    let mut judge = Judge {
        fs,
        live: found.lock.may_be_live(),
        found: &found,
        headers: &headers,
        summary: Summary::default(),
        findings,
        omitted: 0,
        troubles,
    };
    judge.judge(&members);
    let ends_only = options.quick && !options.whole_snapshots;
    let of_log = (judge.log_id(), judge.summary.mark);
    let snapshots = snapshots::check(fs, &found, of_log, ends_only, &mut read);
    judge.findings.extend(snapshots.findings);
    judge.troubles.extend(snapshots.troubles);
    let segments = judge.rows(&members);
    judge.settle();
    let Judge { summary, findings, omitted, troubles, .. } = judge;
    let after = fs.lock_state();
    let lock = if after.may_be_live() { after } else { found.lock.clone() };
    let report = VerifyReport {
        path: found.path.clone(),
        lock,
        summary,
        segments,
        snapshots: snapshots.reports,
        findings,
        omitted,
        troubles,
        foreign: found.foreign.clone(),
        bytes: total,
        quick: options.quick,
        took: std::time::Duration::ZERO,
    };
    Ok((report, members))
}
