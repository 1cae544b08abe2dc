//! Everything that can be chosen about a log, with its unit, range and default.

use std::time::Duration;

use crate::{error::Error, fs::SyncPoint};

/// What open does with payloads that were durable and are damaged now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDamage {
    /// Open fails with [`Error::Corrupt`]; nothing is changed on disk.
    #[default]
    Refuse,
    /// Where the damage is proven and the head that names the entries is intact, those entries are
    /// marked faulty and everything else is served; `Log::refill` heals them from a peer.
    Faulty,
}

/// How sealed segments are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadMode {
    /// By position until the scrubber has read the segment whole, mapped after.
    #[default]
    Mapped,
    /// By position always: no SIGBUS even when somebody truncates a file under the process.
    Positioned,
}

/// Choices for [`Log::create`](crate::Log::create) and [`Log::open`](crate::Log::open).
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) segment_size: u64,
    pub(crate) batch_max: u64,
    pub(crate) write_window: u64,
    pub(crate) recent_max: u64,
    pub(crate) first_index: u64,
    pub(crate) on_damage: OnDamage,
    pub(crate) read_mode: ReadMode,
    pub(crate) background: bool,
    pub(crate) scrub_rate: u64,
    pub(crate) idle_marker: Duration,
    pub(crate) snapshots_kept: usize,
    pub(crate) snapshot_chunk: u32,
    pub(crate) create_if_missing: bool,
    pub(crate) reuse_files: usize,
    pub(crate) omit_sync: Option<SyncPoint>,
    pub(crate) gather_always: bool,
}

/// Smallest segment: the two headers and a few pages of batches.
pub const SEGMENT_SIZE_MIN: u64 = 32 * 1024;
/// Largest segment: offsets inside a batch are 32 bits wide.
pub const SEGMENT_SIZE_MAX: u64 = 1 << 30;

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_size: 64 << 20,
            batch_max: 32 << 20,
            write_window: 32 << 20,
            recent_max: 16 << 20,
            first_index: 1,
            on_damage: OnDamage::Refuse,
            read_mode: ReadMode::Mapped,
            background: true,
            scrub_rate: 16 << 20,
            idle_marker: Duration::from_millis(200),
            snapshots_kept: 2,
            snapshot_chunk: 1 << 20,
            create_if_missing: false,
            reuse_files: 0,
            omit_sync: None,
            gather_always: false,
        }
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty),* $(,)?) => {
        $($(#[$doc])* #[must_use] pub fn $name(mut self, $name: $type) -> Self { self.$name = $name; self })*
    };
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        /// Bytes of a segment file, 32 KiB to 1 GiB, rounded up to 4 KiB; 64 MiB by default.
        /// Half of it bounds a batch, so it also bounds an entry.
        segment_size: u64,
        /// Largest batch in bytes, at most half a segment; 32 MiB by default.
        batch_max: u64,
        /// Bytes that may be written and not yet synced before `write` waits; 32 MiB by default.
        write_window: u64,
        /// Bytes of recent batches kept in memory for readers; 16 MiB by default. Half as much
        /// again may be taken by the places of older entries that were read one by one.
        recent_max: u64,
        /// Index at which a new log begins; 1 by default, 0 is legal. Only `create` looks at it.
        first_index: u64,
        /// What open does with damage; refuses by default.
        on_damage: OnDamage,
        /// How sealed segments are read.
        read_mode: ReadMode,
        /// Whether threads of the log prepare segments, write index files and idle markers, scrub,
        /// and remove trimmed files; true by default. Without them the same work is done by the
        /// calls that need it, and everything is deterministic.
        background: bool,
        /// Bytes per second the scrubber reads of sealed segments; 16 MiB by default, 0 for never.
        scrub_rate: u64,
        /// Pause after which a marker is written, so that the last batch becomes provable; 200 ms.
        idle_marker: Duration,
        /// Snapshots kept, the newest marked one included, at least 1; 2 by default.
        snapshots_kept: usize,
        /// Bytes of a chunk of a snapshot file, 4 KiB to 16 MiB; 1 MiB by default.
        snapshot_chunk: u32,
        /// Whether `open` may create a log where none is: for demos and tests. A mount that is
        /// missing then becomes a node that has forgotten its vote.
        create_if_missing: bool,
        /// How many files of trimmed segments may wait in `tmp/` to be written again in place of new
        /// ones, at most 64; 0 by default, which unlinks each. New space is filled with zeros before
        /// batches are written to it, so each byte is written twice; a file that was a segment before
        /// need not be, and 1 or 2 are enough where about one segment at a time is trimmed. Files
        /// made by this process are reused, and those only that have one name and no reader.
        ///
        /// What it costs: the files that wait take space that a trim would give back. And where old
        /// bytes stand behind the last batch there is no clean end: after a kill or a power cut with
        /// such a segment open, `open` reports [`maybe_lost`](crate::Log::maybe_lost), whether
        /// anything was lost or not. [`Log::close`](crate::Log::close) leaves a clean end. For a node
        /// of a Raft cluster `maybe_lost` means a start of more caution: what that is, is the
        /// embedder's choice (`hardlog-raft` acknowledges it by itself once an entry of a later term
        /// is committed and durable). An open after a kill also reads that segment to its end.
        reuse_files: usize,
    }

    /// Leaves out one sync. For the campaigns, which must then find a loss.
    #[doc(hidden)]
    #[must_use]
    pub fn omit_sync(mut self, point: SyncPoint) -> Self {
        self.omit_sync = Some(point);
        self
    }

    /// Writes batches only when they are to be synced, as if a sync were always under way. For the
    /// campaigns, which write and sync in turns.
    #[doc(hidden)]
    #[must_use]
    pub fn gather_always(mut self, always: bool) -> Self {
        self.gather_always = always;
        self
    }

    /// Bytes at the end of a segment that batches with entries leave alone, so that votes,
    /// truncations, trims and marks still fit on a full disk: an eighth, at most 1 MiB.
    pub(crate) fn reserve(&self) -> u64 {
        (self.segment_size / 8).min(1 << 20)
    }

    /// The options with ranges checked and sizes rounded.
    pub(crate) fn checked(mut self) -> Result<Self, Error> {
        let bad = |what| Err(Error::Options { what });
        if !(SEGMENT_SIZE_MIN..=SEGMENT_SIZE_MAX).contains(&self.segment_size) {
            return bad("segment_size must lie between 32 KiB and 1 GiB");
        }
        self.segment_size = self.segment_size.next_multiple_of(4096);
        self.batch_max = self.batch_max.min(self.segment_size / 2);
        if self.batch_max < 4096 {
            return bad("batch_max must be at least 4 KiB");
        }
        if self.snapshots_kept == 0 {
            return bad("snapshots_kept must be at least 1");
        }
        if !(4096..=16 << 20).contains(&self.snapshot_chunk) {
            return bad("snapshot_chunk must lie between 4 KiB and 16 MiB");
        }
        if self.reuse_files > 64 {
            return bad("reuse_files must be at most 64");
        }
        if self.first_index > crate::entry::INDEX_MAX {
            return bad("first_index must be below u64::MAX");
        }
        Ok(self)
    }
}
