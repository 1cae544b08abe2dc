//! Sections 5.1, 5.2 and 5.4.1; dissertation 6.2 and 9.6.

use hardlog::{EntryId, HardState};

use super::net::{Memory, Net, memory, says};
use crate::{
    config::Config,
    core::{Membership, RoleName, TERM_MAX, Violation},
    message::{AppendReply, Body},
};

fn classic() -> Config {
    Config::classic()
}

fn term(term: u64) -> HardState {
    HardState { term, ..HardState::default() }
}

#[test]
fn a_leader_emerges_and_stays_under_both_profiles() {
    for config in [Config::classic(), Config::production()] {
        for seed in 0..20 {
            let mut net = Net::new(5, config.clone(), seed);
            net.tick(120);
            let leaders = net.leaders();
            assert_eq!(leaders.len(), 1, "seed {seed}");
            net.tick(200);
            assert_eq!(net.leaders(), leaders, "seed {seed}: heartbeats keep the leader");
        }
    }
}

#[test]
fn a_lone_voter_elects_itself_once_its_vote_is_durable() {
    let mut net = Net::new(1, Config::production(), 1);
    net.core(1).campaign();
    net.collect(1);
    assert_eq!(net.core(1).role(), RoleName::Candidate, "its own vote is not on disk yet");
    net.sync(1, 1);
    assert_eq!(net.core(1).role(), RoleName::Leader);
}

#[test]
fn a_vote_request_leaves_only_after_term_and_own_vote_are_durable() {
    let mut net = Net::new(3, classic(), 1);
    net.core(1).campaign();
    net.collect(1);
    assert!(net.wire.is_empty());
    net.sync(1, 1);
    assert_eq!(net.wire.len(), 2);
    assert_eq!(net.node(1).disk.hard_state, HardState { term: 1, vote: Some(1), commit: 0 });
}

#[test]
fn a_vote_leaves_only_after_it_is_durable_and_is_remembered_after_a_crash() {
    let mut net = Net::new(3, classic(), 1);
    let ask = |from| says(from, 3, 1, Body::Vote { last: EntryId::default(), transfer: false });
    net.core(3).step(ask(1));
    net.collect(3);
    assert!(net.wire.is_empty());
    net.sync(3, 1);
    assert_eq!(net.wire.pop(), Some(says(3, 1, 1, Body::VoteReply { granted: true })));
    net.crash(3);
    net.core(3).step(ask(2));
    net.collect(3);
    assert_eq!(net.wire.pop(), Some(says(3, 2, 1, Body::VoteReply { granted: false })));
    net.core(3).step(ask(1));
    net.collect(3);
    assert_eq!(net.wire.pop(), Some(says(3, 1, 1, Body::VoteReply { granted: true })));
}

#[test]
fn a_vote_that_never_reached_the_disk_was_never_sent() {
    let mut net = Net::new(3, classic(), 1);
    net.core(3).step(says(1, 3, 1, Body::Vote { last: EntryId::default(), transfer: false }));
    net.collect(3);
    net.crash(3);
    net.core(3).step(says(2, 3, 1, Body::Vote { last: EntryId::default(), transfer: false }));
    net.settle();
    assert_eq!(net.node(3).disk.hard_state.vote, Some(2), "the first vote bound nobody");
}

#[test]
fn election_restriction_5_4_1() {
    // (the voter's terms, the candidate's last entry, the vote)
    let cases: &[(&[u64], (u64, u64), bool)] = &[
        (&[], (0, 0), true),
        (&[1], (0, 0), false),
        (&[1, 1], (2, 1), true),
        (&[1, 1], (1, 1), false),
        (&[1, 1], (3, 1), true),
        (&[1, 1], (1, 2), true),
        (&[1, 2], (9, 1), false),
        (&[1, 2], (2, 2), true),
    ];
    for (log, (index, term), granted) in cases {
        let mut net = Net::with_logs(classic(), &[&[], &[], log]);
        let last = EntryId::new(*index, *term);
        net.core(3).step(says(1, 3, 7, Body::Vote { last, transfer: false }));
        net.collect(3);
        net.sync(3, 1);
        let reply = says(3, 1, 7, Body::VoteReply { granted: *granted });
        assert_eq!(net.wire, [reply], "{log:?} asked with {last:?}");
    }
}

