//! Whose log this is: node and cluster stand in a metadata slot of the log from its first day.
//!
//! A directory that belongs to another node is refused, since its promises were made in that
//! node's name. So is one that a peer found out to be wiped or put back to an older copy, for ever.

use bytes::Bytes;
use hardlog::{Class, Error as LogError, HardState, Log};

use crate::{error::Error, message::NodeId};

/// The slot of the log's metadata that holds node and cluster.
pub const NODE_SLOT: u64 = 1;

const VERSION: u8 = 1;
/// The slot that holds who found out that this directory is not what the node had.
const DISOWNED_SLOT: u64 = 7;

/// Writes the identity into a fresh log; compares it in one that has been used.
pub(crate) fn establish(log: &mut Log, id: NodeId, cluster: u64) -> Result<(), Error> {
    if log.first_log_index() == 0 {
        return Err(Error::FirstIndex);
    }
    if let Some(by) = log.meta(DISOWNED_SLOT).as_ref().and_then(|bytes| bytes.first_chunk()) {
        return Err(Error::Disowned { by: u64::from_le_bytes(*by) });
    }
    match log.meta(NODE_SLOT) {
        Some(found) if found == encode(id, cluster) => Ok(()),
        Some(found) => Err(match decode(&found) {
            Some((found_id, found_cluster)) => {
                Error::WrongNode { id, cluster, found_id, found_cluster }
            }
            None => Error::Nameless,
        }),
        None if !is_fresh(log) => Err(Error::Nameless),
        None => claim(log, id, cluster).map_err(Error::Log),
    }
}

/// Remembers that a peer disowned this log. The node stops, whatever becomes of it.
pub(crate) fn disown(log: &mut Log, by: NodeId) {
    let saved = log.save_meta(DISOWNED_SLOT, Class::Promise, &by.to_le_bytes());
    // DURABILITY: the process ends now, and its successor must not try its luck with other peers.
    if let Err(error) = saved.and_then(|_| log.sync()) {
        tracing::error!(%error, "that this node is disowned is not written down");
    }
}

fn is_fresh(log: &Log) -> bool {
    log.next_log_index() == 1 && log.hard_state() == HardState::default()
}

fn claim(log: &mut Log, id: NodeId, cluster: u64) -> Result<(), LogError> {
    log.save_meta(NODE_SLOT, Class::Ordered, &encode(id, cluster))?;
    // DURABILITY: before the first promise is made in this node's name.
    log.sync()
}

fn encode(id: NodeId, cluster: u64) -> Bytes {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.extend_from_slice(&cluster.to_le_bytes());
    Bytes::from(bytes)
}

fn decode(bytes: &[u8]) -> Option<(NodeId, u64)> {
    let (version, rest) = bytes.split_first()?;
    let (id, rest) = rest.split_first_chunk()?;
    let (cluster, rest) = rest.split_first_chunk()?;
    let known = *version == VERSION && rest.is_empty();
    known.then(|| (u64::from_le_bytes(*id), u64::from_le_bytes(*cluster)))
}
