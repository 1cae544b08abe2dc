//! StateMachine: an application's state in memory, with snapshots in files beside the log.
//!
//! Above: `openraft::Raft` 0.9. Below: [`App`](crate::App), which only applies, writes and reads
//! itself; `shelf`, for the snapshot files and the mark that makes one count.
//! INVARIANT: a snapshot is durable, and marked in the log, before openraft hears of it: the purge
//! that follows goes through the same log and cannot be durable without the mark.
//! What travels is held in memory as a whole: this version of openraft receives a snapshot piece by
//! piece without saying whose it is, and a file of the store needs a name from the start.

use std::{
    fmt::Debug,
    io::Cursor,
    marker::PhantomData,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use hardlog::{EntryId, SnapshotReader};
use openraft09::{
    AnyError, LogId, OptionalSend, RaftLogId, RaftSnapshotBuilder, Snapshot, SnapshotMeta,
    StorageError, StorageIOError, StoredMembership, entry::RaftPayload, storage::RaftStateMachine,
};

use super::{Codecs, Config, LogStore, log::entry_id};
use crate::{
    app::App,
    codec::{Bincode, Codec},
    error::{Error, What},
    shelf::Shelf,
};

type Meta<C> = SnapshotMeta<NodeId<C>, <C as openraft09::RaftTypeConfig>::Node>;
type NodeId<C> = <C as openraft09::RaftTypeConfig>::NodeId;
type Fallible<T, C> = Result<T, StorageError<NodeId<C>>>;

/// Numbers the snapshots of this process.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// openraft's [`RaftStateMachine`] over an [`App`].
pub struct StateMachine<C: Config, A, K = Bincode> {
    shelf: Arc<Shelf>,
    app: Arc<RwLock<A>>,
    last: Option<LogId<C::NodeId>>,
    membership: StoredMembership<C::NodeId, C::Node>,
    /// The snapshot that counts.
    current: Arc<RwLock<Option<EntryId>>>,
    _of: PhantomData<fn() -> K>,
}

/// Takes a snapshot of the state as it was when openraft asked for it.
pub struct SnapshotBuilder<C: Config, A, K = Bincode> {
    shelf: Arc<Shelf>,
    app: A,
    meta: Meta<C>,
    current: Arc<RwLock<Option<EntryId>>>,
    _of: PhantomData<fn() -> K>,
}

impl<C, A, K> StateMachine<C, A, K>
where
    C: Config<SnapshotData = Cursor<Vec<u8>>>,
    A: App<C::Entry, C::R>,
    K: Codecs<C>,
{
    /// The state as of the newest snapshot of this log, or `app` where there is none. Verifies the
    /// snapshot's file; where that is damaged, an older one serves if the log reaches back to it.
    ///
    /// # Errors
    /// What is wrong with the snapshot where none serves though the log counts on one; what the
    /// codec, the disk and [`App::read_from`] say.
    pub fn open(log: &LogStore<C, K>, app: A) -> Result<Self, Error> {
        let mut machine = Self {
            shelf: Arc::clone(&log.shelf),
            app: Arc::new(RwLock::new(app)),
            last: None,
            membership: StoredMembership::default(),
            current: Arc::new(RwLock::new(None)),
            _of: PhantomData,
        };
        if let Some(id) = machine.shelf.usable_snapshot()? {
            let (meta, mut reader) = snapshot::<C, K>(&machine.shelf, id)?;
            let app = A::read_from(&mut reader).map_err(Error::App)?;
            machine.take(app, &meta, id);
        }
        Ok(machine)
    }

    /// The application's state, for reads. Whoever holds the lock keeps entries from being applied.
    #[must_use]
    pub fn app(&self) -> Arc<RwLock<A>> {
        Arc::clone(&self.app)
    }

    fn take(&mut self, app: A, meta: &Meta<C>, id: EntryId) {
        *self.app.write().unwrap_or_else(PoisonError::into_inner) = app;
        self.last.clone_from(&meta.last_log_id);
        self.membership = meta.last_membership.clone();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(id);
    }
}

impl<C, A, K> RaftStateMachine<C> for StateMachine<C, A, K>
where
    C: Config<SnapshotData = Cursor<Vec<u8>>>,
    A: App<C::Entry, C::R>,
    K: Codecs<C>,
{
    type SnapshotBuilder = SnapshotBuilder<C, A, K>;

    async fn applied_state(
        &mut self,
    ) -> Fallible<(Option<LogId<C::NodeId>>, StoredMembership<C::NodeId, C::Node>), C> {
        Ok((self.last.clone(), self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Fallible<Vec<C::R>, C>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut app = self.app.write().unwrap_or_else(PoisonError::into_inner);
        let responses = entries.into_iter().map(|entry| {
            let id = entry.get_log_id().clone();
            if let Some(membership) = entry.get_membership() {
                self.membership = StoredMembership::new(Some(id.clone()), membership.clone());
            }
            self.last = Some(id);
            app.apply(&entry)
        });
        Ok(responses.collect())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder<C, A, K> {
        // Names a transfer, so no two may share it: not those of one state, nor of two processes.
        let (run, number) = (self.shelf.incarnation(), TAKEN.fetch_add(1, Ordering::Relaxed));
        SnapshotBuilder {
            shelf: Arc::clone(&self.shelf),
            app: self.app.read().unwrap_or_else(PoisonError::into_inner).clone(),
            meta: SnapshotMeta {
                last_log_id: self.last.clone(),
                last_membership: self.membership.clone(),
                snapshot_id: format!("{run}-{number}"),
            },
            current: Arc::clone(&self.current),
            _of: PhantomData,
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Fallible<Box<Cursor<Vec<u8>>>, C> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &Meta<C>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Fallible<(), C> {
        let bytes = snapshot.into_inner();
        let app = A::read_from(&mut bytes.as_slice()).map_err(Error::App).map_err(write::<C>)?;
        let id = keep::<C, K>(&self.shelf, meta, move |out| std::io::Write::write_all(out, &bytes));
        let id = id.await.map_err(write::<C>)?;
        self.take(app, meta, id);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Fallible<Option<Snapshot<C>>, C> {
        let current = *self.current.read().unwrap_or_else(PoisonError::into_inner);
        let Some(id) = current else { return Ok(None) };
        whole::<C, K>(&self.shelf, id).await.map(Some)
    }
}

impl<C, A, K> RaftSnapshotBuilder<C> for SnapshotBuilder<C, A, K>
where
    C: Config<SnapshotData = Cursor<Vec<u8>>>,
    A: App<C::Entry, C::R>,
    K: Codecs<C>,
{
    async fn build_snapshot(&mut self) -> Fallible<Snapshot<C>, C> {
        let app = self.app.clone();
        let id = keep::<C, K>(&self.shelf, &self.meta, move |out| app.write_to(out));
        let id = id.await.map_err(write::<C>)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(id);
        whole::<C, K>(&self.shelf, id).await
    }
}

/// Writes a snapshot with its metadata and marks it; durable when this returns.
async fn keep<C: Config, K: Codecs<C>>(
    shelf: &Arc<Shelf>,
    meta: &Meta<C>,
    fill: impl FnOnce(&mut hardlog::SnapshotWriter) -> std::io::Result<()> + Send + 'static,
) -> Result<EntryId, Error> {
    // The name of the file; that of a state to which nothing was applied is zero.
    let id = meta.last_log_id.as_ref().map_or(Ok(EntryId::default()), entry_id::<C>)?;
    let bytes = <K as Codec<Meta<C>>>::encode(meta);
    let bytes = bytes.map_err(|e| Error::encode(What::SnapshotMeta, e))?;
    shelf.keep_snapshot(id, bytes, fill).await?;
    Ok(id)
}

fn snapshot<C: Config, K: Codecs<C>>(
    shelf: &Shelf,
    id: EntryId,
) -> Result<(Meta<C>, SnapshotReader), Error> {
    let reader = shelf.open_snapshot(id)?;
    let meta = <K as Codec<Meta<C>>>::decode(reader.meta());
    Ok((meta.map_err(|e| Error::decode(What::SnapshotMeta, e))?, reader))
}

async fn whole<C, K>(shelf: &Arc<Shelf>, id: EntryId) -> Fallible<Snapshot<C>, C>
where
    C: Config<SnapshotData = Cursor<Vec<u8>>>,
    K: Codecs<C>,
{
    let read = move |shelf: &Shelf| {
        let (meta, mut reader) = snapshot::<C, K>(shelf, id)?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut bytes).map_err(Error::App)?;
        Ok::<_, Error>(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) })
    };
    let read = shelf.elsewhere(read).await.and_then(|read| read);
    read.map_err(|e| StorageIOError::read_snapshot(None, AnyError::new(&e)).into())
}

fn write<C: Config>(error: Error) -> StorageError<C::NodeId> {
    StorageIOError::write_snapshot(None, AnyError::new(&error)).into()
}

impl<C: Config, A, K> Debug for StateMachine<C, A, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateMachine").field("applied", &self.last).finish_non_exhaustive()
    }
}

impl<C: Config, A, K> Debug for SnapshotBuilder<C, A, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotBuilder").field("meta", &self.meta).finish_non_exhaustive()
    }
}
