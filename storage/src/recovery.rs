//! Create and open. Open diagnoses first, with reads only; then it commits by one rename.
//!
//! ```text
//!   lock ─▶ list ─▶ read the last segment to X, judge ─▶ walk the chain backwards ─▶ replay
//!     ─▶ sync the directory ─▶ successor: State as of P, P..X again, promises ─▶ RENAME ─▶ clean up
//! ```
//!
//! Above: `log`. Below: `recovery::{outline, chain}` (what is there), `succeed` (the commit point).
//! INVARIANT: before the rename nothing but tmp/ and LOCK is changed, so a recovery that is cut off
//! anywhere can be run again with the same result. (FORMAT.md, "Opening".)

pub(crate) mod chain;
pub(crate) mod evidence;
pub(crate) mod items;
pub(crate) mod outline;

use std::{any::Any, collections::BTreeSet, sync::Arc, time::Instant};

use bytes::Bytes;

use crate::{
    entry::{EntryId, LogId},
    error::{Damage, Error, Evidence, Reason, Result},
    fs::{Dir, Found, Fs, Kind, SyncPoint, read_full},
    gather::Gathered,
    index::Map,
    layout::{Classified, SegmentId, classify, index_name, segment_name, snapshot_name},
    metrics,
    options::{OnDamage, Options},
    recent::{Kept, Recent},
    recovery::{
        chain::{Link, Opened as SegmentFile, open_segment, read_index, replay, walk},
        outline::{BadBatch, Outline, damage, read_segment},
    },
    report::RecoveryReport,
    reuse::Retired,
    segment::{Segment, segment_path},
    state::LogState,
    succeed::{Failure, Plan, Site},
    verdict::{Row, Verdict},
    wal::{Base, Halt, Version, Wal, Writer},
};

/// A log that was created or opened.
pub(crate) struct Opened {
    pub(crate) wal: Wal,
    pub(crate) lock: Box<dyn Any + Send + Sync>,
    pub(crate) report: RecoveryReport,
}

/// Makes a new log in an empty directory.
pub(crate) fn create(fs: Arc<dyn Fs>, options: Options) -> Result<Opened> {
    let started = Instant::now();
    let root = fs.root().to_path_buf();
    let io = |op| {
        let root = root.clone();
        move |e| Error::io(op, root, e)
    };
    fs.make_dirs().map_err(io("make directories in"))?;
    let lock = lock(&*fs)?;
    if let Some(found) = occupied(&*fs)? {
        return Err(Error::Exists { path: root, found });
    }
    empty_tmp(&*fs)?;
    let mut log_id = LogId::default();
    for half in log_id.0.chunks_mut(8) {
        half.copy_from_slice(&fs.random().map_err(io("draw the id of"))?.to_le_bytes());
    }
    let site = Site { fs: &*fs, options: &options, log_id };
    let state = LogState::new(options.first_index);
    let plan = Plan {
        id: 1,
        predecessor: None,
        at_p: state.clone(),
        seq: 0,
        again: Vec::new(),
        newest: state,
    };
    let begun = site.begin(&plan, None).map_err(|failure| match failure {
        Failure::Before(e) | Failure::AfterRename(e) => e,
    })?;
    let version =
        Arc::new(Version { state: begun.state, map: Map::new(Arc::clone(&begun.segment)), seq: 0 });
    let writer = Writer {
        chain: vec![Arc::clone(&begun.segment)],
        segment: begun.segment,
        offset: begun.end,
        base: Base { end: begun.state_end, version: Arc::clone(&version) },
        version,
        durable_seq: 0,
        durable_end: begun.end,
        dirty_from: None,
        stated: 0,
        stated_synced: 0,
        removals: Vec::new(),
        halt: None,
        spare: None,
        retired: Retired::default(),
        unindexed: Vec::new(),
        rotate_due: false,
        sync_due: false,
        activity: 0,
        looked: (0, 0),
        syncing: false,
        gathered: Gathered::default(),
    };
    let window = (writer.version.state.first, writer.version.state.next);
    let wal = Wal::new((fs, options), log_id, writer, Recent::default());
    let report = RecoveryReport {
        log_id,
        incarnation: 1,
        window,
        took: started.elapsed(),
        ..RecoveryReport::default()
    };
    Ok(Opened { wal, lock, report })
}

pub(crate) fn lock(fs: &dyn Fs) -> Result<Box<dyn Any + Send + Sync>> {
    fs.lock().map_err(|e| {
        if e.kind() == std::io::ErrorKind::WouldBlock {
            Error::Locked { path: fs.root().to_path_buf(), holder: fs.lock_holder() }
        } else {
            Error::io("lock", fs.root(), e)
        }
    })
}

