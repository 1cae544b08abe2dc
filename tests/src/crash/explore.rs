//! One history: every crash state on its way, opened and judged.
//!
//! After each call that changes the disk (or only those of the last operation, where shorter
//! histories have looked at the others) it looks at
//! - what a power cut may leave, harmed sectors after a failed sync included;
//! - the page cache after kill -9, and power cuts inside the recovery from it and after it;
//! - one rotten sector on top: zeros, garbage, or one bit of a head.
//!
//! Each state is opened, judged, read back, and opened again; of a part of them the recovery is cut
//! off at each of its own calls, and the log is written on. Nothing may panic.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use hardlog::{
    Entry, Error, Log, RecoveryReport,
    error::{Evidence, Reason},
    fs::{
        Dir, SyncPoint,
        sim::{Image, Model, Rng, SimFs},
    },
};

use super::{
    ledger::{Fault, Ledger, Scene, row_of},
    world::{Did, World, lock, options},
};
use crate::{evidence, view::View};

const SECTOR: usize = 512;

/// What to look at.
#[derive(Clone, Debug)]
pub struct Opts {
    /// How names survive.
    pub model: Model,
    /// States after one call; sampled beyond.
    pub limit: usize,
    /// States of one rotten sector after one call; 0 for none.
    pub rot: usize,
    /// Whether to look inside recovery, and at kill -9.
    pub nested: bool,
    /// Whether to look after each operation, not only the last.
    pub every: bool,
    /// Seeds disk and choices.
    pub seed: u64,
    /// A sync that the log under test leaves out: a control. The creation is sound and on the
    /// platter then, and so are the opens that judge, so that what fails is the history.
    pub omit: Option<SyncPoint>,
    /// Whether batches are kept back until a sync, as they are while another one is under way.
    pub gather: bool,
    /// Whether files of trimmed segments are used again. The history begins in such a file then.
    pub reuse: bool,
}

impl Default for Opts {
    fn default() -> Self {
        Self {
            model: Model::Strict,
            limit: 24,
            rot: 0,
            nested: false,
            every: false,
            seed: 1,
            omit: None,
            gather: false,
            reuse: false,
        }
    }
}

/// How many states were opened, and what was said of them.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Distinct disks that were opened and judged.
    pub states: u64,
    /// Verdicts, and how often each was given.
    pub rows: BTreeMap<String, u64>,
}

impl Tally {
    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.states += other.states;
        for (row, count) in other.rows {
            *self.rows.entry(row).or_default() += count;
        }
    }

    fn count(&mut self, row: String) {
        self.states += 1;
        *self.rows.entry(row).or_default() += 1;
    }
}

/// A counter-example.
#[derive(Clone, Debug)]
pub struct Found {
    /// What is wrong.
    pub broken: String,
    /// In which state of the disk.
    pub state: String,
}

/// What one history came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was looked at.
    pub tally: Tally,
    /// What is wrong, if anything.
    pub found: Option<Found>,
    /// Whether the last operation did something: else a shorter history says the same.
    pub used: bool,
}

struct Looker {
    opts: Opts,
    ledger: Arc<Mutex<Ledger>>,
    looking: AtomicBool,
    inner: Mutex<Inner>,
}

struct Inner {
    rng: Rng,
    seen: HashSet<u64>,
    tally: Tally,
    found: Option<Found>,
}

/// Runs `history` and looks at its crash states.
#[must_use]
pub fn explore(history: &str, opts: &Opts) -> Outcome {
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let looker = Arc::new(Looker {
        opts: opts.clone(),
        ledger: Arc::clone(&ledger),
        looking: AtomicBool::new(history.is_empty() || opts.every),
        inner: Mutex::new(Inner {
            rng: Rng::new(opts.seed),
            seen: HashSet::new(),
            tally: Tally::default(),
            found: None,
        }),
    });
    let hook = {
        let looker = Arc::clone(&looker);
        Arc::new(move |fs: &SimFs| looker.look(fs))
    };
    let mut world = World::new(opts.seed, opts.model, ledger, hook);
    world.choose(opts.gather, opts.reuse);
    let run = catch_unwind(AssertUnwindSafe(|| run(&mut world, history, &looker)));
    let (used, broken) = match run {
        Ok(Ok(used)) => (used, None),
        Ok(Err(broken)) => (true, Some(broken)),
        Err(panic) => (true, Some(format!("panic: {}", message(&*panic)))),
    };
    drop(world);
    let mut inner = lock(&looker.inner);
    let here = |broken| Found { broken, state: "the running log itself".to_owned() };
    let found = inner.found.take().or_else(|| broken.map(here));
    Outcome { tally: std::mem::take(&mut inner.tally), found, used }
}

