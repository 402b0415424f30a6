//! What a selection starts from: where the connection goes, and what the server asked for.

use std::fmt;
use std::str::FromStr;

use rustls::{ProtocolVersion, SignatureScheme};
use url::Host;

use crate::error::Error;
use crate::name::Name;

/// What is being connected to: host and port, normalised, so that two ways of writing one place are equal.
///
/// The host is lower-case, an IDN in its A-labels, an IP address in canonical form, without a trailing dot. The scheme
/// is always TLS, so it is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    host: String,
    port: u16,
}

impl Destination {
    /// The port of `https`, filled in where none is given.
    pub const DEFAULT_PORT: u16 = 443;

    /// Normalises a host as it stands in a URL (an IPv6 address with or without brackets).
    ///
    /// # Errors
    /// [`Error::Destination`] for an empty host, empty labels, or what is no host name.
    pub fn new(host: &str, port: u16) -> Result<Self, Error> {
        let invalid = |reason: &str| Error::Destination { text: host.to_owned(), reason: reason.to_owned() };
        if port == 0 {
            return Err(invalid("port 0 cannot be connected to"));
        }
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<std::net::Ipv6Addr>() {
            return Ok(Self { host: address.to_string(), port });
        }
        let parsed = Host::parse(host).map_err(|error| invalid(&error.to_string()))?;
        let host = match parsed {
            Host::Domain(domain) => {
                let name = domain.strip_suffix('.').unwrap_or(&domain);
                if name.is_empty() || name.split('.').any(str::is_empty) {
                    return Err(invalid("it has an empty label"));
                }
                if name.len() > 253 {
                    return Err(invalid("it is longer than 253 characters"));
                }
                name.to_owned()
            }
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        Ok(Self { host, port })
    }

    /// The host as it is verified and remembered; an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// `HOST`, `HOST:PORT`, `[IPv6]:PORT`; the port is 443 when it is left out.
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
        Ok(port) if port > 0 => Ok((host, Some(port))),
        _ => Err(Error::Destination { text: text.to_owned(), reason: format!("'{port}' is not a port (1 to 65535)") }),
    }
}

/// `host:port`, an IPv6 address in brackets.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Whether a request carries credentials, a client certificate among them: the credentials mode of the Fetch standard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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
    pub fn with_path(self, path: impl Into<String>) -> Self {
        Self { path: Some(path.into()), ..self }
    }

    /// With or without credentials.
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
            ],
            Self::EcdsaSign => {
                &[S::ECDSA_NISTP256_SHA256, S::ECDSA_NISTP384_SHA384, S::ECDSA_NISTP521_SHA512, S::ED25519]
            }
        }
    }
}

/// A server's CertificateRequest (RFC 8446 section 4.3.2, RFC 5246 section 7.4.4), as far as rustls tells.
#[derive(Clone, Debug, PartialEq, Eq)]
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

    /// Whether the certificate would be visible to whoever listens.
    pub fn is_visible(&self) -> bool {
        self.version.is_some_and(|version| version != ProtocolVersion::TLSv1_3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_has_one_form() {
        let cases = [
            ("example.org", "example.org:443"),
            ("EXAMPLE.org:8443", "example.org:8443"),
            ("example.org.", "example.org:443"),
            ("bücher.example:1", "xn--bcher-kva.example:1"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example:443"),
            ("[::1]:8443", "[::1]:8443"),
            ("[0:0:0:0:0:0:0:1]", "[::1]:443"),
            ("::1", "[::1]:443"),
            ("2001:DB8::0:1", "[2001:db8::1]:443"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("0x7f.1", "127.0.0.1:443"),
        ];
        for (text, shown) in cases {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_destination_is_refused_with_its_text() {
        let long = "a.".repeat(130);
        for text in
            ["", ".", "a..b", "a..", "host:0", "host:65536", "host:", "host:x", "a b", "[::1", "[zz]:1", "a/b", &long]
        {
            let Err(Error::Destination { text: named, .. }) = text.parse::<Destination>() else {
                panic!("{text} was taken");
            };
            assert!(named.contains(text) || text.contains(&named), "{text} is not named but {named}");
        }
    }
}