#[test]
fn a_node_without_the_committed_entry_is_not_elected() {
    let mut net = Net::with_logs(classic(), &[&[1, 1], &[1, 1], &[1]]);
    net.core(3).campaign();
    net.settle();
    assert_eq!(net.core(3).role(), RoleName::Follower);
    assert_eq!(net.core(1).term(), 2, "but its term is adopted");
}

/// Of eliben/raft by this name: a candidate that hears a leader of its own term steps down and
/// remembers whom it voted for.
#[test]
fn become_follower_same_term_preserves_voted_for() {
    let mut net = Net::new(3, classic(), 1);
    net.core(1).campaign();
    net.collect(1);
    net.sync(1, 1);
    net.core(1).step(says(2, 1, 1, Body::Heartbeat { commit: 0, round: 0 }));
    assert_eq!(net.core(1).role(), RoleName::Follower);
    assert_eq!(net.core(1).hard_state(), HardState { term: 1, vote: Some(1), commit: 0 });
}

/// Of eliben/raft by this name: in a newer term a node is free again, whoever tells it of the term.
#[test]
fn higher_term_resets_voted_for() {
    let last = EntryId::default();
    for body in [
        Body::Heartbeat { commit: 0, round: 0 },
        Body::VoteReply { granted: false },
        Body::Append { prev: last, entries: Vec::new(), commit: 0 },
    ] {
        let mut net = Net::new(3, classic(), 1);
        net.core(1).campaign();
        net.collect(1);
        net.sync(1, 1);
        net.core(1).step(says(3, 1, 2, body));
        assert_eq!(net.core(1).hard_state(), HardState { term: 2, vote: None, commit: 0 });
        net.core(1).step(says(2, 1, 3, Body::Vote { last, transfer: false }));
        assert_eq!(net.core(1).hard_state().vote, Some(2), "and votes in the next");
    }
}

/// Of eliben/raft by this name: who voted is asked directly by another candidate of the same term.
#[test]
fn same_term_double_vote_prevented() {
    let mut net = Net::new(5, classic(), 1);
    let ask = |from| says(from, 3, 7, Body::Vote { last: EntryId::default(), transfer: false });
    for (candidate, granted) in [(1, true), (2, false), (4, false), (1, true), (5, false)] {
        net.core(3).step(ask(candidate));
        net.collect(3);
        let count = net.node(3).unsynced.len();
        net.sync(3, count);
        assert_eq!(net.wire.pop(), Some(says(3, candidate, 7, Body::VoteReply { granted })));
        assert_eq!(net.core(3).hard_state().vote, Some(1));
    }
}

#[test]
fn stale_vote_replies_are_ignored() {
    let mut net = Net::new(3, classic(), 1);
    net.core(1).campaign();
    net.collect(1);
    net.core(1).campaign();
    net.collect(1);
    let count = net.node(1).unsynced.len();
    net.sync(1, count);
    net.core(1).step(says(2, 1, 1, Body::VoteReply { granted: true }));
    assert_eq!(net.core(1).role(), RoleName::Candidate, "that was for term 1");
    net.core(1).step(says(2, 1, 2, Body::VoteReply { granted: true }));
    assert_eq!(net.core(1).role(), RoleName::Leader);
}

#[test]
fn split_votes_resolve_by_random_timeouts() {
    let mut net = Net::new(2, classic(), 3);
    net.core(1).campaign();
    net.core(2).campaign();
    net.settle();
    assert!(net.leaders().is_empty(), "each voted for itself");
    net.tick(200);
    assert_eq!(net.leaders().len(), 1);
}

