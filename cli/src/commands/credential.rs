//! `cardcase credential`: gives an identity to a program that makes its own TLS connections.

mod selected;

mod kubectl;

use cardcase::{Destination, Target};
use serde::Serialize;

use self::selected::select;
use crate::app::App;
use crate::cli::{self, CredentialProgram};
use crate::http::probe::Look;
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

#[derive(Serialize)]
struct RemovedJson {
    removed_files: usize,
}

pub(crate) fn run(app: &App, args: &cli::Credential) -> Result<(), Failure> {
    match args.program {
        Some(CredentialProgram::Kubectl) => kubectl::run(app, args),
        Some(program) => options(app, args, program),
        None => forget(app),
    }
}

/// Prints the options with which git or curl reads an identity from a file.
fn options(app: &App, args: &cli::Credential, program: CredentialProgram) -> Result<(), Failure> {
    let host = args.destination.as_deref().ok_or_else(|| Failure::usage("the HOST is missing"))?;
    let destination: Destination = host.parse()?;
    let config = verify::config(app, args.cacert.as_deref())?;
    let roots = || verify::roots(app, args.cacert.as_deref());
    let connect = args.connect.as_deref();
    let target = Target::from(&destination);
    let look = Look { target: &target, connect, config: &config, roots: &roots, tls: args.tls, given: None };
    let credential = select(app, args, look)?;
    let (certificates, key) = (credential.certificates_pem()?, credential.key_pem()?);
    let path = key_file::write(&app.runtime_directory()?, credential.fingerprint, &certificates, &key)?;
    say::warn(format_args!(
        "the private key of {:?} has left the store: it is unencrypted in {}, where all your programs can read it{}",
        credential.name,
        quoted(&path),
        if key_file::is_removed_at_logout(&path) { "" } else { ", until the machine restarts" },
    ));
    say::hint("to remove it: cardcase credential --forget");
    let path = path.to_string_lossy().into_owned();
    let authorities = match authorities(app, args)? {
        Some(pem) => Some(key_file::write_authorities(&app.runtime_directory()?, &pem)?.to_string_lossy().into_owned()),
        None => None,
    };
    let given = Given { path: &path, authorities: authorities.as_deref(), requires_tls13: credential.requires_tls13 };
    let arguments = match program {
        CredentialProgram::Git => given.git(&destination),
        _ => given.curl(),
    };
    if app.common.json {
        let identity = credential.fingerprint.to_string();
        return print_json(&OptionsJson { identity, arguments, file: path });
    }
    let words: Vec<String> = arguments.iter().map(|argument| word(argument)).collect();
    print(&format!("{}\n", words.join(" ")))
}

/// What verifies servers for cardcase, as PEM, if the system's CA certificates alone do not.
fn authorities(app: &App, args: &cli::Credential) -> Result<Option<String>, Failure> {
    let mut trusted = app.store()?.authorities()?;
    trusted.retain(|authority| authority.trusted && authority.certificate.why_untrustable(app.now()).is_none());
    if trusted.is_empty() && args.cacert.is_none() {
        return Ok(None);
    }
    let roots = verify::roots(app, args.cacert.as_deref())?;
    let all = roots.iter().map(AsRef::as_ref).chain(trusted.iter().map(|authority| authority.certificate.der()));
    let mut text = String::new();
    for der in all {
        text.push_str(&pem("CERTIFICATE", der)?);
    }
    Ok(Some(text))
}

/// What the options name.
struct Given<'a> {
    /// The file with the key and its certificates.
    path: &'a str,
    /// The file with the CA certificates that verify servers.
    authorities: Option<&'a str>,
    requires_tls13: bool,
}

impl Given<'_> {
    /// Options for the URLs of this server only. Both git and curl would send the identity to the target of a redirect, so they
    /// must not follow any.
    fn git(&self, destination: &Destination) -> Vec<String> {
        let settings = [("sslCert", self.path), ("sslKey", self.path), ("followRedirects", "false")].into_iter();
        let tls = self.requires_tls13.then_some(("sslVersion", "tlsv1.3"));
        let settings = settings.chain(tls).chain(self.authorities.map(|file| ("sslCAInfo", file)));
        let setting =
            |(key, value): (&str, &str)| ["-c".to_owned(), format!("http.https://{destination}/.{key}={value}")];
        settings.flat_map(setting).collect()
    }

    fn curl(&self) -> Vec<String> {
        let options = ["--cert", self.path, "--key", self.path, "--max-redirs", "0"].into_iter();
        let options = options.chain(self.requires_tls13.then_some("--tlsv1.3"));
        options.chain(self.authorities.into_iter().flat_map(|file| ["--cacert", file])).map(str::to_owned).collect()
    }
}

/// Removes the files that were written for git and curl.
fn forget(app: &App) -> Result<(), Failure> {
    match key_file::remove_all(&app.runtime_directory()?)? {
        0 => Err(Failure::new(Code::NothingFits, "there is no file with a private key to remove")),
        removed => {
            let files = if removed == 1 { "file" } else { "files" };
            say::note(format_args!("removed {removed} {files} with a private key"));
            app.answer(|| RemovedJson { removed_files: removed })
        }
    }
}
