//! The objects of a token: a certificate, and for an identity its public and its private key; and what programs may read of them.

use std::borrow::Cow;
use std::sync::Arc;

use cardcase::Identity;
use cardcase::manage::{Authority, Certificate, Fingerprint, KeyKind};
use cryptoki_sys::*;
use der::asn1::{AnyRef, OctetStringRef, UintRef};
use der::{Decode, Encode, Sequence, Tag};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use super::slot::Slot;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    Certificate,
    PublicKey,
    PrivateKey,
}

/// A certificate in a slot.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) slot: Slot,
    source: Source,
    label: String,
    serial_number: Vec<u8>,
    public_key_info: Vec<u8>,
    start_date: Vec<u8>,
    end_date: Vec<u8>,
    numbers: Numbers,
}

#[derive(Debug)]
enum Source {
    Identity(Arc<Identity>),
    /// A CA certificate in the chain of an identity.
    Authority(Arc<Authority>),
}

/// The numbers of a public key.
#[derive(Debug)]
enum Numbers {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    Curve {
        parameters: Vec<u8>,
        point: Vec<u8>,
    },
    /// Of a CA, which has no object for its key.
    None,
}

#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) class: Class,
    pub(crate) shown: Arc<Shown>,
}

/// The attributes of a private key that no program can read.
const SENSITIVE: [CK_ATTRIBUTE_TYPE; 7] =
    [CKA_VALUE, CKA_PRIVATE_EXPONENT, CKA_PRIME_1, CKA_PRIME_2, CKA_EXPONENT_1, CKA_EXPONENT_2, CKA_COEFFICIENT];

/// id-Ed25519 (RFC 8410): PKCS#11 wants parameters, and the certificate has none.
const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";

impl Shown {
    /// An identity, in the slot of its key. `None` if the module cannot sign with such a key.
    pub(crate) fn identity(identity: Arc<Identity>) -> Option<Self> {
        let slot = Slot::of(identity.certificate().key())?;
        let label = identity.name().to_owned();
        Self::new(slot, label, Source::Identity(identity))
    }

    /// A CA certificate.
    pub(crate) fn authority(authority: Arc<Authority>, slot: Slot) -> Option<Self> {
        let label = authority.certificate.subject().to_string();
        Self::new(slot, label, Source::Authority(authority))
    }

    fn new(slot: Slot, label: String, source: Source) -> Option<Self> {
        let certificate = source.certificate();
        let (_, parsed) = X509Certificate::from_der(certificate.der()).ok()?;
        let numbers = match &source {
            Source::Identity(_) => Numbers::of(certificate, &parsed)?,
            Source::Authority(_) => Numbers::None,
        };
        Some(Self {
            serial_number: AnyRef::new(Tag::Integer, parsed.raw_serial()).ok()?.to_der().ok()?,
            public_key_info: parsed.public_key().raw.to_vec(),
            start_date: date(parsed.validity().not_before),
            end_date: date(parsed.validity().not_after),
            slot,
            label,
            numbers,
            source,
        })
    }

    pub(crate) fn certificate(&self) -> &Certificate {
        self.source.certificate()
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.certificate().fingerprint()
    }

    pub(crate) fn objects(self) -> Vec<Object> {
        let classes: &[Class] = match self.source {
            Source::Identity(_) => &[Class::Certificate, Class::PublicKey, Class::PrivateKey],
            Source::Authority(_) => &[Class::Certificate],
        };
        let shown = Arc::new(self);
        classes.iter().map(|class| Object { class: *class, shown: shown.clone() }).collect()
    }
}

impl Source {
    fn certificate(&self) -> &Certificate {
        match self {
            Self::Identity(identity) => identity.certificate(),
            Self::Authority(authority) => &authority.certificate,
        }
    }
}

impl Numbers {
    fn of(certificate: &Certificate, parsed: &X509Certificate<'_>) -> Option<Self> {
        /// RFC 8017 appendix A.1.1.
        #[derive(Sequence)]
        struct RsaPublicKey<'a> {
            modulus: UintRef<'a>,
            public_exponent: UintRef<'a>,
        }

        if let KeyKind::Rsa(_) | KeyKind::RsaPss(_) = certificate.key() {
            let key = RsaPublicKey::from_der(certificate.public_key()).ok()?;
            let (modulus, exponent) = (key.modulus.as_bytes().to_vec(), key.public_exponent.as_bytes().to_vec());
            return Some(Self::Rsa { modulus, exponent });
        }
        let parameters = match &parsed.public_key().algorithm.parameters {
            None => ED25519.to_vec(),
            Some(curve) => AnyRef::new(Tag::ObjectIdentifier, curve.data).ok()?.to_der().ok()?,
        };
        let point = OctetStringRef::new(certificate.public_key()).ok()?.to_der().ok()?;
        Some(Self::Curve { parameters, point })
    }
}

impl Object {
    /// The identity whose private key this is.
    pub(crate) fn private_key(&self) -> Option<&Arc<Identity>> {
        match &self.shown.source {
            Source::Identity(identity) if self.class == Class::PrivateKey => Some(identity),
            _ => None,
        }
    }

    /// Why an attribute that the object does not have is not told.
    pub(crate) fn why_not(&self, kind: CK_ATTRIBUTE_TYPE) -> CK_RV {
        match self.class {
            Class::PrivateKey if SENSITIVE.contains(&kind) => CKR_ATTRIBUTE_SENSITIVE,
            _ => CKR_ATTRIBUTE_TYPE_INVALID,
        }
    }

