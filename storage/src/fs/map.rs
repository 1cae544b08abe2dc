//! Mapping a file that no longer changes: the one place of the engine with unsafe code.
//!
//! Above: [`super::disk`], which asks for a map of sealed segments and snapshot files only, and of
//! those only once every byte was read with positioned reads in this process, so that a sector the
//! disk cannot read has already shown itself as an error instead of a signal.
//!
//! What it does not do: guard against another process that truncates the file. Touching a page past
//! the new end kills this process with SIGBUS. The log's lock keeps other logs away, not strangers;
//! who cannot trust whoever shares the machine chooses `ReadMode::Positioned`, which never maps.

use std::{fs::File, io};

use bytes::Bytes;
use memmap2::Mmap;

/// Maps all of `file` for reading.
///
/// The mapping lives as long as any clone or slice of the returned bytes, also after the file's
/// name is gone.
///
/// # Errors
/// What mmap says: no memory, or a file system that does not map.
#[expect(unsafe_code, reason = "a map cannot be had without it; the argument stands at the block")]
pub(super) fn map(file: &File) -> io::Result<Bytes> {
    // SAFETY: `Mmap` is unsound if the bytes change or the file shrinks while it lives. The trait's
    // contract is that a mapped file never changes again; the engine maps only files that it has
    // sealed or renamed into place, never writes to those, only ever unlinks them (which leaves the
    // mapped inode as it is), and holds the directory's lock meanwhile, so no second engine can.
    let map = unsafe { Mmap::map(file) }?;
    Ok(Bytes::from_owner(map))
}
