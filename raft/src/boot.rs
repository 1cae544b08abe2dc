//! What a node finds in its log when it starts: the state of its machine and who takes part; and
//! how the latter gets there.
//!
//! The newest committed configuration and those after it stand in metadata slots of the log,
//! written in the same batch as the entries or the truncation that change them. So they are
//! restored without reading the log, even where an entry's bytes are damaged, and a batch that is
//! lost takes its configurations with it: the slots are of class ordered, not promises.
//!
//! The membership with which a node began has a slot of its own, written before anything else. A
//! snapshot carries the configuration as of its last entry in its metadata.
//!
//! Above: the node. Below: the log and its snapshots.

use std::collections::BTreeMap;

use bytes::Bytes;
use hardlog::{Batch, Class, HardState, Index, Log, LogId};

use crate::{
    applier,
    config::Config,
    core::{Configuration, Core, Identity, Membership},
    error::Error,
    message::NodeId,
    state_machine::StateMachine,
    view::View,
};

/// Slots for the newest committed configuration and those after it, oldest first.
const STACK_SLOTS: [u64; 3] = [2, 3, 4];
/// The slot for the membership of the first start.
const FIRST_SLOT: u64 = 5;
/// The slot for what peers showed of themselves.
const SEEN_SLOT: u64 = 6;
/// The slot that says that this node has no vote until it has caught up. Empty or missing else.
const ABSTAIN_SLOT: u64 = 8;
/// Bytes of one peer there: id, log id, incarnation.
const SEEN_LEN: usize = 32;
/// Peers that fit.
const SEEN_MAX: usize = 120;

/// Which log each peer had, and how often it had been opened.
pub(crate) type Seen = BTreeMap<NodeId, (LogId, u64)>;

/// What a node starts with.
#[derive(Debug)]
pub(crate) struct Boot {
    /// Highest index that the machine holds.
    pub(crate) applied: Index,
    /// The newest configuration up to there.
    pub(crate) configuration: Configuration,
    /// Who took part when the node began.
    pub(crate) first: Membership,
    /// The newest committed configuration and those after it.
    pub(crate) configurations: Vec<Configuration>,
}

impl Boot {
    /// Restores the machine from the newest marked snapshot, or an older one that the log reaches
    /// back to. `first` counts only at the very first start.
    pub(crate) fn find<S: StateMachine>(
        machine: &mut S,
        log: &mut Log,
        first: &Membership,
    ) -> Result<Self, Error> {
        let first = Configuration { index: 0, membership: first_membership(log, first)? };
        let stack = STACK_SLOTS.iter().filter_map(|slot| log.meta(*slot)).filter(|b| !b.is_empty());
        let stack: Option<Vec<_>> = stack.map(|bytes| Configuration::decode(&bytes)).collect();
        let mut configurations = stack.ok_or(Error::Configuration)?;
        if configurations.is_empty() {
            configurations.push(first.clone());
        }
        let (applied, configuration) = restore(machine, log)?;
        let configuration = configuration.unwrap_or_else(|| first.clone());
        Ok(Self { applied, configuration, first: first.membership, configurations })
    }

    /// The core as the log left it.
    pub(crate) fn core(&self, log: &Log, identity: Identity, config: Config) -> Core<View> {
        let saved = log.hard_state();
        // What a snapshot holds was committed, whatever became of the hint.
        let saved = HardState { commit: saved.commit.max(self.applied), ..saved };
        let view = View::new(log.reader());
        Core::restored(identity, config, view, (saved, self.configurations.clone()))
    }
}

/// The membership of the first start, whatever is asked for later.
fn first_membership(log: &mut Log, first: &Membership) -> Result<Membership, Error> {
    if let Some(bytes) = log.meta(FIRST_SLOT) {
        return Membership::decode(&bytes).ok_or(Error::Configuration);
    }
    // DURABILITY: no sync of its own. Batches survive in order, so whatever this node promises
    // later is lost before this is.
    log.save_meta(FIRST_SLOT, Class::Ordered, &first.encode()).map_err(Error::Log)?;
    Ok(first.clone())
}

