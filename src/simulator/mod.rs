//! The outside world on loopback.
pub mod cast;
pub mod door;
pub mod graph;
pub mod inbox;
pub mod services;
pub mod watch;
