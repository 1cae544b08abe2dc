//! On a terminal: the question before a plan is applied, Ctrl-C, the line of progress, colour, and
//! what fits into 80 columns.
//!
//! The terminal is a pseudo one, and `setsid --ctty` makes it the tool's own, so that a Ctrl-C that is
//! typed arrives as a signal, as it does for a person.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::{TOOL, directories as made, text, tool};

/// Longer than that nothing here takes, on whatever machine.
const LONG: Duration = Duration::from_secs(60);
const CTRL_C: &str = "\x03";

/// The tool on a terminal of its own.
pub(crate) struct Terminal {
    child: Child,
    master: File,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    fn new(dir: &Path, arguments: &str) -> Self {
        Self::with(dir, arguments, |_| {})
    }

    pub(crate) fn with(dir: &Path, arguments: &str, change: impl FnOnce(&mut Command)) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("a terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("sized");
        let name = ptsname(&master, Vec::new()).expect("named").into_string().expect("text");
        let slave =
            || Stdio::from(OpenOptions::new().read(true).write(true).open(&name).expect("opens"));
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(TOOL).args(arguments.split_whitespace()).current_dir(dir);
        command.env("TERM", "xterm").env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
        command.stdin(slave()).stdout(slave()).stderr(slave());
        change(&mut command);
        let child = command.spawn().expect("there is setsid");
        // It holds the terminal open in this process too.
        drop(command);
        let master = File::from(master);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let reader = thread::spawn({
            let (mut from, shown) = (master.try_clone().expect("cloned"), Arc::clone(&shown));
            move || {
                let mut buffer = [0; 4096];
                // Linux says EIO where the last one who had it open is gone.
                while let Ok(n @ 1..) = from.read(&mut buffer) {
                    shown.lock().expect("held").extend_from_slice(&buffer[..n]);
                }
            }
        });
        Self { child, master, shown, reader }
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("held")).into_owned()
    }

    /// Waits until `words` are on the screen.
    pub(crate) fn await_words(&self, words: &str) {
        let begun = Instant::now();
        while !self.screen().contains(words) {
            assert!(begun.elapsed() < LONG, "no {words:?} on the screen: {}", self.screen());
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn type_in(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("typed");
    }

    /// The exit code, and everything that was shown.
    pub(crate) fn end(mut self) -> (i32, String) {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("waited for") {
                break status;
            }
            if begun.elapsed() > LONG {
                self.child.kill().expect("killed");
                panic!("it does not end: {}", self.screen());
            }
            thread::sleep(Duration::from_millis(5));
        };
        self.reader.join().expect("read");
        let code = status.code().unwrap_or_else(|| panic!("killed by a signal: {status}"));
        (code, String::from_utf8_lossy(&self.shown.lock().expect("held")).into_owned())
    }
}

/// What stands on the screen in the end: a line of progress takes itself away again.
pub(crate) fn screen_of(shown: &str) -> String {
    let line = |line: &str| {
        let line = line.trim_end_matches('\r');
        line.rsplit("\x1b[2K").next().unwrap_or(line).trim_start_matches('\r').to_owned() + "\n"
    };
    shown.lines().map(line).collect()
}

/// Every file with its bytes, but for the lock, which a repair takes before it asks.
fn shape(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for sub in ["", "snapshots", "tmp", "quarantine"] {
        for entry in fs::read_dir(dir.join(sub)).into_iter().flatten() {
            let path = entry.expect("read").path();
            if path.is_file() && !path.ends_with("LOCK") {
                all.push((path.display().to_string(), fs::read(&path).expect("read")));
            }
        }
    }
    all.sort();
    all
}

#[test]
fn a_plan_is_asked_about_and_done_only_for_a_yes() {
    let home = tempfile::tempdir().expect("a directory");
    made::lay(&made::torn(), &home.path().join("n1"));
    let before = shape(&home.path().join("n1"));
    for answer in ["no\n", "\n", "y\n", "\x04"] {
        let mut terminal = Terminal::new(home.path(), "repair n1 --apply");
        terminal.await_words("Type yes:");
        terminal.type_in(answer);
        let (code, screen) = terminal.end();
        assert_eq!(code, 6, "{answer:?}: {screen}");
        assert!(screen.contains("nothing was changed"), "{screen}");
        assert_eq!(shape(&home.path().join("n1")), before, "{answer:?}");
    }
    let mut terminal = Terminal::new(home.path(), "repair n1 --apply");
    terminal.await_words("Type yes:");
    terminal.type_in("yes\n");
    let (code, screen) = terminal.end();
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("after verifying everything"), "{screen}");
    assert_eq!(crate::code(&tool(home.path(), "verify n1")), 0);
}

