//! Why a server was not verified, in words for a person: what the TLS library reports, with what the certificates say about it. The
//! words are the same for rustls and for OpenSSL.

use std::{fmt, io};

use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, OtherError};
use x509_parser::der_parser::Oid;
use x509_parser::objects::{oid_registry, oid2sn};
use x509_parser::prelude::{FromDer, X509Certificate, X509Extension};

use crate::certificate::{Certificate, KeyKind};
use crate::clock::Timestamp;

/// In seconds.
const DAY: i64 = 86_400;

/// How many names of a certificate are shown.
const SHOWN: usize = 8;

/// A server's certificate that was not accepted. It takes the place of the error of rustls, which it holds.
#[derive(Debug)]
pub(crate) struct Unverified {
    pub(crate) error: CertificateError,
    /// One clause.
    pub(crate) why: String,
    /// `None` if it does not parse.
    pub(crate) certificate: Option<Certificate>,
}

impl Unverified {
    /// What an error says about these certificates, the server's first.
    pub(crate) fn new(error: CertificateError, presented: &[CertificateDer<'_>], now: Timestamp) -> Self {
        let presented = Presented::new(presented, now);
        let fault = Fault::from_error(&error);
        let why = match &error {
            // OpenSSL's own words
            CertificateError::Other(OtherError(other)) if fault == Fault::Other && other.is::<io::Error>() => {
                format!("its certificate was not accepted: {other}")
            }
            _ => presented.why(fault),
        };
        Self { error, why, certificate: presented.certificates.into_iter().next() }
    }
}

impl fmt::Display for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Unverified {}

/// What can be wrong with a certificate, or with one above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Damaged,
    Version1,
    /// A critical extension that the TLS library does not know.
    Critical,
    /// An extension that is repeated or does not parse.
    Extension,
    Expired,
    NotYetValid,
    OtherName,
    UnknownIssuer,
    BadSignature,
    /// An algorithm that is not accepted.
    OldSignature,
    Purpose,
    CaAsServer,
    NotACa,
    PathTooLong,
    NameConstraints,
    Revoked,
    RevocationUnknown,
    TooComplex,
    Other,
}

impl Fault {
    pub(crate) fn from_error(error: &CertificateError) -> Self {
        use CertificateError as E;
        #[allow(deprecated, reason = "rustls itself still makes these")]
        match error {
            E::BadEncoding => Self::Damaged,
            E::Expired | E::ExpiredContext { .. } => Self::Expired,
            E::NotValidYet | E::NotValidYetContext { .. } => Self::NotYetValid,
            E::Revoked => Self::Revoked,
            E::UnhandledCriticalExtension => Self::Critical,
            E::UnknownIssuer => Self::UnknownIssuer,
            E::UnknownRevocationStatus | E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => {
                Self::RevocationUnknown
            }
            E::BadSignature => Self::BadSignature,
            E::UnsupportedSignatureAlgorithm
            | E::UnsupportedSignatureAlgorithmContext { .. }
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Self::OldSignature,
            E::NotValidForName | E::NotValidForNameContext { .. } => Self::OtherName,
            E::InvalidPurpose | E::InvalidPurposeContext { .. } => Self::Purpose,
            E::Other(other) => other.0.downcast_ref().map_or(Self::Other, Self::from_webpki),
            _ => Self::Other,
        }
    }

    fn from_webpki(error: &webpki::Error) -> Self {
        use webpki::Error as E;
        match error {
            E::UnsupportedCertVersion => Self::Version1,
            E::UnsupportedCriticalExtension => Self::Critical,
            E::ExtensionValueInvalid | E::MalformedExtensions | E::EmptyEkuExtension => Self::Extension,
            E::CaUsedAsEndEntity => Self::CaAsServer,
            E::EndEntityUsedAsCa => Self::NotACa,
            E::PathLenConstraintViolated | E::MaximumPathDepthExceeded => Self::PathTooLong,
            E::NameConstraintViolation
            | E::MalformedNameConstraint
            | E::InvalidNetworkMaskConstraint
            | E::MaximumNameConstraintComparisonsExceeded => Self::NameConstraints,
            E::MaximumPathBuildCallsExceeded | E::MaximumSignatureChecksExceeded => Self::TooComplex,
            E::SignatureAlgorithmMismatch | E::InvalidSerialNumber | E::MalformedDnsIdentifier => Self::Damaged,
            _ => Self::Other,
        }
    }

