//! One run: a process in a group of its own, so that it can be killed with all that it started.
//!
//! Above: `pool`. Its output goes to a file, whose length is bounded; nothing of it is kept in
//! memory but the end.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    guard::{self, Guard},
    target::Process,
};

/// Bytes that a run may say.
const OUTPUT_MAX: u64 = 64 << 20;
/// Bytes of its end in which a reason is looked for.
const TAIL: u64 = 64 << 10;
/// Characters of a reason.
const WHY_MAX: usize = 300;

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ended {
    pub(super) seconds: f64,
    /// Why it failed, if it did.
    pub(super) failed: Option<String>,
}

/// What ended a process.
enum By {
    Itself(ExitStatus),
    Timeout,
    Output,
    Stop,
}

/// What ends a run that does not end by itself.
#[derive(Clone, Copy)]
pub(super) struct Bounds<'a> {
    pub(super) timeout: Duration,
    /// Somebody pressed Ctrl-C.
    pub(super) stop: &'a AtomicBool,
    /// For when the soak is killed.
    pub(super) guard: &'a Guard,
}

/// Kills a group of processes, and takes note of its end.
struct Group<'a>(Child, &'a Guard);

impl<'a> Group<'a> {
    fn new(child: Child, guard: &'a Guard) -> Self {
        guard.begun(child.id());
        Self(child, guard)
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        guard::kill(self.0.id());
        let _reaped = self.0.wait();
        self.1.over(self.0.id());
    }
}

/// Runs it. None if it was stopped before it ended.
///
/// # Errors
/// If it cannot be started, or its output cannot be written.
pub(super) fn run(
    process: &Process,
    dir: &Path,
    output: &Path,
    bounds: Bounds<'_>,
) -> io::Result<Option<Ended>> {
    let Bounds { timeout, stop, guard } = bounds;
    let to = File::create(output)?;
    let (program, words) = process.words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(words).envs(process.vars.iter().map(|(name, value)| (*name, value)));
    command.current_dir(dir).stdin(Stdio::null());
    command.stdout(to.try_clone()?).stderr(to).process_group(0);
    let began = Instant::now();
    let child = command.spawn();
    let child = child.map_err(|error| {
        io::Error::new(error.kind(), format!("{program} does not start: {error}"))
    })?;
    let mut group = Group::new(child, guard);
    let by = wait(&mut group.0, output, began + timeout, stop)?;
    let seconds = began.elapsed().as_secs_f64();
    // Also what it left behind: a run that is over holds no core.
    drop(group);
    let failed = match by {
        By::Stop => return Ok(None),
        By::Timeout => Some(format!("killed after {:.0} s", timeout.as_secs_f64())),
        By::Output => Some(format!("killed after {} MiB of output", OUTPUT_MAX >> 20)),
        By::Itself(status) => why(status, process, &tail(output)?),
    };
    Ok(Some(Ended { seconds, failed }))
}

fn wait(child: &mut Child, output: &Path, until: Instant, stop: &AtomicBool) -> io::Result<By> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(By::Itself(status));
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(By::Stop);
        }
        if Instant::now() > until {
            return Ok(By::Timeout);
        }
        if fs::metadata(output)?.len() > OUTPUT_MAX {
            return Ok(By::Output);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// The end of what it said.
pub(super) fn tail(output: &Path) -> io::Result<String> {
    let mut file = File::open(output)?;
    let from = file.metadata()?.len().saturating_sub(TAIL);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Why it failed, if it did: a panic's words, or the last that it said.
fn why(status: ExitStatus, process: &Process, said: &str) -> Option<String> {
    let silent = process.says.is_some_and(|says| !said.contains(says));
    if status.success() && !silent {
        return None;
    }
    if status.success() {
        return Some(format!("it did not say {:?}", process.says.unwrap_or_default()));
    }
    let mut lines = said.lines().map(str::trim).skip_while(|line| !line.contains("panicked at"));
    let panic = lines.nth(1).filter(|line| !line.is_empty());
    let broke = said.lines().find(|line| line.starts_with("seed ") && line.contains(" broke "));
    let go = said.lines().map(str::trim).find(|line| line.starts_with("--- FAIL"));
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    let words = panic.or(broke).or(go).or(last).map(|words| words.chars().take(WHY_MAX));
    let words = words.map(Iterator::collect::<String>).unwrap_or_default();
    Some(if words.is_empty() { status.to_string() } else { format!("{words} ({status})") })
}
