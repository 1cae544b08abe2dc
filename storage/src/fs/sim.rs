//! A seeded disk in memory that can lose, tear, reorder, rot and fail: the source of all crash
//! campaigns.
//!
//! Above: the engine, through the traits of [`super`], and the campaigns, through the rest of
//! [`SimFs`]. It keeps what readers see and what is durable apart, for bytes and for names, and knows
//! every state that a power cut may leave.
//!
//! The fault model, which is what [`super`] assumes of a disk and no more:
//! - A sector of 512 bytes is written whole or keeps an older content; sectors of one or of several
//!   writes reach the platter in any order; the length of a file is on its own.
//! - A name is durable after a sync of its directory, not before ([`Model`]).
//! - A failed sync leaves the pages clean and what was in them unknown; the next sync says Ok and
//!   has written nothing of it. The error is reported once per file. Any sector of those pages may
//!   be lost, also one that was durable.
//! - Any call can fail, with or without effect ([`Fault`]); writes can be short or torn.
//! - The directories themselves are durable when made, as is the name `LOCK`.
//!
//! How a campaign uses it: run a history once and read [`SimFs::ops`]; then either run it again for
//! each `n` with [`SimFs::cut_at`], or look at [`SimFs::crash_images`] and [`SimFs::kill_image`]
//! after each call from [`SimFs::on_step`].
//!
//! ```
//! use hardlog::fs::{Dir, Fs, sim::{Model, Rng, SimFs}};
//!
//! let sim = SimFs::new(42);
//! sim.make_dirs()?;
//! sim.on_step(|sim, step| {
//!     for image in sim.crash_images(Model::Strict, 100, &mut Rng::new(step.number)) {
//!         // Open the log on `image.fs` here. This history's claim: a named file is whole.
//!         let bytes = image.fs.read_file(Dir::Root, "f");
//!         assert!(bytes.is_none_or(|bytes| bytes == b"whole"), "after {step}");
//!     }
//! });
//! let file = sim.create(Dir::Tmp, "f")?;
//! file.write_at(b"whole", 0)?;
//! file.sync()?; // without this line the claim fails after the rename
//! sim.rename((Dir::Tmp, "f"), (Dir::Root, "f"))?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Everything is deterministic: the same seed and the same calls give the same bytes. What it does
//! not do: hang, slow down, or simulate anything below the sector.

mod content;
mod crash;
mod damage;
mod fault;
mod file;
mod inode;
mod rng;
mod state;
mod variants;

use std::{
    any::Any,
    fmt, io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
    time::Duration,
};

use rustix::io::Errno;

use self::{
    content::PAGE,
    file::SimFile,
    inode::Inode,
    state::{State, is_dir},
};
pub use self::{
    crash::{CrashImages, Harm, Image, Model},
    fault::{Call, EDQUOT, EIO, EMFILE, ENOSPC, EROFS, Effect, Fault, Step, When, is_power_off},
    rng::Rng,
};
use super::{Access, Dir, File, Found, Fs, Kind, check_name};

/// What a disk without a capacity says is free, in bytes.
const UNBOUNDED: u64 = 1 << 40;
/// The file whose lock is the log's lock.
const LOCK: &str = "LOCK";
/// Where the clock of a simulated disk begins, in seconds after 1970.
const EPOCH_SECS: u64 = 1_700_000_000;

/// What [`SimFs::on_step`] calls.
type Hook = Box<dyn FnMut(&SimFs, &Step) + Send>;

/// A simulated disk. Clones are handles of the same disk.
#[derive(Clone)]
pub struct SimFs {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Held during each call that mutates and the hook after it, so that the hook sees the disk
    /// exactly as that call left it.
    hook: Mutex<Option<Hook>>,
    /// The thread that is in the hook: its own calls pass the gate.
    inside: Mutex<Option<ThreadId>>,
}

