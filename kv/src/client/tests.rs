//! Against a server of a few lines that says what the test wants.

use std::{net::TcpListener, thread::JoinHandle};

use super::*;

/// Answers each connection with the next of these texts, and closes it; returns what was asked.
fn server(answers: Vec<String>) -> (SocketAddr, JoinHandle<Vec<Reply>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answering = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for answer in answers {
            let mut socket = BufReader::new(listener.accept().unwrap().0);
            asked.push(Reply::read(&mut socket).unwrap());
            socket.get_mut().write_all(answer.as_bytes()).unwrap();
        }
        asked
    });
    (address, answering)
}

fn client(address: SocketAddr) -> Client {
    Client::new(vec![address], Duration::from_secs(10))
}

fn words(words: &[&str]) -> Reply {
    Reply::Array(words.iter().map(|word| Reply::text(*word)).collect())
}

#[test]
fn a_redirection_is_followed_and_the_same_request_sent_there() {
    let (leader, leading) = server(vec!["+OK\r\n".into()]);
    let (follower, following) = server(vec![format!("-MOVED 12182 {leader}\r\n")]);
    let mut client = client(follower);
    assert_eq!(client.call(&["SET", "foo", "1"]).unwrap(), Reply::OK);
    assert_eq!(client.address(), Some(leader));
    assert_eq!(following.join().unwrap(), [words(&["SET", "foo", "1"])]);
    assert_eq!(leading.join().unwrap(), [words(&["SET", "foo", "1"])]);
}

#[test]
fn a_cluster_without_a_leader_is_asked_again() {
    let answers = ["-CLUSTERDOWN x\r\n", "-TRYAGAIN x\r\n", ":1\r\n"].map(Into::into).to_vec();
    let (address, answering) = server(answers);
    assert_eq!(client(address).call(&["INCR", "n"]).unwrap(), Reply::Integer(1));
    assert_eq!(answering.join().unwrap().len(), 3);
}

#[test]
fn a_write_whose_reply_is_lost_is_not_sent_again() {
    let (address, answering) = server(vec![String::new()]);
    let error = client(address).call(&["INCR", "n"]).unwrap_err();
    assert!(matches!(error, ClientError::Lost { address: at, .. } if at == address), "{error}");
    assert_eq!(answering.join().unwrap().len(), 1);
}

#[test]
fn a_read_whose_reply_is_lost_is_sent_again() {
    let (address, answering) = server(vec![String::new(), "$1\r\nv\r\n".into()]);
    assert_eq!(client(address).call(&["GET", "k"]).unwrap(), Reply::text("v"));
    assert_eq!(answering.join().unwrap().len(), 2);
}

#[test]
fn an_unknown_outcome_is_handed_to_the_caller() {
    let (address, _) = server(vec!["-UNKNOWN outcome: x\r\n".into()]);
    let reply = client(address).call(&["INCR", "n"]).unwrap();
    assert_eq!(reply, Reply::error("UNKNOWN outcome: x"));
}

#[test]
fn when_nobody_listens_patience_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut client = Client::new(vec![address], Duration::from_millis(120));
    let error = client.call(&["SET", "a", "1"]).unwrap_err();
    assert!(matches!(error, ClientError::Unavailable { .. }), "{error}");
}

#[test]
fn a_redirection_that_makes_no_sense_is_handed_to_the_caller() {
    let (address, _) = server(vec!["-MOVED 1 nowhere\r\n".into()]);
    let reply = client(address).call(&["GET", "n"]).unwrap();
    assert_eq!(reply, Reply::error("MOVED 1 nowhere"));
}