#[test]
fn a_candidate_meets_a_voter_whose_clock_runs_faster_and_who_campaigns_too() {
    // Node 1 still believes in a configuration of others, who are gone, and never asks node 2. Only
    // node 2 can be elected, and only by node 1, which is in a later term each time it is asked:
    // seed 16503 of the simulator had no leader for a minute.
    for faster in [3, 9] {
        let mut net = Net::with_logs(classic(), &[&[1], &[1, 1]]);
        net.first = Membership::of_voters([1, 3, 4].into_iter().collect());
        net.start(1, memory(&[1]));
        let led = (0..20 * classic().election_ticks_max).any(|_| {
            for _ in 1..faster {
                net.core(1).tick();
                net.settle();
            }
            net.tick(1);
            net.leaders().iter().any(|(id, _)| *id == 2)
        });
        let terms = (net.core(1).term(), net.core(2).term());
        assert!(led, "{faster} times: {terms:?}");
        assert_eq!(net.core(2).outpaced, 0, "the next election is an ordinary one");
        assert!(terms.0 < 1000, "terms are not wasted: {terms:?}");
    }
}

#[test]
fn terms_end_and_a_node_that_is_there_stays_follower() {
    for config in [Config::classic(), Config::production()] {
        let mut net = Net::new(3, config.clone(), 1);
        net.start(1, Memory { hard_state: term(TERM_MAX - 1), ..Memory::default() });
        net.core(1).outpaced = 6;
        net.elect(1);
        assert_eq!(net.core(1).term(), TERM_MAX, "the last one is led like any other");
        net.propose(1, "x");
        net.tick(10);
        assert_eq!(net.commands(2), ["x"]);
        net.isolate(1);
        net.tick(300);
        for id in [2, 3] {
            net.core(id).keep_notes();
            net.core(id).campaign();
            net.core(id).on_timeout_now();
            let told = format!("{:?}", net.core(id).take_notes());
            assert!(told.contains("there is no later term"), "{told}");
            assert_eq!((net.core(id).role(), net.core(id).term()), (RoleName::Follower, TERM_MAX));
        }
        // Nor does one that finds such a term on its own disk do anything but wait.
        for own in [TERM_MAX, TERM_MAX + 1, u64::MAX] {
            let mut net = Net::new(1, config.clone(), 1);
            net.start(1, Memory { hard_state: term(own), ..Memory::default() });
            net.tick(200);
            assert_eq!((net.core(1).role(), net.core(1).term()), (RoleName::Follower, own));
        }
    }
}

#[test]
fn a_term_that_no_election_can_have_reached_is_not_heard() {
    let last = EntryId::new(9, 9);
    let rejected = AppendReply::Rejected { prev: 1, conflict_term: None, conflict_index: 1 };
    for body in [
        Body::PreVote { last },
        Body::PreVoteReply { granted: true },
        Body::PreVoteReply { granted: false },
        Body::Vote { last, transfer: true },
        Body::VoteReply { granted: false },
        Body::Append { prev: EntryId::default(), entries: Vec::new(), commit: 0 },
        Body::AppendReply(rejected),
        Body::Heartbeat { commit: 0, round: 0 },
        Body::HeartbeatReply { round: u64::MAX },
        Body::TimeoutNow,
    ] {
        for (config, far) in [(classic(), TERM_MAX + 1), (Config::production(), u64::MAX)] {
            let mut net = Net::new(3, config, 1);
            net.elect(1);
            for id in 1..=3 {
                net.core(id).step(says(id % 3 + 1, id, far, body.clone()));
            }
            net.tick(100);
            assert_eq!(net.leaders(), [(1, 1)], "{body:?}");
        }
    }
    // Nor is it one to begin beyond, from a candidate that is ignored.
    let mut net = Net::with_logs(classic(), &[&[1], &[1]]);
    net.core(1).step(says(
        7,
        1,
        u64::MAX,
        Body::Vote { last: EntryId::default(), transfer: false },
    ));
    net.elect(1);
    assert_eq!(net.core(1).term(), 2);
}

#[test]
fn a_node_that_comes_back_from_a_partition_does_not_depose_the_leader() {
    let mut net = Net::new(3, Config::production(), 1);
    net.elect(1);
    net.isolate(3);
    net.tick(300);
    assert_eq!(net.core(3).term(), 1, "a pre-vote begins no term");
    net.heal();
    net.tick(100);
    assert_eq!(net.leaders(), [(1, 1)]);
}

