//! raft-engine, TiKV's: entries of raft-rs in protobuf, one region.
//!
//! Threads that commit at once write to a region each, since entries of one region must come in
//! order and the engine's group commit orders threads as they come; a process of TiKV does the same
//! with its many regions. That favours it.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};
use raft_proto::eraftpb::Entry;

use super::{Result, Store, Sync};

/// The region of everything but `commit`.
const REGION: u64 = 1;

#[derive(Clone)]
struct Entries;

impl MessageExt for Entries {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

struct RaftEngine {
    engine: Arc<Engine>,
    purger: OnceLock<Purger>,
    batch: Mutex<LogBatch>,
    /// Of each region of a committing thread, by the order in which they come.
    threads: AtomicU64,
}

/// A thread that gives files back, as a process of TiKV has one.
struct Purger {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Purger {
    /// How often, in TiKV.
    const EACH: Duration = Duration::from_secs(10);

    fn start(engine: Arc<Engine>) -> Self {
        let (stop, stopped) = channel();
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(Self::EACH) == Err(RecvTimeoutError::Timeout) {
                engine.purge_expired_files().expect("files that can be given back");
            }
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Purger {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(!matches!(ended, Some(Err(_))), "the purging thread died");
    }
}

thread_local! {
    /// Region and next index of this thread, with the store they belong to.
    static OURS: std::cell::Cell<(usize, u64, u64)> = const { std::cell::Cell::new((0, 0, 0)) };
}

pub(super) fn open(dir: &Path) -> Result<Box<dyn Store>> {
    let config = Config {
        dir: dir.to_str().ok_or("a path in UTF-8")?.to_owned(),
        // By default it gives nothing back before 10 GiB.
        purge_threshold: ReadableSize::mb(256),
        ..Config::default()
    };
    let engine = Arc::new(Engine::open(config)?);
    let batch = Mutex::new(LogBatch::with_capacity(256));
    let (purger, threads) = (OnceLock::new(), AtomicU64::new(REGION + 1));
    Ok(Box::new(RaftEngine { engine, purger, batch, threads }))
}

fn entry(index: u64, payload: &Bytes) -> Entry {
    Entry { index, term: 1, data: payload.clone(), ..Entry::default() }
}

impl Store for RaftEngine {
    fn append(&self, first: u64, payloads: &[Bytes], sync: Sync) -> Result<()> {
        let entries: Vec<_> = (first..).zip(payloads).map(|(i, p)| entry(i, p)).collect();
        let mut batch = self.batch.lock().map_err(|_| "a thread died")?;
        batch.add_entries::<Entries>(REGION, &entries)?;
        self.engine.write(&mut batch, sync == Sync::Yes)?;
        Ok(())
    }

    fn commit(&self, payload: &Bytes) -> Result<()> {
        let store = std::ptr::from_ref(self) as usize;
        let (owner, mut region, mut next) = OURS.get();
        if owner != store {
            // A thread of the measurement lives as long as one turn.
            region = self.threads.fetch_add(1, Ordering::Relaxed);
            next = 1;
        }
        OURS.set((store, region, next + 1));
        let mut batch = LogBatch::with_capacity(1);
        batch.add_entries::<Entries>(region, &[entry(next, payload)])?;
        self.engine.write(&mut batch, true)?;
        Ok(())
    }

    fn read(&self, index: u64) -> Result<usize> {
        let found = self.engine.get_entry::<Entries>(REGION, index)?;
        Ok(found.ok_or("no such entry")?.data.len())
    }

    fn scan(&self, first: u64, last: u64) -> Result<u64> {
        let (mut sum, mut next, mut read) = (0, first, Vec::new());
        while next <= last {
            read.clear();
            let end = (next + 1024).min(last + 1);
            self.engine.fetch_entries_to::<Entries>(REGION, next, end, None, &mut read)?;
            sum += read.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
            next = end;
        }
        Ok(sum)
    }

    fn trim_prefix(&self, to: u64, sync: Sync) -> Result<()> {
        self.engine.compact_to(REGION, to);
        if sync == Sync::No {
            self.purger.get_or_init(|| Purger::start(Arc::clone(&self.engine)));
            return Ok(());
        }
        self.engine.sync()?;
        self.engine.purge_expired_files()?;
        Ok(())
    }

    /// It has no such call: what is appended over the tail replaces it.
    fn trim_tail(&self, _from: u64) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.engine.sync()?)
    }
}
