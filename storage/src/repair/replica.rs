//! What a peer's log can give: entries that are lost here, each checked before it is believed.
//!
//! Above: `plan`. Below: `salvage`, `cursor`. Reads only.
//!
//! Every entry that both logs know must be the same, or the peer is refused: by index, term and tag
//! wherever both hold it, by checksum in the stretch that is written anew. An entry whose bytes are
//! bad here is taken only where index, term and checksum are those that its head states. An entry of
//! which nothing is known here is taken on the word of Raft: it is committed there, or a later entry
//! that both hold vouches for it (Log Matching); else it is taken too, and called unproven.

use std::ops::ControlFlow;

use crate::{
    entry::{EntryId, Index},
    error::Result,
    fs::Fs,
    repair::{
        Refusal, RepairError, cursor,
        ledger::{Known, Ledger, Piece},
        salvage::Salvage,
    },
};

/// Entries in front of the first that is not whole whose checksums are compared.
const NEIGHBOURS: u64 = 64;
/// Entries whose checksums are compared at once.
const AT_ONCE: u64 = 1 << 16;

/// A log and where it is.
type Side<'a> = (&'a Salvage, &'a dyn Fs);

/// Entries and whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) first: Index,
    pub(crate) last: Index,
    /// They come from the replica.
    pub(crate) theirs: bool,
}

/// What comes of the two logs together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Healed {
    /// From the first entry that is not whole here on.
    pub(crate) sources: Vec<Source>,
    /// One past the last of them.
    pub(crate) end: Index,
    /// From here on nothing proves that the replica's entries are those that were lost.
    pub(crate) unproven: Option<Index>,
}

/// Fills what is not whole in `ours`, up to `known_end` or as far as it goes where the end is lost.
pub(crate) fn heal(
    (ours, fs): Side<'_>,
    (theirs, peer): Side<'_>,
    known_end: Index,
) -> Result<Healed, RepairError> {
    let whole = ours.ledger.whole_to();
    same_ids(&ours.ledger, &theirs.ledger)?;
    same_sums(ours, (theirs, peer), fs)?;
    let trusted = theirs.ledger.whole_to();
    let limit = if ours.ledger.lost { known_end.max(trusted) } else { known_end };
    let mut healed = Healed { end: whole, ..Healed::default() };
    let mut at = whole;
    while at < limit {
        let own = piece_at(&ours.ledger, at)
            .filter(|piece| matches!(piece.known, Known::Held { .. }) && !ours.ledger.doubts(at));
        let other = piece_at(&theirs.ledger, at)
            .filter(|piece| matches!(piece.known, Known::Held { .. }) && at < trusted);
        let source = match (own, other) {
            (Some(piece), _) => Source { first: at, last: piece.last, theirs: false },
            (None, Some(piece)) => {
                let last = ours.ledger.change_after(at).min(piece.last).min(trusted - 1);
                Source { first: at, last: last.min(limit - 1), theirs: true }
            }
            (None, None) => break,
        };
        at = source.last + 1;
        healed.sources.push(source);
    }
    healed.end = at;
    healed.unproven = unproven(ours, theirs, &healed);
    Ok(healed)
}

/// The first entry taken from the replica, or lost beyond it, that nothing vouches for.
fn unproven(ours: &Salvage, theirs: &Salvage, healed: &Healed) -> Option<Index> {
    let committed = theirs.ledger.state.hard_state.commit;
    let matched = healed.sources.iter().rev().find(|source| !source.theirs).and_then(|source| {
        let last = source.last.min(theirs.ledger.state.next.checked_sub(1)?);
        (last >= source.first && theirs.ledger.id(last) == ours.ledger.id(last)).then_some(last)
    });
    let vouched = matched.map_or(committed, |last| last.max(committed));
    let of_theirs =
        |source: &&Source| source.theirs && source.last > vouched && !ours.states(source);
    let taken = healed.sources.iter().find(of_theirs).map(|source| source.first.max(vouched + 1));
    let beyond = ours.ledger.lost.then(|| healed.end.min(vouched.saturating_add(1)));
    match (taken, beyond) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Salvage {
    /// Whether the heads here state id and checksum of what is taken from the replica.
    fn states(&self, source: &Source) -> bool {
        let known = |index| {
            piece_at(&self.ledger, index).is_some_and(|piece| {
                matches!(piece.known, Known::Bad { .. }) && !self.ledger.doubts(index)
            })
        };
        source.first == source.last && known(source.first)
    }
}

fn piece_at(ledger: &Ledger, index: Index) -> Option<&Piece> {
    let at = ledger.pieces.partition_point(|piece| piece.last < index);
    ledger.pieces.get(at).filter(|piece| piece.first <= index)
}

/// Ids of all entries that both know.
fn same_ids(ours: &Ledger, theirs: &Ledger) -> Result<(), Refusal> {
    for piece in &ours.pieces {
        let mut at = piece.first;
        while at <= piece.last {
            let last = theirs.change_after(at).min(ours.change_after(at));
            let known = !ours.doubts(at) && !theirs.doubts(at);
            if let Some((own, other)) = ours.id(at).zip(theirs.id(at)).filter(|_| known)
                && own != other
            {
                let says = |id: EntryId| format!("of term {}", id.term);
                let (ours, theirs) = (says(own), says(other));
                return Err(Refusal::ReplicaConflicts { index: at, ours, theirs });
            }
            at = last.min(piece.last) + 1;
        }
    }
    Ok(())
}

/// Checksums: of entries that are bad here, and of those held on both sides around what is lost.
fn same_sums(ours: &Salvage, (theirs, peer): Side<'_>, fs: &dyn Fs) -> Result<(), RepairError> {
    let from = ours.ledger.whole_to().saturating_sub(NEIGHBOURS);
    for piece in ours.ledger.pieces.iter().filter(|piece| piece.last >= from) {
        let mut at = piece.first.max(from);
        while at <= piece.last {
            let last = theirs.ledger.change_after(at).min(ours.ledger.change_after(at));
            let last = last.min(piece.last).min(at.saturating_add(AT_ONCE));
            let there = piece_at(&theirs.ledger, at)
                .is_some_and(|other| matches!(other.known, Known::Held { .. }));
            if there && !ours.ledger.doubts(at) && !theirs.ledger.doubts(at) {
                let own = match piece.known {
                    Known::Bad { crc, .. } => vec![crc],
                    Known::Held { .. } => sums((ours, fs), (at, last))?,
                    Known::Missing => Vec::new(),
                };
                let others = sums((theirs, peer), (at, last))?;
                if let Some(i) = own.iter().zip(&others).position(|(a, b)| a != b) {
                    let says = |crc: u32| format!("of checksum {crc:08x}");
                    let (ours, theirs) = (says(own[i]), says(others[i]));
                    let index = at + i as u64;
                    return Err(Refusal::ReplicaConflicts { index, ours, theirs }.into());
                }
            }
            at = last + 1;
        }
    }
    Ok(())
}

/// Checksums of the entries `first..=last`.
fn sums((log, fs): Side<'_>, range: (Index, Index)) -> Result<Vec<u32>> {
    let mut sums = Vec::new();
    cursor::read((fs, log), range, &mut |entry| {
        sums.push(crc32fast::hash(&entry.payload));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(sums)
}
