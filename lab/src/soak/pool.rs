//! As many workers as runs at a time; each takes the next run that is not done.
//!
//! Seeds come before tests: every test has had its first seed before any gets its second.
//! The first reason to stop is the one that is told. A run that is under way when Ctrl-C comes is
//! killed and counts nowhere; when a run failed, or the time is up, those under way may end.

use std::{
    collections::BTreeSet,
    io,
    ops::Range,
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    End,
    board::Board,
    guard::Guard,
    job::{self, Bounds},
    journal::Journal,
    keep::Desk,
    tally::{Run, Tally},
    target::Target,
};
use crate::Failure;

/// How much is run at a time, and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) jobs: usize,
    /// Of one run.
    pub(super) timeout: Duration,
    /// When nothing more is begun.
    pub(super) until: Option<Instant>,
    pub(super) until_fail: bool,
}

/// Everything that is to be run.
pub(super) struct Pool<'a> {
    pub(super) target: &'a Target,
    /// Where everything goes.
    pub(super) out: &'a Path,
    pub(super) limits: Limits,
    pub(super) seeds: Range<u64>,
    /// Runs of before, by test and seed.
    pub(super) done: BTreeSet<(usize, u64)>,
    /// Somebody pressed Ctrl-C.
    pub(super) stop: &'a AtomicBool,
    /// For when this process is killed.
    pub(super) guard: &'a Guard,
}

/// What workers share.
struct Shared {
    next: Option<(u64, usize)>,
    tally: Tally,
    journal: Journal,
    board: Board,
    end: Option<End>,
    error: Option<io::Error>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool<'_> {
    /// Runs it all, or until there is a reason not to.
    ///
    /// # Errors
    /// If a process cannot be started, or the journal or what a failure leaves cannot be written.
    pub(super) fn run(
        &self,
        journal: Journal,
        tally: Tally,
        board: Board,
    ) -> Result<(Tally, End), Failure> {
        let next = Some((self.seeds.start, 0));
        let shared = Shared { next, tally, journal, board, end: None, error: None };
        let shared = Mutex::new(shared);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..self.limits.jobs)
                .map(|worker| {
                    let shared = &shared;
                    scope.spawn(move || self.work(worker, shared))
                })
                .collect();
            scope.spawn(|| self.watch(&shared, &over));
            for worker in workers {
                if worker.join().is_err() {
                    lock(&shared).error.get_or_insert(io::Error::other("a worker panicked"));
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        let shared = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        match shared.error {
            Some(error) => Err(Failure::Wrong(error.to_string())),
            None => Ok((shared.tally, shared.end.unwrap_or(End::Done))),
        }
    }

    /// Shows how far it is, until it is over.
    fn watch(&self, shared: &Mutex<Shared>, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            {
                let shared = &mut *lock(shared);
                shared.board.show(&shared.tally, self.all());
            }
            thread::sleep(Duration::from_millis(50));
        }
        lock(shared).board.clear();
    }

    /// Runs of all tests and seeds, those of before too.
    fn all(&self) -> u64 {
        let seeds = self.seeds.end.saturating_sub(self.seeds.start);
        seeds.saturating_mul(self.target.names().len() as u64)
    }

    fn work(&self, worker: usize, shared: &Mutex<Shared>) {
        let worked = Desk::new(self.out, worker).and_then(|desk| {
            loop {
                // A name of its own, or the lock would be held while the run goes on.
                let next = self.next(&mut lock(shared));
                let Some(next) = next else { return Ok(()) };
                self.one(&desk, next, shared)?;
            }
        });
        if let Err(error) = worked {
            lock(shared).error.get_or_insert(error);
        }
    }

    /// The next run, unless there is a reason to stop.
    fn next(&self, shared: &mut Shared) -> Option<(u64, usize)> {
        let late = self.limits.until.is_some_and(|until| Instant::now() >= until);
        if self.stop.load(Ordering::Relaxed) {
            // Whoever pressed it means it, whatever was the reason before.
            shared.end = Some(End::Stopped);
        } else if self.limits.until_fail && shared.tally.failed() > 0 {
            shared.end.get_or_insert(End::Failed);
        }
        if shared.end.is_some() || shared.error.is_some() {
            return None;
        }
        loop {
            let (seed, test) = shared.next?;
            if seed >= self.seeds.end {
                return None;
            }
            if late {
                shared.end = Some(End::Time);
                return None;
            }
            let last = test + 1 >= self.target.names().len();
            shared.next = if last { Some((seed + 1, 0)) } else { Some((seed, test + 1)) };
            if !self.done.contains(&(test, seed)) {
                shared.tally.begin(test);
                return Some((seed, test));
            }
        }
    }

    fn one(&self, desk: &Desk, run: (u64, usize), shared: &Mutex<Shared>) -> io::Result<()> {
        let (seed, test) = run;
        let process = self.target.process(test, seed, &desk.dir);
        let bounds = Bounds { timeout: self.limits.timeout, stop: self.stop, guard: self.guard };
        let ended = job::run(&process, self.target.dir(), &desk.output, bounds);
        let Some(job::Ended { seconds, failed }) = ended? else {
            let shared = &mut *lock(shared);
            shared.tally.end(test);
            shared.end = Some(End::Stopped);
            return Ok(());
        };
        let replay = self.target.replay(test, seed);
        let kept = match failed {
            Some(_) => Some(desk.keep(self.out, &self.target.file_name(test, seed), &replay)?),
            None => None,
        };
        desk.clear()?;
        let run = Run { test, seed, seconds, failed };
        let shared = &mut *lock(shared);
        shared.tally.end(test);
        shared.tally.add(&run);
        shared.journal.add(&run)?;
        if let (Some(kept), Some(why)) = (kept, &run.failed) {
            let name = self.target.name(test);
            let kept = kept.display();
            let words = format!(
                "FAILED {name}, seed {seed}, after {seconds:.2} s: {why}\n  replay: {replay}\n  \
                 kept: {kept}"
            );
            shared.board.tell(&words);
        }
        Ok(())
    }
}
