//! Salvages a log into a new directory: every entry that is whole, up to the first that is not.
//!
//! Above: `repair`. Below: `plan` (which says what is whole), `build`. The source is only read.
//! INVARIANT: the segments of the new directory get their names from the newest to the oldest, so a
//! directory in which this was cut off is refused by an open, not taken for a shorter log.

use std::{ops::ControlFlow, sync::Arc};

use crate::{
    copy::copy,
    entry::Index,
    error::{Error, Result},
    fs::{Access, Dir, Fs},
    header::Predecessor,
    inspect::{VerifyOptions, VerifyReport, look, verify},
    layout::{segment_name, snapshot_name},
    log::Log,
    options::Options,
    recovery,
    repair::{
        Ask, Plan, Refusal, RepairError,
        backup::room,
        build::{Draft, Site},
        plan::{Work, Write, plan_for},
    },
    state::LogState,
};

/// What came of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Recovered {
    /// What was wrong, what is kept, what is lost. Its steps are those of a repair in place.
    pub plan: Plan,
    /// The new directory, verified.
    pub report: VerifyReport,
    /// Files of the source that are kept in the new directory's `quarantine/`.
    pub quarantined: Vec<String>,
}

/// Salvages the log in `from` into the empty directory `to`. Takes no lock of the source and changes
/// nothing there. The new log has the same id.
///
/// # Errors
/// `Refused` where nothing can be salvaged, there is no room, or `to` holds something; `Io`, `Full`.
pub fn recover(
    from: &dyn Fs,
    to: &Arc<dyn Fs>,
    ask: &Ask<'_>,
    options: &Options,
) -> Result<Recovered, RepairError> {
    let plan = plan_for(from, ask, true)?;
    if let Some(why) = &plan.hopeless {
        return Err(Refusal::Hopeless(why.clone()).into());
    }
    let Some((work, write)) =
        plan.work.as_deref().and_then(|work| Some((work, work.write.as_ref()?)))
    else {
        return Err(Refusal::Hopeless("there is nothing to salvage".to_owned()).into());
    };
    to.make_dirs().map_err(|e| Error::io("make directories in", to.root(), e))?;
    let lock = recovery::lock(&**to)?;
    if let Some(found) = recovery::occupied(&**to)? {
        return Err(Refusal::PlaceTaken(format!("{} ({found})", to.root().display())).into());
    }
    let aside = bytes_of(from, &work.quarantine)?;
    let snapshots = look(from)?.snapshots.values().sum();
    room(&**to, plan.bytes.saturating_add(aside).saturating_add(snapshots))?;
    let mut quarantined = Vec::new();
    for (dir, name) in &work.quarantine {
        copy((from, *dir, name), (&**to, Dir::Quarantine, name), None)?;
        quarantined.push(name.clone());
    }
    let report = verify(from, VerifyOptions::new().quick(true), &mut |_| {})?;
    for snapshot in report.snapshots.iter().filter(|s| s.sound) {
        let name = snapshot_name(snapshot.id.index, snapshot.id.term);
        if !work.quarantine.iter().any(|(_, bad)| *bad == name) {
            copy((from, Dir::Snapshots, &name), (&**to, Dir::Snapshots, &name), None)?;
        }
    }
    let mark = super::apply::fetch(to, ask, work, options)?;
    for dir in [Dir::Quarantine, Dir::Snapshots] {
        // DURABILITY: before the log that counts on the snapshots has a name.
        to.sync_dir(dir).map_err(|e| Error::io("sync", to.root().join(dir.name()), e))?;
    }
    let mut state = write.state.clone();
    state.mark = mark.or(state.mark);
    let mut writing = Writing { from, to: &**to, ask, work, size: options.segment_size };
    writing.chain(write, state)?;
    drop(lock);
    let (log, _) = Log::open_on(Arc::clone(to), options.clone().background(false))?;
    log.close()?;
    let report = verify(&**to, VerifyOptions::new(), &mut |_| {})?;
    Ok(Recovered { plan, report, quarantined })
}

/// Bytes of files of the source.
fn bytes_of(from: &dyn Fs, files: &[(Dir, String)]) -> Result<u64> {
    files.iter().try_fold(0_u64, |sum, (dir, name)| {
        let file = from.open(*dir, name, Access::Read).and_then(|file| file.len());
        let path = from.root().join(dir.name()).join(name);
        Ok(sum.saturating_add(file.map_err(|e| Error::io("stat", path, e))?))
    })
}

struct Writing<'a> {
    from: &'a dyn Fs,
    to: &'a dyn Fs,
    ask: &'a Ask<'a>,
    work: &'a Work,
    /// Bytes after which a new segment is begun.
    size: u64,
}

impl Writing<'_> {
    /// All segments in `tmp/`, then their names, the newest first.
    fn chain(&mut self, write: &Write, mut state: LogState) -> Result<()> {
        let (mut id, mut predecessor) = (write.id, write.predecessor);
        let mut names = Vec::new();
        let last = write.sources.last().map(|source| source.last);
        let mut next = state.first;
        loop {
            names.push(segment_name(id));
            let done = self.segment((id, predecessor), &mut state, (next, write))?;
            if last.is_none_or(|last| state.next > last) {
                break;
            }
            (next, predecessor, id) = (state.next, Some(done), id + 1);
        }
        for (at, name) in names.iter().rev().enumerate() {
            let path = self.to.root().join(name);
            self.to
                .rename((Dir::Tmp, name), (Dir::Root, name))
                .map_err(|e| Error::io("rename to", &path, e))?;
            if at == 0 {
                // DURABILITY: the newest first, alone: without it the others would be a shorter log.
                // The last needs none: the open that follows syncs the names before all else.
                self.to.sync_dir(Dir::Root).map_err(|e| Error::io("sync", path, e))?;
            }
        }
        Ok(())
    }

    /// One segment from entry `next` on; `state` stands at its end afterwards.
    fn segment(
        &self,
        (id, predecessor): (u64, Option<Predecessor>),
        state: &mut LogState,
        (next, write): (Index, &Write),
    ) -> Result<Predecessor> {
        let begins = state.clone();
        let mut draft = Draft::begin(Site {
            fs: self.to,
            log_id: self.work.ours.log_id,
            id,
            predecessor,
            batch_max: self.work.batch_max(),
            state: &begins,
        })?;
        let full = |draft: &Draft<'_>| draft.len() > self.size;
        for source in write.sources.iter().filter(|source| source.last >= next) {
            let mut at = *source;
            at.first = at.first.max(next);
            self.work.read(self.from, self.ask, &at, &mut |entry| {
                (state.next, state.last) = (entry.id.index + 1, Some(entry.id));
                draft.entry(entry)?;
                Ok(if full(&draft) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            if full(&draft) {
                break;
            }
        }
        draft.finish()
    }
}
