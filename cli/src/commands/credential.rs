//! `cardcase credential`: an identity for a program that makes its TLS connections itself.

mod kubectl;

use cardcase::Destination;
use cardcase::Identity;
use cardcase::connect::{Selection, Source};
use cardcase::manage::PrivateKey;
use cardcase::manage::{Answer, Outcome};
use cardcase::manage::{Certificate, Fingerprint};
use rustls::ClientConfig;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::app::App;
use crate::cli::{self, CredentialProgram};
use crate::http::probe::{Seen, look};
use crate::http::verify;
use crate::key_file;
use crate::ui::failure::{Code, Failure};
use crate::ui::json::print_json;
use crate::ui::pem::pem;
use crate::ui::say;
use crate::ui::stdout::print;
use crate::ui::text::{quoted, word};

#[derive(Serialize)]
struct OptionsJson {
    identity: String,
    arguments: Vec<String>,
    file: String,
}

pub(crate) fn run(app: &App, args: &cli::Credential) -> Result<(), Failure> {
    match args.program {
        Some(CredentialProgram::Kubectl) => kubectl::run(app, args),
        Some(program) => options(app, args, program),
        None => forget(app),
    }
}

/// An identity with its private key, on its way out of the store.
struct Credential {
    name: String,
    fingerprint: Fingerprint,
    /// The certificate, then the intermediates above it.
    certificates: Vec<Certificate>,
    key: PrivateKey,
    requires_tls13: bool,
}

impl Credential {
    fn certificates_pem(&self) -> Result<String, Failure> {
        let mut text = String::new();
        for certificate in &self.certificates {
            text.push_str(&pem("CERTIFICATE", certificate.der())?);
        }
        Ok(text)
    }

    fn key_pem(&self) -> Result<Zeroizing<String>, Failure> {
        pem("PRIVATE KEY", self.key.pkcs8())
    }
}

/// Selects as for a request to this server, which is asked what it wants first.
fn select(
    app: &App,
    args: &cli::Credential,
    config: &ClientConfig,
    (destination, connect): (&Destination, Option<&str>),
) -> Result<Credential, Failure> {
    let selector = app.selector()?;
    let given = args.identity.as_deref().map(|id| -> Result<Identity, Failure> { Ok(app.store()?.find_identity(id)?) });
    let given = given.transpose()?;
    let Seen { request, version, unverified } = look(config, connect, destination, &selector)?;
    if let Some(failure) = unverified {
        return Err(failure);
    }
    let no_request = || Failure::new(Code::Failed, format_args!("{destination} does not ask for a client certificate"));
    let request = request.ok_or_else(no_request)?;
    let selected = match given {
        Some(identity) => selector.given(destination, identity)?,
        None => selector.select(destination, &request)?,
    };
    // With the vault open here, what selected it can be looked at, and the key be had
    selector.unlock_fully()?;
    let selected = selector.refresh(&selected)?;
    let key = selected.private_key()?;
    let (Some(selection), Some(key)) = (selected.selection(), key) else {
        return Err(nothing(destination, selected.selection()));
    };
    let version = version.map(cardcase::manage::version_name);
    selector.record(destination, selection, Outcome::Unknown, None, version)?;
    let Answer::Identity(identity) = &selection.answer else { return Err(nothing(destination, Some(selection))) };
    Ok(Credential {
        name: identity.name().to_owned(),
        fingerprint: identity.fingerprint(),
        certificates: selected.certificates(),
        key,
        requires_tls13: selected.demands_tls13().is_some(),
    })
}

fn nothing(destination: &Destination, selection: Option<&Selection>) -> Failure {
    let why = match selection.map(|selection| selection.source) {
        Some(Source::NoCandidate) => "no identity fits what it asks for",
        Some(Source::Decision | Source::Ask) => "it is to be sent no certificate",
        Some(Source::Rule) => "a rule denies it every identity",
        _ => "nothing is decided for it any more",
    };
    let failure = Failure::new(Code::NothingFits, format_args!("there is no credential for {destination}: {why}"));
    failure.hint(format_args!("cardcase explain {destination}"))
}

/// Prints the options with which git or curl takes an identity out of a file.
fn options(app: &App, args: &cli::Credential, program: CredentialProgram) -> Result<(), Failure> {
    let host = args.destination.as_deref().ok_or_else(|| Failure::usage("the HOST is missing"))?;
    let destination: Destination = host.parse()?;
    let config = verify::config(app, args.cacert.as_deref())?;
    let credential = select(app, args, &config, (&destination, args.connect.as_deref()))?;
    let (certificates, key) = (credential.certificates_pem()?, credential.key_pem()?);
    let path = key_file::write(&app.runtime_directory()?, credential.fingerprint, &certificates, &key)?;
    say::warn(format_args!(
        "the private key of {:?} has left the store: it lies unencrypted in {}, where every program of yours can read it{}",
        credential.name,
        quoted(&path),
        if key_file::is_removed_at_logout(&path) { "" } else { ", until the machine restarts" },
    ));
    say::hint("when it is not needed any more: cardcase credential --forget");
    let path = path.to_string_lossy().into_owned();
    let arguments = match program {
        CredentialProgram::Git => git(&destination, &path, credential.requires_tls13),
        _ => curl(&path, credential.requires_tls13),
    };
    if app.common.json {
        let identity = credential.fingerprint.to_string();
        return print_json(&OptionsJson { identity, arguments, file: path });
    }
    let words: Vec<String> = arguments.iter().map(|argument| word(argument)).collect();
    print(&format!("{}\n", words.join(" ")))
}

/// For this server's URLs alone. Both git and curl would take the identity along to where a server redirects them, so they
/// follow nobody.
fn git(destination: &Destination, path: &str, requires_tls13: bool) -> Vec<String> {
    let tls = requires_tls13.then_some(("sslVersion", "tlsv1.3"));
    let settings = [("sslCert", path), ("sslKey", path), ("followRedirects", "false")].into_iter().chain(tls);
    let setting = |(key, value): (&str, &str)| ["-c".to_owned(), format!("http.https://{destination}/.{key}={value}")];
    settings.flat_map(setting).collect()
}

fn curl(path: &str, requires_tls13: bool) -> Vec<String> {
    let tls = requires_tls13.then_some("--tlsv1.3");
    ["--cert", path, "--key", path, "--max-redirs", "0"].into_iter().chain(tls).map(str::to_owned).collect()
}

/// Removes the files that were written for git and curl.
fn forget(app: &App) -> Result<(), Failure> {
    match key_file::remove_all(&app.runtime_directory()?)? {
        0 => Err(Failure::new(Code::NothingFits, "there is no file with a private key to remove")),
        1 => {
            say::note("removed 1 file with a private key");
            Ok(())
        }
        removed => {
            say::note(format_args!("removed {removed} files with a private key"));
            Ok(())
        }
    }
}
