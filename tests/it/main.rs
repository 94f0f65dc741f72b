//! The one integration test binary.
#![allow(clippy::unwrap_used, missing_docs)]

mod mail;
mod python;
mod services;
mod smtp_sink;
