//! App: what a replicated state must be able to do for the state machines of this crate.
//!
//! Above: the service. Below: `v0_10::StateMachine` and `v0_9::StateMachine`, which keep the rest: what
//! was applied last, the membership, and snapshot files beside the log.
//! The state lives in memory; after a restart it is the newest snapshot plus the committed entries
//! behind it, which openraft applies again.

use std::io::{Read, Result, Write};

/// A state that entries are applied to. `Entry` and `Response` are those of the type configuration.
///
/// `clone` is called for each snapshot, under the lock that [`App::apply`] needs: keep large parts
/// behind an `Arc`, so that it is cheap. The clone is then written out on another thread.
pub trait App<Entry, Response>: Clone + Send + Sync + 'static {
    /// Applies one entry, blank and membership ones too (which mean nothing to the application), and
    /// says what the client is told. Entries come in order, each once after the state that was
    /// restored.
    fn apply(&mut self, entry: &Entry) -> Response;

    /// Writes the whole state.
    ///
    /// # Errors
    /// What `out` says. Others end the node: openraft takes the disk for broken.
    fn write_to(&self, out: &mut dyn Write) -> Result<()>;

    /// Restores what [`App::write_to`] has written. The bytes were verified against the checksums of
    /// the file they come from.
    ///
    /// # Errors
    /// Where the bytes are not a state.
    fn read_from(input: &mut dyn Read) -> Result<Self>;
}
