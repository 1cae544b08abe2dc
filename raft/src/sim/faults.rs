//! Faults as they befall a running cluster.
//!
//! Damage to bytes is kept to so few disks that the others are a majority of every configuration in
//! force, so that they must go on. Everything else may hit all nodes at once.

use hardlog::fs::{
    Dir,
    sim::{Call, EIO, ENOSPC, Effect, Fault, SimFs, When},
};

use super::{
    Micros,
    network::{between, chance},
    plan::Kind,
    stage::Stage,
    watch::End,
};
use crate::{driver::orders::Order, message::NodeId, trace::What};

impl Stage {
    /// One of these befalls the cluster now.
    pub(super) fn befall(&mut self, kind: Kind) {
        let ids = self.ids();
        let id = ids[self.rng.below(ids.len())];
        let words = [20, kind as u64, id];
        self.trace.note(self.now(), &words, || format!("fault: {kind:?}, perhaps of node {id}"));
        let cuts = self.network.cuts();
        match kind {
            Kind::Partition => self.partition(&ids, id),
            Kind::Link => self.cut_links(&ids, id),
            Kind::Clog => {
                let other = ids[self.rng.below(ids.len())];
                let until = self.now() + between(&mut self.rng, (50_000, 2_000_000));
                self.network.clog(id, other, until);
            }
            Kind::Heal => self.network.heal(),
            Kind::Power => self.end(id, End::PowerCut),
            Kind::Kill => self.end(id, End::Kill),
            Kind::Leader => self.lose_leader(&ids),
            Kind::Many => self.end_many(&ids),
            Kind::Cut => self.cut_power_soon(id),
            Kind::Pause => {
                let length = between(&mut self.rng, (20_000, 2_000_000));
                self.pause(id, length);
            }
            Kind::Slow => self.slow(id),
            Kind::Fail => self.fail_a_call(id),
            Kind::Full => self.fill(id),
            Kind::Damage => self.damage(id),
            Kind::Mend => ids.iter().for_each(|id| self.mend(*id)),
            Kind::Snapshots => self.snapshots(&ids),
            Kind::Wipe => drop(self.wipe(id)),
            Kind::RollBack => drop(self.roll_back(id)),
            // An operator's business.
            Kind::Members | Kind::Transfer => {}
        }
        self.tell_fault(kind, id, &cuts);
    }

    // ---- the network

    fn partition(&mut self, ids: &[NodeId], alone: NodeId) {
        self.network.heal();
        let halves = chance(&mut self.rng, 400);
        let mut here = vec![alone];
        for id in ids.iter().filter(|id| **id != alone) {
            if halves && chance(&mut self.rng, 500) {
                here.push(*id);
            }
        }
        for from in ids {
            for to in ids {
                if here.contains(from) != here.contains(to) {
                    self.network.cut(*from, *to);
                }
            }
        }
    }

    fn cut_links(&mut self, ids: &[NodeId], id: NodeId) {
        let other = ids[self.rng.below(ids.len())];
        match self.rng.below(4) {
            0 => self.network.cut(id, other),
            1 => {
                self.network.cut(id, other);
                self.network.cut(other, id);
            }
            2 => ids.iter().for_each(|to| self.network.cut(id, *to)),
            _ => ids.iter().for_each(|from| self.network.cut(*from, id)),
        }
    }

    // ---- processes

    fn lose_leader(&mut self, ids: &[NodeId]) {
        let Some(leader) = self.leader() else { return };
        match self.rng.below(6) {
            0 | 1 => self.end(leader, End::Kill),
            2 => self.end(leader, End::PowerCut),
            3 => {
                let length = between(&mut self.rng, (500_000, 1_500_000));
                self.pause(leader, length);
            }
            _ => ids.iter().for_each(|to| self.network.cut(leader, *to)),
        }
    }

    fn end_many(&mut self, ids: &[NodeId]) {
        let end = if chance(&mut self.rng, 700) { End::PowerCut } else { End::Kill };
        let all = chance(&mut self.rng, 500);
        for id in ids {
            if all || chance(&mut self.rng, 500) {
                self.end(*id, end);
            }
        }
    }

    fn cut_power_soon(&mut self, id: NodeId) {
        let calls = self.rng.next_u64() % 25;
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let at = seat.disk.ops() + calls;
        seat.disk.cut_at(at);
        seat.cut_at = Some(at);
    }

    // ---- disks

    fn slow(&mut self, id: NodeId) {
        let hangs = chance(&mut self.rng, 500);
        let factor = 1 + self.rng.next_u64() % 50;
        let until = self.now() + between(&mut self.rng, (200_000, 4_000_000));
        let Some(seat) = self.seats.get_mut(&id) else { return };
        if hangs {
            seat.hangs_until = until;
        } else {
            seat.slowness = factor;
        }
    }

