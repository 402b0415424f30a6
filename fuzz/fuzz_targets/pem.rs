//! Any bytes, as a PEM or DER file.

#![no_main]

use cardcase::pem;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    cardcase_fuzz::import(|password, limits| pem::read(input, password, limits));
});
