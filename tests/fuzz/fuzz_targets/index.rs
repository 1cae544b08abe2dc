//! Any bytes where an index file is read.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hardlog::fuzzing::index(data));
