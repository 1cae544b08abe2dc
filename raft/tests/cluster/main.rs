//! Whole clusters in virtual time, in one binary.
//!
//! | module | asks |
//! |---|---|
//! | `campaign` | do thousands of clusters, each with faults of its own, keep every rule? |
//! | `suites` | do the tests of the courses and teaching projects pass, by their names? |
//! | `linear` | is what clients saw linearizable, and is a stale read noticed? |
//! | `replicas` | does `diff` say that the directories of a cluster under faults are consistent, and that one with a forged entry is not? |
//! | `bugs` | is each bug that others had found, when it is put in? |
//! | `trace` | does the trace of a run say what happened? |
//! | `wrong` | is what is done wrong around the core noticed: clocks, identities, retries? |
//! | `readme` | does the README name tests that there are? |

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "what the pure core may not use is free around it"
)]

mod bugs;
mod campaign;
mod linear;
mod readme;
mod replicas;
mod suites;
mod trace;
mod wrong;
