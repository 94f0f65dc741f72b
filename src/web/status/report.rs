//! What was counted, made into what is shown: pure arithmetic on what the app tells.

use crate::domain::tally::{Method, Milestone, Tally};
use crate::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, Timestamp};
use time::OffsetDateTime;

/// Replies in a calendar month that Meta does not charge (Meta's contract, section 6).
pub const FREE_REPLIES: u64 = 1_000;

/// From here on the page says that the free replies end.
const FREE_REPLIES_WARNED: u64 = 900;

/// As in the alert rules for Prometheus.
const WAITED_MS_MAX: u64 = 15 * MINUTE_MS;
const WRONG_IN_AN_HOUR_MAX: u64 = 100;
const DISK_FREE_PERCENT_MIN: u64 = 10;
const CERTIFICATE_ENDS_MS: u64 = 7 * DAY_MS;
/// Snapshots are made every hour.
const SNAPSHOT_AGE_MS_MAX: u64 = 3 * HOUR_MS;

/// How far back a page looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// Hour by hour.
    Hours48,
    /// Day by day.
    Days7,
    /// Day by day.
    Days30,
    /// Day by day.
    Days90,
}

impl Range {
    /// Every range.
    pub const ALL: [Range; 4] = [Range::Hours48, Range::Days7, Range::Days30, Range::Days90];

    /// Its name in an address.
    pub fn name(self) -> &'static str {
        match self {
            Range::Hours48 => "48h",
            Range::Days7 => "7d",
            Range::Days30 => "30d",
            Range::Days90 => "90d",
        }
    }

    /// Its name for people.
    pub fn words(self) -> &'static str {
        match self {
            Range::Hours48 => "48 hours",
            Range::Days7 => "7 days",
            Range::Days30 => "30 days",
            Range::Days90 => "90 days",
        }
    }

    /// The one of this name; seven days for any other.
    pub fn parse(name: &str) -> Range {
        (Range::ALL.into_iter())
            .find(|range| range.name() == name)
            .unwrap_or(Range::Days7)
    }

    /// How many bars, and how long each is.
    fn bars(self) -> (u64, u64) {
        match self {
            Range::Hours48 => (48, HOUR_MS),
            Range::Days7 => (7, DAY_MS),
            Range::Days30 => (30, DAY_MS),
            Range::Days90 => (90, DAY_MS),
        }
    }

    /// Whether its bars are hours.
    pub fn is_hourly(self) -> bool {
        self == Range::Hours48
    }

    /// When its first bar begins, in UTC.
    pub fn from(self, now: Timestamp) -> Timestamp {
        let (count, length_ms) = self.bars();
        let current = now.0 / length_ms * length_ms;
        Timestamp(current.saturating_sub((count - 1) * length_ms))
    }
}

/// When the calendar month of `now` began, in UTC.
pub fn month_of(now: Timestamp) -> Timestamp {
    let seconds = i64::try_from(now.seconds()).unwrap_or(0);
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let before_ms = u64::from(at.day() - 1) * DAY_MS + now.0 % DAY_MS;
    Timestamp(now.0.saturating_sub(before_ms))
}

/// What was counted, by bar and in all.
pub struct Series {
    /// Each bar with its beginning.
    pub bars: Vec<(Timestamp, Tally)>,
    /// All bars together.
    pub sum: Tally,
    /// The last hour or the one before, whatever has been counted since it began.
    pub last_hour: Tally,
    /// The last 24 hours.
    pub last_day: Tally,
    /// Replies since the calendar month began.
    pub replies_this_month: u64,
}

impl Series {
    /// From where on tallies are needed.
    pub fn needs_from(range: Range, now: Timestamp) -> Timestamp {
        range.from(now).min(month_of(now)).min(now.minus_ms(DAY_MS))
    }

