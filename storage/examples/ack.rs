//! A program for crash rigs that know nothing of the log's format.
//!
//! ```text
//! ack run DIR STEPS [--segment-size BYTES] [--seed S]
//! ack check DIR --acks FILE
//! ```
//!
//! `run` begins a log in DIR if there is none (DIR may be missing, be empty, or hold the leavings of
//! a creation that was cut off), else opens it, and does STEPS further steps. What a step does
//! follows from the seed and its number alone; the number of the last step stands in the log, written
//! with that step. For each step one line goes to standard output, only after the step is durable:
//!
//! ```text
//! append 17 term 3      entries up to 17 were appended, the last of term 3
//! vote 2 term 4         term 4 began, with a vote for 2
//! trim-tail 12          entries from 12 on are gone, and a new term began
//! snapshot 40           a snapshot up to 40 was taken and marked
//! trim-prefix 40        entries before 40 are gone
//! ```
//!
//! `check` opens the log, reads every byte back and replays the lines of FILE (a last one that is cut
//! off does not count). It compares all that the log holds with what the steps up to the log's own
//! number must have made: exit 0 if nothing acknowledged is lost, changed or resurrected; 10 if the
//! engine says that the store is corrupt; 1 for anything else. The seed of a log is that of its first
//! step; a later `--seed` is ignored. Lines may have gaps: a step can be durable and killed before its
//! line was written.

use std::{
    collections::BTreeMap,
    fmt,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use hardlog::{Batch, Class, Entry, EntryId, Error, HardState, Log, Options};

const USAGE: &str = "usage: ack run DIR STEPS [--segment-size BYTES] [--seed S]\n       \
                     ack check DIR --acks FILE";
/// Slot that holds the number of the last step and the seed.
const SLOT: u64 = 1;
const SEGMENT_SIZE: u64 = 256 << 10;
/// A vote that was written and never acknowledged is at most this many steps ahead.
const AHEAD: u64 = 64;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match Command::parse(&args) {
        Some(Command::Run { dir, steps, segment_size, seed }) => {
            run(&dir, steps, seed, Options::new().segment_size(segment_size))
        }
        Some(Command::Check { dir, acks }) => check(&dir, &acks),
        None => Err(Failure { code: 2, why: USAGE.to_owned() }),
    };
    let Err(Failure { code, why }) = done else { return ExitCode::SUCCESS };
    // Where nobody listens there is nobody to tell; the exit code still does.
    let _ = writeln!(std::io::stderr(), "{why}");
    ExitCode::from(code)
}

enum Command {
    Run { dir: PathBuf, steps: u64, segment_size: u64, seed: u64 },
    Check { dir: PathBuf, acks: PathBuf },
}

impl Command {
    fn parse(args: &[String]) -> Option<Self> {
        let (words, mut rest) = args.split_at(args.len().min(match args.first()?.as_str() {
            "run" => 3,
            "check" => 2,
            _ => return None,
        }));
        let (mut segment_size, mut seed, mut acks) = (SEGMENT_SIZE, 1, None);
        while let [name, value, more @ ..] = rest {
            match name.as_str() {
                "--segment-size" => segment_size = value.parse().ok()?,
                "--seed" => seed = value.parse().ok()?,
                "--acks" => acks = Some(PathBuf::from(value)),
                _ => return None,
            }
            rest = more;
        }
        match words {
            _ if !rest.is_empty() => None,
            [_, dir, steps] => {
                let steps = steps.parse().ok()?;
                Some(Self::Run { dir: dir.into(), steps, segment_size, seed })
            }
            [_, dir] => Some(Self::Check { dir: dir.into(), acks: acks? }),
            _ => None,
        }
    }
}

/// Why the program ends with this exit code.
struct Failure {
    code: u8,
    why: String,
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        let corrupt = matches!(e, Error::Corrupt(_) | Error::Faulty { .. });
        Self { code: if corrupt { 10 } else { 1 }, why: e.to_string() }
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        Self { code: 1, why: e.to_string() }
    }
}

fn wrong<T>(why: impl fmt::Display) -> Result<T, Failure> {
    Err(Failure { code: 1, why: why.to_string() })
}

// ---- run

fn run(dir: &Path, steps: u64, seed: u64, options: Options) -> Result<(), Failure> {
    let mut log = match Log::open(dir, options.clone()) {
        Err(Error::NotALog { .. }) => Log::create(dir, options)?,
        opened => opened?.0,
    };
    let (step, seed) = last_step(&log)?.unwrap_or((0, seed));
    let mut model = Model::new(seed);
    while model.step < step {
        let act = model.next_act();
        model.take(&act);
    }
    if (log.first_log_index(), log.next_log_index()) != (model.first, model.next) {
        return wrong("the log holds something else than what its steps make: run `ack check`");
    }
    let mut lines = String::new();
    let mut ack_loss = log.maybe_lost().is_some();
    for left in (0..steps).rev() {
        let act = model.next_act();
        let line = perform(&mut log, &mut model, &act, std::mem::take(&mut ack_loss))?;
        lines.push_str(&line);
        if left == 0 || !model.dice(b'S').is_multiple_of(4) {
            log.sync()?;
            let mut out = std::io::stdout().lock();
            out.write_all(lines.as_bytes())?;
            out.flush()?;
            lines.clear();
        }
    }
    Ok(log.close()?)
}

