//! Public keys, in whatever form they are written, and the signature schemes of their private keys.

use std::borrow::Cow;

use der::asn1::{ObjectIdentifier, UintRef};
use der::{Encode, Tag};
use rustls::SignatureScheme;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::certificate::curve::{self, Curve, without_zeros};
use crate::certificate::element::{Element, encode};
use crate::certificate::rsa_pss;
use crate::certificate::rsa_pss::Digests;
use crate::crypto;

/// The object identifiers of RSA keys: rsaEncryption, and the older one of X.509 (X.509 annex of 1988).
pub(crate) const RSA: [ObjectIdentifier; 2] =
    [ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1"), ObjectIdentifier::new_unwrap("2.5.8.1.1")];
pub(crate) const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
pub(crate) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
pub(crate) const ED448: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.113");
pub(crate) const DSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10040.4.1");

/// The algorithm of a public key, with what its signatures depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// RSA, with the bits of its modulus and of its public exponent; `pss` are the digests of a key for RSASSA-PSS alone.
    Rsa {
        bits: usize,
        exponent_bits: usize,
        pss: Option<Digests>,
    },
    /// A curve, named or recognised by its parameters.
    Ec(&'static Curve),
    Ed25519,
    Ed448,
    Dsa,
    /// One that TLS does not have, or a curve that is not known here.
    Other,
}

impl Algorithm {
    pub(crate) fn from_spki(spki: &SubjectPublicKeyInfo<'_>) -> Self {
        let bits = &spki.subject_public_key.data;
        let rsa = |pss| {
            let (modulus, exponent) = rsa_numbers(bits).unwrap_or_default();
            Self::Rsa { bits: bit_length(modulus), exponent_bits: bit_length(exponent), pss }
        };
        let parameters = spki.algorithm.parameters.as_ref();
        let is = |known: ObjectIdentifier| known.as_bytes() == spki.algorithm.algorithm.as_bytes();
        if RSA.into_iter().any(is) {
            rsa(None)
        } else if is(EC) {
            match parameters.map(|any| (any.header.tag().0, any.data)) {
                Some((6, _)) => named_curve(spki).map_or(Self::Other, Self::Ec),
                Some((16, contents)) => Curve::from_parameters(contents).map_or(Self::Other, Self::Ec),
                _ => Self::Other,
            }
        } else if is(ED25519) {
            Self::Ed25519
        } else if is(rsa_pss::OID) {
            rsa(Some(Digests::from_parameters(parameters)))
        } else if is(ED448) {
            Self::Ed448
        } else if is(DSA) {
            Self::Dsa
        } else {
            Self::Other
        }
    }

    /// The schemes that a client can sign its CertificateVerify with in rustls (RFC 8446 section 4.4.3), in the order rustls
    /// prefers them.
    pub(crate) fn schemes(self) -> impl Iterator<Item = SignatureScheme> {
        use SignatureScheme as S;
        let all: &'static [S] = match self {
            Self::Rsa { pss: Some(digests), .. } => digests.schemes(),
            Self::Rsa { pss: None, .. } => &crypto::RSA_SCHEMES,
            Self::Ec(curve) => curve.scheme.as_slice(),
            Self::Ed25519 => &[S::ED25519],
            _ => &[],
        };
        all.iter().copied().filter(move |scheme| self.has_room_for(*scheme))
    }

    /// The schemes that OpenSSL can sign with in TLS 1.3, or below.
    pub(crate) fn openssl_schemes(self, is_tls13: bool) -> impl Iterator<Item = SignatureScheme> {
        use SignatureScheme as S;
        // In TLS 1.2, the schemes of ECDSA name a digest and no curve (RFC 8446 section 4.2.3)
        const ECDSA: [S; 3] = [S::ECDSA_NISTP256_SHA256, S::ECDSA_NISTP384_SHA384, S::ECDSA_NISTP521_SHA512];
        let more: &'static [S] = match self {
            Self::Ec(_) if !is_tls13 => &ECDSA,
            Self::Ec(curve) => match curve.name {
                "ec-brainpoolp256r1" => &[S::Unknown(0x081a)],
                "ec-brainpoolp384r1" => &[S::Unknown(0x081b)],
                "ec-brainpoolp512r1" => &[S::Unknown(0x081c)],
                _ => &[],
            },
            Self::Ed448 => &[S::ED448],
            Self::Dsa if !is_tls13 => &DSA_SCHEMES,
            _ => &[],
        };
        let rustls = self.schemes().filter(move |scheme| !(is_tls13 && is_pkcs1(*scheme)));
        rustls.chain(more.iter().copied())
    }

    /// Whether the modulus of an RSA key is large enough for a signature (RFC 8017 sections 9.1.1 and 9.2). The salt is as long as
    /// the digest.
    fn has_room_for(self, scheme: SignatureScheme) -> bool {
        use SignatureScheme as S;
        let Self::Rsa { bits, .. } = self else { return true };
        let digest = match scheme {
            S::RSA_PSS_SHA256 | S::RSA_PKCS1_SHA256 | rsa_pss::RSA_PSS_PSS_SHA256 => 32,
            S::RSA_PSS_SHA384 | S::RSA_PKCS1_SHA384 | rsa_pss::RSA_PSS_PSS_SHA384 => 48,
            _ => 64,
        };
        match is_pkcs1(scheme) {
            // 19 bytes of DigestInfo, and 11 of padding
            true => bits.div_ceil(8) >= digest + 30,
            false => bits.saturating_sub(1).div_ceil(8) >= 2 * digest + 2,
        }
    }

    /// Why this program's crypto library signs with no key of this kind for rustls; `None` if it does with most of them.
    pub(crate) fn limit(self) -> Option<&'static str> {
        match self {
            Self::Rsa { bits, .. } if !crypto::signs_with_rsa(bits) => Some(crypto::RSA_LIMIT),
            Self::Rsa { exponent_bits, .. } if !crypto::EXPONENT_BITS.contains(&exponent_bits) => {
                Some(crypto::EXPONENT_LIMIT)
            }
            Self::Ec(curve) if curve.scheme.is_some_and(|scheme| !crypto::has_curve(scheme)) => {
                Some(crypto::MISSING_CURVE)
            }
            _ if self.schemes().next().is_none() => Some("it has no signature scheme for this kind of key"),
            _ => None,
        }
    }

    /// The bits of a public key of this algorithm in the one form that is equal for equal keys: RSA numbers without padding,
    /// compressed points.
    pub(crate) fn canonical(self, bits: &[u8]) -> Cow<'_, [u8]> {
        let canonical = match self {
            Self::Rsa { .. } => rsa_numbers(bits).and_then(|(modulus, exponent)| rsa_public_key(modulus, exponent)),
            Self::Ec(_) => curve::compressed(bits),
            _ => None,
        };
        canonical.map_or(Cow::Borrowed(bits), Cow::Owned)
    }
}

