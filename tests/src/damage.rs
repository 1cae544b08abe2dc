//! Every bit, every length, every block of a small log damaged, one at a time: what comes of it.
//!
//! The log has all kinds of records in two sealed segments and an open one, and a snapshot. It was
//! synced and not closed, so its last batch is acknowledged and not yet proven: damage to it may be
//! called unproven, never be silent. Each damaged directory is opened with both kinds of
//! [`OnDamage`], read back whole, and what it shows is compared with what was written. Where entries
//! are faulty they are refilled, and then nothing may be missing any more.

use std::{
    collections::BTreeMap,
    fmt,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use bytes::Bytes;
use hardlog::{
    Class, Entry, EntryId, Error, HardState, Log, OnDamage, RecoveryReport, SnapshotMark, Verdict,
    fs::{Dir, sim::SimFs},
};

use crate::{
    crash::{explore::message, world::options},
    view::{Op, View, batch_of},
};

const BLOCK: usize = 512;
const PAGE: u64 = 4096;

/// A file of the log.
pub type Name = (Dir, String);

/// One way to damage a log.
#[derive(Clone, Debug)]
pub enum Harm {
    /// One bit of a byte is flipped.
    Bit(usize, u64, u32),
    /// A file is cut to a length.
    Cut(usize, u64),
    /// A block of 512 bytes is zeroed.
    Zero(usize, u64),
    /// A block is copied over the one behind it.
    Repeat(usize, u64),
    /// A file is missing.
    Missing(usize),
    /// Two files have changed names.
    Swap(usize, usize),
    /// A file is an older copy of itself.
    Old(usize, usize),
    /// Both copies of a segment's header are gone.
    Headless(usize),
}

impl Harm {
    /// What kind of damage it is.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Bit(..) => "bit flipped",
            Self::Cut(..) => "file cut",
            Self::Zero(..) => "block zeroed",
            Self::Repeat(..) => "block repeated",
            Self::Missing(_) => "file missing",
            Self::Swap(..) => "two files swapped",
            Self::Old(..) => "older copy of a file",
            Self::Headless(_) => "both headers gone",
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Everything is there.
    Equal,
    /// Open refuses; nothing was changed.
    Refused,
    /// The end is missing, and the report says so with an index that is low enough.
    Unproven,
    /// Open succeeds; the damaged entries are named and not handed out.
    EntryRefused,
    /// The log is whole; the damaged snapshot is refused.
    SnapshotRefused,
    /// What no log can see: the last file stands as it once stood, as a whole.
    AsOnce,
    /// Something is missing or wrong, and nobody says so.
    Silent,
    /// A panic.
    Panic,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "opened, everything there",
            Self::Refused => "refused as corrupt",
            Self::Unproven => "opened, unproven tail reported",
            Self::EntryRefused => "opened, entry refused at read",
            Self::SnapshotRefused => "opened, snapshot refused",
            Self::AsOnce => "opened as the last file once stood",
            Self::Silent => "SILENT",
            Self::Panic => "PANIC",
        })
    }
}

/// Outcomes by kind of damage.
#[derive(Debug, Default)]
pub struct Table {
    /// How often each.
    pub counts: BTreeMap<(&'static str, Outcome), u64>,
    /// The first of those that must not be.
    pub bad: Vec<String>,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((kind, outcome), count) in &self.counts {
            writeln!(f, "{kind:<22} {count:>8}  {outcome}")?;
        }
        self.bad.iter().try_for_each(|bad| writeln!(f, "{bad}"))
    }
}

/// The log under test.
pub struct Specimen {
    fs: SimFs,
    files: Vec<Name>,
    /// All states it went through, the last one is what everything is compared with.
    states: Vec<View>,
    /// Older copies of its files.
    copies: Vec<Vec<Bytes>>,
    /// Its files as they are.
    contents: Vec<Vec<u8>>,
}

/// Writes the specimen, one batch at a time.
struct Scribe {
    fs: SimFs,
    log: Log,
    states: Vec<View>,
    images: Vec<SimFs>,
}

impl Scribe {
    fn new(seed: u64) -> hardlog::Result<Self> {
        let fs = SimFs::new(seed);
        let log = Log::create_on(Arc::new(fs.clone()), options())?;
        Ok(Self { fs, log, states: vec![View::new(1)], images: Vec::new() })
    }

