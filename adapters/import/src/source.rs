//! What a raft-engine directory holds of each group: entries, hard state, membership.
//!
//! Above: the import. Below: `raft-engine`. Nothing is believed: indexes and commit must fit.

use std::path::Path;

use hardlog_raft_rs::raft::eraftpb::{ConfState, Entry, HardState};
use protobuf::{CodedInputStream, Message};
use raft_engine::{Config, Engine, MessageExt};

use crate::{Error, Plan, Result};

/// Bytes of entries that are held at once.
const CHUNK: usize = 4 << 20;

/// Under which key a group keeps its hard state, and in which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateKey {
    /// TiKV's `RaftLocalState`: a hard state and the last index.
    Local(Vec<u8>),
    /// A `HardState` of raft-rs.
    Bare(Vec<u8>),
}

impl Default for StateKey {
    /// As TiKV keeps it.
    fn default() -> Self {
        Self::Local(b"R".to_vec())
    }
}

/// What was found of a group, and copied.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its number: the region's.
    pub id: u64,
    /// First index.
    pub first: u64,
    /// Last index.
    pub last: u64,
    /// Term, vote and commit.
    pub hard_state: HardState,
}

/// Tells raft-engine what an entry is.
struct Entries;

impl MessageExt for Entries {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

/// An open raft-engine directory.
pub(crate) struct Source {
    engine: Engine,
}

impl Source {
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let dir = dir.to_string_lossy().into_owned();
        Ok(Self { engine: Engine::open(Config { dir, ..Config::default() })? })
    }

    /// All groups, in order.
    pub(crate) fn groups(&self) -> Vec<u64> {
        let mut groups = self.engine.raft_groups();
        groups.sort_unstable();
        groups
    }

    /// A group, if there is anything of Raft in it.
    ///
    /// # Errors
    /// `Group` where it is not the whole state of a node.
    pub(crate) fn group(&self, id: u64, key: &StateKey) -> Result<Option<Group>> {
        let bad = |why: &str| Error::Group { group: id, why: why.to_owned() };
        let window = self.engine.first_index(id).zip(self.engine.last_index(id));
        let state = self.engine.get(id, key.bytes());
        let (first, last, state) = match (window, state) {
            (None, None) => return Ok(None),
            (None, Some(_)) => {
                return Err(bad("a hard state and no entries: the term of its last entry is not \
                                in raft-engine; remove the replica and add it again"));
            }
            (Some(_), None) => return Err(bad("entries and no hard state under the given key")),
            (Some((first, last)), Some(state)) => (first, last, state),
        };
        let hard_state = key.decode(&state).map_err(|e| bad(&format!("its hard state: {e}")))?;
        let committed = hard_state.commit.checked_add(1).is_some_and(|next| next >= first);
        if first == 0 || last < first || !committed || hard_state.commit > last {
            let commit = hard_state.commit;
            return Err(bad(&format!("entries {first} to {last} with commit {commit}")));
        }
        Ok(Some(Group { id, first, last, hard_state }))
    }

    /// Calls `with` with all entries of a group, a few at a time, in order and without a hole.
    ///
    /// # Errors
    /// Of raft-engine, of `with`; `Group` where one is missing.
    pub(crate) fn each_chunk(
        &self,
        group: &Group,
        mut with: impl FnMut(&[Entry]) -> Result<()>,
    ) -> Result<()> {
        let mut next = group.first;
        let mut chunk = Vec::new();
        while next <= group.last {
            chunk.clear();
            let end = group.last + 1;
            self.engine.fetch_entries_to::<Entries>(
                group.id,
                next,
                end,
                Some(CHUNK),
                &mut chunk,
            )?;
            let expected = next..;
            let in_order = chunk.iter().zip(expected).all(|(entry, index)| entry.index == index);
            if chunk.is_empty() || !in_order {
                let why = format!("entry {next} is missing");
                return Err(Error::Group { group: group.id, why });
            }
            with(&chunk)?;
            next += chunk.len() as u64;
        }
        Ok(())
    }
}

impl StateKey {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Local(key) | Self::Bare(key) => key,
        }
    }

    fn decode(&self, bytes: &[u8]) -> Result<HardState, protobuf::ProtobufError> {
        let mut hard_state = HardState::default();
        match self {
            Self::Bare(_) => hard_state.merge_from_bytes(bytes)?,
            Self::Local(_) => {
                let mut input = CodedInputStream::from_bytes(bytes);
                while !input.eof()? {
                    let (field, wire_type) = input.read_tag_unpack()?;
                    // Field 1 is the hard state; field 2, the last index, the entries tell.
                    if field == 1 {
                        input.merge_message(&mut hard_state)?;
                    } else {
                        input.skip_field(wire_type)?;
                    }
                }
            }
        }
        Ok(hard_state)
    }
}

/// The membership of a group, if there is one: under the plan's key, else the plan's voters.
pub(crate) fn members_of(source: &Source, id: u64, plan: &Plan) -> Result<Option<ConfState>> {
    let kept = plan.members_key.as_ref().and_then(|key| source.engine.get(id, key));
    if let Some(bytes) = kept {
        let mut members = ConfState::default();
        members
            .merge_from_bytes(&bytes)
            .map_err(|e| Error::Group { group: id, why: format!("its membership: {e}") })?;
        return Ok(Some(members));
    }
    let voters = Some(&plan.voters).filter(|voters| !voters.is_empty());
    Ok(voters.map(|voters| ConfState::from((voters.clone(), Vec::new()))))
}