/// What makes a directory no place for a new log.
pub(crate) fn occupied(fs: &dyn Fs) -> Result<Option<String>> {
    for dir in [Dir::Root, Dir::Snapshots, Dir::Quarantine] {
        for Found { name, .. } in list(fs, dir)? {
            match classify(dir, &name) {
                Classified::Segment(_)
                | Classified::Index(_)
                | Classified::Snapshot { .. }
                | Classified::Quarantined => return Ok(Some(name)),
                Classified::Lock
                | Classified::Temporary
                | Classified::Directory
                | Classified::Foreign => {}
            }
        }
    }
    Ok(None)
}

fn list(fs: &dyn Fs, dir: Dir) -> Result<Vec<Found>> {
    match fs.list(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && dir != Dir::Root => Ok(Vec::new()),
        other => other.map_err(|e| Error::io("list", fs.root().join(dir.name()), e)),
    }
}

/// Removes what unfinished work left in `tmp/`, by unlink only.
fn empty_tmp(fs: &dyn Fs) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for Found { name, kind, .. } in list(fs, Dir::Tmp)? {
        if kind == Kind::Directory {
            continue;
        }
        // DURABILITY: no directory sync: a name that comes back is removed again.
        fs.unlink(Dir::Tmp, &name)
            .map_err(|e| Error::io("remove", fs.root().join(Dir::Tmp.name()).join(&name), e))?;
        removed.push(format!("tmp/{name}"));
    }
    Ok(removed)
}

/// Opens the log in a directory.
pub(crate) fn open(fs: Arc<dyn Fs>, options: Options) -> Result<Opened> {
    let started = Instant::now();
    let _span = tracing::info_span!("open", log = %fs.root().display()).entered();
    let not_a_log = || Error::NotALog { path: fs.root().to_path_buf() };
    match fs.list(Dir::Root) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(not_a_log()),
        Err(e) => return Err(Error::io("list", fs.root(), e)),
        Ok(found) if !is_log(&*fs, &found)? => return Err(not_a_log()),
        Ok(_) => {}
    }
    let lock = lock(&*fs)?;
    let mut diagnosis = diagnose(&fs, &options)?;
    let report = std::mem::take(&mut diagnosis.report);
    let (wal, report) = commit(fs, options, diagnosis, report)?;
    let report = RecoveryReport { took: started.elapsed(), ..report };
    metrics::recovered(report.took, report.dropped_bytes);
    tracing::info!(
        log_id = %report.log_id,
        window = ?report.window,
        verdict = ?report.verdict,
        maybe_lost = ?report.maybe_lost,
        took = ?report.took,
        "log opened"
    );
    Ok(Opened { wal, lock, report })
}

/// Whether there is a log. Snapshots or index files alone are the remains of one: open refuses then.
fn is_log(fs: &dyn Fs, root: &[Found]) -> Result<bool> {
    let ours = |c: Classified| matches!(c, Classified::Segment(_) | Classified::Index(_));
    if root.iter().any(|f| ours(classify(Dir::Root, &f.name))) {
        return Ok(true);
    }
    let snapshot =
        |f: &Found| matches!(classify(Dir::Snapshots, &f.name), Classified::Snapshot { .. });
    Ok(list(fs, Dir::Snapshots)?.iter().any(snapshot))
}

/// The names of a log's directory, sorted out.
struct Inventory {
    segments: BTreeSet<SegmentId>,
    indexes: BTreeSet<SegmentId>,
    snapshots: BTreeSet<(u64, u64)>,
    foreign: Vec<String>,
}

fn inventory(fs: &dyn Fs) -> Result<Inventory> {
    let mut found = Inventory {
        segments: BTreeSet::new(),
        indexes: BTreeSet::new(),
        snapshots: BTreeSet::new(),
        foreign: Vec::new(),
    };
    for dir in [Dir::Root, Dir::Snapshots] {
        for Found { name, kind, .. } in list(fs, dir)? {
            match (classify(dir, &name), kind) {
                (Classified::Segment(id), Kind::File) => drop(found.segments.insert(id)),
                (Classified::Index(id), Kind::File) => drop(found.indexes.insert(id)),
                (Classified::Snapshot { index, term }, Kind::File) => {
                    found.snapshots.insert((index, term));
                }
                (Classified::Segment(_), _) => {
                    let refused = std::io::Error::from(std::io::ErrorKind::InvalidInput);
                    return Err(Error::io("open (no regular file)", fs.root().join(name), refused));
                }
                (Classified::Lock | Classified::Temporary | Classified::Quarantined, _)
                | (Classified::Directory, Kind::Directory) => {}
                _ => found.foreign.push(name),
            }
        }
    }
    Ok(found)
}

