//! The next segment: made in `tmp/`, complete and synced before it gets its name.
//!
//! ```text
//!   tmp/8.wal   header ×2 │ State as of P │ batches after P, again │ marker │ zeros (reserve)
//!        │ sync ─▶ rename to 8.wal ─▶ sync the directory ─▶ only now does anybody rely on it
//! ```
//!
//! Three callers, one way: a full segment (P is its end), a failed write or sync (P is the last batch
//! proven durable before the harmed page), and recovery at open (the same). (FORMAT.md, "Succession".)
//!
//! INVARIANT: before the rename is issued any failure leaves the old segment as it was. From the
//! moment it is issued, whatever it returned, the old segment takes no byte more.

use std::{path::PathBuf, sync::Arc};

use crate::{
    batch::{HEAD_LEN, PAGE, Seal, encode, encode_state, marker_at, promises, seal},
    entry::LogId,
    error::{Error, Result},
    fs::{Dir, File, Fs, SyncPoint, write_full},
    header::{BATCHES_AT, Header, Predecessor},
    index::file::Identity,
    keeper::STEP,
    layout::{SegmentId, segment_name},
    meaning::{place, steps_of_batch},
    metrics,
    options::Options,
    recent::Kept,
    segment::{Segment, fill, segment_path},
    state::LogState,
    wal::{Base, Lane, Version, Wal, Writer},
};

/// A segment file prepared in `tmp/`: allocated, filled with zeros and synced.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) name: String,
    pub(crate) file: Arc<dyn File>,
    /// How far its blocks were written before.
    pub(crate) len: u64,
    /// It was a segment before: anything may stand where zeros would be. See `reuse`.
    pub(crate) reused: bool,
}

/// What a successor begins with.
pub(crate) struct Plan {
    pub(crate) id: SegmentId,
    pub(crate) predecessor: Option<Predecessor>,
    /// The log as of P; its promises are replaced by the newest.
    pub(crate) at_p: LogState,
    /// Sequence of the last batch before P.
    pub(crate) seq: u64,
    /// Batches after P.
    pub(crate) again: Vec<Kept>,
    pub(crate) newest: LogState,
}

/// A segment that has its name.
pub(crate) struct Begun {
    pub(crate) segment: Arc<Segment>,
    /// End of State.
    pub(crate) state_end: u64,
    /// State as it was written.
    pub(crate) state: LogState,
    /// The batches written again, where they stand now.
    pub(crate) moved: Vec<Moved>,
    /// End of the marker.
    pub(crate) end: u64,
}

/// A batch that stands in a successor now.
pub(crate) struct Moved {
    pub(crate) offset: u64,
    pub(crate) end: u64,
    pub(crate) seq: u64,
    pub(crate) bytes: bytes::Bytes,
}

/// Why there is no successor.
pub(crate) enum Failure {
    /// Nothing changed: the old segment is as it was.
    Before(Error),
    /// The rename was issued: which of the two counts is unknown.
    AfterRename(Error),
}

/// Where and how segments of one log are made.
pub(crate) struct Site<'a> {
    pub(crate) fs: &'a dyn Fs,
    pub(crate) options: &'a Options,
    pub(crate) log_id: LogId,
}

