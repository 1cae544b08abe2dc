//! Sections 5.3, 5.4.2, 5.5: replication, back-up, commitment.

use bytes::Bytes;
use hardlog::{Entry, EntryId};

use super::net::{Net, says};
use crate::{
    config::Config,
    core::{Refused, RoleName, Violation},
    message::{AppendReply, Body, Message},
    payload::Payload,
};

fn classic() -> Config {
    Config::classic()
}

/// Replies of node 1, which follows node 2 of term `term`.
fn replies(log: &[u64], term: u64, requests: &[Body]) -> (Net, Vec<AppendReply>) {
    let mut net = Net::with_logs(classic(), &[log, &[], &[]]);
    for body in requests {
        net.core(1).step(says(2, 1, term, body.clone()));
    }
    net.collect(1);
    let count = net.node(1).unsynced.len();
    net.sync(1, count);
    let replies = std::mem::take(&mut net.wire).into_iter().filter_map(|message| {
        assert_eq!(message.to, 2);
        match message.body {
            Body::AppendReply(reply) => Some(reply),
            _ => None,
        }
    });
    let replies = replies.collect();
    (net, replies)
}

fn entries(from: u64, terms: &[u64]) -> Vec<Entry> {
    let all = (from..).zip(terms);
    all.map(|(i, t)| Entry::new(i, *t, Payload::command(format!("{i}.{t}").as_bytes()))).collect()
}

fn append(prev: (u64, u64), terms: &[u64], commit: u64) -> Body {
    let prev = EntryId::new(prev.0, prev.1);
    Body::Append { prev, entries: entries(prev.index.wrapping_add(1), terms), commit }
}

#[test]
fn the_first_command_gets_index_1_in_the_classic_profile_and_2_in_production() {
    for (config, index) in [(Config::classic(), 1), (Config::production(), 2)] {
        let mut net = Net::new(3, config, 1);
        net.elect(1);
        assert_eq!(net.propose(1, "a"), EntryId::new(index, 1));
        net.settle();
        assert_eq!(net.commands(1), ["a"], "committed without a tick");
        net.tick(5);
        for id in 1..=3 {
            assert_eq!(net.commands(id), ["a"], "node {id}");
        }
    }
}

#[test]
fn proposals_that_come_together_share_one_request_to_each_follower_and_one_save() {
    let mut net = Net::new(3, classic(), 1);
    net.elect(1);
    net.propose(1, "a");
    net.tick(5);
    for command in ["b", "c", "d"] {
        net.propose(1, command);
    }
    let before = net.node(1).unsynced.len();
    net.collect(1);
    assert_eq!(net.node(1).unsynced.len(), before + 1);
    let requests: Vec<_> = net.wire.iter().map(|m| (m.to, m.body.clone())).collect();
    assert_eq!(requests.len(), 2);
    let sent = |body: &Body| matches!(body, Body::Append { entries, .. } if entries.len() == 3);
    assert!(requests.iter().all(|(_, body)| sent(body)), "{requests:?}");
}

#[test]
fn append_entries_leave_before_the_leaders_own_disk_is_done_and_it_counts_itself_after() {
    let mut net = Net::new(3, classic(), 1);
    net.elect(1);
    net.hung.push(1);
    net.isolate(3);
    net.propose(1, "a");
    net.settle();
    assert_eq!(net.terms(2), [1]);
    assert_eq!(net.core(1).commit(), 0, "one of three disks has it");
    net.hung.clear();
    net.settle();
    assert_eq!(net.core(1).commit(), 1);
}

#[test]
fn a_majority_without_the_leaders_disk_commits() {
    let mut net = Net::new(3, classic(), 1);
    net.elect(1);
    net.hung.push(1);
    net.propose(1, "a");
    net.settle();
    assert_eq!(net.core(1).commit(), 1);
    assert!(net.commands(1).is_empty(), "not applied before it is durable here");
}

