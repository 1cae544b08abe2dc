//! The thread that owns the state machine.
//!
//! Above: the driver, which says how far entries may be applied. Below: the log's reader, the
//! machine, and the snapshot store, from which a state is restored.
//!
//! INVARIANT: commands are applied in the order of their indexes, each once, none left out.
//! INVARIANT: a caller is answered after its command is applied, in the order of the log.
//! An entry that is committed and cannot be read stops the node: there is no going on past it.

use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, Sender},
    },
    time::Instant,
};

use bytes::Bytes;
use hardlog::{Entry, EntryId, Error as LogError, Index, LogReader, SnapshotStore};

use crate::{
    boot::configuration_of,
    core::Configuration,
    error::Error,
    inbox::Inbox,
    metrics,
    payload::Payload,
    state_machine::{Command, FrozenSnapshot, StateMachine},
    status::Board,
    trace::{Voice, What},
    work::{Apply, Report, Waiting},
};

/// Bytes of entries that are read and applied at once.
const ROUND_BYTES: u64 = 1 << 20;
/// Entries that are applied at once: the replies to all of them are in memory together, and a small
/// command may have a large one.
pub(crate) const ROUND_COMMANDS: usize = 16;

pub(crate) struct Applier<S> {
    pub(crate) machine: S,
    pub(crate) reader: LogReader,
    pub(crate) store: SnapshotStore,
    pub(crate) board: Arc<Board>,
    pub(crate) inbox: Arc<Inbox>,
    /// Index of the newest snapshot that the driver installed: entries up to there may be gone.
    pub(crate) installed: Arc<AtomicU64>,
    pub(crate) photographer: Photographer,
    /// The newest configuration up to what is applied.
    pub(crate) configuration: Configuration,
    pub(crate) voice: Voice,
}

/// A view of the machine that is to become a snapshot.
pub(crate) struct Picture {
    id: EntryId,
    configuration: Configuration,
    view: Box<dyn FrozenSnapshot>,
}

/// Hands views of the machine to the thread that writes them out.
pub(crate) struct Photographer {
    pub(crate) views: Sender<Picture>,
    /// The last one is not written yet.
    pub(crate) busy: Arc<AtomicBool>,
    /// Bytes of entries after which a snapshot is due.
    pub(crate) every_bytes: u64,
    /// Bytes applied since the last one.
    pub(crate) since: u64,
    /// Entries after which a snapshot is due; 0 for never.
    pub(crate) every_entries: u64,
    /// Entries applied since the last one.
    pub(crate) entries: u64,
}

impl<S: StateMachine> Applier<S> {
    /// Works until the driver ends, or fails.
    pub(crate) fn run(mut self, jobs: &Receiver<Apply>) {
        while let Ok(job) = jobs.recv() {
            if let Err(error) = self.work(job) {
                self.inbox.report(Report::Failed(error));
                return;
            }
        }
    }

    /// Does one job.
    pub(crate) fn work(&mut self, job: Apply) -> Result<(), Error> {
        match job {
            Apply::Entries { to, waiting } => self.apply(to, waiting),
            Apply::Reads(calls) => {
                calls.into_iter().for_each(|call| call.answer(Ok(())));
                Ok(())
            }
            Apply::Snapshot => {
                let applied = self.board.applied();
                // Just before the window there may be a snapshot already; then nothing is due.
                if let Ok(id) = self.reader.id_at(applied) {
                    self.photograph(id);
                }
                Ok(())
            }
            Apply::Restore(id) => {
                let meta = restore(&mut self.machine, &self.store, id)?;
                self.configuration = configuration_of(&meta, id.index)?;
                self.board.set_applied(id.index);
                Ok(())
            }
        }
    }

    fn apply(&mut self, to: Index, waiting: Vec<Waiting>) -> Result<(), Error> {
        let mut waiting = waiting.into_iter().peekable();
        let mut next = self.board.applied() + 1;
        while next <= to {
            let entries = match self.read(next, to) {
                Ok(entries) => entries,
                // A snapshot that the driver installed meanwhile covers them; its restore follows,
                // and whoever waited is told that the outcome is unknown.
                Err(_) if next <= self.installed.load(Ordering::Acquire) => return Ok(()),
                Err(error) => return Err(Error::Log(error)),
            };
            let Some(last) = entries.last().map(|entry| entry.id) else { return Ok(()) };
            for some in entries.chunks(ROUND_COMMANDS) {
                self.apply_round(some, &mut waiting)?;
            }
            next = last.index + 1;
            self.snapshot_if_due(last);
        }
        Ok(())
    }

