//! Those who follow and do not keep up, or are gone: child, journal and everybody else keep their pace, the zerovisor its size, and whoever
//! comes to read again misses nothing but what he is told of.

use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use zerovisor_core::address::Selection;
use zerovisor_core::record::Head;
use zerovisor_core::size::Size;
use zerovisor_core::wire::{Answer, Ask, LogsAsk, Runs, STREAM_WINDOW_BYTES, ToPeer, View};

use crate::harness::{
    Client, Farm, LONG, Peer, Program, SOON, assert_counted, count, descriptors, enough, resident_kib, until,
};

/// What a zerovisor may grow by while something runs at full speed, in KiB, beside what its table of queues names: the largest window and
/// what is being written of it, a batch of the scribe, a page being rendered, and what an allocator keeps.
const AT_WORK_KIB: u64 = 64 << 10;
/// How often a follower falls behind.
const FALLS: usize = 10;
/// Written at full speed, in bytes, about.
const MUCH: u64 = 24 << 20;

/// How long a program takes to write much, from its start to its end.
fn pace(farm: &Farm, name: &str) -> Duration {
    let begun = Instant::now();
    farm.watch(&["--name", name, "seq", "1", "3000000"]).end(LONG).ok();
    begun.elapsed()
}

fn follow(client: &mut Client, name: &str) {
    let select = Selection { addresses: vec![name.parse().unwrap()], labels: Vec::new() };
    let (tail, since, until, kind, after_seq) = (None, None, None, None, None);
    client.asks(Ask::Logs(LogsAsk { select, follow: true, tail, since, until, kind, runs: Runs::All, after_seq }));
}

/// What a follower hears next of a stream.
enum Heard {
    Records(Vec<Head>, Vec<u8>),
    /// From the first to the last of these records something is missing.
    Gap(u64, u64),
    Missing(String),
    End,
}

fn hears(client: &mut Client) -> Heard {
    loop {
        let heard = client.hears();
        match heard.answer {
            Answer::Log { heads, .. } => {
                return Heard::Records(heads.iter().map(|(head, _)| *head).collect(), heard.payload);
            }
            Answer::Gap { last_seq, gap, .. } => return Heard::Gap(gap.first_seq, last_seq),
            Answer::Missing { what, .. } => return Heard::Missing(what),
            Answer::End(_) => return Heard::End,
            Answer::Sources => {}
            other @ (Answer::Here { .. }
            | Answer::Rows
            | Answer::Detail
            | Answer::Events
            | Answer::Done { .. }
            | Answer::Reached { .. }
            | Answer::Failed(_)
            | Answer::View(_)
            | Answer::Screen { .. }
            | Answer::NodeRows) => panic!("{other:?}"),
        }
    }
}

fn journal_bytes(farm: &Farm, name: &str) -> u64 {
    farm.rows(name).first().and_then(|row| row["journal_bytes"].as_u64()).unwrap_or(0)
}

#[test]
fn stopped_followers_slow_nobody_and_miss_nothing() {
    let farm = Farm::empty();
    farm.start_node(&["--log", "none"]);
    let alone = pace(&farm, "alone");
    let counting = count(&farm, "fast");
    farm.reaches("fast", "RUNNING");
    let stopped: Vec<Program> = (0..10).map(|_| farm.following(&["logs", "-f", "--raw", "fast"])).collect();
    let follows = farm.following(&["logs", "-f", "--raw", "fast"]);
    until("there is something to follow", LONG, || (journal_bytes(&farm, "fast") > 1 << 20).then_some(()));
    stopped.iter().for_each(|follower| follower.signal(Signal::SIGSTOP));
    let before = resident_kib(farm.node_pid());
    let stalled = journal_bytes(&farm, "fast");
    until("it goes on at full speed", LONG, || (journal_bytes(&farm, "fast") > stalled + MUCH).then_some(()));
    let grown = resident_kib(farm.node_pid()).saturating_sub(before);
    let bound = AT_WORK_KIB + 11 * (STREAM_WINDOW_BYTES >> 10);
    assert!(grown < bound, "it grew by {grown} KiB for 10 that do not read");
    enough(&farm);
    counting.end(LONG).ok();
    assert_counted(&farm, "fast", &follows.end(LONG).ok().stdout);
    let beside = pace(&farm, "beside");
    assert!(beside < alone * 4 + Duration::from_secs(3), "{beside:?} beside 10 stopped followers, {alone:?} alone");
    stopped.iter().for_each(|follower| follower.signal(Signal::SIGCONT));
    for follower in stopped {
        assert_counted(&farm, "fast", &follower.end(LONG).ok().stdout);
    }
}

