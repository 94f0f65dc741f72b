#![no_main]

#[path = "../properties/phone_and_bsuid.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|input: &[u8]| property::holds(input));
