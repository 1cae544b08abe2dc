//! A trace of any length, made up: five nodes, a leader that changes, messages that get lost, a
//! crash now and then.

use std::fmt::Write;

/// Events as lines, behind their header.
pub(crate) struct Made {
    text: String,
    at: u64,
    events: u64,
    messages: u64,
    seed: u64,
}

impl Made {
    /// At least so many events.
    pub(crate) fn trace(events: u64) -> String {
        let header = r#"{"trace":"hardlog.trace/1","source":"sim","seed":1,"nodes":[1,2,3,4,5],"clock":"virtual"}"#;
        let mut made = Self { text: format!("{header}\n"), at: 0, events: 0, messages: 0, seed: 7 };
        let (mut term, mut index) = (0, 0);
        while made.events < events {
            term += 1;
            let leader = term % 5 + 1;
            made.elect(leader, term);
            for round in 0..200 {
                index += 1;
                made.replicate(leader, term, index);
                if round % 50 == 49 || made.events >= events {
                    break;
                }
            }
            made.fall(leader, term, index);
        }
        made.text
    }

    /// A number that looks like chance.
    fn chance(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.seed >> 33) % below
    }

    fn say(&mut self, node: u64, what: &str) {
        self.at += 1 + self.seed % 40;
        self.events += 1;
        let (at, number) = (self.at, self.events);
        writeln!(self.text, r#"{{"t":{at},"n":{node},"q":{number},{what}}}"#).unwrap();
    }

    /// A message and its end; whether it came.
    fn message(&mut self, from: u64, to: u64, kind: &str, rest: &str) -> bool {
        self.messages += 1;
        let m = self.messages;
        self.say(from, &format!(r#""e":"send","m":{m},"to":{to},"kind":"{kind}"{rest}"#));
        let came = self.chance(20) != 0;
        if came {
            self.say(to, &format!(r#""e":"recv","m":{m},"from":{from},"kind":"{kind}""#));
        } else {
            self.say(from, &format!(r#""e":"lost","m":{m},"to":{to},"why":"dropped""#));
        }
        came
    }

    fn elect(&mut self, leader: u64, term: u64) {
        self.at += 150_000;
        self.say(leader, &format!(r#""e":"role","term":{term},"role":"candidate""#));
        self.say(
            leader,
            &format!(r#""e":"ask-vote","term":{term},"pre":false,"last_index":0,"last_term":0"#),
        );
        for to in (1..=5).filter(|to| *to != leader) {
            if self.message(leader, to, "vote", &format!(r#","term":{term}"#)) {
                self.say(to, &format!(r#""e":"role","term":{term},"role":"follower""#));
                self.say(
                    to,
                    &format!(
                        r#""e":"vote","term":{term},"for":{leader},"granted":true,"pre":false"#
                    ),
                );
                self.message(
                    to,
                    leader,
                    "vote-reply",
                    &format!(r#","term":{term},"reject":false"#),
                );
            }
        }
        self.say(leader, &format!(r#""e":"role","term":{term},"role":"leader","leader":{leader}"#));
    }

    fn replicate(&mut self, leader: u64, term: u64, index: u64) {
        self.say(0, &format!(r#""e":"call","client":1,"serial":{index},"op":"set x {index}""#));
        self.write(leader, index);
        let prev = index - 1;
        for to in (1..=5).filter(|to| *to != leader) {
            let rest = format!(
                r#","term":{term},"prev":{prev},"first":{index},"last":{index},"commit":{prev}"#
            );
            if self.message(leader, to, "append", &rest) {
                self.write(to, index);
                self.message(
                    to,
                    leader,
                    "append-reply",
                    &format!(r#","term":{term},"last":{index}"#),
                );
                self.say(to, &format!(r#""e":"commit","index":{index},"term":{term}"#));
            }
        }
        self.say(leader, &format!(r#""e":"commit","index":{index},"term":{term}"#));
        self.say(leader, &format!(r#""e":"apply","first":{index},"last":{index}"#));
        self.say(0, &format!(r#""e":"return","client":1,"serial":{index},"ok":true"#));
    }

    fn write(&mut self, node: u64, index: u64) {
        self.say(node, &format!(r#""e":"write","first":{index},"last":{index},"batch":{index}"#));
        self.say(node, r#""e":"sync","us":30"#);
    }

    fn fall(&mut self, leader: u64, term: u64, index: u64) {
        self.say(0, &format!(r#""e":"fault","what":"crash","nodes":[{leader}]"#));
        self.say(leader, &format!(r#""e":"role","term":{term},"role":"down""#));
        self.at += 50_000;
        self.say(0, &format!(r#""e":"fault","what":"restart","nodes":[{leader}]"#));
        self.say(
            leader,
            &format!(r#""e":"recover","verdict":"clean-end","first":1,"last":{index}"#),
        );
        self.say(leader, &format!(r#""e":"role","term":{term},"role":"follower""#));
    }
}