#[test]
fn an_acknowledgement_waits_for_the_disk() {
    let mut net = Net::new(3, classic(), 1);
    net.core(1).step(says(2, 1, 1, append((0, 0), &[1], 0)));
    net.collect(1);
    assert!(net.wire.is_empty());
    net.sync(1, 1);
    let reply = Body::AppendReply(AppendReply::Accepted { matched: 1 });
    assert_eq!(net.wire, [says(1, 2, 1, reply)]);
}

#[test]
fn a_followers_answers_to_requests_that_do_not_fit_5_3() {
    let rejected = |prev, conflict_term, conflict_index| {
        Some(AppendReply::Rejected { prev, conflict_term, conflict_index })
    };
    let cases = [
        (append((3, 1), &[9], 0), rejected(3, None, 3), "no entry there: the end"),
        (append((2, 2), &[9], 0), rejected(2, Some(1), 1), "the run of term 1 begins at 1"),
        (append((2, 1), &[9], 0), Some(AppendReply::Accepted { matched: 3 }), "fits"),
        (append((1, 1), &[1], 0), Some(AppendReply::Accepted { matched: 2 }), "is there"),
        (append((0, 0), &[], 0), Some(AppendReply::Accepted { matched: 0 }), "an empty request"),
    ];
    for (request, reply, why) in cases {
        assert_eq!(replies(&[1, 1], 9, &[request]).1.pop(), reply, "{why}");
    }
}

#[test]
fn a_stale_append_truncates_nothing() {
    let late = append((0, 0), &[1], 0);
    let (mut net, replies) = replies(&[], 1, &[append((0, 0), &[1, 1, 1], 0), late]);
    assert_eq!(net.terms(1), [1, 1, 1]);
    assert_eq!(replies.last(), Some(&AppendReply::Accepted { matched: 1 }), "what it proved");
}

#[test]
fn a_conflict_replaces_the_rest_of_the_log() {
    let (mut net, replies) = replies(&[1, 1, 2, 2], 3, &[append((1, 1), &[1, 3], 0)]);
    assert_eq!(net.terms(1), [1, 1, 3]);
    assert_eq!(replies, [AppendReply::Accepted { matched: 3 }]);
}

#[test]
fn a_followers_commit_is_the_lesser_of_the_leaders_and_the_last_new_entry() {
    let cases: &[(&[u64], &[u64], u64, u64)] =
        &[(&[1, 1, 1], &[1], 9, 1), (&[1, 1, 1], &[1, 1], 1, 1), (&[], &[1, 1], 9, 2)];
    for (log, sent, commit, expected) in cases {
        let (mut net, _) = replies(log, 1, &[append((0, 0), sent, *commit)]);
        assert_eq!(net.core(1).commit(), *expected, "{log:?} {sent:?} {commit}");
    }
}

#[test]
fn a_committed_entry_is_never_replaced() {
    let requests = [append((0, 0), &[1, 1], 2), append((1, 1), &[2], 0)];
    let (mut net, replies) = replies(&[], 2, &requests);
    let violation = Violation::CommittedConflict { from: 2, index: 2, commit: 2 };
    assert_eq!(net.core(1).violation(), Some(violation));
    assert_eq!((net.terms(1), replies.len()), (vec![1, 1], 1), "and nothing is answered");
}

#[test]
fn entries_that_do_not_follow_each_other_are_ignored() {
    let hole = Body::Append {
        prev: EntryId::new(0, 0),
        entries: vec![Entry::new(1, 1, Bytes::new()), Entry::new(3, 1, Bytes::new())],
        commit: 0,
    };
    let requests =
        [hole, append((0, 0), &[2, 1], 0), append((0, 0), &[5], 0), append((u64::MAX, 1), &[1], 0)];
    for request in requests {
        let (mut net, replies) = replies(&[], 2, &[request]);
        assert!(net.terms(1).is_empty() && replies.is_empty());
    }
}

