//! Every call to the file system failing once, and from then on, during a history that touches
//! everything, its recoveries included.
//!
//! What must hold for each: no panic; every error is one of the typed ones; readers go on seeing what
//! was written; and once the fault is gone nothing acknowledged is missing after a power cut or
//! kill -9, as the [`Ledger`] of the crash campaign judges it. Where the fault was a full disk, the
//! same log goes on as soon as there is room.

use std::{
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use hardlog::{
    Class, Entry, EntryId, Error, HardState, Log, Options, SnapshotMark,
    fs::{
        Dir,
        sim::{ENOSPC, Effect, Fault, Model, Rng, SimFs, When},
    },
};

use crate::{
    crash::{
        explore::message,
        ledger::{Ledger, Scene},
        world::options,
    },
    evidence::is_used_file,
    view::{Op, View, batch_of},
};

/// What a run with one fault came to.
#[derive(Debug, Default)]
pub struct Run {
    /// Calls that were struck.
    pub struck: u64,
    /// Errors that the caller was told of.
    pub errors: u64,
    /// Whether the log stopped until it was opened again.
    pub poisoned: bool,
    /// Disks that were opened and judged at the end.
    pub judged: u64,
}

/// How the log is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As by one caller.
    Plain,
    /// Batches are kept back until a sync, as beside another one.
    Gathered,
    /// Files of trimmed segments are used again, and that happens.
    Reused,
}

struct Rig {
    fs: SimFs,
    way: Way,
    options: Options,
    log: Option<Log>,
    view: View,
    ledger: Ledger,
    run: Run,
}

/// How many calls the history makes when nothing fails.
///
/// # Errors
/// If something fails all the same.
pub fn count(way: Way) -> Result<u64, String> {
    let fs = SimFs::new(3);
    let mut rig = Rig::new(fs.clone(), way);
    rig.history()?;
    if rig.run.errors > 0 || rig.log.is_none() {
        return Err("the history fails without any fault".to_owned());
    }
    Ok(fs.calls())
}

/// Runs the history with one fault at call `n` of any kind.
///
/// # Errors
/// What is wrong.
pub fn strike(n: u64, effect: Effect, lasting: bool, way: Way) -> Result<Run, String> {
    let fs = SimFs::new(3);
    fs.inject(Fault { when: When::Any(n), effect, lasting });
    let mut rig = Rig::new(fs, way);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        rig.history()?;
        rig.afterwards(effect)
    }));
    match ran {
        Ok(Ok(())) => Ok(rig.run),
        Ok(Err(what)) => Err(what),
        Err(panic) => Err(format!("panic: {}", message(&*panic))),
    }
}

impl Rig {
    fn new(fs: SimFs, way: Way) -> Self {
        let reuse_files = usize::from(way == Way::Reused) * 2;
        let options = options().gather_always(way == Way::Gathered).reuse_files(reuse_files);
        let (view, ledger, run) = (View::new(1), Ledger::default(), Run::default());
        Self { fs, way, options, log: None, view, ledger, run }
    }

    /// A bit of everything, with a rotation by filling, and three recoveries.
    fn history(&mut self) -> Result<(), String> {
        self.create()?;
        self.append(1, 3, 20)?;
        self.sync()?;
        self.hard(1, Some(1), 2)?;
        self.write(&[Op::Meta(Class::Promise, Bytes::from_static(b"vow"))])?;
        self.append(1, 3, 6000)?;
        self.sync()?;
        self.append(1, 2, 5000)?;
        self.replace(2)?;
        self.marker()?;
        self.sync()?;
        self.reopen(false)?;
        self.write(&[Op::Meta(Class::Ordered, Bytes::from_static(b"slot"))])?;
        self.append(2, 2, 300)?;
        self.rotate()?;
        self.append(2, 2, 300)?;
        self.snapshot_and_trim()?;
        self.reuse()?;
        self.append(2, 1, 40)?;
        self.sync()?;
        self.reopen(true)?;
        self.hard(3, None, 0)?;
        self.append(3, 1, 900)?;
        if self.way == Way::Reused {
            // Files of an earlier process are not used again.
            self.rotate()?;
        }
        self.install()?;
        self.reuse()?;
        self.append(3, 2, 10)?;
        self.sync()?;
        self.reopen(false)?;
        self.append(3, 1, 10)?;
        self.sync()
    }

    /// Rotates until a file that was trimmed is the active one, and writes to it.
    fn reuse(&mut self) -> Result<(), String> {
        if self.way != Way::Reused {
            return Ok(());
        }
        self.rotate()?;
        self.rotate()?;
        let mut names = self.fs.names(Dir::Root);
        names.retain(|name| name.ends_with(".wal"));
        let newest = names.iter().max().and_then(|name| self.fs.read_file(Dir::Root, name));
        if self.fs.struck() == 0 && !newest.is_some_and(|bytes| is_used_file(&bytes)) {
            return Err("no file was used again".to_owned());
        }
        self.append(2, 3, 300)?;
        self.write(&[Op::Meta(Class::Promise, Bytes::from_static(b"another"))])?;
        self.marker()
    }