    /// By the numbers of openssl/x509_vfy.h, as the error of rustls that means the same.
    #[cfg(feature = "openssl")]
    pub(crate) fn error_from_openssl(result: openssl::x509::X509VerifyResult) -> CertificateError {
        use std::sync::Arc;

        let webpki = |error: webpki::Error| CertificateError::Other(OtherError(Arc::new(error)));
        match result.as_raw() {
            // An issuer that is not found, in several places; a self-signed certificate; one that is not trusted; issuers that
            // do not fit
            2 | 18..=21 | 27..=31 => CertificateError::UnknownIssuer,
            // A signature or a public key that cannot be decoded, or dates
            4 | 6 | 13 | 14 => CertificateError::BadEncoding,
            // A signature that is wrong, or by a key that is too small; a small key of the server's
            7 | 66 | 67 => CertificateError::BadSignature,
            9 => CertificateError::NotValidYet,
            10 => CertificateError::Expired,
            22 => webpki(webpki::Error::MaximumPathDepthExceeded),
            23 => CertificateError::Revoked,
            // Not a CA, which is 24 before OpenSSL 3.0, or one whose key usage lacks keyCertSign
            24 | 32 | 79 => webpki(webpki::Error::EndEntityUsedAsCa),
            25 => webpki(webpki::Error::PathLenConstraintViolated),
            26 => CertificateError::InvalidPurpose,
            34 => CertificateError::UnhandledCriticalExtension,
            37 | 41 | 42 | 45 | 80 | 82 | 87 | 93 => webpki(webpki::Error::ExtensionValueInvalid),
            47..=49 | 51..=53 => webpki(webpki::Error::NameConstraintViolation),
            // Of a host name, an address
            62 | 64 => CertificateError::NotValidForName,
            68 | 76 => CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: Vec::new(),
                supported_algorithms: Vec::new(),
            },
            77 | 78 => webpki(webpki::Error::SignatureAlgorithmMismatch),
            _ => CertificateError::Other(OtherError(Arc::new(io::Error::other(result.error_string())))),
        }
    }
}

/// The certificates that a server presents, its own first.
pub(crate) struct Presented {
    certificates: Vec<Certificate>,
    now: Timestamp,
}