/// After these the active segment stands in a file that was used before and is full of old batches and
/// markers, a promise among them.
const REUSED: &str = "evbbbbibbrerTrr";

fn run(world: &mut World, history: &str, looker: &Looker) -> Result<bool, String> {
    let Opts { omit, reuse, .. } = looker.opts;
    let looking = looker.looking.load(Ordering::Relaxed);
    looker.looking.store(looking && omit.is_none() && !reuse, Ordering::Relaxed);
    world.create()?;
    if let Some(point) = omit {
        world.omit(point)?;
    }
    if reuse {
        for op in REUSED.chars() {
            world.run(op)?;
        }
        if !world.stands_in_used_file() && omit.is_none() {
            return Err(format!("{REUSED} reuses no file"));
        }
    }
    looker.looking.store(looking, Ordering::Relaxed);
    looker.look(&world.fs);
    let count = history.chars().count();
    for (n, op) in history.chars().enumerate() {
        let look = looker.opts.every || n + 1 == count;
        looker.looking.store(look, Ordering::Relaxed);
        if let Did::Unused = world.run(op)? {
            return Ok(looker.opts.every);
        }
        looker.look(&world.fs);
        if lock(&looker.inner).found.is_some() {
            break;
        }
    }
    Ok(true)
}

impl Looker {
    fn look(&self, fs: &SimFs) {
        let mut inner = lock(&self.inner);
        if !self.looking.load(Ordering::Relaxed) || inner.found.is_some() {
            return;
        }
        let mut ledger = lock(&self.ledger);
        ledger.acknowledge();
        let looked = self.look_at(fs, &ledger, &mut inner);
        inner.found = looked.err();
    }

    fn look_at(&self, fs: &SimFs, ledger: &Ledger, inner: &mut Inner) -> Result<(), Found> {
        let images = fs.crash_images(self.opts.model, self.opts.limit, &mut inner.rng.clone());
        let images: Vec<Image> = images.collect();
        inner.rng.next_u64();
        if !ledger.is_open() {
            return images.iter().try_for_each(|image| self.unborn(&image.fs, inner));
        }
        let pick = inner.rng.below(images.len());
        let base = images.iter().cycle().skip(pick).find(|image| image.harmed.is_none());
        let base = base.map(|image| image.fs.kill_image());
        for image in images {
            let fault = harm_of(&image).then_some(Fault::Harm);
            let case = Case { fs: &image.fs, sound: None, fault: fault.as_ref() };
            self.check(&case, ledger, inner)?;
        }
        if self.opts.nested {
            self.check_kill(fs, ledger, inner)?;
        }
        let Some(base) = base.filter(|_| self.opts.rot > 0) else { return Ok(()) };
        for (bad, fault) in rotten(&base, self.opts.rot, &mut inner.rng) {
            let case = Case { fs: &bad, sound: Some(&base), fault: Some(&fault) };
            self.check(&case, ledger, inner)?;
        }
        Ok(())
    }

    /// A creation that was cut off: there is a log, or another creation succeeds.
    fn unborn(&self, fs: &SimFs, inner: &mut Inner) -> Result<(), Found> {
        let found = fs.kill_image();
        let broken = match self.open(fs)? {
            Ok((log, report)) => {
                inner.tally.count(format!("creation cut off: {}", row_of(&report)));
                View::of(&log).err()
            }
            Err(Error::NotALog { .. }) => {
                inner.tally.count("creation cut off: no log".to_owned());
                let created = Log::create_on(Arc::new(fs.clone()), options());
                created.err().map(|e| format!("no log, and create fails: {e}"))
            }
            Err(e) => Some(format!("a creation that was cut off is refused: {e}")),
        };
        broken.map_or(Ok(()), |broken| Err(Found { broken, state: describe(&found, None) }))
    }