/// Does one step as one batch; returns its line, which may be printed once it is durable.
fn perform(log: &mut Log, model: &mut Model, act: &Act, ack_loss: bool) -> Result<String, Failure> {
    let mut batch = Batch::new();
    if ack_loss {
        batch.acknowledge_loss();
    }
    let line = model.take(act);
    batch.meta(SLOT, Class::Ordered, slot(model.step, model.seed));
    match act {
        Act::Append { count } => {
            let from = model.next - count;
            let entries = (from..model.next).map(|index| model.entry(index, model.term));
            batch.append(entries.collect::<Vec<_>>());
        }
        Act::Vote { .. } => {
            batch.hard_state(model.hard_state(log));
        }
        Act::TrimTail { from } => {
            batch.hard_state(model.hard_state(log)).truncate_from(*from);
        }
        Act::Snapshot { id } => {
            let mut writer = log.snapshots().begin(*id, b"ack")?;
            writer.write_all(&model.snapshot(*id))?;
            batch.snapshot_mark(writer.commit()?).hard_state(model.hard_state(log));
        }
        Act::TrimPrefix { to } => {
            batch.trim_before(*to);
        }
    }
    log.write(&batch)?;
    Ok(line)
}

fn slot(step: u64, seed: u64) -> Vec<u8> {
    [step.to_le_bytes(), seed.to_le_bytes()].concat()
}

/// Number of the last step in the log, and the seed; None if there was no step.
fn last_step(log: &Log) -> Result<Option<(u64, u64)>, Failure> {
    let Some(value) = log.meta(SLOT) else { return Ok(None) };
    match value.as_chunks::<8>() {
        ([step, seed], []) => Ok(Some((u64::from_le_bytes(*step), u64::from_le_bytes(*seed)))),
        _ => wrong("this log was not made by ack"),
    }
}

// ---- check

fn check(dir: &Path, acks: &Path) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(&std::fs::read(acks)?).into_owned();
    // A line without its end was cut off while it was written: the rig saw no acknowledgement.
    let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n')).peekable();
    let log = match Log::open(dir, Options::new()) {
        Err(Error::NotALog { .. }) => {
            return lines.next().map_or(Ok(()), |line| wrong(format!("lost: all, {line:?} first")));
        }
        opened => opened?.0,
    };
    let (step, seed) = last_step(&log)?.unwrap_or((0, 0));
    let mut model = Model::new(seed);
    while model.step < step {
        let act = model.next_act();
        let line = model.take(&act);
        if lines.peek() == Some(&line.as_str()) {
            lines.next();
        }
    }
    if let Some(line) = lines.next() {
        return wrong(format!("lost: {line:?} was acknowledged; the log ends with step {step}"));
    }
    compare(&log, &model)?;
    let (first, next) = (model.first, model.next);
    log.close()?;
    writeln!(std::io::stdout(), "holds: step {step}, entries {first}..{next}")?;
    Ok(())
}

/// Reads every byte back and compares it with what the steps must have made.
fn compare(log: &Log, model: &Model) -> Result<(), Failure> {
    let window = (log.first_log_index(), log.next_log_index());
    if window != (model.first, model.next) {
        return wrong(format!("the window is {window:?}, not {:?}", (model.first, model.next)));
    }
    for (&index, &term) in &model.entries {
        if log.at(index)? != model.entry(index, term) {
            return wrong(format!("changed: entry {index} of term {term}"));
        }
    }
    let mut read = 0;
    for entry in log.entries(model.first..model.next, u64::MAX) {
        let entry = entry?;
        if model.entries.get(&entry.index()) != Some(&entry.term()) {
            return wrong(format!("changed: entry {} in a row", entry.index()));
        }
        read += 1;
    }
    if read != model.entries.len() || log.at(model.next).is_ok() {
        return wrong(format!("{read} entries in a row, {} wanted", model.entries.len()));
    }
    compare_promises(log, model)?;
    let Some(id) = model.mark else {
        return if log.snapshot_mark().is_none() { Ok(()) } else { wrong("an unknown mark") };
    };
    if log.snapshot_mark().map(|mark| mark.id) != Some(id) {
        return wrong(format!("the snapshot mark is {:?}, not {id:?}", log.snapshot_mark()));
    }
    let mut bytes = Vec::new();
    log.snapshots().open(id)?.read_to_end(&mut bytes)?;
    if bytes == model.snapshot(id) { Ok(()) } else { wrong(format!("changed: snapshot {id:?}")) }
}

