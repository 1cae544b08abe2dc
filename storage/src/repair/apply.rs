//! Does what a plan says, in an order in which it can be cut off anywhere and begun again.
//!
//! Above: `repair`. Below: `plan`, `backup`, `build`, and the engine, which opens the log at the end.
//! INVARIANT: before the rename of the new segment the log is as it was: what was added lies in
//! `tmp/`, in `quarantine/`, in the backup, or is a snapshot that holds what the damaged one held.
//! After it the log is the repaired one, whatever of the old files is still there.

use std::{
    ops::{ControlFlow, RangeInclusive},
    sync::Arc,
};

use crate::{
    batch::SnapshotMark,
    entry::{EntryId, Index},
    error::{Error, Result},
    fs::{Dir, Fs},
    inspect::{VerifyOptions, VerifyReport, look, verify},
    layout::segment_name,
    log::Log,
    options::Options,
    recovery,
    repair::{
        Ask, Plan, Refusal, RepairError,
        backup::{Linker, backup, room, set_aside},
        build::{Draft, Site},
        cursor,
        plan::{Work, Write, plan, store},
        replica::Source,
        salvage::Salvage,
    },
    report::RecoveryReport,
    snapshot::{SnapshotReader, SnapshotStore},
};

/// Bytes of a snapshot that are copied at once.
const CHUNK: usize = 1 << 20;

/// How a plan is applied. Without a backup nothing can be taken back.
#[derive(Clone, Default)]
pub struct ApplyOptions<'a> {
    /// The digest of the plan that was read; any plan is applied without it.
    pub digest: Option<&'a str>,
    /// The entries that may be dropped: exactly the plan's; an open end is `u64::MAX`.
    pub accept: Option<RangeInclusive<Index>>,
    /// Where the log is copied to first.
    pub backup: Option<&'a dyn Fs>,
    /// Gives files a second name in the backup, where that is possible.
    pub link: Option<Linker<'a>>,
    /// Choices for the open at the end.
    pub options: Options,
}

impl std::fmt::Debug for ApplyOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { digest, accept, backup, .. } = self;
        let backup = backup.map(Fs::root);
        f.debug_struct("ApplyOptions")
            .field("digest", digest)
            .field("accept", accept)
            .field("backup", &backup)
            .finish_non_exhaustive()
    }
}

/// What came of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Applied {
    /// What was done; nothing if it has no steps.
    pub plan: Plan,
    /// What the open at the end said.
    pub opened: Option<RecoveryReport>,
    /// The verification after all.
    pub report: VerifyReport,
}

/// Plans and applies. Takes the lock; where a rail refuses, nothing was changed.
///
/// # Errors
/// `Refused`; `Locked` by a live process; `Io`, `Full`: the repair was cut off, and can be begun again.
pub fn apply(
    fs: &Arc<dyn Fs>,
    ask: &Ask<'_>,
    how: &ApplyOptions<'_>,
) -> Result<Applied, RepairError> {
    // Asked first, so that nobody waits for a plan that cannot be applied.
    drop(recovery::lock(&**fs)?);
    let plan = plan(&**fs, ask)?;
    rails(&plan, how)?;
    let lock = recovery::lock(&**fs)?;
    let found = look(&**fs)?;
    let Some(work) = plan.work.as_deref().filter(|_| !plan.is_empty()) else {
        let report = verify_unlocked(fs, lock)?;
        return Ok(Applied { plan, opened: None, report });
    };
    // Planned without the lock: an open in between has begun a new segment.
    if found.segments.keys().next_back() != work.newest.as_ref() {
        let given = plan.digest.clone();
        return Err(Refusal::PlanChanged { given, now: "another".to_owned() }.into());
    }
    room(&**fs, plan.bytes)?;
    if let Some(to) = how.backup {
        backup(&**fs, to, (&found, how.link))?;
    }
    fs.make_dirs().map_err(|e| Error::io("make directories in", fs.root(), e))?;
    if let Some(write) = &work.write {
        quarantine(&**fs, &plan, work)?;
        let mark = fetch(fs, ask, work, &how.options)?;
        put(&**fs, ask, (work, write), mark)?;
        remove(&**fs, work)?;
    }
    drop(lock);
    let (log, opened) = Log::open_on(Arc::clone(fs), how.options.clone().background(false))?;
    log.close()?;
    let report = verify(&**fs, VerifyOptions::new(), &mut |_| {})?;
    Ok(Applied { plan, opened: Some(opened), report })
}

fn verify_unlocked(
    fs: &Arc<dyn Fs>,
    lock: Box<dyn std::any::Any + Send + Sync>,
) -> Result<VerifyReport> {
    drop(lock);
    verify(&**fs, VerifyOptions::new(), &mut |_| {})
}

