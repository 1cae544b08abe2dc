//! Who is there: nodes that come new, disks that may be taken away, and what must stay.

use std::sync::Arc;

use hardlog::{Log, LogId, fs::sim::SimFs};

use super::{Seat, Stage};
use crate::{
    boot,
    core::Membership,
    message::NodeId,
    sim::{network::between, watch::End},
    trace::What,
};

/// Nodes that may join a cluster in one run.
const JOINERS_MAX: usize = 6;
/// Ids from here on are of nodes that nobody ever starts.
const GHOSTS: NodeId = 1000;

impl Stage {
    /// A new node, with an empty disk and an id that nobody had.
    pub(in crate::sim) fn recruit(&mut self) -> NodeId {
        let id = self.seats.keys().next_back().map_or(1, |last| last + 1);
        let disk = SimFs::new(self.rng.next_u64());
        let tick = u64::try_from(self.setting.config.tick.as_micros()).unwrap_or(u64::MAX);
        let (slow, fast) = self.setting.rates;
        let rate = match self.rng.below(4) {
            0 => slow,
            1 => fast,
            _ => between(&mut self.rng, self.setting.rates),
        };
        let joining = id > self.setting.size;
        self.seats.insert(id, Seat::new(disk, tick * rate / 1000, joining));
        self.start(id);
        id
    }

    /// Whether another node may come.
    pub(in crate::sim) fn has_room(&self) -> bool {
        self.seats.len() < usize::try_from(self.setting.size).unwrap_or(0) + JOINERS_MAX
    }

    /// The id of a node that is never there.
    pub(in crate::sim) fn ghost(&mut self) -> NodeId {
        self.ghosts += 1;
        GHOSTS + self.ghosts
    }

    /// Whether the node can be counted on: it is there, or will be, with all that it promised.
    pub(in crate::sim) fn is_sound(&self, id: NodeId) -> bool {
        let sound = |seat: &Seat| !seat.damaged && !seat.retired && !seat.stays_down;
        self.seats.get(&id).is_some_and(sound)
    }

    /// Whether those that can be counted on decide, also without `lost` and by `next`.
    pub(in crate::sim) fn can_spare(
        &self,
        lost: Option<NodeId>,
        next: Option<&Membership>,
    ) -> bool {
        let there = |id| Some(id) != lost && self.is_sound(id);
        let may_catch_up = |id| self.seats.get(&id).is_some_and(|seat| !seat.retired);
        self.checks.rolls.can_decide(next, &there, &may_catch_up)
    }

    /// Whether everybody else runs and knows something of this node, on a disk that keeps it.
    fn all_know(&self, id: NodeId, of: impl Fn(&LogId, u64) -> bool) -> bool {
        let others = self.seats.iter().filter(|(other, seat)| **other != id && !seat.retired);
        let mut others = others.peekable();
        let known = |(_, seat): (&NodeId, &Seat)| {
            let Some(machine) = &seat.machine else { return false };
            let Ok(seen) = boot::seen(machine.log()) else { return false };
            !machine.wants_sync()
                && seen.get(&id).is_some_and(|(log_id, incarnation)| of(log_id, *incarnation))
        };
        others.peek().is_some() && others.all(known)
    }

    /// The disk of a node is replaced by an empty one, and the node is started as if new. Only
    /// where the others know it: nobody can notice what nobody had seen.
    pub(in crate::sim) fn wipe(&mut self, id: NodeId) -> bool {
        let Some(machine) = self.seats.get(&id).and_then(|seat| seat.machine.as_ref()) else {
            return false;
        };
        let own = machine.log().log_id();
        if !self.all_know(id, |log_id, _| *log_id == own) || !self.can_spare(Some(id), None) {
            return false;
        }
        self.end(id, End::Kill);
        let disk = SimFs::new(self.rng.next_u64());
        let Some(seat) = self.seats.get_mut(&id) else { return false };
        (seat.disk, seat.born) = (disk, false);
        (seat.amnesiac, seat.damaged) = (true, true);
        self.setting.tracer.note(0, || What::fault("wiped", [id]));
        true
    }

    /// The disk of a node is copied; or, if it was and the others have seen that it was started
    /// since, put back to that copy.
    pub(in crate::sim) fn roll_back(&mut self, id: NodeId) -> bool {
        let Some(seat) = self.seats.get_mut(&id).filter(|seat| seat.machine.is_some()) else {
            return false;
        };
        let Some(backup) = seat.backup.as_ref().map(SimFs::kill_image) else {
            let copy = seat.disk.kill_image();
            // On a full disk it would open for reading only, and as what it already was.
            copy.set_capacity(None);
            seat.backup = Some(copy);
            return false;
        };
        let options = self.setting.options.clone();
        let copy = Log::open_on(Arc::new(backup.kill_image()), options);
        let Ok(becomes) = copy.map(|(log, _)| log.incarnation()) else { return false };
        let newer = self.all_know(id, |_, incarnation| incarnation > becomes);
        if !newer || !self.can_spare(Some(id), None) {
            // Started again, so that it can be told from its copy later.
            self.end(id, End::Kill);
            return false;
        }
        self.end(id, End::Kill);
        let Some(seat) = self.seats.get_mut(&id) else { return false };
        seat.disk = backup;
        (seat.amnesiac, seat.damaged) = (true, true);
        self.setting.tracer.note(0, || What::fault("put-back", [id]));
        true
    }

    /// Takes out nodes whose disk was wiped or put back, once somebody noticed. One that nobody is
    /// left to notice is not started.
    pub(in crate::sim) fn retire_the_noticed(&mut self) {
        for id in self.ids() {
            let Some(seat) = self.seats.get(&id).filter(|seat| seat.amnesiac) else { continue };
            let nobody_left = seat.machine.is_none() && !self.would_be_noticed(id);
            if !seat.retired && (seat.noticed || nobody_left) {
                self.retire(id, "its disk was wiped or put back");
            }
        }
    }

    /// Turns off nodes that nobody counts on any more: removed ones, and those that never joined.
    pub(in crate::sim) fn turn_off_strangers(&mut self) {
        let members = self.checks.rolls.members_in_force();
        for id in self.ids() {
            let off = self.seats.get(&id).is_some_and(|seat| seat.retired);
            if !off && !members.contains(&id) {
                self.retire(id, "it is no member any more");
            }
        }
    }
}
