//! Sessions around a machine that counts what it is given (dissertation 6.3).

use super::*;

/// Replies with the command and how many it has applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counter(Vec<String>);

impl StateMachine for Counter {
    fn apply(&mut self, commands: &[Command]) -> Vec<Bytes> {
        let apply = |command: &Command| {
            let text = String::from_utf8(command.data.to_vec()).unwrap();
            self.0.push(text.clone());
            Bytes::from(format!("{text}#{}", self.0.len()))
        };
        commands.iter().map(apply).collect()
    }

    fn snapshot(&self) -> Box<dyn FrozenSnapshot> {
        Box::new(Text(self.0.join("\n")))
    }

    fn restore(&mut self, from: &mut dyn io::Read) -> io::Result<()> {
        let mut text = String::new();
        from.read_to_string(&mut text)?;
        self.0 = text.lines().map(str::to_owned).collect();
        Ok(())
    }
}

struct Text(String);

impl FrozenSnapshot for Text {
    fn write_to(&self, to: &mut dyn io::Write) -> io::Result<()> {
        to.write_all(self.0.as_bytes())
    }
}

struct Rig {
    sessions: Sessions<Counter>,
    index: u64,
}

impl Rig {
    fn new(limits: Limits) -> Self {
        Self { sessions: Sessions::new(Counter::default(), limits), index: 0 }
    }

    fn batch(&mut self, requests: &[Request]) -> Vec<Answer> {
        let command = |request: &Request| {
            self.index += 1;
            Command { index: self.index, term: 1, data: request.encode() }
        };
        let commands: Vec<_> = requests.iter().map(command).collect();
        let replies = self.sessions.apply(&commands);
        replies.iter().map(|reply| Answer::decode(reply).unwrap()).collect()
    }

    fn one(&mut self, request: Request) -> Answer {
        self.batch(&[request]).remove(0)
    }

