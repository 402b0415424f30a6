//! Private keys: loading them, and checking that they belong to a certificate.

use std::fmt;
use std::sync::Arc;

use der::{Decode, Tag, TagNumber};
use pkcs8::PrivateKeyInfoRef;
use rustls::SignatureScheme;
use rustls::sign::SigningKey;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

use crate::certificate::Certificate;
use crate::certificate::canonical;
use crate::certificate::curve::{compressed, without_zeros};
use crate::certificate::element::{Element, elements};
#[cfg(feature = "openssl")]
use crate::certificate::openssl_key::OpensslKey;
use crate::certificate::public_key::{Algorithm, EC, RSA, rsa_public_key};
use crate::certificate::rsa_pss;
use crate::certificate::rsa_pss::PssKey;
use crate::certificate::tried::Tried;
use crate::crypto;
use crate::error::Error;

/// Signs a digest by a scheme; `None` if the library fails.
pub(crate) type SignDigest = dyn Fn(SignatureScheme, &[u8]) -> Option<Vec<u8>> + Send + Sync;

/// A private key as the DER of a PrivateKeyInfo (RFC 5958), wiped from memory when dropped.
#[derive(Clone)]
pub(crate) struct PrivateKey(Zeroizing<Vec<u8>>);

impl PrivateKey {
    /// Takes the DER of a PrivateKeyInfo as it was stored or made here.
    pub(crate) fn from_pkcs8(der: Zeroizing<Vec<u8>>) -> Self {
        Self(der)
    }

    /// No key: that of an identity whose key was lost. Nothing signs with it.
    pub(crate) fn none() -> Self {
        Self(Zeroizing::default())
    }

    /// The most work that [`Self::from_foreign`] can take, as the number of rounds of a key derivation that take as long.
    pub(crate) fn work(der: &[u8]) -> u64 {
        canonical::work(der)
    }

    /// Takes the DER of a PrivateKeyInfo that another program wrote, and brings it into the one form that every library reads.
    pub(crate) fn from_foreign(der: Zeroizing<Vec<u8>>) -> Self {
        Self(canonical::canonical(&der).unwrap_or(der))
    }

    /// The DER of the PrivateKeyInfo.
    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.0
    }

    /// Turns it into the DER of the PrivateKeyInfo.
    pub(crate) fn into_pkcs8(self) -> Zeroizing<Vec<u8>> {
        self.0
    }

    /// Loads it for handshakes, if its public key is that of `certificate`.
    ///
    /// # Errors
    /// [`Error::KeyMismatch`] when it is another certificate's key, [`Error::UnusableKey`] when nothing signs with it for rustls.
    pub(crate) fn signing_key(&self, certificate: &Certificate) -> Result<Arc<dyn SigningKey>, Error> {
        let limit = certificate.algorithm().limit();
        let rejected = || limit.map_or_else(|| format!("{} rejects it", crypto::NAME), str::to_owned);
        let key = self.load().ok_or_else(|| unusable(certificate, rejected()))?;
        let public =
            public_key_of(&*key).ok_or_else(|| unusable(certificate, "its public key is not known".to_owned()));
        if public? != *certificate.canonical_public_key() {
            return Err(Error::KeyMismatch { subject: certificate.subject().to_string() });
        }
        self.for_certificate(key, certificate)
    }

    /// The key as it signs for its certificate.
    fn for_certificate(
        &self,
        key: Arc<dyn SigningKey>,
        certificate: &Certificate,
    ) -> Result<Arc<dyn SigningKey>, Error> {
        match certificate.algorithm() {
            Algorithm::Rsa { pss: Some(digests), .. } if digests.schemes().is_empty() => {
                Err(unusable(certificate, "its parameters allow no signature scheme of TLS".to_owned()))
            }
            Algorithm::Rsa { pss: Some(digests), .. } => Ok(Arc::new(PssKey::new(key, digests))),
            _ if self.info().as_ref().is_some_and(is_rsa_pss) => {
                Err(unusable(certificate, "it is for RSASSA-PSS only, but its certificate is not".to_owned()))
            }
            _ => Ok(key),
        }
    }

    /// Checks that its public key is that of `certificate`, even if no handshake can use it.
    ///
    /// # Errors
    /// [`Error::KeyMismatch`] when it is another certificate's key, [`Error::UnusableKey`] when that cannot be known.
    pub(crate) fn check_fits(&self, certificate: &Certificate) -> Result<(), Error> {
        match self.public_key() {
            None => {
                let why = certificate.algorithm().limit().unwrap_or("its public key is not known");
                Err(unusable(certificate, why.to_owned()))
            }
            Some(public) if public == *certificate.canonical_public_key() => Ok(()),
            Some(_) => Err(Error::KeyMismatch { subject: certificate.subject().to_string() }),
        }
    }

    /// Makes a signature with each library, and verifies it with the certificate.
    pub(crate) fn try_signing(&self, certificate: &Certificate) -> Tried {
        let by_rustls = self.load_by_library().is_some_and(|key| self.signs_for(key, certificate));
        #[cfg(feature = "openssl")]
        let by_openssl = Some(OpensslKey::from_pkcs8(self.pkcs8()).is_some_and(|key| key.signs_for(certificate)));
        #[cfg(not(feature = "openssl"))]
        let by_openssl = None;
        Tried { by_rustls, by_openssl, is_lost: false }
    }

    /// Whether `key`, which is this one loaded, makes a signature that the certificate verifies.
    fn signs_for(&self, key: Arc<dyn SigningKey>, certificate: &Certificate) -> bool {
        // The certificate may have its point compressed, which not every library reads
        let Some((bits, canonical)) = public_bits(&*key) else { return false };
        let signed = self.for_certificate(key, certificate).ok().and_then(|key| signature(&*key, certificate));
        canonical == *certificate.canonical_public_key()
            && signed.is_some_and(|(scheme, signature)| crypto::verifies(scheme, &bits, TRIED, &signature))
    }

    /// Loads the key with aws-lc-rs or ring, or else with OpenSSL, without comparing it with a certificate. `None` if each rejects it.
    pub(crate) fn load(&self) -> Option<Arc<dyn SigningKey>> {
        let loaded = self.load_by_library().map(|key| key as Arc<dyn SigningKey>);
        #[cfg(feature = "openssl")]
        if loaded.is_none() {
            return self.load_by_openssl().map(|key| Arc::new(key) as Arc<dyn SigningKey>);
        }
        loaded
    }

    /// Loads the key to sign digests that [`crypto::digest_for`] has prepared, by the schemes for rsaEncryption if it is one of RSA.
    /// `None` if no library can.
    pub(crate) fn load_for_digests(&self) -> Option<Box<SignDigest>> {
        let loaded = match self.info().filter(is_rsa_pss) {
            Some(info) => crypto::load_rsa_for_digests(info.private_key.as_bytes()),
            None => crypto::load_for_digests(self.pkcs8()),
        };
        #[cfg(feature = "openssl")]
        if loaded.is_none() {
            let key = self.load_by_openssl();
            return key.map(|key| Box::new(move |scheme, digest: &[u8]| key.sign_digest(scheme, digest)) as _);
        }
        loaded.map(|key| Box::new(move |scheme, digest: &[u8]| key.sign_digest(scheme, digest)) as _)
    }

    fn load_by_library(&self) -> Option<Arc<crypto::Key>> {
        // The library rejects the algorithm identifier, but can load the RSAPrivateKey inside
        match self.info().filter(is_rsa_pss) {
            Some(info) => crypto::load_rsa(info.private_key.as_bytes()),
            None => crypto::load(self.pkcs8()),
        }
    }

    #[cfg(feature = "openssl")]
    fn load_by_openssl(&self) -> Option<OpensslKey> {
        // As any RSA key: its certificate says what it may sign
        match self.info().filter(is_rsa_pss) {
            Some(info) => OpensslKey::from_pkcs1(info.private_key.as_bytes()),
            None => OpensslKey::from_pkcs8(self.pkcs8()),
        }
    }

    fn info(&self) -> Option<PrivateKeyInfoRef<'_>> {
        PrivateKeyInfoRef::from_der(self.pkcs8()).ok()
    }

    /// The bits of its public key in the form that is compared: computed if a library can load it, otherwise read from the
    /// PrivateKeyInfo.
    pub(crate) fn public_key(&self) -> Option<Vec<u8>> {
        self.computed_public_key().or_else(|| self.claimed_public_key())
    }

    fn claimed_public_key(&self) -> Option<Vec<u8>> {
        let info = self.info()?;
        match info.algorithm.oid {
            oid if RSA.contains(&oid) || oid == rsa_pss::OID => rsa_public_key_of(info.private_key.as_bytes()),
            EC => compressed(&ec_public_key(info.private_key.as_bytes())?),
            _ => None,
        }
    }

    fn computed_public_key(&self) -> Option<Vec<u8>> {
        public_key_of(&*self.load()?)
    }
}

