//! A client that writes one key after the other in a thread, and remembers what was said of each.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{client::Client, resp::Reply};

/// What became of the writes.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Answered with OK.
    pub(super) acknowledged: BTreeMap<String, String>,
    /// Not answered, or answered that nobody knows.
    pub(super) unsure: BTreeMap<String, String>,
    /// The longest time between two acknowledgements.
    pub(super) longest_pause: Duration,
}

pub(super) struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<Outcome>>>,
}

impl Writer {
    /// Begins to write keys that begin with `name`.
    pub(super) fn start(client: Client, name: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || write(client, name, &stopped));
        Self { stop, thread: Some(thread) }
    }

    /// Ends after the write that is under way.
    pub(super) fn stop(&mut self) -> io::Result<Outcome> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            _ => Err(io::Error::other("the writer ended before its time")),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn write(mut client: Client, name: &str, stopped: &AtomicBool) -> io::Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut last = Instant::now();
    for n in 0.. {
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        let (key, value) = (format!("{name}-{n:06}"), format!("value {n} of {name}"));
        match client.call(&["SET", &key, &value]) {
            Ok(Reply::Simple(_)) => {
                outcome.acknowledged.insert(key, value);
                outcome.longest_pause = outcome.longest_pause.max(last.elapsed());
                last = Instant::now();
            }
            Ok(Reply::Error(text)) if !text.starts_with(b"UNKNOWN") => {
                let text = String::from_utf8_lossy(&text).into_owned();
                return Err(io::Error::other(format!("SET {key} was refused: {text}")));
            }
            Ok(_) | Err(_) => {
                outcome.unsure.insert(key, value);
            }
        }
    }
    Ok(outcome)
}
