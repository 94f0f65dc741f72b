#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| portero_fuzz::code_in_text::holds(input));
