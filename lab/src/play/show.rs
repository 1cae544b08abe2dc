//! Every node as a line of a table, and its last entries as another.
//!
//! Above: `game`. Below: what the simulator sees of a node.

use std::fmt::Write;

use hardlog_raft::{sim::lab::hands::Sight, trace::Part};

/// Characters of what a recovery said, in a table.
const DETAIL_MAX: usize = 48;

/// First and last index.
fn window(sight: &Sight) -> String {
    match sight.window {
        (first, last) if last < first => "empty".to_owned(),
        (first, last) => format!("{first}..{last}"),
    }
}

/// The table. `micros` since the beginning.
/// Long remarks are cut short unless `all` is asked for.
pub(super) fn table(micros: u64, sights: &[Sight], all: bool) -> String {
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
    for (server, sight) in sights.iter().enumerate() {
        let name = format!("node {}", server + 1);
        // Writing to a String cannot fail.
        let _ = if sight.part == Part::Down {
            write!(
                text,
                "{name:>10}  {:<13} {:>4}  {:<9} {:>6} {:>7}  {:>8}",
                "down", "", "", "", "", sight.segments
            )
        } else {
            write!(
                text,
                "{name:>10}  {:<13} {:>4}  {:<9} {:>6} {:>7}  {:>8}",
                sight.part.name(),
                sight.term,
                window(sight),
                sight.commit,
                sight.applied,
                sight.segments
            )
        };
        let _ = writeln!(text, "  {}", remarks(sight, if all { usize::MAX } else { DETAIL_MAX }));
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "a time for reading")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// The verdict of the last recovery, and what is wrong now.
pub(super) fn remarks(sight: &Sight, detail_max: usize) -> String {
    let (verdict, detail) = &sight.verdict;
    let mut text = verdict.clone();
    if let Some(detail) = detail {
        let short: String = detail.chars().take(detail_max).collect();
        let more = if short.len() < detail.len() { "… (`state` says all)" } else { "" };
        let _ = write!(text, ": {short}{more}");
    }
    let now = [
        (sight.snapshot > 0).then(|| format!("snapshot at {}", sight.snapshot)),
        (!sight.connected).then(|| "disconnected".to_owned()),
        sight.hangs.then(|| "disk hangs".to_owned()),
        sight.full.then(|| "disk full".to_owned()),
        (!sight.durable).then(|| "not all synced".to_owned()),
        sight.retired.then(|| "out for good".to_owned()),
    ];
    for word in now.into_iter().flatten() {
        let _ = write!(text, " · {word}");
    }
    text
}

/// The last entries: index and term, and where what is committed ends.
pub(super) fn logs(sights: &[Sight]) -> String {
    let mut text = String::new();
    for (server, sight) in sights.iter().enumerate() {
        let _ = write!(text, "{:>10}  ", format!("node {}", server + 1));
        if sight.part == Part::Down {
            text.push_str("down\n");
            continue;
        }
        if let Some((first, _)) = sight.entries.first()
            && *first > 1
        {
            text.push_str("… ");
        }
        let mut open = false;
        for (index, term) in &sight.entries {
            if *index > sight.commit && !open {
                open = true;
                text.push_str("| ");
            }
            let _ = write!(text, "{index}:t{term} ");
        }
        let end = if sight.entries.is_empty() { "empty" } else { "" };
        let _ = writeln!(text, "{end}");
    }
    text.push_str("            entry:term; what stands behind | is not known to be committed\n");
    text
}
