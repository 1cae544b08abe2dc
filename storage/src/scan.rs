//! THE loop over the batches of a segment, and the search for heads beyond its end.
//!
//! ```text
//!   8192                                    X
//!   │State│marker│batch│batch│0…│marker│batch│▒▒▒▒▒▒▒│batch│00000000
//!    ╰──────────── Scan yields these ───────╯         ╰ search finds this head: evidence
//! ```
//!
//! Above: recovery, inspection and the scrubber; nobody else walks a file. Below: `batch`.
//! INVARIANT: memory is one buffer, as large as the largest batch the header allows.
//! It does not judge: why a batch at X is bad is `verdict`'s business. (FORMAT.md, "Reading".)

use std::{io, ops::ControlFlow};

use crate::{
    batch::{Flaw, HEAD_LEN, Head, bodies_check, is_state, is_zero, marker_at},
    fs::{File, read_full},
};

/// Bytes read at once.
const CHUNK: usize = 256 << 10;

/// Forward reads of one file through a buffer.
pub(crate) struct Source<'a> {
    file: &'a dyn File,
    /// Nothing at or beyond this offset is read.
    limit: u64,
    buf: Vec<u8>,
    /// Offset of `buf[0]`.
    start: u64,
}

impl<'a> Source<'a> {
    pub(crate) fn new(file: &'a dyn File, limit: u64) -> Self {
        Self { file, limit, buf: Vec::new(), start: 0 }
    }

    /// `len` bytes at `offset`, or fewer before the limit.
    pub(crate) fn get(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let want =
            usize::try_from(self.limit.saturating_sub(offset)).unwrap_or(usize::MAX).min(len);
        if offset < self.start || offset + want as u64 > self.start + self.buf.len() as u64 {
            self.load(offset, want.max(CHUNK))?;
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        let have = self.buf.get(from..).unwrap_or_default();
        Ok(&have[..have.len().min(want)])
    }

    fn load(&mut self, offset: u64, len: usize) -> io::Result<()> {
        let left = usize::try_from(self.limit.saturating_sub(offset)).unwrap_or(usize::MAX);
        self.buf.resize(len.min(left), 0);
        self.start = offset;
        match read_full(self.file, &mut self.buf, offset) {
            Ok(n) => self.buf.truncate(n),
            Err(e) => {
                self.buf.clear();
                return Err(e);
            }
        }
        Ok(())
    }
}

/// A batch whose head is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadAt {
    pub(crate) offset: u64,
    pub(crate) head: Head,
    pub(crate) state: bool,
    /// Whether its bodies check too.
    pub(crate) bodies: Result<(), Flaw>,
}

impl HeadAt {
    pub(crate) const fn end(&self) -> u64 {
        self.offset + self.head.len() as u64
    }
}

/// Which file, as far as reading its batches needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) salt: u64,
    /// Largest batch that may stand there.
    pub(crate) batch_max: u64,
    /// End of what is read: the file's length, or P of the successor.
    pub(crate) end: u64,
}

/// What stands where the next batch should begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A valid batch or marker of the expected sequence.
    Batch(HeadAt),
    /// A batch of the expected sequence whose head is valid and whose bodies are not.
    BadBody(HeadAt),
    /// No valid batch here: this is X.
    Stop(Stop),
}

/// X, and what is seen there at first sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) offset: u64,
    /// The file or the frame ends here.
    pub(crate) at_end: bool,
    /// A zero head stands here.
    pub(crate) zero_head: bool,
}

/// Walks the batches of one segment.
pub(crate) struct Scan<'a> {
    source: Source<'a>,
    frame: Frame,
    /// Where the next batch should begin.
    pub(crate) offset: u64,
    /// Sequence of the last batch.
    pub(crate) seq: u64,
}

impl<'a> Scan<'a> {
    /// From `offset` on, after the batch of sequence `seq`.
    pub(crate) fn new(file: &'a dyn File, frame: Frame, offset: u64, seq: u64) -> Self {
        Self { source: Source::new(file, frame.end), frame, offset, seq }
    }

    /// The next batch with its bytes, or X. Does not move beyond a bad body: see [`Self::pass`].
    pub(crate) fn next(&mut self) -> io::Result<(Step, &[u8])> {
        let here = self.offset;
        if let Some(at) = self.expected(here, false)? {
            return self.found(at);
        }
        let zero_head = is_zero(self.source.get(here, HEAD_LEN)?);
        let marker = marker_at(here);
        if zero_head
            && marker < self.frame.end
            && let Some(at) = self.expected(marker, true)?
        {
            return self.found(at);
        }
        let at_end = here >= self.frame.end;
        Ok((Step::Stop(Stop { offset: here, at_end, zero_head }), &[]))
    }

