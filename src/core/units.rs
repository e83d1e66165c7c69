//! Quantities with their units: points in time, spans, sizes; read from and shown to people.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in wall-clock time: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The span from `earlier` to this point; nothing when the clock was set back in between.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// This point later by `span`, saturating.
    pub fn plus(self, span: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(micros(span)))
    }

    /// This point earlier by `span`, saturating at 1970.
    pub fn minus(self, span: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(micros(span)))
    }
}

/// A span in whole microseconds, saturating.
pub fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// A text that is no span, size or range of spans.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a span of time.
    #[error("'{0}' is not a span of time: write a number with us, ms, s, m, h or d, such as 500ms, 10s or 1m30s")]
    Span(String),
    /// Not a size.
    #[error("'{0}' is not a size: write bytes or a number with K, M, G or T (powers of 1024), such as 64M")]
    Size(String),
    /// Not `MIN..MAX`, or MIN above MAX.
    #[error("'{0}' is not a range of spans: write MIN..MAX with MIN at most MAX, such as 100ms..30s")]
    Range(String),
}

/// A span of time as users write it: `500ms`, `10s`, `1m30s`, `2h`, `7d`; a bare number is seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Span(pub Duration);

/// Longest span that is accepted, a hundred years, so that sums of spans never overflow.
const SPAN_MAX: Duration = Duration::from_secs(100 * 366 * 86_400);

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "" | "s" | "sec" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        "w" => 604_800.0,
        _ => return None,
    })
}

fn split_number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text[..end].parse().ok().map(|number| (number, &text[end..]))
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Span, UnitError> {
        let wrong = || UnitError::Span(text.chars().take(40).collect());
        let (mut rest, mut seconds) = (text, 0.0);
        if text.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let (number, tail) = split_number(rest).ok_or_else(wrong)?;
            let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            if tail[..end].is_empty() && end < tail.len() {
                return Err(wrong());
            }
            seconds += number * unit_seconds(&tail[..end]).ok_or_else(wrong)?;
            rest = &tail[end..];
        }
        match Duration::try_from_secs_f64(seconds) {
            Ok(span) if span <= SPAN_MAX => Ok(Span(span)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Span {
    /// Two significant units at most: `1.25s`, `3m12s`, `2d4h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let text = match seconds {
            0 if self.0.as_micros() < 1000 => format!("{}us", self.0.as_micros()),
            0 => format!("{}ms", self.0.as_millis()),
            1..60 => {
                let text = format!("{:.2}", self.0.as_secs_f64());
                format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
            }
            60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
            3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
            _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
        };
        f.pad(&text)
    }
}

/// `MIN..MAX`: the first and the longest delay between restarts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SpanRange {
    /// The first delay.
    pub min: Duration,
    /// Delays double up to this.
    pub max: Duration,
}

impl FromStr for SpanRange {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<SpanRange, UnitError> {
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let range = SpanRange { min: min.parse::<Span>()?.0, max: max.parse::<Span>()?.0 };
        if range.min <= range.max { Ok(range) } else { Err(UnitError::Range(text.chars().take(40).collect())) }
    }
}

impl fmt::Display for SpanRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", Span(self.min), Span(self.max))
    }
}

/// A number of bytes; shown in IEC units.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Bytes, UnitError> {
        let wrong = || UnitError::Size(text.chars().take(40).collect());
        let (number, unit) = split_number(text).ok_or_else(wrong)?;
        let power = match unit.trim_end_matches("iB").trim_end_matches('B').to_ascii_uppercase().as_str() {
            "" => 0,
            "K" => 10,
            "M" => 20,
            "G" => 30,
            "T" => 40,
            _ => return Err(wrong()),
        };
        let bytes = number * f64::from(1u32 << (power % 30)) * if power >= 30 { f64::from(1u32 << 30) } else { 1.0 };
        // 2^60 is beyond any disk or memory here and far from where f64 loses whole bytes of interest.
        if !(0.0..=1.152_921_504_606_847e18).contains(&bytes) {
            return Err(wrong());
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just above")]
        Ok(Bytes(bytes as u64))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
        let mut value = self.0 as f64;
        let mut units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].iter();
        let mut unit = units.next().unwrap_or(&"B");
        while value >= 1023.95 {
            value /= 1024.0;
            unit = units.next().unwrap_or(unit);
        }
        let text = if self.0 < 1024 { format!("{} B", self.0) } else { format!("{value:.1} {unit}") };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_write_them() {
        for (text, micros) in
            [("500ms", 500_000), ("10", 10_000_000), ("1m30s", 90_000_000), ("0.5s", 500_000), ("0", 0)]
        {
            assert_eq!(text.parse::<Span>().map(|s| s.0.as_micros()), Ok(micros), "{text}");
        }
        for bad in ["", "s", "10x", "1..2", "-1s", "1e9", "99999999d", "nan", "1 s"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_read_and_show() {
        for (text, bytes) in [("64M", 64 << 20), ("1GiB", 1 << 30), ("1.5K", 1536), ("7", 7), ("2T", 2 << 40)] {
            assert_eq!(text.parse::<Bytes>(), Ok(Bytes(bytes)), "{text}");
        }
        assert!("banana".parse::<Bytes>().is_err());
        assert!("99999999999T".parse::<Bytes>().is_err());
        assert_eq!(Bytes(1023).to_string(), "1023 B");
        assert_eq!(Bytes(1 << 20).to_string(), "1.0 MiB");
        assert_eq!(Bytes(u64::MAX).to_string(), "16.0 EiB");
    }

    #[test]
    fn a_range_of_delays_is_ordered() {
        assert_eq!("0..0".parse::<SpanRange>().map(|r| r.max), Ok(Duration::ZERO));
        assert!("2s..1s".parse::<SpanRange>().is_err());
    }
}
