//! What a selection starts from: where the connection goes, and what the server asked for.
//!
//! # Example
//!
//! ```
//! use cardcase::{Destination, Target};
//! use cardcase::ask::{CertificateRequest, CertificateType, Credentials};
//!
//! let destination: Destination = "WWW.Example.com.".parse()?;
//! assert_eq!(destination.to_string(), "www.example.com:443");
//! let target = Target::new(destination).with_path("/admin").with_credentials(Credentials::Omit);
//! assert_eq!(target.path(), Some("/admin"));
//!
//! // A request that nobody sent: what would do for a server that takes ECDSA, of any CA?
//! let request = CertificateRequest::of_types(&[CertificateType::EcdsaSign], Vec::new());
//! assert!(!request.is_visible());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use rustls::{ProtocolVersion, SignatureScheme};
use url::Host;

use crate::certificate::name::Name;
use crate::certificate::rsa_pss;
use crate::error::Error;

/// Characters of a zone: those of the name of an interface (IFNAMSIZ without its zero byte, on Linux and the BSDs).
const MAX_ZONE: usize = 15;

/// What is being connected to: host and port, normalised, so that two ways of writing one place are equal.
///
/// The host is lower-case, an IDN in its A-labels, an IP address in canonical form, without a trailing dot. The zone of a
/// link-local IPv6 address is part of it (RFC 4007): one address on two links is two machines. The scheme is always TLS, so
/// it is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    host: String,
    port: u16,
}

impl Destination {
    /// The port of `https`, filled in where none is given.
    pub const DEFAULT_PORT: u16 = 443;

    /// Normalises a host as it stands in a URL (an IPv6 address with or without brackets). A zone is introduced by `%`, in
    /// brackets also by `%25` (RFC 6874).
    ///
    /// # Errors
    /// [`Error::Destination`] for an empty host, empty or overlong labels, or what is no host name.
    pub fn new(host: &str, port: u16) -> Result<Self, Error> {
        let invalid = |reason: String| Error::Destination { text: host.to_owned(), reason };
        if port == 0 {
            return Err(invalid("port 0 cannot be connected to".to_owned()));
        }
        let host = match ipv6(host) {
            Some(address) => address,
            None => name_or_address(host),
        };
        Ok(Self { host: host.map_err(invalid)?, port })
    }

    /// The host as it is remembered and dialled; an IPv6 address without brackets, with its zone behind a `%`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host as a certificate names it: that of a zone is the address alone, which means nothing elsewhere (RFC 6874
    /// section 3).
    pub fn host_without_zone(&self) -> &str {
        self.host.split_once('%').map_or(&self.host, |(address, _)| address)
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// `HOST`, `HOST:PORT`, `[IPv6]:PORT`, `[IPv6%ZONE]:PORT`; the port is 443 when it is left out.
impl FromStr for Destination {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (host, port) = split_port(text)?;
        Self::new(host, port.unwrap_or(Self::DEFAULT_PORT))
    }
}

/// Splits `HOST[:PORT]`; what has several colons and no brackets is an IPv6 address.
///
/// # Errors
/// [`Error::Destination`] when what follows the colon is no port.
pub fn split_port(text: &str) -> Result<(&str, Option<u16>), Error> {
    let bracketed = text.starts_with('[');
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if bracketed && host.ends_with(']') => (host, port),
        Some((host, port)) if !bracketed && !host.contains(':') => (host, port),
        _ => return Ok((text, None)),
    };
    match port.parse::<u16>() {
        // Rust takes a sign too
        Ok(number) if number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()) => Ok((host, Some(number))),
        _ => Err(Error::Destination { text: text.to_owned(), reason: format!("'{port}' is not a port (1 to 65535)") }),
    }
}

/// `host:port`, an IPv6 address in brackets.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", in_brackets(&self.host), self.port)
    }
}

