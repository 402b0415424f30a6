//! Refusals: how a server says that it does not accept the identity it was sent, or that it requires one.
//!
//! It is a refusal when the server asked and was answered, and the connection then ended in place of a response: by any alert,
//! or without one. In TLS 1.2 it usually ends the handshake. In TLS 1.3 the client has finished the handshake by then, so the
//! refusal comes with the first read. nginx sends no alert but a page with status 400.
//!
//! Only code that has seen the whole connection knows all of that: [`Opened::refusal`](crate::connect::Opened::refusal) and
//! [`Error::refusal`](crate::connect::Error::refusal). [`cause`](crate::connect::cause) finds in an error alone the alerts that are
//! always about a certificate.
//!
//! # Example
//!
//! ```
//! use cardcase::ask::Refusal;
//! use cardcase::connect::{Cause, cause};
//! use rustls::AlertDescription;
//!
//! // The error of a read, however deep the alert is wrapped
//! let error = std::io::Error::other(rustls::Error::AlertReceived(AlertDescription::UnknownCA));
//! let Some(Cause::Refused(refusal)) = cause(&error) else { panic!("{error}") };
//! assert_eq!(refusal, Refusal::Alert(AlertDescription::UnknownCA));
//! assert_eq!(refusal.alert_name().as_deref(), Some("unknown_ca"));
//! ```

mod alerts;

use std::fmt;

use rustls::AlertDescription;

use self::alerts::{HUNG_UP, MEANINGS, Meaning, OTHERWISE, PAGES};

/// The way in which a server refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// By a TLS alert (RFC 8446 section 6.2).
    Alert(AlertDescription),
    /// By an HTTP page, as nginx does.
    Page,
    /// By ending the connection in place of a response, without an alert: IIS does so, and the servers of the JDK.
    HungUp,
}

impl Refusal {
    /// The refusal that an alert means wherever it comes; `None` if it depends on what came before. handshake_failure is a
    /// refusal: TLS 1.2 servers send it when they get no certificate.
    pub fn from_alert(alert: AlertDescription) -> Option<Self> {
        let refuses = alert == AlertDescription::HandshakeFailure || is_about_certificate(alert);
        refuses.then_some(Self::Alert(alert))
    }

    /// Whether an HTTP response with this status may be a refusal. Its body tells ([`Self::from_response`]).
    pub fn may_come_with(status: u16) -> bool {
        PAGES.iter().any(|page| page.status == status)
    }

    /// The refusal that an HTTP response means, by its status and the beginning of its body.
    pub fn from_response(status: u16, body: &[u8]) -> Option<Self> {
        let has = |words: &str| body.windows(words.len()).any(|part| part == words.as_bytes());
        PAGES.iter().any(|page| page.status == status && has(page.words)).then_some(Self::Page)
    }

    /// The name of the alert as RFC 8446 section 6 has it: `unknown_ca`.
    pub fn alert_name(self) -> Option<String> {
        match self {
            Self::Alert(alert) => Some(alert_name(alert)),
            Self::Page | Self::HungUp => None,
        }
    }

    /// What it usually means, in one clause for a person.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Alert(alert) => known(alert).map_or(OTHERWISE, |meaning| meaning.text),
            Self::Page => "its page says so",
            Self::HungUp => HUNG_UP.0,
        }
    }

    /// What it means, depending on the server, as far as that is known: the TLS libraries of such servers, and a clause for a
    /// person.
    pub fn meaning_by_server(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Alert(alert) => known(alert).map_or(&[], |meaning| meaning.servers),
            Self::Page => &[],
            Self::HungUp => HUNG_UP.1,
        }
    }
}

fn known(alert: AlertDescription) -> Option<&'static Meaning> {
    MEANINGS.iter().find(|meaning| meaning.alert == alert)
}

/// Whether an alert is about a certificate wherever it comes.
pub(crate) fn is_about_certificate(alert: AlertDescription) -> bool {
    known(alert).is_some_and(|meaning| meaning.is_about_certificate)
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

/// The name of an alert in RFC 8446 section 6; `alert_255` for a number without a name.
pub fn alert_name(alert: AlertDescription) -> String {
    if let AlertDescription::Unknown(number) = alert {
        return format!("alert_{number}");
    }
    // The RFC spells these differently from rustls
    match alert {
        AlertDescription::UnrecognisedName => return "unrecognized_name".to_owned(),
        AlertDescription::UnknownPSKIdentity => return "unknown_psk_identity".to_owned(),
        AlertDescription::EncryptedClientHelloRequired => return "ech_required".to_owned(),
        _ => {}
    }
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
    fn an_alert_without_a_name_is_shown_by_its_number() {
        assert_eq!(alert_name(AlertDescription::from(222)), "alert_222");
    }

    /// Every name is written as in the RFC, not as in rustls.
    #[test]
    fn each_alert_has_a_meaning() {
        for number in 0..=u8::MAX {
            let refusal = Refusal::Alert(AlertDescription::from(number));
            let name = refusal.alert_name().unwrap();
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{name}");
            assert_eq!(refusal.to_string(), format!("{name} ({})", refusal.meaning()));
        }
    }

    /// The table of docs/servers.md is the table here.
    #[test]
    fn the_documented_table_is_the_one_in_use() {
        let document = include_str!("../../docs/servers.md");
        let row = |name: &str, text: &str, servers: &[(&str, &str)]| {
            let servers: Vec<_> = servers.iter().map(|(server, when)| format!("{server}: {when}")).collect();
            format!("| {name} | {text} | {} |", servers.join("; "))
        };
        let rows = MEANINGS
            .iter()
            .map(|meaning| row(&format!("`{}`", alert_name(meaning.alert)), meaning.text, meaning.servers));
        for row in rows.chain([row("any other alert", OTHERWISE, &[]), row("no alert", HUNG_UP.0, HUNG_UP.1)]) {
            assert!(document.lines().any(|line| line == row), "docs/servers.md lacks:\n{row}");
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
