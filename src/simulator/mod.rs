//! The outside world on loopback.
pub mod cast;
pub mod inbox;
pub mod watch;
