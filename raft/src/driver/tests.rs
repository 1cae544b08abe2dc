//! Whole clusters of drivers over simulated disks, in one thread, from one seed: what the pure
//! core's own tests cannot see, the log under it and the order of saving, syncing and sending.

mod changes;
mod faults;
mod power;
mod rig;
