//! What programs may read, what they may have signed, and what becomes of both when the store changes.

use cardcase::manage::Permission;
use cryptoki_sys::*;
use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::CertificateDer;

use crate::calls::own_process;
use crate::load::{Module, call, tls13};
use crate::person::{KEYS, Person};
use crate::support::fingerprint;

fn with(test: &str, permission: Permission) -> Option<Module> {
    let module = own_process(test, || Person::same().with_every_key(permission))?;
    assert_eq!(module.initialize(), CKR_OK);
    Some(module)
}

const CERTIFICATE: (CK_ATTRIBUTE_TYPE, [u8; 8]) = (CKA_CLASS, CKO_CERTIFICATE.to_ne_bytes());

fn slots(module: &Module) -> Vec<CK_SLOT_ID> {
    let (mut slots, mut count) = ([9; 4], 4);
    assert_eq!(call!(module, C_GetSlotList(1, slots.as_mut_ptr(), &raw mut count)), CKR_OK);
    slots[..count as usize].to_vec()
}

/// The labels of the private keys in both slots.
fn labels(module: &Module) -> Vec<String> {
    let mut labels = Vec::new();
    for slot in slots(module) {
        let session = module.session(slot);
        for key in module.find(session, &[(CKA_CLASS, &CKO_PRIVATE_KEY.to_ne_bytes())]) {
            labels.push(String::from_utf8(module.attribute(session, key, CKA_LABEL).unwrap()).unwrap());
        }
    }
    labels.sort();
    labels
}

#[test]
fn keys_of_ed25519_have_a_slot_of_their_own() {
    let Some(module) = with("objects::keys_of_ed25519_have_a_slot_of_their_own", Permission::Tls) else { return };
    assert_eq!(slots(&module), [0, 1]);
    for (slot, label, keys) in [(0, "cardcase", 4), (1, "cardcase Ed25519", 1)] {
        let mut info = CK_TOKEN_INFO::default();
        assert_eq!(call!(module, C_GetTokenInfo(slot, &raw mut info)), CKR_OK);
        assert_eq!(String::from_utf8_lossy(&info.label).trim_end(), label);
        assert_eq!(info.flags, CKF_TOKEN_INITIALIZED | CKF_WRITE_PROTECTED);
        assert!(info.serialNumber.iter().all(u8::is_ascii_hexdigit));
        let session = module.session(slot);
        assert_eq!(module.find(session, &[(CKA_CLASS, &CKO_PRIVATE_KEY.to_ne_bytes())]).len(), keys);
        // With the CA certificates of their chains
        assert_eq!(module.find(session, &[(CERTIFICATE.0, &CERTIFICATE.1)]).len(), keys + 2);
        assert!(module.find(session, &[(CKA_CLASS, &CKO_SECRET_KEY.to_ne_bytes())]).is_empty());
        assert!(module.find(session, &[(CKA_TOKEN, &[0])]).is_empty());
    }
}

