//! Runs a history and looks at the states that a crash may leave on its way.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hardlog::fs::{
    Dir, SyncPoint,
    sim::{Image, Model, Rng, SimFs},
};

use super::{
    ledger::{Fault, Ledger, Place, SECTOR},
    letters::{AFTER_POISON, Did, World, note, segments, word},
    look::{Outcome, recover},
};

/// What to look at.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// States per call to the disk; sampled beyond that.
    pub states: usize,
    /// How names survive.
    pub model: Model,
    /// Plus a kill at each call, and a power cut at each step inside each recovery.
    pub nested: bool,
    /// Plus one rotten sector: zeroed, flipped, or one bit of a head.
    pub rot: bool,
    /// At each operation, not only at the last one of the history.
    pub every: bool,
    /// A sync that is left out, in the log and in each recovery.
    pub omitted: Option<SyncPoint>,
    /// All randomness comes from here.
    pub seed: u64,
}

impl Default for Check {
    fn default() -> Self {
        Self {
            states: 16,
            model: Model::Strict,
            nested: false,
            rot: false,
            every: false,
            omitted: None,
            seed: 1,
        }
    }
}

/// A promise that was broken.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which, and what came back instead.
    pub broken: String,
    /// In which state of the disk.
    pub state: String,
}

/// What a history came to.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Crash states that were opened and judged.
    pub states: u64,
    /// Whether all letters meant something.
    pub used: bool,
    /// The first promise that was broken.
    pub found: Option<Found>,
}

/// What the hook on the disk works with.
struct Watch {
    check: Check,
    ledger: Arc<Mutex<Ledger>>,
    rng: Rng,
    seen: HashSet<((usize, usize), u64)>,
    states: u64,
    found: Option<Found>,
    /// Whether states are looked at now, or writes only noted.
    looking: bool,
}

/// Runs `history` from the creation of a log on.
#[must_use]
pub fn explore(history: &str, check: Check) -> Stats {
    let mut world = World::new(check.seed, check.omitted);
    let watch = Arc::new(Mutex::new(Watch {
        check,
        ledger: Arc::clone(&world.ledger),
        rng: Rng::new(check.seed),
        seen: HashSet::new(),
        states: 0,
        found: None,
        looking: history.is_empty() || check.every,
    }));
    let watching = Arc::clone(&watch);
    world.watch(move |fs| attach(fs, &watching));
    let used = run(history, &mut world, &watch);
    world.fs.clear_hook();
    let watch = lock(&watch);
    Stats { states: watch.states, used, found: watch.found.clone() }
}

fn run(history: &str, world: &mut World, watch: &Arc<Mutex<Watch>>) -> bool {
    let fail = |what: String| {
        let found = Found { broken: what, state: "before any crash of its own".to_owned() };
        lock(watch).found.get_or_insert(found);
        true
    };
    if let Err(e) = world.create() {
        return fail(format!("create fails: {e}"));
    }
    let last = history.chars().count().saturating_sub(1);
    for (i, letter) in history.chars().enumerate() {
        if world.is_poisoned() && !AFTER_POISON.contains(letter) {
            return false;
        }
        lock(watch).looking = i == last || lock(watch).check.every;
        match world.step(letter) {
            Ok(Did::Nothing) => return false,
            Ok(Did::Done | Did::Reopened) => {}
            Err(e) => return fail(format!("operation {letter} fails: {e}")),
        }
        let mut now = lock(watch);
        if now.looking {
            now.look(&world.fs);
        }
        if now.found.is_some() {
            return true;
        }
    }
    true
}

/// Looks after each call to the disk from now on.
fn attach(fs: &SimFs, watch: &Arc<Mutex<Watch>>) {
    fs.record_steps();
    let watch = Arc::clone(watch);
    fs.on_step(move |fs, step| {
        let mut watch = lock(&watch);
        note(&watch.ledger, fs, step);
        if watch.looking && lock(&watch.ledger).is_begun() {
            watch.look(fs);
        }
    });
}

impl Watch {
    /// Judges the states that a crash right now may leave.
    fn look(&mut self, fs: &SimFs) {
        if self.found.is_some() {
            return;
        }
        let Check { model, states, nested, rot, .. } = self.check;
        let mut rng = self.rng.clone();
        for Image { fs: image, harmed } in fs.crash_images(model, states, &mut rng) {
            // Once a segment has a successor, the page rule must have made it harmless.
            let counts = harmed
                .as_ref()
                .is_some_and(|harm| segments(&image).iter().all(|name| *name <= harm.name));
            let fault = harmed.as_ref().filter(|_| counts).map(|harm| {
                let start = harm.sector * SECTOR;
                let place = Place { file: harm.name.clone(), start, end: start + SECTOR };
                Fault::Harmed { place }
            });
            self.visit(&image, fault, || format!("{harmed:?}"));
        }
        self.rng = rng;
        if nested && self.found.is_none() {
            self.kill(fs);
        }
        if rot && self.found.is_none() {
            self.rot(fs);
        }
    }