    fn open(&mut self) -> u64 {
        match self.one(Request::Open) {
            Answer::Opened { client } => client,
            other => panic!("{other:?}"),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.sessions.snapshot().write_to(&mut bytes).unwrap();
        bytes
    }
}

fn command(client: u64, serial: u64, data: &str) -> Request {
    let data = Bytes::copy_from_slice(data.as_bytes());
    Request::Command { client, serial, answered_below: 0, data }
}

fn reply(text: &str) -> Answer {
    Answer::Reply(Bytes::copy_from_slice(text.as_bytes()))
}

#[test]
fn dissertation_6_3_a_command_that_is_sent_again_gets_its_reply_and_is_not_applied_again() {
    let mut rig = Rig::new(Limits::default());
    let (a, b) = (rig.open(), rig.open());
    assert_eq!(rig.one(command(a, 1, "x")), reply("x#1"));
    assert_eq!(rig.one(command(b, 1, "y")), reply("y#2"), "another client's first");
    assert_eq!(rig.one(command(a, 1, "x")), reply("x#1"));
    assert_eq!(rig.one(command(a, 3, "z")), reply("z#3"), "serials may overtake each other");
    assert_eq!(rig.one(command(a, 2, "w")), reply("w#4"));
    assert_eq!(rig.one(Request::Plain(Bytes::from_static(b"p"))), reply("p#5"));
    assert_eq!(rig.one(Request::Plain(Bytes::from_static(b"p"))), reply("p#6"));
    assert_eq!(rig.sessions.machine().0, ["x", "y", "z", "w", "p", "p"]);
}

#[test]
fn a_command_that_stands_twice_in_one_batch_is_applied_once() {
    let mut rig = Rig::new(Limits::default());
    let a = rig.open();
    let answers = rig.batch(&[command(a, 1, "x"), command(a, 2, "y"), command(a, 1, "x")]);
    assert_eq!(answers, [reply("x#1"), reply("y#2"), reply("x#1")]);
}

#[test]
fn who_is_forgotten_or_too_late_is_told_and_nothing_is_applied() {
    let mut rig = Rig::new(Limits { sessions_max: 2, replies_max: 2, reply_bytes_max: 4 });
    let (a, b) = (rig.open(), rig.open());
    assert_eq!(rig.one(command(99, 1, "?")), Answer::NoSession);
    for serial in 1..=3 {
        rig.one(command(a, serial, "x"));
    }
    assert_eq!(rig.one(command(a, 1, "x")), Answer::Stale, "two replies are kept");
    assert_eq!(rig.one(command(a, 3, "x")), reply("x#3"));
    rig.open();
    assert_eq!(rig.one(command(b, 1, "y")), Answer::NoSession, "it was silent the longest");
    assert_eq!(rig.one(command(a, 4, "large")), reply("large#4"));
    assert_eq!(rig.one(command(a, 4, "large")), Answer::NotKept);
    rig.one(Request::Close { client: a });
    assert_eq!(rig.one(command(a, 4, "large")), Answer::NoSession);
    assert_eq!(rig.sessions.machine().0.len(), 4);
    let malformed = Command { index: 100, term: 1, data: Bytes::from_static(b"\x09") };
    let answer = rig.sessions.apply(&[malformed]).remove(0);
    assert_eq!(Answer::decode(&answer), Ok(Answer::Malformed));
}

#[test]
fn what_the_client_says_is_answered_is_forgotten() {
    let mut rig = Rig::new(Limits::default());
    let a = rig.open();
    rig.one(command(a, 1, "x"));
    let data = Bytes::from_static(b"y");
    rig.one(Request::Command { client: a, serial: 2, answered_below: 2, data });
    assert_eq!(rig.one(command(a, 1, "x")), Answer::Stale);
}

#[test]
fn the_state_does_not_depend_on_how_the_log_is_cut_into_batches() {
    let limits = Limits { sessions_max: 3, replies_max: 2, reply_bytes_max: 3 };
    let mut seed = 7_u64;
    let mut below = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    // Clients are named by the entries that opened them: mostly recent ones are asked for.
    let request = |below: &mut dyn FnMut(u64) -> u64, index: u64| match below(12) {
        0..3 => Request::Open,
        3 => Request::Close { client: index.saturating_sub(below(12)) },
        _ => {
            let client = index.saturating_sub(below(12));
            let (serial, answered_below) = (below(4), below(3));
            let data = Bytes::from(index.to_string());
            Request::Command { client, serial, answered_below, data }
        }
    };
    let requests: Vec<_> = (1..=600).map(|index| request(&mut below, index)).collect();
    let mut single = Rig::new(limits);
    requests.iter().for_each(|request| drop(single.one(request.clone())));
    let mut batched = Rig::new(limits);
    let mut rest = &requests[..];
    while !rest.is_empty() {
        let len = usize::try_from(1 + below(20)).unwrap().min(rest.len());
        batched.batch(&rest[..len]);
        rest = &rest[len..];
    }
    assert_eq!(single.sessions.table, batched.sessions.table);
    assert_eq!(single.sessions.machine(), batched.sessions.machine());
    assert!(single.sessions.machine().0.len() > 30, "{:?}", single.sessions.machine());
}

#[test]
fn sessions_come_back_with_the_snapshot_and_a_view_does_not_change() {
    let mut rig = Rig::new(Limits::default());
    let a = rig.open();
    rig.one(command(a, 1, "x"));
    let view = rig.sessions.snapshot();
    let bytes = rig.bytes();
    rig.one(command(a, 2, "y"));
    let mut later = Vec::new();
    view.write_to(&mut later).unwrap();
    assert_eq!(later, bytes, "the view is as of then");
    let mut other = Rig::new(Limits::default());
    other.index = 50;
    other.sessions.restore(&mut &bytes[..]).unwrap();
    assert_eq!(other.bytes(), bytes);
    assert_eq!(other.one(command(a, 1, "x")), reply("x#1"));
    assert_eq!(other.one(command(a, 2, "z")), reply("z#2"));
}

#[test]
fn bytes_that_are_no_sessions_are_refused() {
    let mut rig = Rig::new(Limits::default());
    let a = rig.open();
    rig.one(command(a, 1, "x"));
    let bytes = rig.bytes();
    let table = bytes.len() - 1; // The machine's own byte follows.
    for len in 0..table {
        assert!(rig.sessions.restore(&mut &bytes[..len]).is_err(), "{len}");
    }
    for at in [0, 8, 40, 56] {
        let mut bytes = bytes.clone();
        bytes[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(rig.sessions.restore(&mut &bytes[..]).is_err(), "{at}");
    }
}
