//! Memberships as values, and the stack of them.

use bytes::Bytes;

use super::*;

fn voters(ids: &[NodeId]) -> Membership {
    Membership::of_voters(ids.iter().copied().collect())
}

fn ids(ids: &[NodeId]) -> BTreeSet<NodeId> {
    ids.iter().copied().collect()
}

fn learner(id: NodeId) -> Change {
    Change::AddLearner { id, member: Member::default(), promote: false }
}

fn at(index: Index) -> Configuration {
    Configuration { index, membership: voters(&[1, index + 1]) }
}

#[test]
fn section_6_a_joint_membership_needs_both_majorities_and_is_left_for_the_new_one() {
    let three = voters(&[1, 2, 3]);
    let five = three.after(&learner(4)).unwrap().after(&learner(5)).unwrap();
    let joint = five.after(&Change::Voters { ids: ids(&[3, 4, 5]) }).unwrap();
    assert!(joint.is_joint() && joint.is_voter(1) && joint.is_voter(5) && !joint.is_learner(4));
    let held = |id: NodeId| if id >= 3 { 9 } else { 2 };
    assert_eq!(joint.agreed(held), 2, "the old majority has only 2");
    let last = joint.leave_joint();
    assert_eq!(last.agreed(held), 9);
    assert!(!last.contains(1) && !last.contains(2) && !last.is_joint());
    assert!(last.is_sound() && joint.is_sound());
}

#[test]
fn changes_that_make_no_sense_are_refused() {
    let three = voters(&[1, 2, 3]);
    let refused = |membership: &Membership, change| membership.after(&change).unwrap_err();
    assert_eq!(refused(&three, learner(2)), ChangeError::Member(2));
    assert_eq!(refused(&three, learner(0)), ChangeError::Limits);
    assert_eq!(refused(&three, Change::Promote { id: 4 }), ChangeError::NotALearner(4));
    assert_eq!(refused(&three, Change::Promote { id: 2 }), ChangeError::NotALearner(2));
    assert_eq!(refused(&three, Change::Remove { id: 4 }), ChangeError::Unknown(4));
    assert_eq!(refused(&voters(&[1]), Change::Remove { id: 1 }), ChangeError::NoVoter);
    let set = |set| Change::Voters { ids: ids(set) };
    assert_eq!(refused(&three, set(&[])), ChangeError::NoVoter);
    assert_eq!(refused(&three, set(&[1, 2, 3])), ChangeError::Nothing);
    assert_eq!(refused(&three, set(&[1, 9])), ChangeError::NotALearner(9));
    let joint = three.after(&set(&[1, 2])).unwrap();
    assert_eq!(refused(&joint, Change::Remove { id: 3 }), ChangeError::Joint);
    let about = Bytes::from(vec![b'x'; ABOUT_MAX + 1]);
    let member = Member { address: None, about };
    let loud = Change::AddLearner { id: 4, member, promote: false };
    assert_eq!(refused(&three, loud), ChangeError::Limits);
}

#[test]
fn the_largest_membership_fits_a_slot_of_the_log() {
    let address = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap();
    let about = Bytes::from(vec![b'x'; ABOUT_MAX]);
    let member = Member { address: Some(address), about };
    let mut largest = Membership::of((1..=MEMBERS_MAX as u64).map(|id| (id, member.clone())));
    let last = Change::Remove { id: MEMBERS_MAX as u64 };
    largest = largest.after(&last).unwrap();
    largest = largest
        .after(&Change::AddLearner { id: u64::MAX, member: member.clone(), promote: true })
        .unwrap();
    let half = (1..20).collect();
    let joint = largest.after(&Change::Voters { ids: half }).unwrap();
    let configuration = Configuration { index: u64::MAX, membership: joint };
    let bytes = configuration.encode();
    assert!(bytes.len() as u64 <= ENCODED_MAX, "{} bytes", bytes.len());
    assert_eq!(Configuration::decode(&bytes), Some(configuration));
    let one_more = Change::AddLearner { id: 77, member, promote: true };
    assert_eq!(largest.after(&one_more).unwrap_err(), ChangeError::Limits);
}

#[test]
fn bytes_that_are_no_sound_membership_are_refused() {
    let good = voters(&[1, 2]).encode();
    assert_eq!(Membership::decode(&good), Some(voters(&[1, 2])));
    for len in 0..good.len() {
        assert_eq!(Membership::decode(&good[..len]), None, "{len}");
    }
    let unsound = |edit: &dyn Fn(&mut Membership)| {
        let mut membership = voters(&[1, 2]);
        edit(&mut membership);
        !membership.is_sound()
            && Membership::decode(&encode_small(&membership, ENCODED_MAX).unwrap()).is_none()
    };
    assert!(unsound(&|m| m.voters.insert(3)), "a voter that is no member");
    assert!(
        unsound(&|m| assert!(m.learners.insert(1, true).is_none())),
        "a voter that only learns"
    );
    assert!(unsound(&|m| m.voters.remove(1)), "a member without a part");
    assert!(
        unsound(&|m| assert!(m.learners.insert(3, true).is_none())),
        "a learner that is no member"
    );
    assert!(unsound(&|m| {
        m.members.insert(0, Member::default());
        m.voters.insert(0);
    }));
    assert!(Membership::default().is_sound(), "a node that waits to be added");
}

#[test]
fn a_configuration_goes_with_its_entry_and_the_committed_one_stays() {
    let mut stack = Configurations::new(vec![at(0)]);
    stack.push(at(5));
    stack.push(at(9));
    stack.truncated(9);
    assert_eq!(stack.newest().index, 5);
    stack.committed(4);
    assert_eq!(stack.uncommitted(), 1);
    stack.committed(5);
    assert_eq!((stack.uncommitted(), stack.newest().index), (0, 5));
    stack.truncated(1);
    assert_eq!(stack.newest().index, 5, "what is committed is never dropped");
}

#[test]
fn what_the_log_did_not_take_is_given_up_a_truncation_too() {
    let mut stack = Configurations::new(vec![at(0)]);
    stack.push(at(5));
    assert_eq!(stack.changes().map(|all| all.len()), Some(2));
    stack.accepted();
    assert_eq!(stack.changes(), None);
    stack.truncated(5);
    stack.push(at(6));
    stack.abandon();
    assert_eq!(stack.newest().index, 5, "the log still holds entry 5");
}
