//! How a command ends: the exit codes, which are the same everywhere, and what keeps a command from
//! its work.
//!
//! Above: every command. Below: nothing. The codes are API: scripts compare them.

use std::io;

use hardlog::{Error, repair::RepairError};

/// What a command ends with: an exit code, or a failure that has one by its kind.
pub(crate) type Ended = Result<u8, Failure>;

/// Nothing is wrong.
pub(crate) const CLEAN: u8 = 0;
/// Only what opening the log heals by itself.
pub(crate) const HEALS: u8 = 1;
/// The question makes no sense.
pub(crate) const USAGE: u8 = 2;
/// Damage that needs an operator, or replicas that contradict each other.
pub(crate) const DAMAGED: u8 = 3;
/// Something could not be read or written, or is no log.
pub(crate) const UNREADABLE: u8 = 4;
/// A live process has the log open, and this command writes.
pub(crate) const LOCKED: u8 = 5;
/// A safety rail said no.
pub(crate) const REFUSED: u8 = 6;
/// A newer version wrote it.
pub(crate) const NEWER: u8 = 7;

/// Somebody asked to stop.
pub(crate) const INTERRUPTED: u8 = 130;

/// Stands under the help of every command.
pub(crate) const CODES: &str = "\
Exit codes:
  0    clean
  1    only what opening the log heals by itself (unproven tail, stale temporary file)
  2    usage
  3    damage that needs an operator, or replicas differ
  4    I/O error, or not a log
  5    locked by a live process (commands that write)
  6    refused by a safety rail
  7    written by a newer version
  130  interrupted
A closed pipe is silent success.";

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The engine could not.
    Log(Error),
    /// The output could not be written.
    Output(io::Error),
    /// Something beside the log could not be read or written.
    Io(String),
    /// The question makes no sense.
    Usage(String),
    /// What was asked for is damaged.
    Damaged(String),
    /// It would do harm.
    Refused(String),
}

impl Failure {
    /// The exit code, and what to say on standard error, if anything.
    pub(crate) fn says(&self) -> (u8, Option<String>) {
        let (code, text) = match self {
            Self::Output(e) if e.kind() == io::ErrorKind::BrokenPipe => return (CLEAN, None),
            Self::Output(e) => (UNREADABLE, format!("cannot write the output: {e}")),
            Self::Io(text) => (UNREADABLE, text.clone()),
            Self::Usage(text) => (USAGE, text.clone()),
            Self::Damaged(text) => (DAMAGED, text.clone()),
            Self::Refused(text) => (REFUSED, text.clone()),
            Self::Log(e @ Error::NewerFormat { .. }) => (NEWER, e.to_string()),
            Self::Log(e @ Error::Locked { .. }) => (LOCKED, e.to_string()),
            Self::Log(e @ Error::Corrupt(_)) => (DAMAGED, e.to_string()),
            Self::Log(e @ Error::Exists { .. }) => (REFUSED, e.to_string()),
            Self::Log(e) => (UNREADABLE, e.to_string()),
        };
        (code, Some(text))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Log(error)
    }
}

impl From<RepairError> for Failure {
    fn from(error: RepairError) -> Self {
        match error {
            RepairError::Log(error) => Self::Log(error),
            error => Self::Refused(error.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