#[test]
fn a_follower_that_grants_nothing_costs_an_offset_and_misses_nothing() {
    let farm = Farm::empty();
    farm.start_node(&["--log", "none"]);
    let counting = count(&farm, "fast");
    farm.reaches("fast", "RUNNING");
    let before = resident_kib(farm.node_pid());
    let mut lazy: Vec<Client> = (0..20).map(|_| Client::of(&farm)).collect();
    lazy.iter_mut().for_each(|client| follow(client, "fast"));
    until("far more than was granted is written", LONG, || {
        lazy.iter_mut().for_each(|client| client.peer.ping());
        (journal_bytes(&farm, "fast") > MUCH).then_some(())
    });
    let grown = resident_kib(farm.node_pid()).saturating_sub(before);
    let bound = AT_WORK_KIB + lazy.len() as u64 * (STREAM_WINDOW_BYTES >> 10);
    assert!(grown < bound, "it grew by {grown} KiB for {} that grant nothing", lazy.len());
    enough(&farm);
    counting.end(LONG).ok();
    let mut client = lazy.swap_remove(7);
    drop(lazy);
    assert_counted(&farm, "fast", &reads_to_the_end(&mut client));
}

/// What a follower hears that comes back to reading, and grants what it reads: all there is, in order.
fn reads_to_the_end(client: &mut Client) -> Vec<u8> {
    let (mut all, mut last) = (Vec::new(), 0);
    loop {
        match hears(client) {
            Heard::Records(heads, payload) => {
                assert!(heads.iter().all(|head| std::mem::replace(&mut last, head.seq) < head.seq), "in order");
                client.grants(payload.len() as u64);
                all.extend(payload);
            }
            Heard::Gap(first, last) => panic!("records {first} to {last} are missing"),
            Heard::Missing(what) => panic!("{what}"),
            Heard::End => return all,
        }
    }
}

#[test]
fn what_retention_took_from_a_slow_follower_is_told_to_the_record() {
    let farm = Farm::empty();
    farm.start_node(&["--log", "none", "--retain-size", "1M"]);
    let counting = count(&farm, "fast");
    farm.reaches("fast", "RUNNING");
    let mut client = Client::of(&farm);
    follow(&mut client, "fast");
    let written =
        |farm: &Farm| farm.json(&["inspect", "fast"])["processes"][0]["journal"]["first_seq"].as_u64().unwrap_or(0);
    let falls_behind = |client: &mut Client, last: u64| {
        until("what it has not read is removed", LONG, || {
            client.peer.ping();
            (written(&farm) > last + 300).then_some(())
        });
    };
    let (mut last, mut gaps) = (0, Vec::new());
    falls_behind(&mut client, last);
    // Some more times while it is written on: what is removed between two reads belongs to the gap as well.
    let (mut counting, mut falls) = (Some(counting), FALLS);
    loop {
        if gaps.len() > FALLS - falls && falls > 0 {
            falls -= 1;
            falls_behind(&mut client, last);
        } else if falls == 0
            && let Some(counting) = counting.take()
        {
            enough(&farm);
            counting.end(LONG).ok();
        }
        match hears(&mut client) {
            Heard::Records(heads, payload) => {
                let first = heads[0].seq;
                // Facts are no output: they are the only holes nothing is said of.
                if let Some((said, before)) = gaps.last().copied()
                    && before == last
                {
                    assert!(first >= said && first < said + 8, "{said} was the next one kept, {first} came");
                } else {
                    assert!(first <= last + 8, "{first} follows {last}, and nothing was said");
                }
                last = heads.last().unwrap().seq;
                client.grants(payload.len() as u64);
            }
            Heard::Gap(first, to) => {
                assert!(
                    first > last && first < last + 8,
                    "{first} is the first that is said to be missing behind {last}"
                );
                gaps.push((to + 1, last));
            }
            Heard::Missing(what) => panic!("{what}"),
            Heard::End => break,
        }
    }
    assert!(!gaps.is_empty(), "it was told of a gap");
}

