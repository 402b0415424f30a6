//! Keys only for RSASSA-PSS (id-RSASSA-PSS, RFC 4055), and the schemes `rsa_pss_pss_*` that they sign with in TLS 1.3
//! (RFC 8446 section 4.2.3).
//!
//! Neither rustls nor aws-lc-rs or ring supports them. But they are RSA keys like others, and their signatures are those of
//! `rsa_pss_rsae_*`; only the names differ. In TLS 1.2, rustls hides schemes that it does not know.

use std::fmt;
use std::sync::Arc;

use der::asn1::ObjectIdentifier;
use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use x509_parser::asn1_rs::Any;
use x509_parser::signature_algorithm::RsaSsaPssParams;

/// id-RSASSA-PSS (RFC 4055 section 3.1).
pub(crate) const OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

/// rsa_pss_pss_sha256.
pub(crate) const RSA_PSS_PSS_SHA256: SignatureScheme = SignatureScheme::Unknown(0x0809);
/// rsa_pss_pss_sha384.
pub(crate) const RSA_PSS_PSS_SHA384: SignatureScheme = SignatureScheme::Unknown(0x080a);
/// rsa_pss_pss_sha512.
pub(crate) const RSA_PSS_PSS_SHA512: SignatureScheme = SignatureScheme::Unknown(0x080b);

/// The digests that the parameters of a public key allow (RFC 4055 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Digests {
    /// Any, as without parameters.
    All,
    /// SHA-256 only.
    Sha256,
    /// SHA-384 only.
    Sha384,
    /// SHA-512 only.
    Sha512,
    /// None that TLS supports.
    None,
}

impl Digests {
    /// The schemes with these digests, in the order rustls prefers for RSA.
    pub(crate) fn schemes(self) -> &'static [SignatureScheme] {
        match self {
            Self::All => &[RSA_PSS_PSS_SHA512, RSA_PSS_PSS_SHA384, RSA_PSS_PSS_SHA256],
            Self::Sha256 => &[RSA_PSS_PSS_SHA256],
            Self::Sha384 => &[RSA_PSS_PSS_SHA384],
            Self::Sha512 => &[RSA_PSS_PSS_SHA512],
            Self::None => &[],
        }
    }

    /// What the parameters of an id-RSASSA-PSS key allow. Parameters that do not parse allow nothing.
    pub(crate) fn from_parameters(parameters: Option<&Any<'_>>) -> Self {
        match parameters.map(RsaSsaPssParams::try_from) {
            None => Self::All,
            Some(Ok(parameters)) => Self::from_parsed(&parameters),
            Some(Err(_)) => Self::None,
        }
    }

    /// TLS uses the same digest in the mask, and a salt as long as the digest; the parameters give the minimum length.
    fn from_parsed(parameters: &RsaSsaPssParams<'_>) -> Self {
        let digest = parameters.hash_algorithm_oid();
        let (allowed, salt) = match digest.to_id_string().as_str() {
            "2.16.840.1.101.3.4.2.1" => (Self::Sha256, 32),
            "2.16.840.1.101.3.4.2.2" => (Self::Sha384, 48),
            "2.16.840.1.101.3.4.2.3" => (Self::Sha512, 64),
            _ => return Self::None,
        };
        let same_in_mask = parameters
            .mask_gen_algorithm()
            .is_ok_and(|mask| mask.mgf.to_id_string() == "1.2.840.113549.1.1.8" && mask.hash == *digest);
        let fits = same_in_mask && parameters.salt_length() <= salt && parameters.trailer_field() == 1;
        if fits { allowed } else { Self::None }
    }
}

/// An RSA key that signs with the schemes for id-RSASSA-PSS.
pub(crate) struct PssKey {
    rsa: Arc<dyn SigningKey>,
    digests: Digests,
}

impl PssKey {
    pub(crate) fn new(rsa: Arc<dyn SigningKey>, digests: Digests) -> Self {
        Self { rsa, digests }
    }
}

