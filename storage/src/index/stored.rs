//! Rows of a sealed segment that stay on disk until somebody looks for an entry of it.
//!
//! An open checks the whole index file of each sealed segment, but the rows are most of what it says,
//! and most segments are not read soon: to keep them all took more time than to check them, since
//! fresh memory is dear to touch first.
//!
//! Above: `index`. Below: whoever made it says how the rows are loaded.
//! INVARIANT: what is loaded is what was checked at open: a sealed segment never changes. Where the
//! index file is gone or has rotted since, the segment itself is scanned, as at open.
//! It does not try twice at once: readers of one segment wait for the first of them. After a failure
//! the next one tries again.

use std::{
    fmt,
    sync::{Mutex, OnceLock, PoisonError},
};

use super::{Index, Row};
use crate::error::Result;

/// Reads the rows of one segment.
pub(crate) type Load = Box<dyn Fn() -> Result<Vec<Row>> + Send + Sync>;

/// The rows, or how to get them.
pub(crate) struct Stored {
    /// First index of the first row.
    pub(crate) first: Index,
    /// One past the last index of the last row.
    pub(crate) next: Index,
    load: Load,
    loading: Mutex<()>,
    rows: OnceLock<Vec<Row>>,
}

impl Stored {
    /// Rows of the entries `first..next`.
    pub(crate) fn new((first, next): (Index, Index), load: Load) -> Self {
        Self { first, next, load, loading: Mutex::new(()), rows: OnceLock::new() }
    }

    /// The rows, if they are in memory.
    pub(crate) fn loaded(&self) -> Option<&[Row]> {
        self.rows.get().map(Vec::as_slice)
    }

    /// The rows, loaded now where that was not done before.
    ///
    /// # Errors
    /// `Io`, `Corrupt`.
    pub(crate) fn rows(&self) -> Result<&[Row]> {
        if let Some(rows) = self.rows.get() {
            return Ok(rows);
        }
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rows) = self.rows.get() {
            return Ok(rows);
        }
        let rows = (self.load)()?;
        Ok(self.rows.get_or_init(|| rows))
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.rows.get().map(Vec::len);
        f.debug_struct("Stored")
            .field("entries", &(self.first..self.next))
            .field("rows", &count)
            .finish_non_exhaustive()
    }
}
