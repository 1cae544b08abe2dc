//! `repair`: a plan of what would be done and lost, and, when it is asked for, exactly that plan.
//!
//! Here is also what `truncate` and `trim` share with it: they are plans too, with the same rails.
//!
//! Above: `main`. Below: `hardlog::repair`, which plans and applies; here are the words.
//! INVARIANT: without `--apply` nothing is written. Without a terminal `--apply` needs the digest of
//! the plan that was read. The directory is an argument, never a variable of the environment.

use std::{
    fs, io,
    io::{BufRead, IsTerminal, Write},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
};

use hardlog::{
    Options,
    fs::{Dir, Fs, disk::DiskFs},
    inspect::Severity,
    repair::{self, Applied, ApplyOptions, Ask, Loss, Plan},
};
use serde_json::{Value, json};

use crate::{
    args::{Format, indexes},
    exit::{self, Ended, Failure},
    interrupt, json, next, number,
    out::{COLUMNS, Out, Tone},
    verify,
};

/// Findings printed for people; `verify` shows all.
const FINDINGS_MAX: usize = 20;

/// What `repair` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct Args {
    /// The log's directory.
    pub(crate) dir: PathBuf,
    /// The directory of a healthy peer, or of a backup: what is lost here is taken from there.
    #[arg(long, value_name = "DIR")]
    pub(crate) from_replica: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) apply: Apply,
}

