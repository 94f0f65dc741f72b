#![no_main]

#[path = "../properties/head_and_body.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|input: &[u8]| property::holds(input));
