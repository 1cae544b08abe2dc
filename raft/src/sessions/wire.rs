//! Requests and answers to bytes and back: what stands in a command, and what a caller gets.
//!
//! One byte says which, numbers are little-endian, the data is the rest.

use bytes::{BufMut, Bytes, BytesMut};

/// What is proposed to a machine behind sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A command outside of any session: applied each time that it is sent.
    Plain(Bytes),
    /// Begins a session. Sent twice it begins two.
    Open,
    /// Ends a session.
    Close {
        /// Whose.
        client: u64,
    },
    /// A command that is applied at most once.
    Command {
        /// Whose; what [`Answer::Opened`] said.
        client: u64,
        /// The client's own number for it; never used for another command.
        serial: u64,
        /// All serials below it are answered: their replies may be forgotten.
        answered_below: u64,
        /// The machine's command.
        data: Bytes,
    },
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The machine's reply, now or when the command was first applied.
    Reply(Bytes),
    /// A session begins.
    Opened {
        /// Names it for ever.
        client: u64,
    },
    /// A session is over.
    Closed,
    /// The client is not known, any more or at all. Nothing was applied now.
    NoSession,
    /// The serial is older than what is remembered. Nothing was applied now.
    Stale,
    /// The command was applied before; its reply was too large to be kept.
    NotKept,
    /// The bytes are no request.
    Malformed,
}

/// Bytes that are no request, or no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a message of a session")]
pub struct WireError;

impl Request {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        match self {
            Self::Plain(data) => {
                bytes.put_u8(0);
                bytes.extend_from_slice(data);
            }
            Self::Open => bytes.put_u8(1),
            Self::Close { client } => {
                bytes.put_u8(2);
                bytes.put_u64_le(*client);
            }
            Self::Command { client, serial, answered_below, data } => {
                bytes.put_u8(3);
                bytes.put_u64_le(*client);
                bytes.put_u64_le(*serial);
                bytes.put_u64_le(*answered_below);
                bytes.extend_from_slice(data);
            }
        }
        bytes.freeze()
    }

    /// Reads it; the data shares the bytes.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(bytes: &Bytes) -> Result<Self, WireError> {
        let (kind, mut rest) = split(bytes)?;
        let request = match kind {
            0 => return Ok(Self::Plain(rest)),
            1 => Self::Open,
            2 => Self::Close { client: number(&mut rest)? },
            3 => {
                let client = number(&mut rest)?;
                let (serial, answered_below) = (number(&mut rest)?, number(&mut rest)?);
                return Ok(Self::Command { client, serial, answered_below, data: rest });
            }
            _ => return Err(WireError),
        };
        if rest.is_empty() { Ok(request) } else { Err(WireError) }
    }
}

impl Answer {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        match self {
            Self::Reply(reply) => {
                bytes.put_u8(0);
                bytes.extend_from_slice(reply);
            }
            Self::Opened { client } => {
                bytes.put_u8(1);
                bytes.put_u64_le(*client);
            }
            Self::Closed => bytes.put_u8(2),
            Self::NoSession => bytes.put_u8(3),
            Self::Stale => bytes.put_u8(4),
            Self::NotKept => bytes.put_u8(5),
            Self::Malformed => bytes.put_u8(6),
        }
        bytes.freeze()
    }

    /// Reads it; the reply shares the bytes.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(bytes: &Bytes) -> Result<Self, WireError> {
        let (kind, mut rest) = split(bytes)?;
        let answer = match kind {
            0 => return Ok(Self::Reply(rest)),
            1 => Self::Opened { client: number(&mut rest)? },
            2 => Self::Closed,
            3 => Self::NoSession,
            4 => Self::Stale,
            5 => Self::NotKept,
            6 => Self::Malformed,
            _ => return Err(WireError),
        };
        if rest.is_empty() { Ok(answer) } else { Err(WireError) }
    }
}

fn split(bytes: &Bytes) -> Result<(u8, Bytes), WireError> {
    let kind = bytes.first().copied().ok_or(WireError)?;
    Ok((kind, bytes.slice(1..)))
}

fn number(bytes: &mut Bytes) -> Result<u64, WireError> {
    let number = bytes.first_chunk().map(|chunk| u64::from_le_bytes(*chunk)).ok_or(WireError)?;
    *bytes = bytes.slice(8..);
    Ok(number)
}