/// What every command takes that works by a plan.
#[derive(Debug, clap::Args)]
pub(crate) struct Apply {
    /// Do what the plan says. WRITES into the directory; a node that has it open is not disturbed,
    /// the command ends with 5.
    #[arg(long)]
    pub(crate) apply: bool,
    /// The digest of the plan that was read; without a terminal it must be given.
    #[arg(long, value_name = "D", requires = "apply")]
    pub(crate) plan_digest: Option<String>,
    /// On a terminal: show the plan and do it without asking.
    #[arg(long, requires = "apply")]
    pub(crate) yes: bool,
    /// Where the log is copied to first; beside the directory by default.
    #[arg(long, value_name = "PATH", requires = "apply")]
    pub(crate) backup: Option<PathBuf>,
    /// The entries that may be dropped: exactly those that the plan names.
    #[arg(long, value_parser = indexes, value_name = "A..B", requires = "apply")]
    pub(crate) accept_loss: Option<RangeInclusive<u64>>,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Ended {
    let peer = args.from_replica.as_ref().map(DiskFs::new);
    let ask = Ask { replica: peer.as_ref().map(|peer| peer as &dyn Fs), ..Ask::default() };
    let mut words = format!("wal-tool repair {}", next::typed(&args.dir));
    if let Some(dir) = &args.from_replica {
        words.push_str(&format!(" --from-replica {}", next::typed(dir)));
    }
    plan_or_apply((&args.dir, &words), &ask, &args.apply, out)
}

/// Shows the plan, or applies it. `words` is the command that makes it.
pub(crate) fn plan_or_apply(
    (dir, words): (&Path, &str),
    ask: &Ask<'_>,
    how: &Apply,
    out: &mut Out,
) -> Ended {
    let disk: Arc<dyn Fs> = Arc::new(DiskFs::new(dir));
    if !how.apply {
        let plan = planned(&*disk, ask, out)?;
        show(&plan, (dir, words), out)?;
        return Ok(plan.outcome.code());
    }
    let digest = match &how.plan_digest {
        Some(digest) => digest.clone(),
        None => {
            watched(out)?;
            let plan = planned(&*disk, ask, out)?;
            show(&plan, (dir, words), out)?;
            out.finish()?;
            asked(&plan, how)?;
            plan.digest
        }
    };
    let place = how.backup.clone().unwrap_or_else(|| beside(dir, &digest));
    let backup = DiskFs::new(&place);
    let link = |sub: Dir, name: &str| {
        let path = |root: &Path| root.join(sub.name()).join(name);
        fs::hard_link(path(dir), path(&place))
    };
    let accept = how.accept_loss.clone();
    let options = ApplyOptions {
        digest: Some(&digest),
        accept,
        backup: Some(&backup),
        link: Some(&link),
        options: Options::default(),
    };
    out.busy("backup, repair, verification");
    let applied = interrupt::whole(|| repair::apply(&disk, ask, &options));
    out.still();
    let applied = applied?;
    done(&applied, (dir, &place), out)?;
    Ok(applied.report.outcome().code())
}

fn planned(disk: &dyn Fs, ask: &Ask<'_>, out: &mut Out) -> Result<Plan, Failure> {
    out.busy("making a plan");
    let plan = repair::plan(disk, ask);
    out.still();
    Ok(plan?)
}

/// `n1` → `n1.backup-1a2b3c4d`.
fn beside(dir: &Path, digest: &str) -> PathBuf {
    let mut name = dir.components().as_path().as_os_str().to_owned();
    name.push(format!(".backup-{}", digest.get(..8).unwrap_or(digest)));
    PathBuf::from(name)
}

/// Whether a person reads the plan that is going to be applied.
fn watched(out: &Out) -> Result<(), Failure> {
    let why = match (out.human(), io::stdin().is_terminal() && io::stderr().is_terminal()) {
        (true, true) => return Ok(()),
        (true, false) => "without a terminal --apply needs --plan-digest: read the plan first",
        (false, _) => "for a program --apply needs --plan-digest: read the plan first",
    };
    Err(Failure::Refused(why.to_owned()))
}

/// Asks the person at the terminal whether what was shown is to be done.
fn asked(plan: &Plan, how: &Apply) -> Result<(), Failure> {
    let accepts = match (plan.to_accept(), &how.accept_loss) {
        (None, None) => true,
        (Some(loss), Some(range)) => loss.is(range),
        _ => false,
    };
    // Where there is nothing to do, or a rail says no whatever the answer, nobody is asked.
    if how.yes || plan.is_empty() || plan.hopeless.is_some() || !accepts {
        return Ok(());
    }
    eprint!("Apply this plan? Type yes: ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if answer.trim() == "yes" {
        return Ok(());
    }
    Err(Failure::Refused("nothing was changed".to_owned()))
}

fn show(plan: &Plan, what: (&Path, &str), out: &mut Out) -> io::Result<()> {
    match out.format {
        Format::Human => human(plan, what, out),
        Format::Json | Format::Ndjson => out.object(&object(plan, what.0)),
    }
}

fn human(plan: &Plan, (dir, words): (&Path, &str), out: &mut Out) -> io::Result<()> {
    let title = dir
        .file_name()
        .map_or_else(|| dir.display().to_string(), |name| name.to_string_lossy().into_owned());
    let title = out.toned(Tone::Strong, &title);
    out.line(&format!("{title}  plan {}  found {}", plan.digest, plan.outcome.name()))?;
    let worth = plan.findings.iter().filter(|f| f.severity > Severity::Note);
    for finding in worth.clone().take(FINDINGS_MAX) {
        verify::print(finding, dir, out)?;
    }
    let hidden = worth.count().saturating_sub(FINDINGS_MAX) as u64;
    if hidden > 0 {
        out.line(&format!("  … and {} (wal-tool verify)", number::count(hidden, "finding")))?;
    }
    if plan.lock.may_be_live() {
        out.line("  live: somebody has it open; stop that process before anything is applied")?;
    }
    if let Some(why) = &plan.hopeless {
        let no = out.toned(Tone::Bad, "NO WAY HERE");
        paragraph(&format!("  {no}  "), why, out)?;
    }
    for (number, step) in plan.steps.iter().enumerate() {
        paragraph(&format!("  {}. ", number + 1), &step.to_string(), out)?;
    }
    if plan.is_empty() {
        out.line("  nothing to do")?;
        return Ok(());
    }
    losses(plan, out)?;
    for (number, way) in plan.ways_out().into_iter().enumerate() {
        paragraph(&format!("  way out {}: ", number + 1), way, out)?;
    }
    if plan.hopeless.is_none() {
        let mut next =
            vec![words.to_owned(), "--apply".to_owned(), format!("--plan-digest {}", plan.digest)];
        next.extend(plan.to_accept().map(|loss| format!("--accept-loss {}", loss.range())));
        out.line("  nothing was changed; to do exactly this:")?;
        for line in next::broken(&next, COLUMNS - 4) {
            out.line(&format!("    {line}"))?;
        }
    }
    Ok(())
}

fn losses(plan: &Plan, out: &mut Out) -> io::Result<()> {
    let window = |window: Option<(u64, u64)>| match window {
        Some((first, next)) if first < next => number::span((first, next - 1)),
        Some((first, _)) => format!("empty, next {}", number::grouped(first)),
        None => "not known".to_owned(),
    };
    if plan.hopeless.is_none() {
        out.line(&format!("  log {} becomes {}", window(plan.before), window(plan.after)))?;
    }
    for (loss, word) in [(&plan.loss, "LOST"), (&plan.trimmed, "DROPPED")] {
        let Some(loss) = loss else { continue };
        let word = out.toned(Tone::Bad, word);
        paragraph(&format!("  {word}  "), &sentence(loss), out)?;
    }
    if plan.loss.is_none() && plan.trimmed.is_none() && plan.hopeless.is_none() {
        out.line("  no entry is dropped")?;
    }
    if let Some(index) = plan.unproven {
        let text = format!(
            "unproven: entries from {} on may have been lost; nothing states that they were durable",
            number::grouped(index)
        );
        paragraph("  ", &text, out)?;
    }
    if plan.vows_doubtful {
        let text = "a newer term or vote may be lost with it: this node may vote twice in a term";
        paragraph("  ", text, out)?;
    }
    if plan.slots_doubtful {
        out.line("  newer metadata may be lost with it")?;
    }
    Ok(())
}

fn sentence(loss: &Loss) -> String {
    let range = match loss.last {
        Some(last) => format!("entries {}", number::span((loss.first, last))),
        None => format!("entries from {} on, nobody knows how many", number::grouped(loss.first)),
    };
    let committed = match loss.committed {
        0 => "none of them committed by what this disk knows".to_owned(),
        n => format!("{} of them committed by what this disk knows", number::grouped(n)),
    };
    format!("{range}; {committed}; {} can still be read", number::grouped(loss.complete))
}

/// Text within 80 columns, under a sign in front of its first line.
fn paragraph(sign: &str, text: &str, out: &mut Out) -> io::Result<()> {
    for (at, line) in number::wrapped(text, 64).into_iter().enumerate() {
        let front = if at == 0 { sign } else { "       " };
        out.line(&format!("{front}{line}"))?;
    }
    Ok(())
}

fn done(applied: &Applied, (dir, backup): (&Path, &Path), out: &mut Out) -> io::Result<()> {
    let Applied { plan, report, .. } = applied;
    if out.format != Format::Human {
        let mut object = object(plan, dir);
        object["schema"] = json!("wal-tool.repaired/1");
        object["exit"] = json!(report.outcome().code());
        object["verdict"] = json!(report.outcome().name().to_lowercase());
        object["backup"] =
            if plan.is_empty() { Value::Null } else { json!(backup.display().to_string()) };
        return out.object(&object);
    }
    if plan.is_empty() {
        return out.line("nothing to do");
    }
    for (number, step) in plan.steps.iter().enumerate() {
        paragraph(&format!("  {}. ", number + 1), &step.to_string(), out)?;
    }
    losses(plan, out)?;
    out.line(&format!("  backup: {}", backup.display()))?;
    let says = out.toned(Tone::Strong, report.outcome().name());
    out.line(&format!("RESULT  {says} after verifying everything"))
}

fn loss(loss: &Loss) -> Value {
    json!({
        "first": loss.first,
        "last": loss.last,
        "range": loss.range(),
        "complete": loss.complete,
        "committed": loss.committed,
    })
}

/// The plan for programs.
fn object(plan: &Plan, dir: &Path) -> Value {
    let window = |window: Option<(u64, u64)>| {
        window.map(|(first, next)| json!({ "first": first, "next": next }))
    };
    json!({
        "schema": "wal-tool.plan/1",
        "exit": plan.outcome.code(),
        "verdict": plan.outcome.name().to_lowercase(),
        "dir": dir.display().to_string(),
        "digest": plan.digest,
        "steps": plan.steps.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "hopeless": plan.hopeless,
        "before": window(plan.before),
        "after": window(plan.after),
        "commit": plan.commit,
        "loss": plan.loss.as_ref().map(loss),
        "trimmed": plan.trimmed.as_ref().map(loss),
        "accept_loss": plan.to_accept().map(Loss::range),
        "unproven": plan.unproven,
        "maybe_lost": plan.maybe_lost,
        "vows_doubtful": plan.vows_doubtful,
        "slots_doubtful": plan.slots_doubtful,
        "ways_out": plan.ways_out(),
        "bytes": plan.bytes,
        "findings": plan.findings.iter().map(|f| json::finding(f, dir)).collect::<Vec<_>>(),
    })
}
