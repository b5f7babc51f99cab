//! The `Date` header against our own clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `Date` minus own clock, in milliseconds. `sent` is our clock when the request went out, `took`
/// the time until the head of the answer was there: the server wrote its date about half way.
pub(crate) fn offset_ms(header: &str, sent: SystemTime, took: Duration) -> Option<i64> {
    let theirs = imf_fixdate(header)?.checked_mul(1000)?;
    let middle = sent.checked_add(took / 2)?;
    let ours = i64::try_from(middle.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()?;
    theirs.checked_sub(ours)
}

/// Seconds since 1970 of an IMF-fixdate (RFC 9110, section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
/// The two obsolete forms are not read: no server that a PDS runs behind has written them for
/// decades, and a wrong guess would blame a clock.
fn imf_fixdate(header: &str) -> Option<i64> {
    let raw = header.trim().as_bytes();
    if raw.len() != 29 || !raw.is_ascii() {
        return None;
    }
    let text = std::str::from_utf8(raw).ok()?;
    let shape = (&text[3..5], &text[7..8], &text[11..12], &text[16..17], &text[19..20], &text[22..23], &text[25..]);
    if shape != (", ", " ", " ", " ", ":", ":", " GMT") {
        return None;
    }
    let day_name = &text[..3];
    if !["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].contains(&day_name) {
        return None;
    }
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == &text[8..11])?;
    let second = number(&text[23..25])?.min(59); // 60 is a leap second
    let date = jiff::civil::DateTime::new(
        i16::try_from(number(&text[12..16])?).ok()?,
        i8::try_from(month + 1).ok()?,
        i8::try_from(number(&text[5..7])?).ok()?,
        i8::try_from(number(&text[17..19])?).ok()?,
        i8::try_from(number(&text[20..22])?).ok()?,
        i8::try_from(second).ok()?,
        0,
    )
    .ok()?;
    Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

fn number(digits: &str) -> Option<u32> {
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(imf_fixdate("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(imf_fixdate("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
    }

    #[test]
    fn other_things_are_no_date() {
        for raw in [
            "",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 25:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMé",
            "Sün, 06 Nov 1994 08:49:37 GM",
        ] {
            assert_eq!(imf_fixdate(raw), None, "{raw}");
        }
    }

    #[test]
    fn the_offset_is_taken_at_the_middle() {
        let sent = UNIX_EPOCH + Duration::from_secs(784_111_767);
        let offset = offset_ms("Sun, 06 Nov 1994 08:49:37 GMT", sent, Duration::from_secs(4));
        assert_eq!(offset, Some(8_000));
    }
}
