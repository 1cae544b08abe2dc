mod bounds;
mod watch;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::{
    replica::{Replica, alone::Alone},
    server::{Bounds, Server},
};

struct Talk {
    replica: Arc<Alone>,
    exchange: Exchange,
    events: UnboundedReceiver<Event>,
}

impl Talk {
    fn new() -> Self {
        Self::within(Bounds::default())
    }

    fn within(bounds: Bounds) -> Self {
        let replica = Arc::new(Alone::default());
        let members = "1=127.0.0.1:7001@1,2=127.0.0.1:7002@2".parse().unwrap();
        let view = replica.view();
        let server = Server::new(1, Arc::clone(&replica) as Arc<dyn Replica>, view, members, 10);
        Self::with(replica, server.with_bounds(bounds).shared())
    }

    fn with(replica: Arc<Alone>, shared: Arc<Shared>) -> Self {
        let (sender, events) = unbounded_channel();
        Self { replica, exchange: Exchange::new(shared, 5, sender), events }
    }

    /// Another client of the same server.
    fn another(&self) -> Self {
        Self::with(Arc::clone(&self.replica), Arc::clone(&self.exchange.shared))
    }

    /// Bytes that clients hold of the memory that is there for them.
    fn used(&self) -> usize {
        self.exchange.shared.room.used()
    }

    fn permits(&self) -> usize {
        self.exchange.gate().available_permits()
    }

    /// Sends, takes in every event there is, and returns what came out.
    fn say(&mut self, input: &str) -> String {
        self.exchange.input.extend_from_slice(input.as_bytes());
        self.exchange.advance();
        while let Ok(event) = self.events.try_recv() {
            self.exchange.take(event);
            self.exchange.advance();
        }
        String::from_utf8(self.exchange.output.split().to_vec()).unwrap()
    }
}

#[test]
fn commands_are_answered_in_order_and_a_client_reads_its_own_writes() {
    let mut talk = Talk::new();
    let said = talk.say("SET a 1\r\nGET a\r\nPING\r\nINCR a\r\nGET a\r\nMGET a b\r\nDBSIZE\r\n");
    assert_eq!(said, "+OK\r\n$1\r\n1\r\n+PONG\r\n:2\r\n$1\r\n2\r\n*2\r\n$1\r\n2\r\n$-1\r\n:1\r\n");
}

#[test]
fn writes_of_a_pipeline_are_proposed_together_and_a_read_waits_for_them() {
    let mut talk = Talk::new();
    talk.replica.hold();
    assert_eq!(talk.say("SET a 1\r\nSET a 2\r\nPING\r\nGET a\r\nGET b\r\nSET a 3\r\n"), "");
    assert_eq!((talk.replica.held(), talk.exchange.wants_input()), (2, false));
    talk.replica.release();
    assert_eq!(talk.say(""), "+OK\r\n+OK\r\n+PONG\r\n");
    // Both reads are one question to the replica, and the write after them has not begun.
    assert_eq!((talk.replica.held(), talk.replica.read_calls()), (1, 1));
    talk.replica.release();
    assert_eq!(talk.say(""), "$1\r\n2\r\n$-1\r\n");
    talk.replica.release();
    assert_eq!(talk.say(""), "+OK\r\n");
    assert!(talk.exchange.wants_input());
}

#[test]
fn a_pipeline_of_writes_is_one_proposal() {
    let mut talk = Talk::new();
    talk.replica.hold();
    talk.say(&"INCR n\r\n".repeat(1000));
    assert_eq!((talk.replica.held(), talk.replica.propose_calls()), (1000, 1));
    talk.replica.release();
    assert!(talk.say("").ends_with(":1000\r\n"));
}