#[test]
fn followers_that_vanish_leave_nothing_behind() {
    let (farm, port) = on_tcp();
    let counting = count(&farm, "fast");
    farm.reaches("fast", "RUNNING");
    let fds = descriptors(farm.node_pid());
    let endpoint = format!("tcp://127.0.0.1:{port}");
    let gone: Vec<Program> = (0..10)
        .flat_map(|_| {
            let over_tcp = farm.following(&["--insecure", "-e", &endpoint, "logs", "-f", "--raw", "fast"]);
            [farm.following(&["logs", "-f", "--raw", "fast"]), over_tcp]
        })
        .collect();
    until("they follow", LONG, || (descriptors(farm.node_pid()) >= fds + 20).then_some(()));
    for follower in gone {
        follower.signal(Signal::SIGKILL);
        follower.end(SOON);
    }
    // Half open: it says nothing more, and does not close either.
    let mut silent: Vec<Client> = (0..10).map(|_| Client::of(&farm)).collect();
    silent.iter_mut().for_each(|client| follow(client, "fast"));
    until("all of them are gone", SOON, || (descriptors(farm.node_pid()) <= fds + 4).then_some(()));
    let before = journal_bytes(&farm, "fast");
    until("the journal goes on", SOON, || (journal_bytes(&farm, "fast") > before).then_some(()));
    drop(silent);
    enough(&farm);
    counting.end(LONG).ok();
}

fn on_tcp() -> (Farm, u16) {
    let farm = Farm::empty();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let tcp = format!("tcp://127.0.0.1:{port}");
    farm.start_node(&["--log", "none", "--insecure", "-e", "ipc://zerovisor.sock", "-e", &tcp]);
    (farm, port)
}

#[test]
fn two_hundred_followers_of_one_process_all_see_all_of_it() {
    let farm = Farm::empty();
    farm.start_node(&["--log", "none"]);
    let mut talk = farm.watch_command(&["--name", "talk", "-i", "cat"]);
    let mut talk = Program::start(talk.stdin(Stdio::piped()));
    farm.reaches("talk", "RUNNING");
    let before = resident_kib(farm.node_pid());
    let mut followers: Vec<Client> = (0..200).map(|_| Client::of(&farm)).collect();
    followers.iter_mut().for_each(|client| follow(client, "talk"));
    let lines: Vec<u8> = (0..60_000).flat_map(|n| format!("{n}\n").into_bytes()).collect();
    for piece in lines.chunks(lines.len() / 20) {
        talk.write(piece);
        followers.iter_mut().for_each(|client| client.peer.ping());
    }
    talk.close_stdin();
    talk.end(LONG).ok();
    let grown = resident_kib(farm.node_pid()).saturating_sub(before);
    assert!(grown < AT_WORK_KIB + 200 * (lines.len() as u64 >> 10), "it grew by {grown} KiB");
    for at in 0..followers.len() {
        let mut seen = Vec::new();
        while seen.len() < lines.len() {
            match hears(&mut followers[at]) {
                Heard::Records(_, payload) => seen.extend(payload),
                Heard::Gap(first, last) => panic!("records {first} to {last} are missing"),
                Heard::Missing(what) => panic!("{what}"),
                Heard::End => break,
            }
        }
        assert!(seen == lines, "follower {at} saw {} of {} bytes", seen.len(), lines.len());
        followers.iter_mut().for_each(|client| client.peer.ping());
    }
}

