//! `cardcase trust`

use std::path::Path;

use cardcase::Error;
use cardcase::manage::Certificate;

use crate::app::App;
use crate::cli::Trust;
use crate::http::verify;
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
        Err(Error::UnknownAuthority { .. }) => authorities_of(app, path)?,
        Err(error) => return Err(error.into()),
    };
    app.unlocked_store()?.trust(&certificates, app.now())?;
    for certificate in &certificates {
        say::note(format_args!("{} is now trusted to verify servers", certificate.subject()));
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

fn authorities_of(app: &App, path: &Path) -> Result<Vec<Certificate>, Failure> {
    let certificates = verify::read_certificates(app, path)?;
    match certificates.iter().find(|certificate| !certificate.is_ca() && certificate.version() == 3) {
        Some(leaf) => {
            let subject = leaf.subject().to_string();
            Err(Failure::from(Error::NotAnAuthority { subject }).in_file(path))
        }
        None => Ok(certificates),
    }
}
