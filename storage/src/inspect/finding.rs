//! What inspection can find: codes that never change their meaning, how bad each is, and where it is.
//!
//! Above: everybody who prints or counts findings. Below: nothing. Pure.
//! A code is API: it is documented, scripts compare it, and it is never given to something else.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::{
    entry::{Index, Term},
    error::Evidence,
    verdict::Verdict,
};

macro_rules! codes {
    ($($code:ident $title:literal: $doc:literal;)*) => {
        /// What was found. The numbers are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code { $(#[doc = $doc] $code,)* }

        impl Code {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$code),*];

            /// The code as it is printed, `W101`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$code => stringify!($code),)* }
            }

            /// A few words for people.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$code => $title,)* }
            }
        }
    };
}

codes! {
    W101 "unproven tail": "A torn batch, or rot of the last one that nothing later proves.";
    W102 "marker missing": "Only a marker is missing; the batches go on behind it.";
    W103 "leftover": "A stale temporary file, or what a trim left behind.";
    W104 "index file": "An index file is missing or bad: it is made again.";
    W105 "damage that no longer counts": "Below the window, truncated later, or refilled.";
    W201 "head CRC": "The head of a batch that was durable does not check.";
    W202 "payload CRC": "A payload that was durable does not check; the entry is known.";
    W203 "length out of bounds": "A head names lengths that the file or the limit cannot hold.";
    W204 "unknown section": "A valid batch says something no version of this log writes.";
    W205 "sequence gap": "A valid batch with another sequence stands where one was expected.";
    W301 "missing segment": "The chain of segments names a file that is not there.";
    W302 "predecessor mismatch": "A file is not the one that its successor names.";
    W303 "foreign log id": "A file of another log.";
    W304 "segment header": "A copy of a segment's header is bad, or the copies differ.";
    W401 "index gap": "The entries do not follow each other.";
    W402 "term goes back": "An entry has a lower term than the one before it.";
    W403 "commit past the end": "The commit index lies beyond the last entry.";
    W404 "hard state older than an entry": "The term of the hard state is below an entry's.";
    W501 "snapshot CRC": "A snapshot file does not check.";
    W502 "mark without file": "The log marks a snapshot, and there is no such file.";
    W503 "no trailer": "A snapshot file has no valid trailer: it is cut short.";
    W504 "gap between snapshot and log": "Entries between the newest mark and the window are gone.";
    W601 "replicas differ below commit": "Two replicas hold different entries that both call committed.";
    W602 "replicas differ above commit": "Two replicas hold different entries that not both call committed.";
}

impl Code {
    /// The code of a name such as `W101`, in upper or lower case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth a line, no reason to do anything: work of a live process that is under way.
    Note,
    /// Opening the log heals it, or nothing counts on it.
    Warning,
    /// An operator is needed.
    Error,
}

impl Severity {
    /// One word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was found, with everything needed to decide what to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// What it is.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// In which file.
    pub file: PathBuf,
    /// Where it begins, in bytes; 0 where it concerns the file as a whole.
    pub offset: u64,
    /// How many bytes; 0 where that means nothing.
    pub len: u64,
    /// The entries concerned, first and last, as far as they are known.
    pub indexes: Option<(Index, Index)>,
    /// Term of the first of them.
    pub term: Option<Term>,
    /// The verdict on the bytes, where the decision table was asked.
    pub verdict: Option<Verdict>,
    /// What proves, if anything does, that the bytes were durable.
    pub evidence: Option<Evidence>,
    /// What is particular to this case, in words.
    pub detail: String,
}

impl Finding {
    /// A finding that concerns a file as a whole.
    pub(crate) fn new(code: Code, severity: Severity, file: impl Into<PathBuf>) -> Self {
        Self {
            code,
            severity,
            file: file.into(),
            offset: 0,
            len: 0,
            indexes: None,
            term: None,
            verdict: None,
            evidence: None,
            detail: String::new(),
        }
    }

    pub(crate) fn at(mut self, offset: u64, len: u64) -> Self {
        (self.offset, self.len) = (offset, len);
        self
    }

    pub(crate) fn says(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    pub(crate) fn judged(mut self, verdict: Verdict, evidence: Evidence) -> Self {
        (self.verdict, self.evidence) = (Some(verdict), Some(evidence));
        self
    }

    pub(crate) fn entries(mut self, indexes: Option<(Index, Index)>, term: Option<Term>) -> Self {
        (self.indexes, self.term) = (indexes, term);
        self
    }

    /// The name of the file, without its directory.
    #[must_use]
    pub fn file_name(&self) -> String {
        self.file.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Whether two looks found the same thing.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.code, self.offset, &self.file) == (other.code, other.offset, &other.file)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.code, self.code.title(), self.file_name())?;
        if self.len > 0 || self.offset > 0 {
            write!(f, " at offset {:#x}", self.offset)?;
        }
        match self.indexes {
            Some((first, last)) if first == last => write!(f, ", entry {first}")?,
            Some((first, last)) => write!(f, ", entries {first}..={last}")?,
            None => {}
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

/// Something that kept inspection from looking.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Trouble {
    /// The disk or the system said no: the rest of this file was not looked at.
    Io {
        /// Which file or directory.
        file: PathBuf,
        /// What was said.
        message: String,
    },
    /// A newer version wrote it.
    NewerFormat {
        /// Which file.
        file: PathBuf,
        /// Its format.
        found: String,
        /// The newest format this version reads.
        supported: String,
    },
}

impl Trouble {
    /// Whether it is about this file.
    pub(crate) fn concerns(&self, path: &Path) -> bool {
        let (Self::Io { file, .. } | Self::NewerFormat { file, .. }) = self;
        file == path
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { message, .. } => f.write_str(message),
            Self::NewerFormat { file, found, supported } => write!(
                f,
                "{}: format {found} is newer than {supported}, the newest this version reads",
                file.display()
            ),
        }
    }
}
