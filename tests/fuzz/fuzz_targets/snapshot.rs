//! Any bytes where a snapshot file is read.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hardlog::fuzzing::snapshot(data));
