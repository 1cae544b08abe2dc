//! The command line as a whole: the commands, and what all of them take. What one command takes
//! stands in its own file.

use std::{ops::RangeInclusive, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    backup, bench_disk, bundle, corrupt, diff, dump, exit, explain, export, get, hex, import, ls,
    meta, recover, repair, schema, snapshot, stats, status, trim, truncate, verify,
};

/// Looks at a hardlog directory: what is in it, whether it is whole, and what to do if not.
#[derive(Debug, Parser)]
#[command(
    name = "wal-tool",
    version,
    after_help = exit::CODES,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Arguments {
    /// The log's directory; the same as `wal-tool status DIR`.
    pub(crate) dir: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// How results are printed.
#[derive(Debug, Args)]
pub(crate) struct Output {
    /// For people, as one JSON object, or as one JSON object a line.
    #[arg(long, value_enum, default_value_t, global = true)]
    pub(crate) format: Format,
    /// The same as --format json.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Colour; `auto` heeds NO_COLOR, CLICOLOR_FORCE and whether a terminal listens.
    #[arg(long, value_enum, default_value_t, global = true)]
    pub(crate) color: Colour,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Human,
    /// One object.
    Json,
    /// A row a line, and a closing summary.
    Ndjson,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// Where a terminal listens.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// One screen: who has it open, what is in it, and a quick verdict.
    Status(status::Args),
    /// A row for each segment, or for each snapshot file.
    Ls(ls::Args),
    /// One entry, with everything that is known of it.
    Get(get::Args),
    /// The bytes of a header or a batch, each field named, stored and computed CRC side by side.
    Hex(hex::Args),
    /// Entries and bytes by term and kind, their sizes, truncations, what a trim would free.
    Stats(stats::Args),
    /// Replicas compared: what they share, where they differ, whether Log Matching holds.
    Diff(diff::Args),
    /// The log itself, row by row; goes on past damage and shows it as a row.
    Dump(dump::Args),
    /// Reads and checks everything: framing, checksums, chain, terms, index files, snapshots.
    Verify(verify::Args),
    /// Snapshot files: listed, shown, verified, exported, imported.
    Snapshot(snapshot::Args),
    /// The log as lines of JSON, from which `import` makes an equal one.
    Export(export::Args),
    /// Makes a new log of what `export` wrote.
    Import(import::Args),
    /// Copies the log's files, also of a log that is open, with a list of their checksums.
    Backup(backup::BackupArgs),
    /// One file to send: what the commands that look say, and, without --redact, the log's files.
    Bundle(bundle::Args),
    /// Makes a new directory of a backup, and verifies it.
    Restore(backup::RestoreArgs),
    /// A plan of what can be done about damage and what would be lost; writes only with --apply.
    Repair(repair::Args),
    /// Salvages every entry that is whole into a new directory; the old one is not touched.
    Recover(recover::Args),
    /// Drops the end of a log, by a plan as of `repair`; writes only with --apply.
    Truncate(truncate::Args),
    /// Drops the front of a log, by a plan as of `repair`; writes only with --apply.
    Trim(trim::Args),
    /// WRITES damage into a log, for drills; only where a file `.lab` stands.
    Corrupt(corrupt::Args),
    /// How long a write and its fdatasync take, and whether that suits Raft; writes a file.
    BenchDisk(bench_disk::Args),
    /// What a finding's code means, how dangerous it is, and what to do.
    Explain(explain::Args),
    /// A script that completes commands and options in a shell.
    Completions(meta::CompletionsArgs),
    /// The manual page, as roff.
    #[command(after_help = exit::CODES)]
    Man,
    /// JSON Schema of everything that is printed with --format json and ndjson.
    Schema(schema::Args),
}

/// Reads a number that may be grouped.
pub(crate) fn number(text: &str) -> Result<u64, String> {
    let digits: String = text.chars().filter(|c| !matches!(c, ' ' | '_' | ',')).collect();
    digits.parse::<u64>().map_err(|e| format!("{text:?}: {e}"))
}

/// Reads `7`, `40..60`, `40..` or `..60`.
pub(crate) fn indexes(text: &str) -> Result<RangeInclusive<u64>, String> {
    let Some((low, high)) = text.split_once("..") else {
        return number(text).map(|index| index..=index);
    };
    let low = if low.is_empty() { 0 } else { number(low)? };
    let high = high.strip_prefix('=').unwrap_or(high);
    let high = if high.is_empty() { u64::MAX } else { number(high)? };
    if low > high {
        return Err(format!("{low} lies behind {high}"));
    }
    Ok(low..=high)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn ranges_are_read_as_they_are_printed() {
        assert_eq!(indexes("7"), Ok(7..=7));
        assert_eq!(indexes("40 001..48 230"), Ok(40_001..=48_230));
        assert_eq!(indexes("40..=60"), Ok(40..=60));
        assert_eq!(indexes("40.."), Ok(40..=u64::MAX));
        assert_eq!(indexes("..60"), Ok(0..=60));
        for bad in ["", "x", "9..8", "1..x"] {
            assert!(indexes(bad).is_err(), "{bad}");
        }
    }
}
