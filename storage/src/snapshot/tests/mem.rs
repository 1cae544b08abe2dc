//! A directory in memory, just large enough for snapshots: live and durable apart, calls that fail.

use std::{
    any::Any,
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;

use crate::fs::{Access, Dir, File, Found, Fs, Kind};

/// Names, the sub-directory first.
pub(crate) type Names = BTreeMap<(Dir, String), Arc<MemFile>>;

/// What a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// A kill: everything that was written.
    Kill,
    /// A power cut that took all that was not synced.
    Lost,
    /// A power cut that took the bytes and left the names.
    BytesLost,
    /// A power cut that took the names and left the bytes.
    NamesLost,
}

impl Crash {
    pub(crate) const ALL: [Self; 4] = [Self::Kill, Self::Lost, Self::BytesLost, Self::NamesLost];
}

#[derive(Debug, Default)]
struct State {
    live: Names,
    durable: Names,
    calls: usize,
    fail: Option<(usize, io::ErrorKind)>,
    random: u64,
}

#[derive(Debug)]
pub(crate) struct MemFs {
    state: Arc<Mutex<State>>,
    pub(crate) free: u64,
}

#[derive(Debug, Default)]
pub(crate) struct MemFile {
    bytes: Mutex<(Vec<u8>, Vec<u8>)>,
    fs: Arc<Mutex<State>>,
}

fn call(state: &Mutex<State>) -> io::Result<MutexGuard<'_, State>> {
    let mut state = state.lock().unwrap();
    state.calls += 1;
    match state.fail {
        Some((n, kind)) if state.calls > n => Err(kind.into()),
        _ => Ok(state),
    }
}

impl MemFs {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Arc::default(), free: u64::MAX })
    }

    /// Every call after the nth from now on fails.
    pub(crate) fn fail_after(&self, n: usize, kind: io::ErrorKind) {
        let mut state = self.state.lock().unwrap();
        state.fail = Some((state.calls + n, kind));
    }

    pub(crate) fn heal(&self) {
        self.state.lock().unwrap().fail = None;
    }

    pub(crate) fn calls(&self) -> usize {
        self.state.lock().unwrap().calls
    }

    /// The directory as a crash right now leaves it.
    pub(crate) fn crashed(&self, crash: Crash) -> Arc<Self> {
        let state = self.state.lock().unwrap();
        let names = match crash {
            Crash::Kill | Crash::BytesLost => &state.live,
            Crash::Lost | Crash::NamesLost => &state.durable,
        };
        let after = Self::new();
        for ((dir, name), file) in names {
            let bytes = file.bytes.lock().unwrap();
            let bytes = match crash {
                Crash::Kill | Crash::NamesLost => bytes.0.clone(),
                Crash::Lost | Crash::BytesLost => bytes.1.clone(),
            };
            after.put(*dir, name, bytes);
        }
        after
    }

    /// Puts a durable file.
    pub(crate) fn put(&self, dir: Dir, name: &str, bytes: Vec<u8>) {
        let bytes = Mutex::new((bytes.clone(), bytes));
        let file = Arc::new(MemFile { bytes, fs: self.state.clone() });
        let mut state = self.state.lock().unwrap();
        state.live.insert((dir, name.to_owned()), file.clone());
        state.durable.insert((dir, name.to_owned()), file);
    }

    pub(crate) fn get(&self, dir: Dir, name: &str) -> Vec<u8> {
        let state = self.state.lock().unwrap();
        let bytes = state.live[&(dir, name.to_owned())].bytes.lock().unwrap();
        bytes.0.clone()
    }

    pub(crate) fn names(&self, dir: Dir) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.live.keys().filter(|key| key.0 == dir).map(|key| key.1.clone()).collect()
    }
}

impl Fs for MemFs {
    fn root(&self) -> &Path {
        Path::new("mem")
    }
    fn make_dirs(&self) -> io::Result<()> {
        Ok(())
    }
    fn list(&self, dir: Dir) -> io::Result<Vec<Found>> {
        let state = call(&self.state)?;
        let here = state.live.iter().filter(|(key, _)| key.0 == dir);
        let found = here.map(|(key, file)| {
            let len = file.bytes.lock().unwrap().0.len() as u64;
            Found { name: key.1.clone(), kind: Kind::File, len }
        });
        Ok(found.collect())
    }
    fn open(&self, dir: Dir, name: &str, _: Access) -> io::Result<Arc<dyn File>> {
        let state = call(&self.state)?;
        let file = state.live.get(&(dir, name.to_owned())).ok_or(io::ErrorKind::NotFound)?;
        Ok(file.clone())
    }
    fn create(&self, dir: Dir, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = call(&self.state)?;
        if state.live.contains_key(&(dir, name.to_owned())) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = Arc::new(MemFile { bytes: Mutex::default(), fs: self.state.clone() });
        state.live.insert((dir, name.to_owned()), file.clone());
        Ok(file)
    }
    fn rename(&self, from: (Dir, &str), to: (Dir, &str)) -> io::Result<()> {
        let mut state = call(&self.state)?;
        let file = state.live.remove(&(from.0, from.1.to_owned()));
        state.live.insert((to.0, to.1.to_owned()), file.ok_or(io::ErrorKind::NotFound)?);
        Ok(())
    }
    fn unlink(&self, dir: Dir, name: &str) -> io::Result<()> {
        // A removal always works here: what a full disk leaves behind is what is asked for.
        let mut state = self.state.lock().unwrap();
        state.calls += 1;
        let gone = state.live.remove(&(dir, name.to_owned()));
        gone.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }
    fn sync_dir(&self, dir: Dir) -> io::Result<()> {
        let mut state = call(&self.state)?;
        let live = state.live.clone();
        state.durable.retain(|key, _| key.0 != dir);
        state.durable.extend(live.into_iter().filter(|(key, _)| key.0 == dir));
        Ok(())
    }
    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        Ok(Box::new(()))
    }
    fn lock_holder(&self) -> Option<String> {
        None
    }
    fn free_space(&self) -> io::Result<u64> {
        call(&self.state).map(|_| self.free)
    }
    fn random(&self) -> io::Result<u64> {
        let mut state = call(&self.state)?;
        state.random = state.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        Ok(state.random)
    }
    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl File for MemFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        drop(call(&self.fs)?);
        let bytes = self.bytes.lock().unwrap();
        let rest = bytes.0.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        drop(call(&self.fs)?);
        let mut bytes = self.bytes.lock().unwrap();
        // Always short when it can be, so that nobody relies on whole writes.
        let n = buf.len().min(3000);
        let at = usize::try_from(offset).unwrap();
        let len = bytes.0.len().max(at + n);
        bytes.0.resize(len, 0);
        bytes.0[at..at + n].copy_from_slice(&buf[..n]);
        Ok(n)
    }
    fn sync(&self) -> io::Result<()> {
        drop(call(&self.fs)?);
        let mut bytes = self.bytes.lock().unwrap();
        bytes.1 = bytes.0.clone();
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        drop(call(&self.fs)?);
        Ok(self.bytes.lock().unwrap().0.len() as u64)
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn map(&self) -> io::Result<Option<Bytes>> {
        Ok(None)
    }
}
