//! Notes: the application of these tests, a list of lines.

use std::io::{BufRead, BufReader, Cursor, Read, Result, Write};

use hardlog_openraft::App;
use openraft::{
    EntryPayload,
    impls::BasicNode,
    vote::{RaftCommittedLeaderId, leader_id_std},
};

openraft::declare_raft_types!(
    /// Leader ids with a node in them, which goes into the tag of an entry's header.
    pub(crate) Advanced:
        D = String,
        R = usize,
);

openraft::declare_raft_types!(
    /// Leader ids that are a term.
    pub(crate) Standard:
        D = String,
        R = usize,
        LeaderId = leader_id_std::LeaderId<u64, u64>,
);

openraft09::declare_raft_types!(
    /// The same for openraft 0.9.
    pub(crate) Older:
        D = String,
        R = usize,
);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notes(pub(crate) Vec<String>);

impl Notes {
    fn note(&mut self, line: Option<&String>) -> usize {
        self.0.extend(line.cloned());
        self.0.len()
    }

    fn write(&self, out: &mut dyn Write) -> Result<()> {
        self.0.iter().try_for_each(|line| writeln!(out, "{line}"))
    }

    fn read(input: &mut dyn Read) -> Result<Self> {
        BufReader::new(input).lines().collect::<Result<_>>().map(Self)
    }
}

type Line<L> = openraft::Entry<L, EntryPayload<String, u64, BasicNode>>;

impl<L: RaftCommittedLeaderId> App<Line<L>, usize> for Notes {
    fn apply(&mut self, entry: &Line<L>) -> usize {
        let EntryPayload::Normal(line) = &entry.payload else { return self.note(None) };
        self.note(Some(line))
    }

    fn write_to(&self, out: &mut dyn Write) -> Result<()> {
        self.write(out)
    }

    fn read_from(input: &mut dyn Read) -> Result<Self> {
        Self::read(input)
    }
}

impl App<openraft09::Entry<Older>, usize> for Notes {
    fn apply(&mut self, entry: &openraft09::Entry<Older>) -> usize {
        let openraft09::EntryPayload::Normal(line) = &entry.payload else { return self.note(None) };
        self.note(Some(line))
    }

    fn write_to(&self, out: &mut dyn Write) -> Result<()> {
        self.write(out)
    }

    fn read_from(input: &mut dyn Read) -> Result<Self> {
        Self::read(input)
    }
}
