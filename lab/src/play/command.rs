//! One line of play: a word or a number, and what belongs to it.
//!
//! Above: whoever reads lines. Below: nothing; what a word means is in `game`.
//!
//! Every line is either a command or an error that says what was expected. The numbers 1 to 12 are
//! those of raft-consensus.

use std::{num::IntErrorKind, str::FromStr};

use super::world::Birth;

/// Nodes of a cluster at most.
pub(super) const NODES_MAX: usize = 9;
/// Microseconds that pass at most at one command.
const WAIT_MAX: u64 = 600_000_000;
/// Bytes of a line at most.
pub(super) const LINE_MAX: usize = 64 << 10;

/// What was asked for. Nodes are as they were written: numbers, `leader`, or names that were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Create(Birth),
    Set {
        key: String,
        value: String,
        node: Option<String>,
    },
    Get {
        key: String,
        node: Option<String>,
    },
    /// Something that is done to nodes, one after the other.
    Each(Deed, Vec<String>),
    Add(Vec<String>),
    Rot {
        node: String,
        index: String,
    },
    Partition(Vec<Vec<String>>),
    Heal,
    Leader,
    Name {
        name: String,
        node: String,
    },
    Expect(Expect),
    Wait(u64),
    Pace(u64),
    Patience(u64),
    State,
    Log,
    Write(Option<String>),
    Say(String),
    Shutdown,
    Stop,
    Help,
    Nothing,
}

/// What is done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Disconnect,
    Reconnect,
    Crash,
    Power,
    Restart,
    Remove,
    Tear,
    Fill,
    Hang,
    Mend,
    Elect,
    Transfer,
}

/// What should be so; a script that finds otherwise fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expect {
    /// `leader NODE`, or `leader none`.
    Leader(String),
    /// `value KEY VALUE`, or `value KEY none`.
    Value { key: String, value: String },
    /// `NODE WHAT VALUE`.
    Of { node: String, what: String, value: String },
}

/// Every word, the number that raft-consensus gave it, what belongs to it, and what it does.
pub(super) const WORDS: [(&str, Option<u8>, &str, &str); 35] = [
    ("create", Some(1), "N [classic] [seed S] [snapshot BYTES]", "a cluster of N nodes"),
    ("set", Some(2), "KEY VALUE [NODE]", "a write, by the leader unless a node is named"),
    ("get", Some(3), "KEY [NODE]", "a read that sees every write before it"),
    ("disconnect", Some(4), "NODE…", "nobody hears it, and it hears nobody"),
    ("reconnect", Some(5), "NODE…", "it hears and is heard again"),
    ("crash", Some(6), "NODE…", "its process is killed; the page cache stays"),
    ("restart", Some(7), "NODE…", "it starts with what its disk holds"),
    ("shutdown", Some(8), "", "the cluster ends"),
    ("leader", Some(9), "", "who leads"),
    ("stop", Some(10), "", "leave; Ctrl-C and Ctrl-D do too"),
    ("add", Some(11), "[NODE…]", "the next node starts and joins"),
    ("remove", Some(12), "NODE…", "it takes part no more"),
    ("power", None, "NODE…", "its machine loses power: what was not synced may be gone"),
    ("tear", None, "NODE", "the power goes in the middle of its last write"),
    ("rot", None, "NODE INDEX", "one bit of that entry changes on its disk"),
    ("fill", None, "NODE", "its disk is full"),
    ("hang", None, "NODE", "its disk answers no sync (a process stands still)"),
    ("mend", None, "NODE", "its disk works again and has room"),
    ("resume", None, "NODE", "the same: what hangs goes on"),
    ("elect", None, "NODE", "it begins an election now"),
    ("transfer", None, "NODE", "the leader hands over to it"),
    ("partition", None, "A,B C,D,E", "only nodes of one group hear each other"),
    ("heal", None, "", "all groups hear each other again"),
    ("wait", None, "TIME", "time passes: 500ms, 2s"),
    ("pace", None, "TIME", "time that passes after each command, 1s at first"),
    ("patience", None, "TIME", "how long an answer is waited for, 3s at first"),
    ("state", None, "", "every node"),
    ("status", None, "", "every node"),
    ("log", None, "", "the last entries of every node"),
    ("name", None, "NAME NODE", "a name for a node: name old leader"),
    ("expect", None, "leader NODE | value KEY VALUE | NODE WHAT VALUE", "an error unless it is so"),
    ("w", None, "[FILE]", "writes the timeline (FILE.ndjson: the trace)"),
    ("fails", None, "COMMAND", "an error unless that command fails"),
    ("say", None, "WORDS", "words for people, in the trace too"),
    ("help", None, "", "this"),
];

