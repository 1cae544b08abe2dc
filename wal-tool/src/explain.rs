//! `explain`: what a finding's code means, how dangerous it is, and what to do about it.

use hardlog::inspect::Code;
use serde_json::{Value, json};

use crate::{
    args::Format,
    exit::{self, CLEAN, Ended, Failure},
    json, number,
    out::{Out, Tone},
};

/// One page.
struct Page {
    cause: &'static str,
    danger: &'static str,
    action: &'static str,
}

const fn page(cause: &'static str, danger: &'static str, action: &'static str) -> Page {
    Page { cause, danger, action }
}

/// The three ways out of damage, the same for every kind.
const WAYS_OUT: &str = "wal-tool repair DIR shows what can be done and what would be lost, and changes \
nothing. The ways out, in this order: fetch what is missing from a healthy replica (--from-replica); \
rebuild this node under a new id from the others; only if there is no other replica, accept the loss \
(--accept-loss).";

/// What `explain` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct Args {
    /// A code such as W202; `all` for every one of them.
    pub(crate) code: String,
}

pub(crate) fn run(code: &str, out: &mut Out) -> Ended {
    let codes: Vec<Code> = if code.eq_ignore_ascii_case("all") {
        Code::ALL.to_vec()
    } else {
        let unknown =
            || Failure::Usage(format!("no code {code}; `wal-tool explain all` lists them"));
        vec![Code::parse(code).ok_or_else(unknown)?]
    };
    if out.format != Format::Human {
        return objects(&codes, out);
    }
    for (at, code) in codes.iter().enumerate() {
        let Page { cause, danger, action } = about(*code);
        if at > 0 {
            out.line("")?;
        }
        let name = out.toned(Tone::Strong, code.name());
        out.line(&format!("{name}  {}", code.title()))?;
        for (label, text) in [("cause", cause), ("danger", danger), ("do", action)] {
            for (at, line) in number::wrapped(text, 70).iter().enumerate() {
                let label = if at == 0 { label } else { "" };
                out.line(&format!("  {label:<7} {line}"))?;
            }
        }
    }
    Ok(CLEAN)
}

/// One object a page in ndjson, one with all pages in JSON where there are several.
fn objects(codes: &[Code], out: &mut Out) -> Ended {
    let page = |code: &Code| {
        let Page { cause, danger, action } = about(*code);
        json!({
            "code": code.name(),
            "title": code.title(),
            "cause": cause,
            "danger": danger,
            "action": action,
        })
    };
    if codes.len() > 1 && out.format == Format::Json {
        let pages: Vec<Value> = codes.iter().map(page).collect();
        let all = json!({ "schema": "wal-tool.explain.all/1", "exit": CLEAN, "pages": pages });
        return out.object(&all).map(|()| CLEAN).map_err(Failure::Output);
    }
    for code in codes {
        let mut one = json::tagged("wal-tool.explain/1", page(code));
        one["exit"] = json!(CLEAN);
        out.object(&one)?;
    }
    Ok(CLEAN)
}

fn about(code: Code) -> Page {
    match code.name().as_bytes().get(1) {
        Some(b'1') => heals(code),
        Some(b'2') => batches(code),
        Some(b'3') => chain(code),
        Some(b'4') => meaning(code),
        Some(b'6') => replicas(code),
        _ => snapshots(code),
    }
}

fn heals(code: Code) -> Page {
    match code {
        Code::W101 => page(
            "The last bytes of the log are no valid batch, and nothing behind them states that they \
             were durable. A power cut or a kill in the middle of a write leaves exactly this. Rot \
             of the very last batch can look the same.",
            "None, if the disk keeps its promises: what was acknowledged was synced, and what was \
             synced is proven by a later batch or marker. The log says aloud which entries may be \
             lost (`maybe lost`) until somebody takes note of it.",
            "Start the node. It goes on without these bytes and leaves them where they are. If it \
             is the only replica, look at the bytes first: wal-tool dump DIR --batches.",
        ),
        Code::W102 => page(
            "A marker, which only repeats what was promised, is missing; the batches go on behind \
             it in order.",
            "None: a marker holds nothing that other batches do not hold.",
            "Nothing. If it comes back, look at the disk.",
        ),
        Code::W103 => page(
            "A file of unfinished work, or one that a trim or a recovery has made superfluous and \
             whose removal was cut off.",
            "None: the chain of segments does not name it.",
            "Nothing: the next open removes it. Never delete segment files by hand.",
        ),
        Code::W104 => page(
            "The index file beside a sealed segment is missing, torn, or speaks of another segment. \
             It is derived from the segment and not synced with care.",
            "None: an open scans the segment instead, which takes longer, and writes the index \
             anew.",
            "Nothing.",
        ),
        _ => page(
            "Damaged bytes that no longer count: the entries were trimmed, truncated, or supplied \
             anew; or only padding is damaged.",
            "None for the log. The disk has lost bytes that it had taken.",
            "Nothing for the log. Look at the disk (smartctl, dmesg) before it loses others.",
        ),
    }
}

