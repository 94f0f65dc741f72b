#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| portero_fuzz::head_and_body::holds(input));
