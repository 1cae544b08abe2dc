//! The chain of segments: from the newest backwards by what each header says of its predecessor.
//!
//! The walk stops where nothing older can hold an entry of the window. A segment that the chain needs
//! and that is missing is damage; one that the chain does not name is a leftover.
//!
//! Above: `recovery`, `inspect`. Below: `outline`. Reads only.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    batch::HEAD_LEN,
    entry::{Index, LogId},
    error::{Error, Evidence, Reason, Result},
    fs::{Access, Dir, File, Fs, read_full},
    header::{BATCHES_AT, BadHeader, FORMAT_MAJOR, FORMAT_MINOR, Header, Predecessor},
    index::{
        Map, Part, Row, Summary,
        file::{Checked, FIXED, Identity, can_be, check as check_index},
        stored::Stored,
    },
    layout::{SegmentId, index_name, segment_name},
    meaning::{Step, append, place, plan, state_of_batch},
    recovery::outline::{BadBatch, Item, Outline, Steps, damage, read_segment},
    report::MissingMarkers,
    scan::{Source, head_at},
    segment::{Segment, segment_path},
    state::LogState,
    wal::Version,
};

/// A sealed segment of the chain and what it contributes.
pub(crate) struct Link {
    pub(crate) segment: Arc<Segment>,
    /// Without the rows, where `stored` has them.
    pub(crate) summary: Summary,
    pub(crate) stored: Option<Arc<Stored>>,
    pub(crate) identity: Identity,
    /// It was scanned, since its index file was missing or bad.
    pub(crate) scanned: bool,
    pub(crate) bad: Vec<BadBatch>,
    pub(crate) missing_markers: Vec<MissingMarkers>,
}

impl Link {
    /// What the map takes of it.
    pub(crate) fn part(&mut self) -> Part {
        // One that was scanned needs its summary again, for its index file.
        let summary =
            if self.scanned { self.summary.clone() } else { std::mem::take(&mut self.summary) };
        Part { segment: Arc::clone(&self.segment), summary, stored: self.stored.clone() }
    }
}

/// An open segment file with its header.
pub(crate) struct Opened {
    pub(crate) file: Arc<dyn File>,
    pub(crate) header: Header,
    pub(crate) len: u64,
    /// Which of the two copies of the header check: one is enough.
    pub(crate) copies: [bool; 2],
}

/// Opens segment `id` and reads its header.
///
/// # Errors
/// `NewerFormat`, `Corrupt`, `Io`.
pub(crate) fn open_segment(fs: &dyn Fs, id: SegmentId) -> Result<Opened> {
    let path = segment_path(fs, id);
    let io = |op| {
        let path = path.clone();
        move |e| Error::io(op, path, e)
    };
    let file = fs.open(Dir::Root, &segment_name(id), Access::Read).map_err(io("open"))?;
    let len = file.len().map_err(io("read the length of"))?;
    let mut front = vec![0; usize::try_from(BATCHES_AT).expect("8192")];
    let read = read_full(&*file, &mut front, 0).map_err(io("read"))?;
    let header = Header::decode(&front[..read]).map_err(|bad| bad_header(&path, bad))?;
    if header.id != id {
        return Err(damage(&path, 0, Reason::Header, Evidence::Chain));
    }
    Ok(Opened { file, header, len, copies: Header::sound_copies(&front[..read]) })
}

fn bad_header(path: &Path, bad: BadHeader) -> Error {
    match bad {
        BadHeader::Both => damage(path, 0, Reason::Header, Evidence::BornEnd(BATCHES_AT)),
        BadHeader::Differ => damage(path, 0, Reason::HeaderCopiesDiffer, Evidence::Chain),
        BadHeader::Newer { major, minor, incompat } => Error::NewerFormat {
            path: path.to_path_buf(),
            found: format!("{major}.{minor} (features {incompat:#x})"),
            supported: format!("{FORMAT_MAJOR}.{FORMAT_MINOR}"),
        },
    }
}