#[test]
fn without_a_terminal_nobody_is_asked() {
    let home = tempfile::tempdir().expect("a directory");
    made::lay(&made::torn(), &home.path().join("n1"));
    // Neither where only the answer would come from one.
    let quiet = |command: &mut Command| {
        command.stderr(Stdio::null());
    };
    let (code, screen) = Terminal::with(home.path(), "repair n1 --apply", quiet).end();
    assert_eq!((code, screen.contains("Type yes")), (6, false), "{screen}");
    assert_eq!(crate::code(&tool(home.path(), "repair n1 --apply")), 6);
    assert_eq!(crate::code(&tool(home.path(), "repair n1 --apply --yes")), 6);
    // Nor where a program reads the answer, and there a yes in advance is none either.
    for arguments in ["repair n1 --apply --json", "repair n1 --apply --json --yes"] {
        let (code, screen) = Terminal::new(home.path(), arguments).end();
        assert_eq!((code, screen.contains("Type yes")), (6, false), "{screen}");
    }
    let (code, screen) = Terminal::new(home.path(), "repair n1 --apply --yes").end();
    assert_eq!((code, screen.contains("Type yes")), (0, false), "{screen}");
}

#[test]
fn a_plan_that_a_rail_refuses_is_shown_and_not_asked_about() {
    let home = tempfile::tempdir().expect("a directory");
    made::lay(&made::rotten(), &home.path().join("n1"));
    let before = shape(&home.path().join("n1"));
    for loss in ["", "--accept-loss 200..599", "--yes"] {
        let (code, screen) = Terminal::new(home.path(), &format!("repair n1 --apply {loss}")).end();
        assert_eq!((code, screen.contains("Type yes")), (6, false), "{loss}: {screen}");
        assert!(screen.contains("--accept-loss 200..600"), "{loss}: {screen}");
        assert_eq!(shape(&home.path().join("n1")), before, "{loss}");
    }
}

#[test]
fn ctrl_c_at_the_question_changes_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    made::lay(&made::rotten(), &home.path().join("n1"));
    let before = shape(&home.path().join("n1"));
    let mut terminal = Terminal::new(home.path(), "repair n1 --apply --accept-loss 200..600");
    terminal.await_words("Type yes:");
    terminal.type_in(CTRL_C);
    let (code, screen) = terminal.end();
    assert_eq!(code, 130, "{screen}");
    assert_eq!(shape(&home.path().join("n1")), before);
    assert_eq!(fs::read_dir(home.path()).expect("listed").count(), 1, "a backup was begun");
}

/// Who does not want to wait even then types it again, and later the command again.
#[test]
fn a_second_ctrl_c_stops_at_once_and_the_same_command_goes_on() {
    let command = "repair n1 --apply --accept-loss 200..600 --yes";
    for at in 0..6_u64 {
        let home = tempfile::tempdir().expect("a directory");
        made::lay(&made::rotten(), &home.path().join("n1"));
        let mut terminal = Terminal::new(home.path(), command);
        terminal.await_words("backup, repair");
        thread::sleep(Duration::from_millis(at * 3));
        terminal.type_in(CTRL_C);
        terminal.type_in(CTRL_C);
        let (code, screen) = terminal.end();
        assert!([130, 0, 1].contains(&code), "{at}: {code}: {screen}");
        // Cut off before its new segment has a name it has everything to do, then the rest or nothing.
        let (code, screen) = Terminal::new(home.path(), command).end();
        let rest = Terminal::new(home.path(), "repair n1 --apply --yes");
        let (rest, more) = rest.end();
        assert!([0, 1, 6].contains(&code) && rest <= 1, "{at}: {code} {rest}: {screen}{more}");
        assert!(crate::code(&tool(home.path(), "verify n1")) <= 1, "{at}: {screen}{more}");
    }
}

/// Whenever it comes: the plan was applied whole, or nothing was changed.
#[test]
fn ctrl_c_while_a_plan_is_applied_leaves_nothing_half_done() {
    let (mut cut, mut done) = (0, 0);
    for at in 0..14_u64 {
        let home = tempfile::tempdir().expect("a directory");
        let dir = home.path().join("n1");
        made::lay(&made::rotten(), &dir);
        let before = shape(&dir);
        let mut terminal = Terminal::new(home.path(), "repair n1 --apply --accept-loss 200..600");
        terminal.await_words("Type yes:");
        terminal.type_in("yes\n");
        thread::sleep(Duration::from_micros(at * at * 300));
        terminal.type_in(CTRL_C);
        let (code, screen) = terminal.end();
        let verified = crate::code(&tool(home.path(), "verify n1"));
        if shape(&dir) == before {
            assert_eq!((code, verified), (130, 3), "{at}: {screen}");
            cut += 1;
        } else {
            // 1: the log says from where on entries may be lost.
            assert!(verified <= 1 && [0, 1, 130].contains(&code), "{at}: {code}: {screen}");
            assert!(dir.join("quarantine").read_dir().expect("listed").count() > 4, "{at}");
            assert_eq!(fs::read_dir(dir.join("tmp")).expect("listed").count(), 0, "{at}");
            done += 1;
        }
    }
    assert!(done > 0, "{cut} were cut off and {done} done");
}

