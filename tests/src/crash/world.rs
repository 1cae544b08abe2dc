//! A log on a simulated disk, and the operations that histories are made of.
//!
//! The letters are those of `tests/model/model.py`, so that a history can be tried on both. Each
//! operation first tells the ledger what it is about to do, so that a power cut in its middle can
//! be judged, then does it, then compares what readers see with the prediction.

use std::{
    io::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use hardlog::{
    Class, Entry, EntryId, Error, HardState, Log, Options, RecoveryReport, SnapshotMark, Verdict,
    fs::{
        Dir, SyncPoint,
        sim::{Call, EIO, ENOSPC, Effect, Fault, Model, Rng, SimFs, When},
    },
};

use super::ledger::{Ledger, Scene, row_of};
use crate::{
    evidence,
    view::{Op, View, batch_of},
};

/// The operations: letter, and what it does.
pub const OPS: [(char, &str); 35] = [
    ('e', "append a small entry"),
    ('b', "append an entry over several sectors"),
    ('z', "append an entry of zeros"),
    ('a', "append up to the end of a sector"),
    ('p', "append up to the end of a page"),
    ('g', "append up to 16 bytes before it"),
    ('n', "append an empty entry and two more in one batch"),
    ('L', "append entries until the segment is full"),
    ('t', "replace the last entry"),
    ('u', "replace the last two entries"),
    ('v', "vote in a new term"),
    ('V', "vote and replace the last entry in one batch"),
    ('C', "commit all"),
    ('m', "set an ordinary slot"),
    ('M', "set a slot that is a promise"),
    ('A', "acknowledge a loss"),
    ('l', "trim to the last entry, without a sync"),
    ('s', "sync"),
    ('f', "a sync that fails"),
    ('F', "a sync that fails, and its successor too"),
    ('G', "a sync that fails, and the rename after it"),
    ('W', "an append that is torn and fails"),
    ('S', "an append that is short"),
    ('N', "an append for which there is no room on the disk"),
    ('i', "idle: a marker"),
    ('r', "rotate"),
    ('q', "rotate, failing before the rename"),
    ('j', "rotate, the successor's sync failing"),
    ('w', "rotate, failing after the rename"),
    ('y', "rotate, failing at the directory's sync"),
    ('T', "snapshot and trim to the last entry"),
    ('R', "install a snapshot beyond the end"),
    ('o', "close and open"),
    ('k', "kill -9 and open"),
    ('x', "power cut and open"),
];

/// What became of an operation.
#[derive(Debug)]
pub enum Did {
    /// It was done.
    Done,
    /// It has nothing to do here, or the log is poisoned.
    Unused,
}

/// What was found wrong.
pub type Broken = String;

/// Called after each call that changes the disk.
pub type Hook = Arc<dyn Fn(&SimFs) + Send + Sync>;

/// A log in use.
pub struct World {
    /// The disk.
    pub fs: SimFs,
    log: Option<Log>,
    view: View,
    options: Options,
    gathers: bool,
    reuses: bool,
    ledger: Arc<Mutex<Ledger>>,
    hook: Hook,
    model: Model,
    rng: Rng,
    payloads: u64,
    /// A write or sync was made to fail since the last open.
    hurt: bool,
}

/// The options of all campaigns: small segments, nothing in the background.
#[must_use]
pub fn options() -> Options {
    Options::new().segment_size(32 << 10).background(false).snapshot_chunk(4096)
}

impl World {
    /// A new disk; nothing is created yet.
    #[must_use]
    pub fn new(seed: u64, model: Model, ledger: Arc<Mutex<Ledger>>, hook: Hook) -> Self {
        Self {
            fs: SimFs::new(seed),
            log: None,
            view: View::new(1),
            options: options(),
            gathers: false,
            reuses: false,
            ledger,
            hook,
            model,
            rng: Rng::new(seed ^ 0x5EED),
            payloads: 0,
            hurt: false,
        }
    }

    /// From the next open on, whether batches are kept back until a sync, and whether the files of
    /// trimmed segments are used again.
    pub fn choose(&mut self, gather: bool, reuse: bool) {
        (self.gathers, self.reuses) = (gather, reuse);
        self.options = options().gather_always(gather).reuse_files(usize::from(reuse) * 2);
    }

    /// Whether the newest segment stands in a file that was used before.
    #[must_use]
    pub fn stands_in_used_file(&self) -> bool {
        let mut names = self.fs.names(Dir::Root);
        names.retain(|name| name.ends_with(".wal"));
        let newest = names.iter().max().and_then(|name| self.fs.read_file(Dir::Root, name));
        newest.is_some_and(|bytes| evidence::is_used_file(&bytes))
    }

    /// Creates the log.
    ///
    /// # Errors
    /// If that fails.
    pub fn create(&mut self) -> Result<(), Broken> {
        self.arm();
        let log = Log::create_on(Arc::new(self.fs.clone()), self.options.clone());
        let log = log.map_err(|e| format!("create fails: {e}"))?;
        self.rebase(log)
    }

    /// Goes on without one of the syncs, everything so far being on the platter.
    ///
    /// # Errors
    /// If the log does not open.
    pub fn omit(&mut self, point: SyncPoint) -> Result<(), Broken> {
        self.options = self.options.clone().omit_sync(point);
        self.kill()?;
        self.fs.settle();
        Ok(())
    }

    /// Does one operation.
    ///
    /// # Errors
    /// What is wrong with what the log did.
    pub fn run(&mut self, op: char) -> Result<Did, Broken> {
        let done = self.operate(op)?;
        if let (Did::Done, Some(log)) = (&done, &self.log) {
            let seen = View::of(log).map_err(|what| format!("after {op}: {what}"))?;
            if seen != self.view {
                let (seen, wanted) = (seen.brief(), self.view.brief());
                return Err(format!("after {op} readers see {seen}, written was {wanted}"));
            }
        }
        Ok(done)
    }

    fn operate(&mut self, op: char) -> Result<Did, Broken> {
        let last = self.view.next().saturating_sub(1);
        match op {
            'e' => self.append(20),
            'b' => self.append(900),
            'z' => self.write(&[self.entry_of(Bytes::from_static(&[0; 900]))]),
            'a' => self.append(self.fill(512, 0)),
            'p' => self.append(self.fill(4096, 0)),
            'g' => self.append(self.fill(4096, 4096 - 16)),
            'n' => self.append_three(),
            'L' => self.fill_segment(),
            't' => self.replace_last(1),
            'u' => self.replace_last(2),
            'v' => {
                let vote = self.next_vote();
                self.write(&[Op::Hard(vote)])
            }
            'V' => self.vote_and_replace(),
            'C' => self.commit(last),
            'm' => self.set_slot(Class::Ordered),
            'M' => self.set_slot(Class::Promise),
            'A' if self.view.lost.is_none() => Ok(Did::Unused),
            'A' => self.write(&[Op::Acknowledge]),
            'l' if self.view.entries.len() < 2 => Ok(Did::Unused),
            'l' => self.write(&[Op::Trim(last)]),
            's' => self.sync(&[]),
            'f' => self.sync(&[(Call::Sync, 0, Effect::Fail(EIO))]),
            'F' => {
                self.sync(&[(Call::Sync, 0, Effect::Fail(EIO)), (Call::Sync, 1, Effect::Fail(EIO))])
            }
            'G' => {
                let rename = (Call::Rename, 0, Effect::DoneButFail(EIO));
                self.sync(&[(Call::Sync, 0, Effect::Fail(EIO)), rename])
            }
            'W' => self.failing_append(Effect::Torn(700, EIO)),
            'S' => self.failing_append(Effect::Short(600)),
            'N' => self.failing_append(Effect::Torn(512, ENOSPC)),
            'i' => self.marker(),
            'r' => self.rotate(None),
            'q' => self.rotate(Some((Call::Create, 0, Effect::Fail(ENOSPC)))),
            'j' => self.rotate(Some((Call::Sync, 0, Effect::Fail(EIO)))),
            'w' => self.rotate(Some((Call::Rename, 0, Effect::DoneButFail(EIO)))),
            'y' => self.rotate(Some((Call::SyncDir, 0, Effect::Fail(EIO)))),
            'T' => self.snapshot_and_trim(),
            'R' => self.install(),
            'o' => self.reopen(),
            'k' => self.kill(),
            'x' => self.power_cut(),
            other => Err(format!("no operation {other:?}")),
        }
    }

    // ---- writing

    fn write(&mut self, ops: &[Op]) -> Result<Did, Broken> {
        let Some(log) = &mut self.log else { return Ok(Did::Unused) };
        let mut after = self.view.clone();
        ops.iter().for_each(|op| after.apply(op));
        let seq = log.written().sequence() + 1;
        lock(&self.ledger).wrote(&after, ops, seq);
        let result = log.write(&batch_of(ops));
        let mut ledger = lock(&self.ledger);
        match result {
            Ok(ticket) if ticket.sequence() == seq => {
                self.view = after;
                ledger.settle();
                Ok(Did::Done)
            }
            Ok(ticket) => Err(format!("sequence {} where {seq} was next", ticket.sequence())),
            Err(Error::Poisoned { .. }) => {
                ledger.refused(seq);
                Ok(Did::Unused)
            }
            Err(Error::Io { .. } | Error::Full { .. }) if self.hurt => {
                ledger.failed(seq);
                if log.halted().is_none() {
                    ledger.settle();
                }
                Ok(Did::Done)
            }
            Err(e) => Err(format!("a write fails: {e}")),
        }
    }

    fn append(&mut self, len: usize) -> Result<Did, Broken> {
        let payload = self.payload(len);
        self.write(&[self.entry_of(payload)])
    }

    fn append_three(&mut self) -> Result<Did, Broken> {
        let (at, term) = (self.view.next(), self.view.vows.hard.0.max(self.last_term()));
        let payloads = [Bytes::new(), self.payload(300), self.payload(9)];
        let entries = (at..).zip(payloads).map(|(i, p)| Entry::new(i, term, p));
        self.write(&[Op::Entries(entries.collect())])
    }

    /// Appends until the log has rotated.
    fn fill_segment(&mut self) -> Result<Did, Broken> {
        let before = self.log.as_ref().map(Log::incarnation);
        for _ in 0..3 {
            match self.append(9000)? {
                Did::Done if self.log.as_ref().map(Log::incarnation) == before => {}
                other => return Ok(other),
            }
        }
        Err("three large entries did not fill a segment".to_owned())
    }

    fn replace_last(&mut self, count: u64) -> Result<Did, Broken> {
        let at = self.view.next().saturating_sub(count);
        if at <= self.view.commit || at < self.view.first {
            return Ok(Did::Unused);
        }
        let entry = Entry::new(at, self.last_term() + 1, self.payload(24));
        self.write(&[Op::Truncate(at), Op::Entries(vec![entry])])
    }

    fn vote_and_replace(&mut self) -> Result<Did, Broken> {
        let at = self.view.next().saturating_sub(1);
        if at <= self.view.commit || at < self.view.first {
            return Ok(Did::Unused);
        }
        let hs = self.next_vote();
        let entry = Entry::new(at, hs.term, self.payload(600));
        self.write(&[Op::Hard(hs), Op::Truncate(at), Op::Entries(vec![entry])])
    }

    fn next_vote(&mut self) -> HardState {
        let term = self.view.vows.hard.0.max(self.last_term()) + 1;
        let vote = Some(1 + self.rng.below(3) as u64);
        HardState { term, vote, commit: self.view.commit }
    }

    fn commit(&mut self, last: u64) -> Result<Did, Broken> {
        if last <= self.view.commit {
            return Ok(Did::Unused);
        }
        self.write(&[Op::Hard(HardState { commit: last, ..self.view.hard_state() })])
    }

    fn set_slot(&mut self, class: Class) -> Result<Did, Broken> {
        let value = self.payload(8);
        self.write(&[Op::Meta(class, value)])
    }

    fn failing_append(&mut self, effect: Effect) -> Result<Did, Broken> {
        if self.gathers {
            // The write comes with the sync.
            return match self.append(900)? {
                Did::Done => self.sync(&[(Call::Write, 0, effect)]),
                Did::Unused => Ok(Did::Unused),
            };
        }
        self.inject(Call::Write, 0, effect);
        let done = self.append(900);
        self.fs.clear_faults();
        done
    }

    // ---- durability

    fn sync(&mut self, faults: &[(Call, u64, Effect)]) -> Result<Did, Broken> {
        let Some(log) = &self.log else { return Ok(Did::Unused) };
        if log.durable() == log.written() && log.halted().is_none() {
            return Ok(Did::Unused);
        }
        let halted = log.halted().is_some();
        faults.iter().for_each(|&(call, nth, effect)| self.inject(call, nth, effect));
        let Some(log) = &self.log else { return Ok(Did::Unused) };
        let result = log.sync();
        self.fs.clear_faults();
        let mut ledger = lock(&self.ledger);
        ledger.acknowledge();
        match result {
            Ok(()) if log.durable() == log.written() => {
                if log.halted().is_none() {
                    ledger.settle();
                }
                Ok(Did::Done)
            }
            Ok(()) => Err("sync says Ok, and not everything is durable".to_owned()),
            Err(Error::Poisoned { .. }) if halted => Ok(Did::Unused),
            Err(e) if faults.len() < 2 => Err(format!("sync fails: {e}")),
            Err(_) => Ok(Did::Done),
        }
    }

    fn marker(&mut self) -> Result<Did, Broken> {
        let Some(log) = &mut self.log else { return Ok(Did::Unused) };
        match log.marker_now() {
            Ok(true) => Ok(Did::Done),
            Ok(false) | Err(Error::Poisoned { .. }) => Ok(Did::Unused),
            Err(e) => Err(format!("a marker fails: {e}")),
        }
    }

    fn rotate(&mut self, fault: Option<(Call, u64, Effect)>) -> Result<Did, Broken> {
        let Some(log) = &self.log else { return Ok(Did::Unused) };
        if let Some((call, nth, effect)) = fault {
            if log.sync().is_err() {
                return Ok(Did::Unused);
            }
            self.inject(call, nth, effect);
        }
        let Some(log) = &mut self.log else { return Ok(Did::Unused) };
        let result = log.rotate_now();
        self.fs.clear_faults();
        let mut ledger = lock(&self.ledger);
        ledger.acknowledge();
        match (result, fault) {
            (Ok(()), None) => {
                ledger.settle();
                Ok(Did::Done)
            }
            (Ok(()), Some(_)) => Err("a rotation whose call failed says Ok".to_owned()),
            (Err(Error::Poisoned { .. }), _) => Ok(Did::Unused),
            (Err(_), Some(_)) => Ok(Did::Done),
            (Err(e), None) => Err(format!("a rotation fails: {e}")),
        }
    }

    // ---- snapshots

    fn snapshot(&mut self, id: EntryId) -> Result<Option<SnapshotMark>, Broken> {
        let payload = self.payload(700);
        let Some(log) = &self.log else { return Ok(None) };
        let wrong = |e: &dyn std::fmt::Display| format!("a snapshot fails: {e}");
        let mut writer = log.snapshots().begin(id, b"meta").map_err(|e| wrong(&e))?;
        writer.write_all(&payload).map_err(|e| wrong(&e))?;
        writer.commit().map(Some).map_err(|e| wrong(&e))
    }

    fn snapshot_and_trim(&mut self) -> Result<Did, Broken> {
        let last = self.view.next().saturating_sub(1);
        let Some(id) = last.checked_sub(1).and_then(|index| self.view.id(index)) else {
            return Ok(Did::Unused);
        };
        if id.index < self.view.first || self.view.mark.is_some_and(|m| m.id.index >= id.index) {
            return Ok(Did::Unused);
        }
        let Some(mark) = self.snapshot(id)? else { return Ok(Did::Unused) };
        self.forget(&[Op::Mark(mark), Op::Trim(last)])
    }

    fn install(&mut self) -> Result<Did, Broken> {
        let term = self.view.vows.hard.0.max(self.last_term()).max(1);
        let id = EntryId::new(self.view.next() + 2, term);
        let Some(mark) = self.snapshot(id)? else { return Ok(Did::Unused) };
        let hs = HardState { term, commit: id.index, ..self.view.hard_state() };
        let hs = if hs.term > self.view.vows.hard.0 { HardState { vote: None, ..hs } } else { hs };
        self.forget(&[Op::Reset(id.index + 1, Some(id)), Op::Hard(hs), Op::Mark(mark)])
    }

    fn forget(&mut self, ops: &[Op]) -> Result<Did, Broken> {
        if let Did::Unused = self.write(ops)? {
            return Ok(Did::Unused);
        }
        let Some(log) = &mut self.log else { return Ok(Did::Unused) };
        let result = log.reclaim();
        lock(&self.ledger).acknowledge();
        match result {
            Ok(()) => Ok(Did::Done),
            Err(Error::Poisoned { .. }) => Ok(Did::Unused),
            Err(e) => Err(format!("reclaim fails: {e}")),
        }
    }

    // ---- ends and beginnings

    fn reopen(&mut self) -> Result<Did, Broken> {
        let Some(log) = self.log.take() else { return Ok(Did::Unused) };
        let clean = match log.close() {
            Ok(()) => true,
            Err(Error::Poisoned { .. }) => false,
            Err(e) => return Err(format!("close fails: {e}")),
        };
        lock(&self.ledger).acknowledge();
        self.open(clean && !self.hurt)
    }

    fn kill(&mut self) -> Result<Did, Broken> {
        // Where old bytes stand behind the end nobody can tell whether something is lost.
        let used = self.stands_in_used_file();
        self.switch(self.fs.kill_image());
        self.open(!self.hurt && !used)
    }

    fn power_cut(&mut self) -> Result<Did, Broken> {
        let images = self.fs.crash_images(self.model, 6, &mut self.rng);
        let mut images: Vec<SimFs> =
            images.filter(|image| image.harmed.is_none()).map(|image| image.fs).collect();
        let pick = self.rng.below(images.len());
        self.switch(images.swap_remove(pick));
        self.open(false)
    }

    /// The machine goes on with another disk, without the process.
    fn switch(&mut self, fs: SimFs) {
        self.fs.clear_hook();
        self.log = None;
        self.fs = fs;
        self.arm();
    }

    fn open(&mut self, clean: bool) -> Result<Did, Broken> {
        let sound = self.fs.kill_image();
        let opened = Log::open_on(Arc::new(self.fs.clone()), self.options.clone());
        let (log, report) = opened.map_err(|e| format!("open refuses: {e}"))?;
        let view = View::of(&log)?;
        {
            let ledger = lock(&self.ledger);
            let scene = Scene { fault: None, sound: &sound, found: &sound };
            ledger.judge(&view, &report, &scene)?;
            self.is_clean(&report, clean, ledger.newest())?;
        }
        self.rebase(log)?;
        Ok(Did::Done)
    }

    /// After a close, and after kill -9, nothing may be reported lost: it is all there.
    fn is_clean(
        &self,
        report: &RecoveryReport,
        clean: bool,
        before: Option<&View>,
    ) -> Result<(), Broken> {
        let new = report.maybe_lost.is_some() && before.is_some_and(|view| view.lost.is_none());
        if clean && (new || report.verdict != Some(Verdict::CleanEnd)) {
            let row = row_of(report);
            return Err(format!("nothing was lost, and the report says {row}, {report}"));
        }
        Ok(())
    }

    fn rebase(&mut self, log: Log) -> Result<(), Broken> {
        self.view = View::of(&log)?;
        if log.durable() != log.written() {
            return Err("an open log holds what is not durable".to_owned());
        }
        let seq = log.written().sequence();
        lock(&self.ledger).rebase(self.view.clone(), seq, log.syncer());
        self.log = Some(log);
        self.hurt = false;
        Ok(())
    }

    fn arm(&self) {
        let hook = Arc::clone(&self.hook);
        self.fs.on_step(move |fs, _| hook(fs));
    }

    fn inject(&mut self, call: Call, nth: u64, effect: Effect) {
        self.hurt = true;
        let when = When::Kind(call, self.fs.count(call) + nth);
        self.fs.inject(Fault::once(when, effect));
    }

    // ---- payloads

    fn payload(&mut self, len: usize) -> Bytes {
        self.payloads += 1;
        let mut bytes = vec![b'p'; len];
        let number = self.payloads.to_le_bytes();
        bytes.iter_mut().zip(number).for_each(|(to, from)| *to = from);
        bytes.into()
    }

    fn entry_of(&self, payload: Bytes) -> Op {
        let term = self.view.vows.hard.0.max(self.last_term());
        Op::Entries(vec![Entry::new(self.view.next(), term, payload)])
    }

    fn last_term(&self) -> u64 {
        let before = self.view.next().checked_sub(1);
        before.and_then(|index| self.view.id(index)).map_or(0, |id| id.term)
    }

    /// Payload length with which the next batch ends at `rest` modulo `unit`.
    fn fill(&self, unit: usize, rest: usize) -> usize {
        const HEAD_AND_SECTION: usize = 40 + 16 + 32 + 8;
        let end = evidence::end_of_log(&self.fs) + HEAD_AND_SECTION;
        let len = (rest + unit - end % unit) % unit;
        if len == 0 { unit } else { len }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.fs.clear_hook();
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
