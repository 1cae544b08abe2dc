//! Entries out of a salvaged log, in order of their index, each checked by its CRC.
//!
//! Above: whoever writes a log anew. Below: `scan`. Memory is one batch and one buffer.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::{
    batch::{HEAD_LEN, Section, Sections, marker_at},
    entry::{Entry, Index},
    error::{Error, Evidence, Reason, Result},
    fs::Fs,
    recovery::{
        chain::{Opened, open_segment},
        outline::damage,
    },
    repair::{
        ledger::{Known, Piece, Spot},
        salvage::Salvage,
    },
    scan::{Frame, HeadAt, Source, head_at},
    segment::segment_path,
};

/// Takes an entry; says whether it wants more.
pub(crate) type Each<'a> = &'a mut dyn FnMut(Entry) -> Result<ControlFlow<()>>;

/// Calls `each` with the held entries of `first..=last`, in order, until it has enough. Those that are
/// not held are an error: the caller knows what is.
///
/// # Errors
/// `Io`; `Corrupt` where an entry is not there any more; whatever `each` returns.
pub(crate) fn read(
    (fs, log): (&dyn Fs, &Salvage),
    (first, last): (Index, Index),
    each: Each<'_>,
) -> Result<()> {
    for piece in log.ledger.pieces.iter().filter(|p| p.first <= last && p.last >= first) {
        let wanted = (piece.first.max(first), piece.last.min(last));
        let Known::Held { spot, .. } = piece.known else {
            let path = fs.root();
            return Err(damage(path, 0, Reason::Payload, Evidence::Chain));
        };
        if Reading::open(fs, log, spot)?.piece(piece, wanted, each)?.is_break() {
            break;
        }
    }
    Ok(())
}

struct Reading {
    opened: Opened,
    path: std::path::PathBuf,
    frame: Frame,
    spot: Spot,
}

impl Reading {
    fn open(fs: &dyn Fs, log: &Salvage, spot: Spot) -> Result<Self> {
        let opened = open_segment(fs, spot.segment)?;
        let end = opened.len.min(log.end_of(spot.segment));
        let (salt, batch_max) = (opened.header.salt, opened.header.batch_max);
        let frame = Frame { salt, batch_max, end };
        Ok(Self { opened, path: segment_path(fs, spot.segment), frame, spot })
    }

    fn lost(&self, offset: u64) -> Error {
        damage(&self.path, offset, Reason::BatchHead, Evidence::Chain)
    }

    fn piece(
        &self,
        piece: &Piece,
        (mut next, last): (Index, Index),
        each: Each<'_>,
    ) -> Result<ControlFlow<()>> {
        let mut source = Source::new(&*self.opened.file, self.frame.end);
        let mut offset = self.spot.offset;
        while next <= last {
            let at = self.batch_at(&mut source, offset)?.ok_or_else(|| self.lost(offset))?;
            offset = at.end();
            if at.head.is_marker() {
                continue;
            }
            let io = |e| Error::io("read", &self.path, e);
            let bytes = source.get(at.offset, at.head.len()).map_err(io)?;
            let batch = Bytes::copy_from_slice(bytes);
            while next <= last
                && let Some((body, crc)) = self.find(&at, &batch, piece, next)
            {
                let payload = batch.slice(body);
                if crc32fast::hash(&payload) != crc {
                    return Err(damage(&self.path, at.offset, Reason::Payload, Evidence::Chain));
                }
                let id = piece.known.id(next).ok_or_else(|| self.lost(at.offset))?;
                if each(Entry { id, payload })?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                next += 1;
            }
            if self.spot.refill && next <= last {
                return Err(self.lost(at.offset));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The batch or marker that begins at `offset`, or the marker behind a zero head there.
    fn batch_at(&self, source: &mut Source<'_>, offset: u64) -> Result<Option<HeadAt>> {
        let io = |e| Error::io("read", &self.path, e);
        if offset + HEAD_LEN as u64 > self.frame.end {
            return Ok(None);
        }
        let here = head_at(source, &self.frame, offset).map_err(io)?;
        if here.is_some() {
            return Ok(here);
        }
        let marker = head_at(source, &self.frame, marker_at(offset)).map_err(io)?;
        Ok(marker.filter(|at| at.head.is_marker()))
    }

    /// Where the bytes of `index` lie in the batch: the last section that holds it counts.
    fn find(
        &self,
        at: &HeadAt,
        batch: &Bytes,
        piece: &Piece,
        index: Index,
    ) -> Option<(std::ops::Range<usize>, u32)> {
        let wanted = piece.known.id(index)?;
        let mut found = None;
        for section in Sections::of(&at.head, batch) {
            match section.ok()? {
                Section::Entries(run) if !self.spot.refill => {
                    let i = index.checked_sub(run.first.index).and_then(|i| u32::try_from(i).ok());
                    if let Some(i) = i.filter(|&i| i < run.count && run.id(index) == wanted) {
                        found = Some(run.payload(i));
                    }
                }
                Section::Refill { id, crc, body } if self.spot.refill && id == wanted => {
                    found = Some((body, crc));
                }
                _ => {}
            }
        }
        found.filter(|(body, _)| batch.get(body.clone()).is_some())
    }
}
