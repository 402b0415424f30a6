#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use rcgen::KeyPair;
use zeroize::Zeroizing;

use super::*;
use crate::pki::{Ca, Leaf, params};

/// A bag of the file: whose, friendlyName, localKeyId.
type Bag<'a, T> = (&'a T, Option<&'a str>, Option<u8>);

fn read(certificates: &[Bag<'_, Certificate>], keys: &[Bag<'_, Leaf>]) -> Result<Import, Error> {
    let attributes = |name: &Option<&str>, id: &Option<u8>| (name.map(str::to_owned), id.map(|id| vec![id]));
    let certificates = certificates.iter().map(|(certificate, name, id)| {
        let (name, id) = attributes(name, id);
        FoundCertificate::new((*certificate).clone(), name, id)
    });
    let keys = keys.iter().map(|(leaf, name, id)| {
        let (name, id) = attributes(name, id);
        FoundKey::new(PrivateKey::from_pkcs8(Zeroizing::new(leaf.pkcs8.clone())), name, id)
    });
    let mut import = Import::from_file(certificates.collect(), keys.collect(), Vec::new(), true);
    import.pair()?;
    Ok(import)
}

/// Each identity is complete: its key signs for its certificate.
fn assert_complete(import: &Import, expected: &[&Leaf]) {
    let mut found: Vec<_> = import.identities().map(Certificate::fingerprint).collect();
    let mut wanted: Vec<_> = expected.iter().map(|leaf| leaf.fingerprint()).collect();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    for new in &import.identities {
        new.key.signing_key(&new.certificate).unwrap();
    }
}

#[test]
fn keys_are_paired_by_public_key_and_not_by_local_key_id() {
    let ca = Ca::root("Root");
    let algorithms = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256];
    let leaves = algorithms.map(|algorithm| ca.leaf_with(params("a"), algorithm));
    let ids = [("right", [Some(1), Some(2), Some(3)]), ("crossed", [Some(2), Some(3), Some(1)])];
    let more = [("missing", [None; 3]), ("all the same", [Some(1); 3]), ("unknown", [Some(7), Some(8), Some(9)])];
    for (what, key_ids) in ids.into_iter().chain(more) {
        let certificates: Vec<Bag<'_, Certificate>> =
            (1..).zip(&leaves).map(|(id, leaf)| (&leaf.certificate, None, Some(id))).collect();
        let keys: Vec<Bag<'_, Leaf>> = leaves.iter().zip(key_ids).map(|(leaf, id)| (leaf, None, id)).collect();
        let import = read(&certificates, &keys).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_complete(&import, &leaves.each_ref());
    }
}

#[test]
fn chain_certificates_become_authorities() {
    let root = Ca::root("Root");
    let issuer = root.intermediate("Issuer");
    let leaf = issuer.leaf("a");
    let certificates = [&root.certificate, &leaf.certificate, &issuer.certificate, &leaf.certificate];
    let import = read(&certificates.map(|certificate| (certificate, None, None)), &[(&leaf, None, None)]).unwrap();
    assert_complete(&import, &[&leaf]);
    assert_eq!(import.authorities, [root.certificate, issuer.certificate]);
}

#[test]
fn two_certificates_may_share_one_key() {
    let (one, two) = (Ca::root("One"), Ca::root("Two"));
    let key = KeyPair::generate().unwrap();
    let leaves = [&one, &two].map(|ca| Leaf { certificate: ca.sign(params("a"), &key), pkcs8: key.serialize_der() });
    let [a, b] = &leaves;
    let certificates = [(&a.certificate, Some("first"), Some(1)), (&b.certificate, Some("second"), None)];
    for keys in [&[(a, None, Some(1))][..], &[(a, None, Some(1)), (b, None, None)]] {
        let import = read(&certificates, keys).unwrap();
        assert_complete(&import, &[a, b]);
        let names: Vec<_> = import.identities.iter().map(|new| new.friendly_name.as_deref()).collect();
        assert_eq!(names, [Some("first"), Some("second")]);
    }
}

#[test]
fn the_name_of_the_key_is_preferred() {
    let leaf = Ca::root("Root").leaf("a");
    let cases = [
        (Some("key"), Some("certificate"), Some("key")),
        (None, Some("certificate"), Some("certificate")),
        (Some("key"), None, Some("key")),
        (None, None, None),
    ];
    for (of_key, of_certificate, expected) in cases {
        let import = read(&[(&leaf.certificate, of_certificate, None)], &[(&leaf, of_key, None)]).unwrap();
        assert_eq!(import.identities[0].friendly_name.as_deref(), expected);
    }
}