    fn fail_a_call(&mut self, id: NodeId) {
        let which = self.rng.below(7);
        let soon = self.rng.next_u64() % 20;
        let lasting = chance(&mut self.rng, 200);
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let disk = &seat.disk;
        let when = match which {
            0 | 1 => When::Kind(Call::Sync, disk.count(Call::Sync) + soon % 4),
            2 => When::Kind(Call::Write, disk.count(Call::Write) + soon % 8),
            3 => When::Kind(Call::Read, disk.count(Call::Read) + soon),
            _ => When::Mutating(disk.ops() + soon),
        };
        let effect = match which {
            0 | 3 | 4 => Effect::Fail(EIO),
            1 | 5 => Effect::DoneButFail(EIO),
            2 => Effect::Short(100),
            _ => Effect::Torn(600, EIO),
        };
        disk.inject(Fault { when, effect, lasting });
        seat.has_faults();
    }

    fn fill(&mut self, id: NodeId) {
        let room = self.rng.next_u64() % 60_000;
        let by_error = chance(&mut self.rng, 300);
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let disk = &seat.disk;
        if by_error {
            let soon = When::Mutating(disk.ops() + room % 30);
            disk.inject(Fault::once(soon, Effect::Fail(ENOSPC)));
        } else {
            disk.set_capacity(Some(disk.used() + room));
        }
        seat.has_faults();
    }

    /// The disk works again, and has room.
    pub(super) fn mend(&mut self, id: NodeId) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.slowness = 1;
        seat.disk.set_capacity(None);
        if seat.cut_at.is_none() {
            seat.disk.clear_faults();
        }
    }

    /// Snapshots on several nodes, again and again.
    fn snapshots(&mut self, ids: &[NodeId]) {
        for id in ids {
            if let Some(machine) = self.machine(*id) {
                let sent = machine.order(Order::Snapshot);
                self.ordered(*id, sent);
            }
        }
    }

    // ---- bytes

    fn damage(&mut self, id: NodeId) {
        // Whatever stands on the others is on a majority.
        if !self.can_spare(Some(id), None) {
            return;
        }
        let (how, at) = (self.rng.below(6), self.rng.next_u64());
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let disk = &seat.disk.clone();
        let dir = if at.is_multiple_of(5) { Dir::Snapshots } else { Dir::Root };
        let files: Vec<String> =
            disk.names(dir).into_iter().filter(|name| name != "LOCK").collect();
        let Some(name) = files.get(usize::try_from(at >> 32).unwrap_or(0) % files.len().max(1))
        else {
            return;
        };
        let len = disk.read_file(dir, name).map_or(0, |bytes| bytes.len() as u64);
        if len < 1024 {
            return;
        }
        seat.damaged = true;
        seat.has_faults();
        let offset = (at >> 8) % (len - 512);
        match how {
            0 => disk.flip_bit(dir, name, offset, 3),
            1 => disk.make_unreadable(dir, name, offset / 512),
            2 => disk.garble(dir, name, offset..offset + 300, at),
            3 => disk.zero(dir, name, offset / 512 * 512..offset / 512 * 512 + 512),
            4 => {
                let next = When::Kind(Call::Write, disk.count(Call::Write));
                disk.inject(Fault::once(next, Effect::Lie));
            }
            _ => {
                // A misdirected write: missing here, and over something else there.
                let next = When::Kind(Call::Write, disk.count(Call::Write));
                disk.inject(Fault::once(next, Effect::Lie));
                misdirect(disk, (dir, name), offset / 512, at >> 16);
            }
        }
        self.checks.doubt(id);
    }

    /// All faults stop. Who is down comes back, who is out stays out; and damaged disks are out:
    /// nobody refills a damaged entry, so a leader that has one cannot serve all its followers.
    pub(super) fn end_of_faults(&mut self, calm: super::network::Weather) {
        self.trace.note(self.now(), &[21], || "faults stop".to_owned());
        self.setting.tracer.note(0, || What::mark("note", "faults stop"));
        let cuts = self.network.cuts();
        self.network.heal();
        self.tell_links(&cuts);
        self.network.weather = calm;
        for id in self.ids() {
            self.mend(id);
            let now: Micros = self.now();
            if self
                .seats
                .get(&id)
                .is_some_and(|seat| seat.damaged && !seat.retired && !seat.amnesiac)
            {
                self.retire(id, "its disk is damaged");
            }
            let Some(seat) = self.seats.get_mut(&id) else { continue };
            seat.hangs_until = seat.hangs_until.min(now + 1);
            if seat.cut_at.is_some() {
                self.end(id, End::PowerCut);
            }
        }
    }
}

/// A sector of the file, whole and right, stands where another should.
fn misdirect(disk: &SimFs, (dir, name): (Dir, &str), sector: u64, choice: u64) {
    let Some(mut bytes) = disk.read_file(dir, name) else { return };
    let sectors = bytes.len() / 512;
    let place = |number: u64| usize::try_from(number).unwrap_or(0) % sectors.max(1) * 512;
    let (to, from) = (place(sector), place(choice));
    bytes.copy_within(from..from + 512, to);
    disk.write_file(dir, name, &bytes);
}
