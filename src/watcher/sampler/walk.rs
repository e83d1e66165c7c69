//! What a tree uses, by a walk of /proc: where no cgroup counts it.
//!
//! CPU is that of the living, of the children they waited for, and of what the watcher itself reaped; together they are all that a
//! subreaper can know, and nothing is counted twice. Memory is the sum of proportional set sizes, so that shared pages count once.
//! A pread of a kept `stat` takes 3 µs, `smaps_rollup` 31 µs and more with the size of the process: each kind of look is spaced out
//! so that it takes a twentieth of the time at most. No spacing shortens a single look, for which output has to wait: a process above
//! [`PSS_MAX_BYTES`] counts with what it has resident less what that shares, without page cache and shared memory, which `statm` tells
//! at once.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::stat::Stat;
use crate::watcher::tree::descendants;

/// A look that took so long comes again after so many times that at the earliest: 5 % of the time.
const SPACED: u32 = 20;
/// Processes whose files stay open: three descriptors each. Those beyond are opened at each look.
const KEPT_MAX: usize = 64;
/// Of a process's list of children so much is read at once, in bytes.
const CHILDREN_BYTES: usize = 4096;
/// Processes that have more resident are not asked for their PSS, in bytes: the kernel walks their page tables, 18 ms a GiB in 4 KiB pages, measured.
const PSS_MAX_BYTES: u64 = 512 << 20;
/// `statm` is seven numbers of at most 20 digits.
const STATM_BYTES: usize = 160;
/// `smaps_rollup` is some 700 bytes, with `Pss:` in its third line.
const ROLLUP_BYTES: usize = 1024;

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// CPU of the living in user mode, in clock ticks.
    pub(super) user_ticks: u64,
    /// In the kernel.
    pub(super) system_ticks: u64,
    /// Processes and threads.
    pub(super) tasks: u64,
    /// The sum of PSS in bytes, of large processes that of their private memory, as it was last looked at; none before the first time.
    pub(super) memory_bytes: Option<u64>,
}

/// The tree below this process.
#[derive(Debug)]
pub(super) struct Walk {
    kept: BTreeMap<i32, Files>,
    memory_bytes: Option<u64>,
    tree_at: Instant,
    memory_at: Instant,
    page_bytes: u64,
}

/// The open files of one process. They stand for that very process: once it is gone they read nothing, whoever has its number.
#[derive(Debug)]
struct Files {
    stat: File,
    children: Option<File>,
    rollup: Option<File>,
    /// Whether the present walk came by.
    seen: bool,
}

impl Walk {
    pub(super) fn new(now: Instant) -> Walk {
        let page_bytes = procfs::page_size();
        Walk { kept: BTreeMap::new(), memory_bytes: None, tree_at: now, memory_at: now, page_bytes }
    }

    /// Looks, unless it is too soon after the look before.
    pub(super) fn look(&mut self, now: Instant) -> Option<Found> {
        if now < self.tree_at {
            return None;
        }
        let with_memory = now >= self.memory_at;
        let (mut found, mut memory, mut memory_took) = (Found::default(), 0, Duration::ZERO);
        let own = std::process::id().cast_signed();
        let lists = File::open(format!("/proc/{own}/task/{own}/children"));
        let mut pids = match &lists {
            Ok(list) => VecDeque::from(read_children(list)),
            // A kernel without CONFIG_PROC_CHILDREN.
            Err(_) => descendants(own).into_iter().map(|member| member.pid).collect(),
        };
        while let Some(pid) = pids.pop_front() {
            let Some((mut files, stat)) = self.visit(pid) else { continue };
            found.user_ticks += stat.user_ticks;
            found.system_ticks += stat.system_ticks;
            found.tasks += stat.threads;
            if lists.is_ok() {
                pids.extend(files.children(pid, stat.threads));
            }
            if with_memory {
                let began = Instant::now();
                memory += files.memory_bytes(pid, stat.rss_pages, self.page_bytes);
                memory_took += began.elapsed();
            }
            files.seen = true;
            if self.kept.len() < KEPT_MAX {
                self.kept.insert(pid, files);
            }
        }
        self.kept.retain(|_, files| std::mem::take(&mut files.seen));
        if with_memory {
            self.memory_bytes = Some(memory);
            self.memory_at = now + memory_took * SPACED;
        }
        self.tree_at = now + now.elapsed().saturating_sub(memory_took) * SPACED;
        found.memory_bytes = self.memory_bytes;
        Some(found)
    }

    /// The files of a process and its line; none if it is gone.
    fn visit(&mut self, pid: i32) -> Option<(Files, Stat)> {
        let kept = self.kept.remove(&pid).and_then(|files| Stat::read(&files.stat).map(|stat| (files, stat)));
        kept.or_else(|| {
            let files = Files::open(pid)?;
            Stat::read(&files.stat).map(|stat| (files, stat))
        })
    }
}