    /// Of the hours from there on.
    pub fn new(range: Range, now: Timestamp, hours: &[(Timestamp, Tally)]) -> Series {
        let ((count, length_ms), from) = (range.bars(), range.from(now));
        let beginnings = (0..count).map(|place| from.plus_ms(place * length_ms));
        let mut series = Series {
            bars: beginnings.map(|at| (at, Tally::default())).collect(),
            sum: Tally::default(),
            last_hour: Tally::default(),
            last_day: Tally::default(),
            replies_this_month: 0,
        };
        let month = month_of(now);
        for (at, tally) in hours {
            if *at >= month {
                series.replies_this_month += tally.of(Tally::REPLIES);
            }
            if now.since_ms(*at) < HOUR_MS {
                series.last_hour.add(tally);
            }
            if now.since_ms(*at) < DAY_MS {
                series.last_day.add(tally);
            }
            let Some(place) = at.0.checked_sub(from.0).map(|ms| ms / length_ms) else {
                continue;
            };
            let bar = usize::try_from(place)
                .ok()
                .and_then(|at| series.bars.get_mut(at));
            if let Some((_, bar)) = bar {
                bar.add(tally);
                series.sum.add(tally);
            }
        }
        series
    }

    /// The methods that were used.
    pub fn methods(&self) -> Vec<Method> {
        let is_used = |method: &Method| {
            self.sum.reached(*method, Milestone::Begun) > 0
                || self.sum.reached(*method, Milestone::Bound) > 0
        };
        Method::ALL.into_iter().filter(is_used).collect()
    }
}

/// How a lane is doing.
#[derive(Clone, Debug, Default)]
pub struct LaneView {
    /// Its name.
    pub name: &'static str,
    /// What waits; a lower bound when there is much.
    pub waiting: usize,
    /// Since when the oldest waits.
    pub oldest: Option<Timestamp>,
    /// Why nothing is sent, and what to do about it.
    pub paused: Option<(String, Option<&'static str>)>,
    /// Since when nothing is taken, paused or not, why, and what to do about it.
    pub failing: Option<(Timestamp, String, Option<&'static str>)>,
}

/// How a service is doing.
#[derive(Clone, Debug)]
pub struct ServiceView {
    /// Its name in the configuration.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// Whether it is left alone for a while.
    pub is_left_alone: bool,
    /// When it last answered.
    pub answered_at: Option<Timestamp>,
    /// When it last did not, and why.
    pub failed: Option<(Timestamp, String)>,
}

/// The certificate of HTTPS.
#[derive(Clone, Debug)]
pub struct CertificateView {
    /// Until when the one that is served counts; nothing while there is none.
    pub ends: Option<Timestamp>,
    /// Why there is no newer one, if one was wanted.
    pub trouble: Option<String>,
}

/// What the parts of the program say that the web does not know.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    /// The certificate of HTTPS, where Portero has one of its own.
    pub certificate: Option<CertificateView>,
    /// Every lane.
    pub lanes: Vec<LaneView>,
    /// Every service.
    pub services: Vec<ServiceView>,
    /// Size of the store, in bytes.
    pub store_bytes: Option<u64>,
    /// Room left on its disk, and the size of that, in bytes.
    pub disk_bytes: Option<(u64, u64)>,
    /// The newest snapshot; `Some(None)` when they are made and there is none.
    pub snapshot: Option<Option<Timestamp>>,
    /// Whether the program has only just started: its first snapshot may be under way.
    pub is_young: bool,
    /// Whether the store answers, and takes what is received.
    pub takes_writes: bool,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Nobody can go on until something is done.
    Now,
    /// It can wait for the morning.
    Soon,
}

/// Something that somebody should look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// How bad.
    pub urgency: Urgency,
    /// What.
    pub what: String,
    /// What to do.
    pub help: String,
}

