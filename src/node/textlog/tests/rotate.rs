//! The file: full, moved, unwritable.

use std::os::unix::fs::PermissionsExt;

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
fn a_file_that_was_moved_is_begun_anew_and_one_that_was_cut_goes_on() {
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

#[test]
fn a_failing_file_loses_nothing_once_it_heals() {
    let mut desk = Desk::new();
    let away = desk.dir.path().join("away");
    let place = desk.dir.path().join("place");
    fs::create_dir(&place).unwrap();
    desk.config.target = Target::File(place.join("log"));
    // Rotated with every line, so that each write needs the directory.
    (desk.config.rotate_bytes, desk.config.keep) = (1, 50);
    let mut source = desk.source(1, "p");
    let text = desk.start();
    source.open_in(&text);
    source.out("0\n");
    text.written(source.id);
    let read = |n: u32| fs::read_to_string(place.join(if n == 0 { "log".into() } else { format!("log.{n}") }));
    let until = Instant::now() + DEADLINE;
    while !read(0).is_ok_and(|text| text.ends_with(" 0\n")) {
        assert!(Instant::now() < until);
    }
    fs::rename(&place, &away).unwrap();
    (1..10).for_each(|n| source.out(&format!("{n}\n")));
    text.written(source.id);
    // The cursor waits for the lines: while they cannot be written it is never beyond them.
    fs::rename(&away, &place).unwrap();
    while !read(0).is_ok_and(|text| text.ends_with(" 9\n")) {
        assert!(Instant::now() < until);
    }
    desk.stop();
    let all: String = (0..10).rev().map(|n| read(n).unwrap()).collect();
    assert_eq!(numbers(&all).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
}
