//! `cardcase config`

use cardcase::manage::plain;
use cardcase::manage::{Mode, Policy, Settings};
use clap::ValueEnum;
use serde_json::{Map, Value};

use crate::app::App;
use crate::cli::{Config, Setting};
use crate::ui::failure::Failure;
use crate::ui::json::print_json;
use crate::ui::stdout::print;
use crate::ui::table::print_table;

pub(crate) fn run(app: &App, args: &Config) -> Result<(), Failure> {
    match (args.key, &args.value) {
        (Some(key), Some(value)) => set(app, key, value),
        (key, _) => show(app, key),
    }
}

fn show(app: &App, wanted: Option<Setting>) -> Result<(), Failure> {
    let (settings, policy) = effective(app)?;
    if app.common.json {
        return print_json(&json(&settings, wanted));
    }
    let shown = |key: Setting| match (value(&settings, key), policy.prompting_file()) {
        (_, Some(file)) if key == Setting::PromptOnMultiple => format!("on (by {})", file.display()),
        (value, _) => word(&value),
    };
    match wanted {
        Some(key) => print(&format!("{}\n", plain(&shown(key)))),
        None => print_table(
            &["SETTING", "VALUE"],
            Setting::value_variants().iter().map(|key| vec![name(*key), shown(*key)]),
        ),
    }
}

/// The settings that count, and the administrator's files, which may turn on one of them.
pub(super) fn effective(app: &App) -> Result<(Settings, Policy), Failure> {
    let mut settings = app.store()?.settings()?;
    let (policy, _) = app.survey_policies();
    settings.prompt_on_multiple |= policy.prompt_on_multiple == Some(true);
    Ok((settings, policy))
}

/// The settings, or one of them, by the keys that JSON has for them.
pub(super) fn json(settings: &Settings, wanted: Option<Setting>) -> Map<String, Value> {
    let wanted = Setting::value_variants().iter().filter(|key| wanted.is_none_or(|wanted| wanted == **key));
    wanted.map(|key| (name(*key).replace('-', "_"), value(settings, *key))).collect()
}

/// The settings by the names and values that this command takes.
pub(super) fn entries(settings: &Settings) -> Vec<(String, String)> {
    Setting::value_variants().iter().map(|key| (name(*key), word(&value(settings, *key)))).collect()
}

fn set(app: &App, key: Setting, text: &str) -> Result<(), Failure> {
    let change: Box<dyn FnOnce(&mut Settings)> = match key {
        Setting::Mode => {
            let mode: Mode = text.parse()?;
            Box::new(move |settings| settings.mode = mode)
        }
        Setting::SelectAutomatically => {
            let on = switch(key, text)?;
            Box::new(move |settings| settings.select_automatically = on)
        }
        Setting::UseSingleCandidate => {
            let on = switch(key, text)?;
            Box::new(move |settings| settings.use_single_candidate = on)
        }
        Setting::PromptOnMultiple => {
            let on = switch(key, text)?;
            Box::new(move |settings| settings.prompt_on_multiple = on)
        }
    };
    app.unlocked_store()?.change_settings(change)?;
    let settings = effective(app)?.0;
    app.answer(|| json(&settings, Some(key)))
}

fn word(value: &Value) -> String {
    match value {
        Value::Bool(on) => if *on { "on" } else { "off" }.to_owned(),
        other => other.as_str().unwrap_or_default().to_owned(),
    }
}

fn switch(key: Setting, text: &str) -> Result<bool, Failure> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(Failure::usage(format_args!("{}: {text:?} is neither 'on' nor 'off'", name(key)))),
    }
}

fn name(key: Setting) -> String {
    key.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn value(settings: &Settings, key: Setting) -> Value {
    match key {
        Setting::Mode => settings.mode.to_string().into(),
        Setting::SelectAutomatically => settings.select_automatically.into(),
        Setting::UseSingleCandidate => settings.use_single_candidate.into(),
        Setting::PromptOnMultiple => settings.prompt_on_multiple.into(),
    }
}
