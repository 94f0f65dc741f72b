//! What the environment asks of a run: that there be more of it, or the same of it again.

use std::str::FromStr;

/// The value of a flag, when it is set.
pub fn flag<T: FromStr>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok()?;
    let parsed = value.parse();
    Some(parsed.unwrap_or_else(|_| panic!("{name} is a number, not {value}")))
}

/// As many rounds as are asked for, or else `usually`.
pub fn cycles(usually: usize) -> usize {
    flag("PORTERO_CYCLES").unwrap_or(usually)
}
