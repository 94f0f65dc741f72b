#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| portero_fuzz::forms_and_cookies::holds(input));
