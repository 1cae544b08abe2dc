//! `raft-lab columns`: a trace in the terminal, one column for each node.
//!
//! Rows are read, chosen and printed one by one, so a file of any length needs the memory of a few
//! rows. Only the names of the nodes must be known before the first row: a file is read once for
//! them; what cannot be read twice gets a new heading when a node appears.

mod choose;

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    path::PathBuf,
};

use self::choose::{Choice, Chosen};
use crate::{
    Failure,
    clock::Moment,
    format::{Format, Reading, Tally},
    layout::Layout,
    lines::Lines,
    pager::Screen,
    paint::{self, By, Depth, When},
    row::{Place, Role, Row, visible},
};

/// Columns where neither a terminal nor `--width` says how many there are.
const WIDTH: usize = 120;
/// Narrower than this nothing can be read.
const WIDTH_MIN: usize = 20;

/// What is shown, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A trace, a log in the format of the 6.824 helpers, or the output of `go test -v`; `-` reads
    /// standard input.
    file: PathBuf,
    /// Only these topics or kinds of event, separated by commas.
    #[arg(short = 'j', long, visible_alias = "just", value_delimiter = ',', value_name = "TOPICS")]
    only: Vec<String>,
    /// Not these topics or kinds of event.
    #[arg(
        short = 'i',
        long,
        visible_alias = "ignore",
        value_delimiter = ',',
        value_name = "TOPICS"
    )]
    skip: Vec<String>,
    /// Only these nodes.
    #[arg(short = 'n', long, value_delimiter = ',')]
    nodes: Vec<u64>,
    /// Only what concerns the entry at this index, with what stands around it.
    #[arg(long, value_name = "INDEX")]
    around: Option<u64>,
    /// Begin at this time: 1.5s, 200ms, 12:00:01.5, or as the time column prints it.
    #[arg(long, value_parser = Moment::parse)]
    from: Option<Moment>,
    /// End at this time.
    #[arg(long, value_parser = Moment::parse)]
    to: Option<Moment>,
    /// Go to the first broken rule, failed test or panic, and end soon after it.
    #[arg(long)]
    first_violation: bool,
    /// Rows shown before and after with --around (2) and --first-violation (20).
    #[arg(short = 'C', long, value_name = "ROWS")]
    context: Option<usize>,
    /// Wait for more at the end of the file.
    #[arg(short, long)]
    follow: bool,
    /// What colours say: topic, term or role; role for `go test`, topic otherwise.
    #[arg(long, value_enum)]
    by: Option<By>,
    /// Colour; `auto` heeds NO_COLOR, CLICOLOR_FORCE and whether a terminal listens.
    #[arg(long, value_enum, default_value_t)]
    color: When,
    /// The same as --color never.
    #[arg(long)]
    no_color: bool,
    /// Columns of the terminal.
    #[arg(long)]
    width: Option<usize>,
    /// Write to the terminal without $PAGER.
    #[arg(long)]
    no_pager: bool,
}

/// Prints the view.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let named = |error: io::Error| Failure::Wrong(format!("{}: {error}", args.file.display()));
    let mut lines = Lines::open(&args.file, args.follow).map_err(named)?;
    let mut view = View::new(args, known(args)?);
    let mut reading = Reading::default();
    let ended = pump(&mut lines, &mut reading, &mut view).map_err(|failure| match failure {
        Failure::Wrong(why) => Failure::Wrong(format!("{}: {why}", args.file.display())),
        other => other,
    });
    if ended.is_ok() {
        view.total(reading.tally())?;
    }
    // Whatever happened, the pager gets what there is.
    let closed = view.screen.close();
    ended?;
    closed?;
    if view.shown == 0 && view.choice.chooses() {
        return Err(Failure::Nothing(format!("{}: nothing like that", args.file.display())));
    }
    Ok(())
}

/// Reads once for the columns, where the file can be read again.
fn known(args: &Args) -> Result<Reading, Failure> {
    let mut reading = Reading::default();
    if args.follow || !args.file.metadata().is_ok_and(|meta| meta.is_file()) {
        return Ok(reading);
    }
    let mut lines = Lines::open(&args.file, false)?;
    while let Some(line) = lines.next(|| Ok(()))? {
        reading.row(&line)?;
    }
    Ok(reading)
}

fn pump(lines: &mut Lines, reading: &mut Reading, view: &mut View) -> Result<(), Failure> {
    while let Some(line) = lines.next(|| view.screen.flush())? {
        let Some(row) = reading.row(&line)? else { continue };
        if !view.row(reading, row)? {
            break;
        }
    }
    Ok(())
}

