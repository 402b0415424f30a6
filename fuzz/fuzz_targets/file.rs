//! Any bytes, as a file of certificates and keys: read with every password and with two, paired as `cardcase import` does, and read for
//! its certificates only, as `cardcase trust` does.
//!
//! libFuzzer's panic hook aborts, so a panic behind the wall around p12 is found too.

#![no_main]

use cardcase::file;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

/// No password, that of `fixtures/p12`, and that of all other files.
const PASSWORDS: [&str; 3] = ["", "secret", "cardcase"];

fuzz_target!(|input: &[u8]| {
    for password in PASSWORDS {
        if let Ok(mut import) = file::read(input, password) {
            let _ = import.pair();
        }
    }
    let _ = file::read_with(input, PASSWORDS[1], Some(PASSWORDS[2]), None);
    let _ = file::read_certificates(input, "");
});

fuzz_mutator!(|file: &mut [u8], size: usize, max_size: usize, seed: u32| {
    cardcase_fuzz::mutate(file, size, max_size, seed)
});
