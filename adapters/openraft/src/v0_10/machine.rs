//! StateMachine: an application's state in memory, with snapshots in files beside the log.
//!
//! Above: `openraft::Raft`. Below: [`App`](crate::App), which only applies, writes and reads itself;
//! `shelf`, for the snapshot files and the mark that makes one count.
//! INVARIANT: a snapshot is durable, and marked in the log, before openraft hears of it: the purge
//! that follows goes through the same log and cannot be durable without the mark.

use std::{
    fmt::Debug,
    io::{self, Read, Seek},
    marker::PhantomData,
    sync::{Arc, PoisonError, RwLock},
};

use futures_util::{Stream, TryStreamExt};
use hardlog::{EntryId, SnapshotReader, SnapshotStore, SnapshotWriter};
use openraft::{
    OptionalSend, RaftSnapshotBuilder, StoredMembership,
    entry::RaftEntry,
    storage::{EntryResponder, RaftStateMachine, Snapshot, SnapshotMeta},
    type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf},
};

use super::{Codecs, Config, LogStore, log::entry_id};
use crate::{
    app::App,
    codec::{Bincode, Codec},
    error::{Error, What},
    shelf::Shelf,
};

/// openraft's [`RaftStateMachine`] over an [`App`].
///
/// The snapshot that openraft passes around is a [`SnapshotReader`]: the file of the node that took
/// it. A network sends what it reads; the receiving side hands it to [`receive`], and the reader that
/// returns to `Raft::install_full_snapshot`.
pub struct StateMachine<C: Config, A, K = Bincode> {
    shelf: Arc<Shelf>,
    app: Arc<RwLock<A>>,
    applied: Applied<C>,
    /// The snapshot that counts.
    current: Arc<RwLock<Option<EntryId>>>,
    _of: PhantomData<fn() -> K>,
}

struct Applied<C: Config> {
    last: Option<LogIdOf<C>>,
    membership: StoredMembershipOf<C>,
}

/// Takes a snapshot of the state as it was when openraft asked for it.
pub struct SnapshotBuilder<C: Config, A, K = Bincode> {
    shelf: Arc<Shelf>,
    app: A,
    meta: SnapshotMetaOf<C>,
    current: Arc<RwLock<Option<EntryId>>>,
    _of: PhantomData<fn() -> K>,
}

