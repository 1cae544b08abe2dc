//! What the disk says itself: bytes written to the device, bytes that files take.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

/// Bytes of a sector in the kernel's statistics, whatever the disk's are.
const SECTOR: u64 = 512;

/// Bytes written to the device that `dir` is on, by everybody, since the machine started. None where
/// the file system is on no device of its own. A process's own counter would not do: it counts what
/// was handed to the page cache.
#[must_use]
pub fn device_written(dir: &Path) -> Option<u64> {
    let dev = fs::metadata(dir).ok()?.dev();
    // As glibc takes it apart.
    let major = ((dev >> 8) & 0xfff) | ((dev >> 32) & !0xfff);
    let minor = (dev & 0xff) | ((dev >> 12) & !0xff);
    let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    let sectors: u64 = stat.split_whitespace().nth(6)?.parse().ok()?;
    Some(sectors * SECTOR)
}

/// Bytes that the files below `dir` take on the disk, holes left out.
///
/// # Errors
/// What the file system says.
pub fn used(dir: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for found in fs::read_dir(dir)? {
        let found = found?;
        let about = match found.metadata() {
            Ok(about) => about,
            // A library removes its files while we look.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        sum += if about.is_dir() { used(&found.path())? } else { about.blocks() * SECTOR };
    }
    Ok(sum)
}

/// A copy of the files below `from`, synced.
///
/// # Errors
/// What the file system says.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for found in fs::read_dir(from)? {
        let found = found?;
        let target = to.join(found.file_name());
        if found.file_type()?.is_dir() {
            copy(&found.path(), &target)?;
        } else {
            fs::copy(found.path(), &target)?;
            fs::File::open(&target)?.sync_all()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_takes_as_much_as_what_was_copied() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("below")).unwrap();
        fs::write(from.join("below/file"), vec![7; 100_000]).unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::read(to.join("below/file")).unwrap(), vec![7; 100_000]);
        fs::File::open(from.join("below/file")).unwrap().sync_all().unwrap();
        assert!(used(&to).unwrap() >= 100_000);
        assert_eq!(used(&from).unwrap(), used(&to).unwrap());
    }
}
