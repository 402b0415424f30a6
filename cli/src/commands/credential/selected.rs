//! The identity that a credential is made of.

use cardcase::Destination;
use cardcase::Identity;
use cardcase::connect::{Selection, Source};
use cardcase::manage::{Answer, Outcome};
use cardcase::manage::{Certificate, Fingerprint};
use zeroize::Zeroizing;

use crate::app::App;
use crate::cli;
use crate::http::incompatible;
use crate::http::probe::{Look, Seen};
use crate::ui::failure::{Code, Failure};
use crate::ui::notices::tell_unrecorded;
use crate::ui::pem::pem;
use crate::ui::remedy::IMPORT;

/// An identity with its private key, outside the store.
pub(super) struct Credential {
    pub(super) name: String,
    pub(super) fingerprint: Fingerprint,
    /// The certificate, then the intermediates above it.
    pub(super) certificates: Vec<Certificate>,
    /// DER of a PrivateKeyInfo (PKCS#8).
    key: Zeroizing<Vec<u8>>,
    pub(super) requires_tls13: bool,
}

impl Credential {
    pub(super) fn certificates_pem(&self) -> Result<String, Failure> {
        let mut text = String::new();
        for certificate in &self.certificates {
            text.push_str(&pem("CERTIFICATE", certificate.der())?);
        }
        Ok(text)
    }

    pub(super) fn key_pem(&self) -> Result<Zeroizing<String>, Failure> {
        pem("PRIVATE KEY", &self.key)
    }
}

/// Connects to the server to see its request, and selects an identity as for a request to it.
pub(super) fn select(app: &App, args: &cli::Credential, look: Look<'_>) -> Result<Credential, Failure> {
    incompatible::check_built_in(look.tls)?;
    let destination = look.target.destination();
    let selector = app.selector()?;
    let given = args.identity.as_deref().map(|id| -> Result<Identity, Failure> { Ok(app.store()?.find_identity(id)?) });
    let given = given.transpose()?;
    let look = Look { given: given.as_ref(), ..look };
    let Seen { request, version, unverified, .. } = look.look(&selector)?;
    if let Some(failure) = unverified {
        return Err(failure);
    }
    let no_request = || Failure::new(Code::Failed, format_args!("{destination} does not ask for a client certificate"));
    let request = request.ok_or_else(no_request)?;
    let selected = match given {
        Some(identity) => selector.given(destination, identity)?,
        None => selector.select(destination, &request)?,
    };
    // With the store unlocked, what selected the identity can be verified, and the key can be read
    selector.unlock_fully()?;
    let selected = selector.refresh(&selected)?;
    let key = selected.private_key()?;
    if store_is_empty(app)? {
        let message = format!("{destination} asks for a client certificate, and the store has no identities");
        return Err(Failure::new(Code::NothingFits, message).hint(IMPORT));
    }
    let (Some(selection), Some(key)) = (selected.selection(), key) else {
        return Err(nothing(destination, selected.selection()));
    };
    let version = version.map(cardcase::manage::version_name);
    if let Err(error) = selector.record(destination, selection, Outcome::Unknown, None, version) {
        tell_unrecorded(&error);
    }
    let Answer::Identity(identity) = &selection.answer else { return Err(nothing(destination, Some(selection))) };
    Ok(Credential {
        name: identity.name().to_owned(),
        fingerprint: identity.fingerprint(),
        certificates: selected.certificates(),
        key,
        requires_tls13: selected.demands_tls13().is_some(),
    })
}

fn store_is_empty(app: &App) -> Result<bool, Failure> {
    Ok(app.store()?.each_identity()?.next().is_none())
}

fn nothing(destination: &Destination, selection: Option<&Selection>) -> Failure {
    let why = match selection.map(|selection| selection.source) {
        Some(Source::NoCandidate) => "no identity fits what it asks for",
        Some(Source::Decision | Source::Ask) => "no certificate is to be sent to it",
        Some(Source::Rule) => "a rule forbids every identity",
        _ => "there is no decision for it any more",
    };
    let failure = Failure::new(Code::NothingFits, format_args!("there is no credential for {destination}: {why}"));
    failure.hint(format_args!("cardcase explain {destination}"))
}
