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

pub(crate) fn measure() {
    head("attach to the whole screen shown, 80x24, a colour a cell");
    let own = std::env::current_exe().expect("own path");
    let script = format!("exec {} kid screen", own.display());
    let mut tmux = Vec::new();
    for kind in [Kind::Tmux, Kind::Attach] {
        if kind.needs().is_some_and(|program| !installed(program, "redraw")) {
            continue;
        }
        let session = Session::start(kind, &script);
        wait_until("the screen is full", || session.screen().contains(MARK));
        let once = || {
            let began = Instant::now();
            Typist::at(&session.client()).wait_for(MARK.as_bytes());
            began.elapsed().as_secs_f64() * 1e3
        };
        let took: Vec<f64> = (0..runs() * 10).map(|_| once()).collect();
        row(kind.name(), "ms", took.clone());
        match kind {
            Kind::Tmux => tmux = took,
            Kind::Bare | Kind::Dtach | Kind::Attach | Kind::Front => {
                if !tmux.is_empty() {
                    held(kind.name(), "x tmux", ratios(&took, &tmux), Budget::AtMost(1.0));
                }
            }
        }
    }
}
