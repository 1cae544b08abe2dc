//! Every test that is larger than one package, in one binary: linked once, run in parallel.
//!
//! | module | asks |
//! |---|---|
//! | `ack` | is nothing acknowledged lost by kills and torn writes, as a rig outside sees it? |
//! | `compat` | is every format that was ever written still read, by a second reader too? |
//! | `calls` | what does a log do when any one call of the file system fails, or all do from then on? |
//! | `copies` | is a backup or a recovery that is cut off never taken for a shorter log, and is each sync of theirs missed? |
//! | `crash` | what may a power cut, kill -9 or a rotten sector leave, and does the log keep its promises then? |
//! | `fuzz` | does anything that can stand on a disk make a panic, or more than its limits? |
//! | `damage` | what comes of every flipped bit, every length, every lost block and file? |
//! | `house` | are the house rules kept that no lint knows? |
//! | `like_a_vec` | does a log behave like a `Vec`, reopened and killed included? |
//! | `model` | does the executable model of the format hold, and does each of its rules matter? |
//! | `repair` | does a repair drop exactly what its plan names, and can it be cut off anywhere? |
//! | `replay` | do the model's histories hold on the engine, and do the two agree? |
//!
//! A module per campaign; what they share is in the library beside it.

#[cfg(test)]
mod ack;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod compat;
#[cfg(test)]
mod copies;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod house;
#[cfg(test)]
mod like_a_vec;
#[cfg(test)]
mod model;
#[cfg(test)]
mod repair;
#[cfg(test)]
mod replay;
