//! The disk without the engine: the limit that each figure is a ratio to.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

/// Bytes written at once when the file is prepared.
const STEP: usize = 1 << 20;

/// A file whose blocks were all written and synced before the first measurement.
#[derive(Debug)]
pub struct RawFile {
    file: File,
    len: u64,
    offset: u64,
}

impl RawFile {
    /// Makes the file, fills `len` bytes of it with zeros and syncs them.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(path: &Path, len: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        let zeros = vec![0; STEP];
        let mut at = 0;
        while at < len {
            file.write_all_at(&zeros, at)?;
            at += STEP as u64;
        }
        file.sync_all()?;
        Ok(Self { file, len: at, offset: 0 })
    }

    /// Writes `bytes` behind what was written last, from the front again at the end: blocks that
    /// were written before, always.
    ///
    /// # Errors
    /// What the disk says.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.offset + bytes.len() as u64 > self.len {
            self.offset = 0;
        }
        self.file.write_all_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// A second handle of the file.
    ///
    /// # Errors
    /// Where there are no more handles to be had.
    pub fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// fdatasync.
    ///
    /// # Errors
    /// What the disk says.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_the_front_again_and_never_grows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("raw");
        let mut file = RawFile::create(&path, 1).unwrap();
        for _ in 0..3 {
            file.append(&vec![7; STEP - 1]).unwrap();
        }
        file.sync().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), STEP as u64);
    }
}
