//! Signals by name and number, as Linux numbers them on every architecture we build for but MIPS and SPARC (signal(7)).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The standard signals, by number.
const NAMES: [(i32, &str); 31] = [
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (4, "ILL"),
    (5, "TRAP"),
    (6, "ABRT"),
    (7, "BUS"),
    (8, "FPE"),
    (9, "KILL"),
    (10, "USR1"),
    (11, "SEGV"),
    (12, "USR2"),
    (13, "PIPE"),
    (14, "ALRM"),
    (15, "TERM"),
    (16, "STKFLT"),
    (17, "CHLD"),
    (18, "CONT"),
    (19, "STOP"),
    (20, "TSTP"),
    (21, "TTIN"),
    (22, "TTOU"),
    (23, "URG"),
    (24, "XCPU"),
    (25, "XFSZ"),
    (26, "VTALRM"),
    (27, "PROF"),
    (28, "WINCH"),
    (29, "IO"),
    (30, "PWR"),
    (31, "SYS"),
];
/// The first real-time signal a program can use; the two below are the C library's own.
const RTMIN: i32 = 34;
/// The last signal there is.
const RTMAX: i32 = 64;

/// A signal that can be sent: 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "i32", into = "i32")]
pub struct Signal(i32);

/// A text or number that names no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a signal: write a name such as TERM or SIGUSR1, RTMIN+1, or a number from 1 to 64")]
pub struct NotASignal(String);

impl Signal {
    /// Hang up.
    pub const HUP: Signal = Signal(1);
    /// Interrupt from the keyboard.
    pub const INT: Signal = Signal(2);
    /// Quit from the keyboard.
    pub const QUIT: Signal = Signal(3);
    /// The one that cannot be caught.
    pub const KILL: Signal = Signal(9);
    /// The polite request to end.
    pub const TERM: Signal = Signal(15);
    /// Continue if stopped.
    pub const CONT: Signal = Signal(18);

    /// The kernel's number.
    pub fn number(self) -> i32 {
        self.0
    }
}

impl TryFrom<i32> for Signal {
    type Error = NotASignal;

    fn try_from(number: i32) -> Result<Signal, NotASignal> {
        if (1..=RTMAX).contains(&number) { Ok(Signal(number)) } else { Err(NotASignal(number.to_string())) }
    }
}

impl From<Signal> for i32 {
    fn from(signal: Signal) -> i32 {
        signal.0
    }
}

impl FromStr for Signal {
    type Err = NotASignal;

    fn from_str(text: &str) -> Result<Signal, NotASignal> {
        let wrong = || NotASignal(text.chars().take(40).collect());
        if let Ok(number) = text.parse::<i32>() {
            return Signal::try_from(number).map_err(|_| wrong());
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(above) = name.strip_prefix("RTMIN") {
            let above: i32 = if above.is_empty() { 0 } else { above.parse().map_err(|_| wrong())? };
            let number = RTMIN.checked_add(above).filter(|n| (RTMIN..=RTMAX).contains(n));
            return number.map(Signal).ok_or_else(wrong);
        }
        NAMES.iter().find(|(_, known)| *known == name).map(|(number, _)| Signal(*number)).ok_or_else(wrong)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => write!(f, "SIG{name}"),
            None if self.0 >= RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [("TERM", 15), ("sigusr1", 10), ("9", 9), ("RTMIN+1", 35), ("SIGRTMIN", 34)] {
            assert_eq!(text.parse::<Signal>().map(Signal::number), Ok(number), "{text}");
        }
        for bad in ["", "NOPE", "0", "65", "-1", "RTMIN+99", "SIG"] {
            assert!(bad.parse::<Signal>().is_err(), "{bad}");
        }
        assert_eq!(Signal(15).to_string(), "SIGTERM");
        assert_eq!(Signal(36).to_string(), "SIGRTMIN+2");
    }
}
