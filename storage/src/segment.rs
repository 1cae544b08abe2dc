//! One segment file: its header, its bytes, its end, how far its space is prepared.
//!
//! ```text
//!   0        4096     8192                    off            fence          len
//!   │header  │header  │State│marker│batch│…   │ zeros written │ allocated?   │
//! ```
//!
//! Above: `wal`, the chain of segments. Below: `fs`. A segment knows positions, not Raft.
//! INVARIANT: no batch is written beyond the fence: up to there zeros were written before, so that a
//! sync need not allocate blocks. The fence moves only after the fill has returned.
//! INVARIANT: a segment is mapped only after it was sealed and read whole in this process.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;

use crate::{
    error::{Error, Result},
    fs::{Dir, File, Fs, write_full},
    header::Header,
    layout::{SegmentId, segment_name},
    scan::Frame,
};

/// Most zeros written at once when space is prepared.
const FILL_STEP: usize = 1 << 20;

/// A segment file that has its name.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) header: Header,
    pub(crate) file: Arc<dyn File>,
    pub(crate) path: PathBuf,
    /// One past the last index that the segment's State names; for the walk along the chain.
    pub(crate) state_next: u64,
    /// Whether the window was empty in State.
    pub(crate) state_empty: bool,
    /// P, once there is a successor: nothing beyond counts.
    sealed_end: OnceLock<(u64, u64)>,
    fence: AtomicU64,
    filling: Mutex<()>,
    map: OnceLock<Bytes>,
    /// Made by this process: then it is known that everything before the fence was written once.
    pub(crate) made_here: bool,
    /// Trimmed, and without its name: nobody need begin to read it.
    gone: AtomicBool,
    /// A write, a sync or a read of it failed.
    suspect: AtomicBool,
}

impl Segment {
    /// A segment whose space is prepared up to `fence`.
    pub(crate) fn new(
        header: Header,
        (file, path): (Arc<dyn File>, PathBuf),
        (state_next, state_empty): (u64, bool),
        fence: u64,
    ) -> Self {
        Self {
            header,
            file,
            path,
            state_next,
            state_empty,
            sealed_end: OnceLock::new(),
            fence: AtomicU64::new(fence),
            filling: Mutex::new(()),
            map: OnceLock::new(),
            made_here: false,
            gone: AtomicBool::new(false),
            suspect: AtomicBool::new(false),
        }
    }

    /// Says that a write, a sync or a read of the file failed: some of its sectors may be bad.
    pub(crate) fn distrust(&self) {
        self.suspect.store(true, Ordering::Release);
    }

    /// Whether something of it failed.
    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Acquire)
    }

    /// Says that the file has lost its name; those who read it ahead of need stop.
    pub(crate) fn leave(&self) {
        self.gone.store(true, Ordering::Release);
    }

    /// Whether the file has lost its name.
    pub(crate) fn has_left(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// The file, for another use. What is known of it is forgotten, its map let go.
    pub(crate) fn into_file(self) -> Arc<dyn File> {
        self.file
    }

    pub(crate) const fn id(&self) -> SegmentId {
        self.header.id
    }

    /// What reading its batches up to `end` needs to know.
    pub(crate) fn frame(&self, end: u64) -> Frame {
        Frame { salt: self.header.salt, batch_max: self.header.batch_max, end }
    }

    /// States that nothing beyond `end` counts any more, and the last sequence before it.
    pub(crate) fn seal(&self, end: u64, last_seq: u64) {
        let _ = self.sealed_end.set((end, last_seq));
    }

    /// P and the last sequence before it, once the segment is sealed.
    pub(crate) fn sealed(&self) -> Option<(u64, u64)> {
        self.sealed_end.get().copied()
    }

    /// The mapped file, if it is mapped.
    pub(crate) fn mapped(&self) -> Option<&Bytes> {
        self.map.get()
    }

    /// Maps the file. The caller has read it whole, and it is sealed.
    pub(crate) fn map(&self) -> Result<()> {
        assert!(self.sealed().is_some(), "segment {} may still change", self.id());
        match self.file.map() {
            Ok(Some(bytes)) => {
                let _ = self.map.set(bytes);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(e) => Err(Error::io("map", &self.path, e)),
        }
    }

    /// How far the space is prepared.
    pub(crate) fn fence(&self) -> u64 {
        self.fence.load(Ordering::Acquire)
    }

    /// Prepares space by about `step` bytes, 1 MiB at most, towards `len`. Called by the writer and
    /// by the keeper.
    ///
    /// # Errors
    /// `Full` and its kin; the fence stays where it was.
    pub(crate) fn fill_step(&self, len: u64, step: u64) -> Result<()> {
        let _one_at_a_time = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        let from = self.fence();
        if from >= len || self.sealed().is_some() {
            return Ok(());
        }
        let wrap = |e| Error::io("prepare space in", &self.path, e);
        self.file.allocate(len).map_err(wrap)?;
        let step = usize::try_from(step.min(len - from)).unwrap_or(FILL_STEP).min(FILL_STEP);
        write_full(&*self.file, zeros(step), from).map_err(wrap)?;
        // DURABILITY: no sync: nothing relies on these zeros; a later fdatasync of batches covers them.
        self.fence.store(from + step as u64, Ordering::Release);
        Ok(())
    }
}

/// `len` zeros, at most [`FILL_STEP`].
pub(crate) fn zeros(len: usize) -> &'static [u8] {
    static ZEROS: [u8; FILL_STEP] = [0; FILL_STEP];
    &ZEROS[..len.min(FILL_STEP)]
}

/// Writes zeros over `from..to` of a file in `tmp/`.
pub(crate) fn fill(file: &dyn File, mut from: u64, to: u64) -> std::io::Result<()> {
    while from < to {
        let step = usize::try_from(to - from).unwrap_or(FILL_STEP).min(FILL_STEP);
        write_full(file, zeros(step), from)?;
        from += step as u64;
    }
    Ok(())
}

/// Path of a segment, for messages.
pub(crate) fn segment_path(fs: &dyn Fs, id: SegmentId) -> PathBuf {
    fs.root().join(Dir::Root.name()).join(segment_name(id))
}
