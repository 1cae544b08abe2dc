//! The picture: what a screen knows, as cells of a terminal of any size.
//!
//! ```text
//!   where and when                       one line
//!   nodes: state, log, files             one to three lines each, as there is room
//!   said            │ happened           what is left; `said` alone where it is narrow
//!   > input
//! ```
//! Above: `screen`. Below: a library for terminals. Nothing is asked here, and nothing changes.
//!
//! INVARIANT: colour carries nothing that words or marks do not: see `paint`.

use hardlog_raft::trace::Part;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Paragraph},
};

use super::Screen;
use crate::{
    paint::{self, Rgb},
    play::{show, world::View},
    row::Place,
};

/// Columns from which on events stand beside what was said.
const WIDE: u16 = 64;
/// Lines below the nodes that are kept for what was said.
const SAID_LINES: u16 = 5;
/// Characters of what a recovery said.
const DETAIL_MAX: usize = 60;

impl Screen {
    /// Draws everything, however small the terminal.
    pub(in crate::play) fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let count = u16::try_from(self.views.len()).unwrap_or(u16::MAX).max(1);
        let room = area.height.saturating_sub(1 + 2 + SAID_LINES + 3);
        let each = (room / count).clamp(1, 3);
        let [head, nodes, below, input] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(count.saturating_mul(each).saturating_add(2)),
            Constraint::Min(0),
            Constraint::Length(3),
        ])
        .areas(area);
        frame.render_widget(Paragraph::new(self.head()), head);
        self.draw_nodes(frame, nodes, each);
        if below.width >= WIDE {
            let halves = [Constraint::Percentage(50), Constraint::Percentage(50)];
            let [left, right] = Layout::horizontal(halves).areas(below);
            self.draw_said(frame, left);
            self.draw_events(frame, right);
        } else {
            self.draw_said(frame, below);
        }
        self.draw_input(frame, input);
    }

    fn head(&self) -> Line<'static> {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let dim = Style::new().add_modifier(Modifier::DIM);
        let how = match (self.real, self.runs) {
            (true, _) => "processes on this machine".to_owned(),
            (false, true) => format!("simulator, time at {} %", self.percent()),
            (false, false) => "simulator, time stands".to_owned(),
        };
        Line::from(vec![
            Span::styled(" raft-lab ", bold.add_modifier(Modifier::REVERSED)),
            Span::styled(format!(" {:.3} s ", show::seconds(self.micros)), bold),
            Span::styled(format!("· {how}"), dim),
        ])
    }

    fn draw_nodes(&self, frame: &mut Frame<'_>, area: Rect, each: u16) {
        let width = usize::from(area.width.saturating_sub(2));
        let mut lines = Vec::new();
        if self.views.is_empty() {
            lines.push(Line::raw(" no cluster yet: `create 3`"));
        }
        for (node, view) in self.views.iter().enumerate() {
            lines.push(self.state(node + 1, view, each));
            if each > 1 {
                lines.push(self.log(view, width));
            }
            if each > 2 {
                lines.push(files(view));
            }
        }
        let title = " nodes · log by term: ▸ applied ┃ committed ╎ durable ";
        boxed(frame, area, title.to_owned(), lines);
    }

    /// Its part, term, log, commit and applied index, and what its last start found.
    fn state(&self, node: usize, view: &View, each: u16) -> Line<'static> {
        let role = self.role(view.part);
        let mark = match view.part {
            Part::Leader => "★",
            Part::Candidate | Part::PreCandidate => "?",
            Part::Follower => "•",
            Part::Learner => "◦",
            Part::Down => "✗",
        };
        let mut spans = vec![Span::styled(
            format!(" {mark} node {node} {:<13}", view.part.name()),
            role.add_modifier(Modifier::BOLD),
        )];
        if view.part != Part::Down {
            let term = self.tint(paint::of_term(view.term)).add_modifier(Modifier::BOLD);
            spans.push(Span::styled(format!("term {:<4}", view.term), term));
            let log = show::window(view);
            let (commit, applied) = (view.commit, view.applied);
            spans.push(Span::raw(format!("log {log:<9} commit {commit:<5} applied {applied:<5}")));
        }
        if each < 3 {
            spans.push(Span::raw(format!("{} files  ", view.files.len())));
        }
        let wrong = !view.remarks.is_empty() || view.part == Part::Down;
        let style = if wrong { self.tint(paint::ALARM) } else { Style::new() };
        spans.push(Span::styled(show::remarks(view, DETAIL_MAX), style));
        Line::from(spans)
    }

    /// The last entries, and the borders in them; the oldest give way where there is no room.
    fn log(&self, view: &View, width: usize) -> Line<'static> {
        let mut cells: Vec<(String, Style)> = Vec::new();
        for (index, term) in &view.entries {
            let style = match self.colour(paint::of_term(*term)) {
                Some(colour) => Style::new().fg(Color::Black).bg(colour),
                None => Style::new().add_modifier(Modifier::REVERSED),
            };
            let weight = if *index <= view.commit { Modifier::BOLD } else { Modifier::DIM };
            cells.push((format!(" {index} "), style.add_modifier(weight)));
            let borders =
                [(Some(view.applied), "▸"), (Some(view.commit), "┃"), (view.durable, "╎")];
            for (at, border) in borders {
                if at == Some(*index) && view.part != Part::Down {
                    cells.push((border.to_owned(), Style::new().add_modifier(Modifier::BOLD)));
                }
            }
        }
        let all = cells.len();
        let mut room = width.saturating_sub(6);
        let fit = cells.iter().rev().take_while(|(text, _)| {
            let len = text.chars().count();
            let fits = len <= room;
            room = room.saturating_sub(len);
            fits
        });
        let from = all - fit.count();
        let older = from > 0 || view.entries.first().is_some_and(|(index, _)| *index > 1);
        let front = if older { "   … " } else { "     " };
        let mut spans = vec![Span::raw(front)];
        spans.extend(cells.into_iter().skip(from).map(|(text, style)| Span::styled(text, style)));
        if all == 0 && view.part != Part::Down {
            spans.push(Span::styled("no entries", Style::new().add_modifier(Modifier::DIM)));
        }
        Line::from(spans)
    }

    fn draw_said(&self, frame: &mut Frame<'_>, area: Rect) {
        let lines = last(self.said.len(), area, |at| {
            let said = self.said.get(at).map(String::as_str).unwrap_or_default();
            let style = match said.chars().next() {
                Some('>') => Style::new().add_modifier(Modifier::BOLD),
                Some('✗') => self.tint(paint::ALARM),
                _ if said.starts_with("error") => self.tint(paint::ALARM),
                _ => Style::new(),
            };
            Line::styled(said.to_owned(), style)
        });
        boxed(frame, area, " said ".to_owned(), lines);
    }

    fn draw_events(&self, frame: &mut Frame<'_>, area: Rect) {
        let lines = last(self.events.len(), area, |at| {
            let Some(event) = self.events.get(at) else { return Line::default() };
            let who = match event.place {
                Place::Node(node) => format!("{node}"),
                Place::World | Place::Wide => "·".to_owned(),
            };
            let style = if event.alarm { self.tint(paint::ALARM) } else { Style::new() };
            let time = Style::new().add_modifier(Modifier::DIM);
            Line::from(vec![
                Span::styled(format!("{} ", event.clock), time),
                Span::styled(format!("{who} "), Style::new().add_modifier(Modifier::BOLD)),
                Span::styled(event.text.clone(), style),
            ])
        });
        boxed(frame, area, " happened ".to_owned(), lines);
    }

    fn draw_input(&self, frame: &mut Frame<'_>, area: Rect) {
        let keys = if self.real {
            " Tab: complete · ↑ ↓: lines · Ctrl-C: leave "
        } else {
            " space: stop, go · + −: speed · Tab: complete · ↑ ↓: lines · Ctrl-C: leave "
        };
        // The end of a long line is what is being typed.
        let room = usize::from(area.width).saturating_sub(6);
        let skip = self.input.chars().count().saturating_sub(room);
        let input: String = self.input.chars().skip(skip).collect();
        boxed(frame, area, keys.to_owned(), vec![Line::raw(format!("> {input}▏"))]);
    }

    fn colour(&self, (red, green, blue): Rgb) -> Option<Color> {
        Some(match self.depth {
            paint::Depth::None => return None,
            paint::Depth::Palette => Color::Indexed(paint::nearest((red, green, blue))),
            paint::Depth::Full => Color::Rgb(red, green, blue),
        })
    }

    fn tint(&self, rgb: Rgb) -> Style {
        self.colour(rgb).map_or(Style::new(), |colour| Style::new().fg(colour))
    }

    fn role(&self, part: Part) -> Style {
        match crate::row::Role::named(part.name()).and_then(paint::of_role) {
            Some(rgb) => self.tint(rgb),
            None => Style::new(),
        }
    }
}

/// The files of its log; the last is the one that it writes to.
fn files(view: &View) -> Line<'static> {
    let mut spans = vec![Span::raw("     ")];
    for (at, (file, len)) in view.files.iter().enumerate() {
        let size = len.map_or(String::new(), |len| format!(" {}K", len >> 10));
        let active = at + 1 == view.files.len() && view.part != Part::Down;
        let weight = if active { Modifier::BOLD } else { Modifier::DIM };
        spans.push(Span::styled(format!("[{file}{size}] "), Style::new().add_modifier(weight)));
    }
    if view.files.is_empty() {
        spans.push(Span::styled("no files", Style::new().add_modifier(Modifier::DIM)));
    }
    Line::from(spans)
}

/// The last lines that fit a box.
fn last(count: usize, area: Rect, line: impl Fn(usize) -> Line<'static>) -> Vec<Line<'static>> {
    let room = usize::from(area.height.saturating_sub(2));
    (count.saturating_sub(room)..count).map(line).collect()
}

fn boxed(frame: &mut Frame<'_>, area: Rect, title: String, lines: Vec<Line<'_>>) {
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(title)), area);
}
