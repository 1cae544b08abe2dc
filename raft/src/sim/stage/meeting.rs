//! Processes that connect to each other, with the transport's own judgement of who is who.
//!
//! Two processes shake hands once. A process that ended can do so no more, but what it said over
//! an earlier connection may still arrive.
//!
//! A node whose disk was wiped, or put back to an older copy, is an *amnesiac*: it forgot promises.
//! Everybody who knew it before must refuse it, and nobody may refuse another (rule 21).

use super::Stage;
use crate::{
    message::NodeId,
    sim::{lock, watch::breach},
    transport::{Acquaintance, Lane, Verdict},
};

impl Stage {
    /// A process has started: it connects to everybody whom it can reach.
    pub(super) fn meet(&mut self, id: NodeId) {
        let Some(life) = self.seats.get(&id).map(|seat| seat.life) else { return };
        for other in self.ids() {
            let both = self.network.lets_through(id, other) && self.network.lets_through(other, id);
            let there = self.seats.get(&other).is_some_and(|seat| !seat.paused);
            if both && there && other != id {
                self.are_acquainted((id, life), other);
            }
        }
    }

    /// Whether `to` takes what that process of `from` says.
    pub(super) fn are_acquainted(&mut self, (from, life): (NodeId, u64), to: NodeId) -> bool {
        let (Some(a), Some(b)) = (self.seats.get(&from), self.seats.get(&to)) else { return false };
        if let Some(known) = b.met.get(&(from, life)) {
            return *known;
        }
        let (Some(one), Some(other)) = (&a.machine, &b.machine) else { return false };
        // One that stands still completes no handshake.
        if a.life != life || a.paused || b.paused {
            return false;
        }
        let (one, other) = (&one.acquaintance, &other.acquaintance);
        for (known, stranger) in [(one, to), (other, from)] {
            lock(&known.peers).insert(stranger);
        }
        let hear = |hearer: &Acquaintance, speaker: &Acquaintance| {
            hearer.judge(&speaker.hello(hearer.id, Lane::Control, Verdict::Welcome))
        };
        // Who connects speaks first, and is not answered if it is refused.
        let mut verdicts = vec![(from, hear(other, one))];
        if verdicts[0].1 == Verdict::Welcome {
            verdicts.push((to, hear(one, other)));
        }
        let refused = verdicts.into_iter().find(|(_, verdict)| *verdict != Verdict::Welcome);
        let welcome = refused.is_none() || !self.setting.identity_checks;
        let other_life = b.life;
        for (id, key) in [(to, (from, life)), (from, (to, other_life))] {
            if let Some(seat) = self.seats.get_mut(&id) {
                seat.met.insert(key, welcome);
            }
        }
        if let Some((who, verdict)) = refused.filter(|_| !welcome) {
            // It hears that when it connects itself.
            let by = if who == from { to } else { from };
            let machine = self.seats.get(&who).and_then(|seat| seat.machine.as_ref());
            machine.into_iter().for_each(|machine| (machine.acquaintance.disowned)(by));
            self.is_refused(who, verdict);
        }
        welcome
    }

    /// Whether a node that lost its disk would meet somebody who knew it. Otherwise nothing can
    /// notice: then it is not started yet.
    pub(super) fn would_be_noticed(&self, id: NodeId) -> bool {
        let linked =
            |other| self.network.lets_through(id, other) && self.network.lets_through(other, id);
        let mut others = self.seats.iter().filter(|(other, seat)| {
            **other != id && linked(**other) && !seat.amnesiac && !seat.paused
        });
        others.any(|(_, seat)| {
            let machine = seat.machine.as_ref();
            machine.is_some_and(|machine| lock(&machine.acquaintance.seen).contains_key(&id))
        })
    }

    fn is_refused(&mut self, who: NodeId, verdict: Verdict) {
        let words = [who, 13, verdict as u64];
        self.trace.note(self.now, &words, || format!("node {who} is refused: {verdict:?}"));
        let Some(seat) = self.seats.get_mut(&who) else { return };
        if seat.amnesiac {
            seat.noticed = true;
        } else if !seat.damaged {
            self.judge(breach(21, format!("node {who} is refused, and lost nothing: {verdict:?}")));
        }
    }
}
