//! Any bytes, as a PEM or DER file, and what comes of pairing what was in it.
//! Seeds: `cargo fuzz run pem fuzz/corpus/pem fixtures/server`.
//!
//! The limits are small, so that what is measured is the parser and not the key derivation.

#![no_main]

use cardcase::identity::Import;
use cardcase::pem;
use cardcase::pkcs12::Limits;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut limits = Limits::default();
    limits.file_size = 1 << 20;
    limits.iterations = 16;
    limits.total_iterations = 1000;
    limits.scrypt_memory = 1 << 16;
    for password in ["", "cardcase"] {
        if let Ok(contents) = pem::read(input, password, &limits) {
            let _ = Import::from_contents(contents);
        }
    }
});
