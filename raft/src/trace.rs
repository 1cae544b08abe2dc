//! One trace of everything worth seeing: typed events, a line of JSON for each.
//!
//! ```text
//!   core: notes ─▶ driver ─┐
//!   transport, applier ────┼─▶ Voice ─▶ Tracer ─▶ file, memory, or `tracing`
//!   simulator, service ────┘                        │
//!                                                   └─▶ Reader ─▶ whoever looks at it
//! ```
//! The format is described in `TRACE.md` beside this crate's manifest; its version stands in the
//! first line. The same events come out of the simulator, of running nodes and of the suites, so
//! one set of tools reads them all.
//!
//! A tracer that is off costs one comparison for each event: what an event says is built in a
//! closure, which is not called then. The core knows no clock and no file: it keeps notes, and
//! whoever drives it takes them away.
//!
//! INVARIANT: events stand in a file in the order of their numbers, and their times never go back.
//! INVARIANT: each event is one whole line, written in one piece: a process that is killed leaves
//! whole lines. A last line that is torn all the same (by a power cut) is no event.
//!
//! What it does not do: it never holds the payload of an entry, and it promises nothing. When its
//! file cannot be written, tracing ends and the node goes on.

#[cfg(feature = "tracing")]
mod bridge;
mod event;
mod messages;
mod reader;
#[cfg(test)]
mod tests;
mod tracer;

pub(crate) use self::messages::{received, sent};
pub use self::{
    event::{Event, Header, Part, Sent, Text, Time, What},
    messages::message_id,
    reader::{LINE_MAX, ReadError, Reader},
    tracer::{Recording, Tracer, Voice},
};

/// The version that this crate writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// What the first line of a trace begins with, before the version.
const NAME: &str = "hardlog.trace/";
