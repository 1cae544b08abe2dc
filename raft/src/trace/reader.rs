//! Reads a trace, event by event, also one that is still being written.
//!
//! Above: tools. Below: anything that has lines. A line longer than [`LINE_MAX`] is an error and
//! never held whole.

use std::io::{self, BufRead, Read};

use serde::Deserialize;

use super::{Event, Header, NAME, VERSION, What};

/// Bytes of a line at most.
pub const LINE_MAX: u64 = 1 << 20;

/// Why a trace, or a line of it, cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The source said no.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The first line is not that of a trace.
    #[error("not a trace of hardlog: its first line does not say \"{NAME}{VERSION}\"")]
    NotATrace,
    /// A newer program wrote it.
    #[error("a trace of version {0}; this program reads up to {VERSION}: use a newer one")]
    Newer(u32),
    /// A line that is no event.
    #[error("line {line}: {why}")]
    Line {
        /// Which one, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// The events of a trace. After the last one it gives `None`, and goes on from there when it is
/// asked again and more was written meanwhile. After an error in one line it goes on with the next.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    header: Header,
    line: u64,
    /// The begin of a line that is not written to its end yet.
    partial: Vec<u8>,
}

/// Of the first line only what says which trace it is.
#[derive(Deserialize)]
struct Name {
    trace: String,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// If it is none that this version can read, or is not written to its end yet.
    pub fn new(mut from: R) -> Result<Self, ReadError> {
        let mut first = Vec::new();
        if !read_line(&mut from, &mut first, 1)? {
            return Err(ReadError::NotATrace);
        }
        let name: Name = serde_json::from_slice(&first).map_err(|_| ReadError::NotATrace)?;
        let version = name.trace.strip_prefix(NAME).and_then(|version| version.parse().ok());
        match version {
            Some(VERSION) => {}
            Some(newer) if newer > VERSION => return Err(ReadError::Newer(newer)),
            _ => return Err(ReadError::NotATrace),
        }
        let header = serde_json::from_slice(&first);
        let header = header.map_err(|why| ReadError::Line { line: 1, why: why.to_string() })?;
        Ok(Self { from, header, line: 1, partial: Vec::new() })
    }

    /// The first line.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    fn read(&mut self) -> Result<Option<Event>, ReadError> {
        loop {
            let number = self.line + 1;
            match read_line(&mut self.from, &mut self.partial, number) {
                Ok(false) => return Ok(None),
                Ok(true) => self.line = number,
                Err(error) => {
                    self.line = number;
                    return Err(error);
                }
            }
            let event = serde_json::from_slice::<Event>(&self.partial);
            self.partial.clear();
            match event {
                Ok(Event { what: What::Unknown, .. }) => {}
                Ok(event) => return Ok(Some(event)),
                Err(why) => {
                    return Err(ReadError::Line { line: number, why: why.to_string() });
                }
            }
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// Adds to `line` up to the end of the line, which is left out. False if that has not come yet.
fn read_line(from: &mut impl BufRead, line: &mut Vec<u8>, number: u64) -> Result<bool, ReadError> {
    let room = (LINE_MAX + 1).saturating_sub(line.len() as u64);
    from.by_ref().take(room).read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(true);
    }
    if line.len() as u64 <= LINE_MAX {
        return Ok(false);
    }
    line.clear();
    from.skip_until(b'\n')?;
    Err(ReadError::Line { line: number, why: format!("longer than {LINE_MAX} bytes") })
}
