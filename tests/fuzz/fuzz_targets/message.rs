//! Any bytes where a hello, a frame or a message is read.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hardlog_raft::transport::fuzz(data));
