//! When the next certificate is asked for: in good time, and never so often that the authority
//! would lose patience.

use std::time::Duration;

/// Tries that the authority counts, in any hour, over restarts too: Let's Encrypt allows five that
/// fail for a name.
pub const TRIES_PER_HOUR_MAX: usize = 4;

/// Pauses after failures in a row; the last one goes on.
const PAUSES_S: [u64; 5] = [5 * 60, 15 * 60, 30 * 60, 60 * 60, 6 * 60 * 60];

/// The pause after a failure that the authority has not seen, such as a network that is not up yet.
const PAUSE_UNREACHED_S: u64 = 60;

/// The longest wait that an authority may ask for.
const PAUSE_MAX_S: u64 = 24 * 60 * 60;

/// Of the lifetime of a certificate, the part after which the next one is asked for. With 90 days,
/// 30 are left for what may be wrong.
const RENEW_AFTER: (u64, u64) = (2, 3);

/// The part of the lifetime over which the moment is spread, so that not everybody comes at once.
const SPREAD: u64 = 48;

const HOUR_S: u64 = 60 * 60;

/// Decides; all times in seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Tries in a row that failed.
    pub failures: u32,
    /// Not before this moment, after a failure.
    pub not_before_s: u64,
}

impl Plan {
    /// When a certificate that counts from and until these moments is replaced. `fresh` is random.
    pub fn renewal_at(not_before_s: u64, not_after_s: u64, fresh: u32) -> u64 {
        let lifetime = not_after_s.saturating_sub(not_before_s);
        let (part, whole) = RENEW_AFTER;
        let spread =
            (lifetime / SPREAD).saturating_mul(u64::from(fresh)) / (u64::from(u32::MAX) + 1);
        not_before_s
            .saturating_add(lifetime / whole * part)
            .saturating_sub(spread)
    }

    /// The first moment at which the authority may be asked again, after these tries.
    pub fn free_at(tries: &[u64]) -> u64 {
        let counted = tries.len().checked_sub(TRIES_PER_HOUR_MAX);
        let oldest = counted.and_then(|place| tries.get(place));
        oldest.map_or(0, |at| at.saturating_add(HOUR_S))
    }

    /// After a failure at that moment.
    pub fn after_failure(self, now_s: u64, counts: bool, retry_after: Option<Duration>) -> Plan {
        let pause_s = if counts {
            let place = usize::try_from(self.failures).unwrap_or(usize::MAX);
            PAUSES_S[place.min(PAUSES_S.len() - 1)]
        } else {
            PAUSE_UNREACHED_S
                .saturating_mul(u64::from(self.failures) + 1)
                .min(HOUR_S)
        };
        let wished_s = retry_after
            .map_or(0, |wished| wished.as_secs())
            .min(PAUSE_MAX_S);
        Plan {
            failures: self.failures.saturating_add(1),
            not_before_s: now_s.saturating_add(pause_s.max(wished_s)),
        }
    }

    /// Whether a moment lies within the hour before `now_s`; one in the future too, because a clock
    /// was put right since.
    pub fn counts(at_s: u64, now_s: u64) -> bool {
        now_s.saturating_sub(at_s) < HOUR_S && at_s <= now_s.saturating_add(HOUR_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: u64 = 24 * HOUR_S;
    const NOW: u64 = 1_800_000_000;

    #[test]
    fn a_certificate_is_replaced_when_a_third_of_its_time_is_left_or_a_little_more() {
        let end = NOW + 90 * DAY_S;
        assert_eq!(Plan::renewal_at(NOW, end, 0), NOW + 60 * DAY_S);
        let earliest = Plan::renewal_at(NOW, end, u32::MAX);
        assert!(
            (NOW + 58 * DAY_S..NOW + 59 * DAY_S).contains(&earliest),
            "{earliest}"
        );
        // Six days, as short as Let's Encrypt makes them.
        assert_eq!(Plan::renewal_at(NOW, NOW + 6 * DAY_S, 0), NOW + 4 * DAY_S);
        assert_eq!(Plan::renewal_at(NOW, NOW, 7), NOW);
        assert_eq!(Plan::renewal_at(NOW, 0, 7), NOW);
    }

    #[test]
    fn a_day_of_failures_has_no_hour_with_more_tries_than_allowed() {
        let (mut plan, mut now, mut tries) = (Plan::default(), NOW, Vec::new());
        while now < NOW + DAY_S {
            tries.push(now);
            plan = plan.after_failure(now, true, None);
            now = plan.not_before_s.max(Plan::free_at(&tries));
        }
        for (place, from) in tries.iter().enumerate() {
            let within = tries[place..].iter().filter(|at| **at < from + HOUR_S);
            assert!(within.count() <= TRIES_PER_HOUR_MAX);
        }
        assert!((6..=10).contains(&tries.len()), "{tries:?}");
    }

    #[test]
    fn restarts_and_wishes_do_not_get_around_the_limit() {
        assert_eq!(Plan::free_at(&[]), 0);
        assert_eq!(Plan::free_at(&[NOW, NOW + 1, NOW + 2]), 0);
        assert_eq!(
            Plan::free_at(&[NOW, NOW + 1, NOW + 2, NOW + 3]),
            NOW + HOUR_S
        );
        assert_eq!(
            Plan::free_at(&[NOW, NOW + 1, NOW + 2, NOW + 3, NOW + 4]),
            NOW + 1 + HOUR_S
        );
        assert!(Plan::counts(NOW, NOW) && Plan::counts(NOW, NOW + HOUR_S - 1));
        assert!(!Plan::counts(NOW, NOW + HOUR_S) && !Plan::counts(NOW + DAY_S, NOW));
    }

    #[test]
    fn what_the_authority_asks_for_is_granted_within_a_bound() {
        let plan = Plan::default();
        let wished = |s| Some(Duration::from_secs(s));
        assert_eq!(plan.after_failure(NOW, true, None).not_before_s, NOW + 300);
        assert_eq!(
            plan.after_failure(NOW, true, wished(7_200)).not_before_s,
            NOW + 7_200
        );
        assert_eq!(
            plan.after_failure(NOW, true, wished(1)).not_before_s,
            NOW + 300
        );
        assert_eq!(
            plan.after_failure(NOW, true, wished(u64::MAX)).not_before_s,
            NOW + DAY_S
        );
        let mut unreached = plan;
        for _ in 0..100 {
            unreached = unreached.after_failure(NOW, false, None);
        }
        assert_eq!(unreached.not_before_s, NOW + HOUR_S);
    }
}
