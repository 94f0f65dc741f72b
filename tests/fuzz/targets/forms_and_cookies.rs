#![no_main]

#[path = "../properties/hall.rs"]
#[allow(dead_code)]
mod hall;

#[path = "../../it/house.rs"]
#[allow(dead_code)]
mod house;

#[path = "../properties/forms_and_cookies.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|input: &[u8]| property::holds(input));
