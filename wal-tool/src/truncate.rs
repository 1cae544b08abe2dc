//! `truncate`: drops the end of a log, by a plan.

use std::path::PathBuf;

use hardlog::repair::Ask;

use crate::{
    args::number,
    exit::{self, Ended},
    next,
    out::Out,
    repair::{Apply, plan_or_apply},
};

/// What `truncate` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct Args {
    /// The log's directory.
    pub(crate) dir: PathBuf,
    /// The last entry that stays.
    #[arg(long, value_parser = number, value_name = "N")]
    pub(crate) after: u64,
    #[command(flatten)]
    pub(crate) apply: Apply,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Ended {
    let ask = Ask { keep_to: Some(args.after), ..Ask::default() };
    let words = format!("wal-tool truncate {} --after {}", next::typed(&args.dir), args.after);
    plan_or_apply((&args.dir, &words), &ask, &args.apply, out)
}
