//! `cardcase min-tls`

use serde::Serialize;

use crate::app::App;
use crate::cli::{MinTls, MinVersion};
use crate::ui::failure::Failure;
use crate::ui::json::NamedJson;
use crate::ui::say;

#[derive(Serialize)]
struct RestrictedJson {
    identity: NamedJson,
    requires_tls13: bool,
}

pub(crate) fn run(app: &App, args: &MinTls) -> Result<(), Failure> {
    let store = app.store()?;
    let identity = store.find_identity(&args.id)?;
    app.fully_unlocked_store()?.require_tls13(&identity, args.version == MinVersion::Tls13)?;
    say::note(&match args.version {
        MinVersion::Tls13 => format!("{} is now sent in TLS 1.3 only", identity.name()),
        MinVersion::Tls12 => format!("{} is now sent in every version of TLS", identity.name()),
    });
    app.answer(|| {
        let identity = NamedJson::new(identity.fingerprint(), identity.name());
        RestrictedJson { identity, requires_tls13: args.version == MinVersion::Tls13 }
    })
}
