//! `cardcase enroll`

use cardcase::manage::Enrollment;
use serde::Serialize;

use crate::app::App;
use crate::cli::Enroll;
use crate::new_file;
use crate::ui::failure::Failure;
use crate::ui::json::EnrollmentJson;
use crate::ui::notices;
use crate::ui::progress;
use crate::ui::say;

#[derive(Serialize)]
struct EnrolledJson {
    enrolled: EnrollmentJson,
    file: String,
}

/// Stores the key before it writes the request: the CA would sign a request without a key for nothing.
pub(crate) fn run(app: &App, args: &Enroll) -> Result<(), Failure> {
    new_file::check_stdout_is_free(&args.output, app.common.json)?;
    new_file::check(&args.output, args.force)?;
    let generate = || Enrollment::generate(&args.subject, &args.key.into(), app.now());
    let enrollment = progress::during("generating a key", generate)?;
    let store = app.store()?;
    app.offer_protection()?;
    store.unlock(&*app.unlocker()?)?;
    store.enroll(&enrollment)?;
    if let Err(failure) = new_file::write(&args.output, enrollment.to_pem().as_bytes(), args.force) {
        store.remove(&[enrollment.fingerprint()])?;
        return Err(failure);
    }
    say::note(format_args!(
        "created a key ({}) for {}; when the CA has issued the certificate: cardcase import CERTIFICATE",
        enrollment.key(),
        enrollment.subject(),
    ));
    notices::protection(store);
    app.answer(|| {
        let enrolled = EnrollmentJson::new(&enrollment);
        EnrolledJson { enrolled, file: args.output.display().to_string() }
    })
}
