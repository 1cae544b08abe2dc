//! The trace of a run says what happened: nothing that did not, in an order that can be.

use std::collections::{BTreeMap, BTreeSet};

use hardlog_raft::{
    sim::{
        plan::Bug,
        play::{Ask, Outcome, run},
    },
    trace::{Event, Part, Reader, Tracer, What},
};

const SEEDS: std::ops::Range<u64> = 500..540;

fn traced(seed: u64) -> (Outcome, Vec<Event>) {
    let outcome = run(seed, &Ask { events: true, text: true, ..Ask::default() });
    let reader = Reader::new(outcome.events.as_slice()).expect("a header");
    assert_eq!(reader.header().seed, Some(seed));
    let events = reader.map(|event| event.expect("an event")).collect();
    (outcome, events)
}

#[test]
fn the_same_seed_gives_the_same_trace_and_the_trace_changes_nothing() {
    for seed in 500..504 {
        let (first, events) = traced(seed);
        assert!(events.len() > 100, "{} events", events.len());
        assert!(first.events == traced(seed).0.events, "seed {seed} is not deterministic");
        let silent = run(seed, &Ask::default());
        assert_eq!((silent.trace, silent.events.len()), (first.trace, 0));
    }
}

#[test]
fn numbers_follow_each_other_and_time_does_not_go_back() {
    for seed in SEEDS {
        let (_, events) = traced(seed);
        for (number, event) in (1..).zip(&events) {
            assert_eq!(event.number, number);
        }
        assert!(events.is_sorted_by_key(|event| event.at));
    }
}

#[test]
fn what_arrives_or_is_lost_was_sent_before() {
    let (mut arrived, mut lost) = (0, 0);
    for seed in SEEDS {
        let (_, events) = traced(seed);
        let mut sent = BTreeMap::new();
        for Event { node, what, .. } in &events {
            match what {
                What::Send(message) => {
                    let before = sent.insert(message.m, (*node, message.to, message.kind.clone()));
                    assert_eq!(before, None, "message {} leaves twice", message.m);
                }
                What::Recv { m, from, kind } => {
                    assert_eq!(sent.get(m), Some(&(*from, *node, kind.clone())), "seed {seed}");
                    arrived += 1;
                }
                What::Lost { m, to, .. } => {
                    let (from, meant, _) = &sent[m];
                    assert_eq!((from, meant), (node, to), "seed {seed}");
                    lost += 1;
                }
                _ => {}
            }
        }
    }
    assert!(arrived > 10_000 && lost > 1000, "{arrived} arrived, {lost} lost");
}

#[test]
fn commits_and_applies_only_rise_until_the_node_starts_again() {
    let mut seen = 0;
    for seed in SEEDS {
        let (_, events) = traced(seed);
        let (mut commits, mut applies) = (BTreeMap::new(), BTreeMap::new());
        for Event { node, what, .. } in &events {
            match what {
                What::Recover { .. } => {
                    commits.remove(node);
                    applies.remove(node);
                }
                What::Commit { index, .. } => {
                    let before = commits.insert(*node, *index).unwrap_or(0);
                    assert!(before < *index, "seed {seed}, node {node}: {before} to {index}");
                    seen += 1;
                }
                What::Apply { first, last } => {
                    assert!(first <= last && commits.get(node).is_some_and(|c| last <= c));
                    let next = applies.insert(*node, last + 1).unwrap_or(*first);
                    assert!(next <= *first, "seed {seed}, node {node}: {first} after {next}");
                }
                _ => {}
            }
        }
    }
    assert!(seen > 2000, "{seen} commits");
}

/// What a node was after each step of the run, by the other trace: node, part, term.
fn parts_in_text(outcome: &Outcome) -> Vec<(u64, Part, u64)> {
    let parse = |line: &String| {
        let words: Vec<_> = line.split_whitespace().collect();
        let ["node", id, role, "term", term, ..] = words.get(1..)? else { return None };
        let part = match *role {
            "Follower" => Part::Follower,
            "PreCandidate" => Part::PreCandidate,
            "Candidate" => Part::Candidate,
            "Leader" => Part::Leader,
            _ => return None,
        };
        Some((id.parse().ok()?, part, term.parse().ok()?))
    };
    outcome.lines.iter().filter_map(parse).collect()
}

