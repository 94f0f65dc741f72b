//! Tests of `shape`.
