//! Begins to write a range of a file out, without waiting.
//!
//! Above: [`super::disk`]. Linux has sync_file_range for it, which no safe wrapper offers; elsewhere
//! nothing happens, and the next sync does all of the work.

use std::fs::File;

/// Begins to write `len` bytes from `offset` out; see [`super::File::write_back`].
///
/// Of the three flags only the one that begins: those that wait would take the report of a failed
/// writeback, which belongs to the fdatasync that comes later.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "there is no safe way to this call; the argument stands at the block"
)]
pub(super) fn begin(file: &File, offset: u64, len: u64) {
    use std::os::fd::AsRawFd;

    let (Ok(offset), Ok(len)) = (offset.try_into(), len.try_into()) else { return };
    // DURABILITY: none: it empties no cache of the disk and writes no metadata. What it returns is
    // of no use: whatever went wrong is found, and reported, by the fdatasync that counts.
    //
    // SAFETY: no memory is handed over; the handle is open as long as `file` is borrowed.
    let _ = unsafe {
        libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE)
    };
}

/// Does nothing.
#[cfg(not(target_os = "linux"))]
pub(super) fn begin(_file: &File, _offset: u64, _len: u64) {}