fn unusable(certificate: &Certificate, detail: String) -> Error {
    Error::UnusableKey { key: certificate.key().to_string(), detail }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

fn is_rsa_pss(info: &PrivateKeyInfoRef<'_>) -> bool {
    info.algorithm.oid == rsa_pss::OID
}

/// What is signed to try a key.
const TRIED: &[u8] = b"cardcase tries a key";

fn public_key_of(key: &dyn SigningKey) -> Option<Vec<u8>> {
    public_bits(key).map(|(_, canonical)| canonical)
}

/// The bits of its subjectPublicKey: as the library writes them, and in the form that is compared.
fn public_bits(key: &dyn SigningKey) -> Option<(Vec<u8>, Vec<u8>)> {
    let spki = key.public_key()?;
    let (_, parsed) = SubjectPublicKeyInfo::from_der(&spki).ok()?;
    let bits = parsed.subject_public_key.data.as_ref();
    Some((bits.to_vec(), Algorithm::from_spki(&parsed).canonical(bits).into_owned()))
}

/// A signature with the first scheme of the certificate, and the scheme by which an RSA key that is not for RSASSA-PSS alone would
/// make it.
fn signature(key: &dyn SigningKey, certificate: &Certificate) -> Option<(SignatureScheme, Vec<u8>)> {
    let scheme = certificate.schemes().next()?;
    let signature = key.choose_scheme(&[scheme])?.sign(TRIED).ok()?;
    Some((rsa_pss::for_rsa_encryption(scheme).unwrap_or(scheme), signature))
}

/// The RSAPublicKey of an RSAPrivateKey (RFC 8017 appendix A.1.2): both have the same two numbers.
fn rsa_public_key_of(private: &[u8]) -> Option<Vec<u8>> {
    let mut fields = Element::only(private)?.sequence()?;
    let _version = fields.next()?;
    let (modulus, exponent) = fields.next_two()?;
    rsa_public_key(without_zeros(modulus.body), without_zeros(exponent.body))
}

/// The optional publicKey of an ECPrivateKey (RFC 5915).
fn ec_public_key(private: &[u8]) -> Option<Vec<u8>> {
    let mut fields = Element::only(private)?.sequence()?;
    let is_public = |field: &Element<'_>| matches!(field.tag, Tag::ContextSpecific { number: TagNumber(1), .. });
    let bits = elements(fields.find(is_public)?.body).next()?.body;
    bits.strip_prefix(&[0]).map(<[u8]>::to_vec)
}
