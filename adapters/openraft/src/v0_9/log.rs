//! LogStore and LogReader: openraft 0.9's log storage over the shelf.
//!
//! Above: `openraft::Raft`, which calls one method at a time. Below: `shelf`.
//! INVARIANT: an entry's header says its index and leader; bytes that decode to another entry are an
//! error, whoever wrote them.

use std::{fmt::Debug, marker::PhantomData, ops::RangeBounds, sync::Arc};

use hardlog::{EntryId, Log};
use openraft09::{
    AnyError, LogId, LogState, OptionalSend, RaftLogId, RaftLogReader, StorageError,
    StorageIOError, Vote,
    storage::{LogFlushed, RaftLogStorage},
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
}

type Fallible<T, C> = Result<T, StorageError<<C as openraft09::RaftTypeConfig>::NodeId>>;

impl<C: Config, K: Codecs<C>> RaftLogReader<C> for LogReader<C, K> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Fallible<Vec<C::Entry>, C> {
        decode_all::<C, K>(read(&self.reader, &range, u64::MAX)).map_err(read_logs)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Fallible<Vec<C::Entry>, C> {
        decode_all::<C, K>(read(&self.reader, &(start..end), READ_MAX)).map_err(read_logs)
    }
}

impl<C: Config, K: Codecs<C>> RaftLogReader<C> for LogStore<C, K> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Fallible<Vec<C::Entry>, C> {
        self.get_log_reader().await.try_get_log_entries(range).await
    }
}

impl<C: Config, K: Codecs<C>> RaftLogStorage<C> for LogStore<C, K> {
    type LogReader = LogReader<C, K>;

    async fn get_log_state(&mut self) -> Fallible<LogState<C>, C> {
        let (purged, last) = self.shelf.ids();
        let id = |id: Option<EntryId>| id.map(log_id::<C>).transpose();
        Ok(LogState {
            last_purged_log_id: id(purged).map_err(read_logs)?,
            last_log_id: id(last).map_err(read_logs)?,
        })
    }

    async fn get_log_reader(&mut self) -> LogReader<C, K> {
        LogReader { reader: self.shelf.reader(), _of: PhantomData }
    }

    async fn save_vote(&mut self, vote: &Vote<C::NodeId>) -> Fallible<(), C> {
        let failed = |e: Error| StorageIOError::write_vote(AnyError::new(&e));
        let bytes = <K as Codec<Vote<C::NodeId>>>::encode(vote);
        let bytes = bytes.map_err(|e| failed(Error::encode(What::Vote, e)))?;
        Ok(self.shelf.save_vote(bytes).await.map_err(failed)?)
    }

    async fn read_vote(&mut self) -> Fallible<Option<Vote<C::NodeId>>, C> {
        let vote = Shelf::vote(&self.shelf.reader());
        let vote = vote.map(|bytes| <K as Codec<Vote<C::NodeId>>>::decode(&bytes)).transpose();
        let failed = |e| StorageIOError::read_vote(AnyError::new(&Error::decode(What::Vote, e)));
        Ok(vote.map_err(failed)?)
    }

    async fn save_committed(&mut self, committed: Option<LogId<C::NodeId>>) -> Fallible<(), C> {
        let id = committed.map(|id| entry_id::<C>(&id)).transpose().map_err(write_logs)?;
        self.shelf.save_committed(codec::encode_id(id)).await.map_err(write_logs)
    }

    async fn read_committed(&mut self) -> Fallible<Option<LogId<C::NodeId>>, C> {
        let Some(bytes) = self.shelf.committed() else { return Ok(None) };
        let id = codec::decode_id(&bytes).map_err(read_logs)?;
        id.map(log_id::<C>).transpose().map_err(read_logs)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<C>) -> Fallible<(), C>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let encoded = entries.into_iter().map(|entry| encode::<C, K>(&entry));
        let encoded = encoded.collect::<Result<Vec<_>, _>>().map_err(write_logs)?;
        let told = self.shelf.append(encoded, move |result| callback.log_io_completed(result));
        told.await.map_err(write_logs)
    }

    async fn truncate(&mut self, id: LogId<C::NodeId>) -> Fallible<(), C> {
        // This version names the first entry to go, the shelf the last one to stay.
        self.shelf.truncate_after(id.index.checked_sub(1)).await.map_err(write_logs)
    }

    async fn purge(&mut self, id: LogId<C::NodeId>) -> Fallible<(), C> {
        let id = entry_id::<C>(&id).map_err(write_logs)?;
        self.shelf.purge(id).await.map_err(write_logs)
    }
}

fn read_logs<N: openraft09::NodeId>(error: Error) -> StorageError<N> {
    let at = match &error {
        Error::Decode { what: What::Entry(index), .. } | Error::OtherEntry { index } => *index,
        _ => return StorageIOError::read_logs(AnyError::new(&error)).into(),
    };
    StorageIOError::read_log_at_index(at, AnyError::new(&error)).into()
}

fn write_logs<N: openraft09::NodeId>(error: Error) -> StorageError<N> {
    StorageIOError::write_logs(AnyError::new(&error)).into()
}

/// openraft's id as the engine's.
pub(super) fn entry_id<C: Config>(id: &LogId<C::NodeId>) -> Result<EntryId, Error> {
    codec::entry_id(&id.leader_id, id.index)
}

/// The engine's id as openraft's.
fn log_id<C: Config>(id: EntryId) -> Result<LogId<C::NodeId>, Error> {
    Ok(LogId::new(codec::leader(&id)?, id.index))
}

fn encode<C: Config, K: Codecs<C>>(entry: &C::Entry) -> Result<hardlog::Entry, Error> {
    let id = entry_id::<C>(entry.get_log_id())?;
    let bytes = <K as Codec<C::Entry>>::encode(entry);
    let payload = bytes.map_err(|e| Error::encode(What::Entry(id.index), e))?;
    Ok(hardlog::Entry { id, payload: payload.into() })
}

fn decode_all<C: Config, K: Codecs<C>>(
    entries: Result<Vec<hardlog::Entry>, Error>,
) -> Result<Vec<C::Entry>, Error> {
    let decode = |stored: &hardlog::Entry| {
        let index = stored.id.index;
        let entry = <K as Codec<C::Entry>>::decode(&stored.payload);
        let entry = entry.map_err(|e| Error::decode(What::Entry(index), e))?;
        let said = entry.get_log_id();
        let header = (stored.id.index, Some((stored.id.term, stored.id.tag)));
        if (said.index, said.leader_id.to_header()) != header {
            return Err(Error::OtherEntry { index });
        }
        Ok(entry)
    };
    entries?.iter().map(decode).collect()
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
