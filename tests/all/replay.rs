//! The model's histories on the engine: judged in every crash state, and compared with the model.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
};

use hardlog::fs::{
    SyncPoint,
    sim::{Model, Rng},
};
use hardlog_tests::replay::{AFTER_POISON, Check, Did, LETTERS, World, explore, recover};

/// Histories that once broke the model, or a rule of it.
const KNOWN: [&str; 27] = [
    "ek", "esk", "esefk", "esrv", "wes", "eswv", "ebgs", "abs", "ves", "avs", "vvs", "gigs", "eik",
    "esiiek", "ersT", "ereT", "eGk", "ebus", "esipses", "eele", "zzs", "esfek", "eMsrMGk",
    "eseWsk", "eesTRekx", "eseFk", "bseqvG",
];

/// All histories of up to `depth` letters.
fn all(depth: usize, letters: &str) -> Vec<String> {
    let mut longest = vec![String::new()];
    let mut histories = longest.clone();
    for _ in 0..depth {
        longest = longest
            .iter()
            .flat_map(|start| letters.chars().map(move |letter| format!("{start}{letter}")))
            .collect();
        histories.extend(longest.iter().cloned());
    }
    histories
}

fn random(count: usize, len: usize, seed: u64) -> Vec<String> {
    let letters: Vec<char> = LETTERS.chars().collect();
    let mut rng = Rng::new(seed);
    let mut one = || (0..len).map(|_| letters[rng.below(letters.len())]).collect();
    (0..count).map(|_| one()).collect()
}

/// Explores all of them on two threads; at least `states_min` states must have been judged.
fn hold(histories: &[String], check: Check, states_min: u64) {
    let half = histories.len() / 2;
    let run = |part: &[String]| part.iter().map(|history| judged(history, check)).sum::<u64>();
    let states = std::thread::scope(|scope| {
        let (one, two) = histories.split_at(half);
        let other = scope.spawn(move || run(one));
        run(two) + other.join().unwrap()
    });
    println!("{} histories, {states} states", histories.len());
    assert!(states >= states_min, "only {states} states");
}

fn judged(history: &str, check: Check) -> u64 {
    let stats = explore(history, check);
    if let Some(found) = stats.found {
        panic!(
            "history {history}, {check:?}\n  broken: {}\n  state: {}",
            found.broken, found.state
        );
    }
    stats.states
}

#[test]
fn every_crash_state_of_histories_of_two_operations_holds() {
    hold(&all(2, LETTERS), Check::default(), 5_000);
}

#[test]
fn the_histories_that_broke_the_model_hold_with_rot_and_recoveries_cut_off() {
    let known: Vec<String> = KNOWN.map(str::to_owned).to_vec();
    hold(&known, Check { nested: true, rot: true, every: true, ..Check::default() }, 5_000);
}

#[test]
fn long_histories_hold_at_every_step() {
    let seed = 7;
    hold(&random(300, 9, seed), Check { every: true, seed, ..Check::default() }, 10_000);
}

#[test]
fn long_histories_hold_where_names_become_durable_in_order() {
    let (seed, model) = (8, Model::Journal);
    hold(&random(100, 9, seed), Check { every: true, seed, model, ..Check::default() }, 3_000);
}

/// Controls: with any one sync left out, a short history must lose something, and the same history
/// must hold with it.
#[test]
fn each_sync_is_missed_when_it_is_left_out() {
    // A name that comes back where nothing is reused does no harm; see `crash`.
    for point in SyncPoint::ALL.into_iter().filter(|point| *point != SyncPoint::LostName) {
        let history = match point {
            SyncPoint::Batches => "es",
            SyncPoint::Seal => "er",
            SyncPoint::Successor | SyncPoint::SuccessorName => "re",
            SyncPoint::FoundNames => "eGk",
            SyncPoint::Snapshot | SyncPoint::SnapshotName => "eesT",
            SyncPoint::Trim | SyncPoint::TrimMarker | SyncPoint::LostName => "eereT",
        };
        // Without the marker a trim is lost only where its batch rots.
        let rot = point == SyncPoint::TrimMarker;
        let check = Check { every: true, nested: true, rot, ..Check::default() };
        let stats = explore(history, Check { omitted: Some(point), ..check });
        let found = stats.found.unwrap_or_else(|| panic!("{point:?}: {} states", stats.states));
        println!("{point:?}, {history}, {} states: {}", stats.states, found.broken);
        assert!(judged(history, check) > 0);
    }
}