/// Everything that is known before anything is changed.
struct Diagnosis {
    top: Arc<Segment>,
    log_id: LogId,
    links: Vec<Link>,
    inventory: Inventory,
    /// The log as of P and where P is; the log as of X with the newest promises.
    base: Base,
    newest: Version,
    x: u64,
    again: Vec<Kept>,
    /// Nothing was ever written to the last segment but what it was born with.
    idle: bool,
    report: RecoveryReport,
}

fn diagnose(shared: &Arc<dyn Fs>, options: &Options) -> Result<Diagnosis> {
    let fs = &**shared;
    let inventory = inventory(fs)?;
    let Some(&top_id) = inventory.segments.last() else {
        return Err(damage(fs.root(), 0, Reason::MissingSegment, Evidence::Chain));
    };
    let SegmentFile { file, header, len, .. } = open_segment(fs, top_id)?;
    let path = segment_path(fs, top_id);
    if let Some((identity, _)) = read_index(fs, top_id)
        && (identity.log_id, identity.salt) == (header.log_id, header.salt)
    {
        let evidence = Evidence::IndexWithoutSuccessor;
        return Err(damage(&path, identity.end, Reason::MissingSegment, evidence));
    }
    let outline = read_segment((&*file, &path), &header, len, None)?;
    let mut links = walk(shared, &header, &outline)?;

    let named = (outline.state.next, outline.state.is_empty());
    let top = Arc::new(Segment::new(header, (file, path), named, len));
    let replayed = replay_all(&top, &mut links, &outline)?;
    let Replayed { base, mut newest, again } = replayed;
    newest.state.maybe_lost = maybe_lost(&newest.state, &outline);
    outline.promises.give(&mut newest.state);
    let snapshots = &inventory.snapshots;
    if let Some(mark) = newest.state.mark.filter(|m| !snapshots.contains(&(m.id.index, m.id.term)))
    {
        let name = snapshot_name(mark.id.index, mark.id.term);
        let path = fs.root().join(Dir::Snapshots.name()).join(name);
        return Err(damage(&path, 0, Reason::MissingSnapshot, Evidence::Marked));
    }
    let mut report = report_of(&top, &links, &outline, &newest);
    report.foreign.clone_from(&inventory.foreign);
    report.batches_again = again.len();
    judge_payloads(options, &newest, (&top, &outline.bad), &links, &mut report)?;
    let idle = outline.row == Some(Row::Zeros)
        && outline.verdict == Verdict::CleanEnd
        && outline.items.end() <= header.born_end
        && outline.items.len() == 2;
    let (log_id, x) = (header.log_id, outline.x);
    Ok(Diagnosis { top, log_id, links, inventory, base, newest, x, again, idle, report })
}

/// The lowest index that lost bytes can have touched: what a valid head at X says raises nothing,
/// since what else was lost behind it is not known.
fn maybe_lost(at_x: &LogState, outline: &Outline) -> Option<u64> {
    if outline.verdict != Verdict::Unproven {
        return at_x.maybe_lost;
    }
    // Commit 0 says that nothing is committed, so entry 0 may be lost as well.
    let commit = at_x.hard_state.commit;
    let uncommitted = if commit == 0 { 0 } else { commit.saturating_add(1) };
    let low = uncommitted.max(at_x.first);
    Some(at_x.maybe_lost.map_or(low, |older| older.min(low)))
}

struct Replayed {
    base: Base,
    newest: Version,
    again: Vec<Kept>,
}

