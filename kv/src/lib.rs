//! hardlog-kv: a replicated key-value server that speaks RESP.
//!
//! ```text
//! redis-cli ─▶ server ─▶ connection ─▶ exchange ─▶ command ─▶ op ─▶ replica (Raft) ─▶ store
//!                                          ◀── pipeline ◀── outcome ◀──────────────────┘
//! ```
//! Every node accepts clients. The leader proposes writes to the replicated log and answers them
//! once they are durable on a majority and applied; it answers reads once it knows that it still
//! leads. The others answer `-MOVED` with the leader's address, which `redis-cli -c` follows.
//!
//! Besides the node there are, for one machine: a cluster of processes ([`local`]), a client
//! ([`client`]) for those without redis-cli, and a demonstration ([`demo`]).

pub mod client;
mod cluster;
pub mod command;
mod connection;
pub mod demo;
mod exchange;
mod glob;
pub mod http;
mod info;
pub mod limits;
pub mod local;
pub mod members;
pub mod meters;
pub mod outcome;
mod pipeline;
pub mod query;
mod raft_info;
pub mod render;
pub mod replica;
pub mod resp;
mod room;
pub mod server;
mod session;
pub mod slot;
pub mod store;
mod transaction;

pub use hardlog_kv_op::{op, wire};
