//! Logs of a given content: filled by a child process that is then killed, or closed in peace.

use std::{
    fs, io,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use bytes::Bytes;
use hardlog::{Entry, Log, Options, Result};

/// Bytes of each payload in a filled log.
pub const PAYLOAD: usize = 256;

/// Numbers without a pattern, from a seed.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// The next number.
    pub fn roll(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// `len` bytes that no disk can compress.
    pub fn bytes(&mut self, len: usize) -> Bytes {
        let words = (0..len.div_ceil(8)).flat_map(|_| self.roll().to_le_bytes());
        words.take(len).collect::<Vec<u8>>().into()
    }

    /// `count` payloads of `len` bytes, each another: a batch of one payload over and over is nothing
    /// to an engine that compresses.
    pub fn payloads(&mut self, count: usize, len: usize) -> Vec<Bytes> {
        (0..count).map(|_| self.bytes(len)).collect()
    }
}

/// The content of a log.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    /// Bytes of all payloads.
    pub bytes: u64,
    /// Entries of [`PAYLOAD`] bytes in a batch.
    pub batch: usize,
}

impl Content {
    /// How many entries that are.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.bytes / PAYLOAD as u64
    }
}

/// Entries `first..` of a batch.
#[must_use]
pub fn entries(first: u64, count: usize, payload: &Bytes) -> Vec<Entry> {
    (first..).take(count).map(|index| Entry::new(index, 1, payload.clone())).collect()
}

/// Writes a log of `content` into `dir`, a sync after each mebibyte.
///
/// # Errors
/// What the engine says.
pub fn fill(dir: &Path, content: Content) -> Result<Log> {
    let mut log = Log::create(dir, Options::new())?;
    let payload = Dice(1).bytes(PAYLOAD);
    let mut next = 1;
    while next <= content.entries() {
        log.append(&entries(next, content.batch, &payload))?;
        next += content.batch as u64;
        if next % (1 << 12) == 1 {
            log.sync()?;
        }
    }
    log.sync()?;
    Ok(log)
}

/// Runs this very program as a child with `args`, and returns it with the first line it prints.
///
/// # Errors
/// Where it cannot be started or prints nothing.
pub fn child(args: &[&str], dir: &Path) -> io::Result<(Child, String)> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(args)
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut line)?;
    }
    if line.is_empty() {
        let status = child.wait()?;
        return Err(io::Error::other(format!("a child ended with {status}")));
    }
    Ok((child, line))
}

/// SIGKILL, and waits until the process is gone.
///
/// # Errors
/// What the system says.
pub fn kill(mut child: Child) -> io::Result<()> {
    child.kill()?;
    child.wait().map(drop)
}

/// What a child does after it has said its line: waits to be killed, or until its parent is gone.
pub fn say_and_wait(line: &str) {
    let mut out = io::stdout();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_ok() {
        // Ends when the parent kills this process, or with an empty line when the parent is gone.
        let _ = io::stdin().read_line(&mut String::new());
    }
}

/// A second directory of the same log, of hard links: an open writes no byte of the files it finds,
/// so the first stays as it is, to be opened again.
///
/// # Errors
/// What the file system says.
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for found in fs::read_dir(from)? {
        let found = found?;
        let name = found.file_name();
        if name.to_string_lossy().contains(".wal") || name.to_string_lossy().contains(".idx") {
            fs::hard_link(found.path(), to.join(name))?;
        }
    }
    Ok(())
}

/// The segment files of a log, oldest first.
///
/// # Errors
/// What the file system says.
pub fn segments(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ext| ext == "wal") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