/// Applies the batches of the last segment to what its State and the sealed segments say.
fn replay_all(top: &Arc<Segment>, links: &mut [Link], outline: &Outline) -> Result<Replayed> {
    let parts = links.iter_mut().rev().map(Link::part).collect();
    let map = Map::from_sealed(parts, Arc::clone(top));
    let mut version = Version { state: outline.state.clone(), map, seq: 0 };
    let p = outline.proven(top.header.born_end);
    let (mut items, mut end) = (outline.items.iter(), outline.x);
    for item in items.by_ref().take(p + 1) {
        replay(&mut version, &item, &top.path)?;
        end = item.end;
    }
    let base = Base { end, version: Arc::new(version.clone()) };
    let mut again = Vec::new();
    let mut pieces = Pieces { top, bytes: Bytes::new(), base: 0, end: outline.x };
    for item in items.filter(|item| item.steps.is_some()) {
        replay(&mut version, &item, &top.path)?;
        again.push(Kept {
            segment: top.id(),
            offset: item.offset,
            end: item.end,
            seq: item.seq,
            bytes: pieces.get(item.offset, item.end)?,
            after: Arc::new(version.clone()),
        });
    }
    let (first, next) = (version.state.first, version.state.next);
    if version.state.last.is_none() && first < next {
        // State as of P may not have known it, where a later trim had let the files go.
        version.state.last = version.map.id(next - 1);
    }
    if !version.map.covers(first, next) {
        return Err(Error::Corrupt(Box::new(Damage {
            file: top.path.clone(),
            offset: outline.x,
            indexes: next.checked_sub(1).map(|last| (first, last)),
            reason: Reason::Entries,
            evidence: Evidence::Chain,
        })));
    }
    Ok(Replayed { base, newest: version, again })
}

/// The batches at the end of a segment, many of them with one read.
struct Pieces<'a> {
    top: &'a Segment,
    bytes: Bytes,
    /// Offset of the first of `bytes`.
    base: u64,
    /// Nothing beyond is read.
    end: u64,
}

impl Pieces<'_> {
    /// Bytes read at once, or as many as a batch has.
    const LEN: u64 = 256 << 10;

    /// The bytes `from..to`. Called with rising offsets.
    fn get(&mut self, from: u64, to: u64) -> Result<Bytes> {
        if from < self.base || to > self.base + self.bytes.len() as u64 {
            let len = (to - from).max(Self::LEN.min(self.end.saturating_sub(from)));
            let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
            let read = read_full(&*self.top.file, &mut bytes, from)
                .map_err(|e| Error::io("read", &self.top.path, e))?;
            bytes.truncate(read);
            (self.bytes, self.base) = (bytes.into(), from);
        }
        let within = |at: u64| usize::try_from(at - self.base).unwrap_or(usize::MAX);
        Ok(self.bytes.slice(within(from)..within(to).min(self.bytes.len())))
    }
}

fn report_of(top: &Segment, links: &[Link], outline: &Outline, newest: &Version) -> RecoveryReport {
    let sealed = links.iter().flat_map(|link| &link.missing_markers);
    let missing_markers = outline.missing_markers.iter().chain(sealed);
    RecoveryReport {
        log_id: top.header.log_id,
        incarnation: top.id(),
        end: Some((top.path.clone(), outline.x)),
        verdict: Some(outline.verdict),
        row: outline.row,
        reused_file: top.header.reused,
        dropped_bytes: if outline.verdict == Verdict::Unproven { outline.dropped } else { 0 },
        batches_beyond: outline.beyond,
        maybe_lost: newest.state.maybe_lost,
        window: (newest.state.first, newest.state.next),
        missing_markers: missing_markers.cloned().collect(),
        scanned: links.iter().filter(|l| l.scanned).map(|l| l.segment.id()).collect(),
        ..RecoveryReport::default()
    }
}

/// Damaged payloads that still count refuse the log or are reported as faulty.
fn judge_payloads(
    options: &Options,
    newest: &Version,
    (top, top_bad): (&Arc<Segment>, &[BadBatch]),
    links: &[Link],
    report: &mut RecoveryReport,
) -> Result<()> {
    let sealed = links.iter().flat_map(|l| l.bad.iter().map(move |bad| (&l.segment, bad)));
    for (segment, bad) in sealed.chain(top_bad.iter().map(|bad| (top, bad))) {
        let mut live: Vec<EntryId> = Vec::new();
        for id in &bad.entries {
            if counts(newest, segment, bad.offset, id)? {
                live.push(*id);
            }
        }
        let Some((first, last)) = live.first().zip(live.last()) else {
            report.harmless_damage += 1;
            continue;
        };
        if options.on_damage == OnDamage::Refuse {
            return Err(Error::Corrupt(Box::new(Damage {
                file: segment.path.clone(),
                offset: bad.offset,
                indexes: Some((first.index, last.index)),
                reason: Reason::Payload,
                evidence: bad.evidence,
            })));
        }
        report.faulty.extend(live);
    }
    report.faulty.sort_unstable();
    Ok(())
}