#[test]
fn two_hundred_followers_that_read_nothing_slow_nobody_and_miss_nothing() {
    let farm = Farm::empty();
    farm.start_node(&["--log", "none"]);
    let alone = pace(&farm, "alone");
    let counting = count(&farm, "fast");
    farm.reaches("fast", "RUNNING");
    let before = resident_kib(farm.node_pid());
    let mut lazy: Vec<Client> = (0..200).map(|_| Client::of(&farm)).collect();
    lazy.iter_mut().for_each(|client| follow(client, "fast"));
    let mut longest = Duration::ZERO;
    let mut others_go_on = |until_bytes| {
        until("its journal goes on", LONG, || {
            lazy.iter_mut().for_each(|client| client.peer.ping());
            let begun = Instant::now();
            let mut other = Client::of(&farm);
            other.asks(Ask::Ping);
            assert!(matches!(other.hears().answer, Answer::Here { .. }));
            longest = longest.max(begun.elapsed());
            (journal_bytes(&farm, "fast") > until_bytes).then_some(())
        });
    };
    others_go_on(MUCH);
    let (begun, then) = (Instant::now(), journal_bytes(&farm, "fast"));
    others_go_on(then + MUCH);
    let beside = begun.elapsed();
    let grown = resident_kib(farm.node_pid()).saturating_sub(before);
    enough(&farm);
    counting.end(LONG).ok();
    assert!(beside < alone * 4 + Duration::from_secs(5), "{beside:?} beside 200 followers, {alone:?} alone");
    assert!(longest < Duration::from_secs(1), "another's ping took {longest:?}");
    let bound = AT_WORK_KIB + lazy.len() as u64 * (STREAM_WINDOW_BYTES >> 10);
    assert!(grown < bound, "it grew by {grown} KiB for {} that read nothing", lazy.len());
    let mut client = lazy.swap_remove(77);
    drop(lazy);
    assert_counted(&farm, "fast", &reads_to_the_end(&mut client));
}

#[test]
fn one_follower_of_twenty_processes_sees_each_line_of_each_once() {
    let farm = Farm::empty();
    farm.start_node(&["--log", "none"]);
    farm.script("lines", "i=0\nwhile [ $i -lt 2000 ]; do echo $ZV_NAME.$i; i=$((i + 1)); done\nread -r go < go\n");
    let fifo = std::process::Command::new("mkfifo").arg(farm.path("go")).status().unwrap();
    assert!(fifo.success());
    let names: Vec<String> = (0..20).map(|n| format!("p{n}")).collect();
    let watched: Vec<Program> =
        names.iter().map(|name| farm.watch(&["--name", name, "-l", "of=twenty", "sh", "lines"])).collect();
    names.iter().for_each(|name| drop(farm.reaches(name, "RUNNING")));
    let follower = farm.following(&["logs", "-f", "-l", "of=twenty"]);
    for name in &names {
        farm.wrote(name, &format!("{name}.1999\n"));
    }
    // All who wait at the pipe read its end together.
    drop(std::fs::OpenOptions::new().write(true).open(farm.path("go")).unwrap());
    watched.into_iter().for_each(|program| drop(program.end(LONG)));
    let shown = follower.end(LONG).ok().out();
    for name in &names {
        let of = |line: &&str| line.rsplit(' ').next().unwrap().split('.').next() == Some(name);
        let numbers: Vec<&str> = shown.lines().filter(of).map(|line| line.rsplit('.').next().unwrap()).collect();
        let wanted: Vec<String> = (0..2000).map(|n| n.to_string()).collect();
        assert_eq!(numbers, wanted, "{name}");
    }
}