/// Reads a line.
pub(super) fn parse(line: &str) -> Result<Command, String> {
    if line.len() > LINE_MAX {
        return Err(format!("a line has at most {LINE_MAX} bytes"));
    }
    let line = line.trim();
    if let Some(said) = line.strip_prefix('#') {
        return Ok(match said.trim() {
            "" => Command::Nothing,
            said => Command::Say(said.to_owned()),
        });
    }
    let mut words = line.split_whitespace();
    let Some(first) = words.next() else { return Ok(Command::Nothing) };
    let first = first.to_ascii_lowercase();
    let known = WORDS.iter().find(|(word, number, ..)| {
        *word == first || number.is_some_and(|number| first == number.to_string())
    });
    let Some((word, _, usage, _)) = known else {
        return Err(format!("no command {first:?}; `help` lists them"));
    };
    let words: Vec<&str> = words.collect();
    command(word, &words).map_err(|why| match why {
        Some(why) => why,
        None => format!("usage: {word} {usage}"),
    })
}

/// The command; an error without words is one of usage.
fn command(word: &str, words: &[&str]) -> Result<Command, Option<String>> {
    let own = |word: &&str| (*word).to_owned();
    let command = match (word, words) {
        ("create", [size, rest @ ..]) => return create(size, rest),
        ("set", [key, value]) => Command::Set { key: own(key), value: own(value), node: None },
        ("set", [key, value, node]) => {
            Command::Set { key: own(key), value: own(value), node: Some(own(node)) }
        }
        ("get", [key]) => Command::Get { key: own(key), node: None },
        ("get", [key, node]) => Command::Get { key: own(key), node: Some(own(node)) },
        ("add", nodes) => Command::Add(nodes.iter().map(own).collect()),
        ("rot", [node, index]) => Command::Rot { node: own(node), index: own(index) },
        ("partition", [_, _, ..]) => Command::Partition(
            words.iter().map(|group| group.split(',').map(|node| own(&node)).collect()).collect(),
        ),
        ("name", [name, node]) => {
            let letters = name.chars().all(|c| c.is_ascii_alphabetic());
            if !letters || *name == "leader" || *name == "none" {
                return Err(Some("a name is letters, and not `leader`".to_owned()));
            }
            Command::Name { name: own(name), node: own(node) }
        }
        ("expect", ["leader", node]) => Command::Expect(Expect::Leader(own(node))),
        ("expect", ["value", key, value]) => {
            Command::Expect(Expect::Value { key: own(key), value: own(value) })
        }
        ("expect", [node, what, value]) => {
            Command::Expect(Expect::Of { node: own(node), what: own(what), value: own(value) })
        }
        ("wait", [time]) => Command::Wait(micros(time)?),
        ("pace", [time]) => Command::Pace(micros(time)?),
        ("patience", [time]) => Command::Patience(micros(time)?),
        ("w", []) => Command::Write(None),
        ("w", [file]) => Command::Write(Some(own(file))),
        ("say", [_, ..]) => Command::Say(words.join(" ")),
        ("heal", []) => Command::Heal,
        ("leader", []) => Command::Leader,
        ("state" | "status", []) => Command::State,
        ("log", []) => Command::Log,
        ("shutdown", []) => Command::Shutdown,
        ("stop", []) => Command::Stop,
        ("help", []) => Command::Help,
        (word, [_, ..]) => {
            let deed = deed(word).ok_or(None)?;
            Command::Each(deed, words.iter().map(own).collect())
        }
        _ => return Err(None),
    };
    Ok(command)
}

fn deed(word: &str) -> Option<Deed> {
    Some(match word {
        "disconnect" => Deed::Disconnect,
        "reconnect" => Deed::Reconnect,
        "crash" => Deed::Crash,
        "power" => Deed::Power,
        "restart" => Deed::Restart,
        "remove" => Deed::Remove,
        "tear" => Deed::Tear,
        "fill" => Deed::Fill,
        "hang" => Deed::Hang,
        "mend" | "resume" => Deed::Mend,
        "elect" => Deed::Elect,
        "transfer" => Deed::Transfer,
        _ => return None,
    })
}

