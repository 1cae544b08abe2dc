//! Any bytes where a segment is read.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hardlog::fuzzing::segment(data));
