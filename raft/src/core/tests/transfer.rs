//! Leadership transfer (dissertation 3.10).

use bytes::Bytes;

use super::net::Net;
use crate::{
    config::Config,
    core::{Change, ChangeError, Refused, RoleName},
    member::Member,
};

fn led(config: Config) -> Net {
    let mut net = Net::new(3, config, 1);
    net.elect(1);
    net.propose(1, "first");
    net.tick(5);
    net
}

#[test]
fn dissertation_3_10_a_follower_that_has_everything_leads_at_once() {
    for config in [Config::classic(), Config::production()] {
        let mut net = led(config);
        assert_eq!(net.core(1).transfer_leadership(Some(3)), Ok(3));
        net.settle();
        assert_eq!(net.leaders(), [(3, 2)], "though everybody still hears the old leader");
        assert_eq!(net.core(1).role(), RoleName::Follower);
    }
}

#[test]
fn dissertation_3_10_the_target_is_brought_up_to_date_first_and_nothing_new_is_taken() {
    let mut net = led(Config::production());
    net.cut = vec![(1, 3), (3, 1)];
    net.propose(1, "second");
    net.settle();
    assert_eq!(net.core(1).transfer_leadership(Some(3)), Ok(3));
    assert_eq!(net.core(1).transferring(), Some(3));
    net.settle();
    let refused = net.core(1).propose(&Bytes::from_static(b"x"));
    assert_eq!(refused, Err(Refused::Transferring));
    let change = net.core(1).propose_membership(&Change::Remove { id: 2 });
    assert_eq!(change, Err(Refused::Transferring));
    assert_eq!(net.leaders(), [(1, 1)], "node 3 lacks an entry");
    net.heal();
    net.tick(10);
    assert_eq!(net.leaders(), [(3, 2)]);
    assert_eq!(net.commands(3), ["first", "second"]);
}

#[test]
fn dissertation_3_10_a_transfer_that_does_not_happen_is_given_up_after_an_election_timeout() {
    let mut net = led(Config::production());
    net.isolate(3);
    net.core(1).transfer_leadership(Some(3)).unwrap();
    net.tick(Config::production().election_ticks_max);
    assert_eq!(net.core(1).transferring(), Some(3));
    net.tick(2);
    assert_eq!(net.core(1).transferring(), None);
    net.propose(1, "goes on");
    net.tick(5);
    assert_eq!(net.commands(2), ["first", "goes on"]);
}

#[test]
fn a_lost_timeout_now_is_said_again() {
    let mut net = led(Config::production());
    net.cut = vec![(1, 3)];
    net.core(1).transfer_leadership(Some(3)).unwrap();
    net.settle();
    net.heal();
    assert_eq!(net.leaders(), [(1, 1)]);
    net.tick(Config::production().heartbeat_ticks + 1);
    assert_eq!(net.leaders(), [(3, 2)]);
}

#[test]
fn without_a_name_the_voter_with_most_of_the_log_is_chosen() {
    let mut net = led(Config::production());
    net.cut = vec![(1, 2), (2, 1)];
    net.propose(1, "second");
    net.settle();
    assert_eq!(net.core(1).transfer_leadership(None), Ok(3));
    assert_eq!(net.core(1).transfer_leadership(Some(2)), Err(Refused::Transferring));
}

#[test]
fn only_another_voter_can_be_handed_the_leadership() {
    let mut net = led(Config::production());
    let id = net.join();
    let learner = Change::AddLearner { id, member: Member::default(), promote: false };
    net.core(1).propose_membership(&learner).unwrap();
    net.tick(10);
    for nobody in [1, id, 9] {
        let refused = net.core(1).transfer_leadership(Some(nobody));
        assert_eq!(refused, Err(Refused::Change(ChangeError::NotAVoter(nobody))));
    }
    let follower = net.core(2).transfer_leadership(Some(3));
    assert_eq!(follower, Err(Refused::NotLeader { leader: Some(1) }));
}
