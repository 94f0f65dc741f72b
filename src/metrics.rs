//! Counting, and writing down what was counted in Prometheus' text format 0.0.4.
//!
//! A count is an atomic number in a place that is known when the program is compiled: nothing is
//! looked up, locked or allocated where something happens. So there can be no label whose values
//! come from outside, and nothing personal.

use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How the text is called (Prometheus, "Exposition formats").
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How often something happened.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Once more.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How often so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counter for each of `N` names.
#[derive(Debug)]
pub struct Counters<const N: usize> {
    names: [&'static str; N],
    counters: [Counter; N],
}

impl<const N: usize> Counters<N> {
    /// All at nothing. The last name takes what has no name of its own.
    pub fn new(names: [&'static str; N]) -> Counters<N> {
        Counters {
            names,
            counters: std::array::from_fn(|_| Counter::default()),
        }
    }

    /// Once more what has this name.
    pub fn count(&self, name: &str) {
        let place = self.names.iter().position(|known| *known == name);
        if let Some(counter) = self.counters.get(place.unwrap_or(N.saturating_sub(1))) {
            counter.count();
        }
    }

    /// Names and how often so far.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        (self.names.iter().zip(&self.counters)).map(|(name, counter)| (*name, counter.get()))
    }
}

/// Upper bounds of how long something takes, in milliseconds: from what memory gives to the longest
/// that a bot may take.
const BOUNDS_MS: [u64; 12] = [
    5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000,
];

/// How long something takes.
#[derive(Debug, Default)]
pub struct Durations {
    within: [Counter; BOUNDS_MS.len()],
    count: Counter,
    sum_us: AtomicU64,
}

impl Durations {
    /// It took as long once more.
    pub fn add(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS_MS.iter().position(|bound| took_us <= bound * 1_000);
        if let Some(place) = place {
            self.within[place].count();
        }
        self.count.count();
        self.sum_us.fetch_add(took_us, Ordering::Relaxed);
    }

    /// How often so far.
    pub fn count(&self) -> u64 {
        self.count.get()
    }
}

/// What a family of samples is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
}

/// The text, as it grows.
#[derive(Debug, Default)]
pub struct Text {
    text: String,
}

/// One metric with all its samples.
pub struct Family<'t> {
    text: &'t mut String,
    name: &'static str,
}

impl Text {
    /// Begins a metric; its name ends in its unit, and `_total` if it is a counter.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a String does not fail, here and below.
        let _ = writeln!(self.text, "# HELP {name} {}", escaped(help, false));
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
        Family {
            text: &mut self.text,
            name,
        }
    }

    /// A metric with one sample.
    pub fn one(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// All of it.
    pub fn finish(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// One sample.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, None, value);
    }

    /// All samples of a histogram, in seconds.
    pub fn durations(&mut self, labels: &[(&str, &str)], durations: &Durations) {
        let mut below = 0;
        for (bound, within) in BOUNDS_MS.iter().zip(&durations.within) {
            below += within.get();
            let bound = (*bound as f64 / 1_000.0).to_string();
            self.line("_bucket", labels, Some(&bound), below);
        }
        // Counted after its bucket: never less than what was read of those.
        let count = durations.count.get().max(below);
        self.line("_bucket", labels, Some("+Inf"), count);
        let sum_us = durations.sum_us.load(Ordering::Relaxed);
        self.line("_sum", labels, None, sum_us as f64 / 1e6);
        self.line("_count", labels, None, count);
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: &[(&str, &str)],
        bound: Option<&str>,
        value: impl Display,
    ) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let bound = bound.map(|bound| ("le", bound));
        let mut opened = false;
        for (name, value) in labels.iter().copied().chain(bound) {
            let opening = if opened { ',' } else { '{' };
            let _ = write!(self.text, "{opening}{name}=\"{}\"", escaped(value, true));
            opened = true;
        }
        if opened {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

fn escaped(text: &str, quotes: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes {
        text.replace('"', "\\\"")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_as_the_format_wants_it() {
        let mut text = Text::default();
        text.one("a_bytes", Kind::Gauge, "One\nline \\ \"two\".", 1.5);
        let mut family = text.family("b_total", Kind::Counter, "B.");
        family.sample(&[("x", "a\"b\\c\nd"), ("y", "")], 7);
        assert_eq!(
            text.finish(),
            "# HELP a_bytes One\\nline \\\\ \"two\".\n# TYPE a_bytes gauge\na_bytes 1.5\n\
             # HELP b_total B.\n# TYPE b_total counter\nb_total{x=\"a\\\"b\\\\c\\nd\",y=\"\"} 7\n"
        );
    }

    #[test]
    fn buckets_hold_all_that_is_not_longer_and_the_last_one_everything() {
        let durations = Durations::default();
        for ms in [0, 5, 6, 400, 500, 31_000] {
            durations.add(Duration::from_millis(ms));
        }
        let mut text = Text::default();
        (text.family("d_seconds", Kind::Histogram, "D.")).durations(&[("lane", "bot")], &durations);
        let text = text.finish();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines[0], "d_seconds_bucket{lane=\"bot\",le=\"0.005\"} 2");
        assert_eq!(lines[1], "d_seconds_bucket{lane=\"bot\",le=\"0.01\"} 3");
        assert_eq!(lines[6], "d_seconds_bucket{lane=\"bot\",le=\"0.5\"} 5");
        assert_eq!(lines[11], "d_seconds_bucket{lane=\"bot\",le=\"30\"} 5");
        assert_eq!(lines[12], "d_seconds_bucket{lane=\"bot\",le=\"+Inf\"} 6");
        assert_eq!(lines[13], "d_seconds_sum{lane=\"bot\"} 31.911");
        assert_eq!(lines[14], "d_seconds_count{lane=\"bot\"} 6");
        assert_eq!(lines.len(), 15);
    }

    #[test]
    fn what_has_no_name_of_its_own_is_counted_under_the_last_one() {
        let counters = Counters::new(["a", "other"]);
        for name in ["a", "b", "c"] {
            counters.count(name);
        }
        assert_eq!(counters.all().collect::<Vec<_>>(), [("a", 1), ("other", 2)]);
    }
}
