//! Columns for people: as wide as what stands in them, numbers to the right, and nothing beyond the
//! line's end. Pure.

/// Where the text of a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// Rows under a headline.
#[derive(Debug)]
pub(crate) struct Table {
    sides: Vec<Side>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[(&str, Side)]) -> Self {
        let head = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        Self { sides: columns.iter().map(|(_, side)| *side).collect(), rows: vec![head] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The lines, the headline first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.sides.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let mut line = String::new();
            for ((cell, width), side) in row.iter().zip(&widths).zip(&self.sides) {
                let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
                line.push_str("  ");
                match side {
                    Side::Left => line.extend([cell.as_str(), &pad]),
                    Side::Right => line.extend([&pad, cell.as_str()]),
                }
            }
            line.trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

/// A bar of at most `width` signs: `part` of `whole`.
pub(crate) fn bar(part: u64, whole: u64, width: u64) -> String {
    let signs = (u128::from(part) * u128::from(width)).div_ceil(u128::from(whole.max(1)));
    "█".repeat(usize::try_from(signs).unwrap_or(0).min(usize::try_from(width).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&[("id", Side::Right), ("name", Side::Left)]);
        table.row(vec!["1".to_owned(), "a".to_owned()]);
        table.row(vec!["1 000".to_owned(), "b".to_owned()]);
        assert_eq!(table.lines(), ["     id  name", "      1  a", "  1 000  b"]);
    }

    #[test]
    fn bars_show_even_the_smallest_part_and_never_more_than_all() {
        assert_eq!((bar(0, 10, 10), bar(1, 1000, 10)), (String::new(), "█".to_owned()));
        assert_eq!((bar(10, 10, 4), bar(99, 0, 2)), ("████".to_owned(), "██".to_owned()));
    }
}
