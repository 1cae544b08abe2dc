//! MIT 6.824 2C, 6.5840 3C: persistence, and networks that lose, delay and reorder.

use super::{
    harness::{
        ELECTION, One, Servers, all_of, any_of, check_one_leader, command, committed, one, servers,
        wait,
    },
    simulated::mit,
};

pub(crate) fn persist_1<C: Servers>(c: &mut C) {
    one(c, 11, 3, true);
    (0..3).for_each(|server| c.crash(server));
    (0..3).for_each(|server| c.restart(server));
    one(c, 12, 3, true);
    let leader = check_one_leader(c);
    c.crash(leader);
    c.restart(leader);
    one(c, 13, 3, true);
    let leader = check_one_leader(c);
    c.crash(leader);
    one(c, 14, 2, true);
    c.restart(leader);
    // The leader that joins again has to hear of index 4 before anything else is asked.
    wait(c, 4, 3, None);
    let follower = (check_one_leader(c) + 1) % 3;
    c.crash(follower);
    one(c, 15, 2, true);
    c.restart(follower);
    one(c, 16, 3, true);
}

pub(crate) fn persist_2<C: Servers>(c: &mut C) {
    let mut value = 1;
    let mut next = || {
        value += 1;
        value
    };
    for _ in 0..5 {
        one(c, 10 + next(), 5, true);
        let leader = check_one_leader(c);
        let at = |k: usize| (leader + k) % 5;
        (1..3).for_each(|k| c.crash(at(k)));
        one(c, 10 + next(), 3, true);
        [0, 3, 4].into_iter().for_each(|k| c.crash(at(k)));
        (1..3).for_each(|k| c.restart(at(k)));
        c.sleep(ELECTION);
        c.restart(at(3));
        one(c, 10 + next(), 3, true);
        [0, 4].into_iter().for_each(|k| c.restart(at(k)));
    }
    one(c, 1000, 5, true);
}

pub(crate) fn persist_3<C: Servers>(c: &mut C) {
    one(c, 101, 3, true);
    let leader = check_one_leader(c);
    c.disconnect((leader + 2) % 3);
    one(c, 102, 2, true);
    c.crash(leader);
    c.crash((leader + 1) % 3);
    c.connect((leader + 2) % 3);
    c.restart(leader);
    one(c, 103, 2, true);
    c.restart((leader + 1) % 3);
    one(c, 104, 3, true);
}

/// The scene of Figure 8 of the paper, a thousand times in disorder.
pub(crate) fn figure_8<C: Servers>(c: &mut C) {
    one(c, 9999, 1, true);
    let mut up = 5;
    for round in 0..1000 {
        let mut leader = None;
        for server in 0..5 {
            if c.submit(server, &command(round)).is_some() {
                leader = Some(server);
            }
        }
        let long = c.random(1000) < 100;
        let pause = if long { c.random(ELECTION / 2) } else { c.random(13) };
        c.sleep(pause);
        if let Some(leader) = leader {
            c.crash(leader);
            up -= 1;
        }
        if up < 3 {
            let server = any_of(c, 5);
            if !c.is_up(server) {
                c.restart(server);
                up += 1;
            }
        }
    }
    servers(c).for_each(|server| c.restart(server));
    one(c, 9998, 5, true);
}

pub(crate) fn unreliable_agree<C: Servers>(c: &mut C) {
    c.set_unreliable(true);
    for round in 1..50 {
        let mut ones: Vec<One> =
            (0..4).map(|k| One::new(c, &command(100 * round + k), 1, true)).collect();
        ones.push(One::new(c, &command(round), 1, true));
        all_of(c, ones);
    }
    c.set_unreliable(false);
    one(c, 100, 5, true);
}

pub(crate) fn figure_8_unreliable<C: Servers>(c: &mut C) {
    c.set_unreliable(true);
    one(c, c_value(0), 1, true);
    let mut connected = 5;
    for round in 0..1000 {
        if round == 200 {
            c.set_reordering(true);
        }
        let mut leader = None;
        for server in 0..5 {
            let led = c.submit(server, &command(c_value(round + 1))).is_some();
            if led && c.is_connected(server) {
                leader = Some(server);
            }
        }
        let long = c.random(1000) < 100;
        let pause = if long { c.random(ELECTION / 2) } else { c.random(13) };
        c.sleep(pause);
        if let Some(leader) = leader
            && c.random(1000) < 500
        {
            c.disconnect(leader);
            connected -= 1;
        }
        if connected < 3 {
            let server = any_of(c, 5);
            if !c.is_connected(server) {
                c.connect(server);
                connected += 1;
            }
        }
    }
    servers(c).for_each(|server| c.connect(server));
    one(c, c_value(5000), 5, true);
}