#[test]
fn a_key_without_its_certificate_is_named() {
    let ca = Ca::root("Root");
    let (leaf, lonely) = (ca.leaf("a"), ca.leaf("b"));
    for certificates in [&[][..], &[(&leaf.certificate, None, Some(1))]] {
        let error = read(certificates, &[(&lonely, Some("lonely"), Some(1))]).unwrap_err();
        assert!(matches!(&error, Error::KeyWithoutCertificate { name, .. } if name.as_deref() == Some("lonely")));
        assert!(error.to_string().contains("lonely"));
    }
}

#[test]
fn a_certificate_without_its_key_is_named() {
    let keyless = Ca::root("Root").leaf("Keyless");
    let error = read(&[(&keyless.certificate, None, None)], &[]).unwrap_err();
    assert!(matches!(&error, Error::CertificateWithoutKey { subject, .. } if subject == "CN=Keyless"), "{error}");
}

#[test]
fn a_file_may_hold_only_authorities() {
    let root = Ca::root("Root");
    let issuer = root.intermediate("Issuer");
    let import = read(&[(&issuer.certificate, None, None), (&root.certificate, None, None)], &[]).unwrap();
    assert_complete(&import, &[]);
    assert_eq!(import.authorities, [issuer.certificate, root.certificate]);
}

#[test]
fn an_empty_file_is_an_error() {
    assert!(matches!(read(&[], &[]), Err(Error::EmptyFile)));
    assert!(Import::default().pair().is_ok(), "nothing was read");
}

#[test]
fn files_that_hold_nothing_are_dropped_and_each_is_named() {
    let root = Ca::root("Root");
    let (leaf, keyless) = (root.leaf("a"), root.leaf("b"));
    let certificate = |certificate: &Certificate| FoundCertificate::new(certificate.clone(), None, None);
    let key = |leaf: &Leaf| FoundKey::new(PrivateKey::from_pkcs8(Zeroizing::new(leaf.pkcs8.clone())), None, None);
    let file = |certificates, keys| Import::from_file(certificates, keys, Vec::new(), false);
    let mut import = Import::default();
    import.extend(file(vec![certificate(&keyless.certificate)], Vec::new()));
    import.extend(file(vec![certificate(&leaf.certificate), certificate(&keyless.certificate)], Vec::new()));
    import.extend(file(Vec::new(), Vec::new()));
    import.extend(file(vec![certificate(&root.certificate)], vec![key(&leaf)]));
    import.extend(file(vec![certificate(&keyless.certificate)], Vec::new()));
    assert!(matches!(import.clone().pair(), Err(Error::CertificateWithoutKey { file: 0, .. })));

    let useless = import.pair_useful().unwrap();
    let [(0, first), (2, second), (4, third)] = useless.as_slice() else { panic!("{useless:?}") };
    assert!(matches!(first, Error::CertificateWithoutKey { file: 0, .. }), "{first:?}");
    assert!(matches!(second, Error::EmptyFile), "{second:?}");
    assert!(matches!(third, Error::CertificateWithoutKey { file: 4, .. }), "{third:?}");
    assert_complete(&import, &[&leaf]);
    assert_eq!(import.authorities, [root.certificate]);
    import.pair().unwrap();
}

#[test]
fn errors_name_the_file() {
    let ca = Ca::root("Root");
    let (leaf, lonely) = (ca.leaf("a"), ca.leaf("b"));
    let certificate = |leaf: &Leaf| FoundCertificate::new(leaf.certificate.clone(), None, None);
    let key = |leaf: &Leaf| FoundKey::new(PrivateKey::from_pkcs8(Zeroizing::new(leaf.pkcs8.clone())), None, None);
    let mut whole = Import::from_file(vec![certificate(&leaf)], Vec::new(), Vec::new(), false);
    whole.extend(Import::from_file(Vec::new(), vec![key(&leaf)], Vec::new(), false));
    let mut import = whole.clone();
    import.extend(Import::from_file(Vec::new(), vec![key(&lonely)], Vec::new(), false));
    assert!(matches!(import.pair(), Err(Error::KeyWithoutCertificate { file: 2, .. })));
    let mut import = whole.clone();
    import.extend(Import::from_file(vec![certificate(&lonely)], Vec::new(), Vec::new(), false));
    assert!(matches!(import.pair(), Err(Error::CertificateWithoutKey { file: 2, .. })));
    whole.pair().unwrap();
    assert_complete(&whole, &[&leaf]);
}

