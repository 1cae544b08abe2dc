//! Files of trimmed segments that become segments again (`Options::reuse_files`).
//!
//! ```text
//!   7.wal, trimmed ─rename▶ tmp/spare-of-7.wal ─▶ a rotation syncs the root ─▶ nobody reads it any
//!   more ─▶ its headers are zeros ─▶ a spare like any other, with old bytes for zeros
//! ```
//!
//! Every block of such a file was written once, so the zeros need not be: half of what goes to the
//! disk. Old batches in it cannot be taken for new ones, since a segment's salt is in the checksum of
//! each head. But what stands behind the last batch is no clean end. (FORMAT.md, "Reused files".)
//!
//! Above: `keeper`, which moves files here, and takes spares from here like `succeed`. Below: `fs`.
//! INVARIANT: no byte of a file is written over before the loss of its old name is durable: after a
//! crash a name of a segment would stand for bytes of another one.
//! INVARIANT: nor while anybody of this process can read it: a reader, a scrub, an index file in the
//! making and an iterator each hold the segment, and the bytes of a map are counted (`File::is_sole`).
//! Nor if it has a second name: that is somebody's copy.
//! INVARIANT: the headers go first, so whoever opened the file by its name can tell (see `backup`).

use std::sync::Arc;

use crate::{
    error::Result,
    fs::{Dir, SyncPoint, write_full},
    header::BATCHES_AT,
    layout::{SegmentId, segment_name},
    metrics,
    segment::{Segment, zeros},
    succeed::Spare,
    wal::{Wal, Writer},
};

/// The files that wait in `tmp/`, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Retired {
    files: Vec<Waiting>,
    /// The log is being closed: nothing comes in or out any more.
    closed: bool,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Waiting {
    name: String,
    segment: Arc<Segment>,
    /// The segment that was active when the file lost its name. The next one's own name was made
    /// durable by a sync of the same directory.
    since: SegmentId,
}

impl Waiting {
    fn is_held(&self) -> bool {
        Arc::strong_count(&self.segment) > 1
    }
}

impl Wal {
    /// Moves the file of a trimmed segment to `tmp/` if it can be of use. Not durable, and need not
    /// be. False where it is to be unlinked.
    pub(crate) fn put_by(&self, writer: &mut Writer, segment: &Arc<Segment>) -> bool {
        let max = self.options.reuse_files;
        // One of another size, or of another life, may have blocks that were never written. And where
        // a sync failed, what lies under the old bytes may be unreadable.
        let fits = segment.made_here && segment.fence() <= self.options.segment_size;
        let fits = fits && !segment.is_suspect();
        if max == 0 || !fits || writer.retired.closed {
            return false;
        }
        let files = &mut writer.retired.files;
        if files.len() >= max {
            // One that a reader does not let go of is of no use for who knows how long.
            let Some(at) = files.iter().position(Waiting::is_held) else { return false };
            self.remove_tmp(&files.remove(at).name);
        }
        let id = segment.id();
        let name = format!("spare-of-{}", segment_name(id));
        // DURABILITY: no sync here: whoever writes over the file waits for one.
        if let Err(e) = self.fs.rename((Dir::Root, &segment_name(id)), (Dir::Tmp, &name)) {
            tracing::debug!(segment = id, error = %e, "a trimmed file could not be put by");
            self.remove_tmp(&name);
            return false;
        }
        let since = writer.segment.id();
        writer.retired.files.push(Waiting { name, segment: Arc::clone(segment), since });
        true
    }

    /// Takes the oldest file that may be written over now.
    pub(crate) fn take_unnamed(&self, writer: &mut Writer) -> Option<Waiting> {
        let active = writer.segment.id();
        // DURABILITY: once another segment is active, the directory was synced after the rename: by
        // the rotation, whose own name it was for.
        let unnamed = |file: &Waiting| {
            active > file.since || self.options.omit_sync == Some(SyncPoint::LostName)
        };
        let files = &mut writer.retired.files;
        let at = files.iter().position(|file| unnamed(file) && !file.is_held())?;
        Some(files.remove(at))
    }

    /// A spare out of the first file that nobody else has; those that somebody has are unlinked.
    pub(crate) fn reuse(&self, mut next: impl FnMut() -> Option<Waiting>) -> Option<Spare> {
        while let Some(Waiting { name, segment, .. }) = next() {
            match self.blank_anew(&name, segment) {
                Ok(Some(spare)) => return Some(spare),
                Ok(None) => {}
                Err(e) => tracing::debug!(name, error = %e, "a trimmed file is not reused"),
            }
            self.remove_tmp(&name);
        }
        None
    }

    /// What the next segment is made of, if anything is ready.
    pub(crate) fn spare(&self, writer: &mut Writer) -> Option<Spare> {
        let closed = writer.retired.closed;
        if let Some(spare) = writer.spare.take().filter(|spare| !(closed && spare.reused)) {
            return Some(spare);
        }
        self.reuse(|| self.take_unnamed(writer))
    }

    /// Makes the file of `segment` a spare; None where somebody else may still read it.
    fn blank_anew(&self, name: &str, segment: Arc<Segment>) -> Result<Option<Spare>> {
        let id = segment.id();
        let Some(segment) = Arc::into_inner(segment) else { return Ok(None) };
        let wrap = |e| crate::Error::io("reuse", self.root().join(Dir::Tmp.name()).join(name), e);
        let len = segment.fence();
        let file = segment.into_file();
        if Arc::strong_count(&file) > 1 || !file.is_sole().map_err(wrap)? {
            tracing::debug!(segment = id, "a trimmed file has another name or a reader");
            return Ok(None);
        }
        let headers = usize::try_from(BATCHES_AT).expect("8192");
        write_full(&*file, zeros(headers), 0).map_err(wrap)?;
        metrics::file_reused();
        tracing::debug!(segment = id, "the file of a trimmed segment is reused");
        Ok(Some(Spare { name: name.to_owned(), file, len, reused: true }))
    }

    /// The next segment shall have a clean end: nothing is reused any more, nothing is put by.
    pub(crate) fn end_reuse(&self, writer: &mut Writer) {
        writer.retired.closed = true;
        let spare = writer.spare.take().filter(|spare| spare.reused);
        let files = std::mem::take(&mut writer.retired.files);
        for name in spare.map(|s| s.name).into_iter().chain(files.into_iter().map(|f| f.name)) {
            self.remove_tmp(&name);
        }
    }

    fn remove_tmp(&self, name: &str) {
        // DURABILITY: none needed: the next open removes what is left in tmp/.
        let _ = self.fs.unlink(Dir::Tmp, name);
    }
}

#[cfg(test)]
mod tests;