#[test]
fn ctrl_c_removes_what_was_being_made() {
    let home = tempfile::tempdir().expect("a directory");
    made::lay(&made::healthy(), &home.path().join("n1"));
    let lines = tool(home.path(), "export n1").stdout;
    // An import that waits for more.
    let mut terminal = Terminal::new(home.path(), "import new");
    for line in text(&lines).lines().take(3) {
        // A terminal takes 4 095 bytes a line.
        if line.len() < 4000 {
            terminal.type_in(&format!("{line}\n"));
        }
    }
    let begun = Instant::now();
    while !home.path().join("new.partial").exists() {
        assert!(begun.elapsed() < LONG, "{}", terminal.screen());
        thread::sleep(Duration::from_millis(5));
    }
    terminal.type_in(CTRL_C);
    let (code, screen) = terminal.end();
    assert_eq!(code, 130, "{screen}");
    assert!(!home.path().join("new.partial").exists() && !home.path().join("new").exists());
    // And one that only looks just ends.
    let mut terminal = Terminal::new(home.path(), "dump n1 --follow");
    terminal.await_words("key-600");
    terminal.type_in(CTRL_C);
    assert_eq!(terminal.end().0, 130);
}

#[test]
fn progress_is_shown_on_a_terminal_and_nowhere_else() {
    let home = tempfile::tempdir().expect("a directory");
    made::lay(&made::healthy(), &home.path().join("n1"));
    let lines = tool(home.path(), "export n1").stdout;
    fs::write(home.path().join("n1.ndjson"), lines).expect("writes");
    let commands = [
        "verify n1 --json",
        "ls n1",
        "backup n1 kept",
        "restore kept back",
        "import again n1.ndjson",
        "export n1 -o copy.ndjson",
        "repair n1",
        "recover n1 --output saved",
        "diff n1 again",
        "stats n1",
    ];
    for command in commands {
        let nowhere = |command: &mut Command| {
            command.stdout(Stdio::null());
        };
        let (code, screen) = Terminal::with(home.path(), command, nowhere).end();
        assert_eq!(code, 0, "{command}: {screen}");
        assert!(screen.contains(" % ") || screen.contains("wal-tool: "), "{command}: {screen:?}");
        assert!(!screen.contains("\x1b[1A"), "{command}: it takes more than a line: {screen:?}");
        // It takes itself away again.
        assert!(screen.trim_end().ends_with("\x1b[2K"), "{command}: {screen:?}");
    }
    for command in ["verify n1 --json", "stats n1"] {
        let output = tool(home.path(), command);
        assert!(output.stderr.is_empty(), "{command}: {output:?}");
        assert!(!text(&output.stdout).contains("\x1b"), "{command}");
    }
}

#[test]
fn a_terminal_gets_colour_and_eighty_columns_hold_everything() {
    let home = tempfile::tempdir().expect("a directory");
    made::lay(&made::rotten(), &home.path().join("n1"));
    for (at, disk) in made::cluster().iter().enumerate() {
        made::lay(disk, &home.path().join(format!("r{at}")));
    }
    let commands = [
        "verify n1",
        "status n1",
        "ls n1",
        "stats n1",
        "get n1 310 --value none",
        "explain all",
        "diff r0 r1 r2",
    ];
    for command in commands {
        let (_, screen) = Terminal::new(home.path(), command).end();
        let has_colour = screen.contains("\x1b[1m") || screen.contains("\x1b[2m");
        assert!(has_colour || command.starts_with("get"), "{command}: {screen:?}");
        for line in text(&tool(home.path(), command).stdout).lines() {
            assert!(line.chars().count() <= 80, "{command}: {line}");
        }
        let quiet = |command: &mut Command| {
            command.env("NO_COLOR", "1");
        };
        let (_, screen) = Terminal::with(home.path(), command, quiet).end();
        assert!(!screen.contains("\x1b[1m"), "{command}: {screen:?}");
    }
}