/// Term and vote may be those of a later step, which was written and then lost; never older.
fn compare_promises(log: &Log, model: &Model) -> Result<(), Failure> {
    let found = log.hard_state();
    if found.commit != model.hs.commit {
        return wrong(format!("commit is {}, not {}", found.commit, model.hs.commit));
    }
    let mut later = model.clone();
    while !found.same_promise(&later.hs) {
        if later.step > model.step + AHEAD {
            return wrong(format!("{found:?} where {:?} was promised", model.hs));
        }
        let act = later.next_act();
        later.take(&act);
    }
    Ok(())
}

// ---- what the steps do

#[derive(Debug)]
enum Act {
    Append { count: u64 },
    Vote { candidate: u64 },
    TrimTail { from: u64 },
    Snapshot { id: EntryId },
    TrimPrefix { to: u64 },
}

/// The log as the steps so far must have made it.
#[derive(Clone)]
struct Model {
    seed: u64,
    step: u64,
    first: u64,
    next: u64,
    /// Term of entries that are appended now.
    term: u64,
    hs: HardState,
    entries: BTreeMap<u64, u64>,
    mark: Option<EntryId>,
}

impl Model {
    fn new(seed: u64) -> Self {
        let (entries, hs) = (BTreeMap::new(), HardState::default());
        Self { seed, step: 0, first: 1, next: 1, term: 0, hs, entries, mark: None }
    }

    /// What the next step does. A kind that is not possible now becomes an append.
    fn next_act(&self) -> Act {
        let (kind, size) = (self.toss(self.step + 1, b'K') % 100, self.toss(self.step + 1, b'N'));
        let append = Act::Append { count: 1 + size % 7 };
        let low = self.first.max(self.hs.commit + 1);
        match kind {
            0..12 => Act::Vote { candidate: size % 3 },
            12..20 if low < self.next => {
                Act::TrimTail { from: low.max(self.next - 1 - (size % 4).min(self.next - 1)) }
            }
            20..25 => match self.entries.last_key_value() {
                Some((&index, &term)) => Act::Snapshot { id: EntryId::new(index, term) },
                None => append,
            },
            25..30 => match self.mark {
                Some(id) if id.index > self.first => Act::TrimPrefix { to: id.index },
                _ => append,
            },
            _ => append,
        }
    }

    /// Takes the step; returns its line.
    fn take(&mut self, act: &Act) -> String {
        self.step += 1;
        match *act {
            Act::Append { count } => {
                let term = self.term;
                self.entries.extend((self.next..self.next + count).map(|index| (index, term)));
                self.next += count;
                format!("append {} term {term}\n", self.next - 1)
            }
            Act::Vote { candidate } => {
                self.new_term(Some(candidate));
                format!("vote {candidate} term {}\n", self.term)
            }
            Act::TrimTail { from } => {
                self.new_term(None);
                self.next = from;
                drop(self.entries.split_off(&from));
                format!("trim-tail {from}\n")
            }
            Act::Snapshot { id } => {
                self.mark = Some(id);
                self.hs.commit = self.hs.commit.max(id.index);
                format!("snapshot {}\n", id.index)
            }
            Act::TrimPrefix { to } => {
                self.first = to;
                self.entries = self.entries.split_off(&to);
                format!("trim-prefix {to}\n")
            }
        }
    }

    fn new_term(&mut self, vote: Option<u64>) {
        self.term += 1;
        (self.hs.term, self.hs.vote) = (self.term, vote);
    }

    /// The hard state to write: a promise that the log has made already is not taken back.
    fn hard_state(&self, log: &Log) -> HardState {
        let made = log.hard_state();
        if made.term > self.hs.term {
            HardState { commit: self.hs.commit, ..made }
        } else {
            self.hs
        }
    }

    fn entry(&self, index: u64, term: u64) -> Entry {
        let mut dice = mix(self.seed ^ mix(index ^ mix(term)));
        let len = match dice % 16 {
            0 => 0,
            1 => 1300,
            other => 1 + (dice >> 8) % (40 * other),
        };
        let mut payload = Vec::new();
        while (payload.len() as u64) < len {
            dice = mix(dice);
            payload.extend_from_slice(&dice.to_le_bytes());
        }
        payload.truncate(usize::try_from(len).unwrap_or(0));
        Entry::new(index, term, payload)
    }

    fn snapshot(&self, id: EntryId) -> Vec<u8> {
        let words = mix(self.seed ^ id.index) % 4096;
        (0..words).flat_map(|i| mix(id.index ^ mix(id.term ^ i)).to_le_bytes()).collect()
    }

    /// A number that follows from the seed and the step that was taken last.
    fn dice(&self, salt: u8) -> u64 {
        self.toss(self.step, salt)
    }

    fn toss(&self, step: u64, salt: u8) -> u64 {
        mix(self.seed ^ mix(step ^ u64::from(salt) << 56))
    }
}

/// splitmix64's finalizer.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