/// What the active segment says of the window: its first index now, and the lowest cut it makes.
pub(crate) fn window_of(outline: &Outline) -> (Index, Option<Index>) {
    let (mut first, mut cut) = (outline.state.first, None);
    for step in outline.items.lists().flatten() {
        match *step {
            Step::Trim(to, _) => first = to,
            Step::Reset(to, _) => (first, cut) = (to, Some(0)),
            Step::Truncate(from) => cut = Some(cut.map_or(from, |c: Index| c.min(from))),
            _ => {}
        }
    }
    (first, cut)
}

/// The sealed segments that the window needs, newest first.
///
/// # Errors
/// `Corrupt` where one is missing, foreign or damaged; `Io`.
pub(crate) fn walk(fs: &Arc<dyn Fs>, top: &Header, outline: &Outline) -> Result<Vec<Link>> {
    let (first, mut cut) = window_of(outline);
    let (mut links, mut buf) = (Vec::new(), Vec::new());
    let (mut next, mut empty) = (outline.state.next, outline.state.is_empty());
    let mut header = *top;
    while next > first && !empty && cut.is_none_or(|cut| cut > first) {
        let Some(predecessor) = header.predecessor else { break };
        let (link, state) = link(fs, top.log_id, &predecessor, &mut buf)?;
        (next, empty) = (state.next, state.is_empty());
        cut = link.summary.lowest_cut;
        header = link.segment.header;
        links.push(link);
    }
    Ok(links)
}

fn link(
    fs: &Arc<dyn Fs>,
    log_id: LogId,
    predecessor: &Predecessor,
    buf: &mut Vec<u8>,
) -> Result<(Link, LogState)> {
    let path = segment_path(&**fs, predecessor.id);
    let missing = |reason| damage(&path, 0, reason, Evidence::Chain);
    let opened = match open_segment(&**fs, predecessor.id) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Err(missing(Reason::MissingSegment));
        }
        other => other?,
    };
    let Opened { file, header, len, .. } = opened;
    if header.log_id != log_id {
        return Err(missing(Reason::ForeignLog));
    }
    if header.salt != predecessor.salt || len < predecessor.end {
        return Err(missing(Reason::MissingSegment));
    }
    let identity = Identity {
        log_id,
        id: header.id,
        salt: header.salt,
        end: predecessor.end,
        last_seq: predecessor.last_seq,
    };
    let indexed = read_index_into(&**fs, header.id, buf).filter(|found| found.identity == identity);
    let scanned = indexed.is_none();
    let mut stored = None;
    let Scanned { state, summary, bad, missing_markers } = match indexed {
        Some(checked) => {
            let state = read_state(&*file, &path, &header, predecessor.end)?;
            let later = Later {
                fs: Arc::clone(fs),
                file: Arc::clone(&file),
                path: path.clone(),
                header,
                predecessor: *predecessor,
                identity,
            };
            let load = Box::new(move || later.rows());
            stored = checked.entries().map(|entries| Arc::new(Stored::new(entries, load)));
            let summary = checked.without_rows();
            Scanned { state, summary, bad: Vec::new(), missing_markers: Vec::new() }
        }
        None => scan(&file, &path, &header, predecessor)?,
    };
    let named = (state.next, state.is_empty());
    let segment = Segment::new(header, (file, path), named, len);
    segment.seal(predecessor.end, predecessor.last_seq);
    let link = Link {
        segment: Arc::new(segment),
        summary,
        stored,
        identity,
        scanned,
        bad,
        missing_markers,
    };
    Ok((link, state))
}

/// Where the rows of a sealed segment are found once somebody needs them.
struct Later {
    fs: Arc<dyn Fs>,
    file: Arc<dyn File>,
    path: PathBuf,
    header: Header,
    predecessor: Predecessor,
    identity: Identity,
}

impl Later {
    /// As an open would have got them: from the index file, or, where that is gone or has rotted
    /// since, from the segment.
    fn rows(&self) -> Result<Vec<Row>> {
        let mut buf = Vec::new();
        let indexed = read_index_into(&*self.fs, self.header.id, &mut buf);
        match indexed.filter(|found| found.identity == self.identity) {
            Some(checked) => Ok(checked.rows()),
            None => scan(&self.file, &self.path, &self.header, &self.predecessor)
                .map(|scanned| scanned.summary.rows),
        }
    }
}