    /// Goes on behind a batch that [`Self::next`] yielded, or at a later place after missing
    /// markers.
    pub(crate) fn pass(&mut self, offset: u64, seq: u64) {
        (self.offset, self.seq) = (offset, seq);
    }

    fn found(&mut self, at: HeadAt) -> io::Result<(Step, &[u8])> {
        if at.bodies.is_ok() {
            self.pass(at.end(), at.head.seq);
        }
        let bytes = self.source.get(at.offset, at.head.len())?;
        Ok((if at.bodies.is_ok() { Step::Batch(at) } else { Step::BadBody(at) }, bytes))
    }

    fn expected(&mut self, offset: u64, only_marker: bool) -> io::Result<Option<HeadAt>> {
        let Some(at) = head_at(&mut self.source, &self.frame, offset)? else { return Ok(None) };
        let stands_still = at.state || at.head.is_marker();
        let seq = if stands_still { self.seq } else { self.seq.wrapping_add(1) };
        let fits = at.head.seq == seq && (!only_marker || at.head.is_marker());
        Ok(fits.then_some(at))
    }
}

/// The valid head at `offset`, if one is there, with its bodies checked.
pub(crate) fn head_at(
    source: &mut Source<'_>,
    frame: &Frame,
    offset: u64,
) -> io::Result<Option<HeadAt>> {
    let Some(head) = Head::peek(source.get(offset, HEAD_LEN)?, frame.salt, offset) else {
        return Ok(None);
    };
    let len = head.len() as u64;
    if len > frame.batch_max || offset + len > frame.end {
        return Ok(None);
    }
    // The head alone first: a forged length makes nobody read a body.
    let sections = source.get(offset, head.head_len())?;
    let plausible = sections.get(HEAD_LEN..).is_some_and(|s| head.is_plausible(s));
    if !plausible || !head.check(sections, frame.salt, offset) {
        return Ok(None);
    }
    let state = is_state(&sections[HEAD_LEN..]);
    let bytes = source.get(offset, head.len())?;
    let bodies = bodies_check(&head, bytes);
    Ok(Some(HeadAt { offset, head, state, bodies }))
}

/// Everything valid from X to the end of the file: the evidence.
///
/// Calls `each` with every valid head and the batch's bytes; the bodies of valid heads are stepped
/// over. A sequence that the rest of the file could not hold is no head. Ends when `each` says so.
pub(crate) fn search(
    file: &dyn File,
    frame: Frame,
    from: u64,
    seq: u64,
    mut each: impl FnMut(HeadAt, &[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut source = Source::new(file, frame.end);
    let mut offset = from.next_multiple_of(8);
    while offset + HEAD_LEN as u64 <= frame.end {
        let window = source.get(offset, CHUNK.min(64 << 10))?;
        if window.len() < HEAD_LEN {
            break;
        }
        match candidate(window, frame.salt, offset) {
            None => offset += (window.len() - HEAD_LEN + 8) as u64 & !7,
            Some(skip) => {
                offset += skip as u64;
                let room = (frame.end - offset) / HEAD_LEN as u64 + 1;
                match head_at(&mut source, &frame, offset)? {
                    Some(at) if at.head.seq <= seq.saturating_add(room) => {
                        if each(at, source.get(offset, at.head.len())?).is_break() {
                            return Ok(());
                        }
                        offset = at.end();
                    }
                    _ => offset += 8,
                }
            }
        }
    }
    Ok(())
}

/// The first multiple of 8 in `window` at which a head's magic stands.
fn candidate(window: &[u8], salt: u64, offset: u64) -> Option<usize> {
    let last = window.len() - HEAD_LEN;
    (0..=last).step_by(8).find(|&at| Head::peek(&window[at..], salt, offset + at as u64).is_some())
}

/// End of the last byte other than zero between `from` and `end`; `from` where there is none.
pub(crate) fn content_end(file: &dyn File, from: u64, end: u64) -> io::Result<u64> {
    let mut source = Source::new(file, end);
    let (mut offset, mut content) = (from, from);
    while offset < end {
        let bytes = source.get(offset, CHUNK)?;
        if bytes.is_empty() {
            break;
        }
        if !is_zero(bytes) {
            let last = bytes.iter().rposition(|&byte| byte != 0).unwrap_or(0);
            content = offset + last as u64 + 1;
        }
        offset += bytes.len() as u64;
    }
    Ok(content)
}

#[cfg(test)]
pub(crate) mod tape;
#[cfg(test)]
mod tests;
