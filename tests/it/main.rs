//! The tests from outside: one binary, so that everything is linked once.
#![allow(clippy::unwrap_used)]

mod cli;
mod config;
