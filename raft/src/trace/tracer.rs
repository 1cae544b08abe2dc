//! Writes a trace, and tells the time.
//!
//! Above: everything in which something happens. Below: a file, memory, or `tracing`.
//!
//! The time of an event is taken under the lock that orders events, so times never go back in a
//! file. A tracer has a clock also when it is off: durations are measured with it either way.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{Event, Header, Time, What};
use crate::message::NodeId;

/// Where events go, if anywhere. Cheap to clone; all clones write the same trace.
#[derive(Clone, Debug)]
pub struct Tracer {
    clock: Clock,
    book: Option<Arc<Mutex<Book>>>,
}

/// A tracer in the name of one node.
#[derive(Clone, Debug)]
pub struct Voice {
    tracer: Tracer,
    node: NodeId,
}

/// A trace in memory.
#[derive(Clone, Debug, Default)]
pub struct Recording(Arc<Mutex<Vec<u8>>>);

#[derive(Clone, Debug)]
enum Clock {
    /// Microseconds since then.
    Real(Instant),
    /// Whatever the simulator set.
    Virtual(Arc<AtomicU64>),
}

struct Book {
    number: u64,
    line: Vec<u8>,
    to: To,
}

enum To {
    Writer(Box<dyn Write + Send>),
    #[cfg(feature = "tracing")]
    Tracing,
    /// It could not be written.
    Nowhere,
}

impl Default for Tracer {
    fn default() -> Self {
        Self::off()
    }
}

impl Tracer {
    /// Writes nothing.
    #[must_use]
    pub fn off() -> Self {
        Self { clock: Clock::Real(Instant::now()), book: None }
    }

    /// Writes nothing, and its time is set by hand.
    #[must_use]
    pub fn off_in_virtual_time() -> Self {
        Self { clock: Clock::Virtual(Arc::default()), book: None }
    }

    /// Writes to a new file; one that is there is replaced.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn to_file(path: impl AsRef<Path>, header: &Header) -> io::Result<Self> {
        // No buffer in between: what is written is out of the process's hands.
        Self::to_writer(File::create(path)?, header)
    }

    /// Writes to `path`, or, if that is taken by the trace of an earlier start, to `path.2`,
    /// `path.3` and so on. Returns which.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn to_new_file(path: impl AsRef<Path>, header: &Header) -> io::Result<(Self, PathBuf)> {
        let mut at = path.as_ref().to_owned();
        for number in 2.. {
            match File::create_new(&at) {
                Ok(file) => return Ok((Self::to_writer(file, header)?, at)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let mut name = path.as_ref().as_os_str().to_owned();
                    name.push(format!(".{number}"));
                    at = name.into();
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Writes to anything; each line in one piece.
    ///
    /// # Errors
    /// If the header cannot be written.
    pub fn to_writer(to: impl Write + Send + 'static, header: &Header) -> io::Result<Self> {
        let mut to: Box<dyn Write + Send> = Box::new(to);
        let mut line = serde_json::to_vec(header)?;
        line.push(b'\n');
        to.write_all(&line)?;
        to.flush()?;
        Ok(Self::with(Clock::of(header), To::Writer(to)))
    }

    /// Keeps the trace in memory.
    #[must_use]
    pub fn to_memory(header: &Header) -> (Self, Recording) {
        let recording = Recording::default();
        let tracer = Self::to_writer(recording.clone(), header);
        (tracer.expect("memory takes everything"), recording)
    }

    /// Hands each event to `tracing`, with the same fields, at level DEBUG and under the target
    /// `hardlog::trace`.
    #[cfg(feature = "tracing")]
    #[must_use]
    pub fn to_tracing() -> Self {
        Self::with(Clock::Real(Instant::now()), To::Tracing)
    }

    fn with(clock: Clock, to: To) -> Self {
        let book = Book { number: 0, line: Vec::new(), to };
        Self { clock, book: Some(Arc::new(Mutex::new(book))) }
    }

    /// Whether anything is written.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.book.is_some()
    }

    /// Microseconds since the trace began.
    #[must_use]
    pub fn now(&self) -> u64 {
        match &self.clock {
            Clock::Real(start) => u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX),
            Clock::Virtual(now) => now.load(Ordering::Relaxed),
        }
    }

    /// Sets the time, where that is virtual.
    pub fn set_time(&self, now: u64) {
        if let Clock::Virtual(time) = &self.clock {
            time.store(now, Ordering::Relaxed);
        }
    }

    /// Something happened to a node, or with 0 in the world around.
    #[inline]
    pub fn note(&self, node: NodeId, what: impl FnOnce() -> What) {
        if let Some(book) = &self.book {
            self.write(book, node, what());
        }
    }

    #[cold]
    fn write(&self, book: &Mutex<Book>, node: NodeId, what: What) {
        // A panic in here leaves at most a line half built, which the next one clears.
        let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.now();
        book.write(at, node, what);
    }

    /// The same in the name of one node.
    #[must_use]
    pub fn of(&self, node: NodeId) -> Voice {
        Voice { tracer: self.clone(), node }
    }
}

impl Voice {
    /// Something happened to the node.
    #[inline]
    pub fn note(&self, what: impl FnOnce() -> What) {
        self.tracer.note(self.node, what);
    }

    /// Whether anything is written.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.tracer.is_on()
    }

    /// Microseconds since the trace began.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.tracer.now()
    }
}

impl Clock {
    fn of(header: &Header) -> Self {
        match header.clock {
            Time::Unix => Self::Real(Instant::now()),
            Time::Virtual => Self::Virtual(Arc::default()),
        }
    }
}

impl Book {
    fn write(&mut self, at: u64, node: NodeId, what: What) {
        self.number += 1;
        let event = Event { at, node, number: self.number, what };
        let written = match &mut self.to {
            To::Writer(to) => {
                self.line.clear();
                let line = serde_json::to_writer(&mut self.line, &event).map_err(io::Error::from);
                self.line.push(b'\n');
                line.and_then(|()| to.write_all(&self.line)).and_then(|()| to.flush())
            }
            #[cfg(feature = "tracing")]
            To::Tracing => {
                super::bridge::emit(&event);
                Ok(())
            }
            To::Nowhere => Ok(()),
        };
        if let Err(error) = written {
            tracing::error!(%error, "the trace cannot be written; it ends here");
            self.to = To::Nowhere;
        }
    }
}

impl std::fmt::Debug for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Book").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Recording {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        // Bytes are only ever added.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was written so far.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.lock().clone()
    }

    /// What was written behind the first `taken` bytes.
    #[must_use]
    pub fn bytes_behind(&self, taken: usize) -> Vec<u8> {
        self.lock().get(taken..).unwrap_or_default().to_vec()
    }
}

impl Write for Recording {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.lock().extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
