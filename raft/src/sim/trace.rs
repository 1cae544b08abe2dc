//! What happened, in order: as a digest always, as text when somebody will read it.

use super::{Micros, mirror::mix};

/// The trace of a run.
#[derive(Debug, Default)]
pub(super) struct Trace {
    digest: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(super) fn new(text: bool) -> Self {
        Self { digest: 0, lines: text.then(Vec::new) }
    }

    /// Something happened at `now`; `words` tell it apart from anything else.
    pub(super) fn note(&mut self, now: Micros, words: &[u64], text: impl FnOnce() -> String) {
        self.digest = words.iter().fold(mix(self.digest, now), |sum, word| mix(sum, *word));
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>11.3} {}", Millis(now), text()));
        }
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    pub(super) fn take_lines(&mut self) -> Vec<String> {
        self.lines.take().unwrap_or_default()
    }
}

/// A time in milliseconds, for reading.
struct Millis(Micros);

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!("{}.{:03}", self.0 / 1000, self.0 % 1000);
        write!(f, "{text:>11}")
    }
}