/// A normalised host as it stands before a port. A zone that begins with what could be the escape of `%` gets the escape
/// in front, so that it reads back as it is.
pub(crate) fn in_brackets(host: &str) -> Cow<'_, str> {
    match host.split_once('%') {
        Some((address, zone)) if zone.len() > 2 && zone.starts_with("25") => format!("[{address}%25{zone}]").into(),
        _ if host.contains(':') => format!("[{host}]").into(),
        _ => host.into(),
    }
}

/// An IPv6 address with or without brackets and zone; `None` when it is none.
fn ipv6(text: &str) -> Option<Result<String, String>> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let bare = bracketed.unwrap_or(text);
    let (address, zone) = match bare.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (bare, None),
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let Some(zone) = zone else { return Some(Ok(address.to_string())) };
    let unescaped = zone.strip_prefix("25").filter(|rest| bracketed.is_some() && !rest.is_empty());
    Some(with_zone(address, unescaped.unwrap_or(zone)))
}

/// The zone stays as the system has it: the names of interfaces differ in case.
fn with_zone(address: Ipv6Addr, zone: &str) -> Result<String, String> {
    if !address.is_unicast_link_local() {
        return Err(format!("{address} is no link-local address (fe80::/10), and only these have a zone"));
    }
    if zone.is_empty() || zone.len() > MAX_ZONE {
        return Err(format!("its zone, behind the %, has 1 to {MAX_ZONE} characters, as the names of interfaces have"));
    }
    match zone.chars().find(|&c| !(c.is_ascii_alphanumeric() || "-._~".contains(c))) {
        Some(':') => Err("with a zone and a port it is written [fe80::1%eth0]:443".to_owned()),
        Some(c) => Err(format!("{c:?} cannot be in a zone")),
        None => Ok(format!("{address}%{zone}")),
    }
}

fn name_or_address(text: &str) -> Result<String, String> {
    match Host::parse(text).map_err(|error| error.to_string())? {
        Host::Ipv4(address) => Ok(address.to_string()),
        Host::Ipv6(address) => Ok(address.to_string()),
        Host::Domain(domain) => {
            let name = domain.strip_suffix('.').unwrap_or(&domain);
            match unfit(name) {
                Some(reason) => Err(reason),
                None => Ok(name.to_owned()),
            }
        }
    }
}

/// Why this is no name of a host: RFC 1035 section 2.3.4, and what certificates can hold. The URL standard is laxer.
fn unfit(name: &str) -> Option<String> {
    if name.split('.').any(str::is_empty) {
        return Some("it has an empty label".to_owned());
    }
    if name.len() > 253 {
        return Some("it is longer than 253 characters".to_owned());
    }
    if name.split('.').any(|label| label.len() > 63) {
        return Some("a label of it is longer than 63 characters".to_owned());
    }
    let strange = name.chars().find(|&c| !(c.is_ascii_alphanumeric() || "-._".contains(c)))?;
    Some(format!("{strange:?} cannot be in the name of a host"))
}

/// Whether a request carries credentials, a client certificate among them: the credentials mode of the Fetch standard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Credentials {
    /// It does, where the server asks.
    #[default]
    Include,
    /// No certificate is sent and none asked about, whatever is remembered.
    Omit,
}

impl Credentials {
    /// The same, except that a CORS-preflight request always omits: an OPTIONS request with `Origin` and
    /// `Access-Control-Request-Method` (Fetch standard, section 4.8).
    #[must_use]
    pub fn unless_preflight(self, method: &str, has_header: impl Fn(&str) -> bool) -> Self {
        let preflight = method == "OPTIONS" && has_header("origin") && has_header("access-control-request-method");
        if preflight { Self::Omit } else { self }
    }
}

/// What one request is for: its destination, its path where that is known, and whether it carries credentials.
///
/// Decisions are keyed by the destination alone; rules may also look at the path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    destination: Destination,
    path: Option<String>,
    credentials: Credentials,
}

impl Target {
    /// A request to this destination, for a path that is not known.
    pub fn new(destination: Destination) -> Self {
        Self { destination, path: None, credentials: Credentials::Include }
    }

