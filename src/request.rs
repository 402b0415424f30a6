//! What a selection starts from: the destination of the connection, and what the server asked for.
//!
//! # Example
//!
//! ```
//! use cardcase::{Destination, Target};
//! use cardcase::ask::CertificateRequest;
//! use rustls::SignatureScheme;
//!
//! let destination: Destination = "WWW.Example.com.".parse()?;
//! assert_eq!(destination.to_string(), "www.example.com:443");
//! let target = Target::new(destination).with_path("/admin").without_credentials();
//! assert_eq!(target.path(), Some("/admin"));
//!
//! // What a server asks for that accepts ECDSA, from any CA
//! let request = CertificateRequest::new(&[], &[SignatureScheme::ECDSA_NISTP256_SHA256]);
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

/// A host and a port to connect to, normalised, so that different spellings of the same destination are equal.
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

    /// The host as it is remembered and dialled; an IPv6 address has no brackets, and its zone follows a `%`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host as a certificate names it. A certificate names an address without its zone, which has no meaning on other
    /// machines (RFC 6874 section 3).
    pub fn host_without_zone(&self) -> &str {
        self.host.split_once('%').map_or(&self.host, |(address, _)| address)
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// `HOST`, `HOST:PORT`, `[IPv6]:PORT` or `[IPv6%ZONE]:PORT`; the default port is 443.
impl FromStr for Destination {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (host, port) = split_port(text)?;
        Self::new(host, port.unwrap_or(Self::DEFAULT_PORT))
    }
}

/// Splits `HOST[:PORT]`. Text with several colons and no brackets is an IPv6 address.
///
/// # Errors
/// [`Error::Destination`] when the text after the colon is not a port, and for a URL.
pub fn split_port(text: &str) -> Result<(&str, Option<u16>), Error> {
    // A zone may hold anything
    if text.contains('/') && !text.contains('%') {
        let reason = "a host, or a host and a port, is without a scheme and a path: HOST or HOST:PORT".to_owned();
        return Err(Error::Destination { text: text.to_owned(), reason });
    }
    let bracketed = text.starts_with('[');
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if bracketed && host.ends_with(']') => (host, port),
        Some((host, port)) if !bracketed && !host.contains(':') => (host, port),
        _ => return Ok((text, None)),
    };
    match port.parse::<u16>() {
        // Rust accepts a sign too
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

/// A normalised host in the form it has before a port. A zone that begins with `25` is written after `%25`, so that it is
/// parsed back unchanged.
pub(crate) fn in_brackets(host: &str) -> Cow<'_, str> {
    match host.split_once('%') {
        Some((address, zone)) if zone.len() > 2 && zone.starts_with("25") => format!("[{address}%25{zone}]").into(),
        _ if host.contains(':') => format!("[{host}]").into(),
        _ => host.into(),
    }
}

/// An IPv6 address with or without brackets and zone; `None` when the text is not one.
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

