//! What a person does to a cluster beyond what a suite does, above all to its disks; and what that
//! person sees of each node.
//!
//! Above: whoever plays with a cluster. Below: the stage and its disks.
//!
//! Here a broken rule is no panic: it is what somebody wanted to see.

use bytes::Bytes;
use hardlog::{
    Index, Term,
    fs::{
        Dir,
        sim::{Call, ENOSPC, Effect, Fault, SimFs, When},
    },
    inspect,
};

use super::{Lab, aim, id};
use crate::{
    call::ProposeError,
    core::Slot,
    message::{Body, Message},
    sim::{
        Micros,
        watch::{Breach, End},
    },
    trace::{Part, What},
};

/// A time that no run reaches.
const FOR_EVER: Micros = Micros::MAX / 4;

/// What is seen of a node from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The part that it plays.
    pub part: Part,
    /// Its term.
    pub term: Term,
    /// The leader that it knows, counted from 0.
    pub leader: Option<usize>,
    /// First and last index of its log; the last is below the first if it is empty.
    pub window: (Index, Index),
    /// Its commit index.
    pub commit: Index,
    /// The index up to which it applied.
    pub applied: Index,
    /// Index of its newest snapshot, 0 without one.
    pub snapshot: Index,
    /// Whether everything that it wrote is durable.
    pub durable: bool,
    /// The index up to which its log is.
    pub durable_to: Index,
    /// The last entries: index and term.
    pub entries: Vec<(Index, Term)>,
    /// Files of its log.
    pub segments: usize,
    /// Their numbers and lengths in bytes.
    pub files: Vec<(u64, u64)>,
    /// Bytes of them that count.
    pub bytes: u64,
    /// What its last start found: a verdict, and what else there is to say.
    pub verdict: (String, Option<String>),
    /// Whether it is connected.
    pub connected: bool,
    /// Whether its disk hangs.
    pub hangs: bool,
    /// Whether its disk is full.
    pub full: bool,
    /// Its disk is of no use any more, and nobody starts it again.
    pub retired: bool,
}

/// What became of a write that was torn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Bytes of it that are gone.
    pub bytes: u64,
    /// The disk had said before that it is durable.
    pub was_durable: bool,
}

/// How many entries a [`Sight`] shows.
const SHOWN: u64 = 24;

impl Lab {
    /// Time passes, until a rule is broken.
    pub fn pass(&mut self, micros: Micros) -> Option<&Breach> {
        self.stage.run_until(self.stage.now().saturating_add(micros));
        self.stage.breach.as_ref()
    }

    /// Microseconds since the beginning.
    #[must_use]
    pub fn micros(&self) -> Micros {
        self.stage.now()
    }

    /// Hands a command to a server, which tells `done` what came of it. False if it does not run or
    /// stands still.
    pub fn offer(
        &mut self,
        server: usize,
        command: &Bytes,
        done: impl FnOnce(Result<Bytes, ProposeError>) + Send + 'static,
    ) -> bool {
        let Some(machine) = self.stage.machine(id(server)) else { return false };
        machine.propose(command, done);
        self.stage.round(id(server));
        true
    }

    /// Asks a server whether it still leads, so that its state may be read. False if it does not
    /// run or stands still.
    pub fn ask(
        &mut self,
        server: usize,
        done: impl FnOnce(Result<(), ProposeError>) + Send + 'static,
    ) -> bool {
        let Some(machine) = self.stage.machine(id(server)) else { return false };
        machine.read(done);
        self.stage.round(id(server));
        true
    }

