//! The adapter under openraft's own suites and under ours, on a real disk and on a simulated one
//! whose power is cut.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the message")]

mod cuts;
mod log;
mod machine;
mod notes;
mod readme;
mod suite_0_10;
mod suite_0_9;
mod walk;

use std::{future::Future, task::Poll};

/// Runs what never waits for anything but this thread: logs without threads.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("a log without threads made its caller wait"),
    }
}