/// Figure 7: the leader of term 8 brings all of these to its own log.
#[test]
fn figure_7() {
    let leader: &[u64] = &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    let followers: &[&[u64]] = &[
        &[1, 1, 1, 4, 4, 5, 5, 6, 6],
        &[1, 1, 1, 4],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        &[1, 1, 1, 4, 4, 4, 4],
        &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ];
    for follower in followers {
        // The third node has the short log of (b), so that the leader can be elected.
        let mut net = Net::with_logs(classic(), &[leader, follower, followers[1]]);
        net.core(1).term = 7;
        net.elect(1);
        net.propose(1, "8");
        net.tick(10);
        let expected = [leader, &[8]].concat();
        assert_eq!(net.terms(1), expected);
        assert_eq!(net.terms(2), expected, "{follower:?}");
        assert_eq!(net.terms(3), expected);
        assert_eq!(net.core(2).commit(), 11);
    }
}

#[test]
fn back_up_skips_a_term_at_a_time_5_3() {
    // (the leader's terms, the follower's, rejections until they meet)
    let cases: &[(&[u64], &[u64], usize)] = &[
        (&[1, 1, 1, 1, 1, 1], &[1], 1),
        (&[1, 5, 5, 5, 5, 5], &[1, 2, 2, 2, 2, 2], 1),
        (&[1, 4, 4, 4, 4, 4], &[1, 1, 1, 1, 1, 1], 1),
        (&[1, 2, 2, 2, 5, 5], &[1, 2, 3, 3, 4, 4], 3),
        (&[2, 2, 2, 2, 2, 2], &[1, 1, 1, 1, 1, 1], 1),
        (&[1, 1, 1, 6, 6, 6], &[1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5], 2),
    ];
    for (leader, follower, most) in cases {
        let (mut net, rejections) = back_up(leader, follower);
        assert_eq!(net.terms(2), net.terms(1), "{leader:?} {follower:?}");
        assert!(rejections <= *most, "{leader:?} {follower:?}: {rejections} rejections");
    }
}

/// A leader meets a follower; how many of its requests are rejected.
fn back_up(leader: &[u64], follower: &[u64]) -> (Net, usize) {
    let mut net = Net::with_logs(classic(), &[leader, follower, leader]);
    net.core(1).term = 10;
    net.isolate(2);
    net.elect(1);
    net.heal();
    net.propose(1, "new");
    let mut rejections = 0;
    for _ in 0..200 {
        for id in 1..=3 {
            net.collect(id);
            let count = net.node(id).unsynced.len();
            net.sync(id, count);
            net.core(id).tick();
        }
        let rejected =
            |m: &Message| matches!(m.body, Body::AppendReply(AppendReply::Rejected { .. }));
        rejections += net.wire.iter().filter(|m| m.from == 2 && rejected(m)).count();
        for message in std::mem::take(&mut net.wire) {
            net.core(message.to).step(message);
        }
    }
    (net, rejections)
}

#[test]
fn lost_requests_and_lost_answers_are_made_up_for_without_new_proposals() {
    for lose_answers in [false, true] {
        let mut net = Net::new(3, classic(), 1);
        net.elect(1);
        net.propose(1, "a");
        net.tick(5);
        net.cut.push(if lose_answers { (2, 1) } else { (1, 2) });
        net.propose(1, "b");
        net.settle();
        net.heal();
        net.tick(20);
        assert_eq!(net.commands(2), ["a", "b"]);
        let peer = net.core(1).followers().unwrap()[&2].clone();
        assert_eq!(peer.matched, 2, "{peer:?}");
    }
}