#[test]
fn a_transaction_is_one_entry_and_is_answered_as_a_whole() {
    let mut talk = Talk::new();
    talk.replica.hold();
    let begun = talk.say("MULTI\r\nSET a 1\r\nINCR a\r\nGET a\r\nTYPE a\r\nMGET a b\r\n");
    assert_eq!(begun, format!("+OK\r\n{}", "+QUEUED\r\n".repeat(5)));
    assert_eq!(talk.replica.held(), 0);
    assert_eq!(talk.say("EXEC\r\nGET a\r\n"), "");
    assert_eq!(talk.replica.held(), 1);
    talk.replica.release();
    let done = "*5\r\n+OK\r\n:2\r\n$1\r\n2\r\n+string\r\n*2\r\n$1\r\n2\r\n$-1\r\n";
    assert_eq!(talk.say(""), done);
    talk.replica.release();
    assert_eq!(talk.say(""), "$1\r\n2\r\n");
    assert_eq!(talk.say("MULTI\r\nEXEC\r\n"), "+OK\r\n*0\r\n");
    assert_eq!(talk.say("MULTI\r\nSET a 9\r\nDISCARD\r\n"), "+OK\r\n+QUEUED\r\n+OK\r\n");
    assert!(talk.say("EXEC\r\n").starts_with("-ERR EXEC without MULTI"));
    assert!(talk.say("DISCARD\r\n").starts_with("-ERR DISCARD without MULTI"));
    assert_eq!(talk.replica.held(), 0);
}

#[test]
fn a_spoilt_transaction_does_nothing() {
    for spoil in ["NONSENSE", "SET a", "MULTI", "SCAN 0", "HELLO 3", "SET a 1 EX 1"] {
        let mut talk = Talk::new();
        let said = talk.say(&format!("MULTI\r\nSET a 1\r\n{spoil}\r\nSET b 1\r\nEXEC\r\n"));
        assert!(said.starts_with("+OK\r\n+QUEUED\r\n-"), "{spoil}: {said}");
        assert!(said.contains("-EXECABORT "), "{spoil}: {said}");
        assert_eq!(talk.say("DBSIZE\r\n"), ":0\r\n", "{spoil}");
    }
    let mut talk = Talk::new();
    talk.replica.refuse(Refusal::NotLeader { leader: Some(2) });
    let said = talk.say("MULTI\r\nSET foo 1\r\nEXEC\r\n");
    let moved = "+OK\r\n-MOVED 12182 127.0.0.1:7002\r\n-EXECABORT ";
    assert!(said.starts_with(moved), "{said}");
}

#[test]
fn a_transaction_is_bounded_in_bytes() {
    let mut talk = Talk::new();
    talk.say("MULTI\r\n");
    let set = format!("SET k {}\r\n", "v".repeat(60_000));
    let said = (0..300).map(|_| talk.say(&set)).find(|said| said != "+QUEUED\r\n");
    assert_eq!(said, Some("-ERR transaction longer than 16 MiB\r\n".to_owned()));
    assert!(talk.say("EXEC\r\n").starts_with("-EXECABORT"));
}

#[test]
fn a_follower_sends_clients_to_the_leader() {
    let mut talk = Talk::new();
    talk.replica.refuse(Refusal::NotLeader { leader: Some(2) });
    let moved = "-MOVED 12182 127.0.0.1:7002\r\n";
    assert_eq!(talk.say("SET foo 1\r\n"), moved);
    assert_eq!(talk.say("GET foo\r\n"), moved);
    assert_eq!(talk.say("DBSIZE\r\n"), "-MOVED 0 127.0.0.1:7002\r\n");
}

#[test]
fn without_a_leader_or_with_one_that_is_unknown_the_cluster_is_down() {
    for leader in [None, Some(1), Some(9)] {
        let mut talk = Talk::new();
        talk.replica.refuse(Refusal::NotLeader { leader });
        assert!(talk.say("SET foo 1\r\n").starts_with("-CLUSTERDOWN "), "{leader:?}");
        assert!(talk.say("GET foo\r\n").starts_with("-CLUSTERDOWN "), "{leader:?}");
    }
}