/// The index that the machine then holds, and the configuration that the snapshot names.
fn restore<S: StateMachine>(
    machine: &mut S,
    log: &Log,
) -> Result<(Index, Option<Configuration>), Error> {
    let first = log.first_log_index();
    let Some(mark) = log.snapshot_mark() else {
        return if first == 1 { Ok((0, None)) } else { Err(Error::NoSnapshot { first }) };
    };
    let usable = log.snapshots().usable(mark.id, first).map_err(Error::Log)?;
    applier::restore(machine, &log.snapshots(), usable.id)?;
    let configuration = match usable.meta.is_empty() {
        true => None, // Taken before memberships could change.
        false => Some(configuration_of(&usable.meta, usable.id.index)?),
    };
    Ok((usable.id.index, configuration))
}

/// The configuration in the metadata of a snapshot up to `index`.
pub(crate) fn configuration_of(meta: &Bytes, index: Index) -> Result<Configuration, Error> {
    let found = Configuration::decode(meta).filter(|found| found.index <= index);
    found.ok_or(Error::Configuration)
}

/// Takes the vote from the node until it has caught up.
pub(crate) fn abstain(log: &mut Log) -> Result<(), Error> {
    log.save_meta(ABSTAIN_SLOT, Class::Promise, &[1]).map_err(Error::Log)?;
    // DURABILITY: before the node hears of an election; a later start need not be told again.
    log.sync().map_err(Error::Log)
}

/// Whether the node has no vote for now.
pub(crate) fn abstains(log: &Log) -> bool {
    log.meta(ABSTAIN_SLOT).is_some_and(|bytes| !bytes.is_empty())
}

/// Adds to a batch that the node has caught up.
pub(crate) fn put_caught_up(batch: &mut Batch) {
    batch.meta(ABSTAIN_SLOT, Class::Promise, Bytes::new());
}

/// What peers showed of themselves, before this start too.
///
/// A node whose disk was wiped or put back has forgotten promises. Nobody but the others can know
/// that, so they write it down.
pub(crate) fn seen(log: &Log) -> Result<Seen, Error> {
    let bytes = log.meta(SEEN_SLOT).unwrap_or_default();
    let number = |bytes: &[u8]| Some(u64::from_le_bytes(*bytes.first_chunk()?));
    let row = |row: &[u8]| {
        let (id, rest) = row.split_at_checked(8)?;
        let (log_id, incarnation) = rest.split_first_chunk()?;
        Some((number(id)?, (LogId(*log_id), number(incarnation)?)))
    };
    let rows = bytes.chunks(SEEN_LEN).map(|bytes| row(bytes).ok_or(Error::Configuration));
    rows.collect()
}

/// Adds that to a batch. Where there are too many, those that are no members go.
pub(crate) fn put_seen(batch: &mut Batch, seen: &mut Seen, membership: &Membership) {
    if seen.len() > SEEN_MAX {
        seen.retain(|id, _| membership.contains(*id));
    }
    let mut bytes = Vec::with_capacity(seen.len() * SEEN_LEN);
    for (id, (log_id, incarnation)) in seen.iter() {
        bytes.extend(id.to_le_bytes());
        bytes.extend(log_id.0);
        bytes.extend(incarnation.to_le_bytes());
    }
    batch.meta(SEEN_SLOT, Class::Promise, bytes);
}

/// Adds the slots to a batch.
///
/// # Panics
/// If there are more configurations than slots, which the core does not allow.
pub(crate) fn put_configurations(batch: &mut Batch, configurations: &[Configuration]) {
    assert!(configurations.len() <= STACK_SLOTS.len(), "{configurations:?} exceed the slots");
    let encoded = configurations.iter().map(Configuration::encode).map(Bytes::from);
    let values = encoded.chain(std::iter::repeat(Bytes::new()));
    for (slot, value) in STACK_SLOTS.iter().zip(values) {
        batch.meta(*slot, Class::Ordered, value);
    }
}