impl Presented {
    fn new(presented: &[CertificateDer<'_>], now: Timestamp) -> Self {
        let parse = |der: &CertificateDer<'_>| Certificate::from_der(der.to_vec()).ok();
        let above = presented.iter().skip(1).filter_map(parse);
        // Without its own certificate, those above it do not count
        let own = presented.first().and_then(parse);
        Self { certificates: own.map_or_else(Vec::new, |own| std::iter::once(own).chain(above).collect()), now }
    }

    /// A single certificate.
    pub(crate) fn alone(certificate: Certificate, now: Timestamp) -> Self {
        Self { certificates: vec![certificate], now }
    }

    /// What is wrong, as one clause.
    pub(crate) fn why(&self, fault: Fault) -> String {
        let Some(own) = self.certificates.first() else { return "its certificate is damaged".to_owned() };
        match fault {
            Fault::Damaged => "its certificate, or one above it, is damaged: it is not valid DER".to_owned(),
            Fault::Version1 => self.version_1(own),
            Fault::Critical => self.odd_extension(is_unknown_critical, "a critical extension that is not supported"),
            Fault::Extension => self.odd_extension(is_broken, "an extension that is damaged or repeated"),
            Fault::Expired => self.expired(),
            Fault::NotYetValid => self.not_yet_valid(),
            Fault::OtherName if own.version() == 1 => self.version_1(own),
            Fault::OtherName => other_name(own),
            Fault::UnknownIssuer => self.unknown_issuer(own),
            Fault::BadSignature => self.bad_signature(own),
            Fault::OldSignature => self.old_signature(),
            Fault::Purpose => self.purpose(),
            Fault::CaAsServer if own.is_self_signed() => self.unknown_issuer(own),
            Fault::CaAsServer => "its certificate is that of a CA, not of a server".to_owned(),
            Fault::NotACa => self.not_a_ca(own),
            Fault::PathTooLong => {
                "there are more CA certificates between it and its root than one of them allows (pathLenConstraint)"
                    .to_owned()
            }
            Fault::NameConstraints => {
                "a CA above it may not issue certificates for its names (nameConstraints)".to_owned()
            }
            Fault::Revoked => "its certificate, or one above it, was revoked".to_owned(),
            Fault::RevocationUnknown => "it is not known whether its certificate was revoked".to_owned(),
            Fault::TooComplex => "there are too many possible chains above its certificate".to_owned(),
            Fault::Other => "its certificate was not accepted".to_owned(),
        }
    }

    /// The certificates, each with what it is called.
    fn all(&self) -> impl Iterator<Item = (String, &Certificate)> {
        self.certificates.iter().enumerate().map(|(index, certificate)| (whose(index, certificate), certificate))
    }

    /// The first certificate of which this holds.
    fn first(&self, holds: impl Fn(&Certificate) -> bool) -> Option<(String, &Certificate)> {
        self.all().find(|(_, certificate)| holds(certificate))
    }

    fn version_1(&self, own: &Certificate) -> String {
        match self.first(|found| found.version() == 1) {
            Some((whose, found)) if found == own => {
                format!("{whose} is of X.509 version 1, which has no subjectAltName to name a server")
            }
            _ => "a CA certificate above it is of X.509 version 1, which cannot say that it is one".to_owned(),
        }
    }

    fn expired(&self) -> String {
        match self.first(|found| found.not_after() < self.now) {
            Some((whose, found)) => {
                let days = self.now.0.div_euclid(DAY) - found.not_after().0.div_euclid(DAY);
                let date = found.not_after().date();
                format!("{whose} expired {}, on {date} UTC", ago(days))
            }
            None => "a CA certificate above it has expired".to_owned(),
        }
    }

    fn not_yet_valid(&self) -> String {
        match self.first(|found| found.not_before() > self.now) {
            Some((whose, found)) => format!("{whose} is valid only from {} UTC on", found.not_before().date()),
            None => "a CA certificate above it is not yet valid".to_owned(),
        }
    }

    /// Follows the certificates upwards as far as the server sent them.
    fn unknown_issuer(&self, own: &Certificate) -> String {
        if own.is_self_signed() {
            return "its certificate is self-signed, and is not trusted".to_owned();
        }
        let mut top = own;
        // Each step leads to another certificate, or there are too many
        for _ in &self.certificates {
            match self.certificates.iter().find(|above| *above != top && top.could_be_issued_by(above)) {
                Some(above) if !top.is_self_signed() => top = above,
                _ => break,
            }
        }
        match top.is_self_signed() {
            true => format!("its certificate was issued under an unknown authority: {} is not trusted", top.subject()),
            false => format!(
                "its certificate was issued {} an unknown authority, {}, whose certificate is neither trusted nor sent by the server",
                if top == own { "by" } else { "under" },
                top.issuer()
            ),
        }
    }

    fn bad_signature(&self, own: &Certificate) -> String {
        if let Some((whose, bits)) = self.all().find_map(|(whose, found)| Some((whose, weak_rsa(found)?))) {
            return weak_key(&whose, bits);
        }
        let issuer = self.certificates.iter().find(|above| own.issuer() == above.subject() && *above != own);
        match issuer.and_then(|issuer| own.is_signed_by(issuer)) {
            // The mismatch is further above, or elsewhere
            Some(true) => {
                "a signature in its chain does not match the key of the trusted CA: that CA may have a new key"
                    .to_owned()
            }
            _ => format!(
                "the signature of its certificate does not match the key of {}: that CA may have a new key, or somebody is impersonating the server",
                own.issuer()
            ),
        }
    }

    fn old_signature(&self) -> String {
        match self.all().find_map(|(whose, found)| Some((whose, old_digest(found)?))) {
            Some((whose, digest)) => format!("{whose} is signed with {digest}, which is no longer secure"),
            None => "its certificate, or one above it, is signed with an algorithm that is not supported".to_owned(),
        }
    }

    fn purpose(&self) -> String {
        // The key usage of a CA is to issue certificates
        let is_unfit = |found: &Certificate| match found.may_issue() {
            true => found.extended_key_usage().is_some_and(|usages| !usages.iter().any(|usage| usage == "serverAuth")),
            false => !found.allows_server_auth(),
        };
        let Some((whose, found)) = self.first(is_unfit) else {
            return "a CA certificate above it does not allow server authentication".to_owned();
        };
        let usages = |usages: Vec<String>| if usages.is_empty() { "empty".to_owned() } else { usages.join(", ") };
        match found.extended_key_usage() {
            Some(extended) if !extended.iter().any(|usage| usage == "serverAuth") => {
                format!("{whose} is not for servers: its extended key usage is {}", usages(named(extended)))
            }
            _ => {
                let usage = found.key_usage().unwrap_or_default().into_iter().map(str::to_owned).collect();
                format!("{whose} is not for servers: its key usage is {}", usages(usage))
            }
        }
    }

    fn not_a_ca(&self, own: &Certificate) -> String {
        let issuer = self.certificates.iter().find(|above| own.issuer() == above.subject() && !above.may_issue());
        match issuer {
            Some(_) => format!("its certificate was issued by {}, whose certificate is not that of a CA", own.issuer()),
            None => "a certificate above it is not that of a CA".to_owned(),
        }
    }

    fn odd_extension(&self, is_odd: impl Fn(&X509Certificate<'_>, &X509Extension<'_>) -> bool, what: &str) -> String {
        for (whose, found) in self.all() {
            let Ok((_, parsed)) = X509Certificate::from_der(found.der()) else { continue };
            if let Some(odd) = parsed.extensions().iter().find(|extension| is_odd(&parsed, extension)) {
                return format!("{whose} has {what}: {}", oid_name(&odd.oid));
            }
        }
        format!("its certificate, or one above it, has {what}")
    }
}

fn whose(index: usize, certificate: &Certificate) -> String {
    match index {
        0 => "its certificate".to_owned(),
        _ => format!("the CA certificate of {}, above it,", certificate.subject()),
    }
}

fn ago(days: i64) -> String {
    match days {
        0 => "today".to_owned(),
        1 => "1 day ago".to_owned(),
        days => format!("{days} days ago"),
    }
}

fn other_name(own: &Certificate) -> String {
    let names = own.server_names();
    if names.is_empty() {
        let common = own.subject().attribute("CN");
        let common = common.map_or(String::new(), |name| format!("; its common name {name:?} does not count"));
        return format!("its certificate names no server: it has no subjectAltName with a host or an address{common}");
    }
    let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!("its certificate is for another name: {}{more}", shown.join(", "))
}

/// The bits of an RSA key that is too small or too large for the TLS library.
pub(crate) fn weak_rsa(certificate: &Certificate) -> Option<usize> {
    match certificate.key() {
        KeyKind::Rsa(bits) | KeyKind::RsaPss(bits) if !(2048..=8192).contains(bits) => Some(*bits),
        _ => None,
    }
}

/// The clause for such a key.
pub(crate) fn weak_key(whose: &str, bits: usize) -> String {
    format!("{whose} has an RSA key of {bits} bits; between 2048 and 8192 are needed")
}

/// The digest of a signature, if it is no longer secure.
fn old_digest(certificate: &Certificate) -> Option<&'static str> {
    let (_, parsed) = X509Certificate::from_der(certificate.der()).ok()?;
    match parsed.signature_algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.2" => Some("MD2"),
        "1.2.840.113549.1.1.3" => Some("MD4"),
        "1.2.840.113549.1.1.4" => Some("MD5"),
        "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" | "1.2.840.10045.4.1" | "1.2.840.10040.4.3" => Some("SHA-1"),
        _ => None,
    }
}

/// The usages, each with a name.
fn named(usages: &[String]) -> Vec<String> {
    usages.iter().map(|usage| dotted(usage).map_or_else(|| usage.clone(), |oid| oid_name(&oid))).collect()
}

/// An object identifier in dots.
fn dotted(text: &str) -> Option<Oid<'static>> {
    let arcs = text.split('.').map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
    Oid::from(&arcs).ok()
}

fn oid_name(oid: &Oid<'_>) -> String {
    match oid2sn(oid, oid_registry()) {
        Ok(name) => format!("{name} ({oid})"),
        Err(_) => format!("one without a known name ({oid})"),
    }
}

/// Whether an extension is critical, and webpki does not process it.
fn is_unknown_critical(_: &X509Certificate<'_>, extension: &X509Extension<'_>) -> bool {
    let known = ["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.31", "2.5.29.37"];
    extension.critical && !known.contains(&extension.oid.to_id_string().as_str())
}

fn is_broken(certificate: &X509Certificate<'_>, extension: &X509Extension<'_>) -> bool {
    let same = certificate.extensions().iter().filter(|other| other.oid == extension.oid);
    same.count() > 1 || extension.parsed_extension().error().is_some()
}
