//! The operations, by letter: the same as in `model.py --list`, on the engine.

use std::{
    io::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hardlog::{
    Batch, Class, Entry, EntryId, Error, HardState, Log,
    fs::{
        Dir, SyncPoint,
        sim::{Call, EIO, Effect, Fault, Model, Rng, SimFs, Step, When},
    },
};

use super::{
    ledger::{Ledger, Place},
    look::{SLOT, Seen, VOW, View, Vows, options},
};

/// All letters.
pub const LETTERS: &str = "ebzapgtuvCmMlsfFGWirqwTRokx";
/// What can be done with a log that stopped.
pub const AFTER_POISON: &str = "kx";

const SECTOR: u64 = 512;
const PAGE: u64 = 4096;
/// Bytes of a batch with one entry, beside its payload: head, section, run, the entry's own.
const BATCH_FIXED: u64 = 40 + 16 + 32 + 8;
/// Bytes of the zero head behind each write.
const ZERO_HEAD: u64 = 40;
/// Where a segment's header says up to where it was synced before it had its name.
const BORN_END_AT: usize = 120;

/// A log on a simulated disk, and what its caller knows.
pub struct World {
    /// The disk of the present life.
    pub fs: SimFs,
    /// What the caller was told.
    pub(super) ledger: Arc<Mutex<Ledger>>,
    log: Option<Log>,
    view: View,
    vows: Vows,
    payloads: u64,
    dirty: bool,
    poisoned: bool,
    rng: Rng,
    omitted: Option<SyncPoint>,
    watch: Box<dyn Fn(&SimFs)>,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// It was done.
    Done,
    /// It means nothing here: the history ends before it.
    Nothing,
    /// The log was opened again, on the disk that `World::fs` is now.
    Reopened,
}

type Result<T = Did> = std::result::Result<T, Error>;

impl World {
    /// An empty disk, and no log yet; one sync is left out, if one is named.
    #[must_use]
    pub fn new(seed: u64, omitted: Option<SyncPoint>) -> Self {
        let mut world = Self {
            omitted,
            watch: Box::new(|_| {}),
            fs: SimFs::new(seed),
            ledger: Arc::default(),
            log: None,
            view: View::new(),
            vows: Vows::default(),
            payloads: 0,
            dirty: false,
            poisoned: false,
            rng: Rng::new(seed),
        };
        let ledger = Arc::clone(&world.ledger);
        world.watch(move |fs| {
            let ledger = Arc::clone(&ledger);
            fs.record_steps();
            fs.on_step(move |fs, step| note(&ledger, fs, step));
        });
        world
    }

    /// Calls `watch` with each disk before anything happens on it, in place of what notes only where
    /// batches go.
    pub(super) fn watch(&mut self, watch: impl Fn(&SimFs) + 'static) {
        watch(&self.fs);
        self.watch = Box::new(watch);
    }

    /// Makes the log.
    ///
    /// # Errors
    /// The engine's.
    pub fn create(&mut self) -> Result<()> {
        let log = Log::create_on(Arc::new(self.fs.clone()), options(self.omitted))?;
        self.handed_out(log)
    }

    /// Whether the log stopped.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Does what the letter says, and compares what the log then shows with what it must.
    ///
    /// # Errors
    /// The engine's, where none was to be expected.
    ///
    /// # Panics
    /// For a letter that is none, and where the log shows something else than was written.
    pub fn step(&mut self, letter: char) -> Result {
        let (before, stopped) = ((self.view.clone(), self.vows.clone()), self.poisoned);
        let did = match letter {
            'e' => self.append(20),
            'b' => self.append(900),
            'z' => self.append_entry(vec![0; 900]),
            'a' => self.append(self.fill(SECTOR, 0)),
            'p' => self.append(self.fill(PAGE, 0)),
            'g' => self.append(self.fill(PAGE, PAGE - 16)),
            't' => self.replace_last(1),
            'u' => self.replace_last(2),
            'v' => self.vote(),
            'C' => self.commit(),
            'm' | 'M' => self.meta(letter == 'M'),
            'l' => self.trim(),
            's' => self.sync(),
            'f' | 'F' | 'G' => self.failing_sync(letter),
            'W' => self.failing_append(),
            'i' => self.marker(),
            'r' => self.rotate(),
            'q' | 'w' => self.failing_rotate(letter),
            'T' => self.snapshot(),
            'R' => self.install(),
            'o' => self.close(),
            'k' => self.reopen(self.fs.kill_image()),
            'x' => self.power_cut(),
            other => panic!("no operation is called {other}"),
        }?;
        if did == Did::Done && !self.poisoned {
            let seen = Seen::of(self.log())?;
            let expected = (&self.view, &self.vows);
            assert_eq!((&seen.view, &seen.vows), expected, "after {letter}, before any crash");
        }
        if matches!(letter, 'o' | 'k') && !stopped {
            assert_eq!((&self.view, &self.vows), (&before.0, &before.1), "after {letter}");
        }
        Ok(did)
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> &Log {
        self.log.as_ref().expect("the log is open between operations")
    }

    fn log_mut(&mut self) -> &mut Log {
        self.log.as_mut().expect("the log is open between operations")
    }

    fn handed_out(&mut self, log: Log) -> Result<()> {
        let seen = Seen::of(&log)?;
        self.ledger().rebase(&seen, log.durable().sequence());
        (self.view, self.vows) = (seen.view, seen.vows);
        (self.dirty, self.poisoned) = (false, false);
        self.log = Some(log);
        Ok(())
    }

    /// Writes a batch after which the log must show `view` and `vows`.
    fn write(&mut self, batch: &Batch, view: View, vows: Vows, lowest: Option<u64>) -> Result {
        self.ledger().writes(view.clone(), &vows, lowest);
        (self.view, self.vows) = (view, vows);
        self.dirty = true;
        let ticket = self.log_mut().write(batch)?;
        assert_eq!(ticket.sequence(), self.ledger().last_seq(), "sequences count batches");
        Ok(Did::Done)
    }

    // ---- entries

    /// Where the next batch will stand.
    fn end(&self) -> u64 {
        let name = segments(&self.fs).pop().expect("a log has a segment");
        let written = self.ledger().end_of(&name);
        written.unwrap_or_else(|| born_end(&self.fs, &name))
    }

    /// Length of a payload with which a batch ends at `rest` modulo `unit`.
    fn fill(&self, unit: u64, rest: u64) -> usize {
        let mut len = (unit + rest - (self.end() + BATCH_FIXED) % unit) % unit;
        if len == 0 {
            len = unit;
        }
        usize::try_from(len).expect("at most a page")
    }

    fn payload(&mut self, len: usize) -> Vec<u8> {
        self.payloads += 1;
        let mut bytes = format!("{:08}", self.payloads).into_bytes();
        bytes.resize(len.max(1), b'p');
        bytes
    }

    fn append(&mut self, len: usize) -> Result {
        let payload = self.payload(len);
        self.append_entry(payload)
    }

    fn append_entry(&mut self, payload: Vec<u8>) -> Result {
        let (batch, view) = self.appended(payload);
        let lowest = Some(self.view.next());
        self.write(&batch, view, self.vows.clone(), lowest)
    }

    fn appended(&self, payload: Vec<u8>) -> (Batch, View) {
        let (mut batch, mut view) = (Batch::new(), self.view.clone());
        let term = self.term();
        batch.append([Entry::new(view.next(), term, payload.clone())]);
        view.entries.push((term, payload));
        (batch, view)
    }

    /// Terms never go back from one entry to the next.
    fn term(&self) -> u64 {
        self.vows.hard.0.max(self.view.last_term())
    }

    fn replace_last(&mut self, count: u64) -> Result {
        let at = self.view.next().saturating_sub(count);
        if at <= self.view.commit || at < self.view.first {
            return Ok(Did::Nothing);
        }
        let (term, payload) = (self.term() + 1, self.payload(24));
        let mut view = self.view.clone();
        view.entries.truncate(usize::try_from(at - view.first).expect("a short log"));
        view.entries.push((term, payload.clone()));
        let mut batch = Batch::new();
        batch.truncate_from(at).append([Entry::new(at, term, payload)]);
        self.write(&batch, view, self.vows.clone(), Some(at))
    }

    // ---- hard state, slots

    fn hard(&mut self, term: u64, vote: Option<u64>, commit: u64) -> Result {
        let (mut view, mut vows) = (self.view.clone(), self.vows.clone());
        (vows.hard, view.commit) = ((term, vote), commit);
        let mut batch = Batch::new();
        batch.hard_state(HardState { term, vote, commit });
        self.write(&batch, view, vows, None)
    }

    fn vote(&mut self) -> Result {
        let term = self.vows.hard.0 + 1;
        self.hard(term, Some(1 + term % 3), self.view.commit)
    }

    fn commit(&mut self) -> Result {
        let last = self.view.next() - 1;
        if last == self.view.commit {
            return Ok(Did::Nothing);
        }
        self.hard(self.vows.hard.0, self.vows.hard.1, last)
    }

    fn meta(&mut self, promise: bool) -> Result {
        let (mut view, mut vows) = (self.view.clone(), self.vows.clone());
        let value = format!("value {}", self.ledger().last_seq()).into_bytes();
        let mut batch = Batch::new();
        if promise {
            vows.slot = Some(value.clone());
            batch.meta(VOW, Class::Promise, value);
        } else {
            view.slot = Some(value.clone());
            batch.meta(SLOT, Class::Ordered, value);
        }
        self.write(&batch, view, vows, None)
    }

    // ---- durability

    fn sync(&mut self) -> Result {
        if !self.dirty {
            return Ok(Did::Nothing);
        }
        self.log().sync()?;
        self.ledger().ack();
        self.dirty = false;
        Ok(Did::Done)
    }

    /// Plans that the nth call of a kind from now on fails.
    fn inject(&self, call: Call, nth: u64, effect: Effect, lasting: bool) {
        let when = When::Kind(call, self.fs.count(call) + nth);
        self.fs.inject(Fault { when, effect, lasting });
    }

    /// `f`: the log goes on in a successor. `F`: that fails too. `G`: its rename does.
    fn failing_sync(&mut self, letter: char) -> Result {
        if !self.dirty {
            return Ok(Did::Nothing);
        }
        self.inject(Call::Sync, 0, Effect::Fail(EIO), letter == 'F');
        if letter == 'G' {
            self.inject(Call::Rename, 0, Effect::DoneButFail(EIO), false);
        }
        let result = self.log().sync();
        self.fs.clear_faults();
        if letter == 'f' {
            result?;
            self.ledger().ack_in_successor();
            self.dirty = false;
            return Ok(Did::Done);
        }
        self.stopped(&result.expect_err("a sync that failed, and its successor too, is no success"))
    }

    fn stopped(&mut self, error: &Error) -> Result {
        let (again, write) = (self.log().sync(), self.append_refused());
        assert!(matches!(again, Err(Error::Poisoned { .. })), "after {error}: {again:?}");
        assert!(matches!(write, Err(Error::Poisoned { .. })), "after {error}: {write:?}");
        self.poisoned = true;
        Ok(Did::Done)
    }

    fn append_refused(&mut self) -> Result<()> {
        let (batch, _) = self.appended(vec![0xFF]);
        self.log_mut().write(&batch).map(|_| ())
    }

    /// The call takes effect and says it failed; the log goes on in a successor without the batch.
    fn failing_append(&mut self) -> Result {
        let at = self.end();
        if at >= 5 * PAGE {
            return Ok(Did::Nothing);
        }
        let payload = self.payload(900);
        let (batch, view) = self.appended(payload);
        // The first writes may fill the file with zeros: then that fails, and nothing was written.
        for nth in 0..100 {
            let before = self.ledger().clone();
            let lowest = Some(self.view.next());
            self.ledger().writes(view.clone(), &self.vows, lowest);
            self.ledger().will_fail();
            self.inject(Call::Write, nth, Effect::DoneButFail(EIO), false);
            let result = self.log_mut().write(&batch);
            self.fs.clear_faults();
            assert!(result.is_err(), "a write that failed is no success");
            let steps = self.fs.steps();
            let failed = steps.iter().rfind(|step| step.failed && step.call == Call::Write);
            let failed = failed.expect("a write failed");
            if failed.offset == at {
                self.ledger().ack_in_successor();
                self.dirty = false;
                return Ok(Did::Done);
            }
            *self.ledger() = before;
        }
        panic!("a hundred writes before a batch");
    }

    fn marker(&mut self) -> Result {
        let written = self.log_mut().marker_now()?;
        self.dirty |= written;
        Ok(if written { Did::Done } else { Did::Nothing })
    }

    fn rotate(&mut self) -> Result {
        self.log_mut().rotate_now()?;
        self.ledger().ack_in_successor();
        self.dirty = false;
        Ok(Did::Done)
    }

    /// `q`: the successor cannot be synced, and the old segment goes on. `w`: the rename fails.
    fn failing_rotate(&mut self, letter: char) -> Result {
        if letter == 'q' {
            self.inject(Call::Sync, u64::from(self.dirty), Effect::Fail(EIO), false);
        } else {
            self.inject(Call::Rename, 0, Effect::DoneButFail(EIO), false);
        }
        let result = self.log_mut().rotate_now();
        self.fs.clear_faults();
        let error = result.expect_err("a rotation that failed is no success");
        self.ledger().ack();
        self.dirty = false;
        if letter == 'w' { self.stopped(&error) } else { Ok(Did::Done) }
    }

    // ---- snapshots and trims

    fn trimmed(&self, first: u64) -> View {
        let mut view = self.view.clone();
        let gone: Vec<_> =
            view.entries.drain(..usize::try_from(first - view.first).expect("short")).collect();
        view.prev = (first - 1, gone.last().map_or(view.prev.1, |entry| entry.0));
        view.first = first;
        view
    }

    fn trim(&mut self) -> Result {
        let last = self.view.next() - 1;
        if last <= self.view.first {
            return Ok(Did::Nothing);
        }
        let mut batch = Batch::new();
        batch.trim_before(last);
        self.write(&batch, self.trimmed(last), self.vows.clone(), None)
    }

    fn put_snapshot(&self, id: EntryId) -> Result<hardlog::SnapshotMark> {
        let mut writer = self.log().snapshots().begin(id, b"")?;
        let written = writer.write_all(b"snapshot");
        written.map_err(|source| Error::Io { op: "write", path: "snapshot".into(), source })?;
        writer.commit()
    }

    fn snapshot(&mut self) -> Result {
        let last = self.view.next() - 1;
        if last <= self.view.first || self.view.mark.is_some_and(|mark| mark + 1 >= last) {
            return Ok(Did::Nothing);
        }
        let mark = self.put_snapshot(self.log().id_at(last - 1)?)?;
        let mut view = self.trimmed(last);
        view.mark = Some(last - 1);
        let mut batch = Batch::new();
        batch.snapshot_mark(mark).trim_before(last);
        self.write(&batch, view, self.vows.clone(), None)?;
        self.forget()
    }

    fn install(&mut self) -> Result {
        let (at, term) = (self.view.next() + 2, self.term());
        let id = EntryId::new(at, term);
        let mark = self.put_snapshot(id)?;
        let ((hard_term, vote), slot) = (self.vows.hard, self.view.slot.clone());
        let (first, prev, mark_at) = (at + 1, (at, term), Some(at));
        let view = View { first, prev, entries: Vec::new(), commit: at, slot, mark: mark_at };
        let mut batch = Batch::new();
        batch
            .reset(first, Some(id))
            .hard_state(HardState { term: hard_term, vote, commit: at })
            .snapshot_mark(mark);
        self.write(&batch, view, self.vows.clone(), Some(first))?;
        self.forget()
    }

    /// Syncs, states the trim durable and removes files.
    fn forget(&mut self) -> Result {
        self.log_mut().reclaim()?;
        self.ledger().ack();
        self.dirty = false;
        Ok(Did::Done)
    }

    // ---- the next life

    fn close(&mut self) -> Result {
        self.log.take().expect("the log is open between operations").close()?;
        self.ledger().ack();
        let fs = self.fs.clone();
        self.open(fs)
    }

    /// Opens what is on `fs`, while the old log still thinks it lives, as after a kill.
    fn reopen(&mut self, fs: SimFs) -> Result {
        self.log = None;
        self.open(fs)
    }

    fn open(&mut self, fs: SimFs) -> Result {
        (self.watch)(&fs);
        let (log, _) = Log::open_on(Arc::new(fs.clone()), options(self.omitted))?;
        self.fs = fs;
        self.handed_out(log)?;
        Ok(Did::Reopened)
    }

    fn power_cut(&mut self) -> Result {
        let images = self.fs.crash_images(Model::Strict, 6, &mut self.rng);
        let mut images: Vec<SimFs> =
            images.filter(|image| image.harmed.is_none()).map(|image| image.fs).collect();
        let pick = self.rng.below(images.len());
        self.reopen(images.swap_remove(pick))
    }
}

/// Tells the ledger where a batch or marker went.
pub(super) fn note(ledger: &Mutex<Ledger>, fs: &SimFs, step: &Step) {
    if step.call != Call::Write || step.dir != Dir::Root || !step.name.ends_with(".wal") {
        return;
    }
    let (start, end) = (step.offset, (step.offset + step.len).saturating_sub(ZERO_HEAD));
    let bytes = fs.read_file(Dir::Root, &step.name).unwrap_or_default();
    let range = usize::try_from(start).unwrap_or(0)..usize::try_from(end).unwrap_or(0);
    let bytes = bytes.get(range).unwrap_or_default();
    // Space that is filled with zeros ahead is no batch.
    if bytes.iter().any(|byte| *byte != 0) {
        let place = Place { file: step.name.clone(), start, end };
        ledger.lock().unwrap_or_else(PoisonError::into_inner).saw_write(place, bytes);
    }
}

/// Names of the segments, oldest first.
pub(super) fn segments(fs: &SimFs) -> Vec<String> {
    let mut names = fs.names(Dir::Root);
    names.retain(|name| name.ends_with(".wal"));
    names.sort();
    names
}

fn born_end(fs: &SimFs, name: &str) -> u64 {
    let bytes = fs.read_file(Dir::Root, name).unwrap_or_default();
    word(&bytes, BORN_END_AT)
}

/// The 64-bit word at an offset; 0 beyond the end.
pub(super) fn word(bytes: &[u8], at: usize) -> u64 {
    let raw = bytes.get(at..at + 8).and_then(|raw| raw.try_into().ok());
    raw.map_or(0, u64::from_le_bytes)
}
