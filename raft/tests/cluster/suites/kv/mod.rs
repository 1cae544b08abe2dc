//! The key-value labs of MIT (3A and 3B; 4A to 4C of later years) and parts 4 and 5 of eliben/raft,
//! in virtual time over the real log.
//!
//! | module | is |
//! |---|---|
//! | `rsm` | the tests of a replicated counter to which commands are submitted |
//! | `mit` | the tests of the key-value service: mixes of networks, crashes, partitions, snapshots |
//! | `eliben` | the tests of clients that look for their leader and repeat themselves |
//! | `shop` | servers, clients, and the network between them |
//! | `store` | the service: strings by key, behind [`hardlog_raft::sessions`] |
//! | `history` | what clients saw, for the linearizability checker |

mod eliben;
mod history;
mod mit;
mod rsm;
mod shop;
mod store;
