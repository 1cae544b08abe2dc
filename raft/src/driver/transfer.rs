//! Snapshots on their way to followers: who gets which, and when to try again.
//!
//! One piece at a time: the follower's answer to one asks for the next. Answers may be lost, so a
//! transfer that stands still is offered again, and given up after a while; the core then probes
//! the follower afresh.

use std::collections::BTreeMap;

use hardlog::{EntryId, Index};

use super::Output;
use crate::{
    core::{Core, LogView, progress::Progress},
    message::NodeId,
    work::Carry,
};

/// Ticks without an answer after which a snapshot is offered again.
const OFFER_AGAIN_TICKS: u32 = 15;
/// Offers without progress after which the transfer is given up.
const OFFERS_MAX: u32 = 10;

#[derive(Debug, Default)]
pub(super) struct Transfers(BTreeMap<NodeId, Transfer>);

#[derive(Debug)]
struct Transfer {
    id: EntryId,
    /// What was last asked for.
    offset: Option<u64>,
    quiet_ticks: u32,
    offers: u32,
}

impl Transfers {
    /// The follower needs a snapshot.
    pub(super) fn begin(&mut self, to: NodeId, id: EntryId, out: &mut Output) {
        self.0.insert(to, Transfer { id, offset: None, quiet_ticks: 0, offers: 1 });
        out.carry.push(Carry::Offer { to, id });
    }

    /// The follower asks for bytes. The same question twice in a row is a doubled message.
    pub(super) fn wanted(&mut self, to: NodeId, id: EntryId, offset: u64, out: &mut Output) {
        let Some(transfer) = self.0.get_mut(&to).filter(|transfer| transfer.id == id) else {
            return;
        };
        if transfer.offset == Some(offset) && transfer.quiet_ticks < OFFER_AGAIN_TICKS / 2 {
            return;
        }
        if transfer.offset.is_none_or(|before| offset > before) {
            transfer.offers = 0;
        }
        transfer.offset = Some(offset);
        transfer.quiet_ticks = 0;
        out.carry.push(Carry::Piece { to, id, offset });
    }

    pub(super) fn remove(&mut self, to: NodeId) {
        self.0.remove(&to);
    }

    /// Forgets followers that need no snapshot any more.
    pub(super) fn retain<L: LogView>(&mut self, core: &Core<L>, out: &mut Output) {
        let needs = |id: &NodeId| {
            let peer = core.followers().and_then(|followers| followers.get(id));
            peer.is_some_and(|peer| peer.progress == Progress::Snapshot)
        };
        self.0.retain(|to, _| {
            let keep = needs(to);
            if !keep {
                out.carry.push(Carry::Forget { to: *to });
            }
            keep
        });
    }

    /// Time passes. Returns the transfers that are given up.
    pub(super) fn tick(&mut self, out: &mut Output) -> Vec<NodeId> {
        let mut failed = Vec::new();
        for (to, transfer) in &mut self.0 {
            transfer.quiet_ticks += 1;
            if !transfer.quiet_ticks.is_multiple_of(OFFER_AGAIN_TICKS) {
                continue;
            }
            transfer.offers += 1;
            if transfer.offers > OFFERS_MAX {
                failed.push(*to);
                out.carry.push(Carry::Forget { to: *to });
            } else {
                out.carry.push(Carry::Offer { to: *to, id: transfer.id });
            }
        }
        failed.iter().for_each(|to| self.remove(*to));
        failed
    }

    /// First index that a snapshot on its way needs to stay.
    pub(super) fn floor(&self) -> Index {
        self.0.values().map(|transfer| transfer.id.index + 1).min().unwrap_or(Index::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: EntryId = EntryId::new(9, 2);

    fn carried(act: impl FnOnce(&mut Output)) -> Vec<String> {
        let mut out = Output::default();
        act(&mut out);
        let name = |job: &Carry| match job {
            Carry::Offer { to, .. } => format!("offer {to}"),
            Carry::Piece { to, offset, .. } => format!("piece {to} {offset}"),
            Carry::Forget { to } => format!("forget {to}"),
            Carry::Received { from, .. } => format!("received {from}"),
        };
        out.carry.iter().map(name).collect()
    }

    #[test]
    fn pieces_follow_the_followers_answers_and_doubled_answers_send_nothing() {
        let mut transfers = Transfers::default();
        assert_eq!(carried(|out| transfers.begin(2, ID, out)), ["offer 2"]);
        assert_eq!(transfers.floor(), 10);
        assert_eq!(carried(|out| transfers.wanted(2, ID, 0, out)), ["piece 2 0"]);
        assert!(carried(|out| transfers.wanted(2, ID, 0, out)).is_empty());
        assert_eq!(carried(|out| transfers.wanted(2, ID, 100, out)), ["piece 2 100"]);
        assert!(carried(|out| transfers.wanted(2, EntryId::new(8, 2), 0, out)).is_empty());
        assert!(carried(|out| transfers.wanted(3, ID, 0, out)).is_empty());
    }

    #[test]
    fn a_transfer_that_stands_still_is_offered_again_and_given_up_in_the_end() {
        let mut transfers = Transfers::default();
        transfers.begin(2, ID, &mut Output::default());
        let mut offers = 0;
        for tick in 1.. {
            let mut failed = Vec::new();
            let jobs = carried(|out| failed = transfers.tick(out));
            if !failed.is_empty() {
                assert_eq!((failed, jobs), (vec![2], vec!["forget 2".to_owned()]));
                break;
            }
            offers += jobs.len();
            assert!(tick < 1000);
        }
        assert_eq!(offers, 9);
        assert_eq!(transfers.floor(), Index::MAX);
    }
}
