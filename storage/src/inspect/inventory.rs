//! The names in a log's directory, sorted out, and who has it open.
//!
//! Above: everything else of `inspect`. Below: `layout`, the `Fs`. Opens no file, takes no lock.
//! On a live log the answer is of yesterday as soon as it is given: a name that is listed may be gone
//! when it is opened, and whoever meets that looks again.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{
    entry::{Index, Term},
    error::{Error, Result},
    fs::{Dir, Found, Fs, Kind, LockState},
    layout::{Classified, SegmentId, classify},
};

/// What is in a log's directory. Lengths are in bytes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Inventory {
    /// The directory.
    pub path: PathBuf,
    /// Who has it open.
    pub lock: LockState,
    /// Segments and their lengths.
    pub segments: BTreeMap<SegmentId, u64>,
    /// Index files and their lengths.
    pub indexes: BTreeMap<SegmentId, u64>,
    /// Snapshot files by index and term, and their lengths.
    pub snapshots: BTreeMap<(Index, Term), u64>,
    /// Files in `tmp/`: unfinished work, or its leavings.
    pub temporary: Vec<(String, u64)>,
    /// Files that a repair set aside.
    pub quarantined: Vec<(String, u64)>,
    /// Names that are none of a log's: left alone by everybody.
    pub foreign: Vec<String>,
    /// Names of segments that stand for something else than a regular file: an open refuses.
    pub irregular: Vec<String>,
}

/// Lists the directory of `fs`.
///
/// # Errors
/// `NotALog` where there is no directory, or nothing of a log in it; `Io`.
pub fn look(fs: &dyn Fs) -> Result<Inventory> {
    let path = fs.root().to_path_buf();
    let mut found = Inventory {
        lock: fs.lock_state(),
        path: path.clone(),
        segments: BTreeMap::new(),
        indexes: BTreeMap::new(),
        snapshots: BTreeMap::new(),
        temporary: Vec::new(),
        quarantined: Vec::new(),
        foreign: Vec::new(),
        irregular: Vec::new(),
    };
    for dir in Dir::ALL {
        match fs.list(dir) {
            Ok(names) => names.into_iter().for_each(|name| found.sort_in(dir, name)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                if dir == Dir::Root {
                    return Err(Error::NotALog { path });
                }
            }
            Err(e) => return Err(Error::io("list", path.join(dir.name()), e)),
        }
    }
    let nothing =
        found.segments.is_empty() && found.indexes.is_empty() && found.snapshots.is_empty();
    if nothing && found.irregular.is_empty() {
        return Err(Error::NotALog { path });
    }
    found.foreign.sort_unstable();
    found.temporary.sort_unstable();
    Ok(found)
}

impl Inventory {
    /// Bytes of all files of the log.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let files = self.segments.values().chain(self.indexes.values());
        files.chain(self.snapshots.values()).sum()
    }

    fn sort_in(&mut self, dir: Dir, found: Found) {
        let Found { name, kind, len } = found;
        match (classify(dir, &name), kind) {
            (Classified::Segment(id), Kind::File) => drop(self.segments.insert(id, len)),
            (Classified::Index(id), Kind::File) => drop(self.indexes.insert(id, len)),
            (Classified::Snapshot { index, term }, Kind::File) => {
                self.snapshots.insert((index, term), len);
            }
            (Classified::Segment(_), _) => self.irregular.push(name),
            (Classified::Temporary, Kind::File | Kind::Other) => self.temporary.push((name, len)),
            (Classified::Quarantined, Kind::File | Kind::Other) => {
                self.quarantined.push((name, len));
            }
            (Classified::Lock, _) | (Classified::Directory, Kind::Directory) => {}
            _ if dir == Dir::Root => self.foreign.push(name),
            _ => self.foreign.push(format!("{}/{name}", dir.name())),
        }
    }
}
