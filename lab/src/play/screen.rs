//! `raft-lab play --tui`: the nodes, their logs and the files of their logs on one screen, while
//! time passes.
//!
//! Above: `play`. Below: `game`, for what is shown and done, and a library for terminals.
//!
//! Virtual time follows the clock on the wall, faster or slower, unless it is stopped; so what a
//! command does is seen as it unfolds. Drawing and keys know no terminal, and tests drive them.

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use hardlog_raft::{sim::lab::hands::Sight, trace::Part};
use ratatui::{
    Frame,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Paragraph},
};

use super::{Table, command, show};
use crate::Failure;

/// Time between two pictures.
const FRAME: Duration = Duration::from_millis(50);
/// Lines of answers that are kept.
const SAID_MAX: usize = 500;
/// Lines that were typed and are kept.
const TYPED_MAX: usize = 200;
/// How fast time passes, in percent.
const SPEEDS: [u64; 7] = [1, 5, 10, 25, 50, 100, 500];
/// Terms next to each other look different.
const COLOURS: [Color; 6] =
    [Color::Blue, Color::Green, Color::Magenta, Color::Cyan, Color::Yellow, Color::Red];

/// What is on the screen besides the nodes.
pub(super) struct Screen {
    input: String,
    typed: Vec<String>,
    /// Which of them is looked at; their number when none is.
    at: usize,
    said: Vec<String>,
    speed: usize,
    runs: bool,
}

/// Plays on the screen until somebody has enough.
pub(super) fn play(table: &mut Table) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Failure::Wrong("a screen needs a terminal".to_owned()));
    }
    let mut terminal = ratatui::try_init()?;
    let mut screen = Screen::new();
    let ended = (|| {
        let mut before = Instant::now();
        loop {
            terminal.draw(|frame| screen.draw(frame, table))?;
            if event::poll(FRAME)?
                && let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
                && !screen.key(key, table)?
            {
                return Ok(());
            }
            screen.pass(before.elapsed(), table);
            before = Instant::now();
        }
    })();
    ratatui::restore();
    ended
}

impl Screen {
    pub(super) fn new() -> Self {
        let said = vec!["create 3 makes a cluster; help lists the commands".to_owned()];
        Self { input: String::new(), typed: Vec::new(), at: 0, said, speed: 2, runs: true }
    }

    /// Time passed on the wall.
    pub(super) fn pass(&mut self, wall: Duration, table: &mut Table) {
        if !self.runs || table.game.sights().is_empty() {
            return;
        }
        let wall = u64::try_from(wall.min(10 * FRAME).as_micros()).unwrap_or(0);
        let speed = SPEEDS.get(self.speed).copied().unwrap_or(100);
        if let Err(why) = table.game.pass(wall * speed / 100) {
            self.runs = false;
            self.say(&why);
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

    fn enter(&mut self, table: &mut Table) -> Result<bool, Failure> {
        let line = std::mem::take(&mut self.input);
        if line.trim().is_empty() {
            return Ok(true);
        }
        self.say(&format!("> {line}"));
        let mut said = Vec::new();
        let goes_on = table.line(Ok(&line), &mut said)?;
        let said = String::from_utf8_lossy(&said).into_owned();
        // The table of nodes stands on the screen already.
        let words = said.lines().filter(|line| !line.starts_with("    "));
        let words: Vec<&str> = words.collect();
        self.say(&words.join("\n"));
        self.typed.push(line);
        let extra = self.typed.len().saturating_sub(TYPED_MAX);
        self.typed.drain(..extra);
        self.at = self.typed.len();
        Ok(goes_on)
    }

    // ---- the picture

    pub(super) fn draw(&self, frame: &mut Frame<'_>, table: &Table) {
        let sights = table.game.sights();
        let rows = u16::try_from(sights.len()).unwrap_or(1) + 2;
        let [nodes, logs, said, input] = Layout::vertical([
            Constraint::Length(rows + 1),
            Constraint::Length(rows),
            Constraint::Min(3),
            Constraint::Length(3),
        ])
        .areas(frame.area());
        let text = show::table(table.game.micros(), &sights, false);
        let lines: Vec<Line<'_>> = text
            .lines()
            .zip(std::iter::once(None).chain(sights.iter().map(Some)))
            .map(row)
            .collect();
        self.draw_in(frame, nodes, " nodes ", lines);
        let lines = sights.iter().enumerate().map(|(server, sight)| log(server, sight)).collect();
        self.draw_in(frame, logs, " logs: entries by term, committed ones bold; files ", lines);
        let room = usize::from(said.height.saturating_sub(2));
        let from = self.said.len().saturating_sub(room);
        let lines = self.said.iter().skip(from).map(|line| Line::raw(line.as_str())).collect();
        self.draw_in(frame, said, " said ", lines);
        let speed = SPEEDS.get(self.speed).copied().unwrap_or(100);
        let time = if self.runs { format!("time at {speed} %") } else { "time stands".to_owned() };
        let title = format!(" {time} · space: stop, go · + −: speed · ↑ ↓: lines · Ctrl-C: leave ");
        self.draw_in(frame, input, &title, vec![Line::raw(format!("> {}▏", self.input))]);
    }

    fn draw_in(&self, frame: &mut Frame<'_>, area: Rect, title: &str, lines: Vec<Line<'_>>) {
        let block = Block::bordered().title(title.to_owned());
        frame.render_widget(Paragraph::new(lines).block(block), area);
    }
}

/// A line of the table in the colour of its node's term.
fn row<'a>((text, sight): (&'a str, Option<&Sight>)) -> Line<'a> {
    let style = match sight {
        None => Style::new().add_modifier(Modifier::DIM),
        Some(sight) if sight.part == Part::Down => Style::new().add_modifier(Modifier::DIM),
        Some(sight) if sight.part == Part::Leader => {
            Style::new().fg(colour(sight.term)).add_modifier(Modifier::BOLD)
        }
        Some(sight) => Style::new().fg(colour(sight.term)),
    };
    Line::styled(text, style)
}

