//! The content of the store as a stream.
//!
//! ```text
//! "HLKVSNP1" · count u64 · count × (key length u32, value length u32, key, value)
//! ```
//! Little-endian. The log's snapshot file around it has the checksums; here only the bounds are
//! checked, and that the stream ends where the count says.

use std::io::{self, Read, Write};

use super::Keyspace;
use crate::limits::{KEY_MAX, VALUE_MAX};

const MAGIC: &[u8; 8] = b"HLKVSNP1";

/// The store as it was at one index.
#[derive(Clone, Debug)]
pub struct Frozen {
    keyspace: Keyspace,
}

impl Frozen {
    pub(super) fn new(keyspace: Keyspace) -> Self {
        Self { keyspace }
    }

    /// Streams the content; the same content gives the same bytes.
    ///
    /// # Errors
    /// What the writer said.
    pub fn write_to(&self, to: &mut dyn Write) -> io::Result<()> {
        // The pieces are small; the writer below may turn each call into work.
        let mut to = io::BufWriter::with_capacity(64 << 10, to);
        to.write_all(MAGIC)?;
        to.write_all(&(self.keyspace.len() as u64).to_le_bytes())?;
        for (key, value) in self.keyspace.iter() {
            let len = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(io::Error::other);
            to.write_all(&len(key)?.to_le_bytes())?;
            to.write_all(&len(value)?.to_le_bytes())?;
            to.write_all(key)?;
            to.write_all(value)?;
        }
        to.flush()
    }
}

/// Reads what [`Frozen::write_to`] wrote.
pub(super) fn read(from: &mut dyn Read) -> io::Result<Keyspace> {
    let mut from = io::BufReader::with_capacity(64 << 10, from);
    let mut magic = [0; 8];
    from.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Err(invalid("not a snapshot of the store"));
    }
    let mut count = [0; 8];
    from.read_exact(&mut count)?;
    let count = u64::from_le_bytes(count);
    let mut keyspace = Keyspace::default();
    for _ in 0..count {
        let (key_len, value_len) = (read_len(&mut from, KEY_MAX)?, read_len(&mut from, VALUE_MAX)?);
        let key = read_string(&mut from, key_len)?;
        let value = read_string(&mut from, value_len)?;
        if keyspace.contains(&key) {
            return Err(invalid("a key comes twice"));
        }
        keyspace.insert(&key, &value);
    }
    if from.read(&mut [0])? != 0 {
        return Err(invalid("the snapshot goes on after its last key"));
    }
    Ok(keyspace)
}

fn read_len(from: &mut impl Read, max: usize) -> io::Result<usize> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len) as usize;
    if len > max { Err(invalid("a key or value longer than the limit")) } else { Ok(len) }
}

/// Grows with what arrives: a length that is only claimed allocates nothing.
fn read_string(from: &mut impl Read, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.by_ref().take(len as u64).read_to_end(&mut bytes)?;
    if bytes.len() < len { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
