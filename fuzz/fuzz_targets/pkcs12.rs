//! Any bytes, as a PKCS#12 file. Seeds: `cargo fuzz run pkcs12 fuzz/corpus/pkcs12 fixtures/p12`.
//!
//! The limits are small, so that what is measured is the parser and not the key derivation.

#![no_main]

use cardcase::pkcs12::{Limits, read, recognise};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut limits = Limits::default();
    limits.file_size = 1 << 20;
    limits.iterations = 16;
    limits.total_iterations = 1000;
    limits.scrypt_memory = 1 << 16;
    recognise(input);
    for password in ["", "secret"] {
        // libFuzzer's panic hook aborts, so what panics behind the wall round p12 is found too
        let _ = read(input, password, &limits);
    }
});
