//! The table that is shown while it runs, on standard error: on a terminal it stays in its place,
//! elsewhere there is a line now and then. Failures are told at once and stay above it.

use std::{
    env,
    fmt::Write as _,
    io::{self, IsTerminal, Write as _},
    time::{Duration, Instant},
};

use rustix::termios::tcgetwinsize;
use unicode_width::UnicodeWidthStr;

use super::{
    tally::{Score, Tally},
    words::seconds,
};
use crate::row::visible;

/// Between two pictures on a terminal.
const PICTURE: Duration = Duration::from_millis(250);
/// Between two lines elsewhere.
const LINE: Duration = Duration::from_secs(10);

/// What is on the screen.
pub(super) struct Board {
    terminal: bool,
    colour: bool,
    began: Instant,
    shown: Option<Instant>,
    /// Lines of the last picture.
    lines: usize,
}

impl Board {
    pub(super) fn new() -> Self {
        let terminal = io::stderr().is_terminal();
        let colour = terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { terminal, colour, began: Instant::now(), shown: None, lines: 0 }
    }

    /// Shows how far it is, if it is time to; `all` runs are to be made.
    pub(super) fn show(&mut self, tally: &Tally, all: u64) {
        let pause = if self.terminal { PICTURE } else { LINE };
        if self.shown.unwrap_or(self.began).elapsed() < pause {
            return;
        }
        self.shown = Some(Instant::now());
        let progress = progress(tally, all, self.began.elapsed());
        if !self.terminal {
            return say(&format!("{progress}\n"));
        }
        let (columns, rows) = size();
        let mut picture = table(tally, rows.saturating_sub(4).max(1), columns, self.colour);
        picture.push_str(&progress);
        picture.push('\n');
        let text = format!("{}{picture}", self.wiped());
        self.lines = picture.lines().count();
        say(&text);
    }

    /// Words that stay.
    pub(super) fn tell(&mut self, words: &str) {
        let words: Vec<_> = words.lines().map(visible).collect();
        let text = format!("{}{}\n", self.wiped(), words.join("\n"));
        (self.lines, self.shown) = (0, None);
        say(&text);
    }

    /// Takes the picture away.
    pub(super) fn clear(&mut self) {
        let text = self.wiped();
        self.lines = 0;
        say(&text);
    }

    /// What goes back to where the picture began, and wipes it out.
    fn wiped(&self) -> String {
        match self.lines {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        }
    }
}

fn say(text: &str) {
    // Nobody may be there to read it; what counts goes to standard output and to files.
    let _unread = io::stderr().lock().write_all(text.as_bytes());
}

/// Columns and rows of the terminal.
fn size() -> (usize, usize) {
    let size = tcgetwinsize(io::stderr()).ok();
    let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
    size.map_or((100, 24), |size| (usize::from(size.ws_col), usize::from(size.ws_row)))
}

fn progress(tally: &Tally, all: u64, elapsed: Duration) -> String {
    let (total, failed) = (tally.total(), tally.failed());
    let running: u64 = tally.scores.iter().map(|score| score.running).sum();
    let elapsed = seconds(elapsed.as_secs_f64());
    format!("{total} of {all} runs, {failed} failed, {running} under way, {elapsed}")
}

/// The table, at most so many rows and columns: what failed comes first, then what runs, then what
/// took part most.
pub(super) fn table(tally: &Tally, rows: usize, columns: usize, colour: bool) -> String {
    let mut scores: Vec<&Score> = tally.scores.iter().collect();
    if scores.len() > rows {
        scores.sort_by_key(|score| (score.failed.is_empty(), score.running == 0));
    }
    let names = scores.iter().take(rows).map(|score| visible(&score.name).width());
    let width = names.max().unwrap_or(4).max(4).min(columns.saturating_sub(48).max(16));
    let mut text =
        format!("{:width$} {:>8} {:>7} {:>8}  {}\n", "test", "passed", "failed", "total", "time");
    for score in scores.iter().take(rows) {
        let line = row(score, width);
        let (from, to) = match (colour, score.failed.is_empty(), score.running > 0) {
            (true, false, _) => ("\x1b[31m", "\x1b[0m"),
            (true, true, true) => ("\x1b[1m", "\x1b[0m"),
            _ => ("", ""),
        };
        writeln!(text, "{from}{line}{to}").expect("a string takes all");
    }
    if scores.len() > rows {
        writeln!(text, "and {} more", scores.len() - rows).expect("a string takes all");
    }
    text
}

fn row(score: &Score, width: usize) -> String {
    let name = visible(&score.name);
    // The end of a name tells more than its front.
    let skip = name.chars().count().saturating_sub(width);
    let name: String = match skip {
        0 => name.into_owned(),
        skip => std::iter::once('…').chain(name.chars().skip(skip + 1)).collect(),
    };
    let pad = " ".repeat(width.saturating_sub(name.width()));
    let (passed, failed, total) = (score.passed, score.failed.len(), score.total());
    let time = match total {
        0 => String::new(),
        1 => seconds(score.mean()),
        _ => format!("{} ± {}", seconds(score.mean()), seconds(score.deviation())),
    };
    format!("{name}{pad} {passed:>8} {failed:>7} {total:>8}  {time}")
}
