#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| portero_fuzz::phone_and_bsuid::holds(input));
