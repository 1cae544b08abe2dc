//! What a failed run leaves: its output, whatever it put into its directory (the suites and the
//! simulator put the trace, its timeline and each node's files there), and a page of the trace where
//! it left a trace alone.
//!
//! Above: `pool`. Below: the writer of pages.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use raft_lab_timeline::{BESIDE, beside};

/// Directories below the one of a run in which a trace is looked for.
const DEPTH: u32 = 3;

/// Where the runs of one worker write while they run.
pub(super) struct Desk {
    /// What a run says.
    pub(super) output: PathBuf,
    /// What it leaves.
    pub(super) dir: PathBuf,
}

impl Desk {
    /// An empty one.
    pub(super) fn new(out: &Path, worker: usize) -> io::Result<Self> {
        let at = out.join("running").join(worker.to_string());
        let desk = Self { output: at.join("output.txt"), dir: at.join("left") };
        if at.exists() {
            fs::remove_dir_all(&at)?;
        }
        fs::create_dir_all(&desk.dir)?;
        Ok(desk)
    }

    /// The run passed: what it left is of no use.
    pub(super) fn clear(&self) -> io::Result<()> {
        if fs::read_dir(&self.dir)?.next().is_some() {
            fs::remove_dir_all(&self.dir)?;
            fs::create_dir_all(&self.dir)?;
        }
        Ok(())
    }

    /// The run failed: everything goes to a directory of its own. A page is made of its trace
    /// unless it made one.
    pub(super) fn keep(&self, out: &Path, name: &str, replay: &str) -> io::Result<PathBuf> {
        let to = place(out, name);
        fs::create_dir_all(to.parent().unwrap_or(out))?;
        if to.exists() {
            // Of a soak that was killed before its journal had the run.
            fs::remove_dir_all(&to)?;
        }
        fs::rename(&self.dir, &to)?;
        fs::create_dir_all(&self.dir)?;
        self.keep_output(&to)?;
        fs::write(to.join("replay.txt"), format!("{replay}\n"))?;
        if let Some(trace) = trace(&to, DEPTH)
            && !trace.with_file_name(BESIDE).exists()
        {
            // It may be cut off in the middle of nothing: the trace itself is still there.
            let _none = beside(&trace);
        }
        Ok(to)
    }
}

impl Desk {
    /// The output, with the paths in it where they are now.
    fn keep_output(&self, to: &Path) -> io::Result<()> {
        let output = to.join("output.txt");
        fs::rename(&self.output, &output)?;
        let (before, now) = (self.dir.to_string_lossy(), to.to_string_lossy());
        // Its length is bounded; what is no text stays as it is.
        match fs::read_to_string(&output) {
            Ok(said) if said.contains(&*before) => fs::write(&output, said.replace(&*before, &now)),
            _ => Ok(()),
        }
    }
}

/// Where the failed run of that name is kept.
pub(super) fn place(out: &Path, name: &str) -> PathBuf {
    out.join("failures").join(name)
}

/// The first trace in a directory.
fn trace(dir: &Path, depth: u32) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(dir).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    let found = entries.iter().find(|path| path.extension().is_some_and(|e| e == "ndjson"));
    found.cloned().or_else(|| {
        let below = entries.iter().filter(|path| depth > 0 && path.is_dir());
        below.filter_map(|path| trace(path, depth - 1)).next()
    })
}
