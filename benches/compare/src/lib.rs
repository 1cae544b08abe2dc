//! hardlog beside the other logs and stores that a Raft could keep its log in, in one run: see the
//! README beside it.
//!
//! Above: the program. Below: the libraries that are compared, and the bare disk.

pub mod disk;
pub mod growth;
pub mod plot;
pub mod sheet;
pub mod store;
pub mod work;
