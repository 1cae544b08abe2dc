//! One segment file on its own, wherever it lies and whatever it is called, as a directory that holds
//! nothing else: what is left of a disk, or an attachment of a report.
//!
//! Above: whoever was given a file and no directory. Below: another `Fs`, that of the directory which
//! holds the file; only this file of it is ever opened, and only for reading.

use std::{
    any::Any,
    io::{self, ErrorKind},
    path::Path,
    sync::Arc,
    time::Duration,
};

use crate::{
    batch::PAGE,
    error::{Error, Result},
    fs::{Access, Dir, File, Found, Fs, Kind, LockState, read_full},
    header::{BATCHES_AT, Header, SEGMENT_MAGIC},
    layout::{Classified, classify, segment_name},
};

/// A file system that holds one segment.
#[derive(Debug)]
pub struct LoneFile<F> {
    inner: F,
    /// The file's name in `inner`.
    name: String,
    /// What a log would call it.
    called: String,
}

impl<F: Fs> LoneFile<F> {
    /// The file `name` in the root of `inner`. Which segment it is its header says; where that is
    /// bad, its name; else it counts as segment 1.
    ///
    /// # Errors
    /// `NotALog` where neither its name nor its bytes look like a segment's; `Io` where it cannot be
    /// opened or read, or is no regular file.
    pub fn new(inner: F, name: &str) -> Result<Self> {
        let path = inner.root().join(name);
        let file =
            inner.open(Dir::Root, name, Access::Read).map_err(|e| Error::io("open", &path, e))?;
        let mut front = vec![0; usize::try_from(BATCHES_AT).expect("8192")];
        let got = read_full(&*file, &mut front, 0).map_err(|e| Error::io("read", &path, e))?;
        let id = match (Header::decode(&front[..got]), classify(Dir::Root, name)) {
            (Ok(header), _) => header.id,
            (Err(_), Classified::Segment(id)) => id,
            // A header that is damaged, or of a newer version; else it is anything.
            (Err(_), _) if has_magic(&front[..got]) => 1,
            (Err(_), _) => return Err(Error::NotALog { path }),
        };
        Ok(Self { inner, name: name.to_owned(), called: segment_name(id) })
    }
}

/// Whether one of the two copies of a header begins as it must.
fn has_magic(front: &[u8]) -> bool {
    let second = front.get(usize::try_from(PAGE).expect("4096")..).unwrap_or_default();
    front.starts_with(&SEGMENT_MAGIC) || second.starts_with(&SEGMENT_MAGIC)
}

fn read_only<T>() -> io::Result<T> {
    Err(ErrorKind::ReadOnlyFilesystem.into())
}

impl<F: Fs> Fs for LoneFile<F> {
    fn root(&self) -> &Path {
        self.inner.root()
    }

    fn is_part(&self) -> bool {
        true
    }

    fn make_dirs(&self) -> io::Result<()> {
        read_only()
    }

    fn list(&self, dir: Dir) -> io::Result<Vec<Found>> {
        if dir != Dir::Root {
            return Err(ErrorKind::NotFound.into());
        }
        let len = self.inner.open(Dir::Root, &self.name, Access::Read)?.len()?;
        Ok(vec![Found { name: self.called.clone(), kind: Kind::File, len }])
    }

    fn open(&self, dir: Dir, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        if dir != Dir::Root || name != self.called {
            return Err(ErrorKind::NotFound.into());
        }
        match access {
            Access::Read => self.inner.open(Dir::Root, &self.name, Access::Read),
            Access::ReadWrite => read_only(),
        }
    }

    fn create(&self, _: Dir, _: &str) -> io::Result<Arc<dyn File>> {
        read_only()
    }

    fn rename(&self, _: (Dir, &str), _: (Dir, &str)) -> io::Result<()> {
        read_only()
    }

    fn unlink(&self, _: Dir, _: &str) -> io::Result<()> {
        read_only()
    }

    fn sync_dir(&self, _: Dir) -> io::Result<()> {
        read_only()
    }

    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        read_only()
    }

    fn lock_holder(&self) -> Option<String> {
        None
    }

    fn lock_state(&self) -> LockState {
        // Where the file lies in a log's directory, its process may be writing to it.
        self.inner.lock_state()
    }

    fn free_space(&self) -> io::Result<u64> {
        self.inner.free_space()
    }

    fn random(&self) -> io::Result<u64> {
        self.inner.random()
    }

    fn now(&self) -> Duration {
        self.inner.now()
    }
}