    /// Who leads the newest term.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        self.stage.leader().and_then(super::server_of)
    }

    /// The server begins an election now: as if its leader had asked it to, or, if it knows none, as
    /// if it had waited long enough. One that leads does nothing. False if it does not run or stands
    /// still.
    pub fn campaign(&mut self, server: usize) -> bool {
        let to = id(server);
        let patience = self.stage.setting.config.election_ticks_max;
        let Some(machine) = self.stage.machine(to) else { return false };
        if machine.is_leader() {
            return true;
        }
        let term = machine.core().term();
        if let Some(from) = machine.core().leader() {
            machine.step(Message { from, to, term, body: Body::TimeoutNow });
            self.stage.round(to);
            return true;
        }
        let before = (machine.core().role(), term);
        for _ in 0..=patience {
            let Some(machine) = self.stage.machine(to) else { return false };
            if (machine.core().role(), machine.core().term()) != before {
                break;
            }
            let sent = machine.tick();
            self.stage.send(sent);
            self.stage.round(to);
        }
        true
    }

    /// The server's process is killed; what it wrote stays in the page cache.
    pub fn kill(&mut self, server: usize) {
        self.stays_down(server);
        self.stage.end(id(server), End::Kill);
    }

    /// The server's machine loses power: what was not synced may be gone.
    pub fn power_cut(&mut self, server: usize) {
        self.stays_down(server);
        self.stage.end(id(server), End::PowerCut);
    }

    fn stays_down(&mut self, server: usize) {
        if let Some(seat) = self.stage.seats.get_mut(&id(server)) {
            seat.stays_down = true;
        }
    }

    // ---- disks

    /// The power goes in the middle of the last write: its second half, and all behind it, is not
    /// on the disk. None if there is no such write.
    pub fn tear(&mut self, server: usize) -> Option<Torn> {
        let seat = self.stage.seats.get(&id(server)).filter(|seat| !seat.retired)?;
        let disk = seat.disk.kill_image();
        let (file, offset, len) = last_batch(&disk)?;
        let up = seat.machine.as_ref();
        let was_durable = up.is_none_or(|machine| !machine.wants_sync());
        let size = disk.read_file(Dir::Root, &file)?.len() as u64;
        disk.settle();
        disk.zero(Dir::Root, &file, offset + len / 2..size);
        self.power_cut(server);
        if was_durable {
            // What such a disk promised is worth nothing: the node is looked at afresh.
            self.stage.checks.forget(id(server));
        }
        if let Some(seat) = self.stage.seats.get_mut(&id(server)) {
            seat.disk = disk;
        }
        let detail = if was_durable { "a write that was durable" } else { "its last write" };
        self.tell_disk("tear", server, Some(detail.to_owned()));
        Some(Torn { bytes: len - len / 2, was_durable })
    }

    /// One bit of an entry's payload changes on the disk. False if the server's log holds no such
    /// entry, or the entry has no payload.
    pub fn rot(&mut self, server: usize, index: Index) -> bool {
        let Some(seat) = self.stage.seats.get_mut(&id(server)) else { return false };
        let Some((file, offset)) = payload_of(&seat.disk.kill_image(), index) else {
            return false;
        };
        seat.disk.flip_bit(Dir::Root, &file, offset, 3);
        seat.damaged = true;
        seat.has_faults();
        self.stage.checks.doubt(id(server));
        self.tell_disk("rot", server, Some(format!("entry {index}")));
        true
    }

    /// The server's disk has no room from now on, until it is mended.
    pub fn fill(&mut self, server: usize) {
        let Some(seat) = self.stage.seats.get_mut(&id(server)) else { return };
        let next = When::Kind(Call::Write, seat.disk.count(Call::Write));
        // Not even in what was allocated before, as on a thin volume.
        seat.disk.set_capacity(Some(0));
        seat.disk.inject(Fault::from_then_on(next, Effect::Fail(ENOSPC)));
        seat.has_faults();
        seat.full = true;
        self.tell_disk("disk-full", server, None);
    }

    /// The server's disk answers no sync from now on, until it is mended.
    pub fn hang(&mut self, server: usize) {
        let until = self.stage.now().saturating_add(FOR_EVER);
        let Some(seat) = self.stage.seats.get_mut(&id(server)) else { return };
        seat.hangs_until = until;
        self.tell_disk("disk-hang", server, None);
    }

    /// The server's disk works again, and has room. What is damaged stays so.
    pub fn mend(&mut self, server: usize) {
        let now = self.stage.now();
        self.stage.mend(id(server));
        let Some(seat) = self.stage.seats.get_mut(&id(server)) else { return };
        seat.full = false;
        if seat.hangs_until > now {
            seat.hangs_until = now;
            seat.syncing = false;
        }
        self.tell_disk("mend", server, None);
        self.stage.round(id(server));
    }

    fn tell_disk(&self, what: &'static str, server: usize, detail: Option<String>) {
        let detail = detail.map(Into::into);
        let nodes = vec![id(server)];
        self.tracer().note(0, || What::Fault { what: what.into(), nodes, detail });
    }

    // ---- what is seen

    /// What is seen of a server.
    #[must_use]
    pub fn sight(&self, server: usize) -> Option<Sight> {
        let seat = self.stage.seats.get(&id(server))?;
        let files = inspect::look(&seat.disk.kill_image());
        let files: Vec<(u64, u64)> =
            files.map_or_else(|_| Vec::new(), |files| files.segments.into_iter().collect());
        let mut sight = Sight {
            part: Part::Down,
            term: 0,
            leader: None,
            window: (1, 0),
            commit: 0,
            applied: 0,
            snapshot: 0,
            durable: true,
            durable_to: 0,
            entries: Vec::new(),
            segments: files.len(),
            files,
            bytes: 0,
            verdict: seat.verdict.clone(),
            connected: self.is_connected(server),
            hangs: seat.hangs_until > self.stage.now(),
            full: seat.full,
            retired: seat.retired,
        };
        let Some(machine) = &seat.machine else { return Some(sight) };
        let (core, log) = (machine.core(), machine.log());
        let votes = core.membership().is_voter(id(server));
        let (first, last) = (log.first_log_index(), core.last_id().index);
        let shown = first.max((last + 1).saturating_sub(SHOWN))..=last;
        let term = |index| match core.term_at(index) {
            Slot::Present(term) => Some((index, term)),
            Slot::Trimmed | Slot::Beyond | Slot::Faulty => None,
        };
        sight.part = Part::of(core.role(), votes);
        sight.term = core.term();
        sight.leader = core.leader().and_then(super::server_of);
        sight.window = (first, last);
        sight.commit = core.commit();
        sight.applied = machine.applied();
        sight.snapshot = self.snapshot(server);
        sight.durable = !machine.wants_sync() && core.last_id().index < log.next_log_index();
        sight.durable_to = core.durable_index();
        sight.entries = shown.filter_map(term).collect();
        sight.bytes = log.live_bytes();
        Some(sight)
    }
}

/// As [`aim::last_batch`], with the name of the file.
fn last_batch(disk: &SimFs) -> Option<(String, u64, u64)> {
    let (segment, offset, len) = aim::last_batch(disk).ok()??;
    Some((file_of(disk, segment)?, offset, len))
}

/// File and offset of the first byte of an entry's payload.
fn payload_of(disk: &SimFs, index: Index) -> Option<(String, u64)> {
    let (segment, offset, payload) = aim::payload(disk, index).ok()??;
    let file = file_of(disk, segment)?;
    let bytes = disk.read_file(Dir::Root, &file)?;
    let behind = bytes.get(usize::try_from(offset).ok()?..)?;
    let at = behind.windows(payload.len()).position(|window| window == payload)?;
    Some((file, offset + at as u64))
}

fn file_of(disk: &SimFs, segment: u64) -> Option<String> {
    Some(aim::file_of(disk, segment).ok()??.file_name()?.to_str()?.to_owned())
}
