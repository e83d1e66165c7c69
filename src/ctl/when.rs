//! Points in time, as users write them and as they are shown.

use jiff::civil;
use jiff::{Timestamp as Instant, Zoned};
use zerovisor_core::units::{Span, Timestamp};

/// A text that is no point in time.
#[derive(Debug, thiserror::Error)]
#[error("'{}' is not a time: write RFC 3339, a date, HH:MM, or a span ago such as 10m", .0.escape_debug())]
pub struct NotATime(String);

/// RFC 3339 in UTC to the microsecond.
pub fn rfc3339(at: Timestamp) -> String {
    let instant = i64::try_from(at.0).ok().and_then(|us| Instant::from_microsecond(us).ok()).unwrap_or(Instant::MAX);
    format!("{instant:.6}")
}

/// The present, as the core counts it.
pub fn now() -> Timestamp {
    of(Instant::now())
}

fn of(instant: Instant) -> Timestamp {
    Timestamp(u64::try_from(instant.as_microsecond()).unwrap_or(0))
}

/// The point in time a user means: a span ago, RFC 3339, or a date or time of day where `now` is. A time of day that has not been
/// yet is yesterday's.
///
/// # Errors
/// [`NotATime`].
pub fn parse(text: &str, now: &Zoned) -> Result<Timestamp, NotATime> {
    let wrong = || NotATime(text.chars().take(60).collect());
    if let Ok(span) = text.parse::<Span>() {
        return Ok(of(now.timestamp()).minus(span.0));
    }
    if let Ok(instant) = text.parse::<Instant>() {
        return Ok(of(instant));
    }
    let at =
        |date: civil::DateTime| date.to_zoned(now.time_zone().clone()).map(|at| at.timestamp()).map_err(|_| wrong());
    // The parser of times takes dates with a time as well, and forgets the date.
    if let Some(time) = text.parse::<civil::Time>().ok().filter(|_| !text.contains('-')) {
        let today = at(now.date().to_datetime(time))?;
        let yesterday = || now.date().yesterday().map_err(|_| wrong());
        return Ok(of(if today <= now.timestamp() { today } else { at(yesterday()?.to_datetime(time))? }));
    }
    text.parse::<civil::DateTime>().map_err(|_| wrong()).and_then(at).map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_people_write_them() {
        let now: Zoned = "2026-03-04T12:00:00+01:00[Europe/Berlin]".parse().unwrap();
        for (text, at) in [
            ("10m", "2026-03-04T10:50:00.000000Z"),
            ("2026-03-01T00:00:00.5Z", "2026-03-01T00:00:00.500000Z"),
            ("2026-03-01T00:00:00+01:00", "2026-02-28T23:00:00.000000Z"),
            ("11:30", "2026-03-04T10:30:00.000000Z"),
            ("13:30", "2026-03-03T12:30:00.000000Z"),
            ("11:30:15", "2026-03-04T10:30:15.000000Z"),
            ("2026-03-01", "2026-02-28T23:00:00.000000Z"),
            ("2026-03-01 10:00", "2026-03-01T09:00:00.000000Z"),
        ] {
            assert_eq!(parse(text, &now).map(rfc3339).unwrap(), at, "{text}");
        }
        for bad in ["", "yesterday", "25:00", "2026-13-01"] {
            assert!(parse(bad, &now).is_err(), "{bad}");
        }
    }
}