#[test]
fn a_write_whose_outcome_is_unknown_says_so_and_a_read_can_be_tried_again() {
    let mut talk = Talk::new();
    talk.replica.hold();
    assert_eq!(talk.say("SET a 1\r\nSET b 1\r\n"), "");
    talk.replica.forget();
    let unknown = talk.say("");
    assert_eq!(unknown.matches("-UNKNOWN outcome").count(), 2, "{unknown}");
    assert_eq!(talk.say("GET a\r\n"), "");
    talk.replica.forget();
    assert!(talk.say("").starts_with("-TRYAGAIN "));
    talk.replica.refuse(Refusal::Busy);
    talk.say("SET a 1\r\n");
    talk.replica.release();
    assert!(talk.say("").starts_with("-TRYAGAIN "));
}

#[test]
fn a_read_only_connection_reads_a_follower_and_still_cannot_write_there() {
    let mut talk = Talk::new();
    talk.say("SET foo 1\r\n");
    talk.replica.refuse(Refusal::NotLeader { leader: Some(2) });
    assert_eq!(talk.say("READONLY\r\nGET foo\r\n"), "+OK\r\n$1\r\n1\r\n");
    assert!(talk.say("SET foo 2\r\n").starts_with("-MOVED"));
    assert!(talk.say("READWRITE\r\nGET foo\r\n").starts_with("+OK\r\n-MOVED"));
}

#[test]
fn hello_changes_the_protocol_for_what_follows_only() {
    let mut talk = Talk::new();
    talk.replica.hold();
    assert_eq!(talk.say("GET a\r\nHELLO 3\r\nGET a\r\n"), "");
    talk.replica.release();
    let said = talk.say("");
    assert!(said.starts_with("$-1\r\n%7\r\n$6\r\nserver\r\n$10\r\nhardlog-kv\r\n"), "{said}");
    assert!(said.contains("$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:5\r\n"), "{said}");
    talk.replica.release();
    assert_eq!(talk.say(""), "_\r\n");
    assert!(talk.say("HELLO 4\r\n").starts_with("-NOPROTO"));
    assert!(talk.say("HELLO 2 SETNAME me\r\n").starts_with("*14\r\n"));
    assert_eq!(talk.say("CLIENT GETNAME\r\n"), "$2\r\nme\r\n");
}

#[test]
fn malformed_bytes_are_answered_after_what_came_before_and_end_the_connection() {
    let mut talk = Talk::new();
    talk.replica.hold();
    assert_eq!(talk.say("SET a 1\r\n*x\r\nSET b 2\r\n"), "");
    assert!(!talk.exchange.is_over() && !talk.exchange.wants_input());
    talk.replica.release();
    let said = talk.say("");
    assert_eq!(said, "+OK\r\n-ERR Protocol error: invalid multibulk length\r\n");
    talk.exchange.advance();
    assert!(talk.exchange.is_over());
    assert_eq!(talk.replica.held(), 0);
}

#[test]
fn quit_is_answered_last_and_what_follows_is_not_read() {
    let mut talk = Talk::new();
    assert_eq!(talk.say("SET a 1\r\nQUIT\r\nSET a 2\r\n"), "+OK\r\n+OK\r\n");
    talk.exchange.advance();
    assert!(talk.exchange.is_over());
    assert_eq!(talk.replica.view().read().get(b"a"), Some("1".into()));
}

#[test]
fn a_client_that_closes_its_side_is_answered_to_the_end() {
    let mut talk = Talk::new();
    talk.replica.hold();
    talk.say("SET a 1\r\nGET a\r\n");
    talk.exchange.ended = true;
    talk.exchange.advance();
    assert!(!talk.exchange.is_over());
    talk.replica.release();
    assert_eq!(talk.say(""), "+OK\r\n");
    talk.replica.release();
    assert_eq!(talk.say(""), "$1\r\n1\r\n");
    talk.exchange.advance();
    assert!(talk.exchange.is_over());
}

