//! The measurements of `ratios`: each runs engine and bare disk in turns and yields lines of the
//! table.

pub mod append;
pub mod commit;
pub mod open;
pub mod read;
pub mod trim;

use std::path::PathBuf;

/// Where and how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// A directory on the file system to be measured; everything made there is removed again.
    pub dir: PathBuf,
    /// Rounds, of which the median counts; at least 3.
    pub rounds: usize,
    /// Less of everything: for a look in under a minute.
    pub quick: bool,
}

impl Plan {
    /// One of two sizes.
    #[must_use]
    pub fn pick<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }

    /// A directory for one measurement, removed when dropped.
    ///
    /// # Panics
    /// Where none can be made.
    #[must_use]
    pub fn scratch(&self) -> tempfile::TempDir {
        tempfile::tempdir_in(&self.dir).expect("the directory to be measured can be written to")
    }
}
