//! The web: what listens, and who answers.

pub mod listener;