impl SimFs {
    /// An empty disk of unbounded size. All its randomness comes from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with(State::seeded(seed))
    }

    fn with(state: State) -> Self {
        let state = Mutex::new(state);
        let shared = Shared { state, hook: Mutex::new(None), inside: Mutex::new(None) };
        Self { shared: Arc::new(shared) }
    }

    // ---- what may be there after a crash

    /// The disk as a new process finds it after this one was killed: the page cache is kept, with
    /// all that is pending; locks, handles, faults, counters and the hook are gone.
    #[must_use]
    pub fn kill_image(&self) -> Self {
        Self::with(self.state().killed())
    }

    /// The states that a power cut right now may leave: all, if they are not more than `limit`, else
    /// a sample of about `limit` that begins with the extremes, drawn with `rng`. States in which a
    /// failed writeback harmed a sector follow, at most another `limit`. Each is a disk of its own.
    pub fn crash_images(&self, model: Model, limit: usize, rng: &mut Rng) -> CrashImages {
        CrashImages::new(&self.state(), model, limit, rng)
    }

    /// Cuts the power at the call that mutates with this number: it and everything after it do
    /// nothing and fail with an error for which [`is_power_off`] holds. At once if the number is past.
    pub fn cut_at(&self, number: u64) {
        self.state().cut_at = Some(number);
    }

    /// Calls `hook` after each call that mutates, failed or not, with the disk as that call left it.
    /// Other threads' calls that mutate wait meanwhile. The hook may do anything with the disk but
    /// set a hook; for calls that it makes itself it is not called.
    pub fn on_step(&self, hook: impl FnMut(&SimFs, &Step) + Send + 'static) {
        *lock(&self.shared.hook) = Some(Box::new(hook));
    }

    /// Removes the hook.
    pub fn clear_hook(&self) {
        *lock(&self.shared.hook) = None;
    }

    // ---- what was done

    /// How many calls that mutate were made: the number of the next one.
    #[must_use]
    pub fn ops(&self) -> u64 {
        self.state().counts.mutating
    }

    /// How many calls of any kind were made: the number of the next one.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().counts.all
    }

    /// How many calls of one kind were made.
    #[must_use]
    pub fn count(&self, call: Call) -> u64 {
        self.state().counts.of(call)
    }

    /// Begins to record the calls that mutate, for [`SimFs::steps`].
    pub fn record_steps(&self) {
        self.state().steps = Some(Vec::new());
    }

    /// The calls recorded so far.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        self.state().steps.clone().unwrap_or_default()
    }

    // ---- what shall fail

    /// Plans a fault. Of several that strike the same call the first planned counts.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Forgets all planned faults.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// How many calls were struck by a fault so far: a campaign whose faults never strike proves
    /// nothing.
    #[must_use]
    pub fn struck(&self) -> u64 {
        self.state().struck
    }

    /// Bounds the space on the disk, in bytes, counted in pages of 4 KiB; `None` for no bound. Less
    /// than is used is allowed: then nothing is free.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Bytes taken up by files, in pages of 4 KiB. An unlinked file counts while a handle is open.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    // ---- how calls are made

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// A call that does not mutate: a fault leaves it out.
    fn look<T>(&self, call: Call, run: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state();
        match state.begin(call)? {
            None | Some(Effect::Short(_) | Effect::Lie) => run(&mut state),
            Some(Effect::Fail(errno) | Effect::DoneButFail(errno) | Effect::Torn(_, errno)) => {
                Err(io::Error::from_raw_os_error(errno))
            }
        }
    }

    /// A call that mutates: makes it, records it, and calls the hook.
    fn step<T>(
        &self,
        mut step: Step,
        run: impl FnOnce(&mut State, Option<Effect>) -> io::Result<T>,
    ) -> io::Result<T> {
        let me = thread::current().id();
        let reentered = *lock(&self.shared.inside) == Some(me);
        let mut hook = (!reentered).then(|| lock(&self.shared.hook));
        let result = {
            let mut state = self.state();
            let number = state.counts.mutating;
            let effect = state.begin(step.call)?;
            let result = run(&mut state, effect);
            (step.number, step.failed) = (number, result.is_err());
            if let Some(steps) = &mut state.steps {
                steps.push(step.clone());
            }
            result
        };
        if let Some(hook) = hook.as_mut().and_then(|hook| hook.as_mut()) {
            let _inside = Inside::enter(&self.shared.inside, me);
            hook(self, &step);
        }
        result
    }
}

impl fmt::Debug for SimFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("SimFs").field("names", &state.names).finish_non_exhaustive()
    }
}

impl Fs for SimFs {
    fn root(&self) -> &Path {
        Path::new("sim")
    }

    fn make_dirs(&self) -> io::Result<()> {
        self.look(Call::MakeDirs, |state| {
            state.made = true;
            Ok(())
        })
    }

    fn list(&self, dir: Dir) -> io::Result<Vec<Found>> {
        self.look(Call::List, |state| {
            state.there()?;
            let files = state.names.iter().filter(|((of, _), _)| *of == dir);
            let mut found: Vec<Found> = files
                .map(|((_, name), ino)| Found {
                    name: name.to_string(),
                    kind: Kind::File,
                    len: state.inode(*ino).live.len,
                })
                .collect();
            let subs = Dir::ALL.into_iter().filter(|sub| dir == Dir::Root && *sub != Dir::Root);
            found.extend(subs.map(|sub| Found {
                name: sub.name().to_owned(),
                kind: Kind::Directory,
                len: 0,
            }));
            Ok(found)
        })
    }

