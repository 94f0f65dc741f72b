//! Moments, and how far they lie apart.

/// Milliseconds since the Unix epoch, as the process's trusted clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

/// One second, in the unit of [`Timestamp`].
pub const SECOND_MS: u64 = 1_000;
/// One minute, in the unit of [`Timestamp`].
pub const MINUTE_MS: u64 = 60 * SECOND_MS;
/// One hour, in the unit of [`Timestamp`].
pub const HOUR_MS: u64 = 60 * MINUTE_MS;
/// One day, in the unit of [`Timestamp`].
pub const DAY_MS: u64 = 24 * HOUR_MS;

impl Timestamp {
    /// This moment plus `ms` milliseconds; stays at the end of time instead of wrapping.
    pub fn plus_ms(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }

    /// This moment minus `ms` milliseconds; stays at the epoch instead of wrapping.
    pub fn minus_ms(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_sub(ms))
    }

    /// Milliseconds from `earlier` to this moment, 0 when `earlier` is later.
    pub fn since_ms(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole seconds since the epoch.
    pub fn seconds(self) -> u64 {
        self.0 / SECOND_MS
    }
}
