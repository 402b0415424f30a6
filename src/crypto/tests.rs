//! Each library against the other, and against the signing keys of rustls. A build with both features tests both, and them together.

use std::slice;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsBigEndian, EcPrivateKeyBin};
use aws_lc_rs::signature as aws;
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256,
    RsaKeySize,
};
use ring::signature as ring;
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use sha2::Digest;
use zeroize::Zeroizing;

use super::{Key, RSA_SCHEMES, digest_for};

type Made = Result<Zeroizing<Vec<u8>>, String>;

/// What the rest of the crate uses of a library.
struct Library {
    name: &'static str,
    load: fn(&[u8]) -> Option<Arc<Key>>,
    load_rsa: fn(&[u8]) -> Option<Arc<Key>>,
    signs_with_rsa: fn(usize) -> bool,
    verifies: fn(SignatureScheme, &[u8], &[u8], &[u8]) -> bool,
    has_curve: fn(SignatureScheme) -> bool,
    public_point: fn(SignatureScheme, &[u8]) -> Option<Vec<u8>>,
    generate_ec: fn(SignatureScheme) -> Made,
    generate_ed25519: fn() -> Made,
    generate_rsa: fn(usize) -> Made,
}

macro_rules! library {
    ($module:path) => {{
        use $module as module;
        Library {
            name: module::NAME,
            load: module::load,
            load_rsa: module::load_rsa,
            signs_with_rsa: module::signs_with_rsa,
            verifies: module::verifies,
            has_curve: module::has_curve,
            public_point: module::public_point,
            generate_ec: module::generate_ec,
            generate_ed25519: module::generate_ed25519,
            generate_rsa: module::generate_rsa,
        }
    }};
}

fn libraries() -> Vec<Library> {
    vec![
        #[cfg(feature = "aws-lc-rs")]
        library!(super::aws_lc_rs),
        #[cfg(feature = "ring")]
        library!(super::ring),
        #[cfg(all(feature = "aws-lc-rs", feature = "ring"))]
        library!(super::both),
    ]
}

const MESSAGE: &[u8] = b"what a client signs";

const P256: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
const P384: SignatureScheme = SignatureScheme::ECDSA_NISTP384_SHA384;
const P521: SignatureScheme = SignatureScheme::ECDSA_NISTP521_SHA512;

fn every_scheme() -> Vec<SignatureScheme> {
    let others = [P256, P384, P521, SignatureScheme::ED25519, SignatureScheme::ED448, SignatureScheme::RSA_PKCS1_SHA1];
    RSA_SCHEMES.into_iter().chain(others).collect()
}

/// A key of each kind that rustls signs with, and its schemes in the order of preference.
fn keys() -> Vec<(KeyPair, Vec<SignatureScheme>)> {
    let rsa = |size| (KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size).unwrap(), RSA_SCHEMES.to_vec());
    let other = |kind, scheme| (KeyPair::generate_for(kind).unwrap(), vec![scheme]);
    vec![
        rsa(RsaKeySize::_2048),
        rsa(RsaKeySize::_3072),
        rsa(RsaKeySize::_4096),
        other(&PKCS_ECDSA_P256_SHA256, P256),
        other(&PKCS_ECDSA_P384_SHA384, P384),
        other(&PKCS_ECDSA_P521_SHA512, P521),
        other(&PKCS_ED25519, SignatureScheme::ED25519),
    ]
}

