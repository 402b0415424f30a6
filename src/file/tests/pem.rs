//! PEM and DER files.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::certificate::import::Import;
use crate::error::file::Error;
use crate::file::contents::Contents;
use crate::file::limits::Limits;
use crate::file::pkcs12::Candidates;
use crate::file::read;

const PASSWORD: &str = "cardcase";

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/", $name)).as_slice()
    };
}

fn contents(input: &[u8], password: &str, limits: &Limits) -> Result<Contents, Error> {
    Ok(read::contents(input, Candidates::new(password), limits, false)?.0)
}

/// Small limits, so that a changed number of rounds costs nothing.
fn small() -> Limits {
    Limits { iterations: 5000, total_iterations: 20_000, scrypt_memory: 1 << 20, ..Limits::default() }
}

#[test]
fn too_many_entries_are_refused() {
    let locked = fixture!("pem/pkcs8-pbes2.pem").repeat(2);
    let files = [(fixture!("pem/whole.pem"), 4), (fixture!("pem/pkcs7.der"), 3), (&locked, 2)];
    for (input, entries) in files {
        assert!(contents(input, PASSWORD, &Limits { entries, ..small() }).is_ok());
        let error = contents(input, PASSWORD, &Limits { entries: entries - 1, ..small() }).unwrap_err().to_string();
        assert!(error.contains(&format!("for {entries} certificates, keys")), "{error}");
    }
}

/// The primes of these RSA keys are missing and have to be computed, which would take minutes for each file.
#[test]
fn keys_that_take_long_to_compute_are_refused_at_once() {
    let number = |size: usize| [&[2, 0x82][..], &(size as u16).to_be_bytes(), &vec![0x7f; size]].concat();
    let sequence = |body: &[u8]| [&[0x30, 0x82][..], &(body.len() as u16).to_be_bytes(), body].concat();
    let key = |size: usize| {
        let private = sequence(&[&[2, 1, 0][..], &number(size), &[2, 1, 3], &number(size)].concat());
        let octets = [&[4, 0x82][..], &(private.len() as u16).to_be_bytes(), &private].concat();
        let rsa = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0];
        sequence(&[&[2, 1, 0][..], &rsa, &octets].concat())
    };
    let pem = |der: &[u8]| {
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(der))
    };
    let start = Instant::now();
    for (size, count) in [(1024, 5), (512, 40), (256, 300)] {
        let file = pem(&key(size)).repeat(count);
        let error = contents(file.as_bytes(), PASSWORD, &Limits::default()).unwrap_err();
        let what = "steps of computing with the numbers of RSA keys";
        assert!(matches!(&error, Error::TooCostly { what: found, .. } if *found == what), "{size}: {error}");
        assert!(contents(pem(&key(size)).as_bytes(), PASSWORD, &Limits::default()).is_ok(), "one of {size} bytes");
    }
    assert!(start.elapsed() < Duration::from_secs(5));
}

/// Base64 with a byte order mark before it is recognised, and its cost is checked before the work.
#[test]
fn a_costly_file_in_base64_is_refused_at_once() {
    let mut file = fixture!("p12/openssl-iter-1000000.p12").to_vec();
    // Eight million rounds in the MAC, at its end
    let at = file.len() - 3;
    assert_eq!(file[at..], 1_000_000_u32.to_be_bytes()[1..]);
    file[at] |= 0x70;
    let text = format!("\u{feff}{}", BASE64_STANDARD.encode(file));
    let start = Instant::now();
    assert!(matches!(contents(text.as_bytes(), PASSWORD, &small()), Err(Error::TooCostly { .. })));
    assert!(start.elapsed() < Duration::from_secs(1));
}

/// The reader and the pairing do not panic.
fn survives(input: &[u8]) {
    match read::import(input, Candidates::new(PASSWORD), &small()) {
        Ok(mut import) => drop(Import::pair(&mut import)),
        // The barrier around a parser must not have hidden a panic
        Err(error) => assert!(!error.to_string().contains("gave up"), "{error}"),
    }
}

#[test]
fn no_truncation_and_no_changed_byte_panics() {
    let inputs = [
        fixture!("pem/whole.pem"),
        fixture!("pem/ec-dek-info.pem"),
        fixture!("pem/pkcs8-pbes2.pem"),
        fixture!("pem/pkcs8-3des.pem"),
        fixture!("pem/pkcs8-scrypt.pem"),
        fixture!("pem/rsa-pkcs1.pem"),
        fixture!("pem/rsa-pkcs1.der"),
        fixture!("pem/trusted.pem"),
        fixture!("pem/ec-sec1.der"),
        fixture!("pem/pkcs8-pbes2.der"),
        fixture!("pem/pkcs7.der"),
        fixture!("alice/certificate.der"),
        fixture!("alice/key.der"),
    ];
    for input in inputs {
        assert!(contents(input, PASSWORD, &small()).is_ok());
        for at in 0..input.len() {
            survives(&input[..at]);
            for change in [1, 0x80, 0xff, input[at], input[at] ^ b'='] {
                let mut changed = input.to_vec();
                changed[at] ^= change;
                survives(&changed);
            }
        }
    }
}
