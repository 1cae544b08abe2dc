//! Files that are copied or written anew: under a name of `tmp/` first, then synced, then renamed.
//!
//! Above: `backup`, `repair`. Below: `fs`. Memory is one buffer.
//! INVARIANT: a file has its name only once its bytes are durable, so a name never stands for half a
//! copy. The name itself is durable when the caller has synced the directory.
//! What it does not do: look at the bytes, or at what has the name already, which is replaced.

use std::io;

use crate::{
    batch::is_zero,
    error::{Error, Result},
    fs::{Access, Dir, File, Fs, read_full, write_full},
};

/// Bytes copied at once.
pub(crate) const CHUNK: usize = 1 << 20;
const PAGE: u64 = 4096;

/// A file: where, in which directory, and its name.
pub(crate) type At<'a> = (&'a dyn Fs, Dir, &'a str);

/// What was copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copied {
    pub(crate) len: u64,
    pub(crate) crc: u32,
}

/// Copies a file, by way of `tmp/`; what lies beyond `end`, where one is given, as zeros to the end of
/// the page and one page more. Holes stay holes. The name is not durable yet.
///
/// # Errors
/// `Io`, `Full`.
pub(crate) fn copy(from: At<'_>, to: At<'_>, end: Option<u64>) -> Result<Copied> {
    let ((source, dir, name), (target, to_dir, to_name)) = (from, to);
    let from_path = source.root().join(dir.name()).join(name);
    let path = target.root().join(to_dir.name()).join(to_name);
    let file =
        source.open(dir, name, Access::Read).map_err(|e| Error::io("open", &from_path, e))?;
    let len = file.len().map_err(|e| Error::io("stat", &from_path, e))?;
    let (mut crc, mut offset) = (crc32fast::Hasher::new(), 0);
    let mut chunk = vec![0; CHUNK];
    write_anew(to, &mut |out| {
        let mut put = |bytes: &[u8], last: bool| {
            crc.update(bytes);
            // The end is written also where it is zeros, so that the file gets its length.
            if last || !is_zero(bytes) {
                write_full(out, bytes, offset).map_err(|e| Error::io("copy to", &path, e))?;
            }
            offset += bytes.len() as u64;
            Ok(offset)
        };
        let mut at = 0;
        loop {
            let left = end.map_or(u64::MAX, |end| end.saturating_sub(at));
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
            let got = read_full(&*file, &mut chunk[..want], at)
                .map_err(|e| Error::io("read", &from_path, e))?;
            at = put(&chunk[..got], got < want || at + got as u64 >= len)?;
            if got < want || want == 0 {
                break;
            }
        }
        if end.is_some() {
            let zeros = usize::try_from(at.next_multiple_of(PAGE) + PAGE - at).unwrap_or(0);
            put(&vec![0; zeros], true)?;
        }
        Ok(())
    })?;
    Ok(Copied { len: offset, crc: crc.finalize() })
}

/// Writes a file, by way of `tmp/`. The name is not durable yet.
///
/// # Errors
/// `Io`, `Full`, and those of `fill`.
pub(crate) fn write_anew(
    (fs, dir, name): At<'_>,
    fill: &mut dyn FnMut(&dyn File) -> Result<()>,
) -> Result<()> {
    let path = fs.root().join(dir.name()).join(name);
    let wrap = |e| Error::io("write", &path, e);
    let tmp = format!("copy-{name}");
    // DURABILITY: none needed: nobody relies on a name in tmp/.
    match fs.unlink(Dir::Tmp, &tmp) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(wrap(e)),
        _ => {}
    }
    let file = fs.create(Dir::Tmp, &tmp).map_err(wrap)?;
    fill(&*file)?;
    // DURABILITY: the bytes, before the file gets its name.
    file.sync().map_err(wrap)?;
    fs.rename((Dir::Tmp, &tmp), (dir, name)).map_err(wrap)
}
