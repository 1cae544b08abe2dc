//! Tables: one sheet for each workload, a row for each contender, and a summary of all ratios.

use std::fmt::Write;

use hardlog_benches::stats::median;

/// What one contender did in one workload.
#[derive(Clone, Debug)]
pub struct Row {
    /// Whose row it is.
    pub name: &'static str,
    /// Cells under the sheet's own headings.
    pub cells: Vec<String>,
    /// The figure that is compared, one of each round; none where the workload cannot be done.
    pub ratios: Vec<f64>,
}

/// All contenders in one workload.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// The workload.
    pub name: String,
    /// Headings of the cells.
    pub heads: &'static [&'static str],
    /// What the ratio is, and which way is better.
    pub ratio: &'static str,
    /// One of each contender.
    pub rows: Vec<Row>,
}

/// Median, smallest and largest over the rounds.
fn spread(ratios: &[f64]) -> Option<(f64, f64, f64)> {
    let smallest = ratios.iter().copied().reduce(f64::min)?;
    let largest = ratios.iter().copied().reduce(f64::max)?;
    Some((median(ratios.to_vec()), smallest, largest))
}

/// Two digits that say something.
fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

impl Sheet {
    /// The sheet in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = format!("### {}\n\n| |", self.name);
        for head in self.heads {
            let _ = write!(out, " {head} |");
        }
        let _ = write!(out, " {} | min – max |\n|---|", self.ratio);
        for _ in 0..self.heads.len() + 2 {
            out.push_str("---:|");
        }
        out.push('\n');
        for row in &self.rows {
            let _ = write!(out, "| {} |", row.name);
            for cell in &row.cells {
                let _ = write!(out, " {cell} |");
            }
            let _ = match spread(&row.ratios) {
                Some((middle, low, high)) => {
                    writeln!(out, " **{}** | {} – {} |", figure(middle), figure(low), figure(high))
                }
                None => writeln!(out, " – | – |"),
            };
        }
        out
    }
}

/// One line for each workload, one column for each contender.
#[must_use]
pub fn summary(sheets: &[Sheet]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for row in sheets.iter().flat_map(|sheet| &sheet.rows) {
        if !names.contains(&row.name) {
            names.push(row.name);
        }
    }
    let mut out = format!("| workload | figure | {} |\n|---|---|", names.join(" | "));
    out.push_str(&"---:|".repeat(names.len()));
    out.push('\n');
    for sheet in sheets {
        let _ = write!(out, "| {} | {} |", sheet.name, sheet.ratio);
        for name in &names {
            let row = sheet.rows.iter().find(|row| row.name == *name);
            let cell = row.and_then(|row| spread(&row.ratios)).map(|(middle, ..)| figure(middle));
            let _ = write!(out, " {} |", cell.unwrap_or_else(|| "–".to_owned()));
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet() -> Sheet {
        let row = |name, ratios| Row { name, cells: vec!["1 ms".into()], ratios };
        Sheet {
            name: "append".into(),
            heads: &["p50"],
            ratio: "time ÷ raw",
            rows: vec![row("raw", vec![1.0]), row("a", vec![3.0, 1.5, 900.0]), row("b", vec![])],
        }
    }

    #[test]
    fn a_row_shows_the_median_round_and_both_ends() {
        let text = sheet().markdown();
        assert!(text.contains("| a | 1 ms | **3.00** | 1.50 – 900 |"), "{text}");
        assert!(text.contains("| b | 1 ms | – | – |"), "{text}");
    }

    #[test]
    fn the_summary_has_a_column_for_everybody_who_appears_anywhere() {
        let mut other = sheet();
        other.rows.remove(0);
        let text = summary(&[sheet(), other]);
        assert!(text.starts_with("| workload | figure | raw | a | b |"), "{text}");
        assert!(text.ends_with("| append | time ÷ raw | – | 3.00 | – |\n"), "{text}");
    }
}
