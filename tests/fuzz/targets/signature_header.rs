#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| portero_fuzz::signature_header::holds(input));
