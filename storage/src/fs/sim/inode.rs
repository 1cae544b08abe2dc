//! One simulated file: what the page cache holds, what the platter holds, and what a power cut may
//! leave of the difference.
//!
//! Above: [`super::state`], which knows names and space. Below: [`super::content`].
//!
//! ```text
//!   write ─▶ live ──sync──▶ durable          pending: for each sector written since the last good
//!              │  \                          sync, every content it had meanwhile; after a power
//!           readers └─▶ pending              cut each sector holds the durable one or any of these
//! ```
//! - The length is an attribute like a sector: after a cut it is the durable one or any newer one.
//! - A sync writes back the *dirty* pages. A failed one leaves them clean and pending: the next
//!   sync passes them over and still says Ok, as kernels do. A later write makes a page dirty again.
//! - A page whose writeback failed is *harmed*: any of its sectors may be found unreadable or as
//!   garbage after the cut, also those that were durable before.
//! - An error of a writeback in the background is reported to one sync of the file, once.

use std::collections::{BTreeMap, BTreeSet};

use super::content::{Content, PAGE, SECTOR, SECTORS, Sector};

/// A file without its name.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// What readers see: the page cache.
    pub(super) live: Content,
    /// What the platter is known to hold.
    pub(super) durable: Content,
    /// By sector: contents other than the durable one that a power cut may leave, oldest first.
    pub(super) pending: BTreeMap<u64, Vec<Sector>>,
    /// Lengths other than the durable one that a power cut may leave.
    pub(super) pending_lens: Vec<u64>,
    /// Pages that the next sync writes back.
    dirty: BTreeSet<u64>,
    /// Whether the next sync writes back the length.
    len_dirty: bool,
    /// Sectors that a failed writeback may have harmed.
    pub(super) harmed: BTreeSet<u64>,
    /// Sectors that cannot be read.
    pub(super) unreadable: BTreeSet<u64>,
    /// A writeback failed and nobody was told yet.
    pub(super) unreported: bool,
    /// Pages reserved from the start of the file.
    reserved: u64,
    /// Pages with space of their own beyond the reserved ones.
    scattered: BTreeSet<u64>,
    /// Open handles.
    pub(super) handles: usize,
}

impl Inode {
    /// A file that is durable as it stands.
    pub(super) fn settled(content: Content) -> Self {
        let pages = content.len.div_ceil(PAGE);
        Self { live: content.clone(), durable: content, reserved: pages, ..Self::default() }
    }

    /// Makes what readers see durable, whatever failed before.
    pub(super) fn settle(&mut self) {
        self.durable = self.live.clone();
        self.pending.clear();
        self.pending_lens.clear();
        self.dirty.clear();
        self.len_dirty = false;
        self.harmed.clear();
        self.unreported = false;
    }

    /// Other bytes, durable at once, under the same open handles.
    pub(super) fn replace(&mut self, content: Content) {
        self.reserved = content.len.div_ceil(PAGE);
        self.scattered.clear();
        self.live = content;
        self.settle();
    }