impl Wal {
    fn site(&self) -> Site<'_> {
        Site { fs: &*self.fs, options: &self.options, log_id: self.log_id }
    }

    /// Goes on in a new segment because this one is full, or is spent.
    pub(crate) fn rotate(&self) -> Result<()> {
        let lane = self.lane();
        let mut writer = self.writer();
        let _span = tracing::debug_span!("rotate", from = writer.segment.id()).entered();
        writer.check_poison()?;
        if writer.halt.is_some() {
            return self.go_on(&lane, &mut writer);
        }
        let started = std::time::Instant::now();
        if self.give_gathered(&mut writer).is_err() {
            return self.go_on(&lane, &mut writer);
        }
        if writer.dirty_from.is_some() {
            // DURABILITY: the successor will state that all of this segment was durable.
            if let Err(e) = self.sync_file(&writer.segment, SyncPoint::Seal) {
                return self.sync_failed(&lane, &mut writer, &e);
            }
            let (seq, end, stated) = (writer.version.seq, writer.offset, writer.stated);
            drop(self.synced(&mut writer, seq, end, stated));
        }
        let base = Base { end: writer.offset, version: Arc::clone(&writer.version) };
        let predecessor = named(&writer.segment.header, &base);
        self.succeed(&mut writer, base, Vec::new(), predecessor)?;
        metrics::rotated(started.elapsed());
        Ok(())
    }

    /// Goes on in a new segment after a failed write or sync: State as of P, everything after P
    /// written again from memory. Only the lane's holder may.
    pub(crate) fn go_on(&self, _lane: &Lane<'_>, writer: &mut Writer) -> Result<()> {
        writer.segment.distrust();
        let (base, again) = self.proven(writer);
        let predecessor = named(&writer.segment.header, &base);
        self.succeed(writer, base, again, predecessor)
    }

    /// Goes on behind the predecessor of a segment that holds nothing: a crash loop leaves no pile.
    /// The skipped file is removed. Only open may.
    pub(crate) fn skip(&self) -> Result<()> {
        let _lane = self.lane();
        let mut writer = self.writer();
        let skipped = writer.segment.id();
        let (base, predecessor) = (writer.base.clone(), writer.segment.header.predecessor);
        self.succeed(&mut writer, base, Vec::new(), predecessor)?;
        writer.chain.retain(|segment| segment.id() != skipped);
        Ok(())
    }

    /// P by the page rule: the last batch that is durable and ends at or before the page with the
    /// first byte that is not; never before State. And the batches after it.
    fn proven(&self, writer: &Writer) -> (Base, Vec<Kept>) {
        let floor = writer.dirty_from.unwrap_or(writer.offset) / PAGE * PAGE;
        let limit = floor.min(writer.durable_end);
        let recent = self.recent();
        let kept = || recent.of(writer.segment.id());
        let mut base = writer.base.clone();
        if let Some(last) = kept().take_while(|k| k.end <= limit).last() {
            base = Base { end: last.end, version: Arc::clone(&last.after) };
        }
        let again = kept().skip_while(|k| k.end <= base.end).cloned().collect();
        (base, again)
    }

    /// Makes the successor whose predecessor ends at `base`, and goes on in it.
    fn succeed(
        &self,
        writer: &mut Writer,
        base: Base,
        again: Vec<Kept>,
        predecessor: Option<Predecessor>,
    ) -> Result<()> {
        let header = &writer.segment.header;
        let at_p =
            LogState { maybe_lost: writer.version.state.maybe_lost, ..base.version.state.clone() };
        let plan = Plan {
            id: header.id + 1,
            predecessor,
            at_p,
            seq: base.version.seq,
            again,
            newest: writer.version.state.clone(),
        };
        let skips = predecessor.is_none_or(|p| p.id != header.id);
        let begun = match self.site().begin(&plan, self.spare(writer)) {
            Ok(begun) => begun,
            Err(Failure::Before(e)) => return Err(e),
            Err(Failure::AfterRename(e)) => {
                self.poison(writer, &e.to_string());
                return Err(e);
            }
        };
        self.adopt(writer, &base, begun, skips);
        Ok(())
    }

    /// The successor is named and durable: the writer stands in it.
    fn adopt(&self, writer: &mut Writer, base: &Base, begun: Begun, skips: bool) {
        // What was kept back of this file stands in the successor, from `recent`.
        writer.gathered.forget();
        let old = Arc::clone(&writer.segment);
        old.seal(base.end, base.version.seq);
        let next = base.version.state.next;
        let identity = Identity {
            log_id: self.log_id,
            id: old.id(),
            salt: old.header.salt,
            end: base.end,
            last_seq: base.version.seq,
        };
        if !skips {
            writer.unindexed.push((old, identity, base.version.map.active_summary(next)));
        }

        let mut map = base.version.map.clone();
        map.rotate(next, Arc::clone(&begun.segment));
        let newest = writer.version.state.clone();
        let mut version = Version { state: begun.state, map, seq: base.version.seq };
        let base_version = Arc::new(version.clone());
        let mut recent = self.recent();
        let moved_from = base.end;
        recent.forget_from(writer.segment.id(), moved_from);
        for moved in begun.moved {
            version = apply_again(&version, &moved);
            recent.push(Kept {
                segment: begun.segment.id(),
                offset: moved.offset,
                end: moved.end,
                seq: moved.seq,
                bytes: moved.bytes,
                after: Arc::new(version.clone()),
            });
        }
        drop(recent);
        version.state = newest;
        let seq = version.seq;
        writer.version = Arc::new(version);
        writer.base = Base { end: begun.state_end, version: base_version };
        writer.chain.push(Arc::clone(&begun.segment));
        writer.segment = begun.segment;
        writer.offset = begun.end;
        (writer.durable_seq, writer.durable_end) = (seq, begun.end);
        (writer.stated, writer.stated_synced) = (seq, seq);
        writer.dirty_from = None;
        writer.halt = None;
        self.publish(&writer.version);
        self.watermark.advance(seq);
        self.remove_files(writer);
        if !self.options.background {
            self.write_indexes(writer);
        }
        self.wake.now();
    }
}

