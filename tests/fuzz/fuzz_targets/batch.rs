//! Any bytes where a batch is read.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hardlog::fuzzing::batch(data));
