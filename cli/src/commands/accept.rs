//! `cardcase accept`

use crate::app::App;
use crate::ui::failure::Failure;
use crate::ui::say;

pub(crate) fn run(app: &App) -> Result<(), Failure> {
    let store = app.unlocked_store()?;
    store.accept_terms()?;
    let settings = store.settings()?;
    let rules = store.rules()?.len();
    let trusted = store.list_authorities()?.iter().filter(|authority| authority.trusted).count();
    let decisions = store.decisions()?.iter().filter(|decision| decision.identity.is_some()).count();
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
