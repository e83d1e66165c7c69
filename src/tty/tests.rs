use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal as Kill, kill};
use nix::sys::stat::Mode;
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;
use zerovisor_core::detach::DetachKeys;

use super::leave::ENTER;
use super::{Console, ConsoleEvent, LEAVE, NotATerminal, RawMode, UserTerminal};
use crate::alone::alone;

/// For what should have happened at once, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(10);

/// Set in a process that has a pty as its terminal and a test to itself.
const INSIDE: &str = "ZV_TEST_TTY";

/// What a user looks at and types into: the other end of a pty, and what it was sent that nothing has waited for yet.
struct Emulator {
    master: File,
    seen: Vec<u8>,
}

impl Emulator {
    /// Both ends: it, and what a program has as its terminal.
    fn open() -> (Emulator, OwnedFd) {
        // Neither is inherited: a terminal hangs up once nobody holds its other end.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags).unwrap();
        grantpt(&master).and_then(|()| unlockpt(&master)).unwrap();
        let slave = open(ptsname_r(&master).unwrap().as_str(), flags, Mode::empty()).unwrap();
        (Emulator { master: File::from(OwnedFd::from(master)), seen: Vec::new() }, slave)
    }

    fn types(&mut self, keys: &[u8]) {
        self.master.write_all(keys).unwrap();
    }

    /// Waits until it is sent this; what it was sent up to there.
    fn shown(&mut self, wanted: &[u8]) -> Vec<u8> {
        let (mut from, deadline) = (0, Instant::now() + SOON);
        loop {
            if let Some(at) = memchr::memmem::find(&self.seen[from..], wanted) {
                let rest = self.seen.split_off(from + at + wanted.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            from = self.seen.len().saturating_sub(wanted.len());
            let left = deadline.saturating_duration_since(Instant::now());
            let mut wait = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut wait, PollTimeout::try_from(left).unwrap()).unwrap();
            assert!(ready > 0, "only {:?}", String::from_utf8_lossy(&self.seen));
            let mut buffer = [0; 4096];
            let bytes = self.master.read(&mut buffer).unwrap();
            self.seen.extend_from_slice(&buffer[..bytes]);
        }
    }
}

fn terminal(slave: &OwnedFd) -> UserTerminal {
    UserTerminal::of(slave.as_fd(), slave.as_fd()).unwrap()
}

fn modes(terminal: impl AsFd) -> Termios {
    tcgetattr(terminal).unwrap()
}

/// Tells `story` in a process of its own: a panic gives back every raw terminal of its process, and signals come to all of its consoles.
fn tell(story: impl Future<Output = ()>) {
    alone(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(story));
}

async fn event(console: &mut Console) -> ConsoleEvent {
    tokio::time::timeout(SOON, console.next()).await.expect("something happens")
}

async fn typed(console: &mut Console) -> Vec<u8> {
    match event(console).await {
        ConsoleEvent::Typed(bytes) => bytes.to_vec(),
        other @ (ConsoleEvent::Resized(_) | ConsoleEvent::Written | ConsoleEvent::Detach | ConsoleEvent::Ended(_)) => {
            panic!("{other:?}")
        }
    }
}

#[test]
fn what_is_no_terminal_is_refused_by_name() {
    let (_user, slave) = Emulator::open();
    let file = tempfile::tempfile().unwrap();
    let refused = |stdin, stdout| UserTerminal::of(stdin, stdout).unwrap_err();
    assert!(refused(file.as_fd(), slave.as_fd()).to_string().starts_with("standard input is not a terminal"));
    assert!(refused(slave.as_fd(), file.as_fd()).to_string().starts_with("standard output is not a terminal"));
    let (_other_user, other) = Emulator::open();
    assert!(matches!(refused(slave.as_fd(), other.as_fd()), NotATerminal::Two));
}

#[test]
fn raw_mode_is_raw_and_ends_with_its_guard() {
    alone(|| {
        let (mut user, slave) = Emulator::open();
        let before = modes(&slave);
        let flags = fcntl(&slave, FcntlArg::F_GETFL).unwrap();
        let raw = RawMode::enter(&terminal(&slave), LEAVE).unwrap();
        let during = modes(&slave);
        assert!(
            !during
                .local_flags
                .intersects(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG | LocalFlags::IEXTEN)
        );
        assert!(during.input_flags.is_empty() && during.output_flags != before.output_flags);
        raw.leave();
        assert_eq!(modes(&slave), before);
        assert_eq!(user.shown(b"\r\n"), [ENTER, LEAVE].concat());
        assert_eq!(fcntl(&slave, FcntlArg::F_GETFL).unwrap(), flags, "the shell's description is as it was");
        assert!(!OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK));
    });
}

#[test]
fn what_was_typed_before_is_read_and_what_was_typed_behind_is_not_left_to_the_shell() {
    tell(async {
        let (mut user, slave) = Emulator::open();
        user.types(b"early");
        let mut console = Console::open(terminal(&slave), DetachKeys::default(), LEAVE).unwrap();
        assert_eq!(typed(&mut console).await, b"early");
        user.types(b"rm -rf /\r");
        drop(console);
        let mut wait = [PollFd::new(slave.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut wait, PollTimeout::ZERO).unwrap(), 0, "nothing is left to read");
    });
}