/// Whether ring verifies the signature; `None` if it does not know the scheme.
fn ring_verifies(scheme: SignatureScheme, public: &[u8], message: &[u8], signature: &[u8]) -> Option<bool> {
    let algorithm: &dyn ring::VerificationAlgorithm = match scheme {
        SignatureScheme::RSA_PSS_SHA256 => &ring::RSA_PSS_2048_8192_SHA256,
        SignatureScheme::RSA_PSS_SHA384 => &ring::RSA_PSS_2048_8192_SHA384,
        SignatureScheme::RSA_PSS_SHA512 => &ring::RSA_PSS_2048_8192_SHA512,
        SignatureScheme::RSA_PKCS1_SHA256 => &ring::RSA_PKCS1_2048_8192_SHA256,
        SignatureScheme::RSA_PKCS1_SHA384 => &ring::RSA_PKCS1_2048_8192_SHA384,
        SignatureScheme::RSA_PKCS1_SHA512 => &ring::RSA_PKCS1_2048_8192_SHA512,
        P256 => &ring::ECDSA_P256_SHA256_ASN1,
        P384 => &ring::ECDSA_P384_SHA384_ASN1,
        SignatureScheme::ED25519 => &ring::ED25519,
        _ => return None,
    };
    Some(ring::UnparsedPublicKey::new(algorithm, public).verify(message, signature).is_ok())
}

/// Whether aws-lc-rs verifies the signature.
fn aws_lc_rs_verifies(scheme: SignatureScheme, public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let algorithm: &dyn aws::VerificationAlgorithm = match scheme {
        SignatureScheme::RSA_PSS_SHA256 => &aws::RSA_PSS_2048_8192_SHA256,
        SignatureScheme::RSA_PSS_SHA384 => &aws::RSA_PSS_2048_8192_SHA384,
        SignatureScheme::RSA_PSS_SHA512 => &aws::RSA_PSS_2048_8192_SHA512,
        SignatureScheme::RSA_PKCS1_SHA256 => &aws::RSA_PKCS1_2048_8192_SHA256,
        SignatureScheme::RSA_PKCS1_SHA384 => &aws::RSA_PKCS1_2048_8192_SHA384,
        SignatureScheme::RSA_PKCS1_SHA512 => &aws::RSA_PKCS1_2048_8192_SHA512,
        P256 => &aws::ECDSA_P256_SHA256_ASN1,
        P384 => &aws::ECDSA_P384_SHA384_ASN1,
        P521 => &aws::ECDSA_P521_SHA512_ASN1,
        SignatureScheme::ED25519 => &aws::ED25519,
        _ => return false,
    };
    aws::UnparsedPublicKey::new(algorithm, public).verify(message, signature).is_ok()
}

#[test]
fn each_library_verifies_every_signature() {
    let keys = keys();
    for library in libraries() {
        for (key, schemes) in &keys {
            let Some(loaded) = (library.load)(&key.serialize_der()) else {
                assert_eq!((library.name, schemes.as_slice()), ("ring", &[P521][..]));
                continue;
            };
            for scheme in schemes {
                let signer = loaded.choose_scheme(&[*scheme]).unwrap();
                assert_eq!(signer.scheme(), *scheme);
                let signature = signer.sign(MESSAGE).unwrap();
                assert_verified(&library, *scheme, key.public_key_raw(), &signature);
            }
        }
    }
}

#[track_caller]
fn assert_verified(library: &Library, scheme: SignatureScheme, public: &[u8], signature: &[u8]) {
    let what = format!("{scheme:?} by {}", library.name);
    for (message, expected) in [(MESSAGE, true), (&b"another message"[..], false)] {
        assert_eq!((library.verifies)(scheme, public, message, signature), expected, "{what}, by itself");
        assert_eq!(aws_lc_rs_verifies(scheme, public, message, signature), expected, "{what}, by aws-lc-rs");
        let by_ring = ring_verifies(scheme, public, message, signature);
        assert_eq!(by_ring, (scheme != P521).then_some(expected), "{what}, by ring");
    }
    for other in every_scheme().into_iter().filter(|other| *other != scheme) {
        assert!(!(library.verifies)(other, public, MESSAGE, signature), "{what}, as {other:?}");
    }
}

