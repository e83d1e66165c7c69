//! Real programs.

use super::tmux::{Tmux, is_installed, read, skip, wait_for};
use super::{assert_pictured, model, of_capture};

/// One program, what is typed into it, and a text that shows it has come to rest.
struct Story {
    program: &'static str,
    script: &'static str,
    /// Keys in tmux's names, sent one after another once the text beside them shows.
    typed: &'static [(&'static str, &'static str)],
    rest: &'static str,
}

fn tell(story: &Story) {
    let what = format!("a picture of {}", story.program);
    let Some(tmux) = Tmux::start(&what) else { return };
    if !is_installed(story.program) {
        return skip(&what, story.program);
    }
    let raw = tmux.record("original", story.script);
    let plain = || tmux.run(["capture-pane", "-p", "-t", "original"]);
    for (text, keys) in story.typed {
        wait_for(text, || plain().contains(text));
        tmux.run(["send-keys", "-t", "original", keys]);
    }
    wait_for(story.rest, || tmux.see("original").rows.contains(story.rest));
    // All that tmux has drawn is in the file when the model shows the same text.
    wait_for("the same text in the model", || {
        model(80, 24, &read(&raw)).rows_text() == of_capture(&tmux.see("original").rows).rows_text()
    });
    let bytes = read(&raw);
    assert_pictured(&tmux, "original", &bytes, &what);
    assert_taken_up(&bytes, &what);
}

/// A picture at any byte, and then the rest, gives the same as all bytes: some hundred places, and each byte of the beginning and the end.
fn assert_taken_up(bytes: &[u8], what: &str) {
    let whole = model(80, 24, bytes).picture();
    let ends = (0..bytes.len().min(100)).chain(bytes.len().saturating_sub(100)..=bytes.len());
    for at in ends.chain((0..bytes.len()).step_by(bytes.len() / 100 + 1)) {
        let mut copy = model(80, 24, &model(80, 24, &bytes[..at]).picture());
        copy.feed(&bytes[at..], &mut Vec::new());
        assert!(copy.picture() == whole, "{what}, taken up at {at} of {}", bytes.len());
    }
}

#[test]
fn bash() {
    tell(&Story {
        program: "bash",
        script: "export PS1='\\[\\e[1;32m\\]prompt\\[\\e[0m\\]\\$ '; exec bash --norc --noprofile",
        typed: &[
            ("prompt", "for i in $(seq 40); do printf '\\033[3%dm%d\\033[m ' $((i % 8)) $i; done; echo"),
            ("echo", "Enter"),
            ("39 40", "ls -d /proc/self/*"),
            ("/proc/self/*", "Enter"),
            ("/proc/self/wchan", "echo at the end, not yet e"),
        ],
        rest: "not yet e",
    });
}

#[test]
fn vim() {
    tell(&Story {
        program: "vim",
        script: "seq 200 > numbers; export TERM=xterm-256color; \
            exec vim -u NONE -i NONE -N -n --cmd 'syntax on | set number hlsearch cursorline laststatus=2 ruler mouse=a' numbers",
        typed: &[
            ("200L", "50Gotext \u{4f60}\u{597d}"),
            ("INSERT", "Escape"),
            ("text", ":split"),
            (":split", "Enter"),
            ("numbers", "/12"),
            ("/12", "Enter"),
            ("112", "i"),
        ],
        rest: "INSERT",
    });
}

#[test]
fn less() {
    tell(&Story {
        program: "less",
        script: "echo primary; seq 500 > numbers; LESS= exec less numbers",
        typed: &[("numbers", "/77"), ("/77", "Enter")],
        rest: "\n99",
    });
}

#[test]
fn top() {
    tell(&Story {
        program: "top",
        script: "export TERM=xterm-256color; exec top -d 999",
        typed: &[("COMMAND", "z")],
        rest: "\x1b[31mTasks",
    });
}

#[test]
fn python() {
    tell(&Story {
        program: "python3",
        script: "export PYTHON_BASIC_REPL=; exec python3 -q",
        typed: &[
            (">>>", "print('\u{4f60}\u{597d} ' * 30)"),
            ("* 30)", "Enter"),
            ("\u{4f60}\u{597d} \u{4f60}", "1/0"),
            ("1/0", "Enter"),
            ("ZeroDivisionError", "def f("),
        ],
        rest: "def f(",
    });
}

#[test]
fn tput() {
    tell(&Story {
        program: "tput",
        script: "export TERM=xterm-256color; echo primary; tput smcup; tput csr 3 10; tput cup 4 7; tput setaf 3; tput smul; printf under; \
            tput rmul; tput smacs; printf lqk; tput rmacs; tput smkx; tput civis; tput sc; tput ich 3; tput setab 200; tput ech 5; tput op; \
            tput cup 10 0; tput ind; tput rev; printf 'at rest'; exec sleep 1000",
        typed: &[],
        rest: "at rest",
    });
}