#[test]
fn keys_reach_the_program_and_the_detach_keys_end_it_also_while_output_is_stuck() {
    tell(async {
        let (mut user, slave) = Emulator::open();
        let before = modes(&slave);
        let mut console = Console::open(terminal(&slave), DetachKeys::default(), LEAVE).unwrap();
        user.types(b"l\x03\x13\r");
        assert_eq!(typed(&mut console).await, b"l\x03\x13\r", "no key is a signal, flow control, or changed");
        // Nobody reads the master: the terminal takes some kilobytes and no more.
        console.show(&vec![b'x'; 1 << 20]);
        assert!(console.pending() > 0);
        user.types(b"ab\x1d\x1d\x1dcd");
        let mut told = Vec::new();
        loop {
            match event(&mut console).await {
                ConsoleEvent::Typed(bytes) => told.extend_from_slice(&bytes),
                ConsoleEvent::Written => {}
                ConsoleEvent::Detach => break,
                other @ (ConsoleEvent::Resized(_) | ConsoleEvent::Ended(_)) => panic!("{other:?}"),
            }
        }
        assert_eq!(told, b"ab", "what comes before the keys is the program's, what comes behind is nobody's");
        let begun = Instant::now();
        drop(console);
        assert!(begun.elapsed() < SOON, "a stuck terminal does not hold up the way out");
        assert_eq!(modes(&slave), before);
        user.shown(LEAVE);
    });
}

#[test]
fn a_terminal_that_is_slow_gets_everything_in_order() {
    tell(async {
        let (user, slave) = Emulator::open();
        let mut console = Console::open(terminal(&slave), DetachKeys::default(), LEAVE).unwrap();
        let text: Vec<u8> = (0..600_000u32).map(|at| b'a' + u8::try_from(at % 26).unwrap()).collect();
        let reader = std::thread::spawn(move || {
            let mut user = user;
            user.shown(b"THE END")
        });
        for piece in text.chunks(10_000) {
            console.show(piece);
        }
        console.show(b"THE END");
        console.drain(SOON).await;
        assert_eq!(console.pending(), 0);
        assert_eq!(reader.join().unwrap(), [ENTER, &text[..], b"THE END"].concat());
    });
}

#[test]
fn without_room_nothing_is_read_and_with_it_no_more_than_fits() {
    tell(async {
        let (mut user, slave) = Emulator::open();
        let mut console = Console::open(terminal(&slave), DetachKeys::default(), LEAVE).unwrap();
        console.set_room(0);
        user.types(b"0123456789");
        assert!(tokio::time::timeout(Duration::from_millis(50), console.next()).await.is_err());
        console.set_room(4);
        assert_eq!(typed(&mut console).await, b"0123");
        assert!(tokio::time::timeout(Duration::from_millis(50), console.next()).await.is_err());
        console.set_room(100);
        assert_eq!(typed(&mut console).await, b"456789");
    });
}

#[test]
fn a_terminal_that_hangs_up_ends_the_console_once() {
    tell(async {
        let (user, slave) = Emulator::open();
        let mut console = Console::open(terminal(&slave), DetachKeys::default(), LEAVE).unwrap();
        drop(user);
        assert!(matches!(event(&mut console).await, ConsoleEvent::Ended(super::Ended::HungUp)));
        console.set_room(100);
        console.show(b"nobody sees this");
        assert!(tokio::time::timeout(Duration::from_millis(50), console.next()).await.is_err());
    });
}

#[test]
fn every_way_out_gives_the_terminal_back() {
    match std::env::var(INSIDE).as_deref() {
        Ok("panic") => inside_panic(),
        Ok(_) => inside_signal(),
        Err(_) => {
            for way in ["panic", "TERM", "HUP", "INT", "QUIT", "WINCH"] {
                leaves_by(way);
            }
        }
    }
}

/// Runs this very test in a process of its own, on a pty.
fn leaves_by(way: &str) {
    let (mut user, slave) = Emulator::open();
    let before = modes(&slave);
    let own = std::env::current_exe().unwrap();
    let test = ["--exact", "tty::tests::every_way_out_gives_the_terminal_back", "--nocapture", "--test-threads", "1"];
    let end = || Stdio::from(slave.try_clone().unwrap());
    let mut command = Command::new(own);
    let mut child =
        command.args(test).env(INSIDE, way).stdin(end()).stdout(end()).stderr(Stdio::piped()).spawn().unwrap();
    user.shown(b"RAW");
    let during = modes(&slave);
    assert!(way == "panic" || during != before, "{way}");
    if way == "panic" {
        user.types(b"!");
    } else {
        let signal: Kill = format!("SIG{way}").parse().unwrap();
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
    }
    user.shown(LEAVE);
    if way != "panic" {
        user.shown(format!("told {way}").as_bytes());
    }
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    assert_eq!(modes(&slave), before, "{way}: {said}");
    assert!(way != "panic" || said.contains("as told"), "{said}");
}

/// A panic in another thread, whose guard never drops.
fn inside_panic() {
    let terminal = UserTerminal::open().unwrap();
    let raw = RawMode::enter(&terminal, LEAVE).unwrap();
    std::io::stdout().write_all(b"RAW").and_then(|()| std::io::stdout().flush()).unwrap();
    let _read = std::io::stdin().read(&mut [0]).unwrap();
    let _panicked = std::thread::spawn(|| panic!("as told")).join();
    std::mem::forget(raw);
}

fn inside_signal() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut console = Console::open(UserTerminal::open().unwrap(), DetachKeys::default(), LEAVE).unwrap();
        console.show(b"RAW");
        let told = match event(&mut console).await {
            ConsoleEvent::Ended(super::Ended::Signal(signal)) => signal.to_string().replacen("SIG", "", 1),
            ConsoleEvent::Resized(_) => "WINCH".to_owned(),
            other
            @ (ConsoleEvent::Typed(_) | ConsoleEvent::Written | ConsoleEvent::Detach | ConsoleEvent::Ended(_)) => {
                panic!("{other:?}")
            }
        };
        drop(console);
        std::io::stdout().write_all(format!("told {told}").as_bytes()).unwrap();
    });
}
