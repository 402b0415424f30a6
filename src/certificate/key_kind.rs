//! Kinds of public keys, and the signature schemes each of them can use.

use std::fmt;

use rustls::{SignatureAlgorithm, SignatureScheme};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::certificate::rsa_pss;
use crate::certificate::rsa_pss::Digests;

/// The kind and size of a public key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyKind {
    /// rsaEncryption (RFC 8017), with the bits of its modulus.
    Rsa(usize),
    /// id-RSASSA-PSS (RFC 4055), with the bits of its modulus.
    RsaPss(usize),
    /// secp256r1.
    EcP256,
    /// secp384r1.
    EcP384,
    /// secp521r1.
    EcP521,
    /// Ed25519 (RFC 8410).
    Ed25519,
    /// Any other key: the short name of its algorithm, or else the object identifier.
    Other(String),
}

impl KeyKind {
    /// The schemes that a client can sign its CertificateVerify with (RFC 8446 section 4.4.3), in the order rustls prefers
    /// them. `pss` are the digests that an id-RSASSA-PSS key is restricted to.
    pub(crate) fn schemes(&self, pss: Digests) -> &'static [SignatureScheme] {
        use SignatureScheme as S;
        // aws-lc-rs supports only these sizes of RSA keys
        let usable = |bits: &usize| (2048..=8192).contains(bits);
        match self {
            Self::Rsa(bits) if usable(bits) => &[
                S::RSA_PSS_SHA512,
                S::RSA_PSS_SHA384,
                S::RSA_PSS_SHA256,
                S::RSA_PKCS1_SHA512,
                S::RSA_PKCS1_SHA384,
                S::RSA_PKCS1_SHA256,
            ],
            Self::RsaPss(bits) if usable(bits) => pss.schemes(),
            Self::EcP256 => &[S::ECDSA_NISTP256_SHA256],
            Self::EcP384 => &[S::ECDSA_NISTP384_SHA384],
            Self::EcP521 => &[S::ECDSA_NISTP521_SHA512],
            Self::Ed25519 => &[S::ED25519],
            _ => &[],
        }
    }

    /// The family of signature algorithms, as rustls names it.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        match self {
            Self::Rsa(_) | Self::RsaPss(_) => SignatureAlgorithm::RSA,
            Self::EcP256 | Self::EcP384 | Self::EcP521 => SignatureAlgorithm::ECDSA,
            Self::Ed25519 => SignatureAlgorithm::ED25519,
            Self::Other(_) => SignatureAlgorithm::Anonymous,
        }
    }

    pub(crate) fn from_spki(spki: &SubjectPublicKeyInfo<'_>) -> Self {
        let oid = spki.algorithm.algorithm.to_id_string();
        let modulus_bits = || match spki.parsed() {
            Ok(PublicKey::RSA(rsa)) => rsa.key_size(),
            _ => 0,
        };
        match oid.as_str() {
            "1.2.840.113549.1.1.1" => Self::Rsa(modulus_bits()),
            // x509-parser does not parse these keys, but they are RSAPublicKeys too
            rsa_pss::OID => Self::RsaPss(rsa_bits(&spki.subject_public_key.data)),
            "1.2.840.10045.2.1" => Self::from_curve(spki),
            "1.3.101.112" => Self::Ed25519,
            "1.3.101.113" => Self::Other("ed448".into()),
            "1.2.840.10040.4.1" => Self::Other("dsa".into()),
            _ => Self::Other(oid),
        }
    }

    fn from_curve(spki: &SubjectPublicKeyInfo<'_>) -> Self {
        let named = spki.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok()).map(|oid| oid.to_id_string());
        match named.as_deref() {
            Some("1.2.840.10045.3.1.7") => Self::EcP256,
            Some("1.3.132.0.34") => Self::EcP384,
            Some("1.3.132.0.35") => Self::EcP521,
            Some("1.3.132.0.10") => Self::Other("ec-secp256k1".into()),
            Some("1.3.132.0.33") => Self::Other("ec-p224".into()),
            Some(oid) => Self::Other(format!("ec-{oid}")),
            None => Self::Other("ec-explicit".into()),
        }
    }
}

/// `rsa-2048`, `ec-p256`, `ed25519`, ... as in docs/cli.md.
impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "rsa-{bits}"),
            Self::RsaPss(bits) => write!(f, "rsa-pss-{bits}"),
            Self::EcP256 => f.write_str("ec-p256"),
            Self::EcP384 => f.write_str("ec-p384"),
            Self::EcP521 => f.write_str("ec-p521"),
            Self::Ed25519 => f.write_str("ed25519"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// Bits of the modulus in the DER of an RSAPublicKey (RFC 8017 appendix A.1.1); 0 when it does not parse.
fn rsa_bits(der: &[u8]) -> usize {
    match x509_parser::public_key::RSAPublicKey::from_der(der) {
        Ok((_, key)) => key.key_size(),
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_keys_have_a_kind_but_no_schemes() {
        let rsa = [KeyKind::Rsa(1024), KeyKind::Rsa(16_384), KeyKind::Other("dsa".into())];
        let rsa_pss = [(1024, Digests::All), (16_384, Digests::Sha256), (2048, Digests::None)];
        let rsa_pss = rsa_pss.map(|(bits, digests)| (KeyKind::RsaPss(bits), digests));
        for (kind, digests) in rsa.map(|kind| (kind, Digests::All)).into_iter().chain(rsa_pss) {
            assert!(kind.schemes(digests).is_empty(), "{kind}");
        }
    }
}