    /// Opens a disk, judges it, and opens it again.
    fn check(&self, case: &Case<'_>, ledger: &Ledger, inner: &mut Inner) -> Result<(), Found> {
        let Case { fs, sound, fault } = *case;
        let tag = tag(fs, ledger, fault);
        if !inner.seen.insert(tag) {
            return Ok(());
        }
        let found = fs.kill_image();
        let broken = |broken: String| Found { broken, state: describe(&found, fault) };
        if fault.is_none() {
            names_are_true(&found).map_err(broken)?;
        }
        let cuts = Arc::new(Mutex::new(Vec::new()));
        if self.opts.nested && fault.is_none() && tag.is_multiple_of(4) {
            collect_cuts(fs, &cuts);
        }
        let opened = self.open(fs);
        fs.clear_hook();
        let (log, report) = match opened? {
            Ok(opened) => opened,
            Err(e) => {
                inner.tally.count(refusal(&e));
                return may_refuse(&e, fault).map_err(broken);
            }
        };
        inner.tally.count(row_of(&report));
        let scene = Scene { fault, sound: sound.unwrap_or(&found), found: &found };
        let view = judged(&log, &report, ledger, &scene).map_err(broken)?;
        let live = fs.kill_image();
        drop(log);
        let cuts = std::mem::take(&mut *lock(&cuts));
        let again = [(live, "the next open")].into_iter();
        for (image, when) in again.chain(cuts.into_iter().map(|cut| (cut, "recovery cut off"))) {
            inner.tally.states += u64::from(when != "the next open");
            self.same(&image, &view).map_err(|what| broken(format!("{when}: {what}")))?;
        }
        if tag.is_multiple_of(8) {
            self.goes_on(fs, &view).map_err(broken)?;
        }
        Ok(())
    }

    /// kill -9 right here, and power cuts inside the open after it and behind it.
    fn check_kill(&self, fs: &SimFs, ledger: &Ledger, inner: &mut Inner) -> Result<(), Found> {
        let killed = fs.kill_image();
        let tag = tag(&killed, ledger, None) ^ 1;
        if !inner.seen.insert(tag) {
            return Ok(());
        }
        let sound = killed.kill_image();
        let cuts = Arc::new(Mutex::new(Vec::new()));
        collect_cuts(&killed, &cuts);
        let opened = self.open(&killed);
        killed.clear_hook();
        let at = |what: &str| format!("kill -9 here, {what}; {}", describe(&sound, None));
        let broken = |what: &'static str| {
            let state = at(what);
            move |broken: String| Found { broken, state }
        };
        let scene = Scene { fault: None, sound: &sound, found: &sound };
        let (log, report) = opened?.map_err(|e| broken("open")(format!("open refuses: {e}")))?;
        inner.tally.count(format!("kill -9: {}", row_of(&report)));
        let view = judged(&log, &report, ledger, &scene).map_err(broken("open"))?;
        let behind = killed.crash_images(self.opts.model, 6, &mut inner.rng.clone());
        let behind: Vec<SimFs> =
            behind.filter(|image| image.harmed.is_none()).map(|image| image.fs).collect();
        drop(log);
        for image in behind {
            inner.tally.states += 1;
            self.same(&image, &view).map_err(broken("open, power cut after it"))?;
        }
        for image in std::mem::take(&mut *lock(&cuts)) {
            let found = image.kill_image();
            let scene = Scene { fault: None, sound: &found, found: &found };
            let what = "open, power cut inside it";
            let opened = self.open(&image)?;
            let (log, report) = opened.map_err(|e| broken(what)(format!("open refuses: {e}")))?;
            inner.tally.count(format!("kill -9 and cut: {}", row_of(&report)));
            judged(&log, &report, ledger, &scene).map_err(broken(what))?;
        }
        Ok(())
    }

    /// Opens; the outer error is a panic.
    fn open(&self, fs: &SimFs) -> Result<hardlog::Result<(Log, RecoveryReport)>, Found> {
        let fs: SimFs = fs.clone();
        let state = describe(&fs, None);
        catch_unwind(AssertUnwindSafe(|| Log::open_on(Arc::new(fs), options())))
            .map_err(|panic| Found { broken: format!("open panics: {}", message(&*panic)), state })
    }

    /// An open of `fs` shows exactly `view`.
    fn same(&self, fs: &SimFs, view: &View) -> Result<(), String> {
        match self.open(fs).map_err(|found| found.broken)? {
            Err(e) => Err(format!("open refuses: {e}")),
            Ok((log, report)) => {
                let again = View::of(&log)?;
                if again == *view {
                    return Ok(());
                }
                let row = row_of(&report);
                Err(format!("two opens differ: {}, then {} ({row})", view.brief(), again.brief()))
            }
        }
    }

    /// What is appended and synced after a recovery survives the worst power cut.
    fn goes_on(&self, fs: &SimFs, view: &View) -> Result<(), String> {
        let wrong = |e: Error| format!("the recovered log does not go on: {e}");
        let opened = self.open(fs).map_err(|found| found.broken)?;
        let (mut log, _) = opened.map_err(wrong)?;
        let term = log.last_id().map_or(1, |id| id.term);
        let entry = Entry::new(view.next(), term, "after recovery");
        log.append(std::slice::from_ref(&entry)).map_err(wrong)?;
        log.sync().map_err(wrong)?;
        let cut = fs.crash_images(Model::Strict, 1, &mut Rng::new(1)).next();
        let Some(cut) = cut else { return Err("no crash image".to_owned()) };
        drop(log);
        let mut after = view.clone();
        after.entries.push((entry.id, Some(entry.payload)));
        self.same(&cut.fs, &after).map_err(|what| format!("appended after recovery: {what}"))
    }
}

