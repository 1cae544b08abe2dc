//! A process that outlives a soak which is killed, and ends what was under way then.
//!
//! ```text
//!   soak ──▶ its standard input: `+ GROUP` when a run begins, `- GROUP` when it is over
//!                └─▶ at its end, which is the soak's: the groups that are left are killed
//! ```
//! Whatever becomes of the guard, the soak goes on: it is needed only if the soak does not.

use std::{
    collections::BTreeSet,
    env,
    io::{self, BufRead, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::Failure;

/// The soak's side.
pub(super) struct Guard(Mutex<Child>);

impl Guard {
    /// Starts it, in a group of its own: what a terminal sends to the soak is not for it.
    ///
    /// # Errors
    /// If this program cannot be started again.
    pub(super) fn start() -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("soak-guard").process_group(0).stdin(Stdio::piped());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self(Mutex::new(child)))
    }

    pub(super) fn begun(&self, group: u32) {
        self.say('+', group);
    }

    pub(super) fn over(&self, group: u32) {
        self.say('-', group);
    }

    fn say(&self, what: char, group: u32) {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(to) = &mut child.stdin {
            // A guard that has gone guards nothing; the runs go on all the same.
            // In one piece, so that no line is ever cut.
            let _gone = to.write_all(format!("{what} {group}\n").as_bytes());
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Closes its standard input first, which is its end.
        let _reaped = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).wait();
    }
}

/// The guard's side: listens until the soak is gone, then kills what is left.
pub(crate) fn run() -> Result<(), Failure> {
    left(io::stdin().lock())?.into_iter().for_each(kill);
    Ok(())
}

/// Ends a group of processes.
pub(super) fn kill(group: u32) {
    if let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) {
        // Whoever has ended by itself is none to kill.
        let _gone = kill_process_group(group, Signal::KILL);
    }
}

/// The groups that were begun and are not over.
fn left(said: impl BufRead) -> io::Result<BTreeSet<u32>> {
    let mut groups = BTreeSet::new();
    for line in said.lines() {
        let line = line?;
        let Some((what, group)) = line.split_once(' ') else { continue };
        // 0 and 1 are not groups that a run has.
        let Some(group) = group.parse().ok().filter(|group| *group > 1) else { continue };
        match what {
            "+" => groups.insert(group),
            "-" => groups.remove(&group),
            _ => false,
        };
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::left;

    #[test]
    fn what_was_begun_and_is_not_over_is_left() {
        let said = "+ 5\n+ 70\n- 5\n+ 6\n+ 1\n+ -1\n+ 0\n? 9\n+ x\n\n";
        assert_eq!(left(said.as_bytes()).unwrap(), [6, 70].into());
    }
}
