//! `/proc/PID/stat`, read without allocating: proc_pid_stat(5).

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Longer than the longest line: 52 numbers of at most 20 digits and a name of at most 64 bytes.
const LINE_MAX_BYTES: usize = 1280;

/// What is wanted of a process's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// R, S, D, T, Z ...
    pub(super) state: char,
    /// CPU in user mode, in clock ticks: its own, and that of children it waited for.
    pub(super) user_ticks: u64,
    /// CPU in the kernel, likewise.
    pub(super) system_ticks: u64,
    /// Threads.
    pub(super) threads: u64,
    /// Resident memory, in pages.
    pub(super) rss_pages: u64,
}

impl Stat {
    /// Reads the line from an open file. None once the process is gone.
    pub(super) fn read(file: &File) -> Option<Stat> {
        let mut line = [0; LINE_MAX_BYTES];
        let count = file.read_at(&mut line, 0).ok()?;
        Stat::parse(line.get(..count)?)
    }

    /// The name may hold anything: what counts comes behind its last parenthesis.
    pub(super) fn parse(line: &[u8]) -> Option<Stat> {
        let behind = memchr::memrchr(b')', line)?.checked_add(2)?;
        let mut fields = line.get(behind..)?.split(|byte| *byte == b' ').map(|field| str::from_utf8(field).ok());
        let state = fields.next()??.chars().next()?;
        // Fields 14 to 17, of which 4 is the next.
        let mut number = |skipped: usize| fields.nth(skipped)??.parse::<u64>().ok();
        let (user, system) = (number(10)?, number(0)?);
        let (user_waited, system_waited) = (number(0)?, number(0)?);
        Some(Stat {
            state,
            user_ticks: user.saturating_add(user_waited),
            system_ticks: system.saturating_add(system_waited),
            threads: number(2)?,
            rss_pages: number(3)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_pass_for_fields() {
        let line =
            b"42 (a) R 1 2) S 1 42 42 0 -1 4194304 109 0 0 0 7 5 2 1 20 0 3 0 8151 229376000 210 184467440737 1 1 0\n";
        let stat = Stat { state: 'S', user_ticks: 9, system_ticks: 6, threads: 3, rss_pages: 210 };
        assert_eq!(Stat::parse(line), Some(stat));
        for short in [0, 3, 13, 20, 60] {
            assert_eq!(Stat::parse(&line[..short]), None, "{short}");
        }
    }

    #[test]
    fn this_process_has_a_line() {
        let stat = Stat::read(&File::open("/proc/thread-self/stat").unwrap()).unwrap();
        assert!(stat.state == 'R' && stat.threads >= 1 && stat.rss_pages > 0, "{stat:?}");
    }
}
