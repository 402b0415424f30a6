//! Java keystores of the old form.

use crate::error::file::Error;
use crate::file;

const KEYTOOL: &[u8] = include_bytes!("../../../fixtures/jks/keytool.jks");
/// One of its keys has a password of its own.
const TWO: &[u8] = include_bytes!("../../../fixtures/jks/two.jks");
/// Only a CA certificate.
const TRUST: &[u8] = include_bytes!("../../../fixtures/jks/trust.jks");

#[test]
fn a_keystore_holds_the_same_keys_as_the_pkcs12_file_it_was_made_of() {
    let original = include_bytes!("../../../fixtures/identities/keytool.p12");
    let keys = |bytes: &[u8]| {
        let mut import = file::read(bytes, "cardcase").unwrap();
        import.pair().unwrap();
        assert!(import.is_pkcs12() && import.authorities().len() == 2);
        let new = import.new_identities().iter();
        let mut keys: Vec<_> = new
            .map(|identity| {
                let fingerprint = identity.certificate.fingerprint().to_string();
                (fingerprint, identity.friendly_name.clone(), identity.key.pkcs8().to_vec())
            })
            .collect();
        keys.sort();
        keys
    };
    let found = keys(KEYTOOL);
    assert_eq!(found, keys(original));
    assert_eq!(found.len(), 3);
}

#[test]
fn each_password_is_told_apart() {
    for password in ["", "other", "cardcase "] {
        assert_eq!(file::read(KEYTOOL, password).err(), Some(Error::WrongPassword), "{password:?}");
    }
    assert_eq!(file::read(TWO, "cardcase").err(), Some(Error::ContentPassword));
    let mut import = file::read_with(TWO, "cardcase", Some("key-password"), None).unwrap();
    import.pair().unwrap();
    assert_eq!(import.identities().count(), 3);
}

#[test]
fn certificates_need_no_password() {
    let import = file::read_certificates(TRUST, "").unwrap();
    assert_eq!(import.certificates().count(), 1);
    assert_eq!(file::read_certificates(KEYTOOL, "").unwrap().certificates().count(), 9);
    assert_eq!(file::read(TRUST, "").err(), Some(Error::WrongPassword));
    assert_eq!(file::read(TRUST, "changeit").unwrap().certificates().count(), 1);
}

#[test]
fn what_is_cut_or_changed_is_refused() {
    for length in 5..KEYTOOL.len() {
        let error = file::read(&KEYTOOL[..length], "cardcase").unwrap_err();
        assert!(matches!(error, Error::Truncated { .. }), "{length}: {error}");
    }
    for at in 0..KEYTOOL.len() {
        let mut changed = KEYTOOL.to_vec();
        changed[at] ^= 0x55;
        assert!(file::read(&changed, "cardcase").is_err(), "{at}");
    }
    let huge = [&KEYTOOL[..8], &[0xff; 4], &KEYTOOL[12..]].concat();
    assert!(matches!(file::read(&huge, "cardcase"), Err(Error::TooCostly { .. })));
    let longer = [KEYTOOL, &[0]].concat();
    assert_eq!(file::read(&longer, "cardcase").err(), Some(Error::TrailingBytes { count: 1 }));
}
