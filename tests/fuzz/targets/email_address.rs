#![no_main]

#[path = "../properties/email_address.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|input: &[u8]| property::holds(input));