/// The index file of segment `id`, if it is there and checks.
pub(crate) fn read_index(fs: &dyn Fs, id: SegmentId) -> Option<(Identity, Summary)> {
    let mut buf = Vec::new();
    read_index_into(fs, id, &mut buf).map(|checked| (checked.identity, checked.summary()))
}

/// As [`read_index`], through a buffer for many of them: the first touch of fresh memory takes longer
/// than reading an index into it.
fn read_index_into<'a>(fs: &dyn Fs, id: SegmentId, buf: &'a mut Vec<u8>) -> Option<Checked<'a>> {
    let file = fs.open(Dir::Root, &index_name(id), Access::Read).ok()?;
    let len = file.len().ok()?;
    let mut front = [0; FIXED];
    let read = read_full(&*file, &mut front, 0).ok()?;
    if !can_be(&front[..read], len) {
        return None;
    }
    buf.resize(usize::try_from(len).ok()?, 0);
    let read = read_full(&*file, buf, 0).ok()?;
    check_index(&buf[..read])
}

/// The State batch alone.
pub(crate) fn read_state(
    file: &dyn File,
    path: &Path,
    header: &Header,
    end: u64,
) -> Result<LogState> {
    let frame = crate::scan::Frame { salt: header.salt, batch_max: header.batch_max, end };
    let mut source = Source::new(file, end.min(BATCHES_AT + header.batch_max));
    let io = |e| Error::io("read", path, e);
    let bad = || damage(path, BATCHES_AT, Reason::State, Evidence::BornEnd(header.born_end));
    let at = head_at(&mut source, &frame, BATCHES_AT).map_err(io)?;
    let at = at.filter(|at| at.state && at.bodies.is_ok()).ok_or_else(bad)?;
    let bytes = source.get(BATCHES_AT, at.head.len().max(HEAD_LEN)).map_err(io)?;
    state_of_batch(&at.head, bytes).ok().flatten().ok_or_else(bad)
}

/// What a sealed segment holds.
struct Scanned {
    state: LogState,
    summary: Summary,
    bad: Vec<BadBatch>,
    missing_markers: Vec<MissingMarkers>,
}

/// Scans a sealed segment to its P, since it has no index.
fn scan(
    file: &Arc<dyn File>,
    path: &Path,
    header: &Header,
    predecessor: &Predecessor,
) -> Result<Scanned> {
    let outline = read_segment((&**file, path), header, predecessor.end, Some(predecessor.end))?;
    if outline.last_seq() != predecessor.last_seq {
        return Err(damage(
            path,
            outline.x,
            Reason::MissingBatch,
            Evidence::SealedEnd(predecessor.end),
        ));
    }
    let state = outline.state.clone();
    let named = (state.next, state.is_empty());
    let alone = Segment::new(*header, (Arc::clone(file), path.to_path_buf()), named, 0);
    let mut version = Version { state: state.clone(), map: Map::new(Arc::new(alone)), seq: 0 };
    for item in outline.items.iter() {
        replay(&mut version, &item, path)?;
    }
    let next = version.state.next;
    let summary = version.map.active_summary(next);
    let Outline { bad, missing_markers, .. } = outline;
    Ok(Scanned { state, summary, bad, missing_markers })
}

/// Applies a batch of the active segment to `version`.
///
/// # Errors
/// `Corrupt` where a valid batch does not fit what came before.
pub(crate) fn replay(version: &mut Version, item: &Item, path: &Path) -> Result<()> {
    version.seq = item.seq;
    let misfit = |e| {
        tracing::error!(error = %e, offset = item.offset, "a valid batch does not fit");
        damage(path, item.offset, Reason::Entries, Evidence::Chain)
    };
    let Version { state, map, .. } = version;
    match &item.steps {
        None => {}
        Some(Steps::Run(run)) => append(state, map, run, item.offset).map_err(misfit)?,
        Some(Steps::Many(steps)) => {
            let after = plan(state, steps, false, |index| map.id(index)).map_err(misfit)?;
            place(map, state, steps, item.offset);
            *state = after;
        }
    }
    Ok(())
}
