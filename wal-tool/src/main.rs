//! `wal-tool`: what an operator holds in hand when a node does not start.
//!
//! ```text
//!   args ─▶ one file per command ─▶ hardlog::inspect (looking) · hardlog (the rest)
//!                  └─▶ out, json, number, table: how it is said;  exit: how it ends
//! ```
//!
//! Everything that it knows comes from the engine; here are the arguments, the words and the exit
//! codes. What looks takes no lock and writes nothing, so it may be pointed at a node that runs, at a
//! read-only mount, and at evidence. What writes says so in its help.

mod args;
mod backup;
mod bench_disk;
mod bundle;
mod corrupt;
mod decode;
mod diff;
mod dump;
mod exit;
mod explain;
mod export;
mod get;
mod hex;
mod import;
mod interrupt;
mod json;
mod ls;
mod meta;
mod mount;
mod next;
mod number;
mod out;
mod place;
mod recover;
mod repair;
mod schema;
mod snapshot;
mod source;
mod stats;
mod status;
mod table;
mod tar;
mod trim;
mod truncate;
mod verify;

use std::{io::Write, process::ExitCode};

use clap::Parser;

use crate::{
    args::{Arguments, Command, Format},
    exit::{Ended, Failure},
    out::Out,
};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(e) => return misread(&e),
    };
    interrupt::listen();
    let mut out = Out::new(&arguments.output);
    let ended = run(arguments, &mut out).and_then(|code| {
        out.finish()?;
        Ok(code)
    });
    let code = ended.unwrap_or_else(|failure| fail(&failure, &mut out));
    ExitCode::from(if interrupt::asked() { exit::INTERRUPTED } else { code })
}

/// Help, the version, or what is wrong with the arguments; programs get that as an object too.
fn misread(error: &clap::Error) -> ExitCode {
    let code = u8::try_from(error.exit_code()).unwrap_or(exit::USAGE);
    // Nobody can be told if that fails.
    let _ = error.print();
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let json = asked.iter().any(|word| matches!(&**word, "--json" | "--format=json"));
    let lines = asked.iter().any(|word| word == "--format=ndjson");
    let format = asked.windows(2).find(|two| two[0] == "--format").map(|two| two[1].as_str());
    if code != exit::CLEAN && (json || lines || matches!(format, Some("json" | "ndjson"))) {
        let text = error.to_string();
        let text = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        // Nor if this does.
        let _ = writeln!(std::io::stdout(), "{}", error_object(code, text));
    }
    ExitCode::from(code)
}

fn error_object(code: u8, text: &str) -> serde_json::Value {
    serde_json::json!({ "schema": "wal-tool.error/1", "exit": code, "error": text })
}

/// Says why, to people on standard error and to programs where they look for results.
fn fail(failure: &Failure, out: &mut Out) -> u8 {
    let (code, text) = failure.says();
    let Some(text) = text else { return code };
    out.still();
    eprintln!("wal-tool: {text}");
    if out.format != Format::Human {
        // It was said above; a pipe that is closed by now is no news.
        let _ = out.object(&error_object(code, &text)).and_then(|()| out.finish());
    }
    code
}

fn run(arguments: Arguments, out: &mut Out) -> Ended {
    match (arguments.command, arguments.dir) {
        (Some(_), Some(dir)) => {
            let dir = dir.display();
            Err(Failure::Usage(format!("the command comes first, then {dir}: wal-tool --help")))
        }
        (Some(Command::Status(args)), _) => status::run(&args.dir, out),
        (None, Some(dir)) => status::run(&dir, out),
        (Some(Command::Verify(args)), _) => verify::run(&args, out),
        (Some(Command::Ls(args)), _) => ls::run(&args, out),
        (Some(Command::Get(args)), _) => get::run(&args, out),
        (Some(Command::Hex(args)), _) => hex::run(&args, out),
        (Some(Command::Stats(args)), _) => stats::run(&args, out),
        (Some(Command::Diff(args)), _) => diff::run(&args, out),
        (Some(Command::Dump(args)), _) => dump::run(&args, out),
        (Some(Command::Export(args)), _) => export::run(&args, out),
        (Some(Command::Import(args)), _) => import::run(&args, out),
        (Some(Command::Snapshot(args)), _) => snapshot::run(&args, out),
        (Some(Command::Bundle(args)), _) => bundle::run(&args, out),
        (Some(Command::Backup(args)), _) => backup::run_backup(&args, out),
        (Some(Command::Restore(args)), _) => backup::run_restore(&args, out),
        (Some(Command::Repair(args)), _) => repair::run(&args, out),
        (Some(Command::Recover(args)), _) => recover::run(&args, out),
        (Some(Command::Truncate(args)), _) => truncate::run(&args, out),
        (Some(Command::Trim(args)), _) => trim::run(&args, out),
        (Some(Command::Corrupt(args)), _) => corrupt::run(&args, out),
        (Some(Command::BenchDisk(args)), _) => bench_disk::run(&args, out),
        (Some(Command::Explain(args)), _) => explain::run(&args.code, out),
        (Some(Command::Completions(args)), _) => meta::completions(&args, out),
        (Some(Command::Man), _) => meta::man(out),
        (Some(Command::Schema(args)), _) => schema::run(&args, out),
        (None, None) => Err(Failure::Usage("which directory? See wal-tool --help".to_owned())),
    }
}
