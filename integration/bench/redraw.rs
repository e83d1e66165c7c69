//! From starting a client to the whole screen shown: 80 by 24 cells of coloured text.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use super::rig::{Budget, head, held, installed, ratios, row, runs, wait_until};
use super::sessions::{Kind, Session};
use super::typist::Typist;

/// In the bottom right corner, drawn last by everybody.
const MARK: &str = "<DONE>";

/// `kid screen`: fills a terminal, says so in the file `pid`, and stays until it is killed.
pub(crate) fn kid() -> ExitCode {
    let mut picture = String::from("\x1b[2J");
    for row in 1..=24 {
        picture += &format!("\x1b[{row};1H");
        let cell = |column: usize| {
            format!("\x1b[38;5;{}m{}", (row * 7 + column) % 200 + 16, char::from(b'a' + (column % 26) as u8))
        };
        picture.extend((1..=if row == 24 { 74 } else { 80 }).map(cell));
    }
    picture += &format!("\x1b[0;1;7m{MARK}\x1b[0m");
    let mut out = std::io::stdout();
    out.write_all(picture.as_bytes()).and_then(|()| out.flush()).expect("the terminal takes it");
    std::fs::write("pid.new", std::process::id().to_string()).expect("a file");
    std::fs::rename("pid.new", "pid").expect("a file");
    loop {
        std::thread::park();
    }
}

/// The time of one attach, in milliseconds.
fn attach(session: &Session) -> f64 {
    let began = Instant::now();
    Typist::at(&session.client()).wait_for(MARK.as_bytes());
    began.elapsed().as_secs_f64() * 1e3
}

pub(crate) fn measure() {
    head("attach to the whole screen shown, 80x24, a colour a cell");
    let own = std::env::current_exe().expect("own path");
    let script = format!("exec {} kid screen", own.display());
    let full = |kind: Kind| {
        let session = Session::start(kind, &script);
        wait_until("the screen is full", || session.screen().contains(MARK));
        session
    };
    let ours = full(Kind::Attach);
    let theirs = installed("tmux", "redraw").then(|| full(Kind::Tmux));
    let (mut took, mut tmux) = (Vec::new(), Vec::new());
    for _ in 0..runs() * 10 {
        tmux.extend(theirs.as_ref().map(attach));
        took.push(attach(&ours));
    }
    row(Kind::Attach.name(), "ms", took.clone());
    if theirs.is_some() {
        row(Kind::Tmux.name(), "ms", tmux.clone());
        held(Kind::Attach.name(), "x tmux", ratios(&took, &tmux), Budget::AtMost(1.0));
    }
}
