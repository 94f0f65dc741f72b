#![no_main]

#[path = "../properties/mail_rendering.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|input: &[u8]| property::holds(input));