impl SigningKey for PssKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = *self.digests.schemes().iter().find(|scheme| offered.contains(scheme))?;
        let signer = self.rsa.choose_scheme(&[for_rsa_encryption(scheme)?])?;
        Some(Box::new(PssSigner { signer, scheme }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::RSA
    }
}

/// The scheme with the same signatures for rsaEncryption keys.
pub(crate) fn for_rsa_encryption(scheme: SignatureScheme) -> Option<SignatureScheme> {
    match scheme {
        RSA_PSS_PSS_SHA256 => Some(SignatureScheme::RSA_PSS_SHA256),
        RSA_PSS_PSS_SHA384 => Some(SignatureScheme::RSA_PSS_SHA384),
        RSA_PSS_PSS_SHA512 => Some(SignatureScheme::RSA_PSS_SHA512),
        _ => None,
    }
}

impl fmt::Debug for PssKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PssKey").field("digests", &self.digests).finish_non_exhaustive()
    }
}

/// One signature of a [`PssKey`].
#[derive(Debug)]
struct PssSigner {
    signer: Box<dyn Signer>,
    scheme: SignatureScheme,
}

impl Signer for PssSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.signer.sign(message)
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use x509_parser::prelude::FromDer;

    use super::*;

    /// The last byte of the identifiers of SHA-256, SHA-384 and SHA-512.
    const SHA256: u8 = 1;
    const SHA384: u8 = 2;
    const SHA512: u8 = 3;

    fn tlv(tag: u8, body: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(body.len()).unwrap()], body].concat()
    }

    fn hash(last: u8) -> Vec<u8> {
        let oid = tlv(6, &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, last]);
        tlv(0x30, &[oid, vec![5, 0]].concat())
    }

    fn mask(last: u8) -> Vec<u8> {
        let mgf1 = tlv(6, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8]);
        tlv(0xa1, &tlv(0x30, &[mgf1, hash(last)].concat()))
    }

    fn number(tag: u8, value: u8) -> Vec<u8> {
        tlv(tag, &tlv(2, &[value]))
    }

    #[track_caller]
    fn assert_allow(parts: &[Vec<u8>], expected: Digests) {
        let der = tlv(0x30, &parts.concat());
        let (_, parameters) = Any::from_der(&der).unwrap();
        assert_eq!(Digests::from_parameters(Some(&parameters)), expected);
    }

    #[test]
    fn absent_parameters_allow_every_digest() {
        assert_eq!(Digests::from_parameters(None), Digests::All);
        let schemes = Digests::All.schemes().iter().map(|&scheme| u16::from(scheme)).collect::<Vec<_>>();
        assert_eq!(schemes, [0x080b, 0x080a, 0x0809]);
    }

    #[test]
    fn parameters_allow_one_digest() {
        let digests = [(SHA256, 32, Digests::Sha256), (SHA384, 48, Digests::Sha384), (SHA512, 64, Digests::Sha512)];
        for (last, salt, expected) in digests {
            let digest = || tlv(0xa0, &hash(last));
            for salt in [0, 20, salt] {
                assert_allow(&[digest(), mask(last), number(0xa2, salt)], expected);
            }
            assert_allow(&[digest(), mask(last)], expected);
            assert_allow(&[digest(), mask(last), number(0xa3, 1)], expected);
        }
    }

    #[test]
    fn parameters_that_tls_does_not_support_allow_nothing() {
        let digest = || tlv(0xa0, &hash(SHA256));
        // By default, both digests are SHA-1
        assert_allow(&[], Digests::None);
        assert_allow(&[digest()], Digests::None);
        assert_allow(&[mask(SHA256)], Digests::None);
        assert_allow(&[digest(), mask(SHA384)], Digests::None);
        assert_allow(&[digest(), mask(SHA256), number(0xa2, 33)], Digests::None);
        assert_allow(&[digest(), mask(SHA256), number(0xa3, 2)], Digests::None);
        let (_, null) = Any::from_der(&[5, 0]).unwrap();
        assert_eq!(Digests::from_parameters(Some(&null)), Digests::None);
    }
}
