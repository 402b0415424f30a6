//! `cardcase trust`

use std::path::Path;

use cardcase::Error;

use crate::app::App;
use crate::cli::Trust;
use crate::http::verify::{self, Sorted};
use crate::ui::failure::Failure;
use crate::ui::say;

pub(crate) fn run(app: &App, args: &Trust) -> Result<(), Failure> {
    if args.remove {
        return distrust(app, &args.what);
    }
    let store = app.store()?;
    let path = Path::new(&args.what);
    let certificates = match store.find_authority(&args.what) {
        Ok(authority) => vec![authority.certificate],
        // If it is neither in the store nor a file, it is more likely a missing file
        Err(Error::UnknownAuthority { .. }) => verify::read_certificates(app, path)?,
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
    Ok(())
}

fn distrust(app: &App, id: &str) -> Result<(), Failure> {
    let store = app.unlocked_store()?;
    let certificate = match store.find_authority(id) {
        Err(Error::RowDamaged(damage)) => {
            store.remove_damaged_authority(&damage)?;
            say::note(format_args!("removed the damaged row {} of the authorities", damage.row));
            return Ok(());
        }
        found => found?.certificate,
    };
    store.distrust(certificate.fingerprint())?;
    say::note(format_args!("{} is no longer trusted to verify servers", certificate.subject()));
    Ok(())
}