fn batches(code: Code) -> Page {
    match code {
        Code::W202 => page(
            "The bytes of an entry differ from their checksum, while the head of their batch is \
             good. The entry's index and term are known, and something later proves that it was \
             durable: this is rot or a misdirected write, not a torn one.",
            "The entry may have been acknowledged. If it lies at or below the commit index it was. \
             Truncating there would take back what clients were told.",
            WAYS_OUT,
        ),
        Code::W203 => page(
            "A head names more bytes than the file or the limit of this segment can hold.",
            "As W201: what the batch held is not known.",
            WAYS_OUT,
        ),
        Code::W204 => page(
            "Every checksum of the batch is right, and it says what no version of this log writes.",
            "Either a version with a fault wrote it, or somebody edited the file. The engine \
             refuses the log.",
            "Keep a copy and report it. Then as for other damage: fetch from a healthy replica, or \
             rebuild the node under a new id.",
        ),
        Code::W205 => page(
            "A valid batch stands where another sequence was expected: batches between are missing.",
            "Whole batches are lost that were durable; they may have held entries, votes or \
             truncations.",
            WAYS_OUT,
        ),
        _ => page(
            "The head of a batch differs from its checksum, or zeros stand where a batch was, and \
             something later proves that it was durable.",
            "What the batch held is not known from this disk: entries, a truncation, or a vote. \
             The engine refuses the log, in every mode.",
            WAYS_OUT,
        ),
    }
}

fn chain(code: Code) -> Page {
    match code {
        Code::W301 => page(
            "A segment that its successor names, or whose successor is proven to have existed, is \
             not there. Somebody deleted it, a restore left it out, or the directory lost a name.",
            "All entries of that file are missing.",
            "Look for the file: in backups, in the trash, in lost+found. Put back exactly that \
             file. Otherwise: wal-tool repair DIR --from-replica PEER, or rebuild this node under a \
             new id from the others.",
        ),
        Code::W302 => page(
            "A segment is not the one that its successor names (another salt), or is shorter than \
             its successor states. Files of two copies of a directory were mixed, or one was cut.",
            "Entries may be missing or belong to another history.",
            "Find out where the files came from. Never mix the files of two copies of a log.",
        ),
        Code::W303 => page(
            "The file carries the id of another log.",
            "It says nothing about this node.",
            "Take it away, and find out how it got here; then look for the file that belongs here.",
        ),
        _ => page(
            "A segment's header stands twice in the file. One copy is bad (a warning: the other \
             serves), both are bad, or they differ.",
            "With both gone nothing in the file can be believed, since its checksums are seeded \
             from the header.",
            WAYS_OUT,
        ),
    }
}

fn meaning(code: Code) -> Page {
    match code {
        Code::W401 => page(
            "Entries do not begin where the ones before end.",
            "Either batches are missing or a fault wrote them so. The engine refuses the log.",
            WAYS_OUT,
        ),
        Code::W402 => page(
            "An entry has a lower term than the one before it. Raft never makes such a log.",
            "This replica may disagree with the others about committed entries.",
            "Compare it with the other replicas before it takes part again.",
        ),
        Code::W403 => page(
            "The commit index lies beyond the last entry: entries that were committed are not here.",
            "This node has forgotten what it once confirmed. With its vote it can help to elect a \
             leader that has forgotten too.",
            "Do not let it vote: rebuild it under a new id from the others.",
        ),
        _ => page(
            "The term of the hard state is below that of an entry: a promise was forgotten, or the \
             program that uses the log did not save it.",
            "The node might vote twice in one term.",
            "Do not let it vote: rebuild it under a new id from the others.",
        ),
    }
}

fn replicas(code: Code) -> Page {
    match code {
        Code::W601 => page(
            "Two replicas hold different entries at an index that both call committed. Raft never \
             does that: one of the logs was edited, mixed up, restored from an older copy, or lost \
             a promise; or the program broke a rule.",
            "Clients were told one thing by one replica and another by the other. State machines \
             have diverged.",
            "Stop the replicas. Keep all directories. Find the one that differs from the majority, \
             and how it came to do so, before anything is rebuilt: wal-tool dump A..B on each.",
        ),
        _ => page(
            "Two replicas hold different entries above what both call committed. As a note this is \
             what elections leave: entries that an old leader could not get to a majority. As an \
             error the two agree on an entry behind the difference, or on index and term and not on \
             the bytes: that breaks Log Matching.",
            "None for the note: the next leader overwrites them. For the error: a leader would take \
             the logs for equal where they are not.",
            "Nothing for the note. For the error as W601.",
        ),
    }
}

fn snapshots(code: Code) -> Page {
    match code {
        Code::W502 => page(
            "The log marks a snapshot as complete, and there is no such file. The mark is written \
             only when the file is durable under its name, so somebody removed it.",
            "The entries that it covers are gone from the log. Starting with an empty state machine \
             would be silent loss, so the engine refuses.",
            "Put the file back from a backup, copy it from a replica (wal-tool repair DIR \
             --from-replica PEER), or rebuild this node from the others.",
        ),
        Code::W503 => page(
            "A snapshot file has no valid trailer. Files get their name only when they are \
             complete, so it was cut short afterwards.",
            "As W501.",
            "As W501.",
        ),
        Code::W504 => page(
            "The log begins behind the newest marked snapshot: the entries between are nowhere.",
            "The state machine cannot be brought up to date from this disk.",
            "Let the leader send a newer snapshot, or rebuild this node.",
        ),
        _ => page(
            "A snapshot file differs from its checksums.",
            "If it is the newest marked one, the state machine cannot be restored from this disk; \
             an older one serves only where the log reaches back to it. If it is not, nothing \
             counts on it.",
            "Copy it from a replica (wal-tool repair DIR --from-replica PEER), or rebuild this node.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_of_its_own() {
        let mut causes: Vec<&str> = Code::ALL.iter().map(|code| about(*code).cause).collect();
        causes.sort_unstable();
        causes.dedup();
        assert_eq!(causes.len(), Code::ALL.len());
    }
}