    /// At least one entry from `next` on.
    fn read(&self, next: Index, to: Index) -> Result<Vec<Entry>, LogError> {
        let mut entries = Vec::new();
        for entry in self.reader.entries(next..to + 1, ROUND_BYTES) {
            match entry {
                Ok(entry) => entries.push(entry),
                Err(error) if entries.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        if entries.is_empty() {
            return Err(LogError::BeyondEnd { index: next, next: self.reader.next_log_index() });
        }
        Ok(entries)
    }

    fn apply_round(
        &mut self,
        entries: &[Entry],
        waiting: &mut std::iter::Peekable<impl Iterator<Item = Waiting>>,
    ) -> Result<(), Error> {
        let mut commands = Vec::with_capacity(entries.len());
        for entry in entries {
            self.photographer.since += entry.payload.len() as u64 + 24;
            self.photographer.entries += 1;
            let index = entry.index();
            match Payload::of(entry)? {
                Payload::Command(data) => {
                    commands.push(Command { index, term: entry.term(), data });
                }
                Payload::Membership(membership) => {
                    self.configuration = Configuration { index, membership };
                }
                Payload::NoOp => {}
            }
        }
        let begun = Instant::now();
        let replies = self.machine.apply(&commands);
        metrics::applied(begun.elapsed());
        assert!(
            replies.len() == commands.len(),
            "{} replies to {} commands",
            replies.len(),
            commands.len()
        );
        // Applied before anybody is told, so that whoever is told sees it.
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            self.board.set_applied(last.index());
            self.voice.note(|| What::Apply { first: first.index(), last: last.index() });
        }
        for (command, reply) in commands.iter().zip(replies) {
            if let Some(waiting) = waiting.next_if(|waiting| waiting.index == command.index) {
                // Another leader's entry may have taken the place.
                if waiting.term == command.term {
                    waiting.call.answer(Ok(reply));
                }
            }
        }
        Ok(())
    }

    fn snapshot_if_due(&mut self, last: EntryId) {
        let Photographer { since, every_bytes, entries, every_entries, .. } = &self.photographer;
        let many = *every_entries > 0 && entries >= every_entries;
        if since >= every_bytes || many {
            self.photograph(last);
        }
    }

    /// Begins a snapshot up to `last`, which is applied, unless one is being written.
    fn photograph(&mut self, last: EntryId) {
        let photographer = &mut self.photographer;
        if photographer.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        (photographer.since, photographer.entries) = (0, 0);
        let (configuration, view) = (self.configuration.clone(), self.machine.snapshot());
        if photographer.views.send(Picture { id: last, configuration, view }).is_err() {
            tracing::warn!("nobody writes snapshots any more");
        }
    }
}

/// Reads the snapshot `id` into the machine. Returns its metadata.
pub(crate) fn restore<S: StateMachine>(
    machine: &mut S,
    store: &SnapshotStore,
    id: EntryId,
) -> Result<Bytes, Error> {
    let mut snapshot = store.open(id).map_err(Error::Log)?;
    let failed = |source| Error::Restore { index: id.index, source };
    machine.restore(&mut snapshot).map_err(failed)?;
    // What a machine leaves unread is verified all the same.
    std::io::copy(&mut snapshot.by_ref(), &mut std::io::sink()).map_err(failed)?;
    Ok(snapshot.offer().meta)
}

/// The thread that writes views of the machine to disk.
pub(crate) fn write_snapshots(
    views: &Receiver<Picture>,
    store: &SnapshotStore,
    busy: &AtomicBool,
    inbox: &Inbox,
) {
    while let Ok(picture) = views.recv() {
        let begun = Instant::now();
        let written = write_snapshot(store, &picture);
        metrics::snapshot_saved(begun.elapsed());
        match written {
            Ok(mark) => inbox.report(Report::Taken(mark)),
            // The log stays longer than it should; the next one may succeed.
            Err(error) => {
                tracing::error!(index = picture.id.index, %error, "no snapshot was taken")
            }
        }
        busy.store(false, Ordering::Release);
    }
}

/// Writes one view.
pub(crate) fn write_snapshot(
    store: &SnapshotStore,
    picture: &Picture,
) -> std::io::Result<hardlog::SnapshotMark> {
    let meta = picture.configuration.encode();
    let mut writer = store.begin(picture.id, &meta).map_err(std::io::Error::other)?;
    picture.view.write_to(&mut writer)?;
    // DURABILITY: the file is synced and has its name before the log marks it.
    writer.commit().map_err(std::io::Error::other)
}