impl<C, A, K> StateMachine<C, A, K>
where
    C: Config,
    A: App<C::Entry, C::R>,
    K: Codecs<C>,
{
    /// The state as of the newest snapshot of this log, or `app` where there is none. Verifies the
    /// snapshot's file; where that is damaged, an older one serves if the log reaches back to it.
    ///
    /// # Errors
    /// `InvalidData` where no snapshot serves though the log counts on one, or where it does not
    /// decode; what the disk and [`App::read_from`] say.
    pub fn open(log: &LogStore<C, K>, app: A) -> io::Result<Self> {
        let mut machine = Self {
            shelf: Arc::clone(&log.shelf),
            app: Arc::new(RwLock::new(app)),
            applied: Applied { last: None, membership: StoredMembership::default() },
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

    /// The snapshot files of this node, for a network that receives one: see [`receive`].
    #[must_use]
    pub fn snapshots(&self) -> SnapshotStore {
        self.shelf.snapshots().clone()
    }

    fn take(&mut self, app: A, meta: &SnapshotMetaOf<C>, id: EntryId) {
        *self.app.write().unwrap_or_else(PoisonError::into_inner) = app;
        self.applied.last.clone_from(&meta.last_log_id);
        self.applied.membership = meta.last_membership.clone();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(id);
    }
}

/// Writes a snapshot that comes from a peer into the files of this node, chunk by chunk, and opens it.
/// Durable when this returns; it counts only once openraft has installed it. Blocks on the disk.
///
/// # Errors
/// What `input` and the disk say, and `StorageFull`; nothing is left of it then.
pub fn receive<C: Config, K: Codecs<C>>(
    files: &SnapshotStore,
    meta: &SnapshotMetaOf<C>,
    input: &mut impl Read,
) -> io::Result<SnapshotReader> {
    let id = id_of::<C>(meta)?;
    let mut writer = files.begin(id, &encode_meta::<C, K>(meta)?).map_err(Error::Log)?;
    io::copy(input, &mut writer)?;
    writer.commit().map_err(Error::Log)?;
    Ok(files.open(id).map_err(Error::Log)?)
}

impl<C, A, K> RaftStateMachine<C> for StateMachine<C, A, K>
where
    C: Config,
    A: App<C::Entry, C::R>,
    K: Codecs<C>,
{
    type SnapshotData = SnapshotReader;
    type SnapshotBuilder = SnapshotBuilder<C, A, K>;

    async fn applied_state(&mut self) -> io::Result<(Option<LogIdOf<C>>, StoredMembershipOf<C>)> {
        Ok((self.applied.last.clone(), self.applied.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<C>>> + Unpin + OptionalSend,
    {
        while let Some((entry, client)) = entries.try_next().await? {
            let response = self.app.write().unwrap_or_else(PoisonError::into_inner).apply(&entry);
            let id = entry.log_id();
            if let Some(membership) = entry.get_membership() {
                self.applied.membership = StoredMembership::new(Some(id.clone()), membership);
            }
            self.applied.last = Some(id);
            if let Some(client) = client {
                client.send(response);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder<C, A, K> {
        SnapshotBuilder {
            shelf: Arc::clone(&self.shelf),
            app: self.app.read().unwrap_or_else(PoisonError::into_inner).clone(),
            meta: SnapshotMeta {
                last_log_id: self.applied.last.clone(),
                last_membership: self.applied.membership.clone(),
            },
            current: Arc::clone(&self.current),
            _of: PhantomData,
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<C>,
        mut snapshot: SnapshotReader,
    ) -> io::Result<()> {
        let id = id_of::<C>(meta)?;
        let encoded = encode_meta::<C, K>(meta)?;
        // Read before it is kept: a snapshot that this application cannot read is never marked.
        let work = move |_: &Shelf| {
            let app = A::read_from(&mut snapshot).map_err(Error::App)?;
            snapshot.rewind().map_err(Error::App)?;
            Ok::<_, Error>((app, snapshot))
        };
        let (app, mut snapshot) = self.shelf.elsewhere(work).await??;
        let own = self.shelf.open_snapshot(id).ok();
        match own.filter(|own| own.mark() == snapshot.mark() && *own.meta() == encoded) {
            // It is the very file: `receive` has written it.
            Some(own) => self.shelf.mark_snapshot(own.mark()).await?,
            None => {
                let copy = move |out: &mut SnapshotWriter| io::copy(&mut snapshot, out).map(drop);
                self.shelf.keep_snapshot(id, encoded, copy).await?;
            }
        }
        self.take(app, meta, id);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<C, SnapshotReader>>> {
        let current = *self.current.read().unwrap_or_else(PoisonError::into_inner);
        let Some(id) = current else { return Ok(None) };
        let (meta, snapshot) = snapshot::<C, K>(&self.shelf, id)?;
        Ok(Some(Snapshot { meta, snapshot }))
    }
}

impl<C, A, K> RaftSnapshotBuilder<C> for SnapshotBuilder<C, A, K>
where
    C: Config,
    A: App<C::Entry, C::R>,
    K: Codecs<C>,
{
    type SnapshotData = SnapshotReader;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<C, SnapshotReader>> {
        let id = id_of::<C>(&self.meta)?;
        let (meta, app) = (encode_meta::<C, K>(&self.meta)?, self.app.clone());
        self.shelf.keep_snapshot(id, meta, move |out| app.write_to(out)).await?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(id);
        let (meta, snapshot) = snapshot::<C, K>(&self.shelf, id)?;
        Ok(Snapshot { meta, snapshot })
    }
}

/// The name of a snapshot's file; that of a state to which nothing was applied is zero.
fn id_of<C: Config>(meta: &SnapshotMetaOf<C>) -> Result<EntryId, Error> {
    meta.last_log_id.as_ref().map_or(Ok(EntryId::default()), entry_id::<C>)
}

fn encode_meta<C: Config, K: Codecs<C>>(meta: &SnapshotMetaOf<C>) -> Result<Vec<u8>, Error> {
    let bytes = <K as Codec<SnapshotMetaOf<C>>>::encode(meta);
    bytes.map_err(|e| Error::encode(What::SnapshotMeta, e))
}

fn snapshot<C: Config, K: Codecs<C>>(
    shelf: &Shelf,
    id: EntryId,
) -> Result<(SnapshotMetaOf<C>, SnapshotReader), Error> {
    let reader = shelf.open_snapshot(id)?;
    let meta = <K as Codec<SnapshotMetaOf<C>>>::decode(reader.meta());
    Ok((meta.map_err(|e| Error::decode(What::SnapshotMeta, e))?, reader))
}

impl<C: Config, A, K> Debug for StateMachine<C, A, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateMachine").field("applied", &self.applied.last).finish_non_exhaustive()
    }
}

impl<C: Config, A, K> Debug for SnapshotBuilder<C, A, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotBuilder").field("meta", &self.meta).finish_non_exhaustive()
    }
}
