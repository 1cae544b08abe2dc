//! Which call of the simulated disk fails, and how.
//!
//! Above: whoever writes a campaign, through [`super::SimFs::inject`]. Calls are counted from 0 over
//! the life of a [`super::SimFs`], so a history that was run once without faults tells how many
//! places there are, and is then run again for each of them.

use std::{fmt, io};

use rustix::io::Errno;

use crate::fs::Dir;

/// The disk failed.
pub const EIO: i32 = Errno::IO.raw_os_error();
/// The disk is full.
pub const ENOSPC: i32 = Errno::NOSPC.raw_os_error();
/// The user's quota is used up.
pub const EDQUOT: i32 = Errno::DQUOT.raw_os_error();
/// Too many open files.
pub const EMFILE: i32 = Errno::MFILE.raw_os_error();
/// The file system went read-only, as some do after an error.
pub const EROFS: i32 = Errno::ROFS.raw_os_error();

/// The calls of [`crate::fs::Fs`] and [`crate::fs::File`] that are counted and can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the method of its name")]
pub enum Call {
    MakeDirs,
    List,
    Open,
    Create,
    Rename,
    Unlink,
    SyncDir,
    Lock,
    FreeSpace,
    Random,
    Read,
    Write,
    Sync,
    Len,
    Allocate,
    Map,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::MakeDirs,
        Self::List,
        Self::Open,
        Self::Create,
        Self::Rename,
        Self::Unlink,
        Self::SyncDir,
        Self::Lock,
        Self::FreeSpace,
        Self::Random,
        Self::Read,
        Self::Write,
        Self::Sync,
        Self::Len,
        Self::Allocate,
        Self::Map,
    ];

    /// Whether the call changes what a power cut may leave: the places where a cut is worth trying.
    #[must_use]
    pub const fn mutates(self) -> bool {
        match self {
            Self::Create
            | Self::Rename
            | Self::Unlink
            | Self::SyncDir
            | Self::Write
            | Self::Sync
            | Self::Allocate => true,
            Self::MakeDirs
            | Self::List
            | Self::Open
            | Self::Lock
            | Self::FreeSpace
            | Self::Random
            | Self::Read
            | Self::Len
            | Self::Map => false,
        }
    }
}

/// When a fault strikes. Numbers count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At the nth call of any kind.
    Any(u64),
    /// At the nth call that [mutates](Call::mutates).
    Mutating(u64),
    /// At the nth call of one kind.
    Kind(Call, u64),
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The call does nothing and fails with this errno. A sync that fails so leaves its pages clean,
    /// pending and harmed.
    Fail(i32),
    /// The call is done in full, and fails with this errno all the same.
    DoneButFail(i32),
    /// A write takes only so many bytes (fewer if it is shorter) and says so. Other calls: none.
    Short(usize),
    /// A write takes only so many bytes and fails with this errno. Other calls: as `Fail`.
    Torn(usize, i32),
    /// A write, sync or directory sync does nothing and says Ok: a disk that lies. Other calls: none.
    Lie,
}

/// One planned fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When it strikes.
    pub when: When,
    /// What it does.
    pub effect: Effect,
    /// Whether each later call that `when` could mean is struck too.
    pub lasting: bool,
}

impl Fault {
    /// Strikes once.
    #[must_use]
    pub const fn once(when: When, effect: Effect) -> Self {
        Self { when, effect, lasting: false }
    }

    /// Strikes then and at every such call after it.
    #[must_use]
    pub const fn from_then_on(when: When, effect: Effect) -> Self {
        Self { when, effect, lasting: true }
    }
}

/// How often each call was made.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) all: u64,
    pub(super) mutating: u64,
    by_kind: [u64; Call::ALL.len()],
}

impl Counts {
    pub(super) const fn of(&self, call: Call) -> u64 {
        self.by_kind[call as usize]
    }

    /// Counts a call; tells the effect of the first fault that strikes it.
    pub(super) fn count(&mut self, call: Call, faults: &[Fault]) -> Option<Effect> {
        let strikes = |fault: &&Fault| {
            let (at, now) = match fault.when {
                When::Any(n) => (n, self.all),
                When::Mutating(n) if call.mutates() => (n, self.mutating),
                When::Kind(kind, n) if kind == call => (n, self.of(call)),
                When::Mutating(_) | When::Kind(..) => return false,
            };
            now == at || fault.lasting && now > at
        };
        let effect = faults.iter().find(strikes).map(|fault| fault.effect);
        self.all += 1;
        self.mutating += u64::from(call.mutates());
        self.by_kind[call as usize] += 1;
        effect
    }
}

/// A call that was made: what a step hook is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number among the calls that mutate, from 0.
    pub number: u64,
    /// Which call.
    pub call: Call,
    /// In which directory.
    pub dir: Dir,
    /// Of which file, by its newest name; empty for a directory.
    pub name: String,
    /// At which offset, for a write.
    pub offset: u64,
    /// How many bytes, for a write or an allocation.
    pub len: u64,
    /// Whether the caller was told of a failure.
    pub failed: bool,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, call, dir, name, offset, len, failed } = self;
        write!(f, "{number}: {call:?} {}/{name}", dir.name())?;
        match call {
            Call::Write => write!(f, " {offset}+{len}")?,
            Call::Allocate => write!(f, " {len}")?,
            _ => {}
        }
        f.write_str(if *failed { " failed" } else { "" })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the power is off")]
struct PowerOff;

pub(super) fn power_off() -> io::Error {
    io::Error::other(PowerOff)
}

/// Whether an error says that the simulated power is off ([`super::SimFs::cut_at`]).
#[must_use]
pub fn is_power_off(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<PowerOff>())
}
