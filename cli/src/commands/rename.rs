//! `cardcase rename`

use serde::Serialize;

use crate::app::App;
use crate::cli::Rename;
use crate::ui::failure::Failure;
use crate::ui::say;

#[derive(Serialize)]
struct RenamedJson {
    renamed: NamesJson,
}

#[derive(Serialize)]
struct NamesJson {
    fingerprint: String,
    from: String,
    to: String,
}

pub(crate) fn run(app: &App, args: &Rename) -> Result<(), Failure> {
    let identity = app.store()?.find_identity(&args.id)?;
    app.fully_unlocked_store()?.rename(&identity, &args.name)?;
    say::note(format_args!("{:?} is now called {:?}", identity.name(), args.name));
    app.answer(|| {
        let (fingerprint, from) = (identity.fingerprint().to_string(), identity.name().to_owned());
        RenamedJson { renamed: NamesJson { fingerprint, from, to: args.name.clone() } }
    })
}
