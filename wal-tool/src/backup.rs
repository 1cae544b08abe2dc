//! `backup` and `restore`: a log's files, with a list of what they were.
//!
//! ```text
//!   PATH/manifest.json    every file: length, CRC-32
//!   PATH/log/             the files, as they lay
//! ```

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use hardlog::{
    backup::{Backup, CopiedFile, backup},
    fs::disk::DiskFs,
    inspect::{self, VerifyOptions},
};
use serde_json::{Value, json};

use crate::{
    exit::{self, DAMAGED, Ended, Failure},
    json, next, number,
    out::Out,
    place::Fresh,
};

/// The list of files, beside them.
const MANIFEST: &str = "manifest.json";
/// Where the files lie.
const FILES: &str = "log";
/// Longest list of files that is read.
const MANIFEST_MAX: u64 = 64 << 20;

/// What `backup` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct BackupArgs {
    /// The log's directory; a process may have it open.
    pub(crate) dir: PathBuf,
    /// Where the backup goes; it must not exist, or be empty.
    pub(crate) to: PathBuf,
}

/// What `restore` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct RestoreArgs {
    /// What `backup` made.
    pub(crate) backup: PathBuf,
    /// The directory of the log; it must not exist, or be empty.
    pub(crate) dir: PathBuf,
}

/// Copies a log away.
pub(crate) fn run_backup(args: &BackupArgs, out: &mut Out) -> Ended {
    let fresh = Fresh::new(&args.to)?;
    let to = fresh.path().join(FILES);
    let from = DiskFs::new(&args.dir);
    let made = copied(&from, &DiskFs::new(&to), inspect::look(&from)?.bytes(), out)?;
    let code = made.report.outcome().code();
    let manifest = json!({
        "schema": "wal-tool.manifest/1",
        "log": made.report.summary.log_id.map(|id| id.to_string()),
        "verdict": made.report.outcome().name().to_lowercase(),
        "files": made.files.iter().map(file).collect::<Vec<_>>(),
    });
    write_manifest(&fresh.path().join(MANIFEST), &manifest)?;
    fresh.done()?;
    if out.human() {
        said(&made, "copied to", &args.to, out)?;
        if code == DAMAGED {
            out.line("  The log is damaged, and so is the copy: the damage was copied with it.")?;
            out.line(&format!("  next: {}", next::repair_said(&args.dir)))?;
        }
        let (to, dir) = (next::typed(&args.to), next::typed(&args.dir));
        out.line(&format!(
            "  back again: wal-tool restore {to} NEW-DIRECTORY   (never over {dir})"
        ))?;
    } else {
        let mut object = json::tagged("wal-tool.backup/1", manifest);
        object["schema"] = json!("wal-tool.backup/1");
        object["exit"] = json!(code);
        object["dir"] = json!(args.dir.display().to_string());
        object["to"] = json!(args.to.display().to_string());
        out.object(&object)?;
    }
    Ok(code)
}

fn copied(from: &DiskFs, to: &DiskFs, total: u64, out: &mut Out) -> Result<Backup, Failure> {
    let mut done = 0;
    out.step((done, total), "");
    let made = backup(from, to, &mut |file| {
        done += file.len;
        out.step((done, total), &file.name);
    });
    out.still();
    Ok(made?)
}

fn file(file: &CopiedFile) -> Value {
    json!({
        "dir": file.dir.name(),
        "name": file.name,
        "len": file.len,
        "crc": format!("{:08x}", file.crc),
    })
}

fn write_manifest(path: &Path, manifest: &Value) -> Result<(), Failure> {
    let failed = |e| Failure::Io(format!("write {}: {e}", path.display()));
    let mut to = fs::File::create_new(path).map_err(failed)?;
    writeln!(to, "{manifest:#}").map_err(failed)?;
    // DURABILITY: before the backup gets its name: without the list no restore believes it.
    to.sync_all().map_err(failed)
}

fn said(made: &Backup, how: &str, path: &Path, out: &mut Out) -> std::io::Result<()> {
    let files = number::count(made.files.len() as u64, "file");
    let size = number::size(made.bytes());
    out.line(&format!("{files}, {size} {how} {}", path.display()))
}

/// Brings a backup back as a new directory.
pub(crate) fn run_restore(args: &RestoreArgs, out: &mut Out) -> Ended {
    let path = args.backup.join(MANIFEST);
    let listed = read_manifest(&path)?;
    let fresh = Fresh::new(&args.dir)?;
    let from = DiskFs::new(args.backup.join(FILES));
    let total = listed["files"].as_array().into_iter().flatten();
    let total = total.filter_map(|file| file["len"].as_u64()).fold(0, u64::saturating_add);
    let made = copied(&from, &DiskFs::new(fresh.path()), total, out)?;
    let mut copied: Vec<Value> = made.files.iter().map(file).collect();
    let mut wanted: Vec<Value> = listed["files"].as_array().cloned().unwrap_or_default();
    for list in [&mut copied, &mut wanted] {
        list.sort_by_key(|row| (row["dir"].to_string(), row["name"].to_string()));
    }
    if copied != wanted {
        let bad = copied.iter().find(|row| !wanted.contains(row));
        let bad = bad.or_else(|| wanted.iter().find(|row| !copied.contains(row)));
        let name = bad.and_then(|row| row["name"].as_str()).unwrap_or("a file").to_owned();
        return Err(Failure::Damaged(format!(
            "the backup is not as it was made: {name} differs from {}; nothing was restored",
            path.display()
        )));
    }
    let options = VerifyOptions::new();
    let report = inspect::verify(&DiskFs::new(fresh.path()), options, &mut |at| out.progress(at))?;
    out.still();
    fresh.done()?;
    let code = report.outcome().code();
    if out.human() {
        said(&made, "restored to", &args.dir, out)?;
        out.line(&format!("  {}", report.outcome().name().to_lowercase()))?;
        out.line("  It is as old as the backup: votes and entries since then are forgotten.")?;
        out.line("  Do not let it vote under its old name while the others run; rebuild it")?;
        out.line("  from them, or bring all of them back from backups of one moment.")?;
    } else {
        out.object(&json!({
            "schema": "wal-tool.restore/1",
            "exit": code,
            "dir": args.dir.display().to_string(),
            "verdict": report.outcome().name().to_lowercase(),
            "files": made.files.len(),
            "bytes": made.bytes(),
        }))?;
    }
    Ok(code)
}

fn read_manifest(path: &Path) -> Result<Value, Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::Io(format!("read {}: {e}", path.display()));
    let found = fs::symlink_metadata(path).map_err(|e| failed(&e))?;
    if !found.is_file() || found.len() > MANIFEST_MAX {
        return Err(failed(&"no list of a backup"));
    }
    let text = fs::read(path).map_err(|e| failed(&e))?;
    let manifest: Value = serde_json::from_slice(&text).map_err(|e| failed(&e))?;
    if manifest["schema"] != "wal-tool.manifest/1" {
        return Err(failed(&"no list of a backup, or one of another version"));
    }
    Ok(manifest)
}
