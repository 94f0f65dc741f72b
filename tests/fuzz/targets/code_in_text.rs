#![no_main]

#[path = "../properties/code_in_text.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|input: &[u8]| property::holds(input));
