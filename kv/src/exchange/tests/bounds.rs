//! What one client, or many, can make a server hold.

use super::*;

fn small() -> Bounds {
    Bounds { client_memory: 4 << 20, ..Bounds::default() }
}

/// A SET in the form that takes any bytes.
fn set(key: &str, len: usize) -> String {
    let value = "v".repeat(len);
    format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${len}\r\n{value}\r\n", key.len())
}

#[test]
fn answers_to_many_reads_of_a_large_value_are_made_one_at_a_time() {
    let mut talk = Talk::within(small());
    talk.say(&set("k", 1 << 20));
    talk.exchange.input.extend_from_slice("GET k\r\n".repeat(UNDER_WAY_MAX).as_bytes());
    talk.exchange.advance();
    let (mut most, mut read) = (0, 0);
    loop {
        while let Ok(event) = talk.events.try_recv() {
            talk.exchange.take(event);
        }
        talk.exchange.advance();
        most = talk.used().max(most);
        let taken = talk.exchange.output.split().len();
        if taken == 0 {
            break;
        }
        read += taken;
    }
    assert_eq!(read, UNDER_WAY_MAX * ((1 << 20) + 12));
    assert!(most <= 3 << 20, "{most}");
    assert_eq!(talk.used(), 0);
}

#[test]
fn a_write_behind_a_read_that_waits_for_its_turn_is_not_seen_by_it() {
    let mut talk = Talk::new();
    talk.say(&set("k", 700_000));
    // The first two replies fill the output; the third read is permitted and not answered yet.
    talk.exchange.input.extend_from_slice(b"GET k\r\nGET k\r\nSTRLEN k\r\nSET k new\r\n");
    talk.exchange.advance();
    while let Ok(event) = talk.events.try_recv() {
        talk.exchange.take(event);
    }
    talk.exchange.advance();
    assert_eq!(talk.replica.propose_calls(), 1, "the write has not begun");
    assert!(talk.exchange.output.len() > 1_400_000);
    talk.exchange.output.clear();
    assert_eq!(talk.say(""), ":700000\r\n+OK\r\n");
}

#[test]
fn a_client_that_holds_too_much_is_let_go_and_others_are_not() {
    let mut talk = Talk::within(small());
    let (mut one, mut other) = (talk.another(), talk.another());
    // Requests that are never finished.
    let header = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", 8 << 20);
    for hog in [&mut one, &mut other] {
        assert_eq!(hog.say(&header), "");
        assert_eq!(hog.say(&"x".repeat(2_000_000)), "");
    }
    assert_eq!(talk.say("SET a 1\r\nGET a\r\n"), "+OK\r\n$1\r\n1\r\n");
    assert!(one.say(&"x".repeat(1_000_000)).starts_with("-OOM "));
    one.exchange.advance();
    assert!(one.exchange.is_over());
    drop(one);
    assert_eq!(other.say(&"x".repeat(1_000_000)), "", "there is room again");
    drop(other);
    assert_eq!(talk.used(), 0);
    assert_eq!(talk.say(&set("k", 2 << 20)), "+OK\r\n");
}

#[test]
fn a_transaction_that_is_gathered_counts() {
    let mut talk = Talk::within(small());
    talk.say("MULTI\r\n");
    let step = set("k", 900_000);
    let said: Vec<String> = (0..6).map(|_| talk.say(&step)).collect();
    let queued = said.iter().filter(|said| *said == "+QUEUED\r\n").count();
    assert!(
        (3..=4).contains(&queued) && said.iter().any(|said| said.contains("-OOM ")),
        "{said:?}"
    );
}

#[test]
fn long_replies_to_writes_that_nobody_reads_find_no_room_in_the_end() {
    let mut talk = Talk::within(small());
    talk.say(&set("k", 1 << 20));
    talk.replica.hold();
    talk.say(&"SET k v NX GET\r\n".repeat(100));
    talk.replica.release();
    // Nothing is taken in: all answers wait.
    assert!((3 << 20..=4 << 20).contains(&talk.used()), "{}", talk.used());
    let said: String =
        std::iter::repeat_with(|| talk.say("")).take_while(|said| !said.is_empty()).collect();
    assert_eq!(said.matches("$1048576\r\n").count(), 3);
    assert_eq!(said.matches("-NOTKEPT it was done").count(), 97);
    assert_eq!(talk.used(), 0);
}

#[test]
fn what_is_answered_behind_a_write_that_waits_is_bounded_by_its_bytes() {
    let mut talk = Talk::new();
    talk.replica.hold();
    talk.say("SET a 1\r\n");
    talk.say(&format!("ECHO {}\r\n", "x".repeat(60_000)).repeat(100));
    assert!(!talk.exchange.wants_input());
    assert!(talk.exchange.pipeline.ready() < OUTPUT_MAX + 70_000);
}

#[test]
fn a_full_store_takes_only_what_makes_it_smaller() {
    let mut talk = Talk::within(Bounds { data_max: 1000, ..Bounds::default() });
    talk.say("SESSION OPEN\r\n");
    assert_eq!(talk.say(&set("k", 1000)), "+OK\r\n");
    for more in ["SET a 1", "APPEND k x", "SESSION 1 1 INCR n", "MULTI\r\nSET a 1\r\nEXEC"] {
        let said = talk.say(&format!("{more}\r\n"));
        assert!(said.contains("-OOM the store holds"), "{more}: {said}");
    }
    assert_eq!(talk.say("STRLEN k\r\nDEL k\r\n"), ":1000\r\n:1\r\n");
    // What is applied counts, so not before the answer to that.
    assert_eq!(talk.say("SET a 1\r\n"), "+OK\r\n");
}

#[test]
fn an_idle_connection_keeps_no_buffer_of_its_longest_request() {
    let mut talk = Talk::new();
    talk.say(&set("k", 4 << 20));
    talk.say("PING\r\n");
    talk.exchange.reserve_input();
    assert!(talk.exchange.input.capacity() < 64 << 10, "{}", talk.exchange.input.capacity());
}
