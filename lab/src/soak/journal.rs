//! A line for each run that is over, so that a soak can go on where it stopped.
//!
//! ```text
//!   {"soak":"raft-lab.soak/1","target":{"kind":"suites","command":[],"tests":["suites::…"]}}
//!   {"test":0,"seed":17,"seconds":0.031}
//!   {"test":1,"seed":17,"seconds":0.042,"failed":"no agreement within 10 s"}
//! ```
//! One soak at a time holds it by a lock, which ends with its process.
//! Each line goes to the file as one write when its run is over. What was under way when the soak
//! was killed is not there and is run again; a last line without its end is no line.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{tally::Run, target::Target};
use crate::Failure;

const NAME: &str = "journal.ndjson";
const FORMAT: &str = "raft-lab.soak/1";
/// A journal that is longer is none of ours: ten million runs are shorter.
const LEN_MAX: u64 = 1 << 30;

/// The journal of a soak.
pub(super) struct Journal {
    file: File,
}

impl Journal {
    /// Begins one in a directory, or goes on with the one that is there: then the runs that it
    /// names, too.
    ///
    /// # Errors
    /// If there is one that nobody asked to go on with, or it is of something else.
    pub(super) fn open(
        dir: &Path,
        target: &Target,
        resume: bool,
    ) -> Result<(Self, Vec<Run>), Failure> {
        let path = dir.join(NAME);
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = match resume {
            true => options.open(&path),
            false => options.create_new(true).open(&path),
        };
        let mut file = file.map_err(|error| refused(&path, &error))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                Failure::Wrong(format!("{}: a soak is under way there", dir.display()))
            }
            TryLockError::Error(error) => refused(&path, &error),
        })?;
        if !resume {
            writeln!(file, "{}", json!({ "soak": FORMAT, "target": target.said() }))?;
            return Ok((Self { file }, Vec::new()));
        }
        let mut text = String::new();
        let wrong = |what: &str| Failure::Wrong(format!("{}: {what}", path.display()));
        if file.metadata()?.len() > LEN_MAX {
            return Err(wrong("too long for a journal"));
        }
        file.read_to_string(&mut text)?;
        // A line that was torn off is written over.
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        file.set_len(whole as u64)?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(whole as u64))?;
        let mut lines = text.get(..whole).unwrap_or_default().lines();
        let head: Option<Value> = lines.next().and_then(|line| serde_json::from_str(line).ok());
        let head = head.filter(|head| head["soak"] == FORMAT);
        let head = head.ok_or_else(|| wrong("no journal of a soak"))?;
        if head["target"] != target.said() {
            return Err(wrong("a soak of something else: take the same words, or another --out"));
        }
        let runs = lines.map(|line| run_of(line).ok_or_else(|| wrong("a line that is no run")));
        let runs = runs.collect::<Result<_, _>>()?;
        Ok((Self { file }, runs))
    }

    /// A run is over.
    pub(super) fn add(&mut self, run: &Run) -> io::Result<()> {
        let mut line = json!({ "test": run.test, "seed": run.seed, "seconds": run.seconds });
        if let Some(why) = &run.failed {
            line["failed"] = json!(why);
        }
        // DURABILITY: no sync. A run that a power cut forgets is run again.
        self.file.write_all(format!("{line}\n").as_bytes())
    }
}

fn refused(path: &Path, error: &io::Error) -> Failure {
    let dir = path.parent().map_or(PathBuf::new(), Path::to_path_buf);
    let dir = dir.display();
    Failure::Wrong(match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{dir} holds a soak: --resume goes on with it, --out takes another directory")
        }
        io::ErrorKind::NotFound => format!("{dir} holds no soak to go on with"),
        _ => format!("{}: {error}", path.display()),
    })
}

fn run_of(line: &str) -> Option<Run> {
    let line: Value = serde_json::from_str(line).ok()?;
    Some(Run {
        test: usize::try_from(line["test"].as_u64()?).ok()?,
        seed: line["seed"].as_u64()?,
        seconds: line["seconds"].as_f64()?,
        failed: line["failed"].as_str().map(str::to_owned),
    })
}
