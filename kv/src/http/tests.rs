use super::*;
use crate::{
    replica::{Health, Refusal, Replica, alone::Alone},
    server::Server,
};

fn node() -> (Arc<Alone>, Server) {
    let replica = Arc::new(Alone::default());
    let members = "1=127.0.0.1:7001@1,2=127.0.0.1:7002@2".parse().unwrap();
    let view = replica.view();
    let server = Server::new(1, Arc::clone(&replica) as Arc<dyn Replica>, view, members, 10);
    (replica, server)
}

#[test]
fn a_node_is_ill_while_its_disk_or_its_thread_hangs_even_if_a_leader_is_known() {
    let (replica, server) = node();
    let shared = server.shared();
    let ill = || illness(&shared).unwrap_or("well");
    assert_eq!(ill(), "well");
    replica.ail(Health { disk_hangs: true, silent: Duration::ZERO });
    assert!(ill().contains("disk"), "{}", ill());
    assert!(status(&shared).contains("\"healthy\":false"));
    replica.ail(Health { disk_hangs: false, silent: SILENT_MAX + Duration::from_millis(1) });
    assert!(ill().contains("thread"), "{}", ill());
    replica.ail(Health { disk_hangs: false, silent: Duration::from_secs(1) });
    assert_eq!(ill(), "well", "a tick may last a second");
}

#[test]
fn a_node_is_ill_while_nobody_is_known_to_lead_and_while_it_stops() {
    let (replica, server) = node();
    let shared = server.shared();
    replica.refuse(Refusal::NotLeader { leader: Some(2) });
    assert_eq!(illness(&shared), None, "another leads");
    replica.refuse(Refusal::NotLeader { leader: None });
    assert!(illness(&shared).is_some_and(|why| why.contains("no leader")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    assert!(runtime.block_on(server.drain(Duration::from_secs(1))));
    assert!(illness(&shared).is_some_and(|why| why.contains("stopping")));
}
