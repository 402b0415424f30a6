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
    let mut import = Import::from_file(certificates.collect(), keys.collect(), true, false);
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
    let ca = Ca::root("Root");
    let (leaf, keyless) = (ca.leaf("a"), ca.leaf("Keyless"));
    let cases: [&[Bag<'_, Leaf>]; 2] = [&[], &[(&leaf, None, None)]];
    for keys in cases {
        let certificates = [(&leaf.certificate, None, None), (&keyless.certificate, None, None)];
        let certificates = if keys.is_empty() { &certificates[1..] } else { &certificates[..] };
        let error = read(certificates, keys).unwrap_err();
        assert!(matches!(&error, Error::CertificateWithoutKey { subject, .. } if subject == "CN=Keyless"), "{error}");
    }
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
fn errors_name_the_file() {
    let ca = Ca::root("Root");
    let (leaf, lonely) = (ca.leaf("a"), ca.leaf("b"));
    let certificate = |leaf: &Leaf| FoundCertificate::new(leaf.certificate.clone(), None, None);
    let key = |leaf: &Leaf| FoundKey::new(PrivateKey::from_pkcs8(Zeroizing::new(leaf.pkcs8.clone())), None, None);
    let mut whole = Import::from_file(vec![certificate(&leaf)], Vec::new(), false, false);
    whole.extend(Import::from_file(Vec::new(), vec![key(&leaf)], false, false));
    let mut import = whole.clone();
    import.extend(Import::from_file(Vec::new(), vec![key(&lonely)], false, false));
    assert!(matches!(import.pair(), Err(Error::KeyWithoutCertificate { file: 2, .. })));
    let mut import = whole.clone();
    import.extend(Import::from_file(vec![certificate(&lonely)], Vec::new(), false, false));
    assert!(matches!(import.pair(), Err(Error::CertificateWithoutKey { file: 2, .. })));
    whole.pair().unwrap();
    assert_complete(&whole, &[&leaf]);
}

#[test]
fn a_file_with_a_locked_part_is_not_imported() {
    let leaf = Ca::root("Root").leaf("a");
    let certificates = vec![FoundCertificate::new(leaf.certificate, None, None)];
    let error = Import::from_file(certificates, Vec::new(), true, true).pair().unwrap_err();
    assert!(matches!(error, Error::File(error::file::Error::ContentPassword)));
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
