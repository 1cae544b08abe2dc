//! A trace, or the log of a teaching project, as rows; and rows as one page for a browser.
//!
//! ```text
//!   lines (bytes ─▶ a line) ─▶ format (a line of any format ─▶ a row) ─▶ page (rows ─▶ HTML)
//!                                        └─▶ whoever wants rows: the views of raft-lab
//! ```
//! A package of its own, since two have to write pages: `raft-lab`, and whatever runs clusters and
//! leaves the timeline of a failed run beside its trace (the simulator and the suites of
//! `hardlog-raft`, on which `raft-lab` rests). It needs nothing but a JSON parser.
//!
//! Rows go from the file to the page one by one; what is known only at the end (the nodes) is
//! written behind them. The page holds everything, so how much it gets has a limit.
//!
//! What it does not do: it knows nothing of Raft but words. Whatever a file says is shown, and what
//! cannot be understood is shown as that.

pub mod clock;
pub mod format;
pub mod lines;
mod page;
pub mod row;

use std::{
    ffi::OsStr,
    fmt,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde_json::json;

use self::{
    clock::Moment,
    format::{Format, Reading, Refused},
    lines::Lines,
    page::Page,
    row::Row,
};

/// Events on a page unless more are asked for: with more a browser gets slow.
pub const EVENTS_MAX: u64 = 400_000;
/// The name of the page that stands beside a trace.
pub const BESIDE: &str = "timeline.html";

/// What of a trace goes on the page, and what the page is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The name of the trace, as a file's.
    pub name: String,
    /// The heading; the trace's source and seed otherwise.
    pub title: Option<String>,
    /// Nothing before this.
    pub from: Option<Moment>,
    /// Nothing from this on.
    pub to: Option<Moment>,
    /// Events at most.
    pub max: u64,
}

impl Ask {
    /// Everything in a trace of that name.
    #[must_use]
    pub fn all(name: impl Into<String>) -> Self {
        Self { name: name.into(), title: None, from: None, to: None, max: EVENTS_MAX }
    }

    /// Everything in this file.
    #[must_use]
    pub fn of(file: &Path) -> Self {
        Self::all(file.file_name().unwrap_or(OsStr::new("trace")).to_string_lossy())
    }
}

/// Why there is no page.
#[derive(Debug)]
pub enum Error {
    /// The trace cannot be read, or the page not be written.
    Io(io::Error),
    /// The trace is of a version that is not known.
    Refused(Refused),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Refused(Refused(why)) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}

/// Writes the page of `FILE` as `timeline.html` beside it, in place of one that is there; says
/// where it is.
///
/// # Errors
/// If the trace cannot be read or the page cannot be written; then none is left.
pub fn beside(trace: &Path) -> Result<PathBuf, Error> {
    let page = trace.with_file_name(BESIDE);
    let lines = Lines::open(trace, false)?;
    if let Err(error) = write(lines, &Ask::of(trace), File::create(&page)?) {
        // Half a page shows nothing: the trace itself is still there.
        let _none = std::fs::remove_file(&page);
        return Err(error);
    }
    Ok(page)
}

/// Writes the page of these lines. How many events were too many for it.
///
/// # Errors
/// If a line cannot be read, the page cannot be written, or the trace is refused.
pub fn write(mut lines: Lines, ask: &Ask, to: impl Write) -> Result<u64, Error> {
    let title = ask.title.as_deref().unwrap_or(&ask.name);
    let mut page = Page::begin(BufWriter::new(to), &format!("{title} · raft-lab"))?;
    let mut reading = Reading::default();
    let left_out = rows(ask, &mut lines, &mut reading, &mut page)?;
    let words = reading.header().words();
    let name = ask.name.clone();
    let said = if words.is_empty() { name } else { format!("{words} · {name}") };
    let trace = reading.format().is_none_or(|format| format == Format::Trace);
    let format = match reading.format() {
        Some(Format::Students) => "6.824",
        Some(Format::GoTest) => "go test",
        Some(Format::Trace) | None => "hardlog.trace/1",
    };
    page.end(&json!({
        "title": ask.title.clone().unwrap_or(said),
        "trace": trace,
        "format": format,
        "nodes": reading.nodes(),
    }))?;
    Ok(left_out)
}