    // ---- each step: predict, do, note what the caller is told

    fn create(&mut self) -> Result<(), String> {
        match Log::create_on(Arc::new(self.fs.clone()), self.options.clone()) {
            Ok(log) => self.rebase(log),
            Err(e) => {
                self.told(&e)?;
                self.fs.clear_faults();
                match Log::open_on(Arc::new(self.fs.clone()), self.options.clone()) {
                    Ok((log, _)) => self.rebase(log),
                    Err(Error::NotALog { .. }) => {
                        let log = Log::create_on(Arc::new(self.fs.clone()), self.options.clone());
                        self.rebase(log.map_err(|e| format!("a second creation fails: {e}"))?)
                    }
                    Err(e) => Err(format!("after a creation that failed: {e}")),
                }
            }
        }
    }

    fn write(&mut self, ops: &[Op]) -> Result<(), String> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let mut after = self.view.clone();
        ops.iter().for_each(|op| after.apply(op));
        let seq = log.written().sequence() + 1;
        self.ledger.wrote(&after, ops, seq);
        match log.write(&batch_of(ops)) {
            Ok(_) => {
                self.view = after;
                self.ledger.settle();
                Ok(())
            }
            Err(e) => {
                match e {
                    Error::Poisoned { .. } => self.ledger.refused(seq),
                    _ => self.ledger.failed(seq),
                }
                if log.halted().is_none() {
                    self.ledger.settle();
                }
                self.told(&e)?;
                self.readable()
            }
        }
    }

    /// Entries of at least this term.
    fn append(&mut self, term: u64, count: u64, len: usize) -> Result<(), String> {
        let last = self.view.entries.last().map(|(id, _)| *id).or(self.view.prev);
        let term = term.max(last.map_or(0, |id| id.term));
        for index in self.view.next()..self.view.next() + count {
            if index != self.view.next() {
                break; // one before it failed
            }
            let fill = u8::try_from(index % 251).unwrap_or(0);
            self.write(&[Op::Entries(vec![Entry::new(index, term, vec![fill; len])])])?;
        }
        Ok(())
    }

    fn replace(&mut self, term: u64) -> Result<(), String> {
        let at = self.view.next().saturating_sub(2);
        if at <= self.view.commit || at < self.view.first {
            return Ok(());
        }
        let term = self.view.id(at).map_or(term, |id| id.term.max(term));
        let entry = Entry::new(at, term, "another");
        self.write(&[Op::Truncate(at), Op::Entries(vec![entry])])
    }

    fn hard(&mut self, term: u64, vote: Option<u64>, commit: u64) -> Result<(), String> {
        let now = self.view.hard_state();
        let last = self.view.next().saturating_sub(1);
        let commit = commit.min(last).max(now.commit);
        self.write(&[Op::Hard(HardState { term: term.max(now.term), vote, commit })])
    }

    fn sync(&mut self) -> Result<(), String> {
        let Some(log) = &self.log else { return Ok(()) };
        let result = log.sync();
        let all = log.durable() == log.written();
        self.ledger.acknowledge();
        match result {
            Ok(()) if all => {
                if log.halted().is_none() {
                    self.ledger.settle();
                }
                Ok(())
            }
            Ok(()) => Err("sync says Ok, and not everything is durable".to_owned()),
            Err(e) => {
                self.told(&e)?;
                self.readable()
            }
        }
    }

    fn marker(&mut self) -> Result<(), String> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let result = log.marker_now().map(|_| ());
        self.done(result)
    }

    fn rotate(&mut self) -> Result<(), String> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let result = log.rotate_now();
        self.done(result)
    }

    fn reclaim(&mut self) -> Result<(), String> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let result = log.reclaim();
        self.done(result)
    }

    fn done(&mut self, result: hardlog::Result<()>) -> Result<(), String> {
        self.ledger.acknowledge();
        match result {
            Ok(()) => Ok(()),
            Err(e) => {
                self.told(&e)?;
                self.readable()
            }
        }
    }

    fn snapshot(&mut self, id: EntryId) -> Result<Option<SnapshotMark>, String> {
        let Some(log) = &self.log else { return Ok(None) };
        let made = log.snapshots().begin(id, b"").and_then(|mut writer| {
            // A writer that failed says so at commit.
            let _ = writer.write_all(&[5; 600]);
            writer.commit()
        });
        match made {
            Ok(mark) => Ok(Some(mark)),
            Err(e) => self.told(&e).map(|()| None),
        }
    }

    fn snapshot_and_trim(&mut self) -> Result<(), String> {
        let Some(id) = self.view.id(self.view.next().saturating_sub(3)) else { return Ok(()) };
        let Some(mark) = self.snapshot(id)? else { return Ok(()) };
        self.write(&[Op::Mark(mark), Op::Trim(id.index + 1)])?;
        self.reclaim()
    }

    fn install(&mut self) -> Result<(), String> {
        let id = EntryId::new(self.view.next() + 4, 3);
        let Some(mark) = self.snapshot(id)? else { return Ok(()) };
        let hs = HardState { commit: id.index, ..self.view.hard_state() };
        self.write(&[Op::Reset(id.index + 1, Some(id)), Op::Hard(hs), Op::Mark(mark)])?;
        self.reclaim()
    }

    /// Ends the log, with or without a close, and opens it again; without the fault if it must.
    fn reopen(&mut self, close: bool) -> Result<(), String> {
        let Some(log) = self.log.take() else { return Ok(()) };
        if close {
            let closed = log.close();
            self.ledger.acknowledge();
            closed.or_else(|e| self.told(&e))?;
        } else {
            drop(log);
        }
        match Log::open_on(Arc::new(self.fs.clone()), self.options.clone()) {
            Ok((log, report)) if report.read_only.is_none() => {
                let found = self.fs.kill_image();
                // Where reads are struck already, the disks at the end are judged instead.
                let view = View::single(&log)?;
                if view.refused() == 0 {
                    let scene = Scene { fault: None, sound: &found, found: &found };
                    self.ledger.judge(&view, &report, &scene)?;
                }
                self.rebase(log)
            }
            Ok((log, _)) => {
                // Handed out for reading: the writes that follow try again.
                self.run.errors += 1;
                self.rebase(log)
            }
            Err(e) => {
                self.told(&e)?;
                self.fs.clear_faults();
                let found = self.fs.kill_image();
                let opened = Log::open_on(Arc::new(self.fs.clone()), self.options.clone());
                let (log, report) = opened.map_err(|e| format!("opened without faults: {e}"))?;
                self.judge(&log, &report, &found)?;
                self.rebase(log)
            }
        }
    }

    // ---- what must hold

    fn rebase(&mut self, log: Log) -> Result<(), String> {
        let seen = View::single(&log)?;
        // Reads may be struck too: what cannot be read now matches anything later.
        self.view = seen;
        let seq = log.durable().sequence();
        self.ledger.rebase(self.view.clone(), seq, log.syncer());
        self.log = Some(log);
        Ok(())
    }

    /// The caller was told of an error: it must be one that he can act on.
    fn told(&mut self, e: &Error) -> Result<(), String> {
        self.run.errors += 1;
        match e {
            Error::Poisoned { .. } => {
                self.run.poisoned = true;
                Ok(())
            }
            Error::Io { .. } | Error::Full { .. } => Ok(()),
            other => Err(format!("an error of the wrong family: {other}")),
        }
    }

    /// Readers see what was written, whatever failed.
    fn readable(&self) -> Result<(), String> {
        let Some(log) = &self.log else { return Ok(()) };
        let seen = View::single(log)?;
        if seen.shows(&self.view) && seen.vows == self.view.vows {
            return Ok(());
        }
        Err(format!("after an error readers see {}, not {}", seen.brief(), self.view.brief()))
    }

    fn judge(
        &self,
        log: &Log,
        report: &hardlog::RecoveryReport,
        found: &SimFs,
    ) -> Result<(), String> {
        let view = View::of(log)?;
        let scene = Scene { fault: None, sound: found, found };
        self.ledger.judge(&view, report, &scene)?;
        match view.mark.map(|mark| log.snapshots().verify(mark.id)) {
            Some(Err(e)) => Err(format!("the marked snapshot: {e}")),
            _ => Ok(()),
        }
    }

    /// The fault is gone: nothing acknowledged is missing, and the log goes on.
    fn afterwards(&mut self, effect: Effect) -> Result<(), String> {
        self.run.struck = self.fs.struck();
        self.fs.clear_faults();
        self.readable()?;
        let killed = [(self.fs.kill_image(), "kill -9")];
        let cut = self.fs.crash_images(Model::Strict, 6, &mut Rng::new(1));
        let cut = cut.filter(|image| image.harmed.is_none()).map(|image| (image.fs, "power cut"));
        for (fs, what) in killed.into_iter().chain(cut) {
            let found = fs.kill_image();
            let opened = Log::open_on(Arc::new(fs), self.options.clone());
            let (log, report) = opened.map_err(|e| format!("{what}: open refuses: {e}"))?;
            self.judge(&log, &report, &found).map_err(|broken| format!("{what}: {broken}"))?;
            self.run.judged += 1;
        }
        let before = self.view.clone();
        let (errors, full) = (self.run.errors, matches!(effect, Effect::Fail(ENOSPC)));
        self.append(9, 1, 50)?;
        self.sync()?;
        let stopped = self.run.errors > errors;
        if stopped && full && !self.run.poisoned {
            return Err("there is room again, and the log does not go on".to_owned());
        }
        if stopped && !self.run.poisoned {
            return Err("the fault is gone, and the log fails without being poisoned".to_owned());
        }
        if !stopped && self.view == before {
            return Err("nothing was appended".to_owned());
        }
        self.reopen(true)?;
        self.append(9, 1, 50)?;
        self.sync()?;
        if self.log.as_ref().is_some_and(|log| log.halted().is_some()) {
            return Err("opened again, and halted".to_owned());
        }
        Ok(())
    }
}
