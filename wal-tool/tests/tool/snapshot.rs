//! `snapshot`: files are listed, shown and verified, and go from one log to another only where both
//! are of one history.

use std::{fs, path::Path};

use hardlog::{EntryId, Log, Options};

use crate::{code, directories as made, text, tool};

/// Payloads of all lengths that matter: none, less than a piece, several pieces.
fn taken(dir: &Path, index: u64, payload: &[u8]) {
    use std::io::Write;
    let (mut log, _) = Log::open(dir, made::options()).expect("opens");
    let id = log.id_at(index).expect("there");
    let mut writer = log.snapshots().begin(id, b"beside it").expect("begins");
    writer.write_all(payload).expect("writes");
    let mark = writer.commit().expect("commits");
    log.mark_snapshot(mark).expect("marks");
    log.close().expect("closes");
}

#[test]
fn the_files_are_listed_shown_and_verified() {
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path();
    made::lay(&made::healthy(), &home.join("n1"));
    made::lay(&made::bad_snapshot(), &home.join("bad"));
    made::lay(&made::stateless(), &home.join("gone"));
    assert_eq!(tool(home, "snapshot ls n1").stdout, tool(home, "ls n1 --snapshots").stdout);
    let shown = text(&tool(home, "snapshot show n1").stdout);
    for word in ["up to 100 (term 5)", "9.7 KiB", "counts on it", "\"****"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    // What a quick look at the whole log does not see, this does.
    let cases = [
        ("snapshot verify n1", 0, "CLEAN"),
        ("snapshot verify n1 100", 0, "1 snapshot"),
        ("snapshot verify bad", 3, "W501"),
        ("snapshot verify gone", 3, "W502"),
        ("snapshot show gone", 3, ""),
        ("snapshot export gone", 3, ""),
        ("snapshot export bad", 3, ""),
        ("snapshot show n1 7", 2, ""),
        ("snapshot verify n1 7", 2, ""),
        ("snapshot ls nowhere", 4, ""),
        ("snapshot show nowhere", 4, ""),
    ];
    for (command, exit, word) in cases {
        let output = tool(home, command);
        assert_eq!(code(&output), exit, "{command}: {output:?}");
        assert!(text(&output.stdout).contains(word), "{command}: {output:?}");
    }
    fs::remove_dir_all(home.join("n1/snapshots")).expect("removes");
    let said = text(&tool(home, "snapshot show n1 100").stderr);
    assert!(said.contains("n1 has no snapshots"), "{said}");
    let said = text(&tool(home, "snapshot show bad 7").stderr);
    assert!(said.contains("of entry 7; there are those of 100"), "{said}");
}

#[test]
fn a_snapshot_that_went_through_lines_of_json_is_the_same() {
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path();
    for (at, len) in [0, 1, 9999, 192 << 10, 700_001].into_iter().enumerate() {
        let from = format!("n{at}");
        made::lay(&made::healthy(), &home.join(&from));
        let payload: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).expect("small")).collect();
        taken(&home.join(&from), 500, &payload);
        let bare = tool(home, &format!("snapshot export {from} --payload"));
        assert!((code(&bare), &bare.stdout) == (0, &payload), "{len} bytes");
        let lines = tool(home, &format!("snapshot export {from} 500"));
        assert_eq!(code(&tool(home, &format!("snapshot export {from} -o {from}.ndjson"))), 0);
        let file = fs::read(home.join(format!("{from}.ndjson"))).expect("written");
        assert!(file == lines.stdout, "{len} bytes");
        // Into a new log, and from there again.
        let output = tool(home, &format!("snapshot import new-{from} {from}.ndjson"));
        assert_eq!(code(&output), 0, "{output:?}");
        assert_eq!(code(&tool(home, &format!("verify new-{from}"))), 0);
        let again = tool(home, &format!("snapshot export new-{from}"));
        assert!(again.stdout == lines.stdout, "{len} bytes");
        let (log, _) = Log::open(home.join(format!("new-{from}")), Options::new()).expect("opens");
        assert_eq!((log.first_log_index(), log.last_log_index()), (501, None));
        assert_eq!(log.prev_id(), Some(EntryId::new(500, 6)));
        assert_eq!((log.hard_state().commit, log.hard_state().vote), (500, None));
    }
    assert_eq!(code(&tool(home, "snapshot export n1 -o n1.ndjson")), 6, "nothing is overwritten");
}

