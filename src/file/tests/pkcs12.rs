//! PKCS#12 files.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::error::file::Error;
use crate::file;
use crate::file::contents::{Contents, PassedOver};
use crate::file::limits::Limits;
use crate::file::pkcs12::Candidates;
use crate::file::read;

/// A row of `manifest.tsv`.
#[derive(Debug, Clone)]
struct Row {
    file: String,
    password: String,
    expected: String,
    certificates: usize,
    keys: usize,
    /// How many are imported; `None` where the import is refused.
    identities: Option<usize>,
}

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/p12").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn manifest() -> Vec<Row> {
    let text = String::from_utf8(fixture("manifest.tsv")).unwrap();
    let row = |line: &str| {
        let [file, password, _source, expected, certificates, keys, _algorithms, identities] =
            line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        Row {
            file: file.to_owned(),
            password: password.to_owned(),
            expected: expected.to_owned(),
            certificates: certificates.parse().unwrap(),
            keys: keys.parse().unwrap(),
            identities: (identities != "-").then(|| identities.parse().unwrap()),
        }
    };
    text.lines().skip(1).map(row).collect()
}

fn passwords() -> HashMap<String, String> {
    manifest().into_iter().map(|row| (row.file, row.password)).collect()
}

fn contents(file: &[u8], password: &str, limits: &Limits) -> Result<Contents, Error> {
    Ok(read::contents(file, Candidates::new(password), limits, false)?.0)
}

fn open(name: &str, password: &str) -> Result<Contents, Error> {
    contents(&fixture(name), password, &Limits::default())
}

/// The number of valid certificates; one file has garbage in a certificate bag on purpose.
fn certificates(contents: &Contents) -> usize {
    let parses = |der: &[u8]| x509_parser::parse_x509_certificate(der).is_ok();
    contents.certificates.iter().filter(|certificate| parses(&certificate.der)).count()
}

fn check(row: &Row, outcome: &Result<Contents, Error>) -> Result<(), String> {
    let as_expected = match (row.expected.as_str(), outcome) {
        ("ok", Ok(contents)) => (certificates(contents), contents.keys.len()) == (row.certificates, row.keys),
        ("unsupported", Err(Error::Unsupported { .. })) => true,
        ("wrong-password", Err(error)) => *error == Error::WrongPassword,
        ("malformed", Err(error)) => !matches!(error, Error::WrongPassword | Error::ContentPassword),
        _ => false,
    };
    let found = outcome.as_ref().map(|contents| (certificates(contents), contents.keys.len()));
    if as_expected { Ok(()) } else { Err(format!("{}: {} expected, but {found:?}", row.file, row.expected)) }
}

/// The number of identities that are imported, or why none is.
fn identities(contents: Contents) -> Result<usize, String> {
    let mut import = read::complete(contents, true).map_err(|error| error.to_string())?;
    import.pair().map_err(|error| error.to_string())?;
    Ok(import.identities().count())
}

/// Checks a row of the manifest.
fn outcome(row: &Row) -> Result<(), String> {
    let start = Instant::now();
    let outcome = open(&row.file, &row.password);
    let took = start.elapsed();
    check(row, &outcome)?;
    if row.expected == "malformed" && took > Duration::from_secs(2) {
        return Err(format!("{}: refused only after {took:?}", row.file));
    }
    let Ok(contents) = outcome else { return Ok(()) };
    let identities = identities(contents);
    match identities.as_ref().ok() == row.identities.as_ref() {
        true => Ok(()),
        false => Err(format!("{}: {:?} identities expected, but {identities:?}", row.file, row.identities)),
    }
}

