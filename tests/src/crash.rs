//! Every crash state of short histories, opened and judged.
//!
//! ```text
//!   history "esT" ─▶ World runs it on a simulated disk ─▶ after each call that changes the disk:
//!      every state a power cut may leave · the page cache after kill -9 · one rotten sector
//!      ─▶ Log::open ─▶ Ledger::judge ─▶ opened again: the same
//! ```
//!
//! [`world`] has the operations (the letters of `tests/model/model.py`), [`ledger`] what the caller
//! was told and what must hold, [`explore`] looks at the states of one history, [`search`] goes
//! through all short histories and random longer ones, and shortens the one that fails.

pub mod explore;
pub mod ledger;
pub mod search;
pub mod world;
