//! What the fuzz targets share. A target holds one decoder, or one state machine that reads foreign bytes, to what it promises;
//! each begins with a sentence that says what that is. That nothing panics, overflows, hangs or takes much memory goes without saying.

pub mod segments;
mod sys;

pub use sys::peak_bytes;

use std::cell::RefCell;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Cuts an input into the lengths of pieces and a stream: the first byte says how many lengths follow.
pub fn cuts_and_stream(input: &[u8]) -> (&[u8], &[u8]) {
    let Some((count, rest)) = input.split_first() else { return (&[], &[]) };
    rest.split_at(usize::from(count % 16).min(rest.len()))
}

/// The stream in pieces of those lengths, and what is left over as the last one.
pub fn pieces<'a>(cuts: &'a [u8], stream: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = stream;
    let cut = cuts.iter().map(|cut| Some(usize::from(*cut))).chain([None]);
    cut.map(move |cut| {
        let (piece, behind) = rest.split_at(cut.unwrap_or(rest.len()).min(rest.len()));
        rest = behind;
        piece
    })
}

/// A directory in memory of this process alone, empty; it is used again by every input.
pub fn with_directory<T>(act: impl FnOnce(&Path) -> T) -> T {
    thread_local!(static DIRECTORY: RefCell<Option<PathBuf>> = const { RefCell::new(None) });
    DIRECTORY.with_borrow_mut(|kept| {
        let path = kept.get_or_insert_with(|| {
            let memory = Path::new("/dev/shm");
            let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
            base.join(format!("zerovisor-fuzz.{}", std::process::id()))
        });
        // One of an earlier process with this pid, or of the input before.
        let _missing = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).expect("a directory can be made");
        let result = act(path);
        let _gone = std::fs::remove_dir_all(&path);
        result
    })
}

/// Writes a file as our programs do: for its user alone.
pub fn put(path: &Path, bytes: &[u8]) {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(bytes)).expect("a file can be written");
}

/// Makes a directory as our programs do: for its user alone.
pub fn make_dir(path: &Path) {
    DirBuilder::new().recursive(true).mode(0o700).create(path).expect("a directory can be made");
}

/// That `text` can be written to a terminal without moving, reordering or hiding anything. Lines may end, and colours may be set where
/// `colours` says so.
pub fn assert_safe(text: &str, colours: bool) {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let sgr = rest.strip_prefix("\x1b[").and_then(|body| {
            let end = body.find(|c: char| !(c.is_ascii_digit() || c == ';' || c == ':'))?;
            body[end..].strip_prefix('m')
        });
        rest = match sgr {
            Some(behind) if colours => behind,
            Some(_) | None => {
                assert!(first == '\n' || !zerovisor_core::escape::is_dangerous(first), "{first:?} in {text:?}");
                &rest[first.len_utf8()..]
            }
        };
    }
}
