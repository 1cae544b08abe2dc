//! Rows laid out in columns: the time, then one column for each node, words wrapped in it.
//!
//! ```text
//!   time     │ n1                  │ n2                  │ n3
//!   0.150012 │ becomes candidate,  │                     │
//!            │ term 1              │                     │
//! ```

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::{
    paint::{self, Depth, Rgb},
    row::{Place, Row, visible},
};

/// Narrower than this no column is made; the lines get longer than the terminal instead.
const COLUMN_MIN: usize = 14;
const BETWEEN: &str = " │ ";

/// Where each column stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    places: Vec<Place>,
    time: usize,
    column: usize,
    /// What stands across all columns may be so wide.
    whole: usize,
}

impl Layout {
    /// Columns for `places` on `width` characters; `time` of them for the time.
    pub(crate) fn new(places: Vec<Place>, time: usize, width: usize) -> Self {
        let count = places.len().max(1);
        let room = width.saturating_sub(time + count * 3);
        let column = (room / count).max(COLUMN_MIN);
        Self { places, time, column, whole: count * (column + 3) - 3 }
    }

    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// The line that names the columns.
    pub(crate) fn heading(&self, depth: Depth, name: impl Fn(Place) -> String) -> String {
        let mut line = pad("time", self.time);
        for (i, place) in self.places.iter().enumerate() {
            line.push_str(BETWEEN);
            let last = i + 1 == self.places.len();
            let name = name(*place);
            line.push_str(&if last { name } else { pad(&name, self.column) });
        }
        let mut out = String::new();
        depth.paint(&mut out, Some((0xff, 0xff, 0xff)), true, line.trim_end());
        out
    }

    /// The row, as one line or more.
    pub(crate) fn lines(&self, row: &Row, depth: Depth, colour: Option<Rgb>) -> Vec<String> {
        let at = self.places.iter().position(|place| *place == row.place);
        let width = if at.is_some() { self.column } else { self.whole };
        let words = visible(&row.text);
        if &*row.kind == "test" {
            // A new test: a line across.
            let text = format!("{} ━━ {words} ", "━".repeat(self.time.saturating_sub(1)));
            let rest = (self.time + 3 + self.whole).saturating_sub(text.width());
            let mut line = String::new();
            depth.paint(&mut line, colour, true, &(text + &"━".repeat(rest)));
            return vec![line];
        }
        let pieces = wrapped(&words, width);
        let mut lines = Vec::with_capacity(pieces.len());
        for (i, piece) in pieces.iter().enumerate() {
            let clock = if i == 0 { row.clock.as_str() } else { "" };
            let mut line = String::new();
            depth.paint(&mut line, Some(paint::QUIET), false, &right(clock, self.time));
            // One at least: words across stand there before any node is known.
            for column in 0..=at.unwrap_or(0) {
                depth.paint(&mut line, Some(paint::QUIET), false, BETWEEN);
                if at.is_none_or(|at| at == column) {
                    depth.paint(&mut line, colour, at.is_none(), piece);
                    break;
                }
                line.push_str(&" ".repeat(self.column));
            }
            let behind = self.places.len().saturating_sub(at.unwrap_or(usize::MAX - 1) + 1);
            if behind > 0 {
                line.push_str(&" ".repeat(self.column.saturating_sub(piece.width())));
                let mut bars = format!("{BETWEEN}{}", " ".repeat(self.column)).repeat(behind);
                bars.truncate(bars.trim_end().len());
                depth.paint(&mut line, Some(paint::QUIET), false, &bars);
            }
            lines.push(line);
        }
        lines
    }
}

fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

fn right(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(text.width())))
}

/// `text` in lines of at most `width` columns: broken at spaces, or anywhere in a word that is
/// wider. Never empty.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let wide = word.width();
        let space = usize::from(used > 0);
        if used + space + wide <= width {
            push(&mut lines, if space > 0 { " " } else { "" });
            push(&mut lines, word);
            used += space + wide;
            continue;
        }
        if used > 0 {
            lines.push(String::new());
            used = 0;
        }
        for c in word.chars() {
            let wide = c.width().unwrap_or(0);
            if used + wide > width && used > 0 {
                lines.push(String::new());
                used = 0;
            }
            push(&mut lines, c.encode_utf8(&mut [0; 4]));
            used += wide;
        }
    }
    lines
}

fn push(lines: &mut [String], text: &str) {
    if let Some(line) = lines.last_mut() {
        line.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_wrap_at_spaces_and_long_ones_anywhere() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrapped("", 4), [""]);
        assert_eq!(wrapped("日本語", 4), ["日本", "語"]);
    }

    #[test]
    fn each_row_stands_under_its_node() {
        let layout = Layout::new(vec![Place::Node(1), Place::Node(2)], 5, 50);
        let mut row = Row::wide(1, "x", "says something that is long".to_owned());
        row.place = Place::Node(2);
        row.clock = "1.5".to_owned();
        let lines = layout.lines(&row, Depth::None, None);
        assert_eq!(lines[0], format!("  1.5 │ {:19} │ says something that", ""));
        assert_eq!(lines[1], format!("      │ {:19} │ is long", ""));
        row.place = Place::Node(1);
        let lines = layout.lines(&row, Depth::None, None);
        assert_eq!(lines[1], format!("      │ {:19} │", "is long"));
        row.place = Place::Wide;
        let lines = layout.lines(&row, Depth::None, None);
        assert_eq!(lines, ["  1.5 │ says something that is long"]);
        assert!(lines.iter().all(|line| line.width() <= 50));
    }

    #[test]
    fn before_any_node_is_known_there_is_room_for_words_across() {
        let layout = Layout::new(Vec::new(), 5, 40);
        let mut row = Row::wide(1, "TEST", "words that stand across it all, wrapped".to_owned());
        let lines = layout.lines(&row, Depth::None, None);
        assert_eq!(lines, ["      │ words that stand across it all,", "      │ wrapped"]);
        row.kind = "test".into();
        let lines = layout.lines(&row, Depth::None, None);
        assert!(lines.len() == 1 && lines[0].contains("━ words that"), "{lines:?}");
    }

    #[test]
    fn the_heading_names_the_columns() {
        let layout = Layout::new(vec![Place::Node(1), Place::Node(2)], 5, 50);
        let heading = layout.heading(Depth::None, |place| format!("{place:?}"));
        assert_eq!(heading, format!("time  │ {:19} │ Node(2)", "Node(1)"));
    }
}
