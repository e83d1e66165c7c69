//! A real pipe that is read when the test says so.

use std::io::Read;

use super::*;

/// More than a pipe holds.
const MUCH: usize = 2 << 20;

fn told<F: Future<Output = ()>>(story: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(story);
}

async fn full_pipe() -> (Input, io::PipeReader) {
    let (reader, writer) = io::pipe().unwrap();
    let writer = OwnedFd::from(writer);
    let flags = nix::fcntl::OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
    let mut input = Input::pipe(writer).unwrap();
    for _ in 0..MUCH / INPUT_QUEUE_BYTES {
        if input.offer(vec![b'.'; INPUT_QUEUE_BYTES].into(), false).is_ok() {
            input.writable().await;
            input.write();
        }
    }
    // What waits is none of the console's any more.
    while input.waiting > 0 {
        let last = input.queue.pop_back().unwrap();
        input.waiting -= last.bytes.len();
    }
    (input, reader)
}

/// All that the program reads, once nobody writes any more.
async fn read_all(mut input: Input, mut reader: io::PipeReader) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    while !input.queue.is_empty() {
        let bytes = reader.read(&mut buffer).unwrap();
        all.extend_from_slice(&buffer[..bytes]);
        input.writable().await;
        input.write();
    }
    assert_eq!((input.waiting, input.left, input.answers, input.ahead.len()), (0, 0, 0, 0));
    drop(input);
    reader.read_to_end(&mut all).unwrap();
    all
}

#[test]
fn what_one_typed_that_left_arrives_and_is_not_counted_against_the_next_of_its_number() {
    told(async {
        let (mut input, reader) = full_pipe().await;
        let window = usize::try_from(TYPED_WINDOW_BYTES).unwrap();
        input.type_in(1, vec![b'a'; window].into()).unwrap();
        assert_eq!(input.type_in(1, Bytes::from_static(b"b")), Err(InputDenial::Window));
        input.forget(1);
        input.type_in(1, vec![b'c'; window].into()).unwrap();
        assert!(input.has_room(), "the console does not wait for viewers");
        let taken_of_the_next = |input: &mut Input| input.taken().iter().all(|(_, bytes)| *bytes <= window as u64);
        assert!(taken_of_the_next(&mut input));
        let all = read_all(input, reader).await;
        let count = |byte| all.iter().filter(|read| **read == byte).count();
        assert_eq!((count(b'a'), count(b'c')), (window, window));
    });
}

#[test]
fn what_those_leave_who_come_and_go_is_bounded() {
    told(async {
        let (mut input, reader) = full_pipe().await;
        let window = usize::try_from(TYPED_WINDOW_BYTES).unwrap();
        for viewer in 0..100 {
            input.type_in(viewer, vec![b'a'; window].into()).unwrap();
            input.forget(viewer);
        }
        let all = read_all(input, reader).await;
        assert_eq!(all.iter().filter(|read| **read == b'a').count(), LEFT_MAX_BYTES);
    });
}

#[test]
fn answers_that_nobody_reads_are_few_and_keep_nobody_from_typing() {
    told(async {
        let (mut input, reader) = full_pipe().await;
        for _ in 0..ANSWERS_MAX_BYTES {
            input.answer(Bytes::from_static(b"\x1b[0n"));
        }
        assert!(input.has_room());
        assert_eq!(input.answers, ANSWERS_MAX_BYTES);
        input.offer(Bytes::from_static(b"typed"), false).unwrap();
        let all = read_all(input, reader).await;
        assert!(all.ends_with(b"\x1b[0ntyped"));
        assert_eq!(all.iter().filter(|read| **read == b'n').count(), ANSWERS_MAX_BYTES / 4);
    });
}
