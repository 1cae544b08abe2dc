//! LogStore and LogReader: openraft's log storage over the shelf.
//!
//! Above: `openraft::Raft`, which calls one method at a time. Below: `shelf`.
//! INVARIANT: an entry's header says its index and leader; bytes that decode to another entry are an
//! error, whoever wrote them.

use std::{fmt::Debug, io, marker::PhantomData, ops::RangeBounds, sync::Arc};

use hardlog::{EntryId, Log};
use openraft::{
    LogId, OptionalSend, RaftLogReader,
    entry::RaftEntry,
    storage::{IOFlushed, LogState, RaftLogStorage},
    type_config::alias::{CommittedLeaderIdOf, LogIdOf, VoteOf},
};

use super::{Codecs, Config};
use crate::{
    codec::{self, Bincode, Codec, LeaderTag},
    error::{Error, What},
    shelf::{READ_MAX, Shelf, read},
};

/// The log of one node as openraft's [`RaftLogStorage`]: entries, vote and committed id.
///
/// `K` is the codec. Entries of up to [`Log::batch_max`] bytes fit (32 MiB by default), a vote of up
/// to 4096.
pub struct LogStore<C, K = Bincode> {
    pub(super) shelf: Arc<Shelf>,
    _of: PhantomData<fn() -> (C, K)>,
}

/// Reads the log while its store writes.
pub struct LogReader<C, K = Bincode> {
    reader: hardlog::LogReader,
    _of: PhantomData<fn() -> (C, K)>,
}

impl<C: Config, K: Codecs<C>> LogStore<C, K> {
    /// The log as openraft's. A log that has never held an entry begins wherever openraft's first
    /// entry lies, whatever `Options::first_index` says.
    ///
    /// Look at [`hardlog::RecoveryReport::maybe_lost`] before: where an open may have lost entries
    /// that this node had acknowledged, it must not vote until it was caught up.
    #[must_use]
    pub fn new(log: Log) -> Self {
        Self { shelf: Shelf::new(log, false), _of: PhantomData }
    }

    /// For a log without threads (`Options::background(false)`): each call that promises durability
    /// syncs before it returns. Deterministic, and slower.
    #[must_use]
    pub fn inline(log: Log) -> Self {
        Self { shelf: Shelf::new(log, true), _of: PhantomData }
    }

    fn reader(&self) -> LogReader<C, K> {
        LogReader { reader: self.shelf.reader(), _of: PhantomData }
    }
}

impl<C: Config, K: Codecs<C>> RaftLogReader<C> for LogReader<C, K> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<C::Entry>> {
        Ok(decode_all::<C, K>(&read(&self.reader, &range, u64::MAX)?)?)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<C::Entry>> {
        Ok(decode_all::<C, K>(&read(&self.reader, &(start..end), READ_MAX)?)?)
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<C>>> {
        let vote = Shelf::vote(&self.reader).map(|bytes| <K as Codec<VoteOf<C>>>::decode(&bytes));
        Ok(vote.transpose().map_err(|e| Error::decode(What::Vote, e))?)
    }
}

impl<C: Config, K: Codecs<C>> RaftLogStorage<C> for LogStore<C, K> {
    type LogReader = LogReader<C, K>;

    async fn get_log_state(&mut self) -> io::Result<LogState<C>> {
        let (purged, last) = self.shelf.ids();
        Ok(LogState {
            last_purged_log_id: purged.map(log_id::<C>).transpose()?,
            last_log_id: last.map(log_id::<C>).transpose()?,
        })
    }

    async fn get_log_reader(&mut self) -> LogReader<C, K> {
        self.reader()
    }

    async fn save_vote(&mut self, vote: &VoteOf<C>) -> io::Result<()> {
        let bytes = <K as Codec<VoteOf<C>>>::encode(vote);
        let bytes = bytes.map_err(|e| Error::encode(What::Vote, e))?;
        Ok(self.shelf.save_vote(bytes).await?)
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<C>>) -> io::Result<()> {
        let id = committed.map(|id| entry_id::<C>(&id)).transpose()?;
        Ok(self.shelf.save_committed(codec::encode_id(id)).await?)
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogIdOf<C>>> {
        let Some(bytes) = self.shelf.committed() else { return Ok(None) };
        Ok(codec::decode_id(&bytes)?.map(log_id::<C>).transpose()?)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> io::Result<()>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let encoded = entries.into_iter().map(|entry| encode::<C, K>(&entry));
        let encoded = encoded.collect::<Result<Vec<_>, _>>()?;
        Ok(self.shelf.append(encoded, move |result| callback.io_completed(result)).await?)
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<C>>) -> io::Result<()> {
        Ok(self.shelf.truncate_after(last.map(|id| id.index)).await?)
    }

    async fn purge(&mut self, id: LogIdOf<C>) -> io::Result<()> {
        Ok(self.shelf.purge(entry_id::<C>(&id)?).await?)
    }
}

/// openraft's id as the engine's.
pub(super) fn entry_id<C: Config>(id: &LogIdOf<C>) -> Result<EntryId, Error> {
    codec::entry_id(&id.leader_id, id.index)
}

/// The engine's id as openraft's.
fn log_id<C: Config>(id: EntryId) -> Result<LogIdOf<C>, Error> {
    Ok(LogId::new(codec::leader::<CommittedLeaderIdOf<C>>(&id)?, id.index))
}

fn encode<C: Config, K: Codecs<C>>(entry: &C::Entry) -> Result<hardlog::Entry, Error> {
    let (leader, index) = entry.log_id_parts();
    let id = codec::entry_id(leader, index)?;
    let bytes = <K as Codec<C::Entry>>::encode(entry);
    let payload = bytes.map_err(|e| Error::encode(What::Entry(index), e))?;
    Ok(hardlog::Entry { id, payload: payload.into() })
}

fn decode_all<C: Config, K: Codecs<C>>(entries: &[hardlog::Entry]) -> Result<Vec<C::Entry>, Error> {
    let decode = |stored: &hardlog::Entry| {
        let index = stored.id.index;
        let entry = <K as Codec<C::Entry>>::decode(&stored.payload);
        let entry = entry.map_err(|e| Error::decode(What::Entry(index), e))?;
        let (leader, said) = entry.log_id_parts();
        if (said, leader.to_header()) != (index, Some((stored.id.term, stored.id.tag))) {
            return Err(Error::OtherEntry { index });
        }
        Ok(entry)
    };
    entries.iter().map(decode).collect()
}

impl<C, K> Clone for LogReader<C, K> {
    fn clone(&self) -> Self {
        Self { reader: self.reader.clone(), _of: PhantomData }
    }
}

impl<C, K> Debug for LogReader<C, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogReader").finish_non_exhaustive()
    }
}

impl<C, K> Debug for LogStore<C, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogStore").field("shelf", &self.shelf).finish()
    }
}
