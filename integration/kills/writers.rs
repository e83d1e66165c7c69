//! Programs that write known streams as fast as they are taken, in bursts, on pipes and terminals, in blocks and in small writes.

use std::process::Command;

use crate::harness::{Farm, LONG, Program};

/// Numbers from 0 on, a line each, in writes of $1 bytes; how many goes to the file $2, which no zerovisor touches. It ends when there is a
/// file `enough`, or at some 300 MB. Bursts of 3 MB, more than a pipe and most windows hold, go at full speed; without the pauses between
/// them what a loaded machine has to compare in the end would have no measure.
const STREAM: &str = "i=0
{
    while [ ! -e enough ] && [ $i -lt 36000000 ]; do seq $i $((i + 399999)); i=$((i + 400000)); sleep 0.2; done
    echo $i > $2
} | dd ibs=64k obs=$1 status=none
";

/// What was written to one stream of one process, by which it can be asked for again.
pub(super) struct Stream {
    pub(super) process: &'static str,
    pub(super) stream: &'static str,
    count: &'static str,
}

const fn stream(process: &'static str, stream: &'static str, count: &'static str) -> Stream {
    Stream { process, stream, count }
}

/// Every stream that is written.
pub(super) const STREAMS: [Stream; 5] = [
    stream("blocks", "stdout", "blocks.out"),
    stream("blocks", "stderr", "blocks.err"),
    stream("small", "stdout", "small.out"),
    stream("screen", "terminal", "screen.out"),
    stream("keys", "terminal", "keys.out"),
];

/// Starts all of them, each process under a watcher in the foreground.
pub(super) fn start(farm: &Farm) -> Vec<Program> {
    farm.script("stream", STREAM);
    farm.script("both", "sh stream 65536 blocks.out &\nsh stream 100 blocks.err >&2\nwait\n");
    // Without output processing the bytes on the terminal are those that were written.
    farm.script("screen", "stty -opost\nsh stream 4096 screen.out\n");
    farm.script("keys", "stty -opost\nsh stream 100 keys.out\n");
    vec![
        farm.watch(&["--name", "blocks", "sh", "both"]),
        farm.watch(&["--name", "small", "sh", "stream", "100", "small.out"]),
        farm.watch(&["--name", "screen", "--pty", "sh", "screen"]),
        farm.watch(&["--name", "keys", "--pty", "sh", "keys"]),
    ]
}

impl Stream {
    /// What was written, made again from how far it came.
    pub(super) fn written(&self, farm: &Farm) -> Vec<u8> {
        let count: u64 = farm.text(self.count).trim().parse().unwrap();
        Command::new("seq").args(["0", &(count - 1).to_string()]).output().unwrap().stdout
    }

    /// Asserts that this is what was written: every byte once and in order.
    pub(super) fn assert_whole(&self, who: &str, seen: &[u8], written: &[u8]) {
        if seen == written {
            return;
        }
        let at = seen.iter().zip(written).take_while(|(seen, written)| seen == written).count();
        let around = |bytes: &[u8]| {
            let cut = bytes.get(at.saturating_sub(20)..bytes.len().min(at + 20)).unwrap_or_default();
            String::from_utf8_lossy(cut).into_owned()
        };
        panic!(
            "{} {}: {who} has {} bytes of {}, and from byte {at} on another stream: {:?} instead of {:?}",
            self.process,
            self.stream,
            seen.len(),
            written.len(),
            around(seen),
            around(written)
        );
    }

    /// Asserts that the journal has all of it.
    pub(super) fn assert_journaled(&self, farm: &Farm, written: &[u8]) {
        let raw = farm.ctl_within(&["logs", "--raw", self.process, "--stream", self.stream], LONG).ok();
        self.assert_whole(&format!("the journal, of which is said {:?},", raw.err()), &raw.stdout, written);
    }
}
