//! What a log means, kept apart from the engine: a window of entries, promises, slots, a mark.
//!
//! One type serves both sides of every campaign: [`View::apply`] predicts what a batch makes of the
//! log (the model: a `Vec` and a few fields), [`View::of`] reads back everything that an open log
//! shows. Whatever differs between the two is a bug of one of them.
//!
//! Above: the campaigns. Below: the public API of the engine, and nothing else of it.

use bytes::Bytes;
use hardlog::{Batch, Class, Entry, EntryId, Error, HardState, Index, Log, SnapshotMark};

/// The slot that the campaigns use for something ordered.
pub const ORDERED_SLOT: u64 = 1;
/// The slot that the campaigns use for a promise.
pub const PROMISE_SLOT: u64 = 2;

/// One change, as the campaigns write it.
#[derive(Clone, Debug)]
pub enum Op {
    /// Appends.
    Entries(Vec<Entry>),
    /// Replaces term, vote and commit.
    Hard(HardState),
    /// Sets [`ORDERED_SLOT`] or [`PROMISE_SLOT`].
    Meta(Class, Bytes),
    /// Drops the end.
    Truncate(Index),
    /// Drops the front.
    Trim(Index),
    /// Drops everything.
    Reset(Index, Option<EntryId>),
    /// Marks a snapshot.
    Mark(SnapshotMark),
    /// Takes note of a loss.
    Acknowledge,
}

impl Op {
    /// Lowest index that it touches, if it touches entries other than by dropping the front.
    #[must_use]
    pub fn lowest(&self) -> Option<Index> {
        match self {
            Self::Entries(entries) => entries.first().map(Entry::index),
            Self::Truncate(from) => Some(*from),
            Self::Reset(first, _) => Some(*first),
            _ => None,
        }
    }
}

/// The batch that does all of `ops` at once.
#[must_use]
pub fn batch_of(ops: &[Op]) -> Batch {
    let mut batch = Batch::new();
    for op in ops {
        match op.clone() {
            Op::Entries(entries) => batch.append(entries),
            Op::Hard(hs) => batch.hard_state(hs),
            Op::Meta(class, value) => batch.meta(slot_of(class), class, value),
            Op::Truncate(from) => batch.truncate_from(from),
            Op::Trim(first) => batch.trim_before(first),
            Op::Reset(first, prev) => batch.reset(first, prev),
            Op::Mark(mark) => batch.snapshot_mark(mark),
            Op::Acknowledge => batch.acknowledge_loss(),
        };
    }
    batch
}

fn slot_of(class: Class) -> u64 {
    if class == Class::Promise { PROMISE_SLOT } else { ORDERED_SLOT }
}

/// What is never forgotten: term, vote, and the slot that is a promise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vows {
    /// Term and vote.
    pub hard: (u64, Option<u64>),
    /// The promise slot.
    pub slot: Option<Bytes>,
}

/// The meaning of a log. Two logs with equal views cannot be told apart by reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// First index of the window.
    pub first: Index,
    /// Id just before the window.
    pub prev: Option<EntryId>,
    /// The entries; None for bytes that the log refuses to hand out.
    pub entries: Vec<(EntryId, Option<Bytes>)>,
    /// Commit index.
    pub commit: Index,
    /// The ordered slot.
    pub slot: Option<Bytes>,
    /// Newest snapshot mark.
    pub mark: Option<SnapshotMark>,
    /// The promises.
    pub vows: Vows,
    /// What may have been lost.
    pub lost: Option<Index>,
}

impl View {
    /// An empty log that begins at `first`.
    #[must_use]
    pub fn new(first: Index) -> Self {
        Self { first, ..Self::default() }
    }

    /// One past the last index.
    #[must_use]
    pub fn next(&self) -> Index {
        self.first + self.entries.len() as u64
    }

    /// Id of the entry at `index`, also of the one just before the window.
    #[must_use]
    pub fn id(&self, index: Index) -> Option<EntryId> {
        match index.checked_sub(self.first) {
            None => self.prev.filter(|id| id.index == index),
            Some(at) => self.entries.get(usize::try_from(at).ok()?).map(|(id, _)| *id),
        }
    }

    /// Term, vote and commit.
    #[must_use]
    pub fn hard_state(&self) -> HardState {
        HardState { term: self.vows.hard.0, vote: self.vows.hard.1, commit: self.commit }
    }

