#![no_main]

#[path = "../../it/house.rs"]
#[allow(dead_code)]
mod house;

#[path = "../properties/record_envelope.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|input: &[u8]| property::holds(input));
