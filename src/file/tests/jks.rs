//! Java keystores of the old form.

use sha1::{Digest, Sha1};

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

/// The same keystore with the digest of its password at its end.
fn signed(mut keystore: Vec<u8>, password: &str) -> Vec<u8> {
    keystore.truncate(keystore.len() - 20);
    let utf16: Vec<u8> = password.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let digest = Sha1::new().chain_update(utf16).chain_update(b"Mighty Aphrodite").chain_update(&keystore).finalize();
    [keystore.as_slice(), &digest].concat()
}

/// As Java writes it, and as others do.
#[test]
fn an_alias_may_have_any_characters() {
    // After the number of entries and the kind of the first
    let (before, rest) = TRUST.split_at(16);
    let after = &rest[2 + usize::from(u16::from_be_bytes([rest[0], rest[1]]))..];
    for (written, alias) in [
        (&b"root"[..], "root"),
        ("b\u{fc}ro \u{4e2d} \u{1f4a1}".as_bytes(), "b\u{fc}ro \u{4e2d} \u{1f4a1}"),
        (b"b\xc3\xbcro \xe4\xb8\xad \xed\xa0\xbd\xed\xb2\xa1", "b\u{fc}ro \u{4e2d} \u{1f4a1}"),
        (b"a\xc0\x80b", "a\0b"),
        // Half of a pair, and no text at all
        (b"\xed\xa0\xbd!", "\u{fffd}!"),
        (b"\xff\xc3", "\u{fffd}\u{fffd}"),
    ] {
        let length = u16::try_from(written.len()).unwrap().to_be_bytes();
        let keystore = signed([before, &length, written, after].concat(), "changeit");
        let import = file::read(&keystore, "changeit").unwrap();
        assert_eq!(import.found_names(), [Some(alias)], "{written:?}");
    }
}

#[test]
fn one_key_that_is_encrypted_in_another_way_keeps_no_other_out() {
    // 1.3.6.1.4.1.42.2.17.1.1
    let oid = [0x2b, 6, 1, 4, 1, 0x2a, 2, 0x11, 1, 1];
    let mut keystore = KEYTOOL.to_vec();
    let at = keystore.windows(oid.len()).position(|window| window == oid).unwrap();
    keystore[at + oid.len() - 1] = 2;
    let mut import = file::read(&signed(keystore, "cardcase"), "cardcase").unwrap();
    import.pair().unwrap();
    assert_eq!(import.identities().count(), 2);
    let left_out: Vec<_> = import.left_out().map(|(_, what, why)| format!("{what}: {why}")).collect();
    assert!(left_out.iter().any(|text| text.ends_with("it is encrypted in an unknown way")), "{left_out:?}");
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