/// A disk to be opened.
#[derive(Clone, Copy)]
struct Case<'a> {
    fs: &'a SimFs,
    /// The disk without the rot, if it rotted.
    sound: Option<&'a SimFs>,
    fault: Option<&'a Fault>,
}

/// Reads a log back and judges it; the marked snapshot must be whole.
fn judged(
    log: &Log,
    report: &RecoveryReport,
    ledger: &Ledger,
    scene: &Scene<'_>,
) -> Result<View, String> {
    let view = View::of(log)?;
    if let Some(why) = &report.read_only {
        return Err(format!("read only without need: {why}"));
    }
    ledger.judge(&view, report, scene)?;
    if let Some(mark) = view.mark {
        let verified = log.snapshots().verify(mark.id);
        verified.map_err(|e| format!("the marked snapshot does not verify: {e}"))?;
    }
    Ok(view)
}

/// A refusal is right only where something rotted, and never for something that is missing.
fn may_refuse(e: &Error, fault: Option<&Fault>) -> Result<(), String> {
    let missing = |reason| matches!(reason, Reason::MissingSegment | Reason::MissingSnapshot);
    match e {
        Error::Corrupt(damage) if fault.is_some() && !missing(damage.reason) => Ok(()),
        Error::Io { .. } if fault.is_some() => Ok(()),
        e => Err(format!("open refuses: {e}")),
    }
}

fn refusal(e: &Error) -> String {
    match e {
        Error::Corrupt(damage) => {
            let row = match damage.evidence {
                Evidence::BornEnd(_) => "row 1",
                Evidence::SealedEnd(_) => "row 2",
                Evidence::LaterBatch { .. } => "row 3",
                _ => "the chain",
            };
            format!("refused by {row}: {}", damage.reason)
        }
        Error::Io { .. } => "refused: a sector cannot be read".to_owned(),
        other => format!("refused: {other}"),
    }
}

/// Whether a harmed sector may do harm: once a later segment exists it may not. (The file may have
/// its name in `tmp/` too, where that removal was lost.)
fn harm_of(image: &Image) -> bool {
    image.harmed.as_ref().is_some_and(|harm| {
        let names = image.fs.names(Dir::Root);
        let later = |name: &String| name.ends_with(".wal") && *name > harm.name;
        names.contains(&harm.name) && !names.iter().any(later)
    })
}