/// Whether the bytes of `id` in the batch at `offset` of `segment` are the ones that count.
fn counts(newest: &Version, segment: &Segment, offset: u64, id: &EntryId) -> Result<bool> {
    let inside = (newest.state.first..newest.state.next).contains(&id.index);
    if !inside || newest.map.id(id.index) != Some(*id) {
        return Ok(false);
    }
    if let Some((refill, at)) = newest.map.refilled(id.index) {
        return Ok(refill.id() == segment.id() && u64::from(at) == offset);
    }
    let stretch = newest.map.find(id.index, newest.state.next)?;
    Ok(stretch.is_some_and(|stretch| {
        stretch.segment.id() == segment.id()
            && u64::from(stretch.row.offset) <= offset
            && stretch.end.is_none_or(|end| offset < u64::from(end))
    }))
}

/// Makes the successor, whose rename is the single commit point, and cleans up behind it.
fn commit(
    fs: Arc<dyn Fs>,
    options: Options,
    found: Diagnosis,
    mut report: RecoveryReport,
) -> Result<(Wal, RecoveryReport)> {
    let Diagnosis { top, log_id, links, inventory, base, newest, x, again, idle, .. } = found;
    let mut chain: Vec<Arc<Segment>> = links.iter().rev().map(|l| Arc::clone(&l.segment)).collect();
    chain.push(Arc::clone(&top));
    let mut recent = Recent::default();
    again.into_iter().for_each(|kept| recent.push(kept));
    let seq = base.version.seq;
    let unindexed = links
        .into_iter()
        .filter(|link| link.scanned)
        .map(|link| (link.segment, link.identity, link.summary))
        .collect();
    let writer = Writer {
        segment: top,
        offset: x,
        version: Arc::new(newest),
        durable_seq: seq,
        durable_end: base.end,
        dirty_from: None,
        base,
        stated: seq,
        stated_synced: seq,
        chain,
        removals: Vec::new(),
        halt: Some(Halt::Spent("the log is being opened".to_owned())),
        spare: None,
        retired: Retired::default(),
        unindexed,
        rotate_due: false,
        sync_due: false,
        activity: 0,
        looked: (0, 0),
        syncing: false,
        gathered: Gathered::default(),
    };
    let wal = Wal::new((fs, options), log_id, writer, recent);
    report.read_only = wal.begin_anew(idle, &mut report.removed)?.map(|e| e.to_string());
    if report.read_only.is_none() {
        wal.remove_leftovers(&inventory, &mut report.removed);
        wal.retire(wal.version().state.mark);
    }
    report.incarnation = wal.writer().segment.id();
    Ok((wal, report))
}

impl Wal {
    /// Goes on in a new segment after diagnosis. Ok(Some) where none can be made now: the log can
    /// be read then, and the next write tries again.
    fn begin_anew(&self, idle: bool, removed: &mut Vec<String>) -> Result<Option<Error>> {
        let made = self.prepare(removed).and_then(|()| {
            if idle { self.skip() } else { self.go_on(&self.lane(), &mut self.writer()) }
        });
        match made {
            Ok(()) => Ok(None),
            Err(e) => {
                self.writer().check_poison().map_err(|_| Error::Poisoned { why: e.to_string() })?;
                tracing::warn!(error = %e, "no new segment: the log can only be read for now");
                self.writer().halt = Some(Halt::Spent(e.to_string()));
                Ok(Some(e))
            }
        }
    }

    fn prepare(&self, removed: &mut Vec<String>) -> Result<()> {
        let io = |e| Error::io("make directories in", self.root(), e);
        self.fs.make_dirs().map_err(io)?;
        removed.extend(empty_tmp(&*self.fs)?);
        if self.options.omit_sync == Some(SyncPoint::FoundNames) {
            return Ok(());
        }
        // DURABILITY: the names that were found may be in the page cache only; the successor will
        // state that the files behind them are durable.
        self.fs.sync_dir(Dir::Root).map_err(|e| Error::io("sync", self.root(), e))
    }

    /// Removes segments and index files that the chain does not name.
    fn remove_leftovers(&self, inventory: &Inventory, removed: &mut Vec<String>) {
        let keep: BTreeSet<SegmentId> = self.writer().chain.iter().map(|s| s.id()).collect();
        let segments = inventory.segments.iter().filter(|id| !keep.contains(id));
        let indexes = inventory.indexes.iter().filter(|id| !keep.contains(id));
        let names = segments.map(|&id| segment_name(id)).chain(indexes.map(|&id| index_name(id)));
        for name in names {
            // DURABILITY: no directory sync: a leftover that comes back is recognised again.
            match self.fs.unlink(Dir::Root, &name) {
                Ok(()) => removed.push(name),
                Err(e) => tracing::warn!(name, error = %e, "a leftover could not be removed"),
            }
        }
    }
}

#[cfg(test)]
mod tests;
