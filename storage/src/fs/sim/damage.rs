//! The hand that reaches past the file system: what damage tests do to files.
//!
//! Above: the damage tests. Below: [`super::state`].
//!
//! Nothing here is a call: it is not counted, cannot fail, moves no clock, and is durable at once.
//! All of it panics where there is no such file, since a test that damages nothing tests nothing.

use std::ops::Range;

use super::{
    SimFs,
    content::{Content, SECTOR},
    inode::Inode,
};
use crate::fs::Dir;

impl SimFs {
    /// The names of the files in `dir`, sorted.
    #[must_use]
    pub fn names(&self, dir: Dir) -> Vec<String> {
        let state = self.state();
        let names = state.names.keys().filter(|(of, _)| *of == dir);
        names.map(|(_, name)| name.to_string()).collect()
    }

    /// All bytes of a file as readers see them, if there is one of that name.
    #[must_use]
    pub fn read_file(&self, dir: Dir, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let ino = state.names.get(&(dir, name.into()))?;
        Some(state.inode(*ino).live.to_vec())
    }

    /// All bytes of a file that are sure to survive a power cut, if its name is.
    #[must_use]
    pub fn durable_file(&self, dir: Dir, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let ino = state.durable_names.get(&(dir, name.into()))?;
        Some(state.inode(*ino).durable.to_vec())
    }

    /// Puts these bytes into a file, which is made if it is not there.
    pub fn write_file(&self, dir: Dir, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        let found = state.names.get(&(dir, name.into())).copied();
        if let Some(ino) = found {
            state.inode_mut(ino).replace(Content::of(bytes));
        } else {
            state.made = true;
            let ino = state.add(Inode::settled(Content::of(bytes)));
            state.plant(dir, name, Some(ino));
        }
    }

    /// Sets the length of a file; what it gains is zeros. Handles see it.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn truncate_file(&self, dir: Dir, name: &str, len: u64) {
        self.with_file(dir, name, |inode| {
            let mut content = inode.live.clone();
            content.cut(len);
            inode.replace(content);
        });
    }

    /// Removes a file. Handles keep it.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn remove_file(&self, dir: Dir, name: &str) {
        self.with_file(dir, name, |_| {});
        self.state().plant(dir, name, None);
    }

    /// Swaps the names of two files.
    ///
    /// # Panics
    /// If either is missing.
    pub fn swap_files(&self, a: (Dir, &str), b: (Dir, &str)) {
        let mut state = self.state();
        let [first, second] = [a, b].map(|(dir, name)| {
            state.lookup(dir, name).unwrap_or_else(|_| panic!("no file {}/{name}", dir.name()))
        });
        // Between the two steps the first file has no name: a handle keeps it.
        state.inode_mut(first).handles += 1;
        state.plant(a.0, a.1, Some(second));
        state.plant(b.0, b.1, Some(first));
        state.inode_mut(first).handles -= 1;
    }

    /// Flips one bit.
    ///
    /// # Panics
    /// If there is no such byte, or `bit` is above 7.
    pub fn flip_bit(&self, dir: Dir, name: &str, offset: u64, bit: u32) {
        assert!(bit < 8, "a byte has no bit {bit}");
        self.rot(dir, name, offset..offset + 1, |_, byte| byte ^ (1 << bit));
    }

    /// Puts zeros over a range: a sector, a page, a torn tail.
    ///
    /// # Panics
    /// If the file does not reach to the end of the range.
    pub fn zero(&self, dir: Dir, name: &str, range: Range<u64>) {
        self.rot(dir, name, range, |_, _| 0);
    }

    /// Puts pseudo-random bytes over a range.
    ///
    /// # Panics
    /// If the file does not reach to the end of the range.
    pub fn garble(&self, dir: Dir, name: &str, range: Range<u64>, seed: u64) {
        self.rot(dir, name, range, |offset, _| {
            super::Rng::new(seed ^ offset.rotate_left(32)).next_u64().to_le_bytes()[0]
        });
    }

    /// Makes a sector of 512 bytes unreadable, until it is written again as a whole.
    ///
    /// # Panics
    /// If the file does not reach to that sector.
    pub fn make_unreadable(&self, dir: Dir, name: &str, sector: u64) {
        self.with_file(dir, name, |inode| {
            assert!(sector * SECTOR < inode.live.len, "{name} ends before sector {sector}");
            inode.unreadable.insert(sector);
        });
    }

    /// The kernel fails to write back what is dirty in a file while nobody waits for it: one later
    /// sync of the file reports EIO, once.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn fail_writeback(&self, dir: Dir, name: &str) {
        self.with_file(dir, name, |inode| {
            inode.fail_writeback();
            inode.unreported = true;
        });
    }

    /// The page cache forgets all pages that need no writeback: where a writeback failed, readers
    /// see the old bytes from now on.
    pub fn evict_clean(&self) {
        self.state().inodes.values_mut().for_each(Inode::evict_clean);
    }

    /// Everything reaches the platter, names and bytes, as after a clean shutdown.
    pub fn settle(&self) {
        self.state().settle();
    }

    /// A number that tells contents apart: equal disks (names, and bytes as readers see them) have
    /// equal digests. For campaigns that skip states they have seen.
    #[must_use]
    pub fn digest(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let state = self.state();
        let mut hasher = DefaultHasher::new();
        for ((dir, name), ino) in &state.names {
            let inode = state.inode(*ino);
            (dir, name, &inode.unreadable, inode.live.digest()).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn rot(&self, dir: Dir, name: &str, range: Range<u64>, change: impl Fn(u64, u8) -> u8) {
        self.with_file(dir, name, |inode| {
            assert!(range.end <= inode.live.len, "{name} ends before {}", range.end);
            inode.rot(range.start, range.end - range.start, change);
        });
    }

    fn with_file(&self, dir: Dir, name: &str, change: impl FnOnce(&mut Inode)) {
        let mut state = self.state();
        match state.lookup(dir, name) {
            Ok(ino) => change(state.inode_mut(ino)),
            Err(_) => panic!("no file {}/{name}", dir.name()),
        }
    }
}
