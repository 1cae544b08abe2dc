//! Where damage is aimed at: the last batch of a log, the payload of an entry, and their file.
//!
//! Above: `hands`, which damages disks in memory, and whoever does the same to real files. Below: the
//! engine's own look at a log. Reads only; the log is one that nobody writes.

use std::{ops::ControlFlow, path::PathBuf};

use hardlog::{
    Index, Result,
    fs::Fs,
    inspect::{self, BatchKind, DumpOptions, Row, VerifyOptions},
};

/// The last batch that holds anything of the log: number of its segment, offset, length in bytes. None if nothing
/// was written since the log goes on in its newest file.
///
/// # Errors
/// What the log says that cannot be read.
pub fn last_batch(fs: &dyn Fs) -> Result<Option<(u64, u64, u64)>> {
    let (mut last, mut newest) = (None, 0);
    let mut each = |row: Row<'_>| {
        if let Row::Batch(batch) = row {
            newest = newest.max(batch.segment);
            if batch.kind == BatchKind::Batch {
                last = Some((batch.segment, batch.offset, batch.len));
            }
        }
        ControlFlow::Continue(())
    };
    inspect::dump(fs, &DumpOptions::default(), &mut each)?;
    Ok(last.filter(|(segment, ..)| *segment == newest))
}

/// An entry's segment, the offset of its batch, and its bytes. None if there is no such entry, or it
/// has no bytes.
///
/// # Errors
/// What the log says that cannot be read.
pub fn payload(fs: &dyn Fs, index: Index) -> Result<Option<(u64, u64, Vec<u8>)>> {
    let mut found = None;
    let mut each = |row: Row<'_>| {
        if let Row::Entry(entry) = row
            && entry.id.index == index
            && !entry.payload.is_empty()
        {
            found = Some((entry.segment, entry.offset, entry.payload.to_vec()));
        }
        ControlFlow::Continue(())
    };
    inspect::dump(fs, &DumpOptions::default(), &mut each)?;
    Ok(found)
}

/// The file of a segment, if it is there.
///
/// # Errors
/// What the log says that cannot be read.
pub fn file_of(fs: &dyn Fs, segment: u64) -> Result<Option<PathBuf>> {
    let report = inspect::verify(fs, VerifyOptions::new().quick(true), &mut |_| {})?;
    Ok(report.segments.into_iter().find(|found| found.id == segment).map(|found| found.file))
}