/// At each call of a recovery on `fs`: two states that a power cut may leave.
fn collect_cuts(fs: &SimFs, cuts: &Arc<Mutex<Vec<SimFs>>>) {
    let cuts = Arc::clone(cuts);
    fs.on_step(move |fs, step| {
        let images = fs.crash_images(Model::Strict, 12, &mut Rng::new(step.number));
        let sound = images.filter(|image| image.harmed.is_none()).map(|image| image.fs);
        let mut sound: Vec<SimFs> = sound.collect();
        Rng::new(!step.number).shuffle(&mut sound);
        sound.truncate(3);
        lock(&cuts).append(&mut sound);
    });
}

/// A name of a segment stands for that segment, in every state, the chain's or a leftover's.
fn names_are_true(fs: &SimFs) -> Result<(), String> {
    let names = fs.names(Dir::Root).into_iter().filter(|name| name.ends_with(".wal"));
    for name in names {
        let bytes = fs.read_file(Dir::Root, &name).unwrap_or_default();
        let said = evidence::number(&bytes).map(hardlog::layout::segment_name);
        if said.as_ref() != Some(&name) {
            return Err(format!("{name} stands for the bytes of {said:?}"));
        }
    }
    Ok(())
}

/// The disk with one rotten sector, up to `limit` times.
fn rotten(base: &SimFs, limit: usize, rng: &mut Rng) -> Vec<(SimFs, Fault)> {
    let mut picks = Vec::new();
    let names = base.names(Dir::Root);
    for file in names.iter().filter(|name| name.ends_with(".wal")) {
        let bytes = base.read_file(Dir::Root, file).unwrap_or_default();
        for (sector, old) in bytes.chunks(SECTOR).enumerate() {
            if old.iter().any(|byte| *byte != 0) {
                picks.extend([(file, sector, "zero", 0), (file, sector, "flip", 0)]);
            }
        }
        let segments = evidence::segments(base);
        let heads = segments.iter().filter(|s| s.name == *file).flat_map(|s| &s.heads);
        picks.extend(heads.map(|head| (file, head.at / SECTOR, "bit", head.at)));
    }
    rng.shuffle(&mut picks);
    picks.truncate(limit);
    let rot = |(file, sector, how, at): (&String, usize, &'static str, usize)| {
        let fs = base.kill_image();
        let range = (sector * SECTOR) as u64..((sector + 1) * SECTOR) as u64;
        match how {
            "zero" => fs.zero(Dir::Root, file, range),
            "flip" => fs.garble(Dir::Root, file, range, 7),
            _ => fs.flip_bit(Dir::Root, file, at as u64, 0),
        }
        (fs, Fault::Rot { file: file.clone(), sector, how })
    };
    picks.into_iter().map(rot).collect()
}

fn tag(fs: &SimFs, ledger: &Ledger, fault: Option<&Fault>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (ledger.progress(), fs.digest(), fault.is_some()).hash(&mut hasher);
    hasher.finish() << 1
}

/// Names and segments of a disk, for people.
fn describe(fs: &SimFs, fault: Option<&Fault>) -> String {
    let mut out = Vec::new();
    for dir in [Dir::Root, Dir::Snapshots] {
        out.extend(fs.names(dir).into_iter().filter(|name| name != "LOCK"));
    }
    for segment in evidence::segments(fs) {
        let heads: Vec<String> = segment
            .heads
            .iter()
            .map(|h| {
                let kind = if h.state {
                    "S"
                } else if h.marker {
                    "m"
                } else {
                    ""
                };
                format!("{kind}{}/{}@{}..{}", h.seq, h.durable, h.at, h.end)
            })
            .collect();
        let (name, born) = (&segment.name, segment.born_end);
        out.push(format!("{name} after {} born {born}: {}", segment.pred_seq, heads.join(" ")));
    }
    out.extend(fault.map(|fault| format!("{fault:?}")));
    out.join("; ")
}

/// What a panic said.
#[must_use]
pub fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default()
}
