//! Any bytes, as a PKCS#12 file.

#![no_main]

use cardcase::pkcs12;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    pkcs12::recognise(input);
    cardcase_fuzz::import(|password, limits| pkcs12::read(input, password, limits));
});
