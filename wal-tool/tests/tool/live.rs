//! A log that is written to, rotated and trimmed while it is looked at is never called damaged.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use hardlog::{HardState, Log, Options};

use crate::{code, directories::entries, text, tool};

#[test]
fn a_live_log_is_clean_or_heals_whatever_its_writer_does() {
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("n1");
    let options = Options::new().segment_size(128 << 10);
    let mut log = Log::create(&dir, options).expect("creates");
    log.save_hard_state(HardState { term: 3, vote: Some(1), commit: 0 }).expect("votes");
    let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = thread::spawn({
        let (stop, rounds) = (Arc::clone(&stop), Arc::clone(&rounds));
        move || {
            while !stop.load(Ordering::Relaxed) {
                let next = log.next_log_index();
                log.append(&entries(next..next + 7, 3)).expect("appends");
                let round = rounds.fetch_add(1, Ordering::Relaxed);
                if round.is_multiple_of(3) {
                    log.sync().expect("syncs");
                }
                if round % 50 == 49 {
                    log.trim_tail(next + 2).expect("truncates");
                }
                if round % 200 == 199 {
                    log.trim_prefix(next - 400).expect("trims");
                }
            }
            log
        }
    });
    let mut seen = 0;
    for at in 0..40 {
        let command = ["verify n1", "status n1", "dump n1 --tail 20", "verify n1 --quick"][at % 4];
        let output = tool(home.path(), command);
        let stdout = text(&output.stdout);
        assert!(code(&output) <= 1, "{command}: {stdout}{}", text(&output.stderr));
        seen += u64::from(stdout.contains("live"));
    }
    assert!(seen > 10, "the log was told to be live only {seen} times");
    stop.store(true, Ordering::Relaxed);
    let log = writer.join().expect("the writer ends");
    assert!(rounds.load(Ordering::Relaxed) > 10, "nothing was written meanwhile");
    drop(log);
    let output = tool(home.path(), "status n1");
    assert!(text(&output.stdout).contains("free: nobody has it open"), "{output:?}");
}
