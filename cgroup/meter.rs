//! Reading what a run uses.
//!
//! The files read each second stay open: pread on a kept descriptor takes 0.5 to 1 µs (`memory.stat` 7 µs), opening, reading and
//! closing 5 to 6 µs. The others are opened each time: a kept one would hold a page of the kernel's for each file of each run.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::parse;
use crate::place::{Controller, Place, Places, Version};

/// The buffer's size at first, in bytes: enough for every file read each second (`memory.stat` has some 2 KiB).
const BUFFER_BYTES: usize = 4096;

/// The most of one file that is read, in bytes. `io.stat` has a line of about 100 a device; the devices beyond are not counted.
const FILE_MAX_BYTES: usize = 1 << 20;

/// What a run has used, all of its processes together, ended ones too. `None`: nobody counts it here, or it was not asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// CPU time in user mode, in µs.
    pub cpu_user_us: Option<u64>,
    /// CPU time in the kernel, in µs.
    pub cpu_system_us: Option<u64>,
    /// Time for which the CPU limit held it back, in µs, added up over CPUs.
    pub throttled_us: Option<u64>,
    /// The working set in bytes: memory less inactive page cache, which is given back when wanted.
    pub memory_bytes: Option<u64>,
    /// The most memory, with page cache, at any one time, in bytes; where the kernel does not keep it (v2 before Linux 5.19), the
    /// most that was read.
    pub memory_peak_bytes: Option<u64>,
    /// Memory of the programs themselves, in bytes.
    pub anon_bytes: Option<u64>,
    /// Page cache, in bytes.
    pub file_bytes: Option<u64>,
    /// Swapped out, in bytes. Costly part.
    pub swap_bytes: Option<u64>,
    /// Processes that the kernel killed for want of memory.
    pub oom_kills: Option<u64>,
    /// Processes and threads at present. Costly part.
    pub pids: Option<u64>,
    /// Read from devices, in bytes. Costly part.
    pub io_read_bytes: Option<u64>,
    /// Written to devices, in bytes. Costly part.
    pub io_written_bytes: Option<u64>,
    /// How much it had to wait for what it needed. Costly part.
    pub pressure: Option<Pressure>,
}

/// Shares of the last ten seconds in which some task had to wait, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// For a CPU.
    pub cpu_percent: f32,
    /// For memory.
    pub memory_percent: f32,
    /// For devices.
    pub io_percent: f32,
}

