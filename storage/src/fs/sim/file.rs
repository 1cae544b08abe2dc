//! An open file of a simulated disk.
//!
//! Above: the engine, through [`File`]. Below: [`super::inode`]; space comes from [`super::state`].

use std::{fmt, io, sync::Arc};

use bytes::Bytes;
use rustix::io::Errno;

use super::{
    Call, Effect, SimFs, Step,
    inode::Inode,
    on, plain,
    state::{Ino, State},
};
use crate::fs::{Access, File};

/// No simulated file is longer, in bytes.
const FILE_LEN_MAX: u64 = 1 << 32;

/// An open file of a simulated disk.
pub(super) struct SimFile {
    fs: SimFs,
    ino: Ino,
    access: Access,
    /// Shared with the maps made through this handle.
    maps: Arc<()>,
}

/// What stands for a map: a copy of the bytes, counted as long as it lives.
struct Copied {
    bytes: Vec<u8>,
    _counted: Arc<()>,
}

impl AsRef<[u8]> for Copied {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl SimFile {
    pub(super) fn open(fs: &SimFs, state: &mut State, ino: Ino, access: Access) -> Arc<dyn File> {
        state.inode_mut(ino).handles += 1;
        Arc::new(Self { fs: fs.clone(), ino, access, maps: Arc::default() })
    }

    fn look<T>(&self, call: Call, run: impl FnOnce(&Inode) -> io::Result<T>) -> io::Result<T> {
        self.fs.look(call, |state| run(state.inode(self.ino)))
    }

    /// A call that mutates, on this file.
    fn step<T>(
        &self,
        (call, offset, len): (Call, u64, u64),
        run: impl FnOnce(&mut State, Option<Effect>) -> io::Result<T>,
    ) -> io::Result<T> {
        let (dir, name) = self.fs.state().label(self.ino);
        self.fs.step(Step { offset, len, ..on(call, dir, &name) }, run)
    }

    fn writable(&self, end: Option<u64>) -> io::Result<()> {
        match (self.access, end) {
            (Access::Read, _) => Err(Errno::BADF.into()),
            (Access::ReadWrite, Some(end)) if end <= FILE_LEN_MAX => Ok(()),
            (Access::ReadWrite, _) => Err(Errno::FBIG.into()),
        }
    }

    fn write(&self, state: &mut State, buf: &[u8], offset: u64) -> io::Result<usize> {
        let len = buf.len() as u64;
        self.writable(offset.checked_add(len))?;
        let free = state.free_pages();
        let inode = state.inode_mut(self.ino);
        let fits = usize::try_from(inode.fits(offset, len, free)).expect("at most buf.len()");
        if fits == 0 && len > 0 {
            return Err(Errno::NOSPC.into());
        }
        inode.write(&buf[..fits], offset);
        Ok(fits)
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.look(Call::Read, |inode| {
            if inode.is_unreadable(offset, buf.len() as u64) {
                return Err(Errno::IO.into());
            }
            Ok(inode.live.read(buf, offset))
        })
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let call = (Call::Write, offset, buf.len() as u64);
        self.step(call, |state, effect| match effect {
            Some(Effect::Short(len)) => self.write(state, &buf[..len.min(buf.len())], offset),
            Some(Effect::Torn(len, errno)) => {
                self.write(state, &buf[..len.min(buf.len())], offset)?;
                Err(io::Error::from_raw_os_error(errno))
            }
            Some(Effect::Lie) => self.writable(Some(offset)).map(|()| buf.len()),
            other => plain(other, || self.write(state, buf, offset)),
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.step((Call::Sync, 0, 0), |state, effect| {
            let inode = state.inode_mut(self.ino);
            if let Some(Effect::Fail(errno) | Effect::Torn(_, errno)) = effect {
                inode.fail_writeback();
                inode.unreported = false;
                return Err(io::Error::from_raw_os_error(errno));
            }
            if effect == Some(Effect::Lie) {
                return Ok(());
            }
            plain(effect, || {
                inode.sync();
                if std::mem::take(&mut inode.unreported) { Err(Errno::IO.into()) } else { Ok(()) }
            })
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.look(Call::Len, |inode| Ok(inode.live.len))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.step((Call::Allocate, 0, len), |state, effect| {
            plain(effect, || {
                if len == 0 {
                    return Ok(());
                }
                self.writable(Some(len))?;
                let free = state.free_pages();
                let inode = state.inode_mut(self.ino);
                if inode.pages_to_allocate(len) > free {
                    return Err(Errno::NOSPC.into());
                }
                inode.allocate(len);
                Ok(())
            })
        })
    }

    fn map(&self) -> io::Result<Option<Bytes>> {
        self.look(Call::Map, |inode| {
            if inode.is_unreadable(0, inode.live.len) {
                return Err(Errno::IO.into());
            }
            let copy = Copied { bytes: inode.live.to_vec(), _counted: Arc::clone(&self.maps) };
            Ok(Some(Bytes::from_owner(copy)))
        })
    }

    fn is_sole(&self) -> io::Result<bool> {
        let unmapped = Arc::strong_count(&self.maps) == 1;
        self.fs.look(Call::Len, |state| Ok(unmapped && state.links(self.ino) == 1))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.fs.state();
        let inode = state.inode_mut(self.ino);
        inode.handles -= 1;
        if inode.handles == 0 {
            state.collect();
        }
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dir, name) = self.fs.state().label(self.ino);
        write!(f, "SimFile({}/{name})", dir.name())
    }
}
