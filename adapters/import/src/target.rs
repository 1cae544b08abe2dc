//! A group as a log: written as a node writes it, then read back and compared.
//!
//! Above: the import. Below: `hardlog-raft-rs`.

use std::path::Path;

use hardlog::{Log, Options};
use hardlog_raft_rs::{
    Error as AdapterError, LogStorage, Update,
    raft::{
        GetEntriesContext, Storage,
        eraftpb::{ConfState, HardState},
    },
};

use crate::{
    Error, Result,
    source::{Group, Source},
};

/// Copies a group into a new log, which is closed and durable then.
pub(crate) fn copy(
    source: &Source,
    group: &Group,
    members: Option<&ConfState>,
    dir: &Path,
) -> Result<()> {
    let of_log = |source: AdapterError| Error::Log { group: group.id, source };
    let log = Log::create(dir, Options::new()).map_err(|e| of_log(e.into()))?;
    let mut storage = LogStorage::new(log).map_err(of_log)?;
    // The term before the first entry is not in raft-engine: whoever needs it gets a snapshot.
    storage.log_mut().reset(group.first, None).map_err(|e| of_log(e.into()))?;
    source.each_chunk(group, |entries| {
        storage.write(Update { entries, ..Update::default() }).map(drop).map_err(of_log)
    })?;
    let hard_state = Some(&group.hard_state);
    storage.write(Update { hard_state, ..Update::default() }).map_err(of_log)?;
    if let Some(members) = members {
        // As of before the first entry: no change among the entries is taken for applied.
        storage.save_conf_state(group.first - 1, members).map_err(of_log)?;
    }
    // DURABILITY: all of it, and a marker that makes the last batch provable.
    storage.close().map_err(of_log)
}

/// Opens the log as a node would and compares everything with the source.
pub(crate) fn verify(
    source: &Source,
    group: &Group,
    members: Option<&ConfState>,
    dir: &Path,
) -> Result<()> {
    let of_log = |source: AdapterError| Error::Log { group: group.id, source };
    let differs = |what: String| Error::Differs { group: group.id, what };
    let (log, report) = Log::open(dir, Options::new()).map_err(|e| of_log(e.into()))?;
    if report.maybe_lost.is_some() {
        return Err(differs(format!("the log ({report})")));
    }
    let storage = LogStorage::new(log).map_err(of_log)?;
    let window = (storage.log().first_log_index(), storage.log().last_log_index());
    if window != (group.first, Some(group.last)) {
        return Err(differs("the window".to_owned()));
    }
    let hs = storage.log().hard_state();
    let found = (hs.term, hs.vote.unwrap_or(0), hs.commit);
    let HardState { term, vote, commit, .. } = group.hard_state;
    if found != (term, vote, commit) {
        return Err(differs("the hard state".to_owned()));
    }
    if storage.conf_state().map_err(of_log)?.1 != members.cloned().unwrap_or_default() {
        return Err(differs("the membership".to_owned()));
    }
    source.each_chunk(group, |expected| {
        let (Some(first), Some(last)) = (expected.first(), expected.last()) else { return Ok(()) };
        let context = GetEntriesContext::empty(false);
        let found = storage.entries(first.index, last.index + 1, None, context).map_err(|e| {
            Error::Group { group: group.id, why: format!("its new log cannot be read: {e}") }
        })?;
        match expected.iter().zip(&found).find(|(expected, found)| expected != found) {
            None if expected.len() == found.len() => Ok(()),
            other => Err(differs(format!("entry {}", other.map_or(last.index, |(e, _)| e.index)))),
        }
    })
}