impl Files {
    fn open(pid: i32) -> Option<Files> {
        let stat = File::open(format!("/proc/{pid}/stat")).ok()?;
        let children = File::open(format!("/proc/{pid}/task/{pid}/children")).ok();
        Some(Files { stat, children, rollup: None, seen: false })
    }

    /// The children of every thread.
    fn children(&self, pid: i32, threads: u64) -> Vec<i32> {
        let of_main = self.children.as_ref().map(read_children).unwrap_or_default();
        let others = (threads > 1).then(|| fs::read_dir(format!("/proc/{pid}/task")).ok()).flatten();
        let others = others.into_iter().flatten().flatten();
        let tids = others.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|tid| *tid != pid);
        let of_others = tids.flat_map(|tid: i32| {
            let list = File::open(format!("/proc/{pid}/task/{tid}/children")).ok();
            list.map(|list| read_children(&list)).unwrap_or_default()
        });
        of_main.into_iter().chain(of_others).collect()
    }

    /// What it counts with, in bytes.
    fn memory_bytes(&mut self, pid: i32, rss_pages: u64, page_bytes: u64) -> u64 {
        let resident = rss_pages.saturating_mul(page_bytes);
        if resident > PSS_MAX_BYTES {
            return private_pages(pid).map_or(resident, |pages| pages.saturating_mul(page_bytes));
        }
        self.pss_bytes(pid).unwrap_or(resident)
    }

    /// Its proportional set size; none where we may not know. A kept file stands for the program it was opened in: another exec
    /// wants another one.
    fn pss_bytes(&mut self, pid: i32) -> Option<u64> {
        if let Some(bytes) = self.rollup.as_ref().and_then(read_pss) {
            return Some(bytes);
        }
        self.rollup = File::open(format!("/proc/{pid}/smaps_rollup")).ok();
        self.rollup.as_ref().and_then(read_pss)
    }
}

fn read_children(file: &File) -> Vec<i32> {
    let (mut text, mut chunk) = (Vec::new(), [0; CHILDREN_BYTES]);
    while let Ok(count) = file.read_at(&mut chunk, text.len() as u64) {
        if count == 0 {
            break;
        }
        text.extend_from_slice(chunk.get(..count).unwrap_or_default());
    }
    let words = text.split(|byte| *byte == b' ');
    words.filter_map(|pid| str::from_utf8(pid).ok()?.parse().ok()).collect()
}

/// What a process has resident and does not share with files or other processes: proc_pid_statm(5).
fn private_pages(pid: i32) -> Option<u64> {
    let mut text = [0; STATM_BYTES];
    let count = File::open(format!("/proc/{pid}/statm")).ok()?.read_at(&mut text, 0).ok()?;
    let mut fields = str::from_utf8(text.get(..count)?).ok()?.split(' ').skip(1).map(|field| field.parse::<u64>().ok());
    let (resident, shared) = (fields.next()??, fields.next()??);
    Some(resident.saturating_sub(shared))
}

fn read_pss(rollup: &File) -> Option<u64> {
    let mut text = [0; ROLLUP_BYTES];
    let count = rollup.read_at(&mut text, 0).ok()?;
    parse_pss(text.get(..count)?)
}

pub(super) fn parse_pss(text: &[u8]) -> Option<u64> {
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Pss:"))?;
    let kib = str::from_utf8(line).ok()?.trim().strip_suffix(" kB")?;
    kib.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proportional_size_is_that_of_its_own_line() {
        let text =
            b"55d0-7ffc ---p 00000000 00:00 0    [rollup]\nRss:    3040 kB\nPss:    701 kB\nPss_Dirty:   96 kB\n";
        assert_eq!(parse_pss(text), Some(701 << 10));
        assert_eq!(parse_pss(b"Rss: 1 kB\n"), None);
    }

    #[test]
    fn a_large_process_is_not_asked_for_its_proportional_size() {
        let own = std::process::id().cast_signed();
        let page_bytes = procfs::page_size();
        let mut files = Files::open(own).unwrap();
        let most = PSS_MAX_BYTES / page_bytes;
        let private = files.memory_bytes(own, most + 1, page_bytes);
        assert!(files.rollup.is_none());
        assert!((1..PSS_MAX_BYTES).contains(&private), "{private}");
        files.memory_bytes(own, most, page_bytes);
        assert!(files.rollup.is_some());
    }

    #[test]
    fn this_process_has_a_size_and_its_files_read_nothing_once_it_is_another() {
        let own = std::process::id().cast_signed();
        let mut files = Files::open(own).unwrap();
        let pss = files.pss_bytes(own).unwrap();
        assert!(pss > 100 << 10, "{pss}");
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id().cast_signed();
        let files = Files::open(pid).unwrap();
        assert!(Stat::read(&files.stat).is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Stat::read(&files.stat).is_none());
    }
}
