//! `recover`: salvages a log into a new directory; the source is only read.
//!
//! The new directory gets its name when all of it is there: one that was cut off is called `.partial`.

use std::{path::PathBuf, sync::Arc};

use hardlog::{
    Options,
    fs::{Fs, disk::DiskFs},
    repair::{self, Ask, Loss, Recovered},
};
use serde_json::json;

use crate::{
    args::Format,
    exit::{self, Ended},
    number,
    out::{Out, Tone},
    place::Fresh,
};

/// What `recover` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct Args {
    /// The log's directory; nothing is changed there.
    pub(crate) dir: PathBuf,
    /// The new directory; it must be missing or empty.
    #[arg(long, value_name = "NEW")]
    pub(crate) output: PathBuf,
    /// The directory of a healthy peer: what is lost is taken from there.
    #[arg(long, value_name = "DIR")]
    pub(crate) from_replica: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Ended {
    let from = DiskFs::new(&args.dir);
    let fresh = Fresh::new(&args.output)?;
    let to: Arc<dyn Fs> = Arc::new(DiskFs::new(fresh.path()));
    let peer = args.from_replica.as_ref().map(DiskFs::new);
    let ask = Ask { replica: peer.as_ref().map(|peer| peer as &dyn Fs), ..Ask::default() };
    out.busy("recovering");
    let recovered = repair::recover(&from, &to, &ask, &Options::default());
    out.still();
    let recovered = recovered?;
    drop(to);
    fresh.done()?;
    let code = match recovered.plan.loss {
        Some(_) => exit::DAMAGED,
        None => recovered.report.outcome().code(),
    };
    say(&recovered, args, code, out)?;
    Ok(code)
}

fn say(recovered: &Recovered, args: &Args, code: u8, out: &mut Out) -> std::io::Result<()> {
    let Recovered { plan, report, quarantined, .. } = recovered;
    if out.format != Format::Human {
        return out.object(&json!({
            "schema": "wal-tool.recovered/1",
            "exit": code,
            "dir": args.dir.display().to_string(),
            "output": args.output.display().to_string(),
            "first": report.summary.window.map(|(first, _)| first),
            "next": report.summary.window.map(|(_, next)| next),
            "loss": plan.loss.as_ref().map(Loss::range),
            "unproven": plan.unproven,
            "quarantined": quarantined,
            "verdict": report.outcome().name().to_lowercase(),
        }));
    }
    let title = out.toned(Tone::Strong, &args.output.display().to_string());
    let window = match report.summary.window {
        Some((first, next)) if first < next => number::span((first, next - 1)),
        _ => "no entries".to_owned(),
    };
    out.line(&format!("{title}  {window}  {}", report.outcome().name()))?;
    for name in quarantined {
        out.line(&format!("  {name}: kept in quarantine/ as it is"))?;
    }
    match &plan.loss {
        None => out.line("  everything that the log holds is there"),
        Some(loss) => {
            let word = out.toned(Tone::Bad, "LOST");
            out.line(&format!(
                "  {word}  entries {}: {} of them can still be read in quarantine/",
                loss.range(),
                number::grouped(loss.complete)
            ))
        }
    }
}
