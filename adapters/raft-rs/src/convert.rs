//! raft-rs's types ↔ what the log holds. Pure.
//!
//! ```text
//!  entry   tag = type (0, 1, 2) | 0x100 has a context | 0x200 sync_log
//!          payload = data                                    without a context: not copied
//!                  = len of context (u32) · context · data   with one
//!  members index (u64) · ConfState (protobuf)                in a slot, and beside each snapshot
//! ```
//!
//! Index and term stand in the entry's id. Integers are little-endian.
//! Above: `storage`, `write`, `snapshot`. Below: nothing.

use byteorder::{ByteOrder, LittleEndian as LE};
use bytes::{BufMut, Bytes, BytesMut};
use hardlog::{Entry, EntryId, HardState, Index};
use protobuf::Message;
use tikv_raft::eraftpb::{self, ConfState, EntryType};

use crate::error::{Error, Result};

const HAS_CONTEXT: u64 = 0x100;
const SYNC_LOG: u64 = 0x200;

/// The id under which the log keeps an entry of raft-rs.
pub(crate) fn id(entry: &eraftpb::Entry) -> EntryId {
    let kind = match entry.get_entry_type() {
        EntryType::EntryNormal => 0,
        EntryType::EntryConfChange => 1,
        EntryType::EntryConfChangeV2 => 2,
    };
    let context = if entry.context.is_empty() { 0 } else { HAS_CONTEXT };
    let sync_log = if entry.sync_log { SYNC_LOG } else { 0 };
    EntryId { index: entry.index, term: entry.term, tag: kind | context | sync_log }
}

/// An entry of raft-rs as the log keeps it.
pub(crate) fn to_log(entry: &eraftpb::Entry) -> Entry {
    let payload = if entry.context.is_empty() {
        shared(entry.data.clone())
    } else {
        let mut payload = BytesMut::with_capacity(4 + entry.context.len() + entry.data.len());
        // A context beyond 4 GiB fits no batch, and the log refuses it by its true length.
        payload.put_u32_le(u32::try_from(entry.context.len()).unwrap_or(u32::MAX));
        payload.put_slice(&entry.context);
        payload.put_slice(&entry.data);
        payload.freeze()
    };
    Entry { id: id(entry), payload }
}

/// An entry of the log as raft-rs knows it.
///
/// # Errors
/// `ForeignEntry` for a tag or payload that [`to_log`] never makes.
pub(crate) fn to_raft(entry: Entry) -> Result<eraftpb::Entry> {
    let Entry { id, payload } = entry;
    let foreign = || Error::ForeignEntry(id.index);
    let kind = match id.tag & !(HAS_CONTEXT | SYNC_LOG) {
        0 => EntryType::EntryNormal,
        1 => EntryType::EntryConfChange,
        2 => EntryType::EntryConfChangeV2,
        _ => return Err(foreign()),
    };
    let mut made = eraftpb::Entry::default();
    made.set_entry_type(kind);
    (made.index, made.term) = (id.index, id.term);
    made.sync_log = id.tag & SYNC_LOG != 0;
    if id.tag & HAS_CONTEXT == 0 {
        made.data = field(payload);
        return Ok(made);
    }
    let len = payload.get(..4).map(LE::read_u32).ok_or_else(foreign)?;
    let end = usize::try_from(len).ok().and_then(|len| len.checked_add(4)).ok_or_else(foreign)?;
    if payload.len() < end {
        return Err(foreign());
    }
    made.context = field(payload.slice(4..end));
    made.data = field(payload.slice(end..));
    Ok(made)
}

/// Term, vote and commit as the log keeps them; raft-rs says 0 for "nobody".
pub(crate) fn hard_state(hs: &eraftpb::HardState) -> HardState {
    HardState { term: hs.term, vote: (hs.vote != 0).then_some(hs.vote), commit: hs.commit }
}

