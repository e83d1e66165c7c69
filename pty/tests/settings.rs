//! Size, foreground group, end of file, and how a new terminal is set.

use super::*;
use crate::PtyError;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::termios::{InputFlags, LocalFlags, OutputFlags, SetArg, cfmakeraw, tcgetattr, tcsetattr};

#[tokio::test]
async fn a_resize_reaches_the_program() {
    let script = "trap 'stty size; exit 7' WINCH; stty size; while :; do sleep 0.02; done";
    let Some((mut terminal, mut child)) = run(script) else { return };
    terminal.shows("24 80\r\n").await;
    let size = Size::new(132, 43).unwrap();
    terminal.control.resize(size).unwrap();
    assert_eq!(terminal.control.size().unwrap(), size);
    assert_eq!(soon("the end", terminal.finish(&mut child)).await.code(), Some(7));
    assert_eq!(terminal.text(), "24 80\r\n43 132\r\n");
}

#[tokio::test]
async fn a_size_of_the_programs_own_is_read_or_named() {
    let Some((mut terminal, mut child)) = run("stty cols 100 rows 50; echo set; read go; stty cols 2000; echo odd")
    else {
        return;
    };
    terminal.shows("set").await;
    assert_eq!(terminal.control.size().unwrap(), Size::new(100, 50).unwrap());
    assert_eq!(terminal.writer.try_write(b"go\n").unwrap(), 3);
    soon("the end", terminal.finish(&mut child)).await;
    assert!(matches!(terminal.control.size(), Err(PtyError::OddSize(_))));
}

#[tokio::test]
async fn the_largest_and_the_smallest_terminal_can_be_had() {
    for (cols, rows) in [(1, 1), (crate::COLS_MAX, crate::ROWS_MAX)] {
        let size = Size::new(cols, rows).unwrap();
        let (master, _slave) = sized(size);
        let (_, _, control) = master.split().unwrap();
        assert_eq!(control.size().unwrap(), size);
    }
}

#[tokio::test]
async fn the_foreground_group_is_the_leaders_and_then_nobodys() {
    let (mut terminal, slave) = terminal();
    assert_eq!(terminal.control.foreground_group(), None);
    let Some(mut child) = lead(&["sh", "-c", "echo ready; read go"], &slave) else { return };
    drop(slave);
    terminal.shows("ready").await;
    assert_eq!(terminal.control.foreground_group(), Some(i32::try_from(child.id()).unwrap()));
    terminal.writer.try_write(b"\n").unwrap();
    soon("the end", terminal.finish(&mut child)).await;
    assert_eq!(terminal.control.foreground_group(), None);
}

#[tokio::test]
async fn the_end_of_file_byte_ends_the_input_of_a_canonical_reader() {
    let Some((mut terminal, mut child)) = run("stty -echo eof ^X; echo ready; exec cat") else { return };
    terminal.shows("ready").await;
    let byte = terminal.control.end_of_file_byte().unwrap();
    assert_eq!(byte, 0x18);
    terminal.writer.try_write(b"last line\n").unwrap();
    terminal.writer.try_write(&[byte]).unwrap();
    assert!(soon("the end", terminal.finish(&mut child)).await.success());
    assert_eq!(terminal.text(), "ready\r\nlast line\r\n");
}

#[tokio::test]
async fn there_is_no_end_of_file_byte_where_it_would_be_a_key() {
    let (terminal, slave) = terminal();
    assert_eq!(terminal.control.end_of_file_byte(), Some(4));
    let mut termios = tcgetattr(slave.as_fd()).unwrap();
    termios.control_chars[libc::VEOF] = libc::_POSIX_VDISABLE;
    tcsetattr(slave.as_fd(), SetArg::TCSANOW, &termios).unwrap();
    assert_eq!(terminal.control.end_of_file_byte(), None);
    cfmakeraw(&mut termios);
    termios.control_chars[libc::VEOF] = 4;
    tcsetattr(slave.as_fd(), SetArg::TCSANOW, &termios).unwrap();
    assert_eq!(terminal.control.end_of_file_byte(), None);
}

#[tokio::test]
async fn a_new_terminal_has_the_kernels_settings_and_knows_utf8() {
    let (_terminal, slave) = terminal();
    let termios = tcgetattr(slave.as_fd()).unwrap();
    assert_eq!(termios.input_flags, InputFlags::ICRNL | InputFlags::IXON | InputFlags::IUTF8);
    assert_eq!(termios.output_flags, OutputFlags::OPOST | OutputFlags::ONLCR);
    assert!(termios.local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG));
}

#[tokio::test]
async fn the_childs_end_blocks_and_ours_does_not() {
    let (mut terminal, slave) = terminal();
    let flags = OFlag::from_bits_retain(fcntl(slave.as_fd(), FcntlArg::F_GETFL).unwrap());
    assert!(!flags.contains(OFlag::O_NONBLOCK));
    assert_eq!(terminal.read(), Read::Empty);
}
