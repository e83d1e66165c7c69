//! A virtual machine: a Debian or Ubuntu kernel under qemu, without a disk or a network.
//!
//! Its processors are emulated, never lent: KVM is missing in most containers and CI machines, and hangs in some that seem to have it.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::console::{Console, Report};
use super::host;
use super::image::Image;

const EMULATOR: &str = "qemu-system-x86_64";
const PROCESSORS: &str = "2";
/// Holds the file system too, twice while it is being unpacked.
const MEMORY_MIB: &str = "1024";
/// The kernel reboots at once after a panic, which `-no-reboot` makes the end of qemu; mitigations would guard what nobody attacks here.
/// Two arguments are for speed under emulation, measured: reading the time stamp counter takes a ninth of what the default clock takes, and
/// without address space randomization a program that is run again is not translated again, which makes stories five times faster.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 panic=-1 quiet mitigations=off tsc=reliable norandmaps";
/// The variable that /init sets: there is no machine inside the machine.
const INSIDE: &str = "INSIDE_VM";
/// Of the kernel's messages, how many lines are shown with a failure.
const KERNEL_LINES: usize = 40;

/// What it takes to boot one.
pub(super) struct Machine {
    emulator: PathBuf,
    kernel: PathBuf,
}

impl Machine {
    /// Finds it, or says what is missing.
    pub(super) fn find() -> Result<Machine, String> {
        if std::env::var_os(INSIDE).is_some() {
            return Err("this is the virtual machine".into());
        }
        if !cfg!(target_arch = "x86_64") {
            return Err(format!(
                "the machine is an x86-64 one, and these programs are built for {}",
                std::env::consts::ARCH
            ));
        }
        let missing = |what: &str| {
            format!("no {what}: run scripts/tools, which gets it where apt-get and its mirror are within reach")
        };
        host::program("busybox").ok_or_else(|| missing("busybox"))?;
        let emulator = host::program(EMULATOR).ok_or_else(|| missing(EMULATOR))?;
        let kernel = host::kernel().ok_or_else(|| missing("kernel for it"))?;
        Ok(Machine { emulator, kernel })
    }

    /// Boots one and has it run what the image says; returns what came of each program.
    ///
    /// # Errors
    /// It did not come to its end by itself within that time; the text has what it said last.
    pub(super) fn boot(&self, image: Image, within: Duration) -> Result<Vec<Report>, String> {
        let dir = tempfile::tempdir().unwrap();
        let (initrd, kernel_log) = (dir.path().join("initrd"), dir.path().join("kernel.log"));
        std::fs::write(&initrd, image.finish()).unwrap();
        let mut command = Command::new(&self.emulator);
        command.args(["-accel", "tcg", "-smp", PROCESSORS, "-m", MEMORY_MIB]);
        command.args(["-nodefaults", "-display", "none", "-no-reboot"]);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&initrd).args(["-append", KERNEL_ARGUMENTS]);
        // Two ports, so that what the kernel has to say never stands in the middle of a report.
        command.arg("-serial").arg(format!("file:{}", kernel_log.display())).args(["-serial", "stdio"]);
        let mut running = Running::start(&mut command);
        running.report(within).map_err(|(console, end)| {
            let log = std::fs::read(&kernel_log).unwrap_or_default();
            format!(
                "{end}; {}\n--- its kernel said:\n{}",
                console.unfinished(),
                last_lines(&String::from_utf8_lossy(&log))
            )
        })
    }
}

/// A machine that runs, until this is dropped.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(command: &mut Command) -> Running {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("qemu starts");
        let (tell, lines) = channel();
        let outputs: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("a pipe")), Box::new(child.stderr.take().expect("a pipe"))];
        for output in outputs {
            let tell = tell.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                    let _ = tell.send(String::from_utf8_lossy(&line).into_owned());
                }
            });
        }
        Running { child, lines }
    }

    /// Reads its console to the end; on failure returns what there is of it, and how it ended.
    fn report(&mut self, within: Duration) -> Result<Vec<Report>, (Console, String)> {
        let deadline = Instant::now() + within;
        let mut console = Console::default();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => console.take(&line),
                Err(RecvTimeoutError::Timeout) => {
                    return Err((console, format!("the machine was not done within {within:?}")));
                }
                Err(RecvTimeoutError::Disconnected) if console.done => return Ok(console.reports),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err((console, "the machine stopped before it was done".into()));
                }
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(KERNEL_LINES)..].join("\n")
}