/// Figure 8: an entry of an older term is not committed by counting, even on a majority.
#[test]
fn figure_8() {
    let mut net = Net::with_logs(classic(), &[&[1, 2], &[1, 2], &[1], &[1], &[1, 3]]);
    net.core(1).term = 3;
    net.isolate(5);
    net.cut.extend([(1, 4), (4, 1)]);
    net.elect(1);
    assert_eq!(net.core(1).term(), 4);
    net.tick(10);
    assert_eq!(net.terms(3), [1, 2], "(c): entry 2 of term 2 is on a majority");
    assert_eq!(net.core(1).commit(), 0, "and not committed");
    // (d): S5 may still be elected and replace it.
    net.crash(1);
    net.heal();
    net.isolate(1);
    net.core(5).term = 4;
    net.elect(5);
    net.propose(5, "d");
    net.tick(10);
    assert_eq!(net.terms(3), [1, 3, 5]);
    assert!(net.core(5).commit() == 3 && net.core(3).violation().is_none());
}

#[test]
fn figure_8_e_an_entry_of_the_own_term_commits_all_before_it() {
    let mut net = Net::with_logs(classic(), &[&[1, 2], &[1, 2], &[1], &[1], &[1, 3]]);
    net.core(1).term = 3;
    net.isolate(5);
    net.elect(1);
    net.propose(1, "e");
    net.tick(10);
    assert_eq!(net.core(1).commit(), 3);
    net.heal();
    net.isolate(1);
    net.core(5).campaign();
    net.settle();
    assert_eq!(net.core(5).role(), RoleName::Follower, "S5 can no longer be elected");
}

#[test]
fn the_no_op_of_the_production_profile_commits_what_older_leaders_left() {
    let mut net = Net::with_logs(Config::production(), &[&[1, 2], &[1, 2], &[1]]);
    net.elect(1);
    net.tick(5);
    assert_eq!(net.core(1).commit(), 3);
    assert_eq!(net.terms(3), net.terms(1));
}

#[test]
fn a_leader_cut_off_drops_its_uncommitted_entries_when_it_returns() {
    let mut net = Net::new(3, classic(), 1);
    net.elect(1);
    net.propose(1, "a");
    net.tick(5);
    net.isolate(1);
    for command in ["x", "y", "z"] {
        net.propose(1, command);
    }
    net.settle();
    net.elect(2);
    net.propose(2, "b");
    net.tick(5);
    net.heal();
    net.tick(10);
    for id in 1..=3 {
        assert_eq!(net.commands(id), ["a", "b"]);
    }
}

#[test]
fn limits_refuse_instead_of_queueing() {
    let small = Config { command_bytes_max: 4, uncommitted_bytes_max: 130, ..classic() };
    let mut net = Net::new(3, small, 1);
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    assert_eq!(net.core(1).propose(&bytes("a")), Err(Refused::NotLeader { leader: None }));
    net.elect(1);
    assert_eq!(net.core(2).propose(&bytes("a")), Err(Refused::NotLeader { leader: Some(1) }));
    assert_eq!(net.core(1).propose(&bytes("abcde")), Err(Refused::TooLarge));
    for _ in 0..3 {
        net.propose(1, "abcd");
    }
    assert_eq!(net.core(1).propose(&bytes("abcd")), Err(Refused::Busy));
    net.settle();
    net.propose(1, "abcd");
}

#[test]
fn a_follower_whose_log_does_not_keep_up_takes_no_more_and_catches_up_later() {
    let config = Config { unsaved_bytes_max: 80, ..classic() };
    let mut net = Net::new(3, config, 1);
    let request = |i: u64| append((i, u64::from(i > 0)), &[1], 0);
    for i in 0..5 {
        net.core(1).step(says(2, 1, 1, request(i)));
    }
    net.collect(1);
    assert_eq!(net.terms(1), [1, 1], "the first two exceeded the limit");
    net.core(1).step(says(2, 1, 1, request(2)));
    net.collect(1);
    assert_eq!(net.terms(1), [1, 1, 1]);
}

