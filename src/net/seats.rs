//! How many connections an acceptor keeps, in all and for one user or address.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::wire::Origin;

/// Connections of one acceptor, each of which costs 3 descriptors and some 30 KiB.
pub const CONNECTIONS_MAX: usize = 4096;
/// Connections of one unix user; the difference to [`CONNECTIONS_MAX`] is room for root when the user has too many.
pub const PER_UID_MAX: usize = 3584;
/// Connections from one tcp address: a machine with a thousand watchers, twice.
pub const PER_ADDRESS_MAX: usize = 2048;
/// Handshakes under way at once. An honest one takes a millisecond; so the oldest makes room for the newest, and
/// silent strangers can't keep others out.
pub const HANDSHAKES_MAX: usize = 256;

/// Time a stranger has to finish its handshake.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// The limits of an acceptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In all; one more is closed at once.
    pub connections: usize,
    /// For one unix user.
    pub per_uid: usize,
    /// For one tcp address.
    pub per_address: usize,
    /// Unfinished handshakes; the oldest gives way.
    pub handshakes: usize,
    /// Time for one handshake.
    pub handshake: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS_MAX,
            per_uid: PER_UID_MAX,
            per_address: PER_ADDRESS_MAX,
            handshakes: HANDSHAKES_MAX,
            handshake: HANDSHAKE_DEADLINE,
        }
    }
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_origin: HashMap<Origin, usize>,
}

/// The seats of one acceptor.
#[derive(Clone, Debug)]
pub(crate) struct Seats {
    limits: Limits,
    taken: Arc<Mutex<Taken>>,
}

impl Seats {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, taken: Arc::default() }
    }

    /// A seat for one more connection of this origin, given back when dropped; none if a limit is reached.
    pub(crate) fn take(&self, origin: Origin) -> Option<Seat> {
        let most = match origin {
            Origin::Uid(_) => self.limits.per_uid,
            Origin::Address(_) => self.limits.per_address,
        };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let here = taken.by_origin.get(&origin).copied().unwrap_or(0);
        if taken.total >= self.limits.connections || here >= most {
            return None;
        }
        taken.total += 1;
        taken.by_origin.insert(origin, here + 1);
        Some(Seat { origin, taken: Arc::clone(&self.taken) })
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).total
    }
}

/// One connection's place.
#[derive(Debug)]
pub(crate) struct Seat {
    origin: Origin,
    taken: Arc<Mutex<Taken>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.total = taken.total.saturating_sub(1);
        if let Some(here) = taken.by_origin.get_mut(&self.origin) {
            *here = here.saturating_sub(1);
            // Or strangers from many addresses would leave an entry each for ever.
            if *here == 0 {
                taken.by_origin.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn limits_hold_and_seats_come_back() {
        let limits = Limits { connections: 3, per_uid: 2, per_address: 2, handshakes: 1, ..Limits::default() };
        let seats = Seats::new(limits);
        let far = Origin::Address(IpAddr::from([10, 0, 0, 1]));
        let first = seats.take(Origin::Uid(1)).unwrap();
        let _second = seats.take(Origin::Uid(1)).unwrap();
        assert!(seats.take(Origin::Uid(1)).is_none(), "per user");
        let _third = seats.take(far).unwrap();
        assert!(seats.take(far).is_none(), "in all");
        drop(first);
        let again = seats.take(far).unwrap();
        assert_eq!(seats.taken(), 3);
        drop(again);
        assert_eq!(seats.taken(), 2);
    }
}
