//! `cardcase enroll`

use cardcase::manage::Enrollment;

use crate::app::App;
use crate::cli::Enroll;
use crate::commands::import::offer_protection;
use crate::commands::list::note_protection;
use crate::new_file;
use crate::ui::failure::Failure;
use crate::ui::progress;

/// The key is kept before the request is written: a request whose key is lost would be signed for nothing.
pub(crate) fn run(app: &App, args: &Enroll) -> Result<(), Failure> {
    new_file::check(&args.output, args.force)?;
    let generate = || Enrollment::generate(&args.subject, &args.key.into(), app.now());
    let enrollment = progress::during("making a key", generate)?;
    let store = app.store()?;
    offer_protection(app, store)?;
    store.unlock(&*app.unlocker()?)?;
    store.enroll(&enrollment)?;
    if let Err(failure) = new_file::write(&args.output, enrollment.to_pem().as_bytes(), args.force) {
        store.remove(&[enrollment.fingerprint()])?;
        return Err(failure);
    }
    app.note(&format!(
        "the key ({}) waits for the certificate of {}; when it has come: cardcase import CERTIFICATE",
        enrollment.key(),
        enrollment.subject(),
    ));
    note_protection(app, store);
    Ok(())
}