    /// Writes to the page cache.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len() as u64;
        self.live.write(bytes, offset);
        self.scattered.extend((offset / PAGE..end.div_ceil(PAGE)).filter(|p| *p >= self.reserved));
        self.dirty.extend(offset / PAGE..end.div_ceil(PAGE));
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            self.note_sector(sector);
            if offset <= sector * SECTOR && end >= (sector + 1) * SECTOR {
                self.unreadable.remove(&sector); // overwritten whole: the disk takes a spare one
            }
        }
        self.note_len();
    }

    /// Reserves space and grows the length.
    pub(super) fn allocate(&mut self, len: u64) {
        let pages = len.div_ceil(PAGE);
        self.reserved = self.reserved.max(pages);
        self.scattered = self.scattered.split_off(&self.reserved);
        if self.live.len < len {
            self.live.len = len;
            self.note_len();
        }
    }

    /// A good sync: what is dirty is durable.
    pub(super) fn sync(&mut self) {
        for page in std::mem::take(&mut self.dirty) {
            self.durable.set_page(page, &self.live);
            let sectors = page * SECTORS..(page + 1) * SECTORS;
            let settled: Vec<u64> =
                self.pending.range(sectors).map(|(sector, _)| *sector).collect();
            settled.iter().for_each(|sector| drop(self.pending.remove(sector)));
        }
        if std::mem::take(&mut self.len_dirty) {
            self.durable.len = self.live.len;
            self.pending_lens.clear();
        }
    }

    /// A sync or writeback that failed: nothing is known to have reached the disk, and the kernel
    /// will not try again.
    pub(super) fn fail_writeback(&mut self) {
        for page in std::mem::take(&mut self.dirty) {
            self.harmed.extend(page * SECTORS..(page + 1) * SECTORS);
        }
        self.len_dirty = false;
    }

    /// The page cache forgets pages that need no writeback; readers see the platter's content.
    pub(super) fn evict_clean(&mut self) {
        let lost: Vec<u64> = self.pending.keys().copied().collect();
        for sector in lost {
            if !self.dirty.contains(&(sector / SECTORS)) {
                self.live.set_sector(sector, &self.durable.sector(sector));
                self.pending.remove(&sector);
            }
        }
    }

    /// The same change to every content a sector of the range can have: rot needs no writer.
    pub(super) fn rot(&mut self, offset: u64, len: u64, change: impl Fn(u64, u8) -> u8) {
        let end = offset + len;
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            let rotten = |mut bytes: Sector| {
                for (at, byte) in (sector * SECTOR..).zip(&mut bytes) {
                    if (offset..end).contains(&at) {
                        *byte = change(at, *byte);
                    }
                }
                bytes
            };
            self.live.set_sector(sector, &rotten(self.live.sector(sector)));
            self.durable.set_sector(sector, &rotten(self.durable.sector(sector)));
            for version in self.pending.get_mut(&sector).into_iter().flatten() {
                *version = rotten(*version);
            }
        }
    }

    /// Pages of the disk this file takes up.
    pub(super) fn pages(&self) -> u64 {
        self.reserved + self.scattered.len() as u64
    }

    /// Pages that `allocate(len)` would add.
    pub(super) fn pages_to_allocate(&self, len: u64) -> u64 {
        let pages = len.div_ceil(PAGE).max(self.reserved);
        pages - self.reserved - self.scattered.range(..pages).count() as u64
    }

    /// How many of `len` bytes at `offset` fit if `free` more pages are to be had.
    pub(super) fn fits(&self, offset: u64, len: u64, free: u64) -> u64 {
        let end = offset + len;
        let mut free = free;
        for page in offset / PAGE..end.div_ceil(PAGE) {
            if page >= self.reserved && !self.scattered.contains(&page) {
                if free == 0 {
                    return (page * PAGE).saturating_sub(offset);
                }
                free -= 1;
            }
        }
        len
    }

    /// Whether any byte of the range lies in a sector that cannot be read.
    pub(super) fn is_unreadable(&self, offset: u64, len: u64) -> bool {
        let end = offset.saturating_add(len).min(self.live.len);
        offset < end
            && self.unreadable.range(offset / SECTOR..end.div_ceil(SECTOR)).next().is_some()
    }

    fn note_sector(&mut self, sector: u64) {
        let now = self.live.sector(sector);
        let versions = self.pending.entry(sector).or_default();
        if now != self.durable.sector(sector) && !versions.contains(&now) {
            versions.push(now);
        }
        if versions.is_empty() {
            self.pending.remove(&sector); // written with what it held: every outcome is the same
        }
    }

    fn note_len(&mut self) {
        let now = self.live.len;
        if now != self.durable.len && !self.pending_lens.contains(&now) {
            self.pending_lens.push(now);
            self.len_dirty = true;
        }
    }
}
