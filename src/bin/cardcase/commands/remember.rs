//! `cardcase remember`

use cardcase::decisions::Lifetime;
use cardcase::request::Destination;

use crate::app::App;
use crate::cli::{Remember, StoredLifetime};
use crate::report::Failure;

pub(crate) fn run(app: &App, args: &Remember) -> Result<(), Failure> {
    let store = app.store()?;
    let scope = app.mode()?.scope(&args.destination.parse::<Destination>()?);
    let identity = match args.id.as_str() {
        "none" => None,
        id => Some(store.find_identity(id)?.fingerprint()),
    };
    let lifetime = match args.lifetime {
        StoredLifetime::Session => Lifetime::Session,
        StoredLifetime::Permanent => Lifetime::Permanent,
    };
    if identity.is_some() {
        app.unlocked_store()?;
    }
    Ok(store.remember(&scope, identity, lifetime, app.now())?)
}