#[test]
fn keys_choose_schemes_as_those_of_rustls_do() {
    let every = every_scheme();
    let chosen = |key: &dyn SigningKey, offered: &[SignatureScheme]| key.choose_scheme(offered).map(|s| s.scheme());
    let keys = keys();
    for library in libraries() {
        for (key, schemes) in &keys {
            let Some(ours) = (library.load)(&key.serialize_der()) else { continue };
            let rustls = any_supported_type(&PrivateKeyDer::Pkcs8(key.serialize_der().into())).unwrap();
            assert_eq!(ours.algorithm(), rustls.algorithm());
            assert_eq!(ours.public_key(), rustls.public_key());
            assert_eq!(chosen(&*ours, &every), schemes.first().copied());
            for first in &every {
                for second in &every {
                    let offered = [*first, *second];
                    assert_eq!(chosen(&*ours, &offered), chosen(&*rustls, &offered), "{schemes:?} {offered:?}");
                }
            }
            assert_eq!(chosen(&*ours, &[]), None);
        }
    }
}

#[test]
fn a_public_key_is_computed() {
    for (scheme, curve) in [
        (P256, &aws::ECDSA_P256_SHA256_ASN1_SIGNING),
        (P384, &aws::ECDSA_P384_SHA384_ASN1_SIGNING),
        (P521, &aws::ECDSA_P521_SHA512_ASN1_SIGNING),
    ] {
        let pair = aws::EcdsaKeyPair::generate(curve).unwrap();
        let secret: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().unwrap();
        let public = aws::KeyPair::public_key(&pair).as_ref();
        for library in libraries() {
            let expected = (library.has_curve)(scheme).then(|| public.to_vec());
            assert_eq!((library.public_point)(scheme, secret.as_ref()), expected, "{scheme:?} by {}", library.name);
            // Zero, and a number above the order, are not private keys
            for none in [0, 255] {
                assert_eq!((library.public_point)(scheme, &vec![none; secret.as_ref().len()]), None);
            }
            assert_eq!((library.public_point)(SignatureScheme::ED25519, &[1; 32]), None);
        }
    }
}

#[test]
fn a_generated_key_is_of_the_wanted_kind() {
    for library in libraries() {
        let one = |scheme| slice::from_ref(scheme).to_vec();
        let mut made = vec![
            ((library.generate_ec)(P256), one(&P256)),
            ((library.generate_ec)(P384), one(&P384)),
            ((library.generate_ed25519)(), one(&SignatureScheme::ED25519)),
        ];
        match library.name {
            "ring" => {
                let refused = |made: Made| made.unwrap_err().split(';').next().unwrap().to_owned();
                assert_eq!(refused((library.generate_rsa)(2048)), "ring makes no RSA keys");
                assert_eq!(refused((library.generate_ec)(P521)), "ring does not sign with this curve");
            }
            _ => made.push(((library.generate_rsa)(2048), RSA_SCHEMES.to_vec())),
        }
        for (der, schemes) in made {
            let key = (library.load)(&der.unwrap()).unwrap();
            assert_eq!(key.choose_scheme(&every_scheme()).map(|signer| signer.scheme()), schemes.first().copied());
        }
    }
}

fn hashed(scheme: SignatureScheme) -> Option<Vec<u8>> {
    use SignatureScheme as S;
    match scheme {
        S::RSA_PSS_SHA256 | S::RSA_PKCS1_SHA256 | P256 => Some(sha2::Sha256::digest(MESSAGE).to_vec()),
        S::RSA_PSS_SHA384 | S::RSA_PKCS1_SHA384 | P384 => Some(sha2::Sha384::digest(MESSAGE).to_vec()),
        S::RSA_PSS_SHA512 | S::RSA_PKCS1_SHA512 | P521 => Some(sha2::Sha512::digest(MESSAGE).to_vec()),
        _ => None,
    }
}

#[cfg(feature = "aws-lc-rs")]
#[test]
fn the_signature_of_a_digest_is_that_of_its_message() {
    for (pair, schemes) in keys() {
        let key = super::load_for_digests(&pair.serialize_der()).unwrap();
        for scheme in every_scheme() {
            let Some(hashed) = hashed(scheme) else { continue };
            let digest = digest_for(scheme, &hashed).unwrap();
            let signature = key.sign_digest(scheme, &digest);
            assert_eq!(signature.is_some(), schemes.contains(&scheme), "{scheme:?}");
            let verified = |signature: Vec<u8>| aws_lc_rs_verifies(scheme, pair.public_key_raw(), MESSAGE, &signature);
            assert!(signature.is_none_or(verified), "{scheme:?}");
        }
    }
}

