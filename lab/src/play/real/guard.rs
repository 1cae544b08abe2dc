//! What must not outlive this program, and goes with it when somebody presses Ctrl-C.
//!
//! Above: `real`. Below: signals. A node ends by itself when this process does, unless it was
//! stopped (SIGSTOP): so on a signal each is killed, and directories that nobody wanted to keep are
//! removed, before the program ends with code 130.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How often it is looked whether a signal came.
const LOOK: Duration = Duration::from_millis(50);
/// How often a directory is removed that a node still writes to.
const REMOVALS: u32 = 20;

/// Everything that goes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guard(Arc<Mutex<Charge>>);

#[derive(Debug, Default)]
struct Charge {
    processes: Vec<u32>,
    directory: Option<PathBuf>,
    /// What to do before the program ends, such as giving the terminal back.
    last: Option<fn()>,
}

impl Guard {
    /// Watches from now on, for as long as the program runs.
    pub(crate) fn set() -> io::Result<Self> {
        let guard = Self::default();
        let came = Arc::<AtomicBool>::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&came))?;
        }
        let watched = guard.clone();
        let watch = move || {
            while !came.load(Ordering::Relaxed) {
                thread::sleep(LOOK);
            }
            watched.clear();
            std::process::exit(130);
        };
        thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
        Ok(guard)
    }

    fn charge(&self) -> MutexGuard<'_, Charge> {
        // Each change of it is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These processes run now, and no others.
    pub(super) fn processes(&self, processes: Vec<u32>) {
        self.charge().processes = processes;
    }

    /// This directory is to be removed at the end.
    pub(super) fn directory(&self, directory: Option<PathBuf>) {
        self.charge().directory = directory;
    }

    /// This is done before the program ends by a signal.
    pub(crate) fn at_last(&self, last: fn()) {
        self.charge().last = Some(last);
    }

    fn clear(&self) {
        let mut charge = self.charge();
        let pids: Vec<Pid> = charge.processes.drain(..).filter_map(process).collect();
        for pid in &pids {
            // Gone already is as good.
            let _ = kill_process(*pid, Signal::KILL);
        }
        for pid in pids {
            // Somebody else may have waited for it.
            let _ = waitpid(Some(pid), WaitOptions::empty());
        }
        if let Some(directory) = charge.directory.take() {
            remove(&directory);
        }
        if let Some(last) = charge.last.take() {
            last();
        }
    }
}

/// A process by its number.
pub(super) fn process(number: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(number).ok()?)
}

/// Removes a directory; what cannot be removed stays where temporary files are.
pub(super) fn remove(directory: &Path) {
    for _ in 0..REMOVALS {
        if fs::remove_dir_all(directory).is_ok() || !directory.exists() {
            return;
        }
        thread::sleep(LOOK);
    }
}
