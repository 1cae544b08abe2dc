//! The sessions of the README that are more than one command: what a new operator types, in a shell and
//! at a terminal, is typed here again and shows the same.
//!
//! A block that begins with ```` ```console ```` is run line by line by bash, in a directory with the
//! same logs as the samples, where `wal-tool` is the program under test. One that begins with
//! ```` ```terminal ```` is run on a pseudo terminal of 80 columns, and questions are answered with yes.
//! `UPDATE_SAMPLES=1` writes what they show now; read the difference then.

use std::{env, fs, path::Path, process::Command};

use crate::{
    TOOL, directories as made,
    samples::settled,
    terminal::{Terminal, screen_of},
    text,
};

/// One command of a session, and what it shows.
struct Step<'a> {
    command: &'a str,
    shows: String,
}

/// The steps of a block; lines in front of the first command are no part of it.
fn steps(block: &str) -> Vec<Step<'_>> {
    let mut all: Vec<Step<'_>> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), all.last_mut()) {
            (Some(command), _) => all.push(Step { command, shows: String::new() }),
            (None, Some(step)) => {
                step.shows.push_str(line);
                step.shows.push('\n');
            }
            (None, None) => {}
        }
    }
    all
}

/// The logs that the sessions look at.
fn laid(home: &Path) {
    for name in ["healthy", "n2"] {
        made::lay(&made::healthy(), &home.join(name));
    }
    made::lay(&made::rotten(), &home.join("n1"));
    made::lay(&made::torn(), &home.join("torn"));
    let programs = home.join("programs");
    fs::create_dir(&programs).expect("makes");
    std::os::unix::fs::symlink(TOOL, programs.join("wal-tool")).expect("links");
}

/// What a shell shows, standard error behind standard output where both speak.
fn typed(home: &Path, command: &str) -> String {
    let path = format!("{}:{}", home.join("programs").display(), env::var("PATH").expect("set"));
    let output = Command::new("bash")
        .args(["-c", &format!("exec 2>&1\n{command}")])
        .current_dir(home)
        .env("PATH", path)
        .env("LC_ALL", "C.UTF-8")
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .output()
        .expect("there is bash");
    text(&output.stdout)
}

fn at_a_terminal(home: &Path, command: &str) -> String {
    let words = command.strip_prefix("wal-tool ").expect("the tool alone runs at a terminal");
    let mut terminal = Terminal::with(home, words, |command| {
        command.env("NO_COLOR", "1");
    });
    if words.contains("--apply") && !words.contains("--yes") {
        terminal.await_words("Type yes:");
        terminal.type_in("yes\n");
    }
    screen_of(&terminal.end().1)
}

#[test]
fn the_sessions_of_the_readme_show_what_is_shown() {
    let jq = Command::new("jq").arg("--version").output().is_ok_and(|out| out.status.success());
    if !jq {
        assert!(env::var_os("HARDLOG_REQUIRE_PROGRAMS").is_none(), "there is no jq");
        eprintln!("skipped: what needs jq in the sessions of the README");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let _alone = crate::README.lock();
    let readme = fs::read_to_string(&path).expect("a README");
    let home = tempfile::tempdir().expect("a directory");
    laid(home.path());
    let (mut now, mut commands) = (readme.clone(), 0);
    for block in readme.split("\n```").filter(|block| block.contains("\n$ ")) {
        let (kind, _) = block.split_once('\n').expect("a line");
        if !["console", "terminal"].contains(&kind) {
            continue;
        }
        let mut shown = format!("{kind}\n");
        for step in steps(block) {
            commands += 1;
            let says = match kind {
                _ if step.command.contains("jq") && !jq => step.shows,
                "terminal" => settled(&at_a_terminal(home.path(), step.command)),
                _ => settled(&typed(home.path(), step.command)),
            };
            let step = format!("$ {}\n{says}", step.command);
            for line in step.lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
            shown.push_str(&step);
        }
        now = now.replace(block, shown.trim_end_matches('\n'));
    }
    assert!(commands >= 12, "only {commands} commands");
    if env::var_os("UPDATE_SAMPLES").is_some() {
        return fs::write(&path, &now).expect("writes");
    }
    assert!(now == readme, "the README shows something else; now it is\n{now}");
}
