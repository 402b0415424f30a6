//! `cardcase accept`

use cardcase::manage::Accepted;

use crate::app::App;
use crate::ui::failure::Failure;
use crate::ui::say;

pub(crate) fn run(app: &App) -> Result<(), Failure> {
    let Accepted { settings, rules, trusted, decisions, .. } = app.unlocked_store()?.accept_terms()?;
    say::note("accepted as they are:");
    say::note(format_args!("rules: {rules}, trusted authorities: {trusted}, decisions for identities: {decisions}"));
    let on = |on: bool| if on { "on" } else { "off" };
    say::note(format_args!(
        "mode: {}, select-automatically: {}, use-single-candidate: {}, prompt-on-multiple: {}",
        settings.mode,
        on(settings.select_automatically),
        on(settings.use_single_candidate),
        on(settings.prompt_on_multiple),
    ));
    Ok(())
}
