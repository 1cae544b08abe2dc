//! The scrubber: reads sealed segments whole, at a byte rate, before rot is needed.
//!
//! A segment that was read whole and checks is mapped afterwards, so that an unreadable sector is a
//! typed error at first contact and no SIGBUS. Damage is reported, not repaired.
//!
//! Above: a thread of the log. Below: `scan`.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use crate::{
    error::{Damage, Error, Evidence, Reason, Result},
    header::BATCHES_AT,
    metrics,
    options::ReadMode,
    scan::{Scan, Step},
    segment::Segment,
    wal::Wal,
};

/// Pause between two looks for something to scrub.
const PAUSE: Duration = Duration::from_millis(200);
/// A segment is read again after this long.
const AGAIN: Duration = Duration::from_secs(24 * 3600);

/// What the scrubber knows of a segment it has read.
struct Seen {
    id: u64,
    at: Instant,
}

/// The scrubber's thread.
pub(crate) fn run(wal: &Weak<Wal>) {
    let mut seen: Vec<Seen> = Vec::new();
    let started = Instant::now();
    loop {
        let Some(wal) = wal.upgrade() else { return };
        if wal.scrub_wake.is_stopped() {
            return;
        }
        let sealed = wal.sealed_segments();
        seen.retain(|s| sealed.iter().any(|segment| segment.id() == s.id));
        let due = sealed.iter().find(|segment| {
            seen.iter().find(|s| s.id == segment.id()).is_none_or(|s| s.at.elapsed() > AGAIN)
        });
        let oldest = seen.iter().map(|s| s.at.elapsed()).max();
        let age = if due.is_some() { Some(started.elapsed()) } else { oldest };
        metrics::oldest_unverified(age.unwrap_or_default());
        let due = due.filter(|_| wal.options.scrub_rate > 0).cloned();
        // Held no longer: a file that is trimmed meanwhile may be reused.
        drop(sealed);
        if let Some(segment) = due {
            seen.retain(|s| s.id != segment.id());
            match wal.scrub(&segment, wal.options.scrub_rate) {
                Ok(()) => {}
                Err(e) => {
                    segment.distrust();
                    tracing::error!(error = %e, segment = segment.id(), "scrub");
                }
            }
            seen.push(Seen { id: segment.id(), at: Instant::now() });
            continue;
        }
        if !wal.scrub_wake.wait(PAUSE) {
            return;
        }
    }
}

impl Wal {
    /// All segments that take no byte more, oldest first.
    pub(crate) fn sealed_segments(&self) -> Vec<Arc<Segment>> {
        let writer = self.writer();
        writer.chain.iter().filter(|segment| segment.sealed().is_some()).cloned().collect()
    }

    /// Reads a sealed segment whole, at `rate` bytes per second; maps it if it checks.
    pub(crate) fn scrub(&self, segment: &Segment, rate: u64) -> Result<()> {
        let Some((end, _)) = segment.sealed() else { return Ok(()) };
        let _span = tracing::debug_span!("scrub", segment = segment.id()).entered();
        let started = Instant::now();
        let pred_seq = segment.header.predecessor.map_or(0, |p| p.last_seq);
        let mut scan = Scan::new(&*segment.file, segment.frame(end), BATCHES_AT, pred_seq);
        let mut counted = BATCHES_AT;
        while scan.offset < end && !segment.has_left() {
            let offset = scan.offset;
            let (step, _) = scan.next().map_err(|e| Error::io("scrub", &segment.path, e))?;
            match step {
                Step::Batch(_) => {}
                Step::BadBody(at) => {
                    metrics::damaged(1);
                    return Err(scrub_damage(segment, at.offset, Reason::Payload));
                }
                Step::Stop(stop) if stop.at_end => break,
                Step::Stop(_) => {
                    metrics::damaged(1);
                    return Err(scrub_damage(segment, offset, Reason::BatchHead));
                }
            }
            let read = scan.offset - counted;
            if read >= 1 << 20 {
                metrics::scrubbed(read);
                counted = scan.offset;
                let due = Duration::from_secs_f64(ratio(scan.offset, rate));
                while started.elapsed() < due && !self.scrub_wake.is_stopped() {
                    self.scrub_wake.wait(due.saturating_sub(started.elapsed()));
                }
                if self.scrub_wake.is_stopped() {
                    return Ok(());
                }
            }
        }
        metrics::scrubbed(scan.offset - counted);
        let whole = scan.offset >= end && self.options.read_mode == ReadMode::Mapped;
        if whole && segment.mapped().is_none() {
            segment.map()?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a pause need not be exact")]
fn ratio(bytes: u64, rate: u64) -> f64 {
    bytes as f64 / rate.max(1) as f64
}

fn scrub_damage(segment: &Segment, offset: u64, reason: Reason) -> Error {
    Error::Corrupt(Box::new(Damage {
        file: segment.path.clone(),
        offset,
        indexes: None,
        reason,
        evidence: Evidence::Sealed,
    }))
}