/// Descriptors of a leaf's files, and what must be remembered between readings.
#[derive(Debug)]
pub(crate) struct Meter {
    cpu: Option<Cpu>,
    /// v1: how long the limit held it back, in a hierarchy of its own.
    throttled: Option<File>,
    memory: Option<Memory>,
    peak_bytes: u64,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Cpu {
    /// v2 `cpu.stat`, in µs; it counts with or without the controller.
    Stat(File),
    /// v1 `cpuacct.usage_user` and `cpuacct.usage_sys`, in ns.
    Acct { user: File, system: File },
}

#[derive(Debug)]
struct Memory {
    version: Version,
    current: File,
    stat: File,
    /// v2 `memory.events`, v1 `memory.oom_control`, which a real-time kernel does not have.
    events: Option<File>,
}

impl Meter {
    pub(crate) fn open(places: &Places) -> io::Result<Meter> {
        Ok(Meter {
            cpu: Cpu::open(places)?,
            throttled: open_v1(places.with(Controller::Cpu), "cpu.stat")?,
            memory: places.with(Controller::Memory).map(Memory::open).transpose()?,
            peak_bytes: 0,
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    /// The part for every second.
    pub(crate) fn read(&mut self) -> io::Result<Reading> {
        let mut reading = Reading::default();
        match &self.cpu {
            Some(Cpu::Stat(stat)) => {
                let keys = ["user_usec", "system_usec", "throttled_usec"];
                [reading.cpu_user_us, reading.cpu_system_us, reading.throttled_us] =
                    parse::keyed(read(stat, &mut self.buffer)?, keys);
            }
            Some(Cpu::Acct { user, system }) => {
                reading.cpu_user_us = parse::single(read(user, &mut self.buffer)?).map(|ns| ns / 1000);
                reading.cpu_system_us = parse::single(read(system, &mut self.buffer)?).map(|ns| ns / 1000);
            }
            None => {}
        }
        if let Some(stat) = &self.throttled {
            let [ns] = parse::keyed(read(stat, &mut self.buffer)?, ["throttled_time"]);
            reading.throttled_us = ns.map(|ns| ns / 1000);
        }
        self.read_memory(&mut reading)?;
        Ok(reading)
    }

    fn read_memory(&mut self, reading: &mut Reading) -> io::Result<()> {
        let Some(memory) = &self.memory else { return Ok(()) };
        let current = parse::single(read(&memory.current, &mut self.buffer)?);
        let keys = match memory.version {
            Version::V2 => ["inactive_file", "anon", "file"],
            Version::V1 => ["total_inactive_file", "total_rss", "total_cache"],
        };
        let inactive;
        [inactive, reading.anon_bytes, reading.file_bytes] = parse::keyed(read(&memory.stat, &mut self.buffer)?, keys);
        reading.memory_bytes = current.map(|bytes| bytes.saturating_sub(inactive.unwrap_or(0)));
        self.peak_bytes = self.peak_bytes.max(current.unwrap_or(0));
        reading.memory_peak_bytes = current.map(|_| self.peak_bytes);
        reading.oom_kills = self.oom_kills();
        Ok(())
    }

    /// How many processes the kernel killed for want of memory. On v1 without those in cgroups that the run made itself.
    pub(crate) fn oom_kills(&mut self) -> Option<u64> {
        let events = self.memory.as_ref()?.events.as_ref()?;
        let [kills] = parse::keyed(read(events, &mut self.buffer).ok()?, ["oom_kill"]);
        kills
    }

    /// Everything, the costly part too. A costly file that cannot be read is one that this kernel does not have.
    pub(crate) fn read_all(&mut self, places: &Places) -> io::Result<Reading> {
        let mut reading = self.read()?;
        if let Some(memory) = places.with(Controller::Memory) {
            if let Some(peak) = self.kept(memory, by_version(memory, "memory.peak", "memory.max_usage_in_bytes")) {
                self.peak_bytes = self.peak_bytes.max(peak);
                reading.memory_peak_bytes = Some(self.peak_bytes);
            }
            reading.swap_bytes = self.swap(memory);
        }
        reading.pids = places.with(Controller::Pids).and_then(|pids| self.kept(pids, "pids.current"));
        if let Some(io) = places.with(Controller::Io).and_then(|io| self.io(io)) {
            (reading.io_read_bytes, reading.io_written_bytes) = (Some(io.read_bytes), Some(io.written_bytes));
        }
        reading.pressure = places.v2().and_then(|v2| self.pressure(v2));
        Ok(reading)
    }

    fn kept(&mut self, place: &Place, file: &str) -> Option<u64> {
        once(place, file, &mut self.buffer).and_then(parse::single)
    }

    fn swap(&mut self, memory: &Place) -> Option<u64> {
        match memory.version {
            Version::V2 => self.kept(memory, "memory.swap.current"),
            Version::V1 => {
                let text = once(memory, "memory.stat", &mut self.buffer)?;
                let [swap] = parse::keyed(text, ["total_swap"]);
                swap
            }
        }
    }

    fn io(&mut self, io: &Place) -> Option<parse::Io> {
        match io.version {
            Version::V2 => once(io, "io.stat", &mut self.buffer).map(parse::io_v2),
            Version::V1 => {
                once(io, "blkio.throttle.io_service_bytes_recursive", &mut self.buffer).and_then(parse::io_v1)
            }
        }
    }

    fn pressure(&mut self, v2: &Place) -> Option<Pressure> {
        let mut of = |file| once(v2, file, &mut self.buffer).and_then(parse::pressure);
        Some(Pressure {
            cpu_percent: of("cpu.pressure")?,
            memory_percent: of("memory.pressure")?,
            io_percent: of("io.pressure")?,
        })
    }
}

impl Cpu {
    fn open(places: &Places) -> io::Result<Option<Cpu>> {
        if let Some(v2) = places.v2() {
            return Ok(Some(Cpu::Stat(File::open(v2.path("cpu.stat"))?)));
        }
        let Some(acct) = places.with(Controller::Cpuacct) else { return Ok(None) };
        let open = |file| File::open(acct.path(file));
        Ok(Some(Cpu::Acct { user: open("cpuacct.usage_user")?, system: open("cpuacct.usage_sys")? }))
    }
}

impl Memory {
    fn open(place: &Place) -> io::Result<Memory> {
        let current = by_version(place, "memory.current", "memory.usage_in_bytes");
        let events = by_version(place, "memory.events", "memory.oom_control");
        Ok(Memory {
            version: place.version,
            current: File::open(place.path(current))?,
            stat: File::open(place.path("memory.stat"))?,
            events: File::open(place.path(events)).ok(),
        })
    }
}

fn by_version(place: &Place, v2: &'static str, v1: &'static str) -> &'static str {
    match place.version {
        Version::V2 => v2,
        Version::V1 => v1,
    }
}

fn open_v1(place: Option<&Place>, file: &str) -> io::Result<Option<File>> {
    let v1 = place.filter(|place| place.version == Version::V1);
    v1.map(|place| File::open(place.path(file))).transpose()
}

fn once<'a>(place: &Place, file: &str, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let file = File::open(place.path(file)).ok()?;
    read(&file, buffer).ok()
}

/// The whole file from its beginning. The buffer grows only for a file that does not fit.
fn read<'a>(file: &File, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
    loop {
        let count = file.read_at(buffer, 0)?;
        if count < buffer.len() || buffer.len() >= FILE_MAX_BYTES {
            return Ok(buffer.get(..count).unwrap_or_default());
        }
        buffer.resize(buffer.len().saturating_mul(2), 0);
    }
}
