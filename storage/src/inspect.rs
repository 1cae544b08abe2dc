//! Inspection: looks at a log's directory, says what is there and what is wrong, and changes nothing.
//!
//! ```text
//!   look   ─▶ Inventory        names and lock, no file is opened
//!   verify ─▶ VerifyReport     every byte, every checksum, every cross-check; quick: as an open does
//!   dump   ─▶ Row, Row, Row    the log itself, as it was written
//!   follow ─▶ and whatever is written from then on
//!   diff   ─▶ DiffReport       several replicas, entry by entry
//!   Window ─▶ Live, Live, Live the entries that count now, in order
//! ```
//!
//! Above: `wal-tool`, and whoever wants a verdict in a test or a demonstration. Below: the codec, the
//! loop over batches, the judgement of evidence and the walk along the chain that an open uses too: a
//! tool that read the format in its own way would disagree one day, at the worst moment.
//!
//! INVARIANT: it takes no lock, writes nothing, maps nothing, and needs no right but to read; so it
//! works on a live node, on a read-only mount, and on evidence that must not be touched.
//! INVARIANT: memory follows the number of segments and the largest batch, not the log.
//! INVARIANT: damage never stops it; it goes on behind it and says what lies between.
//! What it does not do: repair. On a live log it cannot see one instant of all files: what looks wrong
//! there is looked at again before it is called wrong.

mod ahead;
pub(crate) mod chain;
mod diff;
mod dump;
mod finding;
mod hex;
pub(crate) mod inventory;
mod judge;
mod lone;
mod report;
mod snapshots;
mod stats;
mod tally;
#[cfg(test)]
mod tests;
mod verify;
pub(crate) mod walk;
mod window;

pub use self::{
    diff::{Broken, DiffReport, Difference, REPLICAS_MAX, Replica, diff},
    dump::{BatchKind, BatchRow, ChangeRow, DumpOptions, EntryRow, Row, dump, follow},
    finding::{Code, Finding, Severity, Trouble},
    hex::{Field, Good, hex},
    inventory::{Inventory, look},
    lone::LoneFile,
    report::{Contents, Outcome, Role, SegmentReport, Summary, VerifyReport},
    snapshots::SnapshotReport,
    stats::{Count, Stats, stats},
    verify::{Progress, VerifyOptions, verify},
    window::{Live, LiveEntry, Window},
};
