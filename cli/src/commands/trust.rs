//! `cardcase trust`

use std::path::Path;

use cardcase::{Error, Store};
use serde::Serialize;

use crate::app::App;
use crate::cli::Trust;
use crate::http::verify::{self, Sorted};
use crate::ui::failure::{Code, Failure};
use crate::ui::json::{CertificateJson, print_json};
use crate::ui::say;

#[derive(Serialize)]
struct TrustedJson {
    trusted: Vec<CertificateJson>,
    left_out: Vec<LeftOutJson>,
}

/// A certificate that cannot verify a server.
#[derive(Serialize)]
struct LeftOutJson {
    fingerprint: String,
    subject: String,
    why: String,
}

#[derive(Serialize)]
struct DistrustedJson {
    /// Empty if a damaged row was removed.
    distrusted: Vec<CertificateJson>,
}

pub(crate) fn run(app: &App, args: &Trust) -> Result<(), Failure> {
    if args.remove {
        return distrust(app, &args.what);
    }
    let store = app.store()?;
    let path = Path::new(&args.what);
    let certificates = match store.find_authority(&args.what) {
        Ok(authority) => vec![authority.certificate],
        Err(error @ Error::UnknownAuthority { .. }) => match path.exists() || path == Path::new("-") {
            true => verify::read_certificates(app, path)?,
            false => return Err(unknown(store, &args.what, &error)),
        },
        Err(error) => return Err(error.into()),
    };
    let Sorted { usable, unusable } = Sorted::new(certificates, app.now());
    if usable.is_empty() {
        return Err(verify::none_usable(&unusable).in_file(path));
    }
    app.unlocked_store()?.trust(&usable, app.now())?;
    for (certificate, why) in &unusable {
        say::warn(format_args!("{} is left out, because it cannot verify a server: {why}", certificate.subject()));
    }
    for certificate in &usable {
        say::note(match certificate.may_issue() {
            true if certificate.server_names().is_empty() => {
                format!("{} is now trusted to verify servers", certificate.subject())
            }
            // `openssl req -x509` marks a server's own certificate as that of a CA too
            true => format!(
                "{} is now trusted as the certificate of {}, and to verify every server whose certificate its key signs",
                certificate.subject(),
                certificate.server_names().join(", ")
            ),
            false => format!(
                "{} is now trusted as the certificate of {}; it verifies no other server",
                certificate.subject(),
                certificate.server_names().join(", ")
            ),
        });
    }
    if app.common.json {
        let left_out = unusable.iter().map(|(certificate, why)| LeftOutJson {
            fingerprint: certificate.fingerprint().to_string(),
            subject: certificate.subject().to_string(),
            why: why.to_string(),
        });
        let trusted = usable
            .iter()
            .map(|certificate| CertificateJson { trusted: Some(true), ..CertificateJson::new(certificate) });
        return print_json(&TrustedJson { trusted: trusted.collect(), left_out: left_out.collect() });
    }
    Ok(())
}

/// The failure where there is neither a file nor a CA certificate of this name.
fn unknown(store: &Store, what: &str, error: &Error) -> Failure {
    if let Ok(identity) = store.find_identity(what) {
        let failure = Failure::new(Code::NothingFits, format_args!("{what:?} is an identity, and no CA certificate"));
        let above = store.chain(identity.certificate()).ok().and_then(|chain| chain.last().cloned());
        return match above {
            Some(root) => {
                failure.hint(format_args!("its CA: cardcase trust {}", root.certificate.fingerprint().short()))
            }
            None => failure.hint("cardcase authorities"),
        };
    }
    let is_id = what.len() >= 8 && what.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
    match is_id {
        true => Failure::from(error),
        false => {
            Failure::new(Code::Failed, "there is no such file, and no CA certificate in the store has this fingerprint")
                .in_file(Path::new(what))
                .hint("cardcase authorities")
        }
    }
}

fn distrust(app: &App, id: &str) -> Result<(), Failure> {
    let store = app.unlocked_store()?;
    let certificate = match store.find_authority(id) {
        Err(Error::RowDamaged(damage)) => {
            store.remove_damaged_authority(&damage)?;
            say::note(format_args!("removed the damaged row {} of the authorities", damage.row));
            let nothing = DistrustedJson { distrusted: Vec::new() };
            return app.answer(|| nothing);
        }
        found => found?.certificate,
    };
    store.distrust(certificate.fingerprint())?;
    say::note(format_args!("{} is no longer trusted to verify servers", certificate.subject()));
    app.answer(|| {
        let certificate = CertificateJson { trusted: Some(false), ..CertificateJson::new(&certificate) };
        DistrustedJson { distrusted: vec![certificate] }
    })
}
