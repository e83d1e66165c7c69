//! The texts of the kernel's cgroup files. Pure; no allocation but for lists of pids.

/// Pids, one a line. What is no pid is left out: 0 stands for a process that our pid namespace does not show.
pub(crate) fn pids(text: &[u8]) -> Vec<i32> {
    let line = |line: &[u8]| number(line).and_then(|n| i32::try_from(n).ok()).filter(|pid| *pid > 0);
    text.split(|b| *b == b'\n').filter_map(line).collect()
}

/// A file that holds one number; `None` also for `max`.
pub(crate) fn single(text: &[u8]) -> Option<u64> {
    number(text.trim_ascii())
}

/// The values of `keys` in a file of `KEY VALUE` lines, in the order of `keys`.
pub(crate) fn keyed<const N: usize>(text: &[u8], keys: [&str; N]) -> [Option<u64>; N] {
    let mut values = [None; N];
    for line in text.split(|b| *b == b'\n') {
        let Some(space) = line.iter().position(|b| *b == b' ') else { continue };
        let (key, value) = line.split_at(space);
        if let Some(place) = keys.iter().position(|wanted| wanted.as_bytes() == key) {
            values[place] = number(value.trim_ascii());
        }
    }
    values
}

/// Bytes read and written by all devices together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Io {
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
}

/// v2 `io.stat`: `MAJOR:MINOR rbytes=N wbytes=N ...`, a line a device.
pub(crate) fn io_v2(text: &[u8]) -> Io {
    let mut sum = Io::default();
    for word in text.split(u8::is_ascii_whitespace) {
        if let Some(bytes) = word.strip_prefix(b"rbytes=").and_then(number) {
            sum.read_bytes = sum.read_bytes.saturating_add(bytes);
        } else if let Some(bytes) = word.strip_prefix(b"wbytes=").and_then(number) {
            sum.written_bytes = sum.written_bytes.saturating_add(bytes);
        }
    }
    sum
}

/// v1 `blkio.throttle.io_service_bytes*`: `MAJOR:MINOR Read N` and the like, then a line of the total. `None` without a device:
/// since Linux 6.10 only those with a limit of their own are counted there.
pub(crate) fn io_v1(text: &[u8]) -> Option<Io> {
    let mut sum = None;
    for line in text.split(|b| *b == b'\n') {
        let mut words = line.split(|b| *b == b' ');
        let (Some(_device), Some(kind), Some(bytes)) = (words.next(), words.next(), words.next().and_then(number))
        else {
            continue;
        };
        let sum = sum.get_or_insert_with(Io::default);
        match kind {
            b"Read" => sum.read_bytes = sum.read_bytes.saturating_add(bytes),
            b"Write" => sum.written_bytes = sum.written_bytes.saturating_add(bytes),
            _other_sums => {}
        }
    }
    sum
}

/// `avg10` of the line `some` of a pressure file: the share of the last ten seconds in which something waited, in percent.
pub(crate) fn pressure(text: &[u8]) -> Option<f32> {
    let some = text.split(|b| *b == b'\n').find(|line| line.starts_with(b"some "))?;
    let avg10 = some.split(|b| *b == b' ').find_map(|word| word.strip_prefix(b"avg10="))?;
    std::str::from_utf8(avg10).ok()?.parse().ok()
}

/// Whether a `/proc/PID/cgroup` tells of a process in the cgroup `name` or below it, in any hierarchy.
pub(crate) fn is_within(proc_cgroup: &[u8], name: &str) -> bool {
    let part = |line: &[u8]| line.split(|b| *b == b'/').skip(1).any(|part| part == name.as_bytes());
    proc_cgroup.split(|b| *b == b'\n').any(part)
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lists_and_keys() {
        assert_eq!(pids(b"12\n0\n7\nx\n99999999999\n"), [12, 7]);
        assert_eq!(single(b"4096\n"), Some(4096));
        assert_eq!(single(b"max\n"), None);
        let text = b"usage_usec 12\nuser_usec 7\nsystem_usec 5\nbad\nworse x\n";
        assert_eq!(
            keyed(text, ["system_usec", "user_usec", "throttled_usec", "worse"]),
            [Some(5), Some(7), None, None]
        );
    }

    #[test]
    fn io_is_summed_over_devices() {
        let v2 =
            b"8:0 rbytes=100 wbytes=20 rios=1 wios=2 dbytes=9 dios=0\n253:1 rbytes=1 wbytes=2 rios=1 wios=1\n7:0 \n";
        assert_eq!(io_v2(v2), Io { read_bytes: 101, written_bytes: 22 });
        let v1 = b"8:0 Read 100\n8:0 Write 20\n8:0 Sync 5\n8:0 Total 120\n253:0 Read 1\nTotal 121\n";
        assert_eq!(io_v1(v1), Some(Io { read_bytes: 101, written_bytes: 20 }));
        assert_eq!(io_v1(b"Total 0\n"), None);
        assert_eq!(io_v2(b"8:0 rbytes=18446744073709551615\n8:1 rbytes=2\n").read_bytes, u64::MAX);
    }

    #[test]
    fn pressure_is_the_share_of_some() {
        let text = b"some avg10=12.50 avg60=1.00 avg300=0.00 total=5\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=1\n";
        assert_eq!(pressure(text), Some(12.5));
        assert_eq!(pressure(b""), None);
    }

    #[test]
    fn a_member_is_told_by_a_whole_part_of_its_path() {
        let text = b"4:memory:/a/web-1.2.3/run-1\n1:cpu:/\n0::/a/other\n";
        assert!(is_within(text, "web-1.2.3"));
        assert!(is_within(b"0::/web-1.2.3", "web-1.2.3"));
        assert!(!is_within(text, "web-1.2"));
        assert!(!is_within(text, "b-1.2.3"));
    }
}
