//! Which identities fit a certificate request, in what order, and why the others do not. Pure.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use rustls::SignatureScheme;

use crate::answer::rules::{InForce, Rule};
use crate::certificate::authority::{Authorities, Chain, Requested};
use crate::certificate::identity::{Identity, LOST, NOT_FOR_CLIENTS, NOT_FOR_SIGNING};
use crate::certificate::name::Name;
use crate::certificate::outline::{Outline, Outlines, Traits};
use crate::certificate::public_key::Algorithm;
use crate::certificate::tried::Tried;
use crate::certificate::{Certificate, Fingerprint};
use crate::clock::Timestamp;
use crate::error::Damage;
use crate::request::CertificateRequest;

/// Why an identity is no candidate. Displayed as the code that `explain --json` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// No path leads from it to an authority the server asked for.
    IssuerNotRequested,
    /// Its key supports none of the signature schemes the server accepts.
    NoCommonSignatureScheme,
    /// Its extended key usage lacks clientAuth.
    NotForClientAuth,
    /// Its key usage lacks digitalSignature.
    NotForSigning,
    /// Its private key was lost with a forgotten primary password.
    NoPrivateKey,
    /// It may be sent in TLS 1.3 only, by itself or by a rule, and the connection has an older version.
    RequiresTls13,
    /// A rule forbids sending it there.
    DeniedByRule,
}

impl Reason {
    /// One clause for a person.
    pub fn text(self) -> &'static str {
        match self {
            Self::IssuerNotRequested => "not issued under an authority the server asks for",
            Self::NoCommonSignatureScheme => "its key supports no signature scheme the server accepts",
            Self::NotForClientAuth => NOT_FOR_CLIENTS,
            Self::NotForSigning => NOT_FOR_SIGNING,
            Self::NoPrivateKey => LOST,
            Self::RequiresTls13 => "it may be sent in TLS 1.3 only, and this connection uses an older version",
            Self::DeniedByRule => "a rule forbids sending it here",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IssuerNotRequested => "issuer_not_requested",
            Self::NoCommonSignatureScheme => "no_common_signature_scheme",
            Self::NotForClientAuth => "not_for_client_auth",
            Self::NotForSigning => "not_for_signing",
            Self::NoPrivateKey => "no_private_key",
            Self::RequiresTls13 => "requires_tls13",
            Self::DeniedByRule => "denied_by_rule",
        })
    }
}

/// What a person should know before sending a candidate. Displayed as the code that `explain --json` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Warning {
    /// It has expired.
    Expired,
    /// It is not yet valid.
    NotYetValid,
    /// An intermediate certificate of its chain is not in the store, so the server may be unable to verify it.
    IncompleteChain,
    /// It is a CA certificate.
    CaCertificate,
    /// It is of X.509 version 1, which many servers refuse.
    CertificateV1,
    /// Below TLS 1.3 others on the network can see the certificate.
    VisibleBelowTls13,
}

impl Warning {
    /// One clause for a person.
    pub fn text(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not yet valid",
            Self::IncompleteChain => "an intermediate certificate is missing",
            Self::CaCertificate => "a CA certificate",
            Self::CertificateV1 => "an X.509 version 1 certificate",
            Self::VisibleBelowTls13 => "visible on the network below TLS 1.3",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IncompleteChain => "incomplete_chain",
            Self::CaCertificate => "ca_certificate",
            Self::CertificateV1 => "certificate_v1",
            Self::VisibleBelowTls13 => "visible_below_tls13",
        })
    }
}

/// An identity, compared with a certificate request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Considered {
    /// The identity.
    pub identity: Arc<Identity>,
    /// Why it cannot be sent; empty when it is a candidate. In the order of their declaration.
    pub reasons: Vec<Reason>,
    /// What a person should know before it is sent, when it is a candidate. In the order of their declaration.
    pub warnings: Vec<Warning>,
    /// The issuer whose certificate the store lacks to complete its chain.
    pub missing_issuer: Option<Name>,
    /// The rule behind a reason, in words for a person.
    pub rule: Option<String>,
}

