//! Any bytes, as a PKCS#12 file.

#![no_main]

use cardcase::pkcs12;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(|input: &[u8]| {
    pkcs12::recognise(input);
    cardcase_fuzz::import(|password, limits| pkcs12::read(input, password, limits));
});

fuzz_mutator!(|file: &mut [u8], size: usize, max_size: usize, seed: u32| {
    cardcase_fuzz::mutate(file, size, max_size, seed)
});
