//! When the output of a terminal has ended.
//!
//! EIO on the master means that nobody has the terminal open just now; it is the end only once the tree of the run is gone. And then the
//! end may come without it: a process outside the tree can hold the terminal open for ever, and write to it.
//!
//! ```text
//!          EIO
//!  HELD ---------> VACANT          tree gone: from either to DRAINING
//!       <---------
//!          bytes, would block
//!
//!  DRAINING ---------> ENDED       would block, EIO, or DRAIN_MAX_BYTES were read
//! ```
//! Why the first would-block ends a drain: what a process has written is in the terminal when its write returns, and a read says
//! would-block only after the kernel has moved all of that to the reading end (`tty_buffer_flush_work`). So once no process of the tree
//! is left, everything before that answer is theirs and nothing of theirs comes after it.

use super::reader::Read;

/// What is still read once the tree is gone, in bytes; beyond it only a process outside the tree can have written, and it is not waited
/// for. A terminal holds at most about 20 KiB of output (measured: see the tests), so that nothing of the tree's own is cut off.
pub const DRAIN_MAX_BYTES: usize = 64 << 10;

/// What to do next about the output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Wait until the terminal is readable, then read.
    Wait,
    /// The same, and nobody has the terminal open meanwhile.
    WaitVacant,
    /// Read again now, without waiting: the tree is gone.
    Drain,
    /// All the output of the run was read.
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Held,
    Vacant,
    Draining { left_bytes: usize },
    Ended,
}

/// The end of one run's output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct End {
    phase: Phase,
}

impl Default for End {
    /// The tree lives, or is about to.
    fn default() -> End {
        End { phase: Phase::Held }
    }
}

impl End {
    /// A read was tried.
    pub fn on_read(&mut self, read: Read) -> Next {
        self.phase = match (self.phase, read) {
            (Phase::Held | Phase::Vacant, Read::Bytes(_) | Read::Empty) => Phase::Held,
            (Phase::Held | Phase::Vacant, Read::Vacant) => Phase::Vacant,
            (Phase::Draining { left_bytes }, Read::Bytes(bytes)) => match left_bytes.saturating_sub(bytes) {
                0 => Phase::Ended,
                left_bytes => Phase::Draining { left_bytes },
            },
            (Phase::Draining { .. }, Read::Empty | Read::Vacant) | (Phase::Ended, _) => Phase::Ended,
        };
        self.next()
    }

    /// No process of the tree is left: each has been reaped, or has been seen to be gone.
    pub fn on_tree_gone(&mut self) -> Next {
        self.phase = match self.phase {
            Phase::Held | Phase::Vacant => Phase::Draining { left_bytes: DRAIN_MAX_BYTES },
            phase @ (Phase::Draining { .. } | Phase::Ended) => phase,
        };
        self.next()
    }

    /// What to do now.
    pub fn next(&self) -> Next {
        match self.phase {
            Phase::Held => Next::Wait,
            Phase::Vacant => Next::WaitVacant,
            Phase::Draining { .. } => Next::Drain,
            Phase::Ended => Next::Ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_terminal_closed_and_opened_again_has_not_ended() {
        let mut end = End::default();
        assert_eq!(end.on_read(Read::Bytes(3)), Next::Wait);
        assert_eq!(end.on_read(Read::Vacant), Next::WaitVacant);
        assert_eq!(end.on_read(Read::Vacant), Next::WaitVacant);
        assert_eq!(end.on_read(Read::Bytes(3)), Next::Wait);
        assert_eq!(end.on_read(Read::Empty), Next::Wait);
    }

    #[test]
    fn what_a_gone_tree_left_is_read_first() {
        let mut end = End::default();
        assert_eq!(end.on_tree_gone(), Next::Drain);
        assert_eq!(end.on_read(Read::Bytes(4096)), Next::Drain);
        assert_eq!(end.on_read(Read::Empty), Next::Ended);
    }

    #[test]
    fn a_vacant_terminal_is_looked_at_once_more_when_the_tree_is_gone() {
        let mut end = End::default();
        end.on_read(Read::Vacant);
        assert_eq!(end.on_tree_gone(), Next::Drain);
        assert_eq!(end.on_read(Read::Bytes(1)), Next::Drain);
        assert_eq!(end.on_read(Read::Vacant), Next::Ended);
    }

    fn reads() -> impl Strategy<Value = Vec<Read>> {
        let read = prop_oneof![(1usize..100_000).prop_map(Read::Bytes), Just(Read::Empty), Just(Read::Vacant)];
        prop::collection::vec(read, 0..200)
    }

    proptest! {
        #[test]
        fn nothing_ends_while_the_tree_lives(reads in reads()) {
            let mut end = End::default();
            for read in reads {
                let next = end.on_read(read);
                prop_assert_eq!(next == Next::WaitVacant, read == Read::Vacant);
                prop_assert!(matches!(next, Next::Wait | Next::WaitVacant));
            }
        }

        #[test]
        fn a_drain_ends_at_the_first_silence_or_at_its_bound(before in reads(), after in reads()) {
            let mut end = End::default();
            for read in before {
                end.on_read(read);
            }
            end.on_tree_gone();
            let mut drained = 0;
            for read in after {
                let was = end.next();
                let next = end.on_read(read);
                // Said again, it is not begun again.
                prop_assert_eq!(end.on_tree_gone(), next);
                if was == Next::Ended {
                    prop_assert_eq!(next, Next::Ended);
                    break;
                }
                match read {
                    Read::Bytes(bytes) => drained += bytes,
                    Read::Empty | Read::Vacant => prop_assert_eq!(next, Next::Ended),
                }
                prop_assert_eq!(next == Next::Drain, matches!(read, Read::Bytes(_)) && drained < DRAIN_MAX_BYTES);
            }
        }
    }
}
