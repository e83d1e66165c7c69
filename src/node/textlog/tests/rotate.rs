//! The file: full, moved, unwritable.

use std::os::unix::fs::PermissionsExt;

use super::super::file::Output;
use super::*;

fn numbers(text: &str) -> impl Iterator<Item = usize> {
    text.lines().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[test]
fn rotation_keeps_so_many_whole_files_and_no_line_is_lost() {
    let mut desk = Desk::new();
    (desk.config.rotate_bytes, desk.config.keep) = (10_000, 3);
    let mut source = desk.source(1, "p");
    for n in 0..100 {
        source.out(&(0..10).map(|m| format!("{}\n", n * 10 + m)).collect::<String>());
    }
    let text = desk.start();
    source.open_in(&text);
    desk.stop();
    let name = |n: u32| desk.dir.path().join(format!("zerovisor.log.{n}"));
    assert!(!name(4).exists());
    let all: String = (1..=3).rev().map(|n| fs::read_to_string(name(n)).unwrap()).collect();
    for n in 1..=3 {
        let text = fs::read_to_string(name(n)).unwrap();
        assert!(text.ends_with('\n') && (9900..=10_000).contains(&text.len()), "{}", text.len());
    }
    let all: Vec<_> = numbers(&(all + &desk.read())).collect();
    assert_eq!(all, (1000 - all.len()..1000).collect::<Vec<_>>());
    assert_eq!(fs::metadata(desk.path()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_was_moved_is_begun_anew() {
    let mut desk = Desk::new();
    let mut source = desk.source(1, "p");
    let text = desk.start();
    source.open_in(&text);
    let mut n = 0;
    let mut until = |desk: &Desk, done: &dyn Fn(&str) -> bool| {
        let deadline = Instant::now() + DEADLINE;
        while !done(&desk.read()) {
            assert!(Instant::now() < deadline);
            source.out(&format!("{n}\n"));
            n += 1;
            text.written(source.id);
            std::thread::yield_now();
        }
    };
    until(&desk, &|text| text.len() > 1000);
    let moved = desk.dir.path().join("moved");
    fs::rename(desk.path(), &moved).unwrap();
    until(&desk, &|text| text.len() > 1000);
    desk.stop();
    let both = fs::read_to_string(&moved).unwrap() + &desk.read();
    assert_eq!(numbers(&both).collect::<Vec<_>>(), (0..n).collect::<Vec<_>>());
}

#[test]
fn a_log_that_cannot_be_written_is_an_error_of_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let config = TextConfig::new(Target::File(dir.path().to_path_buf()), dir.path().join("cursor"));
    let error = TextLog::start(config).unwrap_err().to_string();
    assert!(error.contains("cannot write the text log") && error.contains("--log none"), "{error}");
}

/// A device that is always full stands where the log should be.
fn full(desk: &Desk) {
    std::os::unix::fs::symlink("/dev/full", desk.path()).unwrap();
}

fn heal(desk: &Desk) {
    let new = desk.dir.path().join("new");
    fs::write(&new, "").unwrap();
    fs::rename(new, desk.path()).unwrap();
}

#[test]
fn what_could_not_be_written_is_not_behind_the_cursor() {
    let mut desk = Desk::new();
    let mut source = desk.source(1, "p");
    source.out("0\n1\nhalf");
    full(&desk);
    let text = desk.start();
    source.open_in(&text);
    desk.stop();
    heal(&desk);
    let text = desk.start();
    source.open_in(&text);
    desk.stop();
    let lines = desk.lines();
    assert!(lines[0].contains(" node   the zerovisor before did not end by itself"), "{lines:?}");
    assert_eq!(lines[1..], ["p.1[-]       stdout 0", "p.1[-]       stdout 1", "p.1[-]       stdout+ half"]);
}

#[test]
fn a_full_disk_loses_nothing_once_it_heals() {
    let mut desk = Desk::new();
    let mut source = desk.source(1, "p");
    full(&desk);
    let text = desk.start();
    source.open_in(&text);
    for n in 0..1000 {
        source.out(&format!("{n}\n"));
        text.written(source.id);
    }
    heal(&desk);
    let text = desk.wait(|text| text.ends_with(" 999\n"));
    assert_eq!(numbers(&text).collect::<Vec<_>>(), (0..1000).collect::<Vec<_>>());
    desk.stop();
}

#[test]
fn a_file_that_was_cut_goes_on_from_its_beginning() {
    let mut desk = Desk::new();
    let mut source = desk.source(1, "p");
    let text = desk.start();
    source.open_in(&text);
    source.out("0\n");
    text.written(source.id);
    desk.wait(|text| text.ends_with(" 0\n"));
    fs::File::options().write(true).open(desk.path()).unwrap().set_len(0).unwrap();
    source.out("1\n");
    text.written(source.id);
    desk.wait(|text| text.starts_with("2026") && text.ends_with(" 1\n"));
    desk.stop();
    assert_eq!(desk.lines().len(), 1);
}

#[test]
fn standard_output_that_nobody_reads_neither_blocks_nor_kills() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut output = Output::Stdout(fs::File::from(std::os::fd::OwnedFd::from(writer)));
    let text = vec![b'x'; 1 << 20];
    let mut written = 0;
    let full = loop {
        match output.write(&text, Instant::now()) {
            Ok(bytes) => written += bytes,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock);
    assert!(written >= 4096);
    drop(reader);
    assert_eq!(output.write(&text, Instant::now()).unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
}