    /// The value of an attribute, if programs may read it: there is no other.
    pub(crate) fn attribute(&self, kind: CK_ATTRIBUTE_TYPE) -> Option<Cow<'_, [u8]>> {
        let certificate = self.shown.certificate();
        Some(match kind {
            CKA_CLASS => number(match self.class {
                Class::Certificate => CKO_CERTIFICATE,
                Class::PublicKey => CKO_PUBLIC_KEY,
                Class::PrivateKey => CKO_PRIVATE_KEY,
            }),
            CKA_TOKEN => flag(true),
            // A private object is invisible before a login, and there is none
            CKA_PRIVATE | CKA_MODIFIABLE | CKA_COPYABLE | CKA_DESTROYABLE => flag(false),
            CKA_LABEL => self.shown.label.as_bytes().into(),
            // Programs pair certificate and key by it; two certificates may have one key
            CKA_ID => self.shown.fingerprint().as_bytes().to_vec().into(),
            CKA_SUBJECT => certificate.subject().der().into(),
            CKA_PUBLIC_KEY_INFO => self.shown.public_key_info.as_slice().into(),
            _ => match self.class {
                Class::Certificate => return self.attribute_of_certificate(kind),
                Class::PublicKey | Class::PrivateKey => return self.attribute_of_key(kind),
            },
        })
    }

    fn attribute_of_certificate(&self, kind: CK_ATTRIBUTE_TYPE) -> Option<Cow<'_, [u8]>> {
        let certificate = self.shown.certificate();
        let is_authority = matches!(self.shown.source, Source::Authority(_));
        Some(match kind {
            CKA_CERTIFICATE_TYPE => number(CKC_X_509),
            CKA_CERTIFICATE_CATEGORY if is_authority => number(CK_CERTIFICATE_CATEGORY_AUTHORITY),
            CKA_CERTIFICATE_CATEGORY => number(CK_CERTIFICATE_CATEGORY_TOKEN_USER),
            // GnuTLS completes a chain by these CA certificates alone. Nobody verifies a server with them: for that, p11-kit
            // would have to be told that the token has trust policy, and NSS asks for trust objects
            CKA_TRUSTED => flag(is_authority),
            CKA_ISSUER => certificate.issuer().der().into(),
            CKA_SERIAL_NUMBER => self.shown.serial_number.as_slice().into(),
            CKA_VALUE => certificate.der().into(),
            CKA_START_DATE => self.shown.start_date.as_slice().into(),
            CKA_END_DATE => self.shown.end_date.as_slice().into(),
            _ => return None,
        })
    }

    fn attribute_of_key(&self, kind: CK_ATTRIBUTE_TYPE) -> Option<Cow<'_, [u8]>> {
        let is_private = self.class == Class::PrivateKey;
        Some(match (kind, &self.shown.numbers) {
            (CKA_KEY_TYPE, Numbers::Rsa { .. }) => number(CKK_RSA),
            (CKA_KEY_TYPE, _) if self.shown.slot == Slot::Ed25519 => number(CKK_EC_EDWARDS),
            (CKA_KEY_TYPE, _) => number(CKK_EC),
            (CKA_MODULUS, Numbers::Rsa { modulus, .. }) => modulus.as_slice().into(),
            (CKA_PUBLIC_EXPONENT, Numbers::Rsa { exponent, .. }) => exponent.as_slice().into(),
            (CKA_MODULUS_BITS, Numbers::Rsa { modulus, .. }) if !is_private => number(bits(modulus)),
            (CKA_EC_PARAMS, Numbers::Curve { parameters, .. }) => parameters.as_slice().into(),
            (CKA_EC_POINT, Numbers::Curve { point, .. }) => point.as_slice().into(),
            (CKA_LOCAL | CKA_DERIVE, _) => flag(false),
            (CKA_START_DATE | CKA_END_DATE, _) => (&[]).into(),
            (CKA_KEY_GEN_MECHANISM, _) => number(CK_UNAVAILABLE_INFORMATION),
            (CKA_SIGN | CKA_SENSITIVE | CKA_ALWAYS_SENSITIVE | CKA_NEVER_EXTRACTABLE, _) if is_private => flag(true),
            (CKA_EXTRACTABLE | CKA_DECRYPT | CKA_UNWRAP | CKA_SIGN_RECOVER, _) if is_private => flag(false),
            (CKA_ALWAYS_AUTHENTICATE | CKA_WRAP_WITH_TRUSTED, _) if is_private => flag(false),
            (CKA_VERIFY, _) if !is_private => flag(true),
            (CKA_ENCRYPT | CKA_WRAP | CKA_VERIFY_RECOVER | CKA_TRUSTED, _) if !is_private => flag(false),
            _ => return None,
        })
    }
}

fn number(value: CK_ULONG) -> Cow<'static, [u8]> {
    value.to_ne_bytes().to_vec().into()
}

fn flag(value: bool) -> Cow<'static, [u8]> {
    vec![u8::from(value)].into()
}

/// The length of a number without leading zero bytes.
fn bits(modulus: &[u8]) -> CK_ULONG {
    let leading = modulus.first().map_or(0, |first| first.leading_zeros());
    8 * modulus.len() as CK_ULONG - CK_ULONG::from(leading)
}

/// A CK_DATE.
fn date(time: ASN1Time) -> Vec<u8> {
    let time = time.to_datetime();
    format!("{:04}{:02}{:02}", time.year(), u8::from(time.month()), time.day()).into_bytes()
}