    /// Opens an image that was not seen before, judges it, and opens it again.
    fn visit(&mut self, image: &SimFs, fault: Option<Fault>, what: impl Fn() -> String) {
        let key = (lock(&self.ledger).moment(), image.digest());
        if self.found.is_some() || !self.seen.insert(key) {
            return;
        }
        self.states += 1;
        let before = describe(image);
        let state = || format!("{before}; {} {fault:?}", what());
        let steps = Arc::new(Mutex::new(Vec::new()));
        if self.check.nested && fault.is_none() {
            collect(image, &steps);
        }
        let outcome = recover(image, self.check.omitted);
        image.clear_hook();
        if let Some(broken) = lock(&self.ledger).judge(&outcome, fault.as_ref()) {
            self.found = Some(Found { broken, state: state() });
            return;
        }
        if outcome.seen.is_err() {
            return;
        }
        let steps = std::mem::take(&mut *lock(&steps));
        for again in [image.kill_image()].into_iter().chain(steps) {
            if let Some(broken) = differ(&outcome, &recover(&again, self.check.omitted)) {
                self.found = Some(Found { broken, state: state() });
                return;
            }
        }
    }

    /// kill -9 right here: open from the page cache, and a power cut at each step of that open or
    /// after it.
    fn kill(&mut self, fs: &SimFs) {
        let image = fs.kill_image();
        let steps = Arc::new(Mutex::new(Vec::new()));
        collect(&image, &steps);
        let outcome = recover(&image, self.check.omitted);
        image.clear_hook();
        self.states += 1;
        let mut broken = lock(&self.ledger).judge(&outcome, None);
        let mut state = "kill -9".to_owned();
        let inside = std::mem::take(&mut *lock(&steps)).into_iter().map(|image| (image, false));
        let after = image.crash_images(self.check.model, 8, &mut self.rng);
        let after = after.filter(|image| image.harmed.is_none()).map(|image| (image.fs, true));
        for (image, is_after) in inside.chain(after) {
            if broken.is_some() {
                break;
            }
            let again = recover(&image, self.check.omitted);
            state = format!(
                "kill -9, power cut in or after the open ({is_after}): {}",
                describe(&image)
            );
            broken = lock(&self.ledger).judge(&again, None);
            if is_after {
                broken = broken.or_else(|| differ(&outcome, &again));
            }
        }
        self.found = broken.map(|broken| Found { broken, state });
    }

    /// One rotten sector on top of one of the states.
    fn rot(&mut self, fs: &SimFs) {
        let images = fs.crash_images(self.check.model, 8, &mut self.rng);
        let mut images: Vec<SimFs> =
            images.filter(|image| image.harmed.is_none()).map(|image| image.fs).collect();
        let base = images.swap_remove(self.rng.below(images.len()));
        for file in segments(&base) {
            let bytes = base.read_file(Dir::Root, &file).unwrap_or_default();
            let full = |sector: &[u8]| sector.iter().any(|byte| *byte != 0);
            for (k, sector) in (0..).zip(bytes.chunks(512)).filter(|(_, sector)| full(sector)) {
                let start = k * SECTOR;
                let place = Place { file: file.clone(), start, end: start + sector.len() as u64 };
                self.rotten(&base, &place, true, |bad| {
                    bad.zero(Dir::Root, &file, start..place.end)
                });
                self.rotten(&base, &place, false, |bad| {
                    (start..place.end).for_each(|at| bad.flip_bit(Dir::Root, &file, at, 4));
                });
                for at in (start..place.end).step_by(8).filter(|at| is_head(&bytes, *at)) {
                    self.rotten(&base, &place, false, |bad| bad.flip_bit(Dir::Root, &file, at, 0));
                }
            }
        }
    }

    fn rotten(&mut self, base: &SimFs, place: &Place, zeroed: bool, harm: impl Fn(&SimFs)) {
        let bad = base.kill_image();
        harm(&bad);
        self.visit(&bad, Some(Fault::Rotten { place: place.clone(), zeroed }), String::new);
    }
}

/// Gathers what a power cut may leave at each step of what happens to `fs` next.
fn collect(fs: &SimFs, steps: &Arc<Mutex<Vec<SimFs>>>) {
    let (steps, mut rng) = (Arc::clone(steps), Rng::new(1));
    fs.on_step(move |fs, _| {
        let images = fs.crash_images(Model::Strict, 4, &mut rng);
        lock(&steps).extend(images.filter(|image| image.harmed.is_none()).map(|image| image.fs));
    });
}

/// How two opens of what should be the same log differ.
fn differ(one: &Outcome, two: &Outcome) -> Option<String> {
    match (&one.seen, &two.seen) {
        (Ok(a), Ok(b)) if a == b => None,
        (_, Err(e)) => Some(format!("opens ({}), but the next open refuses: {e}", one.row())),
        _ => Some(format!("two opens differ: {one}, then {two}")),
    }
}

/// Whether a segment's bytes have the magic of a head at an offset.
fn is_head(bytes: &[u8], offset: u64) -> bool {
    const MAGIC: u64 = 0x4C47_4F48;
    const SALT_AT: usize = 64;
    let mixed = (word(bytes, SALT_AT) ^ offset).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let found = word(bytes, usize::try_from(offset).unwrap_or(usize::MAX - 8)) & 0xFFFF_FFFF;
    matches!(offset, 0 | 4096) || found == MAGIC ^ mixed
}

fn describe(fs: &SimFs) -> String {
    let names: Vec<String> = Dir::ALL
        .into_iter()
        .flat_map(|dir| fs.names(dir).into_iter().map(move |name| format!("{}/{name}", dir.name())))
        .collect();
    names.join(" ")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
