//! Output from a terminal: zvwatch with and without its model of the screen beside a bare reader, script and tmux.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::capture::kid_command;
use super::rig::{Budget, Rig, head, held, installed, knob, ratios, row, runs, wait_until};
use super::typist::{start_on, terminal};

/// What one reader got out of the terminal.
struct Reader {
    name: &'static str,
    needs: Option<&'static str>,
    read: fn(&Load) -> Duration,
}

/// What is written.
struct Load {
    kid: [String; 4],
    /// What comes out of the terminal, which puts a return before each line feed.
    shown_bytes: u64,
}

const BARE: usize = 0;
const READERS: [Reader; 5] = [
    Reader { name: "bare reader > /dev/null", needs: None, read: bare },
    Reader { name: "zvwatch --pty --screen off, --log none", needs: None, read: |load| zvwatch(load, "off") },
    Reader { name: "zvwatch --pty, --log none", needs: None, read: |load| zvwatch(load, "on") },
    Reader { name: "script -q", needs: Some("script"), read: script },
    Reader { name: "tmux pipe-pane", needs: Some("tmux"), read: tmux },
];

fn bare(load: &Load) -> Duration {
    let mut null = File::options().write(true).open("/dev/null").expect("/dev/null");
    let mut buffer = vec![0; 64 << 10];
    let began = Instant::now();
    let (mut master, slave) = terminal();
    let [program, rest @ ..] = &load.kid;
    let mut kid = start_on(slave, Command::new(program).args(rest));
    let mut got = 0;
    // The end is EIO: nobody has the terminal open any more.
    while let Ok(bytes @ 1..) = master.read(&mut buffer) {
        null.write_all(&buffer[..bytes]).expect("/dev/null takes it");
        got += bytes as u64;
    }
    assert!(kid.wait().expect("the kid ends").success());
    let took = began.elapsed();
    assert_eq!(got, load.shown_bytes, "the terminal's output is whole");
    took
}

fn zvwatch(load: &Load, screen: &str) -> Duration {
    let rig = Rig::start(&["--log", "none"]);
    let mut command = rig.watch(&["--pty", "--screen", screen]);
    let began = Instant::now();
    // Ends once the exit record, behind the last byte, is acknowledged.
    assert!(command.args(&load.kid).status().expect("zvwatch").success());
    began.elapsed()
}

fn script(load: &Load) -> Duration {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = dir.path().join("log");
    let began = Instant::now();
    let mut command = Command::new("script");
    command.args(["-q", "-c", &load.kid.join(" ")]).arg(&log).stdin(Stdio::null()).stdout(Stdio::null());
    assert!(command.status().expect("script").success());
    let took = began.elapsed();
    assert!(size(&log) >= load.shown_bytes, "script wrote all of it");
    took
}

fn tmux(load: &Load) -> Duration {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = dir.path().join("log");
    let run = |arguments: &[&str]| {
        let mut command = Command::new("tmux");
        command.args(["-S", "socket"]).args(arguments).current_dir(dir.path()).env_remove("TMUX").stdin(Stdio::null());
        assert!(command.status().expect("tmux").success(), "tmux {arguments:?}");
    };
    // The kid begins when the pipe is there, and the pane outlives it, or its last output would not reach the pipe.
    let waits = format!("read go && {}; read end", load.kid.join(" "));
    run(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "-s", "bench", &waits]);
    run(&["pipe-pane", "-t", "bench", &format!("exec cat > {}", log.display())]);
    let began = Instant::now();
    run(&["send-keys", "-t", "bench", "Enter"]);
    wait_until("tmux has piped all of it", || size(&log) >= load.shown_bytes);
    let took = began.elapsed();
    run(&["kill-server"]);
    took
}

fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |meta| meta.len())
}

pub(crate) fn measure() {
    let bytes = knob("PTY_MIB", 64) << 20;
    let readers: Vec<&Reader> =
        READERS.iter().filter(|reader| reader.needs.is_none_or(|it| installed(it, "capture"))).collect();
    for (mode, what) in [("blocks", "64 KiB writes"), ("lines", "100-byte writes")] {
        head(&format!("capture from a terminal of {} MiB in {what}", bytes >> 20));
        let load = Load {
            kid: kid_command(mode, bytes),
            shown_bytes: (bytes + super::capture::line_feeds(mode, bytes)) as u64,
        };
        let mut got: Vec<Vec<f64>> = readers.iter().map(|_| Vec::new()).collect();
        for _ in 0..runs() {
            for (reader, got) in readers.iter().zip(&mut got) {
                got.push(bytes as f64 / (reader.read)(&load).as_secs_f64() / 1e6);
            }
        }
        for (reader, rates) in readers.iter().zip(&got) {
            row(reader.name, "MB/s", rates.clone());
        }
        held(READERS[1].name, "x bare", ratios(&got[1], &got[BARE]), Budget::AtLeast(0.9));
        row(READERS[2].name, "x bare", ratios(&got[2], &got[BARE]));
        for (peer, rates) in readers.iter().zip(&got).skip(3) {
            let what = format!("{}, x {}", READERS[2].name, peer.needs.unwrap_or_default());
            held(&what, "ratio", ratios(&got[2], rates), Budget::AtLeast(1.0));
        }
    }
}
