//! Codec: a value of openraft ↔ bytes, and a leader id ↔ the two numbers in an entry's header.
//!
//! Above: `v0_10` and `v0_9`, which hand over whole entries, votes and snapshot metadata. Below: serde.
//! Nothing here knows a version of openraft. What a peer or the disk supplied is decoded within the
//! bytes that are there: a length that claims more is an error before anything is allocated for it.

use bincode::Options as _;
use hardlog::{EntryId, Index};
use serde::{Serialize, de::DeserializeOwned};

use crate::error::{Error, What};

/// How values of type `T` become bytes on disk.
///
/// The log takes a codec as a type, so it has no state. Bytes that were written once must be readable
/// for as long as the log lives: a change of the encoding, or of a type under [`Bincode`], needs a
/// new log or a codec that reads both.
///
/// ```
/// use hardlog_openraft::{BoxError, Codec};
///
/// /// Text as it is.
/// struct Plain;
/// impl Codec<String> for Plain {
///     fn encode(value: &String) -> Result<Vec<u8>, BoxError> {
///         Ok(value.clone().into_bytes())
///     }
///     fn decode(bytes: &[u8]) -> Result<String, BoxError> {
///         Ok(std::str::from_utf8(bytes)?.to_owned())
///     }
/// }
/// assert_eq!(Plain::decode(&Plain::encode(&"set x 1".to_owned())?)?, "set x 1");
/// assert!(<Plain as Codec<String>>::decode(&[0xFF]).is_err());
/// # Ok::<(), BoxError>(())
/// ```
pub trait Codec<T>: Send + Sync + 'static {
    /// The value as bytes.
    ///
    /// # Errors
    /// Whatever makes the value impossible to write; nothing is written then.
    fn encode(value: &T) -> Result<Vec<u8>, BoxError>;

    /// The value of bytes that [`Codec::encode`] has made; of any other bytes an error, never a panic.
    ///
    /// # Errors
    /// Whatever is wrong with the bytes.
    fn decode(bytes: &[u8]) -> Result<T, BoxError>;
}

/// What a codec says is wrong.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The codec unless another is named: serde through bincode 1.3, with integers of variable length.
///
/// Compact and fast, and it says nothing about itself. So the limits are: a struct may not gain,
/// lose or reorder fields and an enum may only gain variants at its end, or entries written before
/// cannot be read; types that must look at the data to know what it is (`serde_json::Value`,
/// untagged enums, `#[serde(flatten)]`) encode but do not decode.
/// Bytes behind the value are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bincode;

impl<T: Serialize + DeserializeOwned> Codec<T> for Bincode {
    fn encode(value: &T) -> Result<Vec<u8>, BoxError> {
        Ok(bincode::DefaultOptions::new().serialize(value)?)
    }

    fn decode(bytes: &[u8]) -> Result<T, BoxError> {
        Ok(bincode::DefaultOptions::new().with_limit(bytes.len() as u64).deserialize(bytes)?)
    }
}

/// A leader id that fits the header of an entry: a term and a tag, 64 bits each.
///
/// The engine compares the term and never looks into the tag. openraft's standard leader id has a
/// term only; its advanced one has a node besides, which must be a number then. For leader ids of
/// your own, implement this; no two of them may have the same two numbers.
pub trait LeaderTag: Sized {
    /// Term and tag; None where they do not fit. The term may never go back where the id goes on.
    fn to_header(&self) -> Option<(u64, u64)>;

    /// The id of a term and a tag; None where no id has them.
    fn from_header(term: u64, tag: u64) -> Option<Self>;
}

/// The engine's id of an entry of `leader`.
pub(crate) fn entry_id<L: LeaderTag>(leader: &L, index: Index) -> Result<EntryId, Error> {
    let (term, tag) = leader.to_header().ok_or(Error::Leader { index })?;
    Ok(EntryId { index, term, tag })
}

/// The leader of an entry of the engine.
pub(crate) fn leader<L: LeaderTag>(id: &EntryId) -> Result<L, Error> {
    L::from_header(id.term, id.tag).ok_or(Error::Leader { index: id.index })
}

/// An id as the value of a metadata slot: index, term and tag, little-endian; None is no bytes.
pub(crate) fn encode_id(id: Option<EntryId>) -> Vec<u8> {
    let words = id.map(|id| [id.index, id.term, id.tag]);
    words.iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
}

/// The reverse of [`encode_id`].
pub(crate) fn decode_id(bytes: &[u8]) -> Result<Option<EntryId>, Error> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let bytes: &[u8; 24] = bytes.try_into().map_err(|e| Error::decode(What::Committed, e))?;
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(word)
    };
    Ok(Some(EntryId { index: word(0), term: word(8), tag: word(16) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_in_a_slot_is_read_back_and_any_other_length_refused() {
        let id = EntryId { index: 1, term: u64::MAX, tag: 3 };
        for id in [None, Some(id)] {
            assert_eq!(decode_id(&encode_id(id)).unwrap(), id);
        }
        for len in [1, 8, 23, 25] {
            let refused = decode_id(&vec![0; len]);
            assert!(matches!(refused, Err(Error::Decode { what: What::Committed, .. })), "{len}");
        }
    }

    #[test]
    fn lengths_beyond_the_bytes_and_bytes_beyond_the_value_are_refused() {
        let good = <Bincode as Codec<Vec<u64>>>::encode(&vec![7, 8, 1 << 40]).unwrap();
        assert_eq!(<Bincode as Codec<Vec<u64>>>::decode(&good).unwrap(), [7, 8, 1 << 40]);
        let longer = [good.as_slice(), &[0]].concat();
        let huge = [&[0xFD], u64::MAX.to_le_bytes().as_slice()].concat();
        for bad in [&good[..good.len() - 1], &longer, &huge, &[]] {
            assert!(<Bincode as Codec<Vec<u64>>>::decode(bad).is_err(), "{bad:?}");
            assert!(<Bincode as Codec<String>>::decode(bad).is_err(), "{bad:?}");
        }
    }
}
