//! The arguments of every command.

use std::{ops::RangeInclusive, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "\
Exit codes:
  0    clean
  1    only what opening the log heals by itself (unproven tail, stale temporary file)
  2    usage
  3    damage that needs an operator
  4    I/O error, or not a log
  7    written by a newer version
  130  interrupted
A closed pipe is silent success.
Nothing is ever written, and no lock is taken: it may be pointed at a node that runs.";

/// Looks at a hardlog directory: what is in it, whether it is whole, and what to do if not.
#[derive(Debug, Parser)]
#[command(
    name = "wal-tool",
    version,
    after_help = EXIT_CODES,
    args_conflicts_with_subcommands = true,
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
    #[command(after_help = EXIT_CODES)]
    Status {
        /// The log's directory.
        dir: PathBuf,
    },
    /// The log itself, row by row; goes on past damage and shows it as a row.
    #[command(after_help = EXIT_CODES)]
    Dump(DumpArgs),
    /// Reads and checks everything: framing, checksums, chain, terms, index files, snapshots.
    #[command(after_help = EXIT_CODES)]
    Verify(VerifyArgs),
    /// What a finding's code means, how dangerous it is, and what to do.
    Explain {
        /// A code such as W202; `all` for every one of them.
        code: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The log's directory.
    pub(crate) dir: PathBuf,
    /// Read only what an open reads: headers, index files, the last segment, ends of snapshots.
    #[arg(long)]
    pub(crate) quick: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DumpArgs {
    /// The log's directory.
    pub(crate) dir: PathBuf,
    /// Only entries with these indexes, both ends included: `7`, `40..60`, `40..`, `..60`.
    #[arg(value_parser = indexes, value_name = "A..B")]
    pub(crate) indexes: Option<RangeInclusive<u64>>,
    /// Only entries of this term.
    #[arg(long)]
    pub(crate) term: Option<u64>,
    /// Only this segment, also one that the log no longer needs.
    #[arg(long)]
    pub(crate) segment: Option<u64>,
    /// Only the last so many entries.
    #[arg(long, value_name = "N")]
    pub(crate) tail: Option<u64>,
    /// Show the batches too, each before what it holds.
    #[arg(long)]
    pub(crate) batches: bool,
    /// How payloads are shown; without it their beginning, as text (as base64 in JSON).
    #[arg(long, value_enum)]
    pub(crate) value: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Value {
    /// Not at all.
    None,
    /// As text; what is no text is escaped.
    Utf8,
    /// Two digits a byte.
    Hex,
    /// RFC 4648.
    Base64,
}

/// Reads `7`, `40..60`, `40..` or `..60`.
fn indexes(text: &str) -> Result<RangeInclusive<u64>, String> {
    let number = |text: &str| {
        let digits: String = text.chars().filter(|c| !matches!(c, ' ' | '_' | ',')).collect();
        digits.parse::<u64>().map_err(|e| format!("{text:?}: {e}"))
    };
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
