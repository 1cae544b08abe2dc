//! Anything that happens to the files of a log's directory.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hardlog::fuzzing::directory(data));