/// What is on the screen so far.
struct View {
    screen: Screen,
    depth: Depth,
    by: Option<By>,
    width: usize,
    nodes: Vec<u64>,
    /// The columns of a file that was read before.
    known: Reading,
    layout: Option<Layout>,
    choice: Choice,
    /// Term and role of each node.
    state: BTreeMap<Place, (Option<u64>, Option<Role>)>,
    /// Rows printed.
    shown: u64,
}

impl View {
    fn new(args: &Args, known: Reading) -> Self {
        let terminal = io::stdout().is_terminal();
        let when = if args.no_color { When::Never } else { args.color };
        Self {
            screen: Screen::open(!args.follow && !args.no_pager),
            depth: Depth::of(when, terminal),
            by: args.by,
            width: args.width.unwrap_or_else(terminal_width).max(WIDTH_MIN),
            nodes: args.nodes.clone(),
            known,
            layout: None,
            choice: Choice::new(args),
            state: BTreeMap::new(),
            shown: 0,
        }
    }

    /// How the tests ended, where there were any.
    fn total(&mut self, tally: Tally) -> io::Result<()> {
        let Tally { passed, failed, skipped } = tally;
        if passed + failed + skipped == 0 || self.choice.searches() {
            return Ok(());
        }
        let status = if failed > 0 { "FAIL" } else { "PASS" };
        let text = format!("{status}: {passed} passed, {failed} failed, {skipped} skipped");
        let mut line = String::new();
        let colour = if failed > 0 { paint::ALARM } else { (0x70, 0xc4, 0x8f) };
        self.depth.paint(&mut line, Some(colour), true, &text);
        self.screen.line(&line)
    }

    /// Takes a row; `false` when nothing more is wanted.
    fn row(&mut self, reading: &Reading, row: Row) -> io::Result<bool> {
        if &*row.kind == "test" {
            // Each test begins with nodes of its own.
            self.state.clear();
        }
        let node = self.state.entry(row.place).or_default();
        *node = (row.term.or(node.0), row.role.or(node.1));
        let node = *node;
        let by = self.by.unwrap_or(match reading.format() {
            Some(Format::GoTest) => By::Role,
            _ => By::Topic,
        });
        let colour = paint::colour(by, &row, node.0, node.1);
        let Chosen { rows, more } = self.choice.take(row, colour);
        for (gap, row, colour) in rows {
            self.head(reading)?;
            let Some(layout) = &self.layout else { continue };
            if gap && self.shown > 0 {
                self.screen.line(&"┄".repeat(self.width.min(40)))?;
            }
            for line in layout.lines(&row, self.depth, colour) {
                self.screen.line(&line)?;
            }
            self.shown += 1;
        }
        Ok(more)
    }

    /// Names the columns, at first and when there are new ones.
    fn head(&mut self, reading: &Reading) -> io::Result<()> {
        let (nodes, world) = (self.known.nodes().union(reading.nodes()), reading.world());
        let wanted = |node: &u64| self.nodes.is_empty() || self.nodes.contains(node);
        let mut places: Vec<Place> = Vec::new();
        if world || self.known.world() {
            places.push(Place::World);
        }
        places.extend(nodes.copied().filter(wanted).map(Place::Node));
        if self.layout.as_ref().is_some_and(|layout| layout.places() == places) {
            return Ok(());
        }
        let format = reading.format().or(self.known.format());
        let time = match format {
            Some(Format::Trace) => 11,
            Some(Format::GoTest) => 15,
            Some(Format::Students) | None => 8,
        };
        let words = reading.header().words();
        if self.layout.is_none() && !words.is_empty() {
            self.screen.line(&visible(&words))?;
        }
        let layout = Layout::new(places, time, self.width);
        self.screen.line(&layout.heading(self.depth, |place| named(format, place)))?;
        self.layout = Some(layout);
        Ok(())
    }
}

/// A column's name, in the words of its format.
fn named(format: Option<Format>, place: Place) -> String {
    match (format, place) {
        (Some(Format::Students), Place::Node(node)) => format!("S{node}"),
        (Some(Format::GoTest), Place::Node(node)) => format!("[{node}]"),
        (_, Place::Node(node)) => format!("node {node}"),
        (Some(Format::Trace), _) => "around them".to_owned(),
        (_, Place::World | Place::Wide) => "TEST".to_owned(),
    }
}

fn terminal_width() -> usize {
    let asked = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let told = || rustix::termios::tcgetwinsize(io::stdout()).ok();
    let told = || told().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
    told().or(asked).unwrap_or(WIDTH)
}