#[test]
fn a_long_log_goes_out_in_bounded_requests() {
    let config = Config { append_bytes_max: 100, inflight_max: 3, ..classic() };
    let long: Vec<u64> = vec![1; 40];
    let mut net = Net::with_logs(config, &[&long, &[], &[]]);
    net.elect(1);
    let mut most = 0;
    for _ in 0..400 {
        net.collect(1);
        let requests = net.wire.iter().filter(|m| m.to == 2);
        let sizes = requests.filter_map(|m| match &m.body {
            Body::Append { entries, .. } => Some(entries.len()),
            _ => None,
        });
        let sizes: Vec<_> = sizes.collect();
        assert!(sizes.iter().all(|n| *n <= 3), "{sizes:?}");
        most = most.max(sizes.len());
        for message in std::mem::take(&mut net.wire) {
            net.core(message.to).step(message);
        }
        for id in 1..=3 {
            net.collect(id);
            let count = net.node(id).unsynced.len();
            net.sync(id, count);
            net.core(id).tick();
        }
    }
    assert_eq!(net.terms(2).len(), 40);
    assert!(most <= 3 + 1, "{most} requests at once");
}

#[test]
fn a_follower_that_lost_what_it_acknowledged_is_sent_it_again_in_the_same_term() {
    // Its disk dropped an un-proven end, and the leader went on believing its old answers.
    let mut net = Net::new(3, Config::production(), 1);
    net.elect(1);
    for command in ["a", "b", "c"] {
        net.propose(1, command);
        net.tick(3);
    }
    let mut disk = net.node(3).disk.clone();
    disk.entries.truncate(2);
    disk.hard_state.commit = 2;
    net.wire.clear();
    net.start(3, disk);
    net.propose(1, "d");
    net.tick(20);
    assert_eq!(net.leaders(), [(1, 1)]);
    assert_eq!(net.core(3).last_id(), net.core(1).last_id());
}

#[test]
fn a_follower_that_lost_what_it_acknowledged_is_sent_it_again_though_nothing_new_comes() {
    // A torn end: what it had acknowledged was durable, and is no longer there.
    let mut net = Net::new(3, Config::production(), 1);
    net.elect(1);
    for command in ["a", "b", "c"] {
        net.propose(1, command);
        net.tick(6);
    }
    let last = net.core(1).last_id();
    for lost in 1..=last.index {
        let mut disk = net.node(3).disk.clone();
        disk.entries.truncate((last.index - lost) as usize);
        disk.hard_state.commit = disk.hard_state.commit.min(last.index - lost);
        net.wire.clear();
        net.start(3, disk);
        net.tick(20);
        assert_eq!(net.leaders(), [(1, 1)]);
        assert_eq!(net.core(3).last_id(), last, "without its last {lost}");
        assert_eq!(net.core(3).commit(), last.index);
    }
}

#[test]
fn a_leader_that_cannot_read_what_a_follower_needs_makes_room_for_one_that_can() {
    // It kept leading and sent nothing, and the follower stayed behind for ever.
    let mut net = Net::new(3, Config::production(), 1);
    net.elect(1);
    net.tick(3);
    net.isolate(3);
    let entry = net.propose(1, "x");
    net.tick(3);
    net.node(1).log.0.borrow_mut().faulty.push(entry.index);
    assert!(net.core(1).commit() >= entry.index);
    net.heal();
    net.tick(14);
    assert!(net.leaders().is_empty(), "{:?}", net.leaders());
    net.tick(80);
    let leaders = net.leaders();
    assert_eq!(leaders.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2], "node 2 can read it");
    assert!(net.commands(3).contains(&"x".to_owned()));
}

#[test]
fn a_leader_with_no_other_voter_leads_on_with_an_entry_that_it_cannot_read() {
    let mut net = Net::new(1, Config::production(), 1);
    net.elect(1);
    let entry = net.propose(1, "x");
    net.tick(3);
    net.node(1).log.0.borrow_mut().faulty.push(entry.index);
    let id = net.join();
    let member = crate::member::Member::default();
    let add = crate::core::Change::AddLearner { id, member, promote: true };
    net.core(1).propose_membership(&add).unwrap();
    net.tick(60);
    assert_eq!(net.leaders(), [(1, 1)], "nobody else could");
}