#[test]
fn no_more_is_taken_from_a_client_than_the_limits_allow() {
    let mut talk = Talk::new();
    talk.replica.hold();
    let pipeline = "INCR n\r\n".repeat(UNDER_WAY_MAX + 10);
    assert_eq!(talk.say(&pipeline), "");
    assert_eq!((talk.replica.held(), talk.exchange.wants_input()), (UNDER_WAY_MAX, false));
    talk.replica.release();
    talk.say("");
    talk.replica.release();
    assert!(talk.say("").ends_with(&format!(":{}\r\n", UNDER_WAY_MAX + 10)));
    // One that is answered behind one that is not takes room as well.
    talk.say("SET a 1\r\n");
    talk.say(&"PING\r\n".repeat(PIPELINE_MAX));
    assert_eq!((talk.exchange.awaits_event(), talk.exchange.wants_input()), (true, false));
    talk.replica.release();
    let said: usize = std::iter::repeat_with(|| talk.say("").len()).take_while(|n| *n > 0).sum();
    assert_eq!(said, 5 + 7 * PIPELINE_MAX);
    // Output that nobody takes stops it too.
    let value = "v".repeat(60_000);
    talk.exchange.input.extend_from_slice(format!("ECHO {value}\r\n").repeat(40).as_bytes());
    talk.exchange.advance();
    assert!(talk.exchange.output.len() < OUTPUT_MAX + 100_000);
    assert!(!talk.exchange.wants_input());
    let mut echoed = 0;
    while !talk.exchange.output.is_empty() {
        echoed += talk.exchange.output.split().len();
        talk.exchange.advance();
    }
    assert_eq!(echoed, 40 * (60_000 + 10));
    assert!(talk.exchange.wants_input());
}