/// The case of a zone is kept: names of interfaces are case-sensitive.
fn with_zone(address: Ipv6Addr, zone: &str) -> Result<String, String> {
    if !address.is_unicast_link_local() {
        return Err(format!("{address} is not a link-local address (fe80::/10), and only these have a zone"));
    }
    if zone.is_empty() || zone.len() > MAX_ZONE {
        return Err(format!(
            "the zone after the % must have 1 to {MAX_ZONE} characters, like the name of an interface"
        ));
    }
    match zone.chars().find(|&c| !(c.is_ascii_alphanumeric() || "-._~".contains(c))) {
        Some(':') => Err("write an address with a zone and a port as [fe80::1%eth0]:443".to_owned()),
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

/// Why this is not a host name: RFC 1035 section 2.3.4, and what certificates can contain. The URL standard is less strict.
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

/// What one request is for: its destination, its path if known, and whether it carries credentials.
///
/// Decisions are keyed by the destination alone; rules can also depend on the path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    destination: Destination,
    path: Option<String>,
    with_credentials: bool,
}

impl Target {
    /// A request to this destination, with an unknown path.
    pub fn new(destination: Destination) -> Self {
        Self { destination, path: None, with_credentials: true }
    }

    /// The same for this path of a URL, as it is sent to the server.
    #[must_use]
    pub fn with_path(self, path: impl Into<String>) -> Self {
        Self { path: Some(path.into()), ..self }
    }

    /// For a path that is not known.
    #[cfg(feature = "openssl")]
    pub(crate) fn without_path(self) -> Self {
        Self { path: None, ..self }
    }

    /// For a request that carries no credentials: no certificate is sent and the chooser is not asked, whatever is
    /// remembered. It is the credentials mode `omit` of the Fetch standard.
    #[must_use]
    pub fn without_credentials(self) -> Self {
        Self { with_credentials: false, ..self }
    }

    /// Where it goes.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// The path of its URL.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// Whether the request carries credentials, such as a client certificate.
    pub fn carries_credentials(&self) -> bool {
        self.with_credentials
    }

    /// Whether a request with this method and these headers is a CORS-preflight request, which never carries credentials
    /// (Fetch standard, section 4.8): `OPTIONS` with `Origin` and `Access-Control-Request-Method`.
    pub fn is_preflight(method: &str, has_header: impl Fn(&str) -> bool) -> bool {
        method == "OPTIONS" && has_header("origin") && has_header("access-control-request-method")
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

/// A server's CertificateRequest (RFC 8446 section 4.3.2, RFC 5246 section 7.4.4), as far as rustls provides it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateRequest {
    /// certificate_authorities; when it is empty, any certificate may be sent.
    pub authorities: Vec<Name>,
    /// signature_algorithms, in the server's order.
    pub schemes: Vec<SignatureScheme>,
    /// The negotiated version of TLS, if known. Below 1.3 a certificate is sent unencrypted.
    pub version: Option<ProtocolVersion>,
    /// Whether it came over OpenSSL, which signs with kinds of keys that rustls does not.
    pub(crate) is_over_openssl: bool,
}

impl CertificateRequest {
    /// From the arguments of `ResolvesClientCert::resolve` of rustls.
    pub fn new(root_hint_subjects: &[&[u8]], sigschemes: &[SignatureScheme]) -> Self {
        Self {
            authorities: root_hint_subjects.iter().map(|der| Name::from_der(*der)).collect(),
            schemes: sigschemes.to_vec(),
            version: None,
            is_over_openssl: false,
        }
    }

    /// The same request, in a connection of this version of TLS.
    #[must_use]
    pub fn with_version(self, version: Option<ProtocolVersion>) -> Self {
        Self { version, ..self }
    }

    /// Whether others on the network would see the certificate: the version is known and below TLS 1.3.
    pub fn is_visible(&self) -> bool {
        self.version.is_some_and(|version| version != ProtocolVersion::TLSv1_3)
    }

    /// The names of the signature schemes in IANA's TLS SignatureScheme registry; hexadecimal where it has none.
    pub fn scheme_names(&self) -> Vec<String> {
        self.schemes.iter().copied().map(scheme_name).collect()
    }

    /// Whether both name the same authorities and schemes, in the same order. A resolver of rustls knows no more of a
    /// request; use `==` where the version counts too.
    pub(crate) fn names_the_same(&self, other: &Self) -> bool {
        self.authorities == other.authorities && self.schemes == other.schemes
    }

    /// Bytes that are equal for requests that one answer of a person serves: they name the same authorities and schemes, in
    /// any order, and show the certificate to others or not.
    pub(crate) fn question(&self) -> Vec<u8> {
        let mut authorities: Vec<&[u8]> = self.authorities.iter().map(Name::der).collect();
        authorities.sort_unstable();
        let mut schemes: Vec<u16> = self.schemes.iter().map(|scheme| u16::from(*scheme)).collect();
        schemes.sort_unstable();
        let mut bytes = vec![u8::from(self.is_visible())];
        bytes.extend((authorities.len() as u64).to_be_bytes());
        for authority in authorities {
            bytes.extend((authority.len() as u64).to_be_bytes());
            bytes.extend(authority);
        }
        bytes.extend(schemes.into_iter().flat_map(u16::to_be_bytes));
        bytes
    }
}

/// The name of a scheme in IANA's TLS SignatureScheme registry. rustls names some as TLS 1.2 does, and others not at all.
fn scheme_name(scheme: SignatureScheme) -> String {
    let name = match scheme {
        SignatureScheme::ECDSA_NISTP256_SHA256 => "ecdsa_secp256r1_sha256",
        SignatureScheme::ECDSA_NISTP384_SHA384 => "ecdsa_secp384r1_sha384",
        SignatureScheme::ECDSA_NISTP521_SHA512 => "ecdsa_secp521r1_sha512",
        SignatureScheme::RSA_PSS_SHA256 => "rsa_pss_rsae_sha256",
        SignatureScheme::RSA_PSS_SHA384 => "rsa_pss_rsae_sha384",
        SignatureScheme::RSA_PSS_SHA512 => "rsa_pss_rsae_sha512",
        rsa_pss::RSA_PSS_PSS_SHA256 => "rsa_pss_pss_sha256",
        rsa_pss::RSA_PSS_PSS_SHA384 => "rsa_pss_pss_sha384",
        rsa_pss::RSA_PSS_PSS_SHA512 => "rsa_pss_pss_sha512",
        SignatureScheme::ECDSA_SHA1_Legacy => "ecdsa_sha1",
        other => match other.as_str() {
            Some(name) => return name.to_ascii_lowercase(),
            None => return format!("0x{:04x}", u16::from(other)),
        },
    };
    name.to_owned()
}
