//! A tar archive, written: the oldest form (POSIX ustar), which every tar reads.
//!
//! ```text
//!   ┌──────────┬────────────────────┬──────────┬─────┬──────────────┐
//!   │ head 512 │ bytes, to 512 full │ head 512 │  …  │ 1024 zeros   │
//!   └──────────┴────────────────────┴──────────┴─────┴──────────────┘
//! ```
//!
//! Above: `bundle`. Below: whatever takes bytes. Files only, each below one directory, and of less than
//! 8 GiB; names are ours and short. It reads nothing.

use std::{io::Write, time::Duration};

use crate::exit::Failure;

/// Everything is a multiple of this.
const BLOCK: usize = 512;
/// Largest file whose length fits eleven octal digits.
const FILE_MAX: u64 = (1 << 33) - 1;

/// An archive in the making.
pub(crate) struct Writer<'a> {
    to: &'a mut dyn Write,
    /// The directory in which everything lies.
    root: String,
    /// For all files, since 1970.
    time: Duration,
    written: u64,
}

/// The bytes of one file.
pub(crate) struct Body<'a, 'b> {
    of: &'a mut Writer<'b>,
    left: u64,
    len: u64,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(to: &'a mut dyn Write, root: &str, time: Duration) -> Self {
        Self { to, root: root.to_owned(), time, written: 0 }
    }

    /// A file whose bytes are here.
    pub(crate) fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let mut body = self.begin(name, bytes.len() as u64)?;
        body.put(bytes)?;
        body.end()
    }

    /// A file of `len` bytes, which follow.
    pub(crate) fn begin(&mut self, name: &str, len: u64) -> Result<Body<'_, 'a>, Failure> {
        let path = format!("{}/{name}", self.root);
        let head = head(&path, len, self.time);
        let head = head.ok_or_else(|| Failure::Refused(format!("{name} does not fit into tar")))?;
        self.put(&head)?;
        Ok(Body { of: self, left: len, len })
    }

    /// The end; how many bytes it has become.
    pub(crate) fn end(mut self) -> Result<u64, Failure> {
        self.put(&[0; 2 * BLOCK])?;
        self.to.flush()?;
        Ok(self.written)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.to.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

impl Body<'_, '_> {
    /// Some more of it.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        assert!(bytes.len() as u64 <= self.left, "{} of {} bytes", bytes.len(), self.left);
        self.left -= bytes.len() as u64;
        self.of.put(bytes)
    }

    /// All of it was put.
    pub(crate) fn end(self) -> Result<(), Failure> {
        assert_eq!(self.left, 0, "bytes are missing");
        let over = usize::try_from(self.len % BLOCK as u64).unwrap_or(0);
        let padding = [0; BLOCK];
        self.of.put(&padding[..(BLOCK - over) % BLOCK])
    }
}

/// The block in front of a file; None where it does not fit.
fn head(path: &str, len: u64, time: Duration) -> Option<[u8; BLOCK]> {
    if path.len() > 100 || len > FILE_MAX {
        return None;
    }
    let mut head = [0; BLOCK];
    let mut put =
        |at: usize, text: &str| head[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, path);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{len:011o}\0"));
    put(136, &format!("{:011o}\0", time.as_secs().min(FILE_MAX)));
    // The sum counts its own field as blanks.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Some(head)
}
