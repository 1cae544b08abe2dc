//! Many writers, one fdatasync for all of them: over a bare file, with the engine's own way of
//! sharing syncs, so that the ratio shows what the log costs and not how threads are woken.

use std::{
    io,
    sync::{Barrier, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hardlog::{Entry, Error, Log, Result};

use crate::raw::RawFile;

#[path = "../../storage/src/sync.rs"]
#[expect(dead_code, reason = "the engine's module as it is; not all is needed")]
mod sync;

/// A bare file, its writers in a group commit.
#[derive(Debug)]
pub struct RawGroup {
    file: Mutex<(RawFile, u64)>,
    /// The same file, for syncs beside the writes.
    syncs: std::fs::File,
    watermark: sync::Watermark,
}

impl RawGroup {
    /// Around a prepared file.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(file: RawFile) -> io::Result<Self> {
        let syncs = file.handle()?;
        Ok(Self { file: Mutex::new((file, 0)), syncs, watermark: sync::Watermark::new(0) })
    }

    /// One durable write.
    ///
    /// # Errors
    /// What the disk says.
    pub fn commit(&self, bytes: &[u8]) -> Result<()> {
        let io = |e| Error::Io { op: "commit", path: "raw".into(), source: e };
        let ticket = {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.0.append(bytes).map_err(io)?;
            file.1 += 1;
            file.1
        };
        self.watermark.wait(ticket, &|| {
            let written = self.file.lock().unwrap_or_else(PoisonError::into_inner).1;
            self.syncs.sync_data().map_err(io)?;
            self.watermark.advance(written);
            Ok(())
        })
    }
}

/// A log whose writers each wait for their own ticket.
#[derive(Debug)]
pub struct LogGroup {
    log: Mutex<Log>,
    syncer: hardlog::Syncer,
    payload: bytes::Bytes,
}

impl LogGroup {
    /// Around a log; each commit appends `payload`.
    #[must_use]
    pub fn new(log: Log, payload: bytes::Bytes) -> Self {
        let syncer = log.syncer();
        Self { log: Mutex::new(log), syncer, payload }
    }

    /// One durable entry.
    ///
    /// # Errors
    /// What the engine says.
    pub fn commit(&self) -> Result<()> {
        let ticket = {
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            let index = log.next_log_index();
            log.append(&[Entry::new(index, 1, self.payload.clone())])?
        };
        self.syncer.wait(ticket)
    }
}

/// Commits per second of `threads` threads that call `commit` for as long as `span`.
///
/// # Panics
/// Where a commit fails.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a rate")]
pub fn rate(threads: usize, span: Duration, commit: &(dyn Fn() -> Result<()> + Sync)) -> f64 {
    let (barrier, counted) = (Barrier::new(threads + 1), Mutex::new(0u64));
    let took = std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                barrier.wait();
                let (begun, mut count) = (Instant::now(), 0u64);
                while begun.elapsed() < span {
                    commit().expect("a commit on a healthy disk");
                    count += 1;
                }
                *counted.lock().unwrap_or_else(PoisonError::into_inner) += count;
            });
        }
        barrier.wait();
        Instant::now()
    })
    .elapsed();
    let counted = counted.into_inner().unwrap_or_else(PoisonError::into_inner);
    counted as f64 / took.as_secs_f64()
}
