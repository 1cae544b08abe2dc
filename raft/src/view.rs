//! The engine's log as the core sees it.

use std::ops::Range;

use hardlog::{Entry, EntryId, Error, Index, LogReader, Term};

use crate::core::{LogView, Slot};

/// A reader of the log. Sees every write at once.
#[derive(Clone, Debug)]
pub struct View(LogReader);

impl View {
    /// Reads through `reader`.
    #[must_use]
    pub fn new(reader: LogReader) -> Self {
        Self(reader)
    }
}

impl LogView for View {
    fn first_index(&self) -> Index {
        self.0.first_log_index()
    }

    fn last_id(&self) -> EntryId {
        self.0.last_id().unwrap_or_default()
    }

    fn term_at(&self, index: Index) -> Slot<Term> {
        if index == 0 && self.0.first_log_index() == 1 {
            return Slot::Present(0); // Before the first entry ever (Figure 2).
        }
        match self.0.term_at(index) {
            Ok(term) => Slot::Present(term),
            Err(Error::BeyondEnd { .. }) => Slot::Beyond,
            // Terms are known without reading payloads: nothing else can happen to them.
            Err(_) => Slot::Trimmed,
        }
    }

    fn entries(&self, range: Range<Index>, bytes_max: u64) -> Slot<Vec<Entry>> {
        let mut found = Vec::new();
        for entry in self.0.entries(range.clone(), bytes_max) {
            match entry {
                Ok(entry) => found.push(entry),
                Err(_) if !found.is_empty() => break,
                Err(Error::Trimmed { .. }) => return Slot::Trimmed,
                Err(Error::BeyondEnd { .. }) => return Slot::Beyond,
                Err(error) => {
                    // The node goes on: others may have the entry, and it is not needed here.
                    tracing::error!(index = range.start, %error, "an entry cannot be read");
                    return Slot::Faulty;
                }
            }
        }
        if found.is_empty() { Slot::Beyond } else { Slot::Present(found) }
    }
}
