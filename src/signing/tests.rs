//! Tests of `signing`.