/// After each operation the engine and the model make the same of the same history: the row of the
/// verdict, window, terms, commit, mark, promises, slots, `maybe_lost`.
///
/// Compared: the disk after kill -9 (all that was written) and after a power cut that takes all it
/// can. Not compared: states between (sectors fall elsewhere in the two layouts; the ledger judges
/// those), payloads (the ledger compares them with what was written), and `x`, whose outcome is
/// drawn. `W` is left out by either where a segment is nearly full, which depends on the layout.
#[test]
fn the_engine_and_the_model_agree_on_what_a_kill_and_a_full_loss_leave() {
    let letters: String = LETTERS.chars().filter(|letter| *letter != 'x').collect();
    let mut histories = all(2, &letters);
    histories.extend(random(200, 8, 3).into_iter().filter(|h| !h.contains('x')));
    histories.extend(KNOWN.iter().map(|h| (*h).to_owned()).filter(|h| !h.contains('x')));
    let Some(said) = emitted(&histories) else { return };
    assert!(said.len() > 1_000, "the model told only {} outcomes", said.len());

    let (mut compared, mut differences) = (0, Vec::new());
    for history in &histories {
        let ours: BTreeMap<String, String> = outcomes(history).into_iter().collect();
        let from = format!("{history} ");
        let theirs = said.range(from.clone()..).take_while(|(key, _)| key.starts_with(&from));
        let theirs: BTreeMap<&String, &String> = theirs.collect();
        if ours.len() != theirs.len() && !history.contains('W') {
            differences.push(format!("{history}: {} outcomes, and {}", ours.len(), theirs.len()));
        }
        for (key, ours) in &ours {
            let Some(theirs) = theirs.get(key) else { continue };
            compared += 1;
            if ours != *theirs {
                differences.push(format!("{key}\n    engine {ours}\n    model  {theirs}"));
            }
        }
    }
    let shown: Vec<&String> = differences.iter().take(20).collect();
    assert!(differences.is_empty(), "{} of {compared} differ: {shown:#?}", differences.len());
    println!("{compared} outcomes are the same");
    assert!(compared > 1_000, "only {compared} outcomes compared");
}

/// What the engine makes of each step of a history, by `history step image`.
fn outcomes(history: &str) -> Vec<(String, String)> {
    let mut world = World::new(1, None);
    world.create().unwrap();
    let mut rows = Vec::new();
    for (i, letter) in history.chars().enumerate() {
        if world.is_poisoned() && !AFTER_POISON.contains(letter) {
            break;
        }
        if world.step(letter).unwrap() == Did::Nothing {
            break;
        }
        let kill = recover(&world.fs.kill_image(), None);
        let loss = world.fs.crash_images(Model::Strict, 1, &mut Rng::new(1)).next().unwrap();
        rows.push((format!("{history} {i} kill"), kill.to_string()));
        rows.push((format!("{history} {i} loss"), recover(&loss.fs, None).to_string()));
    }
    rows
}

/// What `model.py --emit` says of the histories; `None` where there is no python3.
fn emitted(histories: &[String]) -> Option<BTreeMap<String, String>> {
    let script = hardlog_tests::repository().join("tests/model/model.py");
    let child = Command::new("python3")
        .arg(script)
        .arg("--emit")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(e) => {
            hardlog_tests::skipped("model --emit", &format!("python3 cannot be run: {e}"));
            return None;
        }
    };
    let mut input = child.stdin.take().unwrap();
    let lines = histories.join("\n");
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "model.py --emit failed");
    let text = String::from_utf8(output.stdout).unwrap();
    let parsed = text.lines().map(|line| {
        let cut = line.match_indices(' ').nth(2).unwrap().0;
        (line[..cut].to_owned(), line[cut + 1..].to_owned())
    });
    Some(parsed.collect())
}