/// With SHA-256, SHA-384, SHA-512 and SHA-224 (RFC 5246 section 7.4.1.4.1).
const DSA_SCHEMES: [SignatureScheme; 4] = [
    SignatureScheme::Unknown(0x0402),
    SignatureScheme::Unknown(0x0502),
    SignatureScheme::Unknown(0x0602),
    SignatureScheme::Unknown(0x0302),
];

/// Whether it is one of RSASSA-PKCS1-v1_5, which TLS 1.3 does not allow in handshakes.
fn is_pkcs1(scheme: SignatureScheme) -> bool {
    use SignatureScheme as S;
    matches!(scheme, S::RSA_PKCS1_SHA256 | S::RSA_PKCS1_SHA384 | S::RSA_PKCS1_SHA512)
}

fn named_curve(spki: &SubjectPublicKeyInfo<'_>) -> Option<&'static Curve> {
    let oid = spki.algorithm.parameters.as_ref()?.as_oid().ok()?;
    Curve::all().find(|curve| curve.oid.as_bytes() == oid.as_bytes())
}

/// Modulus and exponent of an RSAPublicKey (RFC 8017 appendix A.1.1), without padding.
fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (modulus, exponent) = Element::only(der)?.sequence()?.next_two()?;
    let are_numbers = modulus.tag == Tag::Integer && exponent.tag == Tag::Integer;
    are_numbers.then(|| (without_zeros(modulus.body), without_zeros(exponent.body)))
}

/// The RSAPublicKey of these numbers.
pub(crate) fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Option<Vec<u8>> {
    let numbers = [UintRef::new(modulus).ok()?.to_der().ok()?, UintRef::new(exponent).ok()?.to_der().ok()?];
    encode(Tag::Sequence, &numbers.concat()).map(|der| der.to_vec())
}

fn bit_length(number: &[u8]) -> usize {
    number.first().map_or(0, |first| 8 * number.len() - first.leading_zeros() as usize)
}