fn create(size: &str, mut rest: &[&str]) -> Result<Command, Option<String>> {
    let size: usize = number(size)?;
    if !(1..=NODES_MAX).contains(&size) {
        return Err(Some(format!("a cluster has 1 to {NODES_MAX} nodes")));
    }
    let (mut seed, mut classic, mut snapshot) = (None, false, None);
    loop {
        match rest {
            [] => return Ok(Command::Create(Birth { size, seed, classic, snapshot })),
            ["classic", more @ ..] => (classic, rest) = (true, more),
            ["seed", number_, more @ ..] => (seed, rest) = (Some(number(number_)?), more),
            ["snapshot", bytes, more @ ..] => (snapshot, rest) = (Some(number(bytes)?), more),
            _ => return Err(None),
        }
    }
}

/// A whole number, or what is wrong with it.
pub(super) fn number<N: FromStr<Err = std::num::ParseIntError>>(
    word: &str,
) -> Result<N, Option<String>> {
    word.parse().map_err(|error: std::num::ParseIntError| {
        Some(match error.kind() {
            IntErrorKind::PosOverflow => format!("{word} is too large"),
            _ => format!("{word:?} is no whole number"),
        })
    })
}

/// A time: `250ms`, `2s`, `1.5s`, `0`.
fn micros(word: &str) -> Result<u64, Option<String>> {
    let wrong = || Some(format!("{word:?} is no time: 250ms or 2s, at most 600s"));
    let (digits, unit) = match word.strip_suffix("ms") {
        Some(digits) => (digits, 1000),
        None => (word.strip_suffix('s').unwrap_or(word), 1_000_000),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(part) || part.len() > 6 {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let scale = u32::try_from(part.len()).ok().and_then(|places| 10u64.checked_pow(places));
    let part = part.parse::<u64>().unwrap_or(0) * unit / scale.ok_or_else(wrong)?;
    let time = whole.checked_mul(unit).and_then(|time| time.checked_add(part));
    time.filter(|time| *time <= WAIT_MAX).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_numbers_and_case_are_the_same_commands() {
        assert_eq!(parse("1 3"), parse("CREATE 3"));
        assert_eq!(parse(" 2 key value 1 "), parse("set key value 1"));
        assert_eq!(parse("9"), Ok(Command::Leader));
        assert_eq!(parse("10"), Ok(Command::Stop));
        assert_eq!(parse("11 4 5"), parse("add 4 5"));
        assert_eq!(parse("6 1 2"), Ok(Command::Each(Deed::Crash, vec!["1".into(), "2".into()])));
        assert_eq!(parse("   "), Ok(Command::Nothing));
        assert_eq!(parse("# words"), Ok(Command::Say("words".to_owned())));
        assert_eq!(
            parse("create 5 classic seed 9 snapshot 400"),
            Ok(Command::Create(Birth {
                size: 5,
                seed: Some(9),
                classic: true,
                snapshot: Some(400)
            }))
        );
    }

    #[test]
    fn every_word_is_a_command_and_none_of_them_panics_without_its_words() {
        for (word, _, usage, _) in WORDS {
            let needs = !usage.is_empty() && !usage.starts_with('[');
            assert_eq!(parse(word).is_err(), needs, "{word}");
            let many = parse(&format!("{word} 1 2 3 4 5 6 7 8"));
            assert!(many.is_ok() || many.unwrap_err().contains("usage"), "{word}");
        }
    }

    #[test]
    fn what_makes_no_sense_says_so() {
        for (line, why) in [
            ("frob", "no command"),
            ("0", "no command"),
            ("create", "usage: create"),
            ("create 0", "1 to 9"),
            ("create 99999999999999999999", "too large"),
            ("create -1", "no whole number"),
            ("create 3 seed", "usage"),
            ("wait", "usage"),
            ("wait 1e9s", "no time"),
            ("wait 601s", "no time"),
            ("wait .5s", "no time"),
            ("wait 99999999999999999999s", "no time"),
            ("name leader 1", "a name is letters"),
            ("set onlykey", "usage: set"),
            ("crash", "usage: crash"),
        ] {
            assert!(parse(line).unwrap_err().contains(why), "{line}");
        }
        assert!(parse(&"x".repeat(LINE_MAX + 1)).is_err());
    }

    #[test]
    fn times_have_units() {
        for (word, time) in [("250ms", 250_000), ("2s", 2_000_000), ("1.5s", 1_500_000), ("0", 0)] {
            assert_eq!(micros(word), Ok(time), "{word}");
        }
    }
}
