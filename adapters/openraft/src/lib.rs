//! hardlog as the log, vote and snapshot store of [openraft](https://docs.rs/openraft).
//!
//! openraft brings the protocol and leaves storage to its users. This crate is that storage:
//! [`v0_10`] for openraft `=0.10.0-alpha.37` (the default feature), [`v0_9`] for openraft 0.9 with
//! `storage-v2` (feature `v0_9`). Each has a `LogStore`, its `LogReader`, and a `StateMachine` that
//! keeps an application's state in memory and its snapshots in files beside the log.
//!
//! # Use it with openraft
//!
#![cfg_attr(feature = "v0_10", doc = "```")]
#![cfg_attr(not(feature = "v0_10"), doc = "```ignore")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("n1");
//! use hardlog::{Log, Options};
//! use hardlog_openraft::{App, v0_10::{LogStore, StateMachine}};
//!
//! openraft::declare_raft_types!(pub TypeConfig: D = String, R = u64);
//! # #[derive(Clone, Default)]
//! # struct Counter(u64);
//! # type Entry = <TypeConfig as openraft::RaftTypeConfig>::Entry;
//! # impl App<Entry, u64> for Counter {
//! #     fn apply(&mut self, _: &Entry) -> u64 { self.0 += 1; self.0 }
//! #     fn write_to(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
//! #         out.write_all(&self.0.to_le_bytes())
//! #     }
//! #     fn read_from(input: &mut dyn std::io::Read) -> std::io::Result<Self> {
//! #         let mut bytes = [0; 8];
//! #         input.read_exact(&mut bytes)?;
//! #         Ok(Self(u64::from_le_bytes(bytes)))
//! #     }
//! # }
//!
//! // Counter: what the entries are applied to. It can apply, write itself and read itself.
//! let options = Options::new().create_if_missing(true);
//! let (log, report) = Log::open(&path, options)?; // locks, recovers, says what it found
//! assert_eq!(report.maybe_lost, None, "{report}"); // else: let a peer catch it up first
//!
//! let log = LogStore::<TypeConfig>::new(log);
//! let machine = StateMachine::open(&log, Counter::default())?; // as of its newest snapshot
//! let state = machine.app(); // for reads: Arc<RwLock<Counter>>
//! // let raft = openraft::Raft::new(id, config, network, log, machine).await?;
//! # let _ = state;
//! # Ok(())
//! # }
//! ```
//!
//! With openraft 0.9 it is the same under `hardlog_openraft::v0_9`:
//!
#![cfg_attr(feature = "v0_9", doc = "```")]
#![cfg_attr(not(feature = "v0_9"), doc = "```ignore")]
//! # use openraft09 as openraft;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("n1");
//! use std::io::Cursor;
//! use hardlog::{Log, Options};
//! use hardlog_openraft::{App, v0_9::{LogStore, StateMachine}};
//!
//! openraft::declare_raft_types!(pub TypeConfig: D = String, R = u64,
//!     SnapshotData = Cursor<Vec<u8>>);
//! # #[derive(Clone, Default)]
//! # struct Counter(u64);
//! # impl App<openraft::Entry<TypeConfig>, u64> for Counter {
//! #     fn apply(&mut self, _: &openraft::Entry<TypeConfig>) -> u64 { self.0 += 1; self.0 }
//! #     fn write_to(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
//! #         out.write_all(&self.0.to_le_bytes())
//! #     }
//! #     fn read_from(input: &mut dyn std::io::Read) -> std::io::Result<Self> {
//! #         let mut bytes = [0; 8];
//! #         input.read_exact(&mut bytes)?;
//! #         Ok(Self(u64::from_le_bytes(bytes)))
//! #     }
//! # }
//!
//! let (log, report) = Log::open(&path, Options::new().create_if_missing(true))?;
//! assert_eq!(report.maybe_lost, None, "{report}");
//! let log = LogStore::<TypeConfig>::new(log);
//! let machine = StateMachine::open(&log, Counter::default())?;
//! // let raft = openraft::Raft::new(id, config, network, log, machine).await?;
//! # let _ = machine;
//! # Ok(())
//! # }
//! ```
//!
//! A whole service, three nodes that survive `kill -9`, is in `adapters/openraft/example`.
//!
//! # What is promised to openraft
//!
//! - `append` returns when the entries can be read, and calls back when they are durable. One sync
//!   serves all that wait for one, the vote too, and callbacks come in the order of the calls.
//! - `save_vote` returns when the vote is durable. The log never forgets it for an older one.
//! - Truncations, purges and the committed id are in order with the appends and are not synced for
//!   themselves: what is appended next cannot be durable without them.
//! - Bytes that do not decode, or decode to another entry than the header says, are a typed
//!   [`Error`], never a panic.
//! - A snapshot is durable and marked in the log before openraft purges what it covers.
//!
//! # Where things are
//!
//! | openraft | hardlog |
//! |---|---|
//! | index and leader id of an entry | the entry's header: index, term, tag ([`LeaderTag`]) |
//! | the whole entry | its payload, through a [`Codec`] ([`Bincode`] unless another is named) |
//! | vote | metadata slot 1, a promise; at most 4096 bytes |
//! | committed id | metadata slot 2, ordered |
//! | last purged id | the id before the window |
//! | snapshot | a file of the snapshot store; its metadata beside it, at most 64 KiB |
//!
//! The engine's own term, vote and commit stay unused.
//!
//! # Limits
//!
//! An entry is at most as large as a batch (32 MiB by default, half a segment). Leader ids must fit two
//! numbers of 64 bits: node ids are numbers, or the leader id is openraft's standard one, which holds
//! none. Reads of entries that are no longer in memory read the disk in the calling task. With
//! openraft 0.9 a snapshot that travels is held in memory as a whole; with 0.10 it is a file on both
//! sides.

pub mod app;
pub mod codec;
pub mod error;
mod shelf;
#[cfg(feature = "v0_10")]
pub mod v0_10;
#[cfg(feature = "v0_9")]
pub mod v0_9;

pub use app::App;
pub use codec::{Bincode, BoxError, Codec, LeaderTag};
pub use error::{Error, What};

/// The README's example, compiled.
#[cfg(all(doctest, feature = "v0_10"))]
#[doc = include_str!("../README.md")]
mod readme {}
