//! The thread that moves snapshots between nodes: reads pieces for followers, stores those that a
//! leader sends.
//!
//! Above: the driver, which decides who gets which snapshot and what becomes of one that is whole.
//! Below: the snapshot store. Network and log are not touched here.
//!
//! A transfer is resumed, not begun again, as long as the offer is the same: same entry, same
//! length, same checksum, same metadata. Only one snapshot is received at a time.

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc::Receiver},
};

use bytes::Bytes;
use hardlog::{
    EntryId, Error as LogError, SnapshotMark, SnapshotOffer, SnapshotReader, SnapshotReceiver,
    SnapshotStore,
};

use crate::{
    boot::configuration_of,
    inbox::Inbox,
    message::{NodeId, SnapshotChunk},
    work::{Carry, Report},
};

pub(crate) struct Courier {
    store: SnapshotStore,
    inbox: Arc<Inbox>,
    chunk_bytes: usize,
    sending: BTreeMap<NodeId, SnapshotReader>,
    receiving: Option<SnapshotReceiver>,
    /// The last one that was received whole, should its sender not have heard of it.
    complete: Option<(SnapshotOffer, SnapshotMark)>,
}

impl Courier {
    pub(crate) fn new(store: SnapshotStore, inbox: Arc<Inbox>, chunk_bytes: u64) -> Self {
        let chunk_bytes = usize::try_from(chunk_bytes).unwrap_or(usize::MAX);
        Self {
            store,
            inbox,
            chunk_bytes,
            sending: BTreeMap::new(),
            receiving: None,
            complete: None,
        }
    }

    /// Works until the driver ends.
    pub(crate) fn run(mut self, jobs: &Receiver<Carry>) {
        while let Ok(job) = jobs.recv() {
            self.work(job);
        }
    }

    /// Does one job.
    pub(crate) fn work(&mut self, job: Carry) {
        match job {
            Carry::Offer { to, id } => self.offer(to, id),
            Carry::Piece { to, id, offset } => self.piece(to, id, offset),
            Carry::Forget { to } => drop(self.sending.remove(&to)),
            Carry::Received { from, chunk } => self.received(from, &chunk),
        }
    }

    // ---- sending

    fn offer(&mut self, to: NodeId, id: EntryId) {
        let known = self.sending.get(&to).is_some_and(|snapshot| snapshot.id() == id);
        if !known {
            match self.store.open(id) {
                Ok(snapshot) => self.sending.insert(to, snapshot),
                Err(error) => return self.unreadable(to, &error),
            };
        }
        let Some(snapshot) = self.sending.get(&to) else { return };
        let chunk = SnapshotChunk { offer: snapshot.offer(), offset: 0, data: Bytes::new() };
        self.inbox.report(Report::Piece { to, chunk });
    }

    fn piece(&mut self, to: NodeId, id: EntryId, offset: u64) {
        let Some(snapshot) = self.sending.get_mut(&to).filter(|s| s.id() == id) else { return };
        if offset >= snapshot.len() {
            return; // It has everything; its acknowledgement comes when it is installed.
        }
        let mut data = vec![0; self.chunk_bytes];
        match snapshot.read_at(&mut data, offset) {
            Ok(read) => {
                data.truncate(read);
                let offer = snapshot.offer();
                let chunk = SnapshotChunk { offer, offset, data: data.into() };
                self.inbox.report(Report::Piece { to, chunk });
            }
            Err(error) => self.unreadable(to, &error),
        }
    }

    fn unreadable(&mut self, to: NodeId, error: &LogError) {
        tracing::error!(to, %error, "a snapshot cannot be sent");
        self.sending.remove(&to);
        self.inbox.report(Report::Unreadable { to });
    }

    // ---- receiving

    fn received(&mut self, from: NodeId, chunk: &SnapshotChunk) {
        // Before a byte is stored: without it the snapshot is of no use.
        let configuration = match configuration_of(&chunk.offer.meta, chunk.offer.id.index) {
            Ok(configuration) => configuration,
            Err(error) => return tracing::error!(from, %error, "a snapshot cannot be taken"),
        };
        if let Some((offer, mark)) = &self.complete
            && *offer == chunk.offer
        {
            self.inbox.report(Report::Complete { from, mark: *mark, configuration });
            return;
        }
        match self.store_chunk(chunk) {
            Ok(Some(mark)) => self.inbox.report(Report::Complete { from, mark, configuration }),
            Ok(None) => {
                let offset = self.receiving.as_ref().map_or(0, SnapshotReceiver::accepted);
                let id = chunk.offer.id;
                self.inbox.report(Report::Stored { from, id, offset });
            }
            Err(error) => {
                // The leader offers it again after a while, and it begins anew.
                tracing::error!(from, %error, "a snapshot cannot be stored");
                self.receiving = None;
            }
        }
    }

    /// Stores what the chunk adds; the mark once all is there.
    fn store_chunk(&mut self, chunk: &SnapshotChunk) -> Result<Option<SnapshotMark>, LogError> {
        let mut receiver = match self.receiving.take() {
            Some(receiver) if *receiver.offer() == chunk.offer => receiver,
            _ => self.store.receive(chunk.offer.clone())?,
        };
        match receiver.write_chunk(chunk.offset, &chunk.data) {
            // Too early, too late or too long: the answer says where to go on.
            Ok(_) | Err(LogError::Invalid(_)) => {}
            Err(error) => return Err(error),
        }
        if !receiver.is_complete() {
            self.receiving = Some(receiver);
            return Ok(None);
        }
        // DURABILITY: the file is synced and has its name before the log marks it.
        let mark = receiver.commit()?;
        self.complete = Some((chunk.offer.clone(), mark));
        Ok(Some(mark))
    }
}
