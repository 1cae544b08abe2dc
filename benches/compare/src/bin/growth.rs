//! `growth DIR`: how the cost of hardlog grows with the log, its entries and its segments: see the
//! README beside it.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use compare::{
    growth::{Cost, FILL, LOOK, Shape, cost, fill_child, look_child},
    plot::{Labels, Line, size, write},
    store::Result,
};

const USAGE: &str = "\
usage: growth DIR [--quick] [--rounds N] [--plots OUT]

Fills logs below DIR, which must exist, opens them, reads, appends and trims, and removes them.
Prints tables in Markdown. Without --quick it needs 20 GiB of room and some minutes.

  --quick       logs of at most 64 MiB
  --rounds N    medians are over N rounds, 3 or more (default: 3)
  --plots OUT   writes the plots, as SVG, into the directory OUT
";

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What is run.
struct Plan {
    dir: PathBuf,
    plots: Option<PathBuf>,
    rounds: usize,
    quick: bool,
}

/// What is varied in one series.
struct Series {
    /// As a file is called and a table is headed.
    name: &'static str,
    below: &'static str,
    shapes: Vec<Shape>,
    varied: fn(&Shape) -> u64,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [what, a, b, c, dir] if [FILL, LOOK].contains(what) => {
            let work = if *what == FILL { fill_child } else { look_child };
            Shape::parse(&[a, b, c]).and_then(|shape| work(shape, Path::new(dir)))
        }
        _ => match parse(&words) {
            Some(plan) => run(&plan),
            None => {
                let _ = io::stderr().write_all(USAGE.as_bytes());
                return ExitCode::from(2);
            }
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(words: &[&str]) -> Option<Plan> {
    let (mut dir, mut words) = (None, words.iter());
    let mut plan = Plan { dir: PathBuf::new(), plots: None, rounds: 3, quick: false };
    while let Some(word) = words.next() {
        match *word {
            "--quick" => plan.quick = true,
            "--rounds" => plan.rounds = words.next()?.parse().ok().filter(|n| *n >= 3)?,
            "--plots" => plan.plots = Some(PathBuf::from(words.next()?)),
            word if word.starts_with('-') => return None,
            word => dir = dir.xor(Some(PathBuf::from(word))),
        }
    }
    plan.dir = dir?;
    Some(plan)
}

/// The three questions. Only one thing is varied in each.
fn series(quick: bool) -> [Series; 3] {
    let log = |size| Shape { size, entry: 4 * KIB, segment: 64 * MIB };
    let sizes =
        if quick { vec![MIB, 8 * MIB, 64 * MIB] } else { vec![MIB, 64 * MIB, GIB, 16 * GIB] };
    let entries: &[u64] = &[0, 16, 256, 4 * KIB, 64 * KIB, MIB, 16 * MIB];
    let total = if quick { 32 * MIB } else { 256 * MIB };
    let entry = |entry: u64| {
        // Empty entries are counted, not weighed: no more of them than of 256 bytes.
        let size = if entry == 0 { total / 256 } else { total.min(entry * (total / 256)) };
        Shape { size, entry, segment: 64 * MIB }
    };
    let segments: &[u64] =
        if quick { &[MIB, 16 * MIB] } else { &[MIB, 16 * MIB, 64 * MIB, 256 * MIB, GIB] };
    let segment = |segment| Shape { size: if quick { 48 * MIB } else { GIB }, entry: 256, segment };
    [
        Series {
            name: "log",
            below: "bytes of the log",
            shapes: sizes.into_iter().map(log).collect(),
            varied: |shape| shape.size,
        },
        Series {
            name: "entry",
            below: "bytes of an entry",
            shapes: entries.iter().copied().map(entry).collect(),
            varied: |shape| shape.entry,
        },
        Series {
            name: "segment",
            below: "bytes of a segment",
            shapes: segments.iter().copied().map(segment).collect(),
            varied: |shape| shape.segment,
        },
    ]
}

fn run(plan: &Plan) -> Result<()> {
    if let Some(out) = &plan.plots {
        fs::create_dir_all(out)?;
    }
    for series in series(plan.quick) {
        let mut found = Vec::new();
        for shape in &series.shapes {
            let _ = writeln!(io::stderr(), "… {} {}", series.below, human((series.varied)(shape)));
            found.push(((series.varied)(shape), cost(&plan.dir, *shape, plan.rounds)?));
        }
        table(&series, &found)?;
        if let Some(out) = &plan.plots {
            plots(&series, &found, out)?;
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "some gibibytes")]
fn human(bytes: u64) -> String {
    size(bytes as f64)
}

fn table(series: &Series, found: &[(u64, Cost)]) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "| {} | open | beyond the last segment | memory | random at | append+sync | raw | trim half |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|",
        series.below
    )?;
    for (varied, cost) in found {
        writeln!(
            out,
            "| {} | {:.1} ms | {:.1} ms | {:.1} MiB | {:.2} µs | {:.0} µs | {:.0} µs | {:.2} ms |",
            human(*varied),
            cost.open_ms,
            cost.beyond_ms,
            cost.open_mib,
            cost.at_ns / 1e3,
            cost.append_us,
            cost.raw_us,
            cost.trim_ms
        )?;
    }
    Ok(writeln!(out)?)
}

/// Three plots of a series: open, memory; random read; append beside the raw limit.
fn plots(series: &Series, found: &[(u64, Cost)], out: &Path) -> Result<()> {
    #[expect(clippy::cast_precision_loss, reason = "some gibibytes")]
    let line = |name, pick: fn(&Cost) -> f64| Line {
        name,
        // A logarithm of nothing is nowhere: an entry of no bytes stands at 1.
        points: found
            .iter()
            .map(|(at, cost)| ((*at).max(1) as f64, pick(cost).max(0.01)))
            .collect(),
    };
    let plot = |what: &str, title, beside, lines: &[Line]| {
        let path = out.join(format!("{}-{what}.svg", series.name));
        write(&path, Labels { title, below: series.below, beside }, lines)
    };
    plot(
        "open",
        "open after a kill",
        "ms, MiB",
        &[
            line("open, ms", |cost| cost.open_ms),
            line("beyond reading the last segment, ms", |cost| cost.beyond_ms),
            line("memory, MiB", |cost| cost.open_mib),
        ],
    )?;
    plot("at", "random read, checked", "µs", &[line("at", |cost| cost.at_ns / 1e3)])?;
    plot(
        "append",
        "append+sync of one entry",
        "µs",
        &[line("hardlog", |cost| cost.append_us), line("raw", |cost| cost.raw_us)],
    )
}
