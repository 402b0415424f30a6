//! Refusals: how a server says that it does not accept the identity it was sent, or that it requires one.
//!
//! In TLS 1.2 an alert ends the handshake. In TLS 1.3 the client has finished the handshake by then, so the alert comes with
//! the first read. nginx sends no alert but a page with status 400. None of this is a refusal if the server did not ask for a
//! certificate ([`crate::raw::Resolver::was_asked`], [`crate::raw::Guarded::was_asked`]).
//!
//! # Example
//!
//! ```
//! use cardcase::ask::Refusal;
//! use cardcase::raw::refusal;
//! use rustls::AlertDescription;
//!
//! // The error of a read, however deep the alert is wrapped
//! let error = std::io::Error::other(rustls::Error::AlertReceived(AlertDescription::UnknownCA));
//! let refused = refusal(&error);
//! assert_eq!(refused, Some(Refusal::Alert(AlertDescription::UnknownCA)));
//! assert_eq!(refused.and_then(Refusal::alert_name).as_deref(), Some("unknown_ca"));
//! ```

use std::fmt;

use rustls::AlertDescription;

/// The status with which nginx refuses a certificate, or the lack of one: Bad Request.
const NGINX_STATUS: u16 = 400;

/// What nginx writes into the page with which it does so.
const NGINX_PAGES: [&str; 2] = ["No required SSL certificate was sent", "The SSL certificate error"];

/// The way in which a server refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// By a TLS alert (RFC 8446 section 6.2).
    Alert(AlertDescription),
    /// By an HTTP page, as nginx does.
    Page,
}

impl Refusal {
    /// The refusal that an alert means; `None` when it means none. handshake_failure does: TLS 1.2 servers send it when they
    /// miss a certificate.
    pub fn from_alert(alert: AlertDescription) -> Option<Self> {
        use AlertDescription as A;
        let refuses = matches!(
            alert,
            A::BadCertificate
                | A::UnsupportedCertificate
                | A::CertificateRevoked
                | A::CertificateExpired
                | A::CertificateUnknown
                | A::UnknownCA
                | A::AccessDenied
                | A::CertificateRequired
                | A::HandshakeFailure
                | A::NoCertificate
        );
        refuses.then_some(Self::Alert(alert))
    }

    /// Whether an HTTP response with this status may be a refusal. Its body tells ([`Self::from_response`]).
    pub fn may_come_with(status: u16) -> bool {
        status == NGINX_STATUS
    }

    /// The refusal that an HTTP response means, by its status and the beginning of its body.
    pub fn from_response(status: u16, body: &[u8]) -> Option<Self> {
        let refuses = NGINX_PAGES.iter().any(|words| body.windows(words.len()).any(|part| part == words.as_bytes()));
        (Self::may_come_with(status) && refuses).then_some(Self::Page)
    }

    /// The name of the alert as RFC 8446 section 6 has it: `unknown_ca`.
    pub fn alert_name(self) -> Option<String> {
        match self {
            Self::Alert(alert) => Some(alert_name(alert)),
            Self::Page => None,
        }
    }

    /// What it usually means, in one clause for a person.
    pub fn meaning(self) -> &'static str {
        use AlertDescription as A;
        let Self::Alert(alert) = self else { return "its page says so" };
        match alert {
            A::UnknownCA => "the server does not know the CA that issued it, or an intermediate certificate is missing",
            A::CertificateExpired => "the server says that it has expired",
            A::CertificateRevoked => "the server says that it was revoked",
            A::BadCertificate => "the server cannot use it; it may be damaged or not yet valid",
            A::UnsupportedCertificate => "the server does not accept certificates of this kind, or not for this use",
            A::AccessDenied => "the server knows it and denies access",
            A::CertificateRequired | A::NoCertificate => "the server wants a certificate",
            A::HandshakeFailure => "the server usually means that it wants a certificate",
            _ => "the server does not accept it",
        }
    }
}

/// `unknown_ca (the server does not know ...)`, or what a page means.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.alert_name() {
            Some(name) => write!(f, "{name} ({})", self.meaning()),
            None => f.write_str(self.meaning()),
        }
    }
}

/// The name of an alert as RFC 8446 section 6 has it.
pub fn alert_name(alert: AlertDescription) -> String {
    let mut name = String::new();
    let mut after_capital = true;
    for c in format!("{alert:?}").chars() {
        if c.is_ascii_uppercase() && !after_capital {
            name.push('_');
        }
        after_capital = c.is_ascii_uppercase();
        name.push(c.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_have_their_names_from_the_rfc() {
        let cases = [
            (AlertDescription::UnknownCA, "unknown_ca"),
            (AlertDescription::BadCertificate, "bad_certificate"),
            (AlertDescription::HandshakeFailure, "handshake_failure"),
            (AlertDescription::CertificateRequired, "certificate_required"),
            (AlertDescription::AccessDenied, "access_denied"),
        ];
        for (alert, name) in cases {
            assert_eq!(alert_name(alert), name);
        }
    }

    #[test]
    fn only_error_pages_of_nginx_are_refusals() {
        let page = b"<center>No required SSL certificate was sent</center>";
        assert_eq!(Refusal::from_response(400, page), Some(Refusal::Page));
        assert_eq!(Refusal::from_response(403, page), None);
        assert_eq!(Refusal::from_response(400, b"Bad Request"), None);
    }
}