/// The last entries of a node, and the files of its log.
fn log(server: usize, sight: &Sight) -> Line<'static> {
    let mut spans = vec![Span::raw(format!("node {}  ", server + 1))];
    for (index, term) in &sight.entries {
        let style = Style::new().fg(Color::Black).bg(colour(*term));
        let committed = *index <= sight.commit;
        let weight = if committed { Modifier::BOLD } else { Modifier::DIM | Modifier::ITALIC };
        spans.push(Span::styled(format!(" {index} "), style.add_modifier(weight)));
    }
    let files: Vec<String> = sight.files.iter().map(|file| format!("[{file}]")).collect();
    spans.push(Span::styled(format!("  {}", files.join("")), Style::new().fg(Color::DarkGray)));
    Line::from(spans)
}

fn colour(term: u64) -> Color {
    let at = usize::try_from(term % COLOURS.len() as u64).unwrap_or(0);
    COLOURS.get(at).copied().unwrap_or(Color::White)
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;

    fn typed(screen: &mut Screen, table: &mut Table, line: &str) -> bool {
        for c in line.chars() {
            assert!(screen.key(KeyEvent::from(KeyCode::Char(c)), table).unwrap());
        }
        screen.key(KeyEvent::from(KeyCode::Enter), table).unwrap()
    }

    fn seen(screen: &Screen, table: &Table, (width, height): (u16, u16)) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame, table)).unwrap();
        let cells = terminal.backend().buffer().content().iter();
        cells.map(ratatui::buffer::Cell::symbol).collect()
    }

    #[test]
    fn nodes_logs_and_files_are_on_the_screen_while_time_passes() {
        let mut table = Table::new(1, "none.html".into());
        let mut screen = Screen::new();
        assert!(seen(&screen, &table, (100, 30)).contains("create 3 makes a cluster"));
        assert!(typed(&mut screen, &mut table, "create 3"));
        assert!(typed(&mut screen, &mut table, "set a 1"));
        assert!(typed(&mut screen, &mut table, "bogus"));
        let picture = seen(&screen, &table, (100, 30));
        for words in ["leader", "follower", "node 3", " 2 ", "[1]", "a = 1", "no command"] {
            assert!(picture.contains(words), "{words} in {picture}");
        }
        let before = table.game.micros();
        screen.pass(FRAME, &mut table);
        assert_eq!(table.game.micros(), before + 5000, "ten percent of the wall's time");
        assert!(screen.key(KeyEvent::from(KeyCode::Char(' ')), &mut table).unwrap());
        screen.pass(FRAME, &mut table);
        assert_eq!(table.game.micros(), before + 5000, "it stands");
        assert!(seen(&screen, &table, (100, 30)).contains("time stands"));
        // However small the screen.
        for size in [(1, 1), (20, 5), (300, 3)] {
            seen(&screen, &table, size);
        }
    }

    #[test]
    fn lines_come_back_and_the_last_key_leaves() {
        let mut table = Table::new(1, "none.html".into());
        let mut screen = Screen::new();
        typed(&mut screen, &mut table, "help");
        screen.key(KeyEvent::from(KeyCode::Up), &mut table).unwrap();
        assert_eq!(screen.input, "help");
        screen.key(KeyEvent::from(KeyCode::Backspace), &mut table).unwrap();
        assert_eq!(screen.input, "hel");
        screen.key(KeyEvent::from(KeyCode::Esc), &mut table).unwrap();
        assert_eq!(screen.input, "");
        assert!(!typed(&mut screen, &mut table, "stop"));
        let leave = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(!screen.key(leave, &mut table).unwrap());
    }
}