#[test]
fn without_pre_vote_it_does() {
    let mut net = Net::new(3, classic(), 1);
    net.elect(1);
    net.isolate(3);
    net.tick(300);
    assert!(net.core(3).term() > 1);
    net.heal();
    net.tick(100);
    assert!(net.core(1).term() > 1);
}

#[test]
fn check_quorum_a_leader_without_followers_steps_down() {
    let mut net = Net::new(3, Config::production(), 1);
    net.elect(1);
    net.isolate(1);
    net.tick(100);
    assert_ne!(net.core(1).role(), RoleName::Leader);
    assert!(net.leaders().iter().all(|(id, _)| *id != 1));
    let mut net = Net::new(3, classic(), 1);
    net.elect(1);
    net.isolate(1);
    net.tick(100);
    assert!(net.leaders().iter().any(|(id, _)| *id == 1), "the paper's leader goes on");
}

#[test]
fn nobody_votes_while_a_leader_is_heard() {
    let mut net = Net::new(3, Config::production(), 1);
    net.elect(1);
    for voter in [1, 2] {
        net.core(voter).step(says(
            3,
            voter,
            9,
            Body::Vote { last: EntryId::new(9, 9), transfer: false },
        ));
        net.core(voter).step(says(3, voter, 9, Body::PreVote { last: EntryId::new(9, 9) }));
        assert_eq!(net.core(voter).term(), 1);
    }
    net.settle();
    assert_eq!(net.leaders(), [(1, 1)]);
}

#[test]
fn a_leader_whose_disk_hangs_loses_its_leadership() {
    let mut net = Net::new(3, Config::production(), 1);
    net.elect(1);
    net.hung.push(1);
    net.propose(1, "x");
    net.tick(50);
    assert_eq!(net.leaders(), [(1, 1)]);
    net.tick(100);
    let leaders = net.leaders();
    assert!(leaders.len() == 1 && leaders[0].0 != 1, "{leaders:?}");
    assert_eq!(net.commands(2), ["x"], "the others had it and go on");
}

#[test]
fn two_leaders_of_one_term_stop_the_node_that_sees_them() {
    let mut net = Net::new(3, classic(), 1);
    net.elect(1);
    net.core(1).step(says(2, 1, 1, Body::Heartbeat { commit: 0, round: 0 }));
    assert_eq!(net.core(1).violation(), Some(Violation::TwoLeaders { from: 2, term: 1 }));
    net.core(2).step(says(3, 2, 1, Body::Heartbeat { commit: 0, round: 0 }));
    assert_eq!(net.core(2).violation(), Some(Violation::TwoLeaders { from: 3, term: 1 }));
}

#[test]
fn what_is_meant_for_others_or_comes_from_itself_is_not_heard() {
    let mut net = Net::new(3, classic(), 1);
    for (from, to) in [(1, 1), (2, 3)] {
        net.core(1).step(says(from, to, 9, Body::Heartbeat { commit: 0, round: 0 }));
    }
    assert_eq!(net.core(1).term(), 0);
}

#[test]
fn giving_up_unsaved_work_is_like_a_restart() {
    let mut net = Net::new(3, Config::production(), 1);
    net.elect(1);
    net.propose(1, "a");
    net.settle();
    net.propose(1, "b");
    let _ = net.core(1).ready();
    net.core(1).abandon_unsaved("its disk is full");
    assert_eq!(net.core(1).role(), RoleName::Follower);
    assert_eq!(net.core(1).last_id(), EntryId::new(2, 1));
    assert_eq!(net.core(1).hard_state().vote, Some(1), "its vote is never forgotten");
    net.tick(200);
    assert_eq!(net.leaders().len(), 1);
    let (leader, _) = net.leaders()[0];
    net.propose(leader, "c");
    net.tick(10);
    assert_eq!(net.commands(1), ["a", "c"]);
}

#[test]
fn a_node_with_a_full_disk_leaves_elections_to_others_for_a_while_and_votes() {
    let mut net = Net::new(3, classic(), 1);
    net.core(1).abandon_unsaved("its disk is full");
    net.isolate(1);
    net.tick(100);
    assert_eq!((net.core(1).role(), net.core(1).term()), (RoleName::Follower, 0));
    net.core(1).step(says(2, 1, 9, Body::Vote { last: EntryId::new(9, 9), transfer: false }));
    assert_eq!(net.core(1).hard_state().vote, Some(2));
    net.tick(400);
    assert!(net.core(1).term() > 9, "not for ever: the others may be gone");
}

