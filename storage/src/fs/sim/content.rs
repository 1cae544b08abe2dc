//! The bytes of one simulated file: pages shared between copies until one of them is written.
//!
//! Above: [`super::inode`], which keeps two of these per file. A page that was never written is not
//! there and reads as zeros, so a large preallocated file costs next to nothing, and to copy a file
//! is to copy one pointer: crash states are made by the hundred thousand.
//!
//! Pages may hold bytes beyond the length (the platter may know data whose length it does not know
//! yet); nothing reads them until the length covers them.

use std::sync::Arc;

/// What a disk writes whole or not at all, in bytes.
pub(super) const SECTOR: u64 = 512;
/// What the kernel writes back at once, in bytes.
pub(super) const PAGE: u64 = 4096;
/// Sectors in a page.
pub(super) const SECTORS: u64 = PAGE / SECTOR;
/// Length of a page as a length in memory.
const PAGE_LEN: usize = 4096;

/// The content of one sector.
pub(super) type Sector = [u8; 512];

/// Bytes of a file, cheap to copy.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// Length in bytes.
    pub(super) len: u64,
    pages: Arc<Vec<Option<Arc<[u8; PAGE_LEN]>>>>,
}

/// An offset or number as an index in memory; a simulated file is never longer than 4 GiB.
pub(super) fn index(n: u64) -> usize {
    usize::try_from(n).expect("files are bounded to 4 GiB, which usize covers")
}

impl Content {
    /// A file of these bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut content = Self::default();
        content.write(bytes, 0);
        content
    }

    /// Reads up to the length; tells how many bytes.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let want = self.len.saturating_sub(offset).min(buf.len() as u64);
        let mut rest = &mut buf[..index(want)];
        let (mut page, mut at) = (offset / PAGE, index(offset % PAGE));
        while !rest.is_empty() {
            let n = rest.len().min(PAGE_LEN - at);
            let (now, later) = rest.split_at_mut(n);
            match self.page(page) {
                Some(bytes) => now.copy_from_slice(&bytes[at..at + n]),
                None => now.fill(0),
            }
            (rest, page, at) = (later, page + 1, 0);
        }
        index(want)
    }

    /// Writes, growing the length as needed.
    pub(super) fn write(&mut self, mut rest: &[u8], offset: u64) {
        if rest.is_empty() {
            return;
        }
        self.len = self.len.max(offset + rest.len() as u64);
        let (mut page, mut at) = (offset / PAGE, index(offset % PAGE));
        while !rest.is_empty() {
            let n = rest.len().min(PAGE_LEN - at);
            let (now, later) = rest.split_at(n);
            self.page_mut(page)[at..at + n].copy_from_slice(now);
            (rest, page, at) = (later, page + 1, 0);
        }
    }

    /// A sector, whatever the length is.
    pub(super) fn sector(&self, sector: u64) -> Sector {
        let at = index(sector % SECTORS * SECTOR);
        let mut out = [0; 512];
        if let Some(bytes) = self.page(sector / SECTORS) {
            out.copy_from_slice(&bytes[at..at + 512]);
        }
        out
    }

    /// Sets a sector without touching the length.
    pub(super) fn set_sector(&mut self, sector: u64, bytes: &Sector) {
        let at = index(sector % SECTORS * SECTOR);
        self.page_mut(sector / SECTORS)[at..at + 512].copy_from_slice(bytes);
    }

    /// Takes over a page of another file.
    pub(super) fn set_page(&mut self, page: u64, from: &Self) {
        let pages = Arc::make_mut(&mut self.pages);
        let page = index(page);
        if pages.len() <= page {
            pages.resize(page + 1, None);
        }
        pages[page] = from.pages.get(page).cloned().flatten();
    }

    /// Sets the length; what lies beyond it is zeros from now on.
    pub(super) fn cut(&mut self, len: u64) {
        self.len = len;
        let (full, tail) = (len / PAGE, index(len % PAGE));
        let kept = full + u64::from(tail > 0);
        if self.pages.len() as u64 > kept {
            Arc::make_mut(&mut self.pages).truncate(index(kept));
        }
        if tail > 0 && self.page(full).is_some_and(|page| page[tail..].iter().any(|b| *b != 0)) {
            self.page_mut(full)[tail..].fill(0);
        }
    }

    /// A number that tells length and bytes apart; a page of zeros and one that is not there are
    /// the same. Campaigns ask for it once per state, so it takes eight bytes at a time.
    pub(super) fn digest(&self) -> u64 {
        let mix =
            |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        let mut digest = mix(0, self.len);
        for (number, page) in self.pages.iter().enumerate() {
            if let Some(page) = page.as_deref().filter(|page| page.iter().any(|byte| *byte != 0)) {
                digest = mix(digest, number as u64);
                for word in page.as_chunks().0 {
                    digest = mix(digest, u64::from_le_bytes(*word));
                }
            }
        }
        digest
    }

    /// All bytes.
    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; index(self.len)];
        self.read(&mut bytes, 0);
        bytes
    }

    fn page(&self, page: u64) -> Option<&[u8; PAGE_LEN]> {
        self.pages.get(index(page))?.as_deref()
    }

    fn page_mut(&mut self, page: u64) -> &mut [u8; PAGE_LEN] {
        let pages = Arc::make_mut(&mut self.pages);
        let page = index(page);
        if pages.len() <= page {
            pages.resize(page + 1, None);
        }
        Arc::make_mut(pages[page].get_or_insert_with(|| Arc::new([0; PAGE_LEN])))
    }
}