#[test]
fn much_that_is_read_a_byte_at_a_time_costs_neither_side_memory() {
    let farm = Farm::empty();
    farm.start_node(&["--log", "none"]);
    farm.watch(&["--name", "much", "seq", "1", "12000000"]).end(LONG).ok();
    assert!(journal_bytes(&farm, "much") > 90 << 20);
    let before = resident_kib(farm.node_pid());
    let mut zvctl = farm.ctl_command(&["logs", "--raw", "much"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = zvctl.stdout.take().unwrap();
    let pid = i32::try_from(zvctl.id()).unwrap();
    for byte in b"1\n2\n3\n" {
        let mut one = [0];
        out.read_exact(&mut one).unwrap();
        assert_eq!(one[0], *byte);
        let begun = Instant::now();
        // Its link is kept meanwhile, however slowly it reads: longer than a silent one would be.
        until("a second has passed", SOON, || (begun.elapsed() > Duration::from_secs(1)).then_some(()));
        farm.ctl(&["ping"]).ok();
        let grown = resident_kib(farm.node_pid()).saturating_sub(before);
        assert!(grown < AT_WORK_KIB, "the zerovisor grew by {grown} KiB");
        let taken = resident_kib(pid);
        assert!(taken < AT_WORK_KIB, "zvctl takes {taken} KiB");
    }
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).unwrap();
    assert!(rest.starts_with(b"4\n5\n") && rest.ends_with(b"\n12000000\n"), "{} bytes", rest.len());
    assert!(zvctl.wait().unwrap().success());
}

#[test]
fn viewers_that_do_not_read_slow_nobody_and_are_told_what_they_did_not_see() {
    let farm = Farm::empty();
    farm.start_node(&["--log", "none"]);
    farm.script("counting", "i=0\nwhile [ ! -e enough ]; do seq $i $((i + 999)); i=$((i + 1000)); done\n");
    let counting = farm.watch(&["--name", "screen", "--pty", "sh", "counting"]);
    farm.reaches("screen", "RUNNING");
    let before = resident_kib(farm.node_pid());
    let mut viewers: Vec<Client> = (0..20).map(|_| Client::of(&farm)).collect();
    viewers.iter_mut().for_each(|viewer| viewer.attach("screen", Some(Size::DEFAULT)));
    let begin = journal_bytes(&farm, "screen");
    until("it goes on at full speed", LONG, || {
        viewers.iter_mut().for_each(|viewer| viewer.peer.ping());
        (journal_bytes(&farm, "screen") > begin + (8 << 20)).then_some(())
    });
    let grown = resident_kib(farm.node_pid()).saturating_sub(before);
    // Beside what was granted a lane of 1 MiB each.
    let each = (STREAM_WINDOW_BYTES >> 10) + (1 << 10);
    assert!(grown < AT_WORK_KIB + viewers.len() as u64 * each, "it grew by {grown} KiB for {}", viewers.len());
    let mut viewer = viewers.swap_remove(3);
    drop(viewers);
    let skipped = skipped_by(&mut viewer);
    assert!(skipped > 1 << 20, "{skipped} bytes are said to be missing");
    enough(&farm);
    counting.end(LONG).ok();
}

/// Reads and grants until a picture says how much was not seen.
fn skipped_by(viewer: &mut Client) -> u64 {
    let Client { peer, request } = viewer;
    loop {
        let grant = |peer: &mut Peer, bytes| {
            peer.say(&zerovisor_core::wire::ToNode::Grant { request: *request, bytes }, None);
            peer.ping();
        };
        match peer.hear() {
            Some((ToPeer::Answer { answer: Answer::View(view), .. }, payload)) => {
                grant(peer, payload.len() as u64);
                if let View::Picture { skipped_bytes: skipped @ 1.., last: true, .. } = view {
                    return skipped;
                }
            }
            Some((ToPeer::Pong { .. }, _)) => {}
            other => panic!("{other:?}"),
        }
    }
}
