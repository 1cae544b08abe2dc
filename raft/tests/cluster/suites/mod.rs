//! The suites that the courses and teaching projects have, by the names that people know, under
//! `Config::classic()`. `tests/README.md` says which is where.
//!
//! A test body knows nothing but [`harness::Servers`]: time is whatever `sleep` makes of it, so the
//! same body runs in virtual time over simulated disks, and can run over threads, sockets and files.

mod eliben;
mod harness;
mod kv;
mod membership;
mod mit_2a;
mod mit_2b;
mod mit_2c;
mod mit_2d;
mod raft_consensus;
mod real;
mod seeds;
mod simulated;
mod table;
