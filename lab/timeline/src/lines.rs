//! Lines of a file, of standard input, or of a file that still grows, whatever is in them.
//!
//! Above: the formats. Below: a reader of bytes. Memory is bounded: of a line longer than
//! `LINE_MAX` only the front is kept, with its true length.
//!
//! A file that grows is asked again at its end, and from its front once it got shorter (somebody
//! began it anew). A line without its end is handed out only when nothing will follow.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Seek, SeekFrom},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// Bytes of a line that are kept.
pub const LINE_MAX: usize = 256 << 10;
/// How often a growing file is asked.
const PAUSE: Duration = Duration::from_millis(100);

/// One line, without its end.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Line {
    /// Counted from 1.
    pub number: u64,
    /// The first `LINE_MAX` bytes at most.
    pub bytes: Vec<u8>,
    /// Bytes of the whole line.
    pub len: u64,
}

impl Line {
    /// The text, or why it is none.
    pub fn text(&self) -> Result<&str, String> {
        if self.len > self.bytes.len() as u64 {
            return Err(format!("a line of {} bytes is not shown", self.len));
        }
        match std::str::from_utf8(&self.bytes) {
            Ok(text) if !text.contains('\0') => Ok(text),
            _ => Err(format!("{} bytes that are no text", self.len)),
        }
    }
}

/// A source of lines.
pub struct Lines {
    from: Box<dyn BufRead>,
    /// The file to ask again, where that is wanted.
    follow: Option<Grown>,
    line: Line,
}

/// A file that may grow.
struct Grown {
    path: PathBuf,
    /// Bytes taken so far.
    taken: u64,
}

impl Lines {
    /// Opens `path`, or standard input for `-`.
    pub fn open(path: &Path, follow: bool) -> io::Result<Self> {
        let stdin = path.as_os_str() == "-";
        let from: Box<dyn BufRead> = if stdin {
            Box::new(BufReader::new(io::stdin()))
        } else {
            Box::new(BufReader::with_capacity(LINE_MAX, File::open(path)?))
        };
        let follow = (follow && !stdin).then(|| Grown { path: path.to_owned(), taken: 0 });
        Ok(Self { from, follow, line: Line::default() })
    }

    /// Lines of bytes at hand.
    pub fn of(bytes: impl AsRef<[u8]> + 'static) -> Self {
        Self { from: Box::new(Cursor::new(bytes)), follow: None, line: Line::default() }
    }

    /// The next line; `None` at the end, which a followed file has not. `idle` runs before each
    /// wait for more.
    pub fn next(&mut self, mut idle: impl FnMut() -> io::Result<()>) -> io::Result<Option<Line>> {
        loop {
            if self.fill()? {
                let number = self.line.number + 1;
                let line = std::mem::take(&mut self.line);
                self.line.number = number;
                return Ok(Some(Line { number, ..line }));
            }
            if self.follow.is_none() {
                if self.line.len == 0 {
                    return Ok(None);
                }
                let line = std::mem::take(&mut self.line);
                return Ok(Some(Line { number: line.number + 1, ..line }));
            }
            idle()?;
            thread::sleep(PAUSE);
            self.look_again()?;
        }
    }

    /// Reads on in the line; whether its end was found.
    fn fill(&mut self) -> io::Result<bool> {
        loop {
            let buffer = match self.from.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if buffer.is_empty() {
                return Ok(false);
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
            let room = LINE_MAX.saturating_sub(self.line.bytes.len()).min(part.len());
            self.line.bytes.extend_from_slice(part.get(..room).unwrap_or_default());
            self.line.len += part.len() as u64;
            let taken = part.len() + usize::from(end.is_some());
            self.from.consume(taken);
            if let Some(grown) = &mut self.follow {
                grown.taken += taken as u64;
            }
            if end.is_some() {
                if self.line.bytes.last() == Some(&b'\r') && self.line.len <= LINE_MAX as u64 {
                    self.line.bytes.pop();
                    self.line.len -= 1;
                }
                return Ok(true);
            }
        }
    }

    /// Begins anew where the file got shorter than what was taken of it.
    fn look_again(&mut self) -> io::Result<()> {
        let Some(grown) = &mut self.follow else { return Ok(()) };
        // Between its removal and its return a file has no length; the next look decides.
        let Ok(meta) = std::fs::metadata(&grown.path) else { return Ok(()) };
        let mut from = grown.taken;
        if meta.len() < grown.taken {
            (from, self.line) = (0, Line::default());
        }
        let mut file = File::open(&grown.path)?;
        file.seek(SeekFrom::Start(from))?;
        grown.taken = from;
        self.from = Box::new(BufReader::with_capacity(LINE_MAX, file));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn all(mut lines: Lines) -> Vec<Line> {
        let mut found = Vec::new();
        while let Some(line) = lines.next(|| Ok(())).unwrap() {
            found.push(line);
        }
        found
    }

    #[test]
    fn lines_end_where_they_end_and_the_last_needs_no_end() {
        let found = all(Lines::of(b"one\r\n\ntwo"));
        let texts: Vec<_> = found.iter().map(|line| line.text().unwrap()).collect();
        assert_eq!(texts, ["one", "", "two"]);
        assert_eq!(found.iter().map(|line| line.number).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn a_huge_line_costs_its_front_and_says_its_length() {
        let bytes: &'static [u8] = vec![b'x'; 3 * LINE_MAX].leak();
        let found = all(Lines::of(bytes));
        assert_eq!((found.len(), found[0].bytes.len()), (1, LINE_MAX));
        assert!(found[0].text().unwrap_err().contains("786432 bytes"));
    }

    #[test]
    fn what_is_no_text_says_so() {
        let found = all(Lines::of(b"\xff\xfe\nok\n\0\n"));
        assert!(found[0].text().is_err() && found[1].text().is_ok() && found[2].text().is_err());
    }

    #[test]
    fn a_file_is_followed_as_it_grows_and_when_it_begins_anew() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"one\ntw").unwrap();
        let path = file.path().to_owned();
        let mut lines = Lines::open(&path, true).unwrap();
        let text = |line: Option<Line>| line.unwrap().text().unwrap().to_owned();
        assert_eq!(text(lines.next(|| Ok(())).unwrap()), "one");
        let line = lines.next(|| {
            file.write_all(b"o\n")?;
            file.flush()
        });
        assert_eq!(text(line.unwrap()), "two");
        let line = lines.next(|| std::fs::write(&path, "new\n"));
        let line = line.unwrap().unwrap();
        assert_eq!((line.number, line.text().unwrap()), (1, "new"));
    }
}
