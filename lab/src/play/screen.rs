//! `raft-lab play --tui`: the nodes, their logs and the files of their logs on one screen, while
//! time passes.
//!
//! ```text
//!   keys ─▶ Screen ─▶ game           draw: what Screen knows ─▶ cells
//! ```
//! Above: `play`. Below: `game`, for what is shown and done, and a library for terminals.
//!
//! Virtual time follows the clock on the wall, faster or slower, unless it is stopped; so what a
//! command does is seen as it unfolds. Time of processes passes by itself. Drawing and keys know no
//! terminal, and tests drive them.

mod draw;

use std::{
    collections::VecDeque,
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{Table, command, editor, world::View};
use crate::{
    Failure,
    format::Reading,
    lines::Line,
    paint::{Depth, When},
    row::{Place, Row},
};

/// Time between two pictures.
const FRAME: Duration = Duration::from_millis(50);
/// How often the nodes are looked at: in the simulator, and where each has to be asked.
const LOOK: Duration = Duration::from_millis(100);
const REAL_LOOK: Duration = Duration::from_millis(400);
/// Lines of answers that are kept.
const SAID_MAX: usize = 500;
/// Events that are kept.
const EVENTS_MAX: usize = 200;
/// Lines that were typed and are kept.
const TYPED_MAX: usize = 200;
/// How fast time passes, in percent.
const SPEEDS: [u64; 7] = [1, 5, 10, 25, 50, 100, 500];
/// Kinds of events that come too often to be read as they pass.
const NOISE: [&str; 9] =
    ["send", "recv", "lost", "write", "sync", "apply", "ask-vote", "heartbeat", "timer"];

/// What is on the screen.
pub(super) struct Screen {
    input: String,
    typed: Vec<String>,
    /// Which of them is looked at; their number when none is.
    at: usize,
    said: VecDeque<String>,
    speed: usize,
    runs: bool,
    real: bool,
    views: Vec<View>,
    micros: u64,
    looked: Option<Instant>,
    /// What happened, and whose it is.
    events: VecDeque<Happened>,
    reading: Reading,
    depth: Depth,
}

/// An event as it is shown.
struct Happened {
    clock: String,
    place: Place,
    text: String,
    alarm: bool,
}

/// Plays on the screen until somebody has enough.
pub(super) fn play(table: &mut Table) -> Result<(), Failure> {
    let depth = Depth::of(When::Auto, io::stdout().is_terminal());
    let mut screen = Screen::new(table.game.is_real(), depth);
    // From here on a panic gives the terminal back too.
    let mut terminal = ratatui::try_init()?;
    let ended = (|| {
        let mut before = Instant::now();
        loop {
            screen.pass(before.elapsed(), table);
            before = Instant::now();
            terminal.draw(|frame| screen.draw(frame))?;
            if event::poll(FRAME)?
                && let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
                && !screen.key(key, table)?
            {
                return Ok(());
            }
        }
    })();
    ratatui::restore();
    ended
}

impl Screen {
    pub(super) fn new(real: bool, depth: Depth) -> Self {
        let said = ["create 3 makes a cluster; help lists the commands".to_owned()];
        Self {
            input: String::new(),
            typed: Vec::new(),
            at: 0,
            said: said.into(),
            speed: 2,
            runs: true,
            real,
            views: Vec::new(),
            micros: 0,
            looked: None,
            events: VecDeque::new(),
            reading: Reading::default(),
            depth,
        }
    }

    /// Time passed on the wall.
    pub(super) fn pass(&mut self, wall: Duration, table: &mut Table) {
        if self.runs && !self.real && table.game.size() > 0 {
            let wall = u64::try_from(wall.min(10 * FRAME).as_micros()).unwrap_or(0);
            if let Err(why) = table.game.pass(wall * self.percent() / 100) {
                self.runs = false;
                self.say(&why);
            }
        }
        let often = if self.real { REAL_LOOK } else { LOOK };
        if self.looked.is_none_or(|looked| looked.elapsed() >= often) {
            self.look(table);
        }
    }

    fn percent(&self) -> u64 {
        SPEEDS.get(self.speed).copied().unwrap_or(100)
    }

    /// Takes in what the nodes are now and what happened.
    pub(super) fn look(&mut self, table: &mut Table) {
        self.views = table.game.views();
        self.micros = table.game.micros();
        for bytes in table.game.news().split(|byte| *byte == b'\n') {
            let line = Line { number: 0, bytes: bytes.to_vec(), len: bytes.len() as u64 };
            if let Ok(Some(row)) = self.reading.row(&line) {
                self.take(row);
            }
        }
        self.looked = Some(Instant::now());
    }

    fn take(&mut self, row: Row) {
        if NOISE.iter().any(|noise| row.is(noise)) {
            return;
        }
        let Row { clock, place, text, alarm, .. } = row;
        self.events.push_back(Happened { clock, place, text, alarm });
        if self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
    }

    fn say(&mut self, text: &str) {
        self.said.extend(text.lines().map(|line| crate::row::visible(line).into_owned()));
        let extra = self.said.len().saturating_sub(SAID_MAX);
        self.said.drain(..extra);
    }

    /// A key was pressed. False if it was the last.
    pub(super) fn key(&mut self, key: KeyEvent, table: &mut Table) -> Result<bool, Failure> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if control => return Ok(false),
            KeyCode::Char('u') if control => self.input.clear(),
            KeyCode::Char(' ') if self.input.is_empty() => self.runs = !self.runs,
            KeyCode::Char('+') if self.input.is_empty() => {
                self.speed = (self.speed + 1).min(SPEEDS.len() - 1);
            }
            KeyCode::Char('-') if self.input.is_empty() => {
                self.speed = self.speed.saturating_sub(1);
            }
            KeyCode::Char(c) if !control && self.input.len() < command::LINE_MAX => {
                self.input.push(c);
            }
            KeyCode::Tab => self.complete(table),
            KeyCode::Backspace => drop(self.input.pop()),
            KeyCode::Esc => self.input.clear(),
            KeyCode::Up => self.look_back(self.at.saturating_sub(1)),
            KeyCode::Down => self.look_back(self.at + 1),
            KeyCode::Enter => return self.enter(table),
            _ => {}
        }
        Ok(true)
    }

    fn look_back(&mut self, at: usize) {
        self.at = at.min(self.typed.len());
        self.input = self.typed.get(self.at).cloned().unwrap_or_default();
    }

    /// Adds what all words that fit have in common; with nothing to add it lists them.
    fn complete(&mut self, table: &Table) {
        let (start, words) = editor::complete(&self.input, &editor::nodes(table));
        let Some(first) = words.first() else { return };
        let same = |word: &String| {
            let pairs = word.chars().zip(first.chars());
            pairs.take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum::<usize>()
        };
        let common = words.iter().map(same).min().unwrap_or(0);
        let known = self.input.len().saturating_sub(start);
        if common > known {
            self.input.truncate(start);
            self.input.push_str(first.get(..common).unwrap_or_default());
        } else {
            let list: Vec<&str> = words.iter().map(|word| word.trim()).collect();
            self.say(&list.join(" "));
        }
    }

    fn enter(&mut self, table: &mut Table) -> Result<bool, Failure> {
        let line = std::mem::take(&mut self.input);
        if line.trim().is_empty() {
            return Ok(true);
        }
        self.say(&format!("> {line}"));
        let mut said = Vec::new();
        let goes_on = table.line(Ok(&line), &mut said)?;
        let said = String::from_utf8_lossy(&said).into_owned();
        // The table of nodes stands on the screen already; of other lines only `log` and `help`
        // begin with so many spaces, and these are wanted.
        let wanted = ["log", "help"].contains(&line.trim());
        let words = said.lines().filter(|line| wanted || !line.starts_with("    "));
        let words: Vec<&str> = words.collect();
        self.say(&words.join("\n"));
        if self.typed.last() != Some(&line) {
            self.typed.push(line);
        }
        let extra = self.typed.len().saturating_sub(TYPED_MAX);
        self.typed.drain(..extra);
        self.at = self.typed.len();
        self.look(table);
        Ok(goes_on)
    }
}

#[cfg(test)]
mod tests;