#[test]
fn every_change_of_a_role_is_told_and_no_other() {
    let mut led = 0;
    for seed in SEEDS {
        let (outcome, events) = traced(seed);
        let mut told: BTreeMap<u64, Vec<(Part, u64)>> = BTreeMap::new();
        let mut leaders = BTreeSet::new();
        for Event { node, what, .. } in &events {
            let What::Role { term, role, .. } = what else { continue };
            if *role == Part::Leader {
                assert!(leaders.insert(*term), "seed {seed}: two leaders of term {term}");
            }
            let part = if *role == Part::Learner { Part::Follower } else { *role };
            told.entry(*node).or_default().push((part, *term));
        }
        led += leaders.len() as u64;
        assert!(leaders.len() as u64 >= outcome.tally.terms, "seed {seed}: {leaders:?}");
        // Whatever a node was after some step was told, in that order.
        let mut at: BTreeMap<u64, usize> = BTreeMap::new();
        for (node, part, term) in parts_in_text(&outcome) {
            let told = &told[&node];
            let from = at.entry(node).or_default();
            let found = told[*from..].iter().position(|told| *told == (part, term));
            let skip = found.unwrap_or_else(|| panic!("seed {seed}: {node} {part:?} in {term}"));
            *from += skip;
        }
    }
    assert!(led > 40, "{led} leaders");
}

#[test]
fn a_broken_rule_is_told_with_its_number() {
    let (_, bug) = *Bug::ALL.iter().find(|(name, _)| *name == "ack-before-sync").expect("a bug");
    let runs =
        (0..10).map(|seed| run(seed, &Ask { bug: Some(bug), events: true, ..Ask::default() }));
    let outcome = runs.into_iter().find(|outcome| outcome.breach.is_some()).expect("it is found");
    let breach = outcome.breach.expect("that one");
    let events = Reader::new(outcome.events.as_slice()).expect("a header").map(Result::unwrap);
    let broken = |event: &Event| match &event.what {
        What::Violation { rule, text } => Some((rule.to_string(), text.to_string())),
        _ => None,
    };
    let told: Vec<_> = events.filter_map(|event| broken(&event)).collect();
    assert_eq!(told.first(), Some(&(breach.rule.to_string(), breach.what)));
}

#[test]
fn a_trace_that_is_off_costs_a_comparison_for_each_event() {
    // Counted: what an event would say is not built. And timed, with room for any machine: a
    // thousand times what it takes, so that only something else than a comparison fails.
    let (off, mut built) = (Tracer::off(), 0_u64);
    let begun = std::time::Instant::now();
    for index in 0..1_000_000_u64 {
        let off = std::hint::black_box(&off);
        off.note(1, || {
            built += 1;
            What::Sync { us: index }
        });
    }
    let each = begun.elapsed() / 1_000_000;
    eprintln!("{each:?} for an event that is off");
    assert_eq!(built, 0);
    assert!(each < std::time::Duration::from_micros(1), "{each:?}");
}

#[test]
fn what_becomes_of_a_log_is_told() {
    let (mut kinds, mut synced) = (BTreeSet::new(), 0);
    for seed in SEEDS {
        let (_, events) = traced(seed);
        for Event { what, .. } in events {
            if let What::Sync { us } = what {
                synced += us;
            }
            let line = serde_json::to_value(&what).expect("JSON");
            kinds.insert(line["e"].as_str().expect("a kind").to_owned());
        }
    }
    let expected = [
        "role",
        "ask-vote",
        "vote",
        "send",
        "recv",
        "lost",
        "commit",
        "apply",
        "snapshot",
        "members",
        "write",
        "sync",
        "rotate",
        "trim-tail",
        "trim-prefix",
        "recover",
        "fault",
        "call",
        "return",
        "mark",
    ];
    assert_eq!(kinds, expected.map(str::to_owned).into());
    assert!(synced > 1_000_000, "virtual time passes until a batch is durable: {synced} µs");
}
