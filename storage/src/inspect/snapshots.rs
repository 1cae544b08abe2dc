//! Snapshot files as inspection sees them: each is read whole, and compared with the newest mark.
//!
//! Above: `verify`. Below: `snapshot::reader`, which verifies the chunks.

use crate::{
    batch::SnapshotMark,
    entry::{EntryId, Index, LogId, Term},
    error::{Damage, Error, Reason},
    fs::{Dir, Fs},
    inspect::{
        finding::{Code, Finding, Severity, Trouble},
        inventory::Inventory,
    },
    layout::snapshot_name,
    snapshot::{SnapshotReader, format::TRAILER_LEN},
};

/// One snapshot file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SnapshotReport {
    /// Last entry that it covers, as the file says; as its name says where the file is damaged.
    pub id: EntryId,
    /// Bytes of the file.
    pub file_len: u64,
    /// Payload bytes; None where the file is damaged.
    pub len: Option<u64>,
    /// The log marks it, and marks none that is newer.
    pub marked: bool,
    /// Head and trailer check, and all chunks too where everything was read.
    pub sound: bool,
}

/// What was found in `snapshots/`.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    pub(crate) reports: Vec<SnapshotReport>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) troubles: Vec<Trouble>,
}

/// Reads all snapshot files; heads and trailers only if `quick`.
pub(crate) fn check(
    fs: &dyn Fs,
    found: &Inventory,
    (log_id, mark): (LogId, Option<SnapshotMark>),
    quick: bool,
    read: &mut dyn FnMut(&str, u64),
) -> Snapshots {
    let mut all = Snapshots::default();
    let newest = mark.map(|mark| (mark.id.index, mark.id.term));
    for (&(index, term), &file_len) in &found.snapshots {
        let name = snapshot_name(index, term);
        let marked = newest == Some((index, term));
        let mut report = SnapshotReport {
            id: EntryId::new(index, term),
            file_len,
            len: None,
            marked,
            sound: false,
        };
        let mut has_trailer = false;
        let checked = SnapshotReader::open(fs, log_id, &name).and_then(|mut reader| {
            has_trailer = true;
            (report.id, report.len) = (reader.id(), Some(reader.len()));
            if quick { Ok(()) } else { reader.verify() }
        });
        read(&name, file_len);
        match checked {
            Ok(()) => report.sound = true,
            Err(Error::Corrupt(damage)) => all.findings.push(damaged(&damage, has_trailer, marked)),
            Err(Error::NewerFormat { path, found, supported }) => {
                all.troubles.push(Trouble::NewerFormat { file: path, found, supported });
            }
            // Removed since the directory was listed.
            Err(Error::Io { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound && !marked => {}
            Err(e) => {
                let file = fs.root().join(Dir::Snapshots.name()).join(&name);
                all.troubles.push(Trouble::Io { file, message: e.to_string() });
            }
        }
        if !marked && newest.is_none_or(|newest| newest < (index, term)) && report.sound {
            let file = fs.root().join(Dir::Snapshots.name()).join(&name);
            let says = "newer than the newest mark: an install or a snapshot that was not finished";
            all.findings.push(Finding::new(Code::W103, Severity::Note, file).says(says));
        }
        all.reports.push(report);
    }
    if let Some((index, term)) = missing(fs, found, newest) {
        let file = fs.root().join(Dir::Snapshots.name()).join(snapshot_name(index, term));
        let says = "the log counts on this snapshot: an open refuses without it";
        all.findings.push(Finding::new(Code::W502, Severity::Error, file).says(says));
    }
    all
}

/// The newest marked snapshot, if it should be here and is not.
fn missing(fs: &dyn Fs, found: &Inventory, newest: Option<(Index, Term)>) -> Option<(Index, Term)> {
    newest.filter(|key| !found.snapshots.contains_key(key) && !fs.is_part())
}

fn damaged(damage: &Damage, has_trailer: bool, marked: bool) -> Finding {
    let trailer_at = damage.offset > TRAILER_LEN as u64;
    let code = match damage.reason {
        Reason::ForeignLog => Code::W303,
        _ if !has_trailer && trailer_at && damage.offset > 104 => Code::W503,
        _ => Code::W501,
    };
    let severity = if marked { Severity::Error } else { Severity::Warning };
    let says = if marked {
        format!("{}; the log counts on this snapshot", damage.reason)
    } else {
        format!("{}; the log does not count on this snapshot", damage.reason)
    };
    Finding::new(code, severity, &damage.file).at(damage.offset, 0).says(says)
}
