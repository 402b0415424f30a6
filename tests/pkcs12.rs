//! The PKCS#12 reader against files of every producer at hand, and against what hostile hands
//! make of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cardcase::pkcs12::{self, Contents, Error, Limits, PassedOver};

/// A row of `manifest.tsv`.
#[derive(Debug, Clone)]
struct Row {
    file: String,
    password: String,
    expected: String,
    certificates: usize,
    keys: usize,
}

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/p12").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn manifest() -> Vec<Row> {
    let text = String::from_utf8(fixture("manifest.tsv")).unwrap();
    let row = |line: &str| {
        let [file, password, _source, expected, certificates, keys, _algorithms] =
            line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        Row {
            file: file.to_owned(),
            password: password.to_owned(),
            expected: expected.to_owned(),
            certificates: certificates.parse().unwrap(),
            keys: keys.parse().unwrap(),
        }
    };
    text.lines().skip(1).map(row).collect()
}

fn passwords() -> HashMap<String, String> {
    manifest().into_iter().map(|row| (row.file, row.password)).collect()
}

fn read(name: &str, password: &str) -> Result<Contents, Error> {
    pkcs12::read(&fixture(name), password, &Limits::default())
}

/// Certificates that are certificates; one file has garbage in a certificate bag on purpose.
fn certificates(contents: &Contents) -> usize {
    let parses = |der: &[u8]| x509_parser::parse_x509_certificate(der).is_ok();
    contents.certificates.iter().filter(|certificate| parses(&certificate.der)).count()
}

/// Files that the manifest calls unsupported and that stay so, with the name in the error.
const UNSUPPORTED: [(&str, &str); 1] = [("hand-signed-authsafe.p12", "signed data, the public-key integrity mode")];

fn check(row: &Row, outcome: &Result<Contents, Error>) -> Result<(), String> {
    let unsupported = UNSUPPORTED.iter().find(|(file, _)| *file == row.file);
    let as_expected = match (row.expected.as_str(), outcome) {
        ("unsupported", Err(Error::Unsupported { name, .. })) => *name == unsupported.map(|(_, name)| *name),
        ("ok" | "unsupported", Ok(contents)) => {
            unsupported.is_none() && (certificates(contents), contents.keys.len()) == (row.certificates, row.keys)
        }
        ("wrong-password", Err(error)) => *error == Error::WrongPassword,
        ("malformed", Err(error)) => !matches!(error, Error::WrongPassword | Error::ContentPassword),
        _ => false,
    };
    let found = outcome.as_ref().map(|contents| (certificates(contents), contents.keys.len()));
    if as_expected { Ok(()) } else { Err(format!("{}: {} expected, but {found:?}", row.file, row.expected)) }
}

#[test]
fn every_file_gives_what_the_manifest_says() {
    let rows = manifest();
    assert!(rows.len() > 300);
    let mut failures = Vec::new();
    for row in &rows {
        let start = Instant::now();
        let outcome = read(&row.file, &row.password);
        let took = start.elapsed();
        failures.extend(check(row, &outcome).err());
        if row.expected == "malformed" && took > Duration::from_secs(2) {
            failures.push(format!("{}: refused only after {took:?}", row.file));
        }
        if took > Duration::from_millis(300) {
            eprintln!("{took:?} {}", row.file);
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), rows.len(), failures.join("\n"));
}