/// What holds a repair back.
fn rails(plan: &Plan, how: &ApplyOptions<'_>) -> Result<(), Refusal> {
    if let Some(given) = how.digest.filter(|given| **given != *plan.digest) {
        let (given, now) = (given.to_owned(), plan.digest.clone());
        return Err(Refusal::PlanChanged { given, now });
    }
    if let Some(why) = &plan.hopeless {
        return Err(Refusal::Hopeless(why.clone()));
    }
    let planned = plan.to_accept();
    let range = || planned.map_or_else(|| "nothing".to_owned(), super::Loss::range);
    match (planned, &how.accept) {
        (None, None) => Ok(()),
        (Some(loss), Some(accepted)) if loss.is(accepted) => Ok(()),
        (Some(_), None) => Err(Refusal::LossNotAccepted(range())),
        (_, Some(accepted)) => {
            let (low, high) = (accepted.start(), accepted.end());
            let given =
                if *high == Index::MAX { format!("{low}..") } else { format!("{low}..{high}") };
            Err(Refusal::OtherLoss { planned: range(), given })
        }
    }
}

/// Bad files keep a name in `quarantine/` before the log lets go of them.
fn quarantine(fs: &dyn Fs, plan: &Plan, work: &Work) -> Result<()> {
    for (dir, name) in &work.quarantine {
        let mut note = format!("{name}: set aside by the repair {}\n", plan.digest);
        let about = plan.findings.iter().filter(|finding| finding.file_name() == *name);
        about.for_each(|finding| note.push_str(&format!("{finding}\n")));
        set_aside(fs, *dir, name, &note)?;
    }
    if work.quarantine.is_empty() {
        return Ok(());
    }
    // DURABILITY: the names in quarantine, before those in the log go.
    let path = fs.root().join(Dir::Quarantine.name());
    fs.sync_dir(Dir::Quarantine).map_err(|e| Error::io("sync", path, e))
}

/// Copies the snapshot that is lost here from the replica: the same bytes in a file of this log.
pub(crate) fn fetch(
    fs: &Arc<dyn Fs>,
    ask: &Ask<'_>,
    work: &Work,
    options: &Options,
) -> Result<Option<SnapshotMark>> {
    let Some(((id, theirs), peer)) = work.fetch.zip(work.theirs.as_ref()).zip(ask.replica) else {
        return Ok(None);
    };
    copy_snapshot((peer, theirs, id), &store(fs, &work.ours, options)).map(Some)
}

fn copy_snapshot(
    (peer, theirs, id): (&dyn Fs, &Salvage, EntryId),
    store: &SnapshotStore,
) -> Result<SnapshotMark> {
    let name = crate::layout::snapshot_name(id.index, id.term);
    let mut reader = SnapshotReader::open(peer, theirs.log_id, &name)?;
    let mut writer = store.begin(id, &reader.meta().clone())?;
    let mut buf = vec![0; CHUNK];
    let mut position = 0;
    loop {
        let read = reader.read_at(&mut buf, position)?;
        if read == 0 {
            return writer.commit();
        }
        // A writer that fails says so at commit.
        let _ = std::io::Write::write_all(&mut writer, &buf[..read]);
        position += read as u64;
    }
}

/// The new segment: written, synced, named.
fn put(
    fs: &dyn Fs,
    ask: &Ask<'_>,
    (work, write): (&Work, &Write),
    mark: Option<SnapshotMark>,
) -> Result<()> {
    let mut state = write.state.clone();
    state.mark = mark.or(state.mark);
    let mut draft = Draft::begin(Site {
        fs,
        log_id: work.ours.log_id,
        id: write.id,
        predecessor: write.predecessor,
        batch_max: work.batch_max(),
        state: &state,
    })?;
    if let Some(from) = write.truncate {
        draft.truncate(from)?;
    }
    for source in &write.sources {
        work.read(fs, ask, source, &mut |entry| draft.entry(entry).map(ControlFlow::Continue))?;
    }
    draft.finish()?;
    let name = segment_name(write.id);
    let path = fs.root().join(&name);
    fs.rename((Dir::Tmp, &name), (Dir::Root, &name))
        .map_err(|e| Error::io("rename to", &path, e))?;
    // DURABILITY: the name. From here on the log is the repaired one; before it nothing may go.
    fs.sync_dir(Dir::Root).map_err(|e| Error::io("sync the directory of", path, e))
}

impl Work {
    pub(crate) fn batch_max(&self) -> u64 {
        let theirs = self.theirs.as_ref().map_or(0, |theirs| theirs.batch_max);
        self.ours.batch_max.max(theirs).max(128 << 10)
    }

    /// Reads the entries of a source, wherever they come from.
    pub(crate) fn read(
        &self,
        fs: &dyn Fs,
        ask: &Ask<'_>,
        source: &Source,
        each: cursor::Each<'_>,
    ) -> Result<()> {
        let range = (source.first, source.last);
        match (source.theirs, self.theirs.as_ref().zip(ask.replica)) {
            (true, Some((theirs, peer))) => cursor::read((peer, theirs), range, each),
            _ => cursor::read((fs, &self.ours), range, each),
        }
    }
}

/// What the new segment replaces goes; what was bad in it has its name in quarantine.
fn remove(fs: &dyn Fs, work: &Work) -> Result<()> {
    for (dir, name) in &work.remove {
        let path = fs.root().join(dir.name()).join(name);
        match fs.unlink(*dir, name) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", path, e));
            }
            _ => {}
        }
    }
    // DURABILITY: so that a bad snapshot that was removed is not found again. The root needs none: the
    // open that follows syncs its names first, and a segment that came back would be a leftover.
    let path = fs.root().join(Dir::Snapshots.name());
    fs.sync_dir(Dir::Snapshots).map_err(|e| Error::io("sync", path, e))
}