#[test]
fn giving_up_a_truncation_takes_back_what_was_committed_after_it() {
    // A full disk refused to replace entries 2 and 3 by what the leader had committed there: with
    // the commit index left as it was, the node took its own stale entry 2 for the committed one.
    let mut net = Net::with_logs(classic(), &[&[1, 1, 1], &[], &[]]);
    let entries = vec![hardlog::Entry::new(2, 3, "x")];
    let request = Body::Append { prev: EntryId::new(1, 1), entries, commit: 2 };
    net.core(1).step(says(2, 1, 3, request));
    let _ = net.core(1).ready();
    assert_eq!(net.core(1).commit(), 2);
    net.core(1).abandon_unsaved("its disk is full");
    assert_eq!((net.core(1).commit(), net.core(1).last_id()), (1, EntryId::new(3, 1)));
}

#[test]
fn a_node_starts_as_its_disk_left_it() {
    let disk = Memory {
        hard_state: HardState { term: 5, vote: Some(2), commit: 2 },
        ..memory(&[1, 1, 4])
    };
    let mut net = Net::new(3, classic(), 1);
    net.start(1, disk);
    assert_eq!((net.core(1).term(), net.core(1).commit()), (5, 2));
    net.core(1).step(says(3, 1, 5, Body::Vote { last: EntryId::new(9, 4), transfer: false }));
    net.collect(1);
    assert_eq!(net.wire.pop(), Some(says(1, 3, 5, Body::VoteReply { granted: false })));
}

#[test]
fn a_follower_whose_disk_hangs_answers_nobody() {
    let mut net = Net::new(3, Config::production(), 1);
    net.elect(1);
    net.hung.push(2);
    net.propose(1, "x");
    net.tick(Config::production().disk_ticks_max + 5);
    net.core(2).leader = None;
    net.wire.clear();
    let last = EntryId::new(9, 9);
    net.core(2).step(says(3, 2, 9, Body::PreVote { last }));
    net.core(2).step(says(3, 2, 9, Body::Vote { last, transfer: false }));
    net.core(2).step(says(3, 2, 9, Body::Heartbeat { commit: 0, round: 1 }));
    net.core(2).want_chunk(3, last, 0);
    net.collect(2);
    assert!(net.wire.is_empty(), "{:?}", net.wire);
}

#[test]
fn a_node_that_abstains_gives_no_vote_whichever_way_it_is_asked() {
    let mut net = Net::new(3, classic(), 1);
    net.core(3).abstain(true);
    let last = EntryId::new(9, 9);
    net.core(3).step(says(1, 3, 9, Body::PreVote { last }));
    net.collect(3);
    assert!(net.wire.is_empty(), "it says nothing to whoever asks beforehand: {:?}", net.wire);
    net.core(3).step(says(1, 3, 9, Body::Vote { last, transfer: false }));
    net.collect(3);
    net.sync(3, 1);
    assert_eq!(net.wire.pop(), Some(says(3, 1, 9, Body::VoteReply { granted: false })));
    assert_eq!(net.core(3).hard_state(), term(9), "the term is one that it promises all the same");
    net.core(3).abstain(false);
    net.core(3).step(says(1, 3, 9, Body::Vote { last, transfer: false }));
    net.collect(3);
    assert_eq!(net.core(3).hard_state().vote, Some(1));
}

#[test]
fn a_candidate_that_was_outpaced_forgets_it_once_there_is_a_leader() {
    let mut net = Net::new(3, classic(), 1);
    net.core(1).campaign();
    net.collect(1);
    net.sync(1, 1);
    net.core(1).step(says(2, 1, 5, Body::VoteReply { granted: false }));
    net.core(1).campaign();
    assert_eq!(net.core(1).term(), 7, "two terms further");
    net.core(1).step(says(2, 1, 8, Body::Heartbeat { commit: 0, round: 0 }));
    net.core(1).campaign();
    assert_eq!(net.core(1).term(), 9, "one term further, as ever");
}
