#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| portero_fuzz::email_address::holds(input));
