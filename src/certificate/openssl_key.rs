//! Private keys in the system's OpenSSL, which signs for rustls with keys that aws-lc-rs or ring cannot load, and tries every key at
//! import.
//!
//! Browsers sign with RSA keys of any size, with any public exponent and with more than two primes; aws-lc-rs and ring do not.

use std::fmt;
use std::sync::Arc;

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::md::Md;
use openssl::pkey::{HasPublic, Id, PKey, PKeyRef, Private};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Signer as Context, Verifier};
use openssl::x509::X509;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{OtherError, SignatureAlgorithm, SignatureScheme};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::certificate::Certificate;
use crate::certificate::public_key::Algorithm;
use crate::certificate::rsa_pss;

/// A key in OpenSSL, with the algorithm of its public half.
#[derive(Clone)]
pub(super) struct OpensslKey {
    key: PKey<Private>,
    public: Vec<u8>,
    algorithm: Algorithm,
}

impl OpensslKey {
    /// Loads a PrivateKeyInfo.
    pub(super) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        Self::new(PKey::private_key_from_pkcs8(der).ok()?)
    }

    /// Loads an RSAPrivateKey.
    pub(super) fn from_pkcs1(der: &[u8]) -> Option<Self> {
        Self::new(PKey::from_rsa(Rsa::private_key_from_der(der).ok()?).ok()?)
    }

    fn new(key: PKey<Private>) -> Option<Self> {
        let public = key.public_key_to_der().ok()?;
        let (_, spki) = SubjectPublicKeyInfo::from_der(&public).ok()?;
        let algorithm = Algorithm::from_spki(&spki);
        Some(Self { key, algorithm, public })
    }

    /// Signs a digest by a scheme for RSA or a curve.
    pub(super) fn sign_digest(&self, scheme: SignatureScheme, hashed: &[u8]) -> Option<Vec<u8>> {
        // For a curve, the digest says nothing of how it was made
        let md = match is_rsa(&self.key) {
            true => Some(Md::from_nid(digest(scheme)?.type_())?),
            false => None,
        };
        let signed = || -> Result<Vec<u8>, ErrorStack> {
            let mut context = PkeyCtx::new(&self.key)?;
            context.sign_init()?;
            if let Some(md) = md {
                context.set_rsa_padding(if is_pss(scheme) { Padding::PKCS1_PSS } else { Padding::PKCS1 })?;
                context.set_signature_md(md)?;
                if is_pss(scheme) {
                    context.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
                }
            }
            let mut signature = Vec::new();
            context.sign_to_vec(hashed, &mut signature)?;
            Ok(signature)
        };
        signed().ok()
    }

    /// Whether OpenSSL signs with the key, and verifies the signature with the certificate.
    pub(super) fn signs_for(&self, certificate: &Certificate) -> bool {
        let Some(scheme) = self.algorithm.openssl_schemes(false).last() else { return false };
        let message = b"cardcase tries a key";
        let verified = || -> Result<bool, ErrorStack> {
            let public = X509::from_der(certificate.der())?.public_key()?;
            let signature = sign(&self.key, scheme, message)?;
            Ok(public.public_eq(&self.key) && verify(&public, scheme, message, &signature)?)
        };
        verified().unwrap_or(false)
    }
}

impl SigningKey for OpensslKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = self.algorithm.schemes().find(|scheme| offered.contains(scheme))?;
        Some(Box::new(OpensslSigner { key: self.key.clone(), scheme }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.public.as_slice()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.algorithm {
            Algorithm::Rsa { .. } => SignatureAlgorithm::RSA,
            Algorithm::Ec(_) => SignatureAlgorithm::ECDSA,
            Algorithm::Ed25519 => SignatureAlgorithm::ED25519,
            Algorithm::Ed448 => SignatureAlgorithm::ED448,
            Algorithm::Dsa => SignatureAlgorithm::DSA,
            Algorithm::Other => SignatureAlgorithm::Anonymous,
        }
    }
}

impl fmt::Debug for OpensslKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpensslKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// One signature of an [`OpensslKey`].
struct OpensslSigner {
    key: PKey<Private>,
    scheme: SignatureScheme,
}

impl Signer for OpensslSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        sign(&self.key, self.scheme, message).map_err(|error| rustls::Error::Other(OtherError(Arc::new(error))))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

impl fmt::Debug for OpensslSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpensslSigner").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

/// The digest of a scheme; `None` for those that sign the message itself.
fn digest(scheme: SignatureScheme) -> Option<MessageDigest> {
    use SignatureScheme as S;
    match scheme {
        S::ED25519 | S::ED448 => None,
        S::RSA_PSS_SHA384
        | S::RSA_PKCS1_SHA384
        | S::ECDSA_NISTP384_SHA384
        | rsa_pss::RSA_PSS_PSS_SHA384
        | S::Unknown(0x0502 | 0x081b) => Some(MessageDigest::sha384()),
        S::RSA_PSS_SHA512
        | S::RSA_PKCS1_SHA512
        | S::ECDSA_NISTP521_SHA512
        | rsa_pss::RSA_PSS_PSS_SHA512
        | S::Unknown(0x0602 | 0x081c) => Some(MessageDigest::sha512()),
        S::Unknown(0x0302) => Some(MessageDigest::sha224()),
        _ => Some(MessageDigest::sha256()),
    }
}

fn is_pss(scheme: SignatureScheme) -> bool {
    use SignatureScheme as S;
    matches!(
        scheme,
        S::RSA_PSS_SHA256
            | S::RSA_PSS_SHA384
            | S::RSA_PSS_SHA512
            | rsa_pss::RSA_PSS_PSS_SHA256
            | rsa_pss::RSA_PSS_PSS_SHA384
            | rsa_pss::RSA_PSS_PSS_SHA512
    )
}

fn is_rsa<T: HasPublic>(key: &PKeyRef<T>) -> bool {
    key.id() == Id::RSA || key.id() == Id::RSA_PSS
}

fn sign(key: &PKeyRef<Private>, scheme: SignatureScheme, message: &[u8]) -> Result<Vec<u8>, ErrorStack> {
    let Some(digest) = digest(scheme) else {
        return Context::new_without_digest(key)?.sign_oneshot_to_vec(message);
    };
    let mut context = Context::new(digest, key)?;
    if is_pss(scheme) {
        context.set_rsa_padding(Padding::PKCS1_PSS)?;
        context.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
        context.set_rsa_mgf1_md(digest)?;
    } else if is_rsa(key) {
        context.set_rsa_padding(Padding::PKCS1)?;
    }
    context.sign_oneshot_to_vec(message)
}

fn verify<T: HasPublic>(
    key: &PKeyRef<T>,
    scheme: SignatureScheme,
    message: &[u8],
    signature: &[u8],
) -> Result<bool, ErrorStack> {
    let Some(digest) = digest(scheme) else {
        return Verifier::new_without_digest(key)?.verify_oneshot(signature, message);
    };
    let mut context = Verifier::new(digest, key)?;
    if is_pss(scheme) {
        context.set_rsa_padding(Padding::PKCS1_PSS)?;
        context.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
        context.set_rsa_mgf1_md(digest)?;
    } else if is_rsa(key) {
        context.set_rsa_padding(Padding::PKCS1)?;
    }
    context.verify_oneshot(signature, message)
}