/// What is wrong now, the worst first.
pub fn alarms(outlook: &Outlook, series: &Series, now: Timestamp) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    let mut tell = |urgency, what: String, help: &str| {
        let help = help.to_owned();
        alarms.push(Alarm {
            urgency,
            what,
            help,
        });
    };
    if !outlook.takes_writes {
        tell(
            Urgency::Now,
            "The store refuses".to_owned(),
            "Webhooks are answered 503 and Meta repeats them. Look at the disk, then at the log.",
        );
    }
    for lane in &outlook.lanes {
        let words = super::words::lane(lane.name);
        if let Some((reason, advice)) = &lane.paused {
            tell(
                Urgency::Now,
                format!("{words}: paused. {reason}"),
                advice.unwrap_or("The log says more. It goes on by itself once that is put right."),
            );
        } else if let Some((since, reason, advice)) = &lane.failing {
            let minutes = now.since_ms(*since) / MINUTE_MS;
            tell(
                Urgency::Now,
                format!("{words}: nothing has been taken for {minutes} minutes. {reason}"),
                advice.unwrap_or(
                    "It is tried again and again. `portero outbox list` shows what waits.",
                ),
            );
        } else if let Some(oldest) = lane.oldest.filter(|at| now.since_ms(*at) > WAITED_MS_MAX) {
            let minutes = now.since_ms(oldest) / MINUTE_MS;
            tell(
                Urgency::Now,
                format!("{words}: the oldest has waited {minutes} minutes"),
                "`portero outbox list` shows it and why the last try failed.",
            );
        }
    }
    for service in outlook.services.iter().filter(|one| one.is_left_alone) {
        let reason = service.failed.as_ref().map_or("", |(_, reason)| reason);
        let name = &service.name;
        tell(
            Urgency::Now,
            format!("The service {name} gives no answer: {reason}"),
            "Its users cannot sign in. `portero check --service NAME --email ADDRESS` shows what it answers.",
        );
    }
    if let Some((free, size)) = outlook.disk_bytes
        && free.saturating_mul(100) < size.saturating_mul(DISK_FREE_PERCENT_MIN)
    {
        tell(
            Urgency::Now,
            "Less than a tenth of the store's disk is free".to_owned(),
            "Without room Portero refuses webhooks. Make room.",
        );
    }
    if let Some(certificate) = &outlook.certificate {
        let help = certificate.trouble.as_deref().unwrap_or(
            "`portero tls show` says how it stands, and the log why there is no new one.",
        );
        let ends_soon = |at: Timestamp| at <= now.plus_ms(CERTIFICATE_ENDS_MS);
        if certificate.ends.is_none_or(ends_soon) {
            tell(
                Urgency::Now,
                match certificate.ends {
                    None => "There is no certificate for HTTPS yet: nobody gets through".to_owned(),
                    Some(at) if at <= now => "The certificate of HTTPS has ended".to_owned(),
                    Some(_) => "The certificate of HTTPS ends within 7 days".to_owned(),
                },
                help,
            );
        } else if certificate.trouble.is_some() {
            tell(
                Urgency::Soon,
                "There is no new certificate for HTTPS".to_owned(),
                help,
            );
        }
    }
    if series.last_hour.of("sign_in.paused") > 0 {
        tell(
            Urgency::Now,
            "Nobody can sign in: there were too many wrong codes in all".to_owned(),
            "Whoever is signed in stays so. `portero audit list --since 24h` shows from which chats they came; it ends by itself within a day.",
        );
    }
    if let Some(last) = outlook.snapshot
        && !outlook.is_young
        && last.is_none_or(|at| now.since_ms(at) > SNAPSHOT_AGE_MS_MAX)
    {
        tell(
            Urgency::Soon,
            "There is no recent snapshot of the store".to_owned(),
            "One is made every hour; the log says why not. See store.snapshot_folder.",
        );
    }
    for (event, what) in [
        ("code.wrong", "wrong codes"),
        ("password.wrong", "wrong passwords on the sign-in page"),
    ] {
        let count = series.last_hour.of(event);
        if count > WRONG_IN_AN_HOUR_MAX {
            tell(
                Urgency::Soon,
                format!("{count} {what} within an hour"),
                "Somebody may be guessing. The limits hold.",
            );
        }
    }
    if series.last_day.of("link.mismatch") > 0 {
        tell(
            Urgency::Soon,
            "Somebody finished a sign-in from another chat than the one that asked for it"
                .to_owned(),
            "A person may have been sent another's link. Nobody was bound; the log below has the chat that asked.",
        );
    }
    let given_up: u64 = crate::domain::delivery::Lane::ALL
        .iter()
        .map(|lane| series.last_day.of(Tally::given_up(*lane)))
        .sum();
    if given_up > 0 {
        tell(
            Urgency::Soon,
            format!("{given_up} given up within a day"),
            "The dead letters say why, and which can be tried again.",
        );
    }
    if series.replies_this_month >= FREE_REPLIES {
        tell(
            Urgency::Soon,
            format!("The {FREE_REPLIES} free replies of this month are used up"),
            "Meta charges for each further one. Without a payment method at Meta replies stop: see Billing in Meta's Business Manager.",
        );
    } else if series.replies_this_month >= FREE_REPLIES_WARNED {
        tell(
            Urgency::Soon,
            format!(
                "{} of {FREE_REPLIES} free replies of this month are used",
                series.replies_this_month
            ),
            "Meta charges for each reply beyond them. Without a payment method at Meta they stop.",
        );
    }
    alarms.sort_by_key(|alarm| alarm.urgency);
    alarms
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// 2026-11-25T22:30:00Z, a Wednesday.
    const NOW: Timestamp = Timestamp(1_795_645_800_000);

    fn hour(ago_ms: u64, replies: u64) -> (Timestamp, Tally) {
        let mut tally = Tally::default();
        tally.events.insert(Tally::REPLIES.to_owned(), replies);
        tally.milestones[0][0] = 1;
        let at = NOW.minus_ms(ago_ms);
        (Timestamp(at.0 / HOUR_MS * HOUR_MS), tally)
    }

    #[test]
    fn a_month_begins_at_its_first_midnight() {
        let first = Timestamp(1_793_491_200_000);
        assert_eq!(month_of(NOW), first);
        assert_eq!(month_of(first), first);
        assert_eq!(month_of(first.minus_ms(1)), first.minus_ms(31 * DAY_MS));
    }

    #[test]
    fn hours_become_the_bars_of_their_days_and_what_is_older_is_left_out() {
        let hours = [
            hour(40 * DAY_MS, 1_000),
            hour(7 * DAY_MS, 5),
            hour(6 * DAY_MS, 7),
            hour(DAY_MS, 3),
            hour(2 * HOUR_MS, 2),
            hour(0, 1),
        ];
        let series = Series::new(Range::Days7, NOW, &hours);
        assert_eq!(series.bars.len(), 7);
        let begun =
            |(_, tally): &(Timestamp, Tally)| tally.reached(Method::MailCode, Milestone::Begun);
        let bars: Vec<u64> = series.bars.iter().map(begun).collect();
        assert_eq!(bars, [1, 0, 0, 0, 0, 1, 2]);
        assert_eq!(series.sum.reached_by_any(Milestone::Begun), 4);
        assert_eq!(series.replies_this_month, 18);
        assert_eq!(series.last_day.of(Tally::REPLIES), 3);
        assert_eq!(series.last_hour.of(Tally::REPLIES), 1);
        let series = Series::new(Range::Hours48, NOW, &hours);
        assert_eq!(series.bars.len(), 48);
        assert_eq!(series.bars[47].1.of(Tally::REPLIES), 1);
        assert_eq!(series.bars[45].1.of(Tally::REPLIES), 2);
        assert_eq!(series.bars[23].1.of(Tally::REPLIES), 3);
        assert_eq!(series.methods(), [Method::MailCode]);
        assert_eq!(Series::new(Range::Days90, NOW, &[]).methods(), []);
    }

    fn calm() -> Outlook {
        Outlook {
            certificate: None,
            takes_writes: true,
            snapshot: Some(Some(NOW)),
            disk_bytes: Some((50, 100)),
            ..Outlook::default()
        }
    }

    fn told(change: impl FnOnce(&mut Outlook, &mut Series)) -> Vec<(Urgency, String)> {
        let (mut outlook, mut series) = (calm(), Series::new(Range::Days7, NOW, &[]));
        change(&mut outlook, &mut series);
        let alarms = alarms(&outlook, &series, NOW).into_iter();
        alarms.map(|alarm| (alarm.urgency, alarm.what)).collect()
    }

    #[test]
    fn nothing_is_told_while_nothing_is_wrong() {
        assert_eq!(told(|_, _| {}), []);
        assert_eq!(told(|outlook, _| outlook.snapshot = None), []);
    }

    #[test]
    fn a_certificate_is_told_of_before_it_ends_and_when_its_renewal_fails() {
        let told = |ends, trouble: Option<&str>| {
            let trouble = trouble.map(str::to_owned);
            told(|outlook, _| outlook.certificate = Some(CertificateView { ends, trouble }))
        };
        let good = Some(NOW.plus_ms(8 * DAY_MS));
        assert_eq!(told(good, None), []);
        let (soon, now) = (Urgency::Soon, Urgency::Now);
        let expected = |urgency, words: &str| vec![(urgency, words.to_owned())];
        assert_eq!(
            told(good, Some("refused")),
            expected(soon, "There is no new certificate for HTTPS")
        );
        assert_eq!(
            told(Some(NOW), Some("refused")),
            expected(now, "The certificate of HTTPS has ended")
        );
        assert_eq!(
            told(Some(NOW.plus_ms(DAY_MS)), None),
            expected(now, "The certificate of HTTPS ends within 7 days")
        );
        assert_eq!(
            told(None, None),
            expected(
                now,
                "There is no certificate for HTTPS yet: nobody gets through"
            )
        );
    }

    #[test]
    fn whatever_the_alert_rules_tell_is_told_here_the_worst_first() {
        let all = told(|outlook, series| {
            outlook.takes_writes = false;
            outlook.disk_bytes = Some((9, 100));
            outlook.snapshot = Some(None);
            outlook.lanes = vec![
                LaneView {
                    name: "mail",
                    paused: Some(("SMTP refused".to_owned(), None)),
                    ..LaneView::default()
                },
                LaneView {
                    name: "bot",
                    oldest: Some(NOW.minus_ms(16 * MINUTE_MS)),
                    ..LaneView::default()
                },
                LaneView {
                    name: "whatsapp",
                    oldest: Some(NOW.minus_ms(16 * MINUTE_MS)),
                    failing: Some((NOW.minus_ms(4 * MINUTE_MS), "500".to_owned(), None)),
                    ..LaneView::default()
                },
            ];
            outlook.services = vec![ServiceView {
                name: "erp".to_owned(),
                title: String::new(),
                is_left_alone: true,
                answered_at: None,
                failed: Some((NOW, "503".to_owned())),
            }];
            outlook.certificate = Some(CertificateView {
                ends: Some(NOW.plus_ms(7 * DAY_MS)),
                trouble: None,
            });
            series.last_hour.count("sign_in.paused");
            series.last_hour.events.insert("code.wrong".to_owned(), 101);
            series.last_day.count("link.mismatch");
            series.last_day.count("given_up.whatsapp");
            series.replies_this_month = 1_000;
        });
        let urgent = all.iter().filter(|(urgency, _)| *urgency == Urgency::Now);
        assert_eq!((all.len(), urgent.count()), (13, 8), "{all:#?}");
        assert!(all.is_sorted_by_key(|(urgency, _)| *urgency));
        let fails = "Replies to WhatsApp: nothing has been taken for 4 minutes. 500";
        assert!(all.contains(&(Urgency::Now, fails.to_owned())), "{all:#?}");
        let nearly = told(|_, series| series.replies_this_month = 900);
        assert_eq!(
            nearly[0].1,
            "900 of 1000 free replies of this month are used"
        );
    }
}
