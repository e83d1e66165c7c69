//! A spool as a dead watcher, a bad disk or somebody else left it: it is taken once or refused in one line, reading it comes to an end,
//! every record read is one that was written, what stands before the log and is not damaged all comes, and what goes on to the journal is
//! one sequence without holes, with gaps for what is missing, of records that a journal takes.
#![no_main]

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use bytes::Bytes;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use zerovisor::net::Endpoint;
use zerovisor::spool::{Left, Meta, Place};
use zerovisor_core::fact::{Fact, Gap, GapReason, State};
use zerovisor_core::holes::Holes;
use zerovisor_core::id::Id;
use zerovisor_core::record::{Head, Kind, OUTPUT_MAX_BYTES, Record};
use zerovisor_core::spec::Spec;
use zerovisor_core::stats::{Placement, Rung};
use zerovisor_core::units::Timestamp;
use zerovisor_core::wire::{HostProof, WatcherHello, decode_fact, encode_fact, encode_page};
use zerovisor_fuzz::segments::{Damaged, Key, damaged_log};
use zerovisor_fuzz::{make_dir, peak_bytes, put, with_directory};

/// Records of a front, at most.
const FRONT_MAX: usize = 8;
/// Bytes that taking one in may hold: some copies of what little is in it, and what a reader has of a log.
const ROOM_BYTES: usize = 8 << 20;

fn id() -> Id {
    Id::from_random([7; 16])
}

fn meta(u: &mut Unstructured) -> Result<Meta> {
    let (name, state) = ("web", [State::Running, State::Exited, State::Lost]);
    let hello = WatcherHello {
        id: if u.ratio(15, 16)? { id() } else { Id::from_random(u.arbitrary()?) },
        secret: [1; 32],
        welcomed_before: u.arbitrary()?,
        spec: Spec::new(name.parse().expect("a name"), vec![name.to_owned()]),
        created_at: Timestamp(u.arbitrary()?),
        host: HostProof::default(),
        first_seq: if u.ratio(7, 8)? { u.arbitrary::<u8>()?.into() } else { u.arbitrary()? },
        next_seq: if u.ratio(7, 8)? { u.arbitrary::<u8>()?.into() } else { u.arbitrary()? },
        state: *u.choose(&state)?,
        placement: Placement { rung: Rung::None, why: String::new() },
    };
    Ok(Meta { endpoint: "ipc://z.sock".to_owned(), hello })
}

/// A meta file, and what it says if it is sound.
fn meta_file(u: &mut Unstructured) -> Result<(Vec<u8>, Option<Meta>)> {
    let meta = meta(u)?;
    let whole = encode_page(&meta).expect("a declaration fits a page");
    let (body, meta) = match u.int_in_range(0..=15)? {
        // A good checksum of anything: it is read or refused.
        0 => (Bytes::copy_from_slice(u.bytes(u.len().min(200))?), None),
        1 => (whole.slice(..u.int_in_range(0..=whole.len())?), None),
        _ => (whole, Some(meta)),
    };
    let mut bytes = [&b"ZVSPOOL1"[..], &crc32c::crc32c(&body).to_le_bytes(), &body].concat();
    if u.ratio(1, 16)? {
        let at = u.choose_index(bytes.len())?;
        bytes[at] ^= 1 << u.int_in_range(0..=7)?;
        return Ok((bytes, None));
    }
    Ok((bytes, meta))
}

fn front_record(u: &mut Unstructured, before: u64) -> Result<Record> {
    let seq = if u.ratio(7, 8)? { before.saturating_add(u.arbitrary::<u8>()?.into()) } else { u.arbitrary()? };
    let at = Timestamp(u.arbitrary::<u16>()?.into());
    let first_seq = if u.ratio(7, 8)? { before.saturating_add(1) } else { u.arbitrary()? };
    let gap =
        Gap { first_seq, bytes: Some(u.arbitrary()?), lines: None, since: at, until: at, reason: GapReason::Offline };
    let payload = match u.int_in_range(0..=3)? {
        0 => Bytes::copy_from_slice(u.bytes(u.len().min(30))?),
        _ => encode_fact(&Fact::Gap(gap)).expect("a gap fits a fact"),
    };
    let kind = *u.choose(&[Kind::Fact, Kind::Fact, Kind::Fact, Kind::Stderr])?;
    Ok(Record { head: Head { seq, at, run: 1, kind, offset: u.arbitrary::<u16>()?.into() }, payload })
}

/// A front's file, and the records in it up to the first that is damaged or does not follow.
fn front_file(u: &mut Unstructured) -> Result<(Vec<u8>, Vec<Record>)> {
    let (mut bytes, mut sound, mut whole, mut last) = (b"ZVFRONT1".to_vec(), Vec::<Record>::new(), true, 0);
    for _ in 0..u.int_in_range(0..=FRONT_MAX)? {
        let record = front_record(u, last)?;
        let mut body = encode_page(&(record.head, &record.payload[..])).expect("a record fits a page").to_vec();
        let crc = crc32c::crc32c(&body);
        let (mut length, damage) = (u32::try_from(body.len()).expect("a page"), u.int_in_range(0..=31)?);
        match damage {
            0 => body[0] ^= 1,
            1 => length = u.arbitrary::<u32>()?.max(length + 1),
            _ => {}
        }
        whole &= damage > 1 && sound.last().is_none_or(|before| before.head.seq < record.head.seq);
        bytes.extend([&length.to_le_bytes()[..], &crc.to_le_bytes(), &body].concat());
        last = record.head.seq;
        if whole {
            sound.push(record);
        }
    }
    Ok((bytes, sound))
}