/// Hands the rows on; how many were too many.
fn rows<W: Write>(
    ask: &Ask,
    lines: &mut Lines,
    reading: &mut Reading,
    page: &mut Page<W>,
) -> Result<u64, Error> {
    let (mut shown, mut left_out, mut begun) = (0, 0, ask.from.is_none());
    while let Some(line) = lines.next(|| Ok(()))? {
        let Some(row) = reading.row(&line)? else { continue };
        let reached = |moment: &Option<Moment>| {
            moment.as_ref().and_then(|moment| moment.reached(row.micros, &row.clock))
        };
        begun = begun || reached(&ask.from) == Some(true);
        if !begun {
            continue;
        }
        if reached(&ask.to) == Some(true) {
            break;
        }
        if shown < ask.max {
            shown += 1;
            page.row(&row)?;
        } else {
            left_out += 1;
        }
    }
    if left_out > 0 {
        let words = format!("{left_out} more events are not on this page");
        page.row(&Row::broken(0, &words))?;
    }
    Ok(left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = concat!(
        r#"{"trace":"hardlog.trace/1","source":"sim","seed":7,"nodes":[1,2],"clock":"virtual"}"#,
        "\n",
        r#"{"t":1000,"n":1,"q":1,"e":"role","term":1,"role":"candidate"}"#,
        "\n",
        r#"{"t":2000,"n":1,"q":2,"e":"role","term":1,"role":"leader"}"#,
        "\n",
        r#"{"t":3000,"n":2,"q":3,"e":"commit","index":1,"term":1}"#,
        "\n",
    );

    /// The words of the rows on a page, and its title.
    fn page(ask: &Ask) -> (Vec<String>, String, u64) {
        let mut bytes = Vec::new();
        let left_out = write(Lines::of(TRACE), ask, &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let part = |id: &str| -> serde_json::Value {
            let (_, rest) = text.split_once(&format!("id=\"{id}\">")).unwrap();
            serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
        };
        let (rows, head) = (part("rows"), part("head"));
        let words = rows.as_array().unwrap().iter().map(|row| row["x"].as_str().unwrap());
        let (words, title) = (words.map(str::to_owned).collect(), head["title"].as_str().unwrap());
        assert_eq!(head["nodes"], json!([1, 2]));
        (words, title.to_owned(), left_out)
    }

    #[test]
    fn a_page_has_what_was_asked_for() {
        let all = Ask::all("run");
        let (rows, title, left_out) = page(&all);
        let words = ["becomes candidate, term 1", "becomes leader, term 1", "commits 1, term 1"];
        assert_eq!((rows.as_slice(), left_out), (&words.map(str::to_owned)[..], 0));
        assert_eq!(title, "sim, seed 7, virtual time · run");
        let at = |text| Moment::parse(text).ok();
        let (rows, ..) = page(&Ask { from: at("2ms"), to: at("3ms"), ..all.clone() });
        assert_eq!(rows, [words[1]]);
        let (rows, title, left_out) = page(&Ask { max: 1, title: Some("t".into()), ..all });
        assert_eq!(rows, [words[0], "line 0: 2 more events are not on this page"]);
        assert_eq!((title.as_str(), left_out), ("t", 2));
    }

    #[test]
    fn it_stands_beside_its_trace_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let trace = dir.path().join("trace.ndjson");
        std::fs::write(&trace, TRACE).unwrap();
        let page = beside(&trace).unwrap();
        assert_eq!(page, dir.path().join("timeline.html"));
        assert!(std::fs::read_to_string(&page).unwrap().ends_with("</html>\n"));
        std::fs::write(&trace, TRACE.replace("trace/1", "trace/2")).unwrap();
        assert!(beside(&trace).unwrap_err().to_string().contains("version 2"));
        assert!(!page.exists(), "half a page is none");
        assert!(matches!(beside(&dir.path().join("none")), Err(Error::Io(_))));
    }
}