#[test]
fn certificates_and_keys_have_the_attributes_that_programs_read() {
    let test = "objects::certificates_and_keys_have_the_attributes_that_programs_read";
    let Some(module) = with(test, Permission::Tls) else { return };
    for key in KEYS {
        let slot = u64::from(key.name() == "ed25519");
        let session = module.session(slot);
        let private = module.key(session, key.name());
        let read = |object, kind| module.attribute(session, object, kind);
        let id = read(private, CKA_ID).unwrap();
        let of_class = |class: CK_ULONG| {
            let found = module.find(session, &[(CKA_ID, &id), (CKA_CLASS, &class.to_ne_bytes())]);
            assert_eq!(found.len(), 1);
            found[0]
        };
        let (certificate, public) = (of_class(CKO_CERTIFICATE), of_class(CKO_PUBLIC_KEY));
        let der = read(certificate, CKA_VALUE).unwrap();
        assert_eq!(fingerprint(&der), id.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        assert_eq!(read(certificate, CKA_SUBJECT).unwrap(), parsed.subject().as_raw());
        assert_eq!(read(certificate, CKA_ISSUER).unwrap(), parsed.issuer().as_raw());
        let serial = read(certificate, CKA_SERIAL_NUMBER).unwrap();
        assert_eq!((serial[0], usize::from(serial[1]), &serial[2..]), (2, serial.len() - 2, parsed.raw_serial()));
        assert_eq!(read(certificate, CKA_TRUSTED).unwrap(), [0]);
        assert_eq!(read(certificate, CKA_START_DATE).unwrap().len(), 8);
        for object in [certificate, public, private] {
            assert_eq!(read(object, CKA_LABEL).unwrap(), key.name().as_bytes());
            assert_eq!(read(object, CKA_TOKEN).unwrap(), [1]);
            assert_eq!(read(object, CKA_PRIVATE).unwrap(), [0]);
            assert_eq!(read(object, CKA_PUBLIC_KEY_INFO).unwrap(), parsed.public_key().raw);
            assert_eq!(read(object, CKA_ALLOWED_MECHANISMS), Err(CKR_ATTRIBUTE_TYPE_INVALID));
        }
        for (attribute, value) in [
            (CKA_SIGN, 1),
            (CKA_SENSITIVE, 1),
            (CKA_EXTRACTABLE, 0),
            (CKA_ALWAYS_AUTHENTICATE, 0),
            (CKA_DECRYPT, 0),
            (CKA_UNWRAP, 0),
        ] {
            assert_eq!(read(private, attribute).unwrap(), [value], "{attribute:x}");
        }
        for secret in [CKA_VALUE, CKA_PRIVATE_EXPONENT, CKA_PRIME_1, CKA_PRIME_2, CKA_COEFFICIENT] {
            assert_eq!(read(private, secret), Err(CKR_ATTRIBUTE_SENSITIVE));
        }
        match key.name() {
            "rsa-2048" => {
                assert_eq!(read(public, CKA_MODULUS_BITS).unwrap(), 2048_u64.to_ne_bytes());
                assert_eq!(read(private, CKA_MODULUS).unwrap().len(), 256);
                assert_eq!(read(private, CKA_PUBLIC_EXPONENT).unwrap(), [1, 0, 1]);
            }
            _ => {
                let point = read(private, CKA_EC_POINT).unwrap();
                assert!(point[0] == 4 && point.ends_with(&parsed.public_key().subject_public_key.data));
                assert_eq!(read(public, CKA_EC_PARAMS).unwrap()[0], 6);
            }
        }
    }
}

/// A list with secrets, unknown attributes and too little room is answered for each of its members (PKCS#11 2.40 section 5.7).
#[test]
fn each_attribute_of_a_list_is_answered() {
    let Some(module) = with("objects::each_attribute_of_a_list_is_answered", Permission::Tls) else { return };
    let session = module.session(0);
    let key = module.key(session, "ec-p256");
    let (mut room, mut little) = ([0_u8; 100], [0_u8; 2]);
    let attribute =
        |type_, to: &mut [u8]| CK_ATTRIBUTE { type_, pValue: to.as_mut_ptr().cast(), ulValueLen: to.len() as CK_ULONG };
    let mut asked = [
        attribute(CKA_VALUE, &mut []),
        attribute(CKA_LABEL, &mut little),
        attribute(CKA_ID, &mut room),
        CK_ATTRIBUTE { type_: CKA_SIGN, pValue: std::ptr::null_mut(), ulValueLen: 0 },
    ];
    let code = call!(module, C_GetAttributeValue(session, key, asked.as_mut_ptr(), 4));
    assert!([CKR_ATTRIBUTE_SENSITIVE, CKR_BUFFER_TOO_SMALL].contains(&code));
    let lengths = asked.map(|attribute| attribute.ulValueLen);
    assert_eq!(lengths, [CK_UNAVAILABLE_INFORMATION, CK_UNAVAILABLE_INFORMATION, 32, 1]);
}

fn pss(digest: CK_MECHANISM_TYPE, mgf: CK_RSA_PKCS_MGF_TYPE, length: CK_ULONG) -> CK_RSA_PKCS_PSS_PARAMS {
    CK_RSA_PKCS_PSS_PARAMS { hashAlg: digest, mgf, sLen: length }
}

/// Every mechanism of every key, whole messages and digests; what is signed verifies with the certificate.
#[test]
fn every_mechanism_makes_signatures_that_verify() {
    let Some(module) = with("objects::every_mechanism_makes_signatures_that_verify", Permission::Any) else { return };
    let message = tls13();
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    let digests: [(_, _, &[u8], usize); 3] = [
        (
            CKM_SHA256,
            CKG_MGF1_SHA256,
            b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
            32,
        ),
        (
            CKM_SHA384,
            CKG_MGF1_SHA384,
            b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30",
            48,
        ),
        (
            CKM_SHA512,
            CKG_MGF1_SHA512,
            b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40",
            64,
        ),
    ];
    let session = module.session(0);
    let digest = |kind| {
        let mut mechanism = CK_MECHANISM { mechanism: kind, ..Default::default() };
        assert_eq!(call!(module, C_DigestInit(session, &raw mut mechanism)), CKR_OK);
        // In parts
        for part in [&message[..50], &message[50..]] {
            let part = (part.as_ptr().cast_mut(), part.len() as CK_ULONG);
            assert_eq!(call!(module, C_DigestUpdate(session, part.0, part.1)), CKR_OK);
        }
        let (mut digest, mut length) = ([0; 64], 64);
        assert_eq!(call!(module, C_DigestFinal(session, digest.as_mut_ptr(), &raw mut length)), CKR_OK);
        digest[..length as usize].to_vec()
    };
    let rsa = module.key(session, "rsa-2048");
    let schemes = [
        (
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PSS_SHA256,
            CKM_SHA256_RSA_PKCS,
            CKM_SHA256_RSA_PKCS_PSS,
        ),
        (
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PSS_SHA384,
            CKM_SHA384_RSA_PKCS,
            CKM_SHA384_RSA_PKCS_PSS,
        ),
        (
            SignatureScheme::RSA_PKCS1_SHA512,
            SignatureScheme::RSA_PSS_SHA512,
            CKM_SHA512_RSA_PKCS,
            CKM_SHA512_RSA_PKCS_PSS,
        ),
    ];
    for ((kind, mgf, info, length), (pkcs1, pss_scheme, pkcs1_whole, pss_whole)) in digests.into_iter().zip(schemes) {
        let digest = digest(kind);
        let info = [info, &digest].concat();
        let mut parameters = pss(kind, mgf, length as CK_ULONG);
        let mut by_pss = |mechanism| CK_MECHANISM {
            mechanism,
            pParameter: (&raw mut parameters).cast(),
            ulParameterLen: size_of::<CK_RSA_PKCS_PSS_PARAMS>() as CK_ULONG,
        };
        let (mut digested, mut whole) = (by_pss(CKM_RSA_PKCS_PSS), by_pss(pss_whole));
        for (scheme, signature) in [
            (pkcs1, module.sign(session, rsa, CKM_RSA_PKCS, &info)),
            (pkcs1, module.sign(session, rsa, pkcs1_whole, &message)),
            (pss_scheme, module.sign_by(session, rsa, &mut digested, &digest)),
            (pss_scheme, module.sign_by(session, rsa, &mut whole, &message)),
        ] {
            let signature = signature.unwrap_or_else(|code| panic!("{scheme:?}: {code:x}"));
            verify(&module, session, rsa, &algorithms, scheme, &message, signature);
        }
    }
    for (name, own, digest_kind, whole) in [
        ("ec-p256", SignatureScheme::ECDSA_NISTP256_SHA256, CKM_SHA256, CKM_ECDSA_SHA256),
        ("ec-p384", SignatureScheme::ECDSA_NISTP384_SHA384, CKM_SHA384, CKM_ECDSA_SHA384),
        ("ec-p521", SignatureScheme::ECDSA_NISTP521_SHA512, CKM_SHA512, CKM_ECDSA_SHA512),
        // As TLS 1.2 has it
        ("ec-p256", SignatureScheme::ECDSA_NISTP384_SHA384, CKM_SHA384, CKM_ECDSA_SHA384),
        ("ec-p384", SignatureScheme::ECDSA_NISTP256_SHA256, CKM_SHA256, CKM_ECDSA_SHA256),
    ] {
        let key = module.key(session, name);
        for (mechanism, data) in [(CKM_ECDSA, digest(digest_kind)), (whole, message.clone())] {
            let signature = module.sign(session, key, mechanism, &data);
            let signature = signature.unwrap_or_else(|code| panic!("{name} {own:?}: {code:x}"));
            verify(&module, session, key, &algorithms, own, &message, ecdsa_der(&signature));
        }
    }
    let session = module.session(1);
    let key = module.key(session, "ed25519");
    let signature = module.sign(session, key, CKM_EDDSA, &message).unwrap();
    verify(&module, session, key, &algorithms, SignatureScheme::ED25519, &message, signature);
}

/// Verifies with any of the algorithms of a scheme: a scheme of TLS 1.2 does not name the curve.
fn verify(
    module: &Module,
    session: CK_SESSION_HANDLE,
    key: CK_OBJECT_HANDLE,
    algorithms: &WebPkiSupportedAlgorithms,
    scheme: SignatureScheme,
    message: &[u8],
    signature: Vec<u8>,
) {
    let id = module.attribute(session, key, CKA_ID).unwrap();
    let found = module.find(session, &[(CKA_ID, &id), (CERTIFICATE.0, &CERTIFICATE.1)]);
    let certificate = module.attribute(session, found[0], CKA_VALUE).unwrap();
    let certificate = CertificateDer::from(certificate);
    let certificate = webpki::EndEntityCert::try_from(&certificate).unwrap();
    let (_, algorithms) = algorithms.mapping.iter().find(|(known, _)| *known == scheme).unwrap();
    let is_verified =
        algorithms.iter().any(|algorithm| certificate.verify_signature(*algorithm, message, &signature).is_ok());
    assert!(is_verified, "{scheme:?}");
}

/// r and s as DER.
fn ecdsa_der(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    let integer = |number: &[u8]| {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let number = &number[zeros..];
        let sign: &[u8] = if number[0] >= 0x80 { &[0] } else { &[] };
        [&[2, (sign.len() + number.len()) as u8], sign, number].concat()
    };
    let body = [integer(r), integer(s)].concat();
    let length = if body.len() < 0x80 { vec![body.len() as u8] } else { vec![0x81, body.len() as u8] };
    [&[0x30][..], &length, &body].concat()
}

#[test]
fn asking_for_the_size_signs_nothing_and_too_little_room_does_not_end_it() {
    let test = "objects::asking_for_the_size_signs_nothing_and_too_little_room_does_not_end_it";
    let Some(module) = with(test, Permission::Tls) else { return };
    let session = module.session(0);
    let key = module.key(session, "ec-p384");
    let mut mechanism = CK_MECHANISM { mechanism: CKM_ECDSA_SHA384, ..Default::default() };
    let message = tls13();
    let (data, size) = (message.as_ptr().cast_mut(), message.len() as CK_ULONG);
    assert_eq!(call!(module, C_SignInit(session, &raw mut mechanism, key)), CKR_OK);
    assert_eq!(call!(module, C_SignInit(session, &raw mut mechanism, key)), CKR_OPERATION_ACTIVE);
    let mut length = 0;
    assert_eq!(call!(module, C_Sign(session, data, size, std::ptr::null_mut(), &raw mut length)), CKR_OK);
    assert_eq!(length, 96);
    let mut signature = [0; 96];
    length = 95;
    let sign = |signature: &mut [u8], length: &mut CK_ULONG| {
        call!(module, C_Sign(session, data, size, signature.as_mut_ptr(), length))
    };
    assert_eq!(sign(&mut signature, &mut length), CKR_BUFFER_TOO_SMALL);
    assert_eq!((length, signature), (96, [0; 96]));
    assert_eq!(sign(&mut signature, &mut length), CKR_OK);
    assert_ne!(signature, [0; 96]);
    assert_eq!(sign(&mut signature, &mut length), CKR_OPERATION_NOT_INITIALIZED);
    // Without a mechanism, what was begun ends
    assert_eq!(call!(module, C_SignInit(session, &raw mut mechanism, key)), CKR_OK);
    assert_eq!(call!(module, C_SignInit(session, std::ptr::null_mut(), 0)), CKR_OK);
    assert_eq!(sign(&mut signature, &mut length), CKR_OPERATION_NOT_INITIALIZED);
}

#[test]
fn no_function_signs_what_is_not_permitted() {
    let Some(module) = with("objects::no_function_signs_what_is_not_permitted", Permission::Tls) else { return };
    let session = module.session(0);
    let key = module.key(session, "ec-p256");
    // A digest, a document, and something in parts
    let refused = Err(CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_eq!(module.sign(session, key, CKM_ECDSA, &[7; 32]), refused);
    assert_eq!(module.sign(session, key, CKM_ECDSA_SHA256, b"I owe you"), refused);
    assert_eq!(module.sign(session, key, CKM_ECDSA_SHA384, &tls13()), refused);
    let mut mechanism = CK_MECHANISM { mechanism: CKM_ECDSA_SHA256, ..Default::default() };
    assert_eq!(call!(module, C_SignInit(session, &raw mut mechanism, key)), CKR_OK);
    let mut part = *b"I owe you";
    assert_eq!(call!(module, C_SignUpdate(session, part.as_mut_ptr(), part.len() as CK_ULONG)), CKR_OK);
    let (mut signature, mut length) = ([0_u8; 64], 64);
    let code = call!(module, C_SignFinal(session, signature.as_mut_ptr(), &raw mut length));
    assert_eq!((code, signature), (CKR_KEY_FUNCTION_NOT_PERMITTED, [0; 64]));
    // The error has ended it, and what is permitted is signed
    assert!(module.sign(session, key, CKM_ECDSA_SHA256, &tls13()).is_ok());
    // A key does not sign by the mechanisms of another kind, and a certificate not at all
    assert_eq!(module.sign(session, key, CKM_SHA256_RSA_PKCS, &tls13()), Err(CKR_KEY_TYPE_INCONSISTENT));
    assert_eq!(module.sign(session, key, CKM_RSA_X_509, &tls13()), Err(CKR_MECHANISM_INVALID));
    let certificate = module.find(session, &[(CERTIFICATE.0, &CERTIFICATE.1)])[0];
    assert_eq!(module.sign(session, certificate, CKM_ECDSA, &[7; 32]), Err(CKR_KEY_FUNCTION_NOT_PERMITTED));
    // That of GnuTLS, which says nothing
    let mut self_test = CK_MECHANISM { mechanism: CKM_SHA256, ..Default::default() };
    assert_eq!(call!(module, C_DigestInit(session, &raw mut self_test)), CKR_OK);
    let (mut text, mut digest, mut length) = (*b"test text", [0; 32], 32);
    let code = call!(
        module,
        C_Digest(session, text.as_mut_ptr(), text.len() as CK_ULONG, digest.as_mut_ptr(), &raw mut length)
    );
    assert_eq!(code, CKR_OK);
    assert!(module.sign(session, key, CKM_ECDSA, &digest).is_ok());
}

/// The test process changes the store of the person whose module it has loaded.
#[test]
fn a_search_sees_what_was_changed_since_the_last_one() {
    let test = "objects::a_search_sees_what_was_changed_since_the_last_one";
    let Some(module) = with(test, Permission::Tls) else { return };
    let path = std::env::var_os("CARDCASE_STORE").unwrap();
    let store = cardcase::Store::open(&path).unwrap();
    store.unlock_fully(&crate::person::Nobody).unwrap();
    let identity = |name: &str| store.find_identity(name).unwrap();
    let session = module.session(0);
    let (p256, p384) = (module.key(session, "ec-p256"), module.key(session, "ec-p384"));
    let all = ["ec-p256", "ec-p384", "ec-p521", "ed25519", "rsa-2048"];
    assert_eq!(labels(&module), all);

    store.permit(&identity("ec-p256"), Permission::Off, cardcase::manage::Confirmation::Never).unwrap();
    // A key that is not permitted any more signs nothing, even before the next search
    assert_eq!(module.sign(session, p256, CKM_ECDSA_SHA256, &tls13()), Err(CKR_KEY_FUNCTION_NOT_PERMITTED));
    assert_eq!(labels(&module), all[1..]);
    assert_eq!(module.attribute(session, p256, CKA_LABEL), Err(CKR_OBJECT_HANDLE_INVALID));
    assert_eq!(module.sign(session, p256, CKM_ECDSA_SHA256, &tls13()), Err(CKR_KEY_HANDLE_INVALID));

    store.permit(&identity("ec-p256"), Permission::Any, cardcase::manage::Confirmation::Never).unwrap();
    assert_ne!(module.key(session, "ec-p256"), p256);

    // Another name, the same object
    store.rename(&identity("ec-p384"), "work").unwrap();
    assert_eq!(module.key(session, "work"), p384);
    assert!(module.sign(session, p384, CKM_ECDSA_SHA384, &tls13()).is_ok());

    store.remove(&[identity("work").fingerprint(), identity("ed25519").fingerprint()]).unwrap();
    assert_eq!(module.sign(session, p384, CKM_ECDSA_SHA384, &tls13()), Err(CKR_KEY_HANDLE_INVALID));
    assert_eq!(labels(&module), ["ec-p256", "ec-p521", "rsa-2048"]);
    // The slot stays, because programs keep its number
    assert_eq!(slots(&module), [0, 1]);

    // A store that is gone is an empty token, and one that comes is seen
    drop(store);
    let away = std::path::Path::new(&path).with_extension("away");
    std::fs::rename(&path, &away).unwrap();
    assert_eq!(labels(&module), Vec::<String>::new());
    std::fs::rename(&away, &path).unwrap();
    assert_eq!(labels(&module), ["ec-p256", "ec-p521", "rsa-2048"]);
}

#[test]
fn identities_that_are_off_are_not_shown() {
    let Some(module) = with("objects::identities_that_are_off_are_not_shown", Permission::Off) else { return };
    assert_eq!(slots(&module), [0]);
    assert!(module.find(module.session(0), &[]).is_empty());
    assert_eq!(module.try_session(1), Err(CKR_SLOT_ID_INVALID));
}