fn key(record: &Record) -> Key {
    (record.head.seq, record.head.at.0, record.payload.clone())
}

/// All that a zerovisor whose journal ends there reads.
fn read(left: &mut Left, journal_end: u64, max_bytes: usize) -> Vec<Record> {
    let (mut all, mut after) = (Vec::new(), journal_end);
    for _ in 0..1000 {
        let batch = left.next_batch(after, max_bytes).expect("what was opened is read");
        let Some(last) = batch.last().map(|record| record.head.seq) else { return all };
        let seqs: Vec<u64> = [after].into_iter().chain(batch.iter().map(|record| record.head.seq)).collect();
        assert!(seqs.is_sorted_by(|a, b| a < b), "behind the last one, in order: {seqs:?}");
        (after, all) = (last, [all, batch].concat());
    }
    panic!("reading does not come to an end after {} records", all.len())
}

/// That a journal takes them: one sequence from here to there, of records within their bounds, whose output does not repeat.
fn fits_a_journal(records: &[Record], journal_end: u64, end: u64) {
    let (mut next, mut outputs) = (journal_end.saturating_add(1), BTreeMap::<Kind, (u32, u64)>::new());
    for Record { head: Head { seq, run, kind, offset, .. }, payload } in records {
        let first = match (kind.is_output(), decode_fact(payload)) {
            (true, _) => {
                assert!(payload.len() <= OUTPUT_MAX_BYTES);
                let written = outputs.insert(*kind, (*run, *offset + payload.len() as u64));
                assert!(written.is_none_or(|(of, written)| of != *run || written <= *offset), "record {seq} repeats");
                *seq
            }
            (false, Ok(Fact::Gap(gap))) => gap.first_seq,
            (false, fact) => {
                fact.expect("a fact");
                *seq
            }
        };
        assert!(first == next && *seq >= first, "record {seq} stands for {first} on, {next} was expected");
        // Behind the last number there is nothing comes.
        next = seq.saturating_add(1);
    }
    assert_eq!(next, end.saturating_add(1));
}

fn taken_in(dir: &Path, u: &mut Unstructured) -> Result<()> {
    let endpoint: Endpoint = format!("ipc://{}/z.sock", dir.display()).parse().expect("an endpoint");
    let place = Place::of(&endpoint, None).expect("a place");
    let spool = place.dir().join(id().to_string());
    make_dir(&spool);
    put(&spool.join("lock"), b"");
    let (file, declared) = meta_file(u)?;
    put(&spool.join("meta"), &file);
    let (front, sound) = if u.arbitrary()? { front_file(u)? } else { (Vec::new(), Vec::new()) };
    if !front.is_empty() {
        put(&spool.join("front"), &front);
    }
    let (journal_end, max_bytes) = (u.arbitrary::<u8>()?.into(), 1 << u.int_in_range(0..=14)?);
    let mut log = Damaged { written: HashSet::new(), honest: true };
    if u.ratio(3, 4)? {
        make_dir(&spool.join("log"));
        log = damaged_log(u, &spool.join("log"))?;
    }
    assert_eq!(Left::ids(&place).expect("a place of ours"), [id()]);
    let mut left = match Left::take(&place, id()) {
        Ok(left) => left.expect("nobody has it"),
        Err(error) => {
            assert!(!error.to_string().contains('\n'), "{error}");
            assert!(spool.exists(), "what cannot be used stays");
            return Ok(());
        }
    };
    assert!(declared.is_none_or(|declared| *left.meta() == declared));
    assert!(matches!(Left::take(&place, id()), Ok(None)), "it is taken once");
    let records = read(&mut left, journal_end, max_bytes);
    let wanted: Vec<&Record> = sound.iter().filter(|record| record.head.seq > journal_end).collect();
    let first = wanted.len();
    assert!(records.iter().take(first).eq(wanted), "what stands before the log comes first, all of it");
    for record in records.iter().skip(first) {
        assert!(log.written.contains(&key(record)), "record {} was never written so", record.head.seq);
    }
    passed_on(&left.meta().hello, records, journal_end);
    left.remove().expect("what was taken in is removed");
    assert!(!place.dir().exists());
    Ok(())
}

/// As a zerovisor does that takes it in.
fn passed_on(hello: &WatcherHello, records: Vec<Record>, journal_end: u64) {
    let (mut holes, mut out) = (Holes::behind(journal_end, hello.first_seq), Vec::new());
    for record in records {
        if let Err(why) = holes.push(record, &mut out) {
            assert!(!why.to_string().contains('\n'), "{why}");
        }
    }
    holes.finish(hello.next_seq, Timestamp(0), &mut out).expect("a gap fits a fact");
    assert!(hello.next_seq <= holes.end().saturating_add(1), "all that was made is there or in a gap");
    fits_a_journal(&out, journal_end, holes.end());
}

fuzz_target!(|input: &[u8]| {
    // An input that ends early was made good use of until then.
    let (_short, peak) = peak_bytes(|| with_directory(|dir| taken_in(dir, &mut Unstructured::new(input))));
    assert!(peak <= ROOM_BYTES, "{peak} bytes");
});
