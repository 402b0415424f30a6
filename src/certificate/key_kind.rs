//! Kinds of public keys, as a person knows them.

use std::fmt;

use rustls::SignatureAlgorithm;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::certificate::public_key::{Algorithm, EC};

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
    /// The family of signature algorithms, as rustls names it.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        match self {
            Self::Rsa(_) | Self::RsaPss(_) => SignatureAlgorithm::RSA,
            Self::EcP256 | Self::EcP384 | Self::EcP521 => SignatureAlgorithm::ECDSA,
            Self::Ed25519 => SignatureAlgorithm::ED25519,
            Self::Other(_) => SignatureAlgorithm::Anonymous,
        }
    }

    /// The kind of a key of this algorithm.
    pub(crate) fn new(algorithm: Algorithm, spki: &SubjectPublicKeyInfo<'_>) -> Self {
        let named = |name: &str| Self::Other(name.to_owned());
        match algorithm {
            Algorithm::Rsa { bits, pss: None, .. } => Self::Rsa(bits),
            Algorithm::Rsa { bits, pss: Some(_), .. } => Self::RsaPss(bits),
            // Shows that the curve has no name, because some programs refuse such keys
            Algorithm::Ec(_) | Algorithm::Other if has_explicit_curve(spki) => named("ec-explicit"),
            Algorithm::Ec(curve) => match curve.name {
                "ec-p256" => Self::EcP256,
                "ec-p384" => Self::EcP384,
                "ec-p521" => Self::EcP521,
                name => named(name),
            },
            Algorithm::Ed25519 => Self::Ed25519,
            Algorithm::Ed448 => named("ed448"),
            Algorithm::Dsa => named("dsa"),
            Algorithm::Other => Self::Other(oids(spki)),
        }
    }
}

fn is_ec(spki: &SubjectPublicKeyInfo<'_>) -> bool {
    spki.algorithm.algorithm.as_bytes() == EC.as_bytes()
}

fn has_explicit_curve(spki: &SubjectPublicKeyInfo<'_>) -> bool {
    is_ec(spki) && spki.algorithm.parameters.as_ref().is_some_and(|parameters| parameters.header.tag().0 == 16)
}

/// The object identifier of an algorithm that is not known here, or of a curve.
fn oids(spki: &SubjectPublicKeyInfo<'_>) -> String {
    let curve = || spki.algorithm.parameters.as_ref()?.as_oid().ok().map(|oid| oid.to_id_string());
    match is_ec(spki) {
        true => curve().map_or_else(|| "ec".to_owned(), |oid| format!("ec-{oid}")),
        false => spki.algorithm.algorithm.to_id_string(),
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