/// Term, vote and commit as raft-rs knows them.
pub(crate) fn raft_hard_state(hs: HardState) -> eraftpb::HardState {
    let mut made = eraftpb::HardState::default();
    (made.term, made.vote, made.commit) = (hs.term, hs.vote.unwrap_or(0), hs.commit);
    made
}

/// A membership and the index of the entry that made it so, for a slot or beside a snapshot.
pub(crate) fn members(index: Index, conf_state: &ConfState) -> Result<Bytes> {
    let encoded =
        conf_state.write_to_bytes().map_err(|e| Error::ForeignConfState(e.to_string()))?;
    let mut out = BytesMut::with_capacity(8 + encoded.len());
    out.put_u64_le(index);
    out.put_slice(&encoded);
    Ok(out.freeze())
}

/// What [`members`] made.
///
/// # Errors
/// `ForeignConfState` for anything else.
pub(crate) fn read_members(bytes: &[u8]) -> Result<(Index, ConfState)> {
    let foreign = |why: &str| Error::ForeignConfState(why.to_owned());
    let (index, encoded) = bytes.split_at_checked(8).ok_or_else(|| foreign("too short"))?;
    let mut conf_state = ConfState::default();
    conf_state.merge_from_bytes(encoded).map_err(|e| foreign(&e.to_string()))?;
    Ok((LE::read_u64(index), conf_state))
}

/// A bytes field, which is `Bytes` in one codec of the raft crate and `Vec<u8>` in the other.
fn shared(field: impl Into<Bytes>) -> Bytes {
    field.into()
}

/// The other way.
pub(crate) fn field<T: From<Bytes>>(bytes: Bytes) -> T {
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: EntryType, data: &'static str, context: &'static str) -> eraftpb::Entry {
        let mut made = eraftpb::Entry::default();
        made.set_entry_type(kind);
        (made.index, made.term) = (7, 3);
        (made.data, made.context) = (data.into(), context.into());
        made
    }

    #[test]
    fn an_entry_comes_back_as_it_went() {
        for kind in
            [EntryType::EntryNormal, EntryType::EntryConfChange, EntryType::EntryConfChangeV2]
        {
            for (data, context) in [("", ""), ("set x 1", ""), ("", "c"), ("set x 1", "context")] {
                for sync_log in [false, true] {
                    let mut made = entry(kind, data, context);
                    made.sync_log = sync_log;
                    let kept = to_log(&made);
                    assert_eq!((kept.index(), kept.term()), (7, 3));
                    assert_eq!(to_raft(kept).unwrap(), made);
                }
            }
        }
    }

    #[test]
    fn data_without_a_context_is_the_payload() {
        let kept = to_log(&entry(EntryType::EntryNormal, "set x 1", ""));
        assert_eq!((kept.id.tag, &kept.payload[..]), (0, &b"set x 1"[..]));
    }

    #[test]
    fn what_the_adapter_never_wrote_is_refused() {
        let with = |tag, payload: &'static [u8]| {
            let id = EntryId { index: 7, term: 3, tag };
            to_raft(Entry { id, payload: Bytes::from_static(payload) })
        };
        for (tag, payload) in
            [(3, &b""[..]), (0x400, b""), (0x100, b"\x01\0\0"), (0x100, b"\x02\0\0\0c")]
        {
            assert!(matches!(with(tag, payload), Err(Error::ForeignEntry(7))), "{tag:#x}");
        }
        assert!(with(0x100, b"\x01\0\0\0c").is_ok());
        assert!(matches!(read_members(b"1234567"), Err(Error::ForeignConfState(_))));
        assert!(matches!(read_members(b"12345678\xFF"), Err(Error::ForeignConfState(_))));
    }

    #[test]
    fn a_membership_comes_back_as_it_went() {
        let mut conf_state = ConfState::from((vec![1, 2, 3], vec![4]));
        conf_state.voters_outgoing = vec![1, 5];
        conf_state.auto_leave = true;
        let bytes = members(9, &conf_state).unwrap();
        assert_eq!(read_members(&bytes).unwrap(), (9, conf_state));
    }
}