    /// For this path of a URL, as it goes over the wire.
    #[must_use]
    pub fn with_path(self, path: impl Into<String>) -> Self {
        Self { path: Some(path.into()), ..self }
    }

    /// For a path that is not known.
    #[cfg(feature = "openssl")]
    pub(crate) fn without_path(self) -> Self {
        Self { path: None, ..self }
    }

    /// With or without credentials.
    #[must_use]
    pub fn with_credentials(self, credentials: Credentials) -> Self {
        Self { credentials, ..self }
    }

    /// Where it goes.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// The path of its URL.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// Whether it carries credentials.
    pub fn credentials(&self) -> Credentials {
        self.credentials
    }
}

impl From<Destination> for Target {
    fn from(destination: Destination) -> Self {
        Self::new(destination)
    }
}

impl From<&Destination> for Target {
    fn from(destination: &Destination) -> Self {
        Self::new(destination.clone())
    }
}

impl From<&Target> for Target {
    fn from(target: &Target) -> Self {
        target.clone()
    }
}

/// A kind of client certificate, as TLS 1.2 and the platformKeys interface of Chrome name it: by the signature its key
/// makes (RFC 5246 section 7.4.4, RFC 8422 section 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CertificateType {
    /// rsa_sign.
    RsaSign,
    /// ecdsa_sign, which stands for Ed25519 too.
    EcdsaSign,
}

impl CertificateType {
    fn schemes(self) -> &'static [SignatureScheme] {
        use SignatureScheme as S;
        match self {
            Self::RsaSign => &[
                S::RSA_PSS_SHA256,
                S::RSA_PSS_SHA384,
                S::RSA_PSS_SHA512,
                S::RSA_PKCS1_SHA256,
                S::RSA_PKCS1_SHA384,
                S::RSA_PKCS1_SHA512,
                rsa_pss::RSA_PSS_PSS_SHA256,
                rsa_pss::RSA_PSS_PSS_SHA384,
                rsa_pss::RSA_PSS_PSS_SHA512,
            ],
            Self::EcdsaSign => {
                &[S::ECDSA_NISTP256_SHA256, S::ECDSA_NISTP384_SHA384, S::ECDSA_NISTP521_SHA512, S::ED25519]
            }
        }
    }
}

/// A server's CertificateRequest (RFC 8446 section 4.3.2, RFC 5246 section 7.4.4), as far as rustls tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateRequest {
    /// certificate_authorities; none at all means that any certificate may be sent.
    pub authorities: Vec<Name>,
    /// signature_algorithms, in the server's order.
    pub schemes: Vec<SignatureScheme>,
    /// The version of TLS that was negotiated, where it is known. Below 1.3 a certificate crosses the network in the clear.
    pub version: Option<ProtocolVersion>,
}

impl CertificateRequest {
    /// Takes what rustls hands to `ResolvesClientCert::resolve`.
    pub fn new(root_hint_subjects: &[&[u8]], sigschemes: &[SignatureScheme]) -> Self {
        Self {
            authorities: root_hint_subjects.iter().map(|der| Name::from_der(*der)).collect(),
            schemes: sigschemes.to_vec(),
            version: None,
        }
    }

    /// A request nobody sent: for certificates of these types, under these authorities (any, where none is named).
    pub fn of_types(types: &[CertificateType], authorities: Vec<Name>) -> Self {
        let schemes = types.iter().flat_map(|kind| kind.schemes()).copied().collect();
        Self { authorities, schemes, version: None }
    }

    /// The same request, in a connection of this version of TLS.
    #[must_use]
    pub fn with_version(self, version: Option<ProtocolVersion>) -> Self {
        Self { version, ..self }
    }

    /// Whether the certificate would be visible to whoever listens.
    pub fn is_visible(&self) -> bool {
        self.version.is_some_and(|version| version != ProtocolVersion::TLSv1_3)
    }
}