    /// Does what the engine is expected to do.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Entries(entries) => {
                self.entries.extend(entries.iter().map(|e| (e.id, Some(e.payload.clone()))));
            }
            Op::Hard(hs) => {
                self.vows.hard = (hs.term, hs.vote);
                self.commit = hs.commit;
            }
            Op::Meta(Class::Promise, value) => self.vows.slot = Some(value.clone()),
            Op::Meta(Class::Ordered, value) => self.slot = Some(value.clone()),
            Op::Truncate(from) => self.entries.retain(|(id, _)| id.index < *from),
            Op::Trim(to) => {
                let before = to.checked_sub(1).and_then(|index| self.id(index));
                self.entries.retain(|(id, _)| id.index >= *to);
                (self.first, self.prev) = (*to, before);
            }
            Op::Reset(first, prev) => {
                self.entries.clear();
                (self.first, self.prev) = (*first, *prev);
                self.commit = self.commit.max(prev.map_or(0, |id| id.index));
            }
            Op::Mark(mark) => self.mark = Some(*mark),
            Op::Acknowledge => self.lost = None,
        }
        if self.lost.is_some_and(|lost| lost < self.first) {
            self.lost = None;
        }
    }

    /// Reads back everything that `log` shows: each entry alone and all in one iteration, and the
    /// marked snapshot.
    ///
    /// # Errors
    /// What two ways of reading say differently, or an error that is none of the typed ones.
    pub fn of(log: &Log) -> Result<Self, String> {
        let view = Self::single(log)?;
        iterate(log, &view.entries)?;
        Ok(view)
    }

    /// As [`View::of`], each entry alone: for disks whose calls fail meanwhile.
    ///
    /// # Errors
    /// As [`View::of`].
    pub fn single(log: &Log) -> Result<Self, String> {
        let (first, next) = (log.first_log_index(), log.next_log_index());
        let mut entries = Vec::new();
        for index in first..next {
            entries.push(match log.at(index) {
                Ok(entry) if entry.index() == index => (entry.id, Some(entry.payload)),
                Ok(entry) => return Err(format!("at({index}) hands out {:?}", entry.id)),
                Err(
                    Error::Corrupt(_)
                    | Error::Faulty { .. }
                    | Error::Io { .. }
                    | Error::Full { .. },
                ) => (log.id_at(index).map_err(|e| format!("id_at({index}): {e}"))?, None),
                Err(e) => return Err(format!("at({index}): {e}")),
            });
        }
        let hs = log.hard_state();
        Ok(Self {
            first,
            prev: log.prev_id(),
            entries,
            commit: hs.commit,
            slot: log.meta(ORDERED_SLOT),
            mark: log.snapshot_mark(),
            vows: Vows { hard: (hs.term, hs.vote), slot: log.meta(PROMISE_SLOT) },
            lost: log.maybe_lost(),
        })
    }

    /// Whether `self`, which was read back, shows the same ordered state as `model`. Bytes that the
    /// log refuses to hand out match anything: that is not silent. So do bytes that a model does not
    /// know.
    #[must_use]
    pub fn shows(&self, model: &Self) -> bool {
        (self.first, self.prev, self.commit) == (model.first, model.prev, model.commit)
            && (&self.slot, self.mark) == (&model.slot, model.mark)
            && self.entries.len() == model.entries.len()
            && self
                .entries
                .iter()
                .zip(&model.entries)
                .all(|(a, b)| a.0 == b.0 && (a.1.is_none() || b.1.is_none() || a.1 == b.1))
    }

    /// Entries that the log names and refuses to hand out.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.entries.iter().filter(|(_, payload)| payload.is_none()).count()
    }

    /// A line for people.
    #[must_use]
    pub fn brief(&self) -> String {
        let entries: Vec<String> = self
            .entries
            .iter()
            .map(|(id, p)| format!("{}@{}:{}", id.index, id.term, p.as_ref().map_or(0, Bytes::len)))
            .collect();
        let Self { first, prev, commit, mark, lost, .. } = self;
        format!(
            "first {first} prev {:?} [{}] commit {commit} slot {:?} mark {:?} vows {:?} lost {lost:?}",
            prev.map(|id| (id.index, id.term)),
            entries.join(" "),
            self.slot,
            mark.map(|m| m.id.index),
            self.vows
        )
    }
}

/// One iteration shows what single reads show, up to the first entry that is refused.
fn iterate(log: &Log, entries: &[(EntryId, Option<Bytes>)]) -> Result<(), String> {
    let whole = entries.iter().take_while(|(_, payload)| payload.is_some());
    let mut iteration = log.entries(log.first_log_index()..log.next_log_index(), u64::MAX);
    for (id, payload) in whole {
        match iteration.next() {
            Some(Ok(entry)) if entry.id == *id && Some(&entry.payload) == payload.as_ref() => {}
            other => return Err(format!("iteration shows {other:?}, at() shows {id:?}")),
        }
    }
    let refused = entries.iter().any(|(_, payload)| payload.is_none());
    match iteration.next() {
        None if !refused => Ok(()),
        Some(Err(_)) if refused => Ok(()),
        other => Err(format!("iteration goes on with {other:?}")),
    }
}