    fn write(&mut self, ops: &[Op]) -> hardlog::Result<()> {
        let mut view = self.states.last().cloned().unwrap_or_default();
        ops.iter().for_each(|op| view.apply(op));
        self.log.write(&batch_of(ops))?;
        self.log.sync()?;
        self.states.push(view);
        self.images.push(self.fs.kill_image());
        Ok(())
    }

    fn append(&mut self, first: u64, term: u64, lens: &[usize]) -> hardlog::Result<()> {
        let entries = (first..).zip(lens).map(|(index, len)| {
            let fill = u8::try_from(index % 250).unwrap_or(1) + 1;
            Entry::new(index, term, vec![fill; *len])
        });
        self.write(&[Op::Entries(entries.collect())])
    }

    fn snapshot(&self, id: EntryId) -> hardlog::Result<SnapshotMark> {
        let mut writer = self.log.snapshots().begin(id, b"about it")?;
        // A writer that failed says so at commit.
        let _ = writer.write_all(&[7; 900]);
        writer.commit()
    }
}

impl Specimen {
    /// A log with all kinds of records.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new() -> hardlog::Result<Self> {
        Self::seeded(9)
    }

    /// The same log with other random numbers: what a peer has.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn seeded(seed: u64) -> hardlog::Result<Self> {
        Self::written(seed, false)
    }

    /// The same log with a second, newer snapshot on which it does not count yet.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn with_another_snapshot() -> hardlog::Result<Self> {
        Self::written(9, true)
    }

    fn written(seed: u64, another: bool) -> hardlog::Result<Self> {
        let mut s = Scribe::new(seed)?;
        let hard = |term, vote, commit| Op::Hard(HardState { term, vote, commit });
        s.append(1, 1, &[10, 20])?;
        s.write(&[Op::Reset(10, Some(EntryId::new(9, 1)))])?;
        s.append(10, 1, &[30, 0, 700])?;
        s.write(&[hard(2, Some(1), 10)])?;
        s.write(&[Op::Meta(Class::Ordered, Bytes::from_static(b"slot"))])?;
        s.write(&[Op::Meta(Class::Promise, Bytes::from_static(b"vow"))])?;
        s.append(13, 2, &[5])?;
        s.log.rotate_now()?;
        s.append(14, 2, &[100, 40])?;
        s.append(16, 2, &[8])?;
        let mark = s.snapshot(EntryId::new(10, 1))?;
        s.write(&[Op::Mark(mark), Op::Trim(11)])?;
        let other = Entry::new(16, 3, vec![0xAB; 300]);
        s.write(&[hard(3, None, 12), Op::Truncate(16), Op::Entries(vec![other])])?;
        s.write(&[Op::Acknowledge])?;
        s.log.marker_now()?;
        s.append(17, 3, &[60])?;
        s.log.rotate_now()?;
        s.append(18, 3, &[33, 0, 44])?;
        s.log.marker_now()?;
        s.write(&[hard(4, Some(2), 15)])?;
        s.append(21, 4, &[20])?;
        s.append(22, 4, &[900])?;
        if another {
            s.snapshot(EntryId::new(15, 2))?;
        }
        let fs = s.fs.kill_image();
        fs.settle();
        drop(s.log);
        let mut files = Vec::new();
        for dir in [Dir::Root, Dir::Snapshots] {
            files.extend(fs.names(dir).into_iter().filter(|n| n != "LOCK").map(|n| (dir, n)));
        }
        let copies = files.iter().map(|(dir, name)| {
            let mut copies: Vec<Bytes> = Vec::new();
            for image in &s.images {
                let copy = image.read_file(*dir, name).map(Bytes::from);
                copies.extend(copy.filter(|copy| copies.last() != Some(copy)));
            }
            copies
        });
        let copies = copies.collect();
        let read = |(dir, name): &Name| fs.read_file(*dir, name).unwrap_or_default();
        let contents = files.iter().map(read).collect();
        Ok(Self { copies, contents, fs, files, states: s.states })
    }

    /// The names of its files.
    #[must_use]
    pub fn files(&self) -> &[Name] {
        &self.files
    }

    /// Whether the block of 512 bytes around `at` holds nothing but zeros.
    #[must_use]
    pub fn is_empty_block(&self, file: usize, at: u64) -> bool {
        let block = usize::try_from(at).unwrap_or(0) / BLOCK * BLOCK;
        self.contents[file][block..].iter().take(BLOCK).all(|byte| *byte == 0)
    }

    /// Where `needle` stands in a file.
    #[must_use]
    pub fn find(&self, file: usize, needle: &[u8]) -> Option<u64> {
        let bytes = &self.contents[file];
        bytes.windows(needle.len()).position(|window| window == needle).map(|at| at as u64)
    }

    fn bytes(&self, file: usize) -> Vec<u8> {
        let (dir, name) = &self.files[file];
        self.fs.read_file(*dir, name).unwrap_or_default()
    }

    /// What was written.
    #[must_use]
    pub fn whole(&self) -> &View {
        self.states.last().expect("a specimen has states")
    }

    /// The log without damage.
    #[must_use]
    pub fn fs(&self) -> SimFs {
        self.fs.kill_image()
    }

    /// The open segment.
    #[must_use]
    pub fn last(&self) -> usize {
        let wal = |(_, name): &Name| name.ends_with(".wal");
        self.files.iter().rposition(wal).unwrap_or(0)
    }

    /// All ways to damage it; of the bits of a block that holds nothing, `every` bit or one of each
    /// byte.
    #[must_use]
    pub fn harms(&self, every: bool) -> Vec<Harm> {
        let mut harms = Vec::new();
        for file in 0..self.files.len() {
            let bytes = self.bytes(file);
            let len = bytes.len() as u64;
            for (block, content) in (0u64..).zip(bytes.chunks(BLOCK)) {
                let from = block * BLOCK as u64;
                let empty = !every && content.iter().all(|byte| *byte == 0);
                for at in from..from + content.len() as u64 {
                    let bits = (0u32..8).filter(|bit| !empty || at % 8 == u64::from(*bit));
                    harms.extend(bits.map(|bit| Harm::Bit(file, at, bit)));
                }
            }
            harms.extend((0..len).map(|at| Harm::Cut(file, at)));
            harms.extend((0..len / BLOCK as u64).map(|block| Harm::Zero(file, block)));
            harms.extend((1..len / BLOCK as u64).map(|block| Harm::Repeat(file, block - 1)));
            harms.push(Harm::Missing(file));
            harms.extend((0..file).map(|other| Harm::Swap(other, file)));
            harms.extend((0..self.copies[file].len()).map(|copy| Harm::Old(file, copy)));
            let segment = self.files[file].1.ends_with(".wal");
            harms.extend(segment.then_some(Harm::Headless(file)));
        }
        harms
    }

    /// The log as it is after the damage.
    #[must_use]
    pub fn harmed(&self, harm: &Harm) -> SimFs {
        let fs = self.fs.kill_image();
        let of = |file: usize| (self.files[file].0, self.files[file].1.as_str());
        match *harm {
            Harm::Bit(file, at, bit) => fs.flip_bit(of(file).0, of(file).1, at, bit),
            Harm::Cut(file, len) => fs.truncate_file(of(file).0, of(file).1, len),
            Harm::Zero(file, block) => {
                let from = block * BLOCK as u64;
                fs.zero(of(file).0, of(file).1, from..from + BLOCK as u64);
            }
            Harm::Repeat(file, block) => {
                let mut bytes = self.bytes(file);
                let from = usize::try_from(block).unwrap_or(0) * BLOCK;
                bytes.copy_within(from..from + BLOCK, from + BLOCK);
                fs.write_file(of(file).0, of(file).1, &bytes);
            }
            Harm::Headless(file) => fs.zero(of(file).0, of(file).1, 0..2 * PAGE),
            Harm::Missing(file) => fs.remove_file(of(file).0, of(file).1),
            Harm::Swap(a, b) => fs.swap_files(of(a), of(b)),
            Harm::Old(file, copy) => {
                fs.write_file(of(file).0, of(file).1, &self.copies[file][copy]);
            }
        }
        fs
    }

    /// Damages it in each of `harms`, on all processors.
    #[must_use]
    pub fn suffer(&self, harms: &[Harm], on_damage: OnDamage) -> Table {
        let (next, table) = (AtomicUsize::new(0), Mutex::new(Table::default()));
        let work = || {
            let mut mine = Table::default();
            while let Some(harm) = harms.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (outcome, why) = self.outcome(harm, on_damage);
                if matches!(outcome, Outcome::Silent | Outcome::Panic) && mine.bad.len() < 20 {
                    mine.bad.push(format!("{harm:?} {outcome}: {why}"));
                }
                *mine.counts.entry((harm.kind(), outcome)).or_default() += 1;
            }
            let mut table = table.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            for (row, count) in mine.counts {
                *table.counts.entry(row).or_default() += count;
            }
            table.bad.append(&mut mine.bad);
        };
        thread::scope(|scope| {
            let threads = thread::available_parallelism().map_or(1, usize::from);
            (0..threads).for_each(|_| drop(scope.spawn(work)));
        });
        table.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn outcome(&self, harm: &Harm, on_damage: OnDamage) -> (Outcome, String) {
        let fs = self.harmed(harm);
        let before = fs.digest();
        let tried = catch_unwind(AssertUnwindSafe(|| {
            match Log::open_on(Arc::new(fs.clone()), options().on_damage(on_damage)) {
                Ok((log, report)) => self.opened(harm, log, &report),
                // Nothing but LOCK may be touched by an open that refuses.
                Err(Error::Corrupt(_)) if fs.digest() == before => {
                    (Outcome::Refused, String::new())
                }
                Err(Error::Corrupt(e)) => (Outcome::Silent, format!("refused and changed: {e}")),
                Err(e) => (Outcome::Silent, format!("refused as something else: {e}")),
            }
        }));
        tried.unwrap_or_else(|panic| (Outcome::Panic, message(&*panic)))
    }

    fn opened(&self, harm: &Harm, mut log: Log, report: &RecoveryReport) -> (Outcome, String) {
        let view = match View::of(&log) {
            Ok(view) => view,
            Err(what) => return (Outcome::Silent, what),
        };
        let Some(whole) = self.states.last() else { return (Outcome::Silent, String::new()) };
        let snapshot = log.snapshot_mark().map(|mark| log.snapshots().verify(mark.id));
        let sound = match snapshot {
            Some(Ok(_)) => true,
            Some(Err(Error::Corrupt(_))) => false,
            other => return (Outcome::Silent, format!("snapshot: {other:?}")),
        };
        let said = format!("shows {}; {report}", view.brief());
        if view.shows(whole) && view.vows == whole.vows {
            return match (view.refused(), sound) {
                (0, true) => (Outcome::Equal, said),
                (0, false) => (Outcome::SnapshotRefused, said),
                _ => heal(&mut log, &view, whole).map_or_else(
                    |what| (Outcome::Silent, format!("{what}; {said}")),
                    |()| (Outcome::EntryRefused, said.clone()),
                ),
            };
        }
        let Some(at) = self.states.iter().rposition(|state| view.shows(state)) else {
            return (Outcome::Silent, format!("a state that never was: {said}"));
        };
        let low = (self.states[at].commit + 1).max(view.first);
        if report.verdict == Some(Verdict::Unproven) && report.maybe_lost.is_some_and(|l| l <= low)
        {
            return (Outcome::Unproven, said);
        }
        match *harm {
            Harm::Old(file, _) if file == self.last() => (Outcome::AsOnce, said),
            Harm::Cut(file, len) if file == self.last() && len.is_multiple_of(PAGE) => {
                (Outcome::AsOnce, said)
            }
            _ => (Outcome::Silent, said),
        }
    }
}

/// Refills what is faulty, where the log says that it is: then nothing is missing.
fn heal(log: &mut Log, view: &View, whole: &View) -> Result<(), String> {
    let faulty = view.entries.iter().zip(&whole.entries).filter(|((_, bytes), _)| bytes.is_none());
    for ((id, _), (_, bytes)) in faulty {
        match log.at(id.index) {
            Err(Error::Faulty { .. }) => {
                let payload = bytes.clone().unwrap_or_default();
                let refilled = log.refill(&Entry { id: *id, payload });
                refilled.map_err(|e| format!("refill of {}: {e}", id.index))?;
            }
            Err(Error::Corrupt(_)) => return Ok(()),
            other => return Err(format!("at({}) is {other:?}", id.index)),
        }
    }
    let healed = View::of(log)?;
    if healed == *whole { Ok(()) } else { Err(format!("refilled, and shows {}", healed.brief())) }
}
