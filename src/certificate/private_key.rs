//! Private keys: loading them, and checking that they belong to a certificate.

use std::fmt;
use std::sync::Arc;

use der::asn1::{AnyRef, BitStringRef, OctetStringRef, UintRef};
use der::{Decode, Encode, Reader, SliceReader, Tag, TagNumber, Tagged};
use pkcs8::PrivateKeyInfoRef;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::SigningKey;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

use crate::certificate::rsa_pss;
use crate::certificate::rsa_pss::PssKey;
use crate::certificate::{Certificate, KeyKind};
use crate::error::Error;

/// A private key as the DER of a PrivateKeyInfo (RFC 5958), wiped from memory when dropped.
#[derive(Clone)]
pub(crate) struct PrivateKey(Zeroizing<Vec<u8>>);

impl PrivateKey {
    /// Takes the DER of a PrivateKeyInfo.
    pub(crate) fn from_pkcs8(der: Zeroizing<Vec<u8>>) -> Self {
        Self(der)
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
    /// [`Error::KeyMismatch`] when it is another certificate's key, [`Error::UnusableKey`] when rustls cannot sign with it.
    pub(crate) fn signing_key(&self, certificate: &Certificate) -> Result<Arc<dyn SigningKey>, Error> {
        let unusable = |detail: String| Error::UnusableKey { key: certificate.key().to_string(), detail };
        let key = self.load().map_err(|error| unusable(error.to_string()))?;
        let public = public_key_of(&*key).ok_or_else(|| unusable("its public key is not known".to_owned()))?;
        if public != certificate.public_key() {
            return Err(Error::KeyMismatch { subject: certificate.subject().to_string() });
        }
        match certificate.key() {
            KeyKind::RsaPss(_) if certificate.pss_digests().schemes().is_empty() => {
                Err(unusable("its parameters allow no signature that TLS has".to_owned()))
            }
            KeyKind::RsaPss(_) => Ok(Arc::new(PssKey::new(key, certificate.pss_digests()))),
            _ if self.info().as_ref().is_some_and(is_rsa_pss) => {
                Err(unusable("it is for RSASSA-PSS alone, its certificate is not".to_owned()))
            }
            _ => Ok(key),
        }
    }

    /// Checks that its public key is that of `certificate`, even if no handshake can use it.
    ///
    /// # Errors
    /// [`Error::KeyMismatch`] when it is another certificate's key, [`Error::UnusableKey`] when that cannot be known.
    pub(crate) fn check_fits(&self, certificate: &Certificate) -> Result<(), Error> {
        match self.signing_key(certificate) {
            Err(Error::UnusableKey { .. }) if self.public_key().as_deref() == Some(certificate.public_key()) => Ok(()),
            checked => checked.map(drop),
        }
    }

    /// Loads it, without comparing it with a certificate.
    pub(crate) fn load(&self) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        // aws-lc-rs rejects the algorithm identifier, but can load the RSAPrivateKey inside
        match self.info().filter(is_rsa_pss) {
            Some(info) => any_supported_type(&PrivateKeyDer::Pkcs1(info.private_key.as_bytes().into())),
            None => any_supported_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8()))),
        }
    }

    fn info(&self) -> Option<PrivateKeyInfoRef<'_>> {
        PrivateKeyInfoRef::from_der(self.pkcs8()).ok()
    }

    /// The bits of its public key: computed if rustls supports the kind of key, otherwise read from the PrivateKeyInfo.
    pub(crate) fn public_key(&self) -> Option<Vec<u8>> {
        self.computed_public_key().or_else(|| self.claimed_public_key())
    }

    fn claimed_public_key(&self) -> Option<Vec<u8>> {
        let info = self.info()?;
        match info.algorithm.oid.to_string().as_str() {
            "1.2.840.113549.1.1.1" | rsa_pss::OID => rsa_public_key(info.private_key.as_bytes()),
            // Certificates hold uncompressed points
            "1.2.840.10045.2.1" => ec_public_key(info.private_key.as_bytes()).filter(|point| point.first() == Some(&4)),
            _ => info.public_key.map(|bits| bits.raw_bytes().to_vec()),
        }
    }

    fn computed_public_key(&self) -> Option<Vec<u8>> {
        public_key_of(&*self.load().ok()?)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

fn is_rsa_pss(info: &PrivateKeyInfoRef<'_>) -> bool {
    info.algorithm.oid.to_string() == rsa_pss::OID
}

fn public_key_of(key: &dyn SigningKey) -> Option<Vec<u8>> {
    let spki = key.public_key()?;
    let (_, parsed) = SubjectPublicKeyInfo::from_der(&spki).ok()?;
    Some(parsed.subject_public_key.data.to_vec())
}

/// The RSAPublicKey of an RSAPrivateKey (RFC 8017 appendix A.1.2): both begin with the same two numbers.
fn rsa_public_key(private: &[u8]) -> Option<Vec<u8>> {
    let whole = AnyRef::from_der(private).ok()?;
    let mut fields = SliceReader::new(whole.value()).ok()?;
    let _version = UintRef::decode(&mut fields).ok()?;
    let numbers = [UintRef::decode(&mut fields).ok()?, UintRef::decode(&mut fields).ok()?];
    let body = [numbers[0].to_der().ok()?, numbers[1].to_der().ok()?].concat();
    AnyRef::new(Tag::Sequence, &body).ok()?.to_der().ok()
}

/// The optional publicKey of an ECPrivateKey (RFC 5915).
fn ec_public_key(private: &[u8]) -> Option<Vec<u8>> {
    let whole = AnyRef::from_der(private).ok()?;
    let mut fields = SliceReader::new(whole.value()).ok()?;
    let _version = UintRef::decode(&mut fields).ok()?;
    let _private = <&OctetStringRef>::decode(&mut fields).ok()?;
    while !fields.is_finished() {
        let field = AnyRef::decode(&mut fields).ok()?;
        if let Tag::ContextSpecific { number: TagNumber(1), .. } = field.tag() {
            return BitStringRef::from_der(field.value()).ok().map(|bits| bits.raw_bytes().to_vec());
        }
    }
    None
}