/// Runs the checks on all processors, because some take long.
#[track_caller]
fn all_pass<T: Sync>(cases: &[T], check: impl Fn(&T) -> Result<(), String> + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        let turns = std::iter::from_fn(|| cases.get(next.fetch_add(1, Ordering::Relaxed)));
        turns.filter_map(|case| check(case).err()).collect::<Vec<_>>()
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

/// Slow: some programs write files with 600,000 rounds and more.
#[test]
fn every_file_matches_the_manifest() {
    let rows = manifest();
    assert!(rows.len() > 300);
    all_pass(&rows, outcome);
}

#[test]
fn other_file_types_are_named() {
    let error = |file: &[u8]| contents(file, "", &Limits::default()).unwrap_err().to_string();
    let looks = |what: &str| format!("neither PKCS#12, nor PEM, nor a DER certificate or key: it looks like {what}");
    assert_eq!(error(&[]), looks("an empty file"));
    assert_eq!(error(b"a:"), looks("text that begins with 'a:'"));
    assert_eq!(error(&fixture("bad-text.p12")), looks("text that begins with 'this is not a pkcs12 file'"));
    assert_eq!(error(b"hunter2\r\n"), looks("text"), "it may be a password");
    assert_eq!(error("\u{feff} \n".as_bytes()), looks("an empty file"));
    assert_eq!(error(b"<!DOCTYPE html>\n<title>"), looks("a web page"));
    assert_eq!(error(b"a\xe2\x80\xae b"), looks("text that begins with 'a? b'"));
}

/// Ten files of eight producers, DER and BER, old ciphers and new.
const OF_EVERY_PRODUCER: [&str; 10] = [
    "openssl-chain5.p12",
    "openssl-chain5-legacy.p12",
    "keytool-truststore.p12",
    "certtool-aes-256.p12",
    "nss-chain.p12",
    "python-best-rsa2048.p12",
    "forge-aes256.p12",
    "bc-pkcs12-def.p12",
    "hand-pbmac1-64.p12",
    "ber-chunked.p12",
];

#[test]
fn every_truncation_is_reported() {
    for name in OF_EVERY_PRODUCER {
        let whole = fixture(name);
        for length in 2..whole.len() {
            match contents(&whole[..length], "secret", &Limits::default()) {
                Err(Error::Truncated { at, missing }) => {
                    assert_eq!(at, length, "{name}");
                    assert!((1..=(whole.len() - length) as u64).contains(&missing), "{name} at {at}: {missing}");
                }
                other => panic!("{name} cut at {length}: {other:?}"),
            }
        }
    }
}

/// The file without its MAC, so that changes get as far as the ciphers.
fn without_mac(name: &str) -> Vec<u8> {
    let file = fixture(name);
    let length = |at: usize| 4 + usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
    assert_eq!((file[1], file[8]), (0x82, 0x82), "{name} has lengths of two octets");
    let body = &file[4..7 + length(7)];
    [&[0x30, 0x82][..], &(body.len() as u16).to_be_bytes(), body].concat()
}

/// Bits that change what an element is: a small number, whether there are elements in it, the sign or a long length.
const CHANGES: [u8; 4] = [0x01, 0x20, 0x80, 0xff];

/// With few rounds, so that the contents are reached each time; of the other files, only the parts that need no password.
#[test]
fn no_changed_byte_panics_or_takes_long() {
    let passwords = passwords();
    let quick =
        ["openssl-iter-1.p12", "openssl-iter-1-legacy.p12", "python-v1-rounds1-rsa2048.p12", "forge-count1.p12"];
    let whole = [
        "openssl-iter-1.p12",
        "openssl-plain.p12",
        "hand-mac-noiter.p12",
        "keytool-nomac-plaincert.p12",
        "nss-certs-plain.p12",
        "certtool-3des.p12",
    ];
    let mut files: Vec<(&str, Vec<u8>)> = quick.iter().map(|name| (*name, without_mac(name))).collect();
    files.extend(whole.iter().chain(&OF_EVERY_PRODUCER).map(|name| (*name, fixture(name))));
    all_pass(&files, |(name, file)| survives_changes(name, file, &passwords[*name]));
}

fn survives_changes(name: &str, file: &[u8], password: &str) -> Result<(), String> {
    let mut limits = Limits::default();
    (limits.iterations, limits.total_iterations, limits.scrypt_memory) = (4, 100, 1 << 20);
    let mut changed = file.to_vec();
    for at in 0..file.len() {
        for change in CHANGES {
            changed[at] = file[at] ^ change;
            let start = Instant::now();
            let outcome = contents(&changed, password, &limits);
            if start.elapsed() > Duration::from_secs(2) {
                return Err(format!("{name}: byte {at} changed by {change:#x} takes long"));
            }
            // The barrier around the parser must not have hidden a panic
            if outcome.err() == Some(Error::Damaged { what: "its parser gave up on it" }) {
                return Err(format!("{name}: byte {at} changed by {change:#x} runs into the wall"));
            }
        }
        changed[at] = file[at];
    }
    Ok(())
}

#[test]
fn too_costly_files_are_refused_with_the_number() {
    for name in ["bad-iterations-2e9-mac.p12", "bad-iterations-2e9-pbe.p12", "bad-iterations-2e9-pbes2.p12"] {
        let error = open(name, "secret").unwrap_err();
        let Error::TooCostly { value, limit, .. } = error else { panic!("{name}: {error}") };
        assert_eq!((value, limit), (2_000_000_000, 10_000_000), "{name}");
    }
    let error = open("bad-scrypt-memory.p12", "secret").unwrap_err();
    assert_eq!(
        error.to_string(),
        "too costly: the file asks for 4398046511104 bytes of memory for scrypt, the limit is 1073741824"
    );
}

#[test]
fn two_to_the_31_rounds_and_more_are_refused_at_once() {
    let file = fixture("bad-iterations-2e9-mac.p12");
    // The number of rounds ends the MAC and the file; where the lengths of both stand:
    let (outer, mac, rounds) = (1, 25, file.len() - 6);
    for (integer, value) in [
        (vec![0x02, 0x04, 0x7f, 0xff, 0xff, 0xff], (1 << 31) - 1),
        (vec![0x02, 0x05, 0x00, 0x80, 0x00, 0x00, 0x00], 1 << 31),
        (vec![0x02, 0x09, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], u64::MAX),
        (vec![0x02, 0x0a, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], u64::MAX),
    ] {
        let mut changed = [&file[..rounds], &integer].concat();
        let longer = (changed.len() - file.len()) as u8;
        changed[outer] += longer;
        changed[mac] += longer;
        let start = Instant::now();
        let error = contents(&changed, "", &Limits::default()).unwrap_err();
        assert!(matches!(error, Error::TooCostly { value: found, .. } if found == value), "{error}");
        assert!(start.elapsed() < Duration::from_millis(100));
    }
}

#[test]
fn the_work_of_a_whole_file_is_bounded() {
    let mut limits = Limits { total_iterations: 10_000, ..Limits::default() };
    let error = contents(&fixture("hand-five-ids-dupname.p12"), "secret", &limits).unwrap_err();
    // The MAC, the safe with the certificates and five keys, all of 2048 rounds of SHA-256
    let asked = 7 * 2048;
    assert_eq!(
        error.to_string(),
        format!("too costly: the file asks for {asked} rounds of key derivation in all, the limit is 10000")
    );
    limits.file_size = 1000;
    let error = contents(&fixture("hand-five-ids-dupname.p12"), "secret", &limits).unwrap_err();
    assert!(matches!(error, Error::TooCostly { what: "bytes", limit: 1000, .. }), "{error}");
}

/// Found by fuzzing: encrypted data around something else than data, which `p12` asserts on.
#[test]
fn a_file_with_encrypted_data_outermost_is_unsupported() {
    const FILE: &[u8] = b"\
    \x30\x81\x87\x02\x01\x03\x30\x81\x81\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06\xa0\x74\x30\x72\x02\x01\
    \x00\x30\x6d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x90\x00\x01\x30\x1e\x06\x0a\x2a\x86\x48\x86\xf7\x0d\x01\x27\
    \x00\x03\x30\x10\x04\x08\x73\x61\x6c\x74\x73\x61\x6c\x74\x82\x04\x77\x35\x94\x00\x80\x40\x00\x00\x00\x00\
    \x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x01\x3d\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
    \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
    \x00\x00\x30\x1e\x06\x0a\x2a\x86\x48\x86\xf7\x0d\x01\x27";
    match contents(FILE, "secret", &Limits::default()).unwrap_err() {
        Error::Unsupported { what: "integrity mode", name, .. } => {
            assert_eq!(name, "encrypted data (1.2.840.113549.1.7.6)");
        }
        other => panic!("{other}"),
    }
}

/// Counted over all safes, plain and encrypted.
#[test]
fn too_many_entries_are_refused() {
    for (name, entries) in [("openssl-chain5.p12", 6), ("openssl-plain.p12", 6), ("hand-crl-secret-unknown.p12", 9)] {
        let mut limits = Limits { entries, ..Limits::default() };
        assert!(contents(&fixture(name), "secret", &limits).is_ok(), "{name}");
        limits.entries -= 1;
        let error = contents(&fixture(name), "secret", &limits).unwrap_err();
        let expected = (entries as u64, limits.entries as u64);
        assert!(
            matches!(error, Error::TooCostly { value, limit, .. } if (value, limit) == expected),
            "{name}: {error}"
        );
    }
}

#[test]
fn the_empty_password_is_refused_if_the_file_has_another() {
    for name in ["openssl-iter-1.p12", "openssl-iter-1-legacy.p12", "openssl-nomac.p12", "ber-chunked.p12"] {
        assert_eq!(open(name, "").err(), Some(Error::WrongPassword), "{name}");
    }
}

#[test]
fn a_key_with_another_password_stays_locked_until_that_is_given() {
    let file = fixture("hand-keypw-differs.p12");
    let locked = contents(&file, "secret", &Limits::default()).unwrap();
    let name = Some("leaf".to_owned());
    assert_eq!(locked.passed_over, [PassedOver::LockedKey { friendly_name: name, local_key_id: Some(vec![1]) }]);
    let identities = |key_password| {
        let mut import = file::read_with(&file, "secret", key_password, None)?;
        import.pair().unwrap();
        Ok(import.identities().count())
    };
    assert_eq!(identities(None), Err(Error::ContentPassword));
    assert_eq!(identities(Some("neither")), Err(Error::ContentPassword));
    assert_eq!(identities(Some("other")), Ok(1));
}

#[test]
fn other_entries_are_ignored() {
    let unknown = || "1.2.3.4.5".to_owned();
    let contents = open("hand-crl-secret-unknown.p12", "secret").unwrap();
    assert_eq!(contents.passed_over, [PassedOver::Crl, PassedOver::Secret, PassedOver::UnknownBag(unknown())]);
    let contents = open("hand-unknown-cert-type.p12", "secret").unwrap();
    assert_eq!(contents.passed_over, [PassedOver::UnknownCertificate("1.2.3.4".to_owned())]);
    let contents = open("hand-sdsi-cert.p12", "secret").unwrap();
    assert_eq!(contents.passed_over, [PassedOver::SdsiCertificate]);
    let contents = open("hand-enveloped.p12", "secret").unwrap();
    assert_eq!(contents.passed_over, [PassedOver::UnknownContent("1.2.840.113549.1.7.3".to_owned())]);
}

#[test]
fn names_and_key_identifiers_are_read() {
    let name = |file: &str| open(file, "secret").unwrap().keys[0].friendly_name.clone();
    assert_eq!(name("openssl-unicode-name.p12").as_deref(), Some("Имя 名前"));
    assert_eq!(name("python-emoji-name.p12").as_deref(), Some("🔑 имя"));
    assert_eq!(name("hand-control-name.p12").as_deref(), Some("a\x1b[31m\n\0b\u{202e}"));
    assert_eq!(name("hand-long-name.p12").map(|name| name.len()), Some(20_000));
    let contents = open("hand-two-ids.p12", "secret").unwrap();
    let ids: Vec<_> = contents.keys.iter().map(|key| key.local_key_id.clone().unwrap()).collect();
    assert_eq!(ids, [[1], [2]]);
    assert_eq!(contents.certificates[5].friendly_name.as_deref(), Some("p256"));
    assert_eq!(contents.certificates[5].local_key_id.as_deref(), Some(&[2][..]));
}

#[test]
fn an_unsupported_cipher_is_named() {
    let mut file = fixture("openssl-nomac.p12");
    let aes_256_cbc = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];
    let at = file.windows(9).position(|window| window == aes_256_cbc).unwrap();
    for (last, name) in [(0x2b, "AES-256-OFB"), (0x2f, "AES-256-CCM"), (0x7f, "unknown")] {
        file[at + 8] = last;
        let error = contents(&file, "secret", &Limits::default()).unwrap_err().to_string();
        let cipher = format!("unsupported cipher: {name} (2.16.840.1.101.3.4.1.{last})");
        assert_eq!(error, format!("{cipher}; export the file again with AES-256 and SHA-256"));
    }
}

#[test]
fn debug_output_shows_no_keys() {
    let contents = open("hand-keybag-plain.p12", "secret").unwrap();
    let shown = format!("{:?}", contents.keys);
    assert_eq!(shown, r#"[KeyBag { friendly_name: Some("leaf"), local_key_id: Some([1]), .. }]"#);
}
