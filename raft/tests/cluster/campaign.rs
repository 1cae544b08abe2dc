//! Thousands of seeds. Of one that fails the trace, its timeline and each node's directory are
//! written out, where the test says; the command that it prints replays it.

use std::path::Path;

use hardlog_raft::sim::{
    campaign::{Campaign, run_caught},
    play::{Ask, run},
    remains,
};

#[test]
fn three_thousand_clusters_keep_every_rule() {
    let campaign = Campaign::new(0..3000, 2, Ask::default());
    let sum = campaign.run();
    if let Some(failed) = sum.failed {
        let breach = failed.breach.map_or(String::new(), |breach| breach.to_string());
        let seed = failed.seed;
        let again = run_caught(seed, &Ask { events: true, ..Ask::default() });
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("campaign/seed-{seed}"));
        let left = remains::write(&dir, &again.events, &again.disks);
        panic!(
            "seed {seed} broke {breach}\n{}replay: \
             cargo run -p hardlog-raft --release --bin sim -- --seed {seed}",
            left.unwrap_or_else(|error| format!("{}: {error}\n", dir.display()))
        );
    }
    // A campaign in which nothing happens proves nothing.
    let tally = sum.tally;
    assert!(
        tally.committed > 150_000 && tally.writes > 150_000 && tally.reads > 60_000,
        "{tally:?}"
    );
    assert!(tally.starts > 20_000 && tally.faults > 45_000, "{tally:?}");
    assert!(tally.terms > 6_000 && tally.snapshots > 2_000 && tally.retired > 300, "{tally:?}");
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let ask = Ask::default();
    let mut traces = Vec::new();
    for seed in 100..120 {
        let (first, second) = (run(seed, &ask), run(seed, &ask));
        assert_eq!(first.trace, second.trace, "seed {seed} is not deterministic");
        assert_eq!(first, second, "seed {seed} is not deterministic");
        traces.push(first.trace);
    }
    // The text changes nothing but the text.
    let text = run(100, &Ask { text: true, ..ask });
    assert_eq!(text.trace, traces[0]);
    assert!(text.lines.len() > 100);
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 20, "two seeds gave the same run");
}

#[test]
fn seeds_that_once_failed_keep_every_rule() {
    // 2222: a disk was put back to a copy that was full, and could not be told from what it was.
    // 11015: peers had met the newer node, and did not have it on disk when they were killed.
    // 47699: what was acknowledged was durable, and no longer in the log when the answer left.
    // 58489: a full disk brought back configurations that were older than the committed one.
    // 77371: the newest snapshot could not be read, so an older one and the log made up for it.
    // 84521: a snapshot was marked ahead of a commit index that a full disk had taken back.
    // 93176: a removed node's terms, ignored by one voter, took the other's vote from it for ever.
    // 19601: a member that came back while it was told to go was believed to get a snapshot.
    // 16503: a voter with a faster clock was in a later term whenever the one candidate asked it.
    // 29508: a learner that the one candidate had made a voter had the log that others could elect.
    for seed in [2222, 11_015, 47_699, 58_489, 77_371, 84_521, 93_176, 19_601, 16_503, 29_508] {
        assert_eq!(run(seed, &Ask::default()).breach, None, "seed {seed}");
    }
}
