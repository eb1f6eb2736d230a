//! What `checks::picture` says, over inputs that libFuzzer makes up.

#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::picture(input));