#[test]
fn no_digest_is_signed_but_one_of_sha2_that_fits_the_scheme() {
    for scheme in every_scheme() {
        let hashed = hashed(scheme).map(|hashed| hashed.len());
        for length in 0..100 {
            let is_fit = match scheme {
                P256 | P384 | P521 => [32, 48, 64].contains(&length),
                _ => hashed == Some(length),
            };
            let digest = vec![7; length];
            let fitted = digest_for(scheme, &digest).map(|fitted| fitted.len());
            assert_eq!(fitted, hashed.filter(|_| is_fit), "{scheme:?} {length}");
        }
    }
}

/// In TLS 1.2, a client may sign with any digest on any curve.
#[cfg(all(feature = "aws-lc-rs", feature = "openssl"))]
#[test]
fn a_digest_of_another_length_than_the_curve_is_signed_as_openssl_verifies_it() {
    for (pair, scheme) in
        keys().iter().filter_map(|(pair, schemes)| Some((pair, hashed(schemes[0]).map(|_| schemes[0])?)))
    {
        let public = openssl::pkey::PKey::private_key_from_der(&pair.serialize_der()).unwrap();
        let Ok(public) = public.ec_key() else { continue };
        let key = super::load_for_digests(&pair.serialize_der()).unwrap();
        for length in [32, 48, 64] {
            let digest: Vec<u8> = (1..=length).collect();
            let signature = key.sign_digest(scheme, &digest_for(scheme, &digest).unwrap()).unwrap();
            let signature = openssl::ecdsa::EcdsaSig::from_der(&signature).unwrap();
            assert!(signature.verify(&digest, &public).unwrap(), "{scheme:?} {length}");
        }
    }
}

/// What `list` and the selector say of a key is what the library does with it.
#[cfg(feature = "openssl")]
#[test]
fn the_sizes_of_rsa_keys_are_those_that_load() {
    for bits in [1024, 2048, 2304, 2560, 3072, 3584, 4096] {
        let key = openssl::pkey::PKey::from_rsa(openssl::rsa::Rsa::generate(bits).unwrap()).unwrap();
        let der = key.private_key_to_pkcs8().unwrap();
        let bits = usize::try_from(bits).unwrap();
        for library in libraries() {
            let loads = (library.load)(&der).is_some();
            assert_eq!((library.signs_with_rsa)(bits), loads, "{} {bits}", library.name);
        }
    }
}

#[test]
fn what_is_no_key_is_rejected() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().serialize_der();
    for library in libraries() {
        for der in [&key[..key.len() - 1], &key[1..], &[0x30, 0x00], &[]] {
            assert!((library.load)(der).is_none(), "{der:?}");
            assert!((library.load_rsa)(der).is_none(), "{der:?}");
        }
    }
}

/// Keys that this program can name but not use: import recognises them.
#[cfg(feature = "aws-lc-rs")]
#[test]
fn the_public_key_of_ml_dsa_is_known() {
    for kind in [&aws::ML_DSA_44_SIGNING, &aws::ML_DSA_65_SIGNING, &aws::ML_DSA_87_SIGNING] {
        let pair = aws::PqdsaKeyPair::generate(kind).unwrap();
        let key = super::load(pair.to_pkcs8v1().unwrap().as_ref()).unwrap();
        let public = aws::KeyPair::public_key(&pair).as_ref();
        assert!(key.public_key().unwrap().ends_with(public));
    }
}

#[test]
fn sha256_is_that_of_other_libraries() {
    for length in [0, 1, 55, 56, 64, 1000] {
        let bytes = vec![7; length];
        assert_eq!(super::sha256(&bytes), <[u8; 32]>::from(sha2::Sha256::digest(&bytes)), "{length}");
    }
}