#[test]
fn a_log_takes_a_snapshot_of_its_own_history_and_no_other() {
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path();
    for name in ["n1", "n2", "ahead"] {
        made::lay(&made::healthy(), &home.join(name));
    }
    made::lay(&made::stateless(), &home.join("gone"));
    made::lay(&made::bad_snapshot(), &home.join("bad"));
    taken(&home.join("n2"), 400, b"state of 400");
    taken(&home.join("ahead"), 595, b"state of 595");
    for name in ["n1", "n2", "ahead"] {
        let lines = tool(home, &format!("snapshot export {name}")).stdout;
        fs::write(home.join(format!("{name}.ndjson")), lines).expect("writes");
    }
    let wrong = text(&fs::read(home.join("n2.ndjson")).expect("read"))
        .replace("\"index\":400,\"tag\":0,\"term\":6", "\"index\":400,\"tag\":0,\"term\":5");
    fs::write(home.join("wrong.ndjson"), wrong).expect("writes");
    let cases = [
        // The one that a log counts on comes back, whether it is missing or bad.
        ("gone", "n1", 0, "replaced"),
        ("bad", "n1", 0, "replaced"),
        ("bad", "n1", 0, "was there"),
        // A newer one, of an entry that is held and committed.
        ("n1", "n2", 0, "marked"),
        ("n1", "n2", 0, "was there"),
        // An older one, one beyond the commit, one of another term, and no export at all.
        ("n2", "n1", 6, "already counts on a snapshot of entry 400"),
        ("n1", "ahead", 6, "not committed by what this log knows"),
        ("bad", "wrong", 6, "not the same history"),
    ];
    for (dir, from, exit, word) in cases {
        let output = tool(home, &format!("snapshot import {dir} {from}.ndjson"));
        assert_eq!(code(&output), exit, "{dir} {from}: {output:?}");
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(said.contains(word), "{dir} {from}: {said}");
        assert_eq!(code(&tool(home, &format!("verify {dir}"))), 0, "{dir} {from}");
    }
    let mark = text(&tool(home, "snapshot show n1 --json").stdout);
    assert!(mark.contains("\"index\": 400") && mark.contains("\"marked\": true"), "{mark}");
    // A log that somebody has open is left alone.
    let (log, _) = Log::open(home.join("n2"), Options::new().background(false)).expect("opens");
    assert_eq!(code(&tool(home, "snapshot import n2 n1.ndjson")), 5);
    drop(log);
    // One that was cut off or changed comes nowhere.
    let whole = fs::read(home.join("n1.ndjson")).expect("read");
    let mut changed = whole.clone();
    let at = text(&whole).find("KioqKioq").expect("base64 of stars");
    changed[at + 1] = b'j';
    for (what, bytes) in [("cut", &whole[..whole.len() / 2]), ("changed", &changed)] {
        fs::write(home.join("in"), bytes).expect("writes");
        fs::remove_dir_all(home.join("gone/snapshots")).expect("removes");
        let output = tool(home, "snapshot import gone in");
        assert_eq!(code(&output), 6, "{what}: {output:?}");
        assert_eq!(code(&tool(home, "snapshot import new in")), 6, "{what}");
        assert!(!home.join("new").exists() && !home.join("new.partial").exists(), "{what}");
        assert_eq!(code(&tool(home, "snapshot verify gone")), 3, "{what}");
    }
    for (input, word) in [("n1.ndjson", "no export"), ("in", "ends too early")] {
        let export = tool(home, "export n1").stdout;
        let export = if input == "in" { Vec::new() } else { export };
        fs::write(home.join("in"), export).expect("writes");
        let output = tool(home, "snapshot import new in");
        assert!(code(&output) == 6 && text(&output.stderr).contains(word), "{output:?}");
    }
}
