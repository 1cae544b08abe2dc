//! Every node as a line of a table, and its last entries as another.
//!
//! Above: `game`. Below: what a world sees of a node.

use std::fmt::Write;

use hardlog_raft::trace::Part;

use super::world::View;

/// Characters of what a recovery said, in a table.
const DETAIL_MAX: usize = 48;

/// First and last index.
pub(super) fn window(view: &View) -> String {
    match view.window {
        (first, last) if last < first => "empty".to_owned(),
        (first, last) => format!("{first}..{last}"),
    }
}

/// The table. `micros` since the beginning.
/// Long remarks are cut short unless `all` is asked for.
pub(super) fn table(micros: u64, views: &[View], all: bool) -> String {
    let mut text = format!(
        "{:>9.3}s  {:<13} {:>4}  {:<9} {:>6} {:>7}  {:>8}  {}\n",
        seconds(micros),
        "role",
        "term",
        "log",
        "commit",
        "applied",
        "segments",
        "last start"
    );
    for (server, view) in views.iter().enumerate() {
        let name = format!("node {}", server + 1);
        let segments = view.files.len();
        // Writing to a String cannot fail.
        let _ = if view.part == Part::Down {
            write!(
                text,
                "{name:>10}  {:<13} {:>4}  {:<9} {:>6} {:>7}  {segments:>8}",
                "down", "", "", "", ""
            )
        } else {
            write!(
                text,
                "{name:>10}  {:<13} {:>4}  {:<9} {:>6} {:>7}  {segments:>8}",
                view.part.name(),
                view.term,
                window(view),
                view.commit,
                view.applied,
            )
        };
        let _ = writeln!(text, "  {}", remarks(view, if all { usize::MAX } else { DETAIL_MAX }));
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "a time for reading")]
pub(super) fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// The verdict of the last recovery, and what is wrong now.
pub(super) fn remarks(view: &View, detail_max: usize) -> String {
    let (verdict, detail) = &view.verdict;
    let mut text = verdict.clone();
    if let Some(detail) = detail {
        let short: String = detail.chars().take(detail_max).collect();
        let more = if short.len() < detail.len() { "… (`state` says all)" } else { "" };
        let _ = write!(text, ": {short}{more}");
    }
    if view.snapshot > 0 {
        let _ = write!(text, " · snapshot at {}", view.snapshot);
    }
    for word in &view.remarks {
        let _ = write!(text, " · {word}");
    }
    text
}

/// The last entries: index and term, and where what is committed ends.
pub(super) fn logs(views: &[View]) -> String {
    let mut text = String::new();
    for (server, view) in views.iter().enumerate() {
        let _ = write!(text, "{:>10}  ", format!("node {}", server + 1));
        if view.part == Part::Down && view.entries.is_empty() {
            text.push_str("down\n");
            continue;
        }
        if let Some((first, _)) = view.entries.first()
            && *first > 1
        {
            text.push_str("… ");
        }
        let mut open = false;
        for (index, term) in &view.entries {
            if *index > view.commit && !open && view.part != Part::Down {
                open = true;
                text.push_str("| ");
            }
            let _ = write!(text, "{index}:t{term} ");
        }
        let end = if view.entries.is_empty() { "empty" } else { "" };
        let _ = writeln!(text, "{end}");
    }
    text.push_str("            entry:term; what stands behind | is not known to be committed\n");
    text
}
