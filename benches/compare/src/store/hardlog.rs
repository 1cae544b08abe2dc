//! hardlog, with its defaults, and with files that are used again.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hardlog::{Entry, Log, LogReader, Options, Syncer};

use super::{Result, Store, Sync};

struct Hardlog {
    dir: PathBuf,
    log: Mutex<Log>,
    reader: LogReader,
    syncer: Syncer,
}

pub(super) fn open(dir: &Path) -> Result<Box<dyn Store>> {
    open_with(dir, Options::new())
}

pub(super) fn open_reusing(dir: &Path) -> Result<Box<dyn Store>> {
    open_with(dir, Options::new().reuse_files(1))
}

fn open_with(dir: &Path, options: Options) -> Result<Box<dyn Store>> {
    let log = if dir.join("LOCK").exists() || segments(dir) > 0 {
        Log::open(dir, options)?.0
    } else {
        Log::create(dir, options)?
    };
    let (reader, syncer) = (log.reader(), log.syncer());
    Ok(Box::new(Hardlog { dir: dir.to_owned(), log: Mutex::new(log), reader, syncer }))
}

fn segments(dir: &Path) -> usize {
    let found = fs::read_dir(dir).into_iter().flatten().filter_map(std::result::Result::ok);
    found.filter(|entry| entry.path().extension().is_some_and(|ext| ext == "wal")).count()
}

impl Hardlog {
    fn with<T>(&self, work: impl FnOnce(&mut Log) -> hardlog::Result<T>) -> Result<T> {
        Ok(work(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner))?)
    }
}

impl Store for Hardlog {
    fn append(&self, first: u64, payloads: &[Bytes], sync: Sync) -> Result<()> {
        let entries: Vec<_> =
            (first..).zip(payloads).map(|(i, payload)| Entry::new(i, 1, payload.clone())).collect();
        let ticket = self.with(|log| log.append(&entries))?;
        if sync == Sync::Yes {
            self.syncer.wait(ticket)?;
        }
        Ok(())
    }

    fn commit(&self, payload: &Bytes) -> Result<()> {
        let ticket = self.with(|log| {
            let next = log.next_log_index();
            log.append(&[Entry::new(next, 1, payload.clone())])
        })?;
        Ok(self.syncer.wait(ticket)?)
    }

    fn read(&self, index: u64) -> Result<usize> {
        Ok(self.reader.at(index)?.payload.len())
    }

    fn scan(&self, first: u64, last: u64) -> Result<u64> {
        let mut sum = 0;
        for entry in self.reader.entries(first..last + 1, u64::MAX) {
            sum += entry?.payload.len() as u64;
        }
        Ok(sum)
    }

    fn trim_prefix(&self, to: u64, sync: Sync) -> Result<()> {
        self.with(|log| {
            log.trim_prefix(to)?;
            if sync == Sync::No {
                return Ok(());
            }
            log.sync()?;
            log.reclaim()
        })
    }

    fn trim_tail(&self, from: u64) -> Result<()> {
        self.with(|log| log.trim_tail(from)).map(drop)
    }

    /// A sealed segment is mapped once the scrubber has read it whole.
    fn settle(&self) -> Result<()> {
        let (started, wanted) = (Instant::now(), self.dir.display().to_string());
        let sealed = segments(&self.dir).saturating_sub(1);
        while started.elapsed() < Duration::from_secs(120) {
            let maps = fs::read_to_string("/proc/self/maps")?;
            let ours = |line: &&str| line.contains(&wanted) && line.contains(".wal");
            if maps.lines().filter(ours).count() >= sealed {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        let Self { log, reader, syncer, .. } = *self;
        drop((reader, syncer));
        Ok(log.into_inner().unwrap_or_else(PoisonError::into_inner).close()?)
    }
}
