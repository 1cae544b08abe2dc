//! `trim`: drops the front of a log, by a plan.

use std::path::PathBuf;

use hardlog::repair::Ask;

use crate::{
    args::number,
    exit::{self, Ended},
    next,
    out::Out,
    repair::{Apply, plan_or_apply},
};

/// What `trim` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct Args {
    /// The log's directory.
    pub(crate) dir: PathBuf,
    /// The first entry that stays; at most one behind the newest snapshot.
    #[arg(long, value_parser = number, value_name = "N")]
    pub(crate) before: u64,
    #[command(flatten)]
    pub(crate) apply: Apply,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Ended {
    let ask = Ask { keep_from: Some(args.before), ..Ask::default() };
    let words = format!("wal-tool trim {} --before {}", next::typed(&args.dir), args.before);
    plan_or_apply((&args.dir, &words), &ask, &args.apply, out)
}