#[test]
fn what_clients_say_when_they_connect_is_answered() {
    let mut talk = Talk::new();
    for (said, answer) in [
        ("COMMAND DOCS", "*0\r\n"),
        ("COMMAND COUNT", ":38\r\n"),
        ("COMMAND INFO nothing", "*1\r\n$-1\r\n"),
        ("CONFIG GET save", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n"),
        ("CONFIG GET appendonly", "*2\r\n$10\r\nappendonly\r\n$3\r\nyes\r\n"),
        ("CONFIG GET maxmemory", "*0\r\n"),
        ("CLIENT SETINFO LIB-NAME x", "+OK\r\n"),
        ("CLIENT ID", ":5\r\n"),
        ("SELECT 0", "+OK\r\n"),
        ("ECHO hi", "$2\r\nhi\r\n"),
        ("CLUSTER KEYSLOT foo", ":12182\r\n"),
        ("READONLY", "+OK\r\n"),
    ] {
        assert_eq!(talk.say(&format!("{said}\r\n")), answer, "{said}");
    }
    for refused in ["SELECT 1", "CONFIG SET a b", "CLIENT KILL x", "CLUSTER FAILOVER", "HELLO 3 x"]
    {
        assert!(talk.say(&format!("{refused}\r\n")).starts_with('-'), "{refused}");
    }
    let slots = talk.say("CLUSTER SLOTS\r\n");
    assert!(slots.starts_with("*1\r\n*4\r\n:0\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n:7001\r\n"));
    let all = talk.say("COMMAND\r\n");
    assert!(all.starts_with("*38\r\n*10\r\n$6\r\nappend\r\n:3\r\n*2\r\n+write\r\n"), "{all}");
    let shards = talk.say("CLUSTER SHARDS\r\n");
    assert!(
        shards
            .starts_with("*1\r\n*4\r\n$5\r\nslots\r\n*2\r\n:0\r\n:16383\r\n$5\r\nnodes\r\n*2\r\n")
    );
    assert!(shards.contains("$6\r\nmaster") && shards.contains("$7\r\nreplica"), "{shards}");
    let nodes = talk.say("CLUSTER NODES\r\n");
    assert!(
        nodes.contains("127.0.0.1:7001@1 myself,master - 0 0 7 connected 0-16383\n"),
        "{nodes}"
    );
    assert!(nodes.contains("127.0.0.1:7002@2 slave 00"), "{nodes}");
}

#[test]
fn info_has_its_sections_all_or_one() {
    let mut talk = Talk::new();
    talk.say("SET a 12\r\n");
    let all = talk.say("INFO\r\n");
    for line in [
        "# Server",
        "redis_version:",
        "node_id:1\r\n",
        "tcp_port:7001\r\n",
        "# Replication\r\nrole:leader\r\nterm:7\r\nleader:1\r\nleader_address:127.0.0.1:7001\r\n",
        "commit:1\r\napplied:1\r\n",
        "# Log\r\nfirst:1\r\nlast:1\r\nincarnation:3\r\n",
        "# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0\r\nbytes:3\r\n",
    ] {
        assert!(all.contains(line), "{line:?} is not in {all}");
    }
    let one = talk.say("INFO log\r\n");
    assert!(one.contains("# Log") && !one.contains("# Server"), "{one}");
}

#[test]
fn a_write_waits_for_room_among_those_of_other_connections() {
    let mut talk = Talk::new();
    talk.replica.hold();
    let all = talk.permits();
    talk.say(&format!("SET a {}\r\n", "v".repeat(2000)));
    assert_eq!(talk.permits(), all - 2);
    let others = talk.exchange.gate().try_acquire_many_owned(u32::try_from(all - 2).unwrap());
    talk.say("SET b 1\r\nPING\r\n");
    assert_eq!((talk.replica.held(), talk.exchange.awaits_permit()), (1, true));
    assert!(!talk.exchange.wants_input());
    // Room is given to it while the first is still under way.
    drop(others);
    let permit = talk.exchange.gate().try_acquire_many_owned(1).ok();
    talk.exchange.take_permit(permit);
    talk.say("");
    assert_eq!((talk.replica.held(), talk.exchange.awaits_permit()), (2, false));
    talk.replica.release();
    assert_eq!((talk.say(""), talk.permits()), ("+OK\r\n+OK\r\n+PONG\r\n".into(), all));
}

#[test]
fn a_write_that_waits_for_room_takes_what_its_own_connection_gives_back() {
    let mut talk = Talk::new();
    talk.replica.hold();
    let all = talk.permits();
    talk.say("SET a 1\r\n");
    let others = talk.exchange.gate().try_acquire_many_owned(u32::try_from(all - 1).unwrap());
    talk.say("SET b 1\r\n");
    assert!(talk.exchange.awaits_permit());
    talk.replica.release();
    assert_eq!(talk.say(""), "+OK\r\n");
    assert_eq!((talk.exchange.awaits_permit(), talk.permits()), (false, 0));
    talk.replica.release();
    assert_eq!((talk.say(""), talk.permits()), ("+OK\r\n".into(), 1));
    drop(others);
    assert_eq!(talk.permits(), all);
}

#[test]
fn a_write_in_a_session_is_done_once_however_often_it_is_sent() {
    let mut talk = Talk::new();
    assert_eq!(talk.say("SESSION OPEN\r\n"), ":1\r\n");
    assert_eq!(talk.say("SESSION 1 1 APPEND k x\r\nSESSION 1 1 APPEND k x\r\n"), ":1\r\n:1\r\n");
    assert_eq!(
        talk.say("SESSION 1 2 INCR n\r\nSESSION 1 2 INCR n\r\nGET k\r\n"),
        ":1\r\n:1\r\n$1\r\nx\r\n"
    );
    // The same number in another session is another write.
    let other = talk.say("SESSION OPEN\r\n");
    let other = other.trim().trim_start_matches(':');
    assert_eq!(talk.say(&format!("SESSION {other} 1 APPEND k y\r\n")), ":2\r\n");
    let long = "v".repeat(5000);
    let swap = format!("SESSION 1 3 SET k {long}\r\nSESSION 1 4 SET k 1 GET\r\n");
    assert!(talk.say(&swap).starts_with("+OK\r\n$5000\r\n"));
    assert!(talk.say("SESSION 1 4 SET k 1 GET\r\n").starts_with("-NOTKEPT "));
    assert_eq!(talk.say("SESSION CLOSE 1\r\n"), "+OK\r\n");
    assert!(talk.say("SESSION 1 5 INCR n\r\n").starts_with("-NOSESSION "));
    assert!(talk.say("SESSION 99 1 INCR n\r\n").starts_with("-NOSESSION "));
    assert_eq!(talk.say("GET n\r\n"), "$1\r\n1\r\n");
    for refused in ["1 1 GET n", "1 x INCR n", "-1 1 INCR n", "1 1 MULTI", "1 1 NONSENSE", "1 1"] {
        assert!(talk.say(&format!("SESSION {refused}\r\n")).starts_with("-ERR "), "{refused}");
    }
}

#[test]
fn a_serial_older_than_what_is_remembered_is_refused_and_not_done() {
    let mut talk = Talk::new();
    talk.say("SESSION OPEN\r\n");
    for serial in 1..=100 {
        assert_eq!(talk.say(&format!("SESSION 1 {serial} INCR n\r\n")), format!(":{serial}\r\n"));
    }
    assert!(talk.say("SESSION 1 1 INCR n\r\n").starts_with("-STALE "));
    assert_eq!(talk.say("SESSION 1 100 INCR n\r\n"), ":100\r\n");
}

#[test]
fn an_operator_asks_and_orders() {
    use crate::members::Member;
    let mut talk = Talk::new();
    assert_eq!(talk.say("RAFT LEADER\r\n"), "*2\r\n:1\r\n$14\r\n127.0.0.1:7001\r\n");
    let info = talk.say("RAFT INFO\r\n");
    assert!(info.contains("role:leader") && info.contains("# Log") && !info.contains("# Server"));
    let peers = talk.say("RAFT PEERS\r\n");
    for part in ["*2\r\n*12\r\n", "127.0.0.1:7002", "127.0.0.1:2", "follower", "matched\r\n:7"] {
        assert!(peers.contains(part), "{part:?} is not in {peers}");
    }
    assert_eq!(talk.say("RAFT SNAPSHOT\r\n"), "+OK\r\n");
    assert_eq!(talk.replica.snapshots(), 1);
    assert_eq!(
        talk.say("RAFT ADD 4 127.0.0.1:7004@17004\r\nRAFT ADD 5 127.0.0.1:5@6 LEARNER\r\n"),
        ":9\r\n:9\r\n"
    );
    assert_eq!(
        talk.say("RAFT REMOVE 2\r\nRAFT TRANSFER\r\nRAFT TRANSFER 2\r\n"),
        ":9\r\n".repeat(3)
    );
    let member = |text| Member::parse(text).unwrap();
    let orders = [
        Order::Add { id: 4, member: member("127.0.0.1:7004@17004"), votes: true },
        Order::Add { id: 5, member: member("127.0.0.1:5@6"), votes: false },
        Order::Remove { id: 2 },
        Order::Transfer { to: None },
        Order::Transfer { to: Some(2) },
    ];
    assert_eq!(talk.replica.orders(), orders);
    for refused in ["NONSENSE", "ADD", "ADD 4 here", "ADD x 127.0.0.1:1@2", "REMOVE", "REMOVE x"] {
        assert!(talk.say(&format!("RAFT {refused}\r\n")).starts_with("-ERR "), "{refused}");
    }
    talk.replica.refuse(Refusal::NotLeader { leader: Some(2) });
    assert_eq!(talk.say("RAFT REMOVE 1\r\n"), "-MOVED 0 127.0.0.1:7002\r\n");
}