impl Considered {
    /// Whether it can be sent.
    pub fn is_candidate(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Why it cannot be sent, or the warnings, each in one clause for a person; then the issuer that is missing, where that may be the
    /// cause, and the rule.
    pub fn notes(&self) -> Vec<String> {
        let text = |reason: &Reason| match (reason, self.identity.key_limit()) {
            (Reason::NoCommonSignatureScheme, Some(limit)) => limit,
            _ => reason.text().to_owned(),
        };
        let missing = self.missing_issuer.as_ref();
        let missing = missing.filter(|_| self.is_candidate() || self.reasons.contains(&Reason::IssuerNotRequested));
        let reasons = self.reasons.iter().map(text);
        let warnings = self.warnings.iter().map(|warning| warning.text().to_owned());
        let missing = missing.map(|missing| format!("the certificate of {missing} is not in the store"));
        reasons.chain(warnings).chain(missing).chain(self.rule.clone()).collect()
    }
}

/// Its name, and why it cannot be sent, or is not sent without asking.
impl fmt::Display for Considered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.identity.name())?;
        let is_outdated = |warning: &&Warning| matches!(warning, Warning::Expired | Warning::NotYetValid);
        let outdated = self.warnings.iter().filter(is_outdated).map(|warning| warning.text());
        let mut separator = ": ";
        for why in self.reasons.iter().map(|reason| reason.text()).chain(outdated) {
            write!(f, "{separator}{why}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// A request, prepared to be compared with many identities.
#[derive(Debug)]
pub(super) struct Matcher<'a> {
    request: &'a CertificateRequest,
    authorities: &'a Authorities,
    requested: Option<Requested>,
    in_force: Option<&'a InForce>,
    now: Timestamp,
}

impl<'a> Matcher<'a> {
    /// Prepares a request against the authorities of a store.
    pub(super) fn new(request: &'a CertificateRequest, authorities: &'a Authorities, now: Timestamp) -> Self {
        let requested = (!request.authorities.is_empty()).then(|| authorities.requested(&request.authorities));
        Self { request, authorities, requested, in_force: None, now }
    }

    /// The same under these rules.
    pub(super) fn under(self, in_force: &'a InForce) -> Self {
        Self { in_force: Some(in_force), ..self }
    }

    /// The names to look identities up by; `None` when the server takes any.
    pub(super) fn requested(&self) -> Option<&Requested> {
        self.requested.as_ref()
    }

    /// Every reason why this identity is no candidate; none when it is one.
    pub(super) fn reasons(&self, identity: &Identity) -> Vec<Reason> {
        let mut reasons = reasons(identity, self.requested.as_ref(), self.request);
        if self.request.is_visible() && (identity.requires_tls13() || self.demands_tls13(identity).is_some()) {
            reasons.push(Reason::RequiresTls13);
        }
        if self.denied(identity).is_some() {
            reasons.push(Reason::DeniedByRule);
        }
        reasons
    }

    /// The rule that forbids sending this identity.
    pub(super) fn denied(&self, identity: &Identity) -> Option<&Rule> {
        self.in_force?.denied(identity.certificate())
    }

    /// The rule by which this identity may be sent in TLS 1.3 only.
    pub(super) fn demands_tls13(&self, identity: &Identity) -> Option<&Rule> {
        self.in_force?.demands_tls13(identity.certificate())
    }

    /// The rule that selects this identity without asking.
    pub(super) fn selects(&self, outline: &Outline) -> Option<&Rule> {
        self.in_force?.selects(outline)
    }

    /// Compares an identity with the request.
    pub(super) fn consider(&self, identity: Arc<Identity>) -> Considered {
        let (reasons, chain) = (self.reasons(&identity), self.chain(identity.certificate()));
        let certificate = identity.certificate();
        let top = chain.authorities.last().map_or(certificate, |authority| &authority.certificate);
        let rule = self.denied(&identity).or_else(|| self.demands_tls13(&identity));
        Considered {
            warnings: if reasons.is_empty() { self.warnings_with(certificate, &chain) } else { Vec::new() },
            missing_issuer: (!chain.complete).then(|| top.issuer().clone()),
            rule: rule.map(Rule::origin),
            reasons,
            identity,
        }
    }

    /// What a person should know before this certificate is sent.
    #[cfg(test)]
    fn warnings(&self, certificate: &Certificate) -> Vec<Warning> {
        self.warnings_with(certificate, &self.chain(certificate))
    }

    fn chain(&self, certificate: &Certificate) -> Chain {
        self.authorities.chain(certificate, self.requested.as_ref())
    }

    fn warnings_with(&self, certificate: &Certificate, chain: &Chain) -> Vec<Warning> {
        let checks = [
            (certificate.not_after() < self.now, Warning::Expired),
            (certificate.not_before() > self.now, Warning::NotYetValid),
            (!chain.complete, Warning::IncompleteChain),
            (certificate.is_ca(), Warning::CaCertificate),
            (certificate.version() == 1, Warning::CertificateV1),
            (self.request.is_visible(), Warning::VisibleBelowTls13),
        ];
        checks.into_iter().filter(|(holds, _)| *holds).map(|(_, warning)| warning).collect()
    }

    /// The candidates among identities, best first: those valid now, then in Chrome's order (latest expiry, latest start,
    /// shortest chain).
    pub(super) fn fit(&self, found: Arc<Outlines>) -> Fit {
        let mut order = found.fitting(self.now, |traits| self.takes(traits));
        let is_any = self.requested.is_none() && self.in_force.is_none_or(InForce::allows_all);
        if !is_any {
            order.retain(|position| found.get(*position).is_some_and(|outline| self.allows(outline)));
        }
        Fit { found, order }
    }

    /// Whether this identity is a candidate.
    pub(super) fn fits(&self, outline: &Outline) -> bool {
        self.takes(&outline.traits) && self.allows(outline)
    }

    /// Whether identities with these traits may be candidates.
    fn takes(&self, traits: &Traits) -> bool {
        traits.allows_client_auth
            && traits.allows_signing
            && signs_for(traits.algorithm, traits.tried, self.request)
            && !(self.request.is_visible() && traits.requires_tls13)
    }

    /// Whether an identity with these names may be a candidate.
    fn allows(&self, outline: &Outline) -> bool {
        let leads = |requested: &Requested| requested.leads_from_names(&outline.issuer_key, || outline.subject_key);
        let is_allowed = |rules: &InForce| {
            rules.denied(outline).is_none() && !(self.request.is_visible() && rules.demands_tls13(outline).is_some())
        };
        self.requested.as_ref().is_none_or(leads) && self.in_force.is_none_or(is_allowed)
    }
}

/// The identities that fit a request, best first.
#[derive(Clone, Debug, Default)]
pub(super) struct Fit {
    found: Arc<Outlines>,
    /// Their positions.
    order: Vec<usize>,
}

impl Fit {
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Outline> {
        self.order.iter().filter_map(|position| self.found.get(*position)).map(|outline| &**outline)
    }

    /// Moves those that were used before to the front of those that are valid now, and of the others.
    pub(super) fn put_used_first(&mut self, used_before: &HashSet<Fingerprint>, now: Timestamp) {
        let Self { found, order } = self;
        order.sort_by_cached_key(|position| {
            let outline = found.get(*position);
            let is_used = |outline: &Arc<Outline>| used_before.contains(&outline.fingerprint);
            (outline.is_none_or(|outline| !outline.is_valid_at(now)), !outline.is_some_and(is_used))
        });
    }

    /// A row that cannot be read, of an identity that might be one of them.
    pub(super) fn damaged(&self) -> Option<&Damage> {
        self.found.damaged()
    }
}

/// Every reason why this identity does not answer a request for `requested` (`None`: any issuer).
pub(crate) fn reasons(identity: &Identity, requested: Option<&Requested>, request: &CertificateRequest) -> Vec<Reason> {
    let certificate = identity.certificate();
    let checks = [
        (requested.is_none_or(|requested| requested.leads_from(certificate)), Reason::IssuerNotRequested),
        (
            identity.has_lost_key() || signs_for(certificate.algorithm(), identity.tried(), request),
            Reason::NoCommonSignatureScheme,
        ),
        (certificate.allows_client_auth(), Reason::NotForClientAuth),
        (certificate.allows_signing(), Reason::NotForSigning),
        (!identity.has_lost_key(), Reason::NoPrivateKey),
    ];
    checks.into_iter().filter(|(holds, _)| !holds).map(|(_, reason)| reason).collect()
}

/// Whether its key makes a signature that the server accepts, in the library that the request came over.
fn signs_for(algorithm: Algorithm, tried: Tried, request: &CertificateRequest) -> bool {
    if request.is_over_openssl {
        let is_tls13 = !request.is_visible();
        let mut schemes = algorithm.openssl_schemes(is_tls13);
        return tried.is_usable_by_openssl(algorithm) && schemes.any(|scheme| request.schemes.contains(&scheme));
    }
    tried.is_usable_by_rustls(algorithm) && algorithm.schemes().any(|scheme| request.schemes.contains(&scheme))
}

/// The scheme this certificate's key would sign with in rustls, its own preference first.
pub(crate) fn common_scheme(certificate: &Certificate, offered: &[SignatureScheme]) -> Option<SignatureScheme> {
    certificate.schemes().find(|scheme| offered.contains(scheme))
}

#[cfg(test)]
mod tests;
