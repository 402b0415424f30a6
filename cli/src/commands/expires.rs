//! `cardcase expires`

use std::process::ExitCode;
use std::time::Duration;

use cardcase::manage::Timestamp;

use crate::app::App;
use crate::cli::Expires;
use crate::commands::list::{self, Identities};
use crate::ui::failure::Failure;
use crate::ui::say;

/// The exit code is 1 where something expires, for cron and monitoring.
pub(crate) fn run(app: &App, args: &Expires) -> Result<ExitCode, Failure> {
    let store = app.store()?;
    let end = later(app.now(), args.within);
    let expiring = || -> Result<Identities<'_>, cardcase::Error> {
        let all = store.each_identity()?;
        Ok(Box::new(all.filter(move |identity| {
            identity.as_ref().map_or(true, |identity| identity.certificate().not_after() <= end)
        })))
    };
    let are_some = if app.common.json {
        let are_some = expiring()?.next().transpose()?.is_some();
        list::print_list_json(app, &expiring, Vec::new())?;
        are_some
    } else {
        list::print_text(app, expiring()?)?
    };
    list::check_all_shown(app)?;
    if !are_some && !app.common.json {
        say::note(format_args!("no identity expires before {end}"));
    }
    Ok(if are_some { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn later(now: Timestamp, duration: Duration) -> Timestamp {
    Timestamp(now.0.saturating_add(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)))
}
