use cardcase::Error;
use cardcase::manage::Timestamp;
use cardcase::manage::{Certificate, Import};
use rcgen::{
    CertificateParams, DnType, DnValue, ExtendedKeyUsagePurpose as Eku, KeyPair, KeyUsagePurpose as Ku, SanType,
    SerialNumber,
};
use rustls::SignatureScheme as Scheme;

use crate::pki::{Ca, DAY, Leaf, NOW, ca_params, params, parse, valid};

#[test]
fn each_key_has_a_kind_and_signature_schemes() {
    let ca = Ca::root("Root");
    let rsa_pss = [Scheme::RSA_PSS_SHA512, Scheme::RSA_PSS_SHA384, Scheme::RSA_PSS_SHA256];
    let cases = [
        (&rcgen::PKCS_ECDSA_P256_SHA256, "ec-p256", &[Scheme::ECDSA_NISTP256_SHA256][..]),
        (&rcgen::PKCS_ECDSA_P384_SHA384, "ec-p384", &[Scheme::ECDSA_NISTP384_SHA384]),
        (&rcgen::PKCS_ECDSA_P521_SHA512, "ec-p521", &[Scheme::ECDSA_NISTP521_SHA512]),
        (&rcgen::PKCS_ED25519, "ed25519", &[Scheme::ED25519]),
        (&rcgen::PKCS_RSA_SHA256, "rsa-2048", &rsa_pss),
    ];
    for (algorithm, shown, schemes) in cases {
        let leaf = ca.leaf_with(params("a"), algorithm);
        assert_eq!(leaf.certificate.key().to_string(), shown);
        assert!(leaf.certificate.schemes().take(schemes.len()).eq(schemes.iter().copied()), "{shown}");
        leaf.add_to(&mut Import::default(), None);
    }
}

fn with(change: impl FnOnce(&mut CertificateParams)) -> Certificate {
    let mut params = CertificateParams::default();
    change(&mut params);
    parse(&params.self_signed(&KeyPair::generate().unwrap()).unwrap())
}

#[test]
fn usages_are_named_and_a_missing_extension_is_none() {
    let plain = with(|_| ());
    assert_eq!((plain.key_usage(), plain.extended_key_usage()), (None, None));
    let used = with(|params| {
        params.key_usages = vec![Ku::DecipherOnly, Ku::DigitalSignature, Ku::KeyAgreement];
        params.extended_key_usages = vec![Eku::ClientAuth, Eku::Other(vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 2]), Eku::Any];
    });
    assert_eq!(used.key_usage().unwrap(), ["digitalSignature", "keyAgreement", "decipherOnly"]);
    let extended = used.extended_key_usage().unwrap();
    assert_eq!(extended, ["anyExtendedKeyUsage", "clientAuth", "1.3.6.1.4.1.311.20.2.2"]);
}

#[test]
fn an_invalid_usage_extension_forbids_the_use() {
    for oid in [[2, 5, 29, 15], [2, 5, 29, 37]] {
        let broken = rcgen::CustomExtension::from_oid_content(&oid, vec![0x30, 0x03, 0x02, 0x05, 0x00]);
        let certificate = with(|params| params.custom_extensions = vec![broken]);
        assert!(!(certificate.allows_signing() && certificate.allows_client_auth()), "{oid:?}");
    }
}

#[test]
fn email_addresses_come_from_both_fields_without_duplicates() {
    let email = |text: &str| SanType::Rfc822Name(text.try_into().unwrap());
    let certificate = with(|params| {
        params.subject_alt_names = vec![email("a@example.org"), email("b@example.org")];
        let address = DnType::CustomDnType(vec![1, 2, 840, 113549, 1, 9, 1]);
        params.distinguished_name.push(address, DnValue::Ia5String("a@example.org".try_into().unwrap()));
    });
    assert_eq!(certificate.emails(), ["a@example.org", "b@example.org"]);
}

#[test]
fn the_serial_number_is_shown_without_leading_zeros() {
    let cases: [(&[u8], &str); 4] =
        [(&[0], "00"), (&[1], "01"), (&[0x80, 1], "8001"), (&[0xab; 20], "abababababababababababababababababababab")];
    for (serial, shown) in cases {
        let certificate = with(|params| params.serial_number = Some(SerialNumber::from_slice(serial)));
        assert_eq!(certificate.serial(), shown);
    }
}

#[test]
fn validity_issuer_and_ca_status_are_read() {
    let ca = Ca::root("Root");
    let (from, until) = (Timestamp(NOW.0 - DAY), Timestamp(NOW.0 + DAY));
    let leaf = ca.leaf_of(valid(params("a"), from, until)).certificate;
    assert_eq!((leaf.not_before(), leaf.not_after()), (from, until));
    assert_eq!((leaf.is_ca(), leaf.is_self_issued(), leaf.version()), (false, false, 3));
    assert_eq!((ca.certificate.is_ca(), ca.certificate.is_self_issued()), (true, true));
    assert!(leaf.could_be_issued_by(&ca.certificate));
    assert!(!ca.certificate.could_be_issued_by(&leaf));
}

#[test]
fn signatures_distinguish_authorities_with_the_same_name() {
    let (one, two) = (Ca::root("Root"), Ca::root("Root"));
    let mut identified = params("a");
    identified.use_authority_key_identifier_extension = true;
    let leaf = one.leaf_of(identified).certificate;
    assert!(leaf.could_be_issued_by(&one.certificate));
    assert!(!leaf.could_be_issued_by(&two.certificate));
    let unidentified = one.leaf("a").certificate;
    assert!(unidentified.could_be_issued_by(&one.certificate));
    assert!(!unidentified.could_be_issued_by(&two.certificate));
}

fn is_damage(der: Vec<u8>) -> bool {
    matches!(Certificate::from_der(der), Err(Error::Certificate { .. }))
}

#[test]
fn a_truncated_or_extended_certificate_is_damaged() {
    let whole = Leaf::self_signed(ca_params("a")).certificate.der().to_vec();
    for length in 0..whole.len() {
        assert!(is_damage(whole[..length].to_vec()), "the first {length} bytes");
    }
    assert!(is_damage([&whole[..], &[0]].concat()));
    assert!(is_damage([&whole[..], &whole[..]].concat()));
}

#[test]
fn no_changed_byte_makes_the_parser_panic() {
    let whole = Ca::root("Root").leaf("a").certificate.der().to_vec();
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[at] ^= flip;
            if let Ok(certificate) = Certificate::from_der(changed) {
                let _ = (certificate.subject().to_string(), certificate.serial(), certificate.key().to_string());
            }
        }
    }
}
