//! Messages and configurations to bytes and back. bincode is used here and nowhere else.
//!
//! Fixed-size integers, a limit on what is decoded, and nothing left over: the same message always
//! gives the same bytes, and hostile bytes give an error, never a panic or a large allocation.
//! Changing this changes [`crate::transport::VERSION`].

use bincode::Options;
use serde::{Serialize, de::DeserializeOwned};

use crate::message::Message;

/// Turns messages into bytes and back.
pub trait Codec: Clone + Send + Sync + 'static {
    /// Appends the message's bytes.
    ///
    /// # Errors
    /// If they are more than the codec's limit.
    fn encode(&self, message: &Message, to: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Reads a message that takes up all the bytes.
    ///
    /// # Errors
    /// If they are no message.
    fn decode(&self, bytes: &[u8]) -> Result<Message, CodecError>;
}

/// Bytes that are no message, or a message that is too large.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(String);

/// The codec of the protocol.
#[derive(Clone, Copy, Debug)]
pub struct Bincode {
    bytes_max: u64,
}

impl Bincode {
    /// No message is larger than `bytes_max`, written or read.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self { bytes_max }
    }

    fn options(self) -> impl Options {
        options(self.bytes_max)
    }
}

fn options(bytes_max: u64) -> impl Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_limit(bytes_max)
        .reject_trailing_bytes()
}

/// Bytes of a value that this node made and that is known to be small; none beyond `bytes_max`.
pub(crate) fn encode_small(value: &impl Serialize, bytes_max: u64) -> Option<Vec<u8>> {
    options(bytes_max).serialize(value).ok()
}

/// The value that takes up all of `bytes`, at most `bytes_max`.
pub(crate) fn decode_small<T: DeserializeOwned>(bytes: &[u8], bytes_max: u64) -> Option<T> {
    let fits = bytes.len() as u64 <= bytes_max;
    fits.then(|| options(bytes_max).deserialize(bytes).ok()).flatten()
}

impl Codec for Bincode {
    fn encode(&self, message: &Message, to: &mut Vec<u8>) -> Result<(), CodecError> {
        self.options().serialize_into(to, message).map_err(|e| CodecError(e.to_string()))
    }

    fn decode(&self, bytes: &[u8]) -> Result<Message, CodecError> {
        // bincode does not count the tags of enums towards its limit.
        if bytes.len() as u64 > self.bytes_max {
            return Err(CodecError(format!("{} bytes, {} allowed", bytes.len(), self.bytes_max)));
        }
        self.options().deserialize(bytes).map_err(|e| CodecError(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hardlog::{Entry, EntryId, SnapshotOffer};

    use super::*;
    use crate::message::{AppendReply, Body, SnapshotChunk};

    fn messages() -> Vec<Message> {
        let id = EntryId::new(7, 3);
        let entries = vec![Entry::new(8, 3, "set x 1"), Entry::new(9, 3, "")];
        let offer = SnapshotOffer { id, meta: Bytes::from_static(b"m"), len: 9, crc: Some(4) };
        let data = Bytes::from_static(b"chunk");
        let (conflict_term, conflict_index) = (Some(2), 4);
        let bodies = [
            Body::PreVote { last: id },
            Body::PreVoteReply { granted: true },
            Body::Vote { last: id, transfer: true },
            Body::VoteReply { granted: false },
            Body::Append { prev: id, entries, commit: 6 },
            Body::AppendReply(AppendReply::Accepted { matched: 9 }),
            Body::AppendReply(AppendReply::Rejected { prev: 7, conflict_term, conflict_index }),
            Body::Heartbeat { commit: 6, round: 2 },
            Body::HeartbeatReply { round: 2 },
            Body::Snapshot(SnapshotChunk { offer, offset: 4, data }),
            Body::SnapshotReply { id, offset: 9 },
            Body::TimeoutNow,
        ];
        bodies.into_iter().map(|body| Message { from: 1, to: 2, term: 3, body }).collect()
    }

    fn encoded(message: &Message) -> Vec<u8> {
        let mut bytes = Vec::new();
        Bincode::new(4096).encode(message, &mut bytes).expect("below the limit");
        bytes
    }

    #[test]
    fn every_message_comes_back() {
        for message in messages() {
            let bytes = encoded(&message);
            assert_eq!(Bincode::new(4096).decode(&bytes).expect("a message"), message);
        }
    }

    #[test]
    fn the_bytes_of_a_message_do_not_change_unnoticed() {
        let message = &messages()[8];
        let expected = [
            1, 0, 0, 0, 0, 0, 0, 0, // from
            2, 0, 0, 0, 0, 0, 0, 0, // to
            3, 0, 0, 0, 0, 0, 0, 0, // term
            7, 0, 0, 0, // HeartbeatReply
            2, 0, 0, 0, 0, 0, 0, 0, // round
        ];
        assert_eq!(encoded(&messages()[8]), expected, "{message:?}");
    }

    #[test]
    fn cut_long_and_oversized_bytes_are_errors() {
        for message in messages() {
            let mut bytes = encoded(&message);
            for len in 0..bytes.len() {
                assert!(Bincode::new(4096).decode(&bytes[..len]).is_err(), "{message:?} {len}");
            }
            let limit = Bincode::new(bytes.len() as u64 - 1);
            assert!(limit.encode(&message, &mut vec![]).is_err(), "{message:?}");
            assert!(limit.decode(&bytes).is_err(), "{message:?}");
            bytes.push(0);
            assert!(Bincode::new(4096).decode(&bytes).is_err(), "{message:?}");
        }
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        let mut bytes = encoded(&messages()[4]);
        // The count of entries, then the length of the first payload.
        for at in [52, 84] {
            let len = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
            assert!(len == 2 || len == 7, "not a length: {len}");
            bytes[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
            assert!(Bincode::new(u64::MAX / 2).decode(&bytes).is_err());
        }
    }
}
