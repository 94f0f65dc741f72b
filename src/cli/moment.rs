//! Moments as operators write them.

use crate::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};
use std::time::{SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A moment in milliseconds since 1970, from how long ago it was or as RFC 3339 writes it.
pub(super) fn moment(text: &str) -> Result<u64, String> {
    moment_at(text, now_ms())
        .ok_or_else(|| "write how long ago (45s, 30m, 2h, 7d) or 2026-11-25T10:00:00Z".to_owned())
}

fn moment_at(text: &str, now_ms: u64) -> Option<u64> {
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok();
    }
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let unit_ms = match unit {
        "s" => SECOND_MS,
        "m" => MINUTE_MS,
        "h" => HOUR_MS,
        "d" => DAY_MS,
        _ => return None,
    };
    let ago_ms = number.parse::<u64>().ok()?.checked_mul(unit_ms)?;
    Some(now_ms.saturating_sub(ago_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_how_long_ago_or_a_date() {
        let now_ms = 1_800_000_000_000;
        let cases = [
            ("0s", Some(now_ms)),
            ("45s", Some(now_ms - 45_000)),
            ("30m", Some(now_ms - 1_800_000)),
            ("2h", Some(now_ms - 7_200_000)),
            ("7d", Some(now_ms - 604_800_000)),
            ("99999d", Some(0)),
            ("2027-01-15T08:00:00Z", Some(now_ms)),
            ("2027-01-15T10:00:00+02:00", Some(now_ms)),
            ("2", None),
            ("h", None),
            ("-2h", None),
            ("2 h", None),
            ("2weeks", None),
            ("99999999999999999999d", None),
            ("2027-01-15", None),
            ("1969-01-01T00:00:00Z", None),
            ("", None),
        ];
        for (text, at) in cases {
            assert_eq!(moment_at(text, now_ms), at, "{text}");
        }
    }
}
