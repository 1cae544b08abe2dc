//! Batches that are written together: what comes while a sync is under way.
//!
//! ```text
//!   fdatasync ───────────────╮        fdatasync …
//!     put 8, put 9, put 10   ╰ one pwrite of 8, 9, 10
//! ```
//!
//! A batch that is put while the disk is busy with a sync cannot become durable before the next one
//! begins. So it need not be in the file before this one ends: it is kept here, and all that came
//! meanwhile goes to the file in one call. With many writers that is one system call for each sync in
//! place of one for each batch. A writer who is alone never meets this: nobody syncs while it writes.
//!
//! Above: `wal`, which decides when. Below: memory, at most [`GATHERED_MAX`] bytes.
//! INVARIANT: what is gathered follows what was written without a gap, in order, and stands in
//! `recent` as well: readers find it there, and a successor takes it from there.
//! INVARIANT: nothing stays here once no sync is under way, and a sync covers only what was written
//! before it began.

use crate::batch::HEAD_LEN;

/// More than this is not kept back.
const GATHERED_MAX: usize = 256 << 10;
/// A batch of this length is worth a call of its own.
const LARGE: usize = 16 << 10;

/// Batches that are not in the file yet.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// Where they belong.
    from: u64,
    /// All of them, and the zero head behind the last.
    bytes: Vec<u8>,
}

impl Gathered {
    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether `len` bytes more are to be kept back.
    pub(crate) const fn takes(&self, len: usize) -> bool {
        len < LARGE && self.bytes.len() + len <= GATHERED_MAX
    }

    /// Adds a batch that ends in its zero head and belongs at `offset`: over the zero head of the
    /// batch before, or behind it, with zeros between.
    ///
    /// # Panics
    /// Where `offset` lies before the end of what is there.
    pub(crate) fn add(&mut self, bytes: &[u8], offset: u64) {
        if self.bytes.is_empty() {
            self.from = offset;
        }
        let at = offset.checked_sub(self.from).and_then(|at| usize::try_from(at).ok());
        let at = at.filter(|&at| at + HEAD_LEN >= self.bytes.len());
        let at = at.expect("the writer's offset only rises");
        self.bytes.resize(at, 0);
        self.bytes.extend_from_slice(bytes);
    }

    /// Hands everything to `write`, as one piece, and forgets it: after an error nothing is known
    /// about the file, and it is written again from `recent`.
    ///
    /// # Errors
    /// Those of `write`.
    pub(crate) fn give<E>(
        &mut self,
        write: impl FnOnce(&[u8], u64) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let result = write(&self.bytes, self.from);
        self.forget();
        result
    }

    /// Forgets what is there: the file takes no byte more.
    pub(crate) fn forget(&mut self) {
        self.bytes.clear();
        // Not more than a group of small batches takes stays allocated.
        self.bytes.shrink_to(LARGE * 4);
    }
}

#[cfg(test)]
mod tests;