/// A Java keystore with trusted servers, or a client's certificate with its server's beside it.
#[test]
fn other_certificates_are_left_out_beside_an_identity_or_a_ca() {
    let ca = Ca::root("Root");
    let (leaf, server) = (ca.leaf("a"), ca.leaf("server"));
    let bag = |certificate| (certificate, None, None);
    let import = read(&[bag(&server.certificate), bag(&leaf.certificate)], &[(&leaf, None, None)]).unwrap();
    assert_complete(&import, &[&leaf]);
    let why = "it is not a CA certificate, and its private key is not there".to_owned();
    assert_eq!(import.left_out().collect::<Vec<_>>(), [(0, "CN=server", why.clone())]);
    let import = read(&[bag(&server.certificate), bag(&ca.certificate)], &[]).unwrap();
    assert_eq!(import.authorities, [ca.certificate]);
    assert_eq!(import.left_out().collect::<Vec<_>>(), [(0, "CN=server", why)]);
}

#[test]
fn a_certificate_that_was_left_out_is_paired_when_its_key_comes() {
    let ca = Ca::root("Root");
    let (leaf, late) = (ca.leaf("a"), ca.leaf("late"));
    let certificates = [(&late.certificate, None, None), (&leaf.certificate, None, None)];
    let mut import = read(&certificates, &[(&leaf, None, None)]).unwrap();
    import.pair().unwrap();
    assert_eq!(import.left_out().count(), 1, "nothing changes when it is paired again");
    assert!(import.unpaired_public_keys().eq([late.certificate.canonical_public_key()]));
    import.add_key(PrivateKey::from_pkcs8(Zeroizing::new(late.pkcs8.clone())));
    import.pair().unwrap();
    assert_complete(&import, &[&leaf, &late]);
    assert_eq!(import.left_out().count(), 0);
}

/// What is damaged may be the certificate of the key.
#[test]
fn a_damaged_certificate_is_left_out_unless_a_key_needs_it() {
    let leaf = Ca::root("Root").leaf("a");
    let key = || FoundKey::new(PrivateKey::from_pkcs8(Zeroizing::new(leaf.pkcs8.clone())), None, None);
    let damaged = || {
        let error = error::file::Error::Certificate { detail: "garbage".to_owned() };
        LeftOut::damaged("a certificate".to_owned(), error)
    };
    let whole = || vec![FoundCertificate::new(leaf.certificate.clone(), None, None)];
    let mut import = Import::from_file(whole(), vec![key()], vec![damaged()], true);
    import.pair().unwrap();
    assert_complete(&import, &[&leaf]);
    let left_out: Vec<_> = import.left_out().collect();
    assert_eq!(left_out, [(0, "a certificate", "a certificate is damaged: garbage".to_owned())]);
    for (certificates, keys) in [(Vec::new(), vec![key()]), (Vec::new(), Vec::new()), (whole(), Vec::new())] {
        let error = Import::from_file(certificates, keys, vec![damaged()], true).pair().unwrap_err();
        assert!(matches!(error, Error::InFile { file: 0, .. }), "{error}");
    }
}

#[test]
fn a_file_of_other_things_says_what_it_holds() {
    let secret = LeftOut::other("a secret key".to_owned(), "");
    let error = Import::from_file(Vec::new(), Vec::new(), vec![secret], true).pair().unwrap_err();
    assert_eq!(error.to_string(), "there is no certificate and no private key in it, only a secret key");
}

/// Of several files that are paired together, each must be good for something.
#[test]
fn a_file_that_adds_nothing_is_an_error() {
    let ca = Ca::root("Root");
    let (leaf, server) = (ca.leaf("a"), ca.leaf("server"));
    let certificate = |leaf: &Leaf| FoundCertificate::new(leaf.certificate.clone(), None, None);
    let key = FoundKey::new(PrivateKey::from_pkcs8(Zeroizing::new(leaf.pkcs8.clone())), None, None);
    let mut import = Import::from_file(vec![certificate(&leaf)], vec![key], Vec::new(), false);
    // The same certificate again is good for the same identity
    import.extend(Import::from_file(vec![certificate(&leaf)], Vec::new(), Vec::new(), false));
    import.extend(Import::from_file(vec![certificate(&server)], Vec::new(), Vec::new(), false));
    assert!(matches!(import.pair(), Err(Error::CertificateWithoutKey { file: 2, .. })));
}

#[test]
fn a_key_is_accepted_only_with_its_own_certificate() {
    let ca = Ca::root("Root");
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256] {
        let (one, two) = (ca.leaf_with(params("a"), algorithm), ca.leaf_with(params("b"), algorithm));
        let error = Import::default().add_identity(two.certificate, one.pkcs8.into(), None).unwrap_err();
        assert!(matches!(&error, Error::KeyMismatch { subject } if subject == "CN=b"), "{error}");
    }
}
