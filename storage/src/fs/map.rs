//! Mapping a file that no longer changes: one of two places of the engine with unsafe code.
//!
//! Above: [`super::disk`], which asks for a map of sealed segments and snapshot files only, and of
//! those only once every byte was read with positioned reads in this process, so that a sector the
//! disk cannot read has already shown itself as an error instead of a signal.
//!
//! What it does not do: guard against another process that truncates the file. Touching a page past
//! the new end kills this process with SIGBUS. The log's lock keeps other logs away, not strangers;
//! who cannot trust whoever shares the machine chooses `ReadMode::Positioned`, which never maps.

use std::{fs::File, io, sync::Arc};

use bytes::Bytes;
use memmap2::Mmap;

/// Shared by a file's handle and all maps made through it: its count tells whether one is left.
pub(super) type Maps = Arc<()>;

/// A map, and what shows that it is there. Unmapped first, then no longer counted.
struct Mapped {
    map: Mmap,
    _counted: Maps,
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

/// Maps all of `file` for reading.
///
/// The mapping lives, and is counted in `maps`, as long as any clone or slice of the returned bytes,
/// also after the file's name is gone.
///
/// # Errors
/// What mmap says: no memory, or a file system that does not map.
#[expect(unsafe_code, reason = "a map cannot be had without it; the argument stands at the block")]
pub(super) fn map(file: &File, maps: &Maps) -> io::Result<Bytes> {
    // SAFETY: `Mmap` is unsound if the bytes change or the file shrinks while it lives. The trait's
    // contract is that a mapped file never changes again; the engine maps only files that it has
    // sealed or renamed into place, unlinks them (which leaves the mapped inode as it is) or writes
    // over them only when `is_sole` said that no map is left and it alone holds the handle, and holds
    // the directory's lock meanwhile, so no second engine can.
    let map = unsafe { Mmap::map(file) }?;
    Ok(Bytes::from_owner(Mapped { map, _counted: Maps::clone(maps) }))
}
