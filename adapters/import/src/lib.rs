//! Copies each group of a raft-engine directory into a log of its own, and verifies it.
//!
//! ```text
//!  FROM (raft-engine) ──▶ TO.partial/GROUP/ ── all verified, synced ──▶ rename ──▶ TO/GROUP/
//! ```
//!
//! Above: the program. Below: `raft-engine` (reads), `hardlog-raft-rs` (writes as a node would).
//!
//! INVARIANT: TO appears only once every entry of every group was read back from its closed and
//! reopened log and compared. A run that is cut off leaves `TO.partial`, which is removed by hand.
//! INVARIANT: a group that cannot be copied whole is not copied at all, and ends the run: a node
//! that forgot its vote or an entry it acknowledged would be worse than none.
//!
//! It reads no snapshots and no state machine: raft-engine holds neither.

mod source;
mod target;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub use source::{Group, StateKey};
use source::{Source, members_of};

/// What is copied where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The raft-engine directory; its node must not run.
    pub from: PathBuf,
    /// A directory that is missing or empty.
    pub to: PathBuf,
    /// Where each group keeps its hard state.
    pub state: StateKey,
    /// Key of each group's encoded `ConfState`, if it is kept in raft-engine.
    pub members_key: Option<Vec<u8>>,
    /// The voters of every group that has no membership under its key.
    pub voters: Vec<u64>,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Of the raft-engine directory.
    #[error("raft-engine: {0}")]
    Source(#[from] raft_engine::Error),
    /// Of a log that is being written or read back.
    #[error("group {group}: {source}")]
    Log {
        /// Which group.
        group: u64,
        /// What the log or the adapter said.
        source: hardlog_raft_rs::Error,
    },
    /// What raft-engine holds is not the state of a Raft node.
    #[error("group {group}: {why}")]
    Group {
        /// Which group.
        group: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The new log does not hold what was copied.
    #[error("group {group}: {what} differs after it was written and read back")]
    Differs {
        /// Which group.
        group: u64,
        /// What was compared.
        what: String,
    },
    /// Directories.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory to copy from is none of raft-engine's.
    #[error("{} holds no files of raft-engine", .0.display())]
    NoSource(PathBuf),
    /// The directory to copy to holds something.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
}

/// Result of an import.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Copies all groups and verifies them. Groups that hold neither entries nor a hard state (a store's
/// own records) are left out.
///
/// Opening the directory does what any start of raft-engine does: it may cut off a torn tail.
///
/// # Errors
/// See [`Error`]; `plan.to` is as it was then.
pub fn import(plan: &Plan) -> Result<Vec<Group>> {
    let is_engine = entries(&plan.from)?.iter().any(|name| name.ends_with(".raftlog"));
    if !is_engine {
        return Err(Error::NoSource(plan.from.clone()));
    }
    let partial = partial_of(&plan.to);
    for dir in [&plan.to, &partial] {
        if dir.exists() && !entries(dir)?.is_empty() {
            return Err(Error::NotEmpty(dir.clone()));
        }
    }
    let source = Source::open(&plan.from)?;
    fs::create_dir_all(&partial).map_err(|e| io_error(&partial, e))?;
    let mut done = Vec::new();
    for id in source.groups() {
        let Some(group) = source.group(id, &plan.state)? else { continue };
        let members = members_of(&source, id, plan)?;
        let dir = partial.join(id.to_string());
        target::copy(&source, &group, members.as_ref(), &dir)?;
        target::verify(&source, &group, members.as_ref(), &dir)?;
        done.push(group);
    }
    appear(&partial, &plan.to)?;
    Ok(done)
}

/// Gives the finished directory its name, durably.
fn appear(partial: &Path, to: &Path) -> Result<()> {
    let parent = match to.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let sync = |dir: &Path| {
        let opened = fs::File::open(dir);
        opened.and_then(|dir| dir.sync_all()).map_err(|e| io_error(dir, e))
    };
    // DURABILITY: the names of the logs, then the one under which they all appear. The logs
    // themselves were synced when they were closed.
    sync(partial)?;
    fs::rename(partial, to).map_err(|e| io_error(to, e))?;
    sync(parent)
}

fn partial_of(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_os_string();
    name.push(".partial");
    to.with_file_name(name)
}

fn entries(dir: &Path) -> Result<Vec<String>> {
    let listed = fs::read_dir(dir).map_err(|e| io_error(dir, e))?;
    let name = |entry: io::Result<fs::DirEntry>| {
        Ok(entry.map_err(|e| io_error(dir, e))?.file_name().to_string_lossy().into_owned())
    };
    listed.map(name).collect()
}

fn io_error(path: &Path, source: io::Error) -> Error {
    Error::Io { path: path.to_owned(), source }
}
