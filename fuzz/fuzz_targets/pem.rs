//! Any bytes, as a PEM or DER file.

#![no_main]

use cardcase::pem;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(|input: &[u8]| {
    cardcase_fuzz::import(|password, limits| pem::read(input, password, limits));
});

fuzz_mutator!(|file: &mut [u8], size: usize, max_size: usize, seed: u32| {
    cardcase_fuzz::mutate(file, size, max_size, seed)
});
