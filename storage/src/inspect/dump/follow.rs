//! Goes on with a dump while the log is being written.
//!
//! Above: whoever watches a node. Below: `dump` for everything up to now, then `scan` from there on.
//! It shows batches as soon as they are whole in the file, durable or not; one that is not whole yet
//! is waited for. When the segment has a successor it goes on there, behind the successor's P; what a
//! restart writes again is shown again, since it was written twice.
//! INVARIANT: memory is one batch, and nothing is held open between two looks.

use std::{io::ErrorKind, ops::ControlFlow};

use super::{DumpOptions, Position, Row, Show, dump_to};
use crate::{
    error::{Error, Result},
    fs::Fs,
    header::BATCHES_AT,
    inspect::inventory::look,
    meaning::state_of_batch,
    recovery::{
        chain::{Opened, open_segment},
        evidence::Place,
    },
    scan::{Scan, Step as Scanned},
    segment::segment_path,
};

/// Shows the log in `fs` and then whatever is written to it, until `each` or `wait` says that it is
/// enough. `wait` is called whenever there is nothing new.
///
/// # Errors
/// As [`dump`](super::dump).
pub fn follow(
    fs: &dyn Fs,
    options: &DumpOptions,
    each: &mut dyn FnMut(Row<'_>) -> ControlFlow<()>,
    wait: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<()> {
    let (_, position) = dump_to(fs, options, each)?;
    let Some(mut at) = position else { return Ok(()) };
    // The tail is what was there; from here on everything is new.
    let options = DumpOptions { tail: None, ..options.clone() };
    loop {
        match step(fs, &options, at, each)? {
            Stepped::Enough => return Ok(()),
            Stepped::On(next) => at = next,
            Stepped::Nothing if wait().is_break() => return Ok(()),
            Stepped::Nothing => {}
        }
    }
}

enum Stepped {
    /// Somebody had enough.
    Enough,
    /// Something was shown, or another segment begins.
    On(Position),
    Nothing,
}

fn step(
    fs: &dyn Fs,
    options: &DumpOptions,
    from: Position,
    each: &mut dyn FnMut(Row<'_>) -> ControlFlow<()>,
) -> Result<Stepped> {
    // Asked first: a successor that is there now says where this one ended for good.
    let next = successor(fs, from.segment)?;
    let Opened { file, header, len, .. } = match open_segment(fs, from.segment) {
        Ok(opened) => opened,
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Ok(next.map_or(Stepped::Nothing, |next| Stepped::On(next.at)));
        }
        Err(e) => return Err(e),
    };
    let path = segment_path(fs, from.segment);
    let sealed = next.as_ref().and_then(|next| next.sealed).map(|end| end.min(len));
    let place = Place::new((&*file, &path), &header, len, sealed);
    let mut met = Vec::new();
    let mut show = Show { options, segment: from.segment, fs, each, met: &mut met, live: true };
    let mut at = from;
    let mut scan = Scan::new(place.file, place.frame, at.offset, at.seq);
    loop {
        let (step, bytes) = scan.next().map_err(|e| place.io(e))?;
        // Anything else is being written, or is the end.
        let Scanned::Batch(head) = step else { break };
        let mut flow = show.batch(&head);
        if flow.is_continue() && head.state {
            if let Ok(Some(state)) = state_of_batch(&head.head, bytes) {
                flow = show.state(&head, &state);
            }
        } else if flow.is_continue() {
            flow = show.sections(&head, bytes, &[]);
        }
        if flow.is_break() {
            return Ok(Stepped::Enough);
        }
        at = Position { offset: head.end(), seq: head.head.seq, ..at };
    }
    let ended = next.filter(|next| next.sealed.is_none_or(|end| at.offset >= end));
    Ok(match ended {
        Some(next) => Stepped::On(next.at),
        None if at.offset > from.offset => Stepped::On(at),
        None => Stepped::Nothing,
    })
}

/// The segment that comes after `id`.
struct Successor {
    at: Position,
    /// P of `id`; None where another segment came between that is gone.
    sealed: Option<u64>,
}

fn successor(fs: &dyn Fs, id: u64) -> Result<Option<Successor>> {
    let found = look(fs)?;
    for &newer in found.segments.range(id.saturating_add(1)..).map(|(newer, _)| newer) {
        // One that goes under our eyes is passed over, like one that cannot be read.
        let Ok(opened) = open_segment(fs, newer) else { continue };
        let named = opened.header.predecessor;
        let seq = named.map_or(0, |named| named.last_seq);
        let at = Position { segment: newer, offset: BATCHES_AT, seq };
        let sealed = named.filter(|named| named.id == id).map(|named| named.end);
        return Ok(Some(Successor { at, sealed }));
    }
    Ok(None)
}