/// Values that no other command of the test has.
fn c_value(number: u64) -> u64 {
    1_000_000 + number
}

/// A client that submits all the time, and remembers what it saw committed.
struct Churner {
    next: u64,
    /// What it waits for: a value, its index, and how often it has looked.
    waiting: Option<(u64, u64, usize)>,
    look_at: u64,
    seen: Vec<u64>,
}

impl Churner {
    const PAUSES: [u64; 5] = [10, 20, 50, 100, 200];

    fn poll<C: Servers>(&mut self, c: &mut C) {
        let now = c.now();
        if now < self.look_at {
            return;
        }
        let Some((value, index, looks)) = self.waiting else {
            self.next += 1;
            let value = self.next;
            let mut found = None;
            for server in servers(c) {
                found = c.submit(server, &command(value)).or(found);
            }
            self.waiting = found.map(|(index, _)| (value, index, 0));
            self.look_at = now + if found.is_some() { Self::PAUSES[0] } else { 79 };
            return;
        };
        let (_, found) = committed(c, index);
        if found.is_some_and(|bytes| *bytes == command(value)) {
            self.seen.push(value);
            self.waiting = None;
        } else if let Some(pause) = Self::PAUSES.get(looks + 1) {
            self.waiting = Some((value, index, looks + 1));
            self.look_at = now + pause;
        } else {
            self.waiting = None;
        }
    }
}

fn churn<C: Servers>(c: &mut C, unreliable: bool) {
    c.set_unreliable(unreliable);
    let client = |k: u64| Churner { next: k << 32, waiting: None, look_at: 0, seen: Vec::new() };
    let mut clients: Vec<Churner> = (1..4).map(client).collect();
    let mut pass = |c: &mut C, millis: u64| {
        let end = c.now() + millis;
        while c.now() < end {
            clients.iter_mut().for_each(|client| client.poll(c));
            c.sleep(10);
        }
    };
    for _ in 0..20 {
        let any = |c: &mut C| any_of(c, 5);
        if c.random(1000) < 200 {
            let server = any(c);
            c.disconnect(server);
        }
        if c.random(1000) < 500 {
            let server = any(c);
            c.restart(server);
            c.connect(server);
        }
        if c.random(1000) < 200 {
            let server = any(c);
            c.crash(server);
        }
        pass(c, ELECTION * 7 / 10);
    }
    c.sleep(ELECTION);
    c.set_unreliable(false);
    for server in servers(c) {
        c.restart(server);
        c.connect(server);
    }
    let seen: Vec<u64> = clients.into_iter().flat_map(|client| client.seen).collect();
    c.sleep(ELECTION);
    let last = one(c, 77, 5, true);
    let log: Vec<_> = (1..=last).filter_map(|index| c.applied(0, index)).collect();
    assert_eq!(log.len() as u64, last, "there are holes");
    for value in seen {
        assert!(log.iter().any(|bytes| **bytes == command(value)), "{value:x} was committed");
    }
}

pub(crate) fn reliable_churn<C: Servers>(c: &mut C) {
    churn(c, false);
}

pub(crate) fn unreliable_churn<C: Servers>(c: &mut C) {
    churn(c, true);
}

#[test]
fn test_persist_1_2c() {
    mit(3, 60, persist_1);
}

#[test]
fn test_persist_2_2c() {
    mit(5, 20, persist_2);
}

#[test]
fn test_persist_3_2c() {
    mit(3, 60, persist_3);
}

#[test]
fn test_figure_8_2c() {
    mit(5, 10, figure_8);
}

#[test]
fn test_unreliable_agree_2c() {
    mit(5, 10, unreliable_agree);
}

#[test]
fn test_figure_8_unreliable_2c() {
    mit(5, 10, figure_8_unreliable);
}

#[test]
fn test_reliable_churn_2c() {
    mit(5, 10, reliable_churn);
}

#[test]
fn test_unreliable_churn_2c() {
    mit(5, 10, unreliable_churn);
}
