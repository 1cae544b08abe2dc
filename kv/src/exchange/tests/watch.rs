//! WATCH: a transaction that does nothing if what it watched is not as it was.

use super::*;

const DONE: &str = "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n";
const NOT_DONE: &str = "+OK\r\n+QUEUED\r\n$-1\r\n";
const SET_B: &str = "MULTI\r\nSET b 1\r\nEXEC\r\n";

#[test]
fn a_transaction_is_carried_out_while_the_watched_keys_are_as_they_were() {
    let mut talk = Talk::new();
    let mut other = talk.another();
    talk.say("SET a 1\r\n");
    assert_eq!(talk.say("WATCH a missing\r\n"), "+OK\r\n");
    other.say("SET c 1\r\n");
    assert_eq!(talk.say(SET_B), DONE);
    // It was for that transaction alone.
    other.say("SET a 2\r\n");
    assert_eq!(talk.say(SET_B), DONE);
}

#[test]
fn a_key_that_was_changed_removed_or_made_stops_it() {
    for change in ["SET a 2", "DEL a", "APPEND a x", "SET missing 1"] {
        let mut talk = Talk::new();
        let mut other = talk.another();
        talk.say("SET a 1\r\n");
        assert_eq!(talk.say("WATCH a missing\r\n"), "+OK\r\n");
        other.say(&format!("{change}\r\n"));
        assert_eq!(talk.say(SET_B), NOT_DONE, "{change}");
        assert_eq!(talk.say("EXISTS b\r\n"), ":0\r\n", "{change}");
        assert_eq!(talk.say(SET_B), DONE, "it was for that transaction alone");
    }
}

#[test]
fn what_counts_is_what_was_found_first_and_unwatch_or_discard_end_it() {
    let mut talk = Talk::new();
    let mut other = talk.another();
    talk.say("SET a 1\r\nWATCH a\r\n");
    other.say("SET a 2\r\n");
    assert_eq!(talk.say("WATCH a\r\n"), "+OK\r\n");
    assert_eq!(talk.say(SET_B), NOT_DONE);
    for end in ["UNWATCH", "MULTI\r\nDISCARD"] {
        talk.say("WATCH a\r\n");
        other.say("INCR a\r\n");
        assert!(talk.say(&format!("{end}\r\n")).ends_with("+OK\r\n"));
        assert_eq!(talk.say(SET_B), DONE, "{end}");
    }
    talk.say("MULTI\r\n");
    assert!(talk.say("WATCH a\r\n").starts_with("-ERR "), "too late");
}

#[test]
fn in_one_pipeline_each_waits_for_the_one_before() {
    let mut talk = Talk::new();
    talk.replica.hold();
    assert_eq!(talk.say(&format!("WATCH a\r\n{SET_B}WATCH a\r\nUNWATCH\r\nGET b\r\n")), "");
    // The read of the WATCH alone is under way.
    assert_eq!((talk.replica.held(), talk.replica.propose_calls()), (1, 0));
    talk.replica.view();
    let mut said = String::new();
    for _ in 0..4 {
        talk.replica.release();
        said.push_str(&talk.say(""));
    }
    assert_eq!(said, format!("+OK\r\n{DONE}+OK\r\n+OK\r\n$1\r\n1\r\n"));
}

#[test]
fn a_transaction_with_what_it_watched_is_bounded_in_bytes() {
    let mut talk = Talk::new();
    let value = "v".repeat(6 << 20);
    for key in ["a", "b", "c"] {
        let set = format!("*3\r\n$3\r\nSET\r\n$1\r\n{key}\r\n${}\r\n{value}\r\n", value.len());
        assert_eq!(talk.say(&set), "+OK\r\n");
    }
    talk.say("WATCH a b c\r\n");
    assert!(talk.used() > 16 << 20, "they are this client's to keep: {}", talk.used());
    let said = talk.say(SET_B);
    assert!(said.contains("-ERR transaction and watched values longer"), "{said}");
    talk.say("PING\r\n");
    assert_eq!(talk.used(), 0);
}