    fn open(&self, dir: Dir, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        check_name(name)?;
        self.look(Call::Open, |state| {
            if state.made && is_dir(dir, name) {
                return Err(Errno::INVAL.into());
            }
            let ino = state.lookup(dir, name)?;
            Ok(SimFile::open(self, state, ino, access))
        })
    }

    fn create(&self, dir: Dir, name: &str) -> io::Result<Arc<dyn File>> {
        check_name(name)?;
        self.step(on(Call::Create, dir, name), |state, effect| {
            let ino = plain(effect, || state.create(dir, name))?;
            Ok(SimFile::open(self, state, ino, Access::ReadWrite))
        })
    }

    fn rename(&self, from: (Dir, &str), to: (Dir, &str)) -> io::Result<()> {
        check_name(from.1)?;
        check_name(to.1)?;
        self.step(on(Call::Rename, to.0, to.1), |state, effect| {
            plain(effect, || state.rename(from, to))
        })
    }

    fn link(&self, from: (Dir, &str), to: (Dir, &str)) -> io::Result<()> {
        check_name(from.1)?;
        check_name(to.1)?;
        self.step(on(Call::Create, to.0, to.1), |state, effect| {
            plain(effect, || state.link(from, to))
        })
    }

    fn unlink(&self, dir: Dir, name: &str) -> io::Result<()> {
        check_name(name)?;
        self.step(on(Call::Unlink, dir, name), |state, effect| {
            plain(effect, || state.unlink(dir, name))
        })
    }

    fn sync_dir(&self, dir: Dir) -> io::Result<()> {
        self.step(on(Call::SyncDir, dir, ""), |state, effect| match effect {
            Some(Effect::Lie) => state.there(),
            other => plain(other, || state.sync_dir(dir)),
        })
    }

    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        let token = self.look(Call::Lock, |state| {
            state.there()?;
            if state.lock.is_some() {
                return Err(Errno::WOULDBLOCK.into());
            }
            if state.lookup(Dir::Root, LOCK).is_err() {
                let ino = state.add(Inode::default());
                state.plant(Dir::Root, LOCK, Some(ino));
            }
            state.locks_taken += 1;
            state.lock = Some(state.locks_taken);
            Ok(state.locks_taken)
        })?;
        Ok(Box::new(Lock { fs: self.clone(), token }))
    }

    fn lock_holder(&self) -> Option<String> {
        self.state().lock.map(|token| format!("holder {token} of the simulated disk"))
    }

    fn free_space(&self) -> io::Result<u64> {
        self.look(Call::FreeSpace, |state| {
            state.there()?;
            Ok(state.capacity.map_or(UNBOUNDED, |_| state.free_pages().saturating_mul(PAGE)))
        })
    }

    fn random(&self) -> io::Result<u64> {
        self.look(Call::Random, |state| Ok(state.rng.next_u64()))
    }

    fn now(&self) -> Duration {
        let mut state = self.state();
        state.clock += 1;
        Duration::from_secs(EPOCH_SECS + state.clock)
    }
}

/// The lock of a simulated disk, held until dropped.
struct Lock {
    fs: SimFs,
    token: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut state = self.fs.state();
        if state.lock == Some(self.token) {
            state.lock = None;
        }
    }
}

/// Marks a thread as being in the hook, also if the hook panics.
struct Inside<'a>(&'a Mutex<Option<ThreadId>>);

impl<'a> Inside<'a> {
    fn enter(slot: &'a Mutex<Option<ThreadId>>, me: ThreadId) -> Self {
        *lock(slot) = Some(me);
        Self(slot)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        *lock(self.0) = None;
    }
}

/// Takes a mutex, also after a panic: a failed assertion in a hook must not turn every drop after it
/// into a second panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn on(call: Call, dir: Dir, name: &str) -> Step {
    Step { number: 0, call, dir, name: name.to_owned(), offset: 0, len: 0, failed: false }
}

/// Makes a call that a fault can only leave out or make fail.
fn plain<T>(effect: Option<Effect>, run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    match effect {
        None | Some(Effect::Short(_) | Effect::Lie) => run(),
        Some(Effect::Fail(errno) | Effect::Torn(_, errno)) => {
            Err(io::Error::from_raw_os_error(errno))
        }
        Some(Effect::DoneButFail(errno)) => {
            run()?;
            Err(io::Error::from_raw_os_error(errno))
        }
    }
}

#[cfg(test)]
mod tests;
