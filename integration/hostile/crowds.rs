//! Connections in their thousands that say little or nothing.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::bystander::Bystander;
use super::{door, tcp_farm};
use crate::harness::{Door, Farm, Peer, READY, SOON, descriptors, greeting, resident_kib, until};

/// Connections of a crowd: more than a zerovisor takes from one user or address, and more than it takes at all.
const CROWD: usize = 5000;
/// Descriptors that strangers may cost: 256 unfinished handshakes with one each, 256 links without a hello with three, and some that are
/// just being closed.
const STRANGERS_FDS_MAX: usize = 256 + 3 * 256 + 200;
/// What they may cost in memory, in KiB: some 30 KiB each, and what the allocator keeps of the peak.
const STRANGERS_KIB_MAX: u64 = 64 << 10;

/// A crowd needs descriptors of ours, too.
fn room_for_a_crowd() -> bool {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let needed = 3 * CROWD as u64;
    soft >= needed || (hard >= needed && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok())
}

/// Asserts that a crowd, made one by one, leaves room for everybody else, and that nothing of it stays.
fn leaves_room(farm: &Farm, mut join: impl FnMut() -> Option<Peer>) {
    let mut bystander = Bystander::of(farm);
    let pid = farm.node_pid();
    let (fds, kib) = (descriptors(pid), resident_kib(pid));
    let mut crowd = Vec::new();
    for count in 1..=CROWD {
        crowd.extend(join());
        if count % 1000 == 0 {
            bystander.is_served(farm);
            let now = descriptors(pid);
            assert!(now < fds + STRANGERS_FDS_MAX, "{} descriptors of strangers, of {count}", now - fds);
            let grown = resident_kib(pid).saturating_sub(kib);
            assert!(grown < STRANGERS_KIB_MAX, "it grew by {grown} KiB with {count}");
        }
    }
    // A watcher comes in like any other.
    farm.watched(&["echo", "through"]).ok();
    assert_eq!(farm.ctl(&["logs", "echo"]).ok().out(), "through\n");
    drop(crowd);
    until("all descriptors come back", SOON, || (descriptors(pid) < fds + 20).then_some(()));
    bystander.is_served(farm);
}

#[test]
fn thousands_of_silent_connections_leave_room_for_others() {
    if !room_for_a_crowd() {
        skip!("{CROWD} connections need more open files than this user may have");
    }
    let farm = Farm::new();
    let door = door(&farm);
    leaves_room(&farm, || Peer::connected(&door).ok());
}

#[test]
fn thousands_of_silent_connections_over_tcp_leave_room_for_others() {
    if !room_for_a_crowd() {
        skip!("{CROWD} connections need more open files than this user may have");
    }
    let (farm, door) = tcp_farm();
    leaves_room(&farm, || Peer::connected(&door).ok());
}

#[test]
fn thousands_that_shake_hands_and_say_no_hello_leave_room_for_others() {
    if !room_for_a_crowd() {
        skip!("{CROWD} connections need more open files than this user may have");
    }
    let farm = Farm::new();
    let door = door(&farm);
    leaves_room(&farm, || Peer::try_greeted(&door).ok());
}

#[test]
fn a_storm_of_connections_that_close_at_once_leaves_nothing_behind() {
    let (farm, tcp) = tcp_farm();
    let mut bystander = Bystander::of(&farm);
    let pid = farm.node_pid();
    let fds = descriptors(pid);
    for door in [door(&farm), tcp] {
        for _ in 0..2000 {
            drop(Peer::connected(&door));
        }
        for cut in [1, 63, 64, 80] {
            let mut part = [&greeting(), READY].concat();
            part.truncate(cut);
            for _ in 0..100 {
                drop(Peer::connected(&door).map(|mut peer| peer.bytes(&part)));
            }
        }
        for _ in 0..200 {
            drop(Peer::try_greeted(&door));
        }
        bystander.is_served(&farm);
    }
    until("all descriptors come back", SOON, || (descriptors(pid) < fds + 20).then_some(()));
}

#[test]
fn one_byte_at_a_time_does_not_keep_a_seat() {
    let (farm, tcp) = tcp_farm();
    let mut bystander = Bystander::of(&farm);
    let said = [&greeting(), READY].concat();
    for door in [door(&farm), tcp] {
        let mut slow: Vec<Peer> = (0..100).map(|_| Peer::silent(&door)).collect();
        let mut bytes = said.iter();
        // A byte each half second would take 47 s; the handshake has 5.
        until("they are cut off", 2 * SOON, || {
            let Some(byte) = bytes.next() else { panic!("the handshake came to its end") };
            slow.retain_mut(|peer| peer.try_bytes(&[*byte]).is_ok());
            let Some(first) = slow.first_mut() else { return Some(()) };
            first.hears_nothing_for(HALF_A_SECOND);
            None
        });
        bystander.is_served(&farm);
    }
}

/// Between two bytes.
const HALF_A_SECOND: std::time::Duration = std::time::Duration::from_millis(500);

#[test]
fn a_hello_one_byte_at_a_time_does_not_keep_a_seat_either() {
    let farm = Farm::new();
    let mut bystander = Bystander::of(&farm);
    let mut slow = Peer::greeted(&door(&farm));
    slow.bytes(&[2, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    until("it is cut off", 2 * SOON, || {
        slow.hears_nothing_for(HALF_A_SECOND);
        slow.try_bytes(b"Z").is_err().then_some(())
    });
    bystander.is_served(&farm);
}

#[test]
fn frames_begun_before_the_hello_are_small() {
    let farm = Farm::new();
    let pid = farm.node_pid();
    let kib = resident_kib(pid);
    let door: Door = door(&farm);
    let half = vec![0; 1 << 20];
    let begun: Vec<Peer> = (0..200)
        .map(|_| {
            let mut peer = Peer::greeted(&door);
            // A header frame of two bytes, and most of a payload frame of 1 MiB.
            peer.bytes(b"\x01\x02Z\x01\x02\x00\x00\x00\x00\x00\x10\x00\x00");
            peer.bytes(&half[1..]);
            peer
        })
        .collect();
    let mut bystander = Bystander::of(&farm);
    bystander.is_served(&farm);
    let grown = resident_kib(pid).saturating_sub(kib);
    assert!(grown < STRANGERS_KIB_MAX, "it keeps {grown} KiB of {} strangers", begun.len());
}
