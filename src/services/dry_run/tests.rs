//! Tests of `dry_run`.
