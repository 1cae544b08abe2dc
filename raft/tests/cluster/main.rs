//! Whole clusters in virtual time, in one binary.
//!
//! | module | asks |
//! |---|---|
//! | `campaign` | do thousands of clusters, each with faults of its own, keep every rule? |
//! | `bugs` | is each bug that others had found, when it is put in? |

mod bugs;
mod campaign;