/// What a successor says of the segment with this header, whose P is `base`.
fn named(header: &Header, base: &Base) -> Option<Predecessor> {
    let (end, last_seq) = (base.end, base.version.seq);
    Some(Predecessor { id: header.id, salt: header.salt, end, last_seq })
}

impl Site<'_> {
    /// Makes, names and secures the segment of `plan`.
    pub(crate) fn begin(&self, plan: &Plan, spare: Option<Spare>) -> Result<Begun, Failure> {
        let blank = self.blank(plan.id, spare).map_err(Failure::Before)?;
        let begun = self.fill_in(plan, &blank).and_then(|begun| {
            self.sync_file_of(&blank.file, &blank.name, SyncPoint::Successor)?;
            Ok(begun)
        });
        let name = blank.name;
        let begun = match begun {
            Ok(begun) => begun,
            Err(e) => {
                // DURABILITY: no directory sync: a leftover in tmp/ is removed by the next open.
                let _ = self.fs.unlink(Dir::Tmp, &name);
                return Err(Failure::Before(e));
            }
        };
        let final_name = segment_name(plan.id);
        let path = || segment_path(self.fs, plan.id);
        let failed = |op, e| Failure::AfterRename(Error::io(op, path(), e));
        self.fs
            .rename((Dir::Tmp, &name), (Dir::Root, &final_name))
            .map_err(|e| failed("rename to", e))?;
        if self.options.omit_sync != Some(SyncPoint::SuccessorName) {
            // DURABILITY: the name; before this nothing may be acknowledged through the new segment.
            self.fs.sync_dir(Dir::Root).map_err(|e| failed("sync the directory of", e))?;
        }
        tracing::debug!(segment = plan.id, again = plan.again.len(), "segment begun");
        Ok(begun)
    }

    /// An empty file in `tmp/`, or the spare.
    fn blank(&self, id: SegmentId, spare: Option<Spare>) -> Result<Spare> {
        if let Some(spare) = spare {
            return Ok(spare);
        }
        let name = segment_name(id);
        let path = || self.fs.root().join(Dir::Tmp.name()).join(&name);
        let created = match self.fs.create(Dir::Tmp, &name) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                // DURABILITY: none needed: nobody relies on a name in tmp/.
                self.fs.unlink(Dir::Tmp, &name).map_err(|e| Error::io("remove", path(), e))?;
                self.fs.create(Dir::Tmp, &name)
            }
            other => other,
        };
        let file = created.map_err(|e| Error::io("create", path(), e))?;
        Ok(Spare { name, file, len: 0, reused: false })
    }

    /// Headers, State, the batches after P, the marker, and zeros for the reserve.
    fn fill_in(&self, plan: &Plan, blank: &Spare) -> Result<Begun> {
        let Spare { file, len, reused, .. } = blank;
        let path = segment_path(self.fs, plan.id);
        let wrap = |e| Error::io("write to", &path, e);
        let salt = self.fs.random().map_err(wrap)?;
        let mut state = plan.at_p.clone();
        state.take_promises(&plan.newest);

        let put = |bytes: &[u8], offset| write_full(&**file, bytes, offset).map_err(wrap);
        let mut buf = encode_state(&state);
        let durable = plan.seq;
        let place = |offset, seq, marker| Seal { salt, offset, seq, durable, marker };
        seal(&mut buf, place(BATCHES_AT, plan.seq, false));
        let state_end = BATCHES_AT + buf.len() as u64;
        put(&buf, BATCHES_AT)?;

        let (mut offset, mut last) = (state_end, plan.seq);
        let mut moved = Vec::with_capacity(plan.again.len());
        for group in groups(&plan.again) {
            let (start, len) = (offset, group.iter().map(|kept| kept.bytes.len()).sum());
            let mut bytes = Vec::with_capacity(len);
            for kept in group {
                let at = bytes.len();
                bytes.extend_from_slice(&kept.bytes);
                seal(&mut bytes[at..], place(offset, kept.seq, false));
                (offset, last) = (offset + kept.bytes.len() as u64, kept.seq);
            }
            put(&bytes, start)?;
            let (bytes, mut at) = (bytes::Bytes::from(bytes), 0);
            moved.extend(group.iter().map(|kept| {
                let piece = bytes.slice(at..at + kept.bytes.len());
                let offset = start + at as u64;
                at += piece.len();
                Moved { offset, end: start + at as u64, seq: kept.seq, bytes: piece }
            }));
        }

        let mut marker = encode(&promises(&plan.newest), u64::MAX)?;
        let at = marker_at(offset);
        seal(&mut marker, place(at, last, true));
        put(&marker, at)?;
        let end = at + marker.len() as u64;
        if *reused {
            // The zero heads before and behind the marker, and the rest of both pages with them.
            fill(&**file, offset, at).map_err(wrap)?;
            fill(&**file, end, (end + HEAD_LEN as u64).next_multiple_of(PAGE)).map_err(wrap)?;
        }
        // And a little more, so that the first batches find room: the keeper goes on from there.
        let reserved = end + self.options.reserve();
        let room = reserved.max(self.options.segment_size.min(reserved + STEP));
        let room = room.next_multiple_of(PAGE);
        fill(&**file, end.max(*len), room).map_err(wrap)?;

        let header = Header {
            log_id: self.log_id,
            id: plan.id,
            salt,
            created: u64::try_from(self.fs.now().as_nanos()).unwrap_or(u64::MAX),
            batch_max: self.batch_bound(plan),
            predecessor: plan.predecessor,
            born_end: end,
            reused: *reused,
        };
        let copy = header.encode();
        put(&copy, 0)?;
        put(&copy, PAGE)?;
        let named = (state.next, state.is_empty());
        let file = (Arc::clone(file), path.clone());
        let mut segment = Segment::new(header, file, named, room.max(*len));
        segment.made_here = true;
        let segment = Arc::new(segment);
        Ok(Begun { segment, state_end, state, moved, end })
    }

    /// Largest batch that may stand in the segment of `plan`: what is written again may stem from
    /// a process with a larger limit.
    fn batch_bound(&self, plan: &Plan) -> u64 {
        let again = plan.again.iter().map(|kept| kept.bytes.len() as u64).max();
        self.options.batch_max.max(BATCH_BOUND_MIN).max(again.unwrap_or(0))
    }

    fn sync_file_of(&self, file: &Arc<dyn File>, name: &str, point: SyncPoint) -> Result<()> {
        if self.options.omit_sync == Some(point) {
            return Ok(());
        }
        // DURABILITY: everything before born_end, before the file gets its name.
        file.sync().map_err(|e| {
            let path: PathBuf = self.fs.root().join(Dir::Tmp.name()).join(name);
            Error::io("sync", path, e)
        })
    }
}

/// Bytes that a State batch with all its slots may take, whatever the limit of other batches.
const BATCH_BOUND_MIN: u64 = 128 << 10;

/// Runs of batches that are written with one call: as many as fit 256 KiB, or one that does not.
fn groups(again: &[Kept]) -> impl Iterator<Item = &[Kept]> {
    const LEN: usize = 256 << 10;
    let mut rest = again;
    std::iter::from_fn(move || {
        let mut len = 0;
        let fits = |kept: &&Kept| {
            len += kept.bytes.len();
            len <= LEN
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (group, after) = rest.split_at_checked(count)?;
        rest = after;
        Some(group)
    })
}

/// The version after a batch that stands in the successor now.
fn apply_again(version: &Version, moved: &Moved) -> Version {
    let head = crate::batch::Head::peek_any(&moved.bytes).expect("a batch that was written");
    let steps = steps_of_batch(&head, &moved.bytes).expect("a batch that was planned");
    let ids = |index| version.map.id(index);
    let state = crate::meaning::plan(&version.state, &steps, false, ids)
        .expect("a batch that was planned in this order");
    let mut map = version.map.clone();
    place(&mut map, &version.state, &steps, moved.offset);
    Version { state, map, seq: moved.seq }
}
