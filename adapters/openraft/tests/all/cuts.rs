//! Cuts: a simulated disk whose power is cut at every call of an operation that mutates it.
//!
//! What each cut may leave is opened again and compared with what the log held before and after the
//! operations that were not acknowledged as durable: their order is the order of the calls, so what is
//! found is one of those states, and the vote is of that state or a later one.

use std::sync::{Arc, Mutex};

use hardlog::{
    Entry, EntryId, Log, Options,
    fs::sim::{Model, Rng, SimFs},
};

/// The metadata slots of the adapter.
const VOTE: u64 = 1;
const COMMITTED: u64 = 2;

/// What a log holds, apart from the vote, and the vote.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) held: Held,
    pub(crate) vote: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) prev: Option<EntryId>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) committed: Option<Vec<u8>>,
    pub(crate) snapshot: Option<EntryId>,
}

impl Held {
    fn is_between(&self, before: &Self, after: &Self) -> bool {
        let same = |other: &Self| Self { entries: Vec::new(), ..other.clone() };
        same(self) == same(before)
            && same(self) == same(after)
            && self.entries.starts_with(&before.entries)
            && after.entries.starts_with(&self.entries)
    }
}

impl View {
    pub(crate) fn of(log: &Log) -> Self {
        let range = log.first_log_index()..log.next_log_index();
        let entries = log.entries(range, u64::MAX).map(|entry| entry.unwrap().detach());
        let held = Held {
            prev: log.prev_id(),
            entries: entries.collect(),
            committed: log.meta(COMMITTED).map(|bytes| bytes.to_vec()),
            snapshot: log.snapshot_mark().map(|mark| mark.id),
        };
        Self { held, vote: log.meta(VOTE).map(|bytes| bytes.to_vec()) }
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<_> = self.held.entries.iter().map(|e| (e.id.index, e.id.term)).collect();
        write!(f, "after {:?}: {ids:?}, ", self.held.prev)?;
        write!(f, "snapshot {:?}, committed {:?}, ", self.held.snapshot, self.held.committed)?;
        write!(f, "vote {:?}", self.vote)
    }
}

pub(crate) fn options() -> Options {
    Options::new().segment_size(64 << 10).background(false).create_if_missing(true)
}

pub(crate) fn open(disk: &SimFs) -> Log {
    let (log, report) = Log::open_on(Arc::new(disk.clone()), options()).expect("opens");
    assert_eq!(report.maybe_lost, None, "{report}");
    log
}

/// What a process finds that is started after this one was killed.
pub(crate) fn after_kill(disk: &SimFs) -> View {
    View::of(&open(&disk.kill_image()))
}

pub(crate) struct Cuts {
    pub(crate) disk: SimFs,
    pub(crate) seed: u64,
    rng: Rng,
    /// States since the last acknowledged one, which is the first.
    history: Vec<View>,
    images: Arc<Mutex<Vec<SimFs>>>,
    /// Images that were opened and compared: a test whose count is low tests nothing.
    pub(crate) compared: usize,
}

impl Cuts {
    pub(crate) fn new(seed: u64) -> (Self, Log) {
        let disk = SimFs::new(seed);
        let log = open(&disk);
        let (rng, history) = (Rng::new(seed), vec![View::of(&log)]);
        let cuts = Self { disk, seed, rng, history, images: Arc::default(), compared: 0 };
        (cuts, log)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.rng.below(n)
    }

    /// From here on each call that mutates leaves images of what a power cut may leave.
    pub(crate) fn arm(&mut self) {
        let (images, mut rng) = (Arc::clone(&self.images), Rng::new(self.rng.next_u64()));
        self.disk.on_step(move |disk, _| {
            let cut = disk.crash_images(Model::Strict, 2, &mut rng);
            let cut = cut.filter(|image| image.harmed.is_none()).map(|image| image.fs);
            images.lock().unwrap().extend(cut);
        });
    }

    /// The operation has returned. Compares all images, and those that a cut leaves now: where it was
    /// acknowledged as durable, they hold it. Returns a log on one of the disks after a cut, or
    /// after a kill, or None to go on without either.
    pub(crate) fn returned(&mut self, durable: bool, what: &str) -> Option<Log> {
        self.disk.clear_hook();
        self.history.push(after_kill(&self.disk));
        let images = std::mem::take(&mut *self.images.lock().unwrap());
        for image in images {
            self.compare(&image, what);
        }
        if durable {
            self.history.drain(..self.history.len() - 1);
        }
        let cut = self.disk.crash_images(Model::Strict, 4, &mut self.rng);
        let cut: Vec<_> = cut.filter(|image| image.harmed.is_none()).map(|i| i.fs).collect();
        for image in &cut {
            self.compare(image, what);
        }
        match self.rng.below(3) {
            0 => return None,
            1 if durable => self.disk = cut[self.rng.below(cut.len())].kill_image(),
            _ => self.disk = self.disk.kill_image(),
        }
        // What an open has found is durable when it returns.
        self.history.drain(..self.history.len() - 1);
        Some(open(&self.disk))
    }

    fn compare(&mut self, image: &SimFs, what: &str) {
        let found = View::of(&open(&image.kill_image()));
        let held = self.history.iter().position(|state| state.held == found.held);
        let held = held.or_else(|| {
            // A list that is larger than a batch: a part of it, in order.
            let pairs = self.history.windows(2);
            pairs.into_iter().position(|pair| found.held.is_between(&pair[0].held, &pair[1].held))
        });
        let vote = self.history.iter().rposition(|state| state.vote == found.vote);
        let fits = held.zip(vote).is_some_and(|(held, vote)| held <= vote);
        assert!(
            fits,
            "seed {}: a cut in {what} leaves {found:?}, which is none of {:?}",
            self.seed, self.history
        );
        self.compared += 1;
    }
}
