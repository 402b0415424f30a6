//! `cardcase config`

use cardcase::settings::{Mode, Settings};
use clap::ValueEnum;
use serde_json::{Map, Value};

use crate::app::App;
use crate::cli::{Config, Setting};
use crate::output::{print, print_json, print_table};
use crate::report::Failure;

pub(crate) fn run(app: &App, args: &Config) -> Result<(), Failure> {
    match (args.key, &args.value) {
        (Some(key), Some(value)) => set(app, key, value),
        (key, _) => show(app, key),
    }
}

fn show(app: &App, wanted: Option<Setting>) -> Result<(), Failure> {
    let settings = app.store()?.settings()?;
    let wanted = Setting::value_variants().iter().filter(|key| wanted.is_none_or(|wanted| wanted == **key));
    let values = wanted.map(|key| (name(*key), value(&settings, *key)));
    if app.common.json {
        let entry = |(name, value): (String, Value)| (name.replace('-', "_"), value);
        return print_json(&values.map(entry).collect::<Map<String, Value>>());
    }
    let shown = |value: Value| match value {
        Value::Bool(on) => if on { "on" } else { "off" }.to_owned(),
        other => other.as_str().unwrap_or_default().to_owned(),
    };
    match args_of_one(values.collect()) {
        Ok((_, only)) => print(&format!("{}\n", shown(only))),
        Err(all) => print_table(&["SETTING", "VALUE"], all.into_iter().map(|(name, value)| vec![name, shown(value)])),
    }
}

/// The only one, or all of them.
fn args_of_one(values: Vec<(String, Value)>) -> Result<(String, Value), Vec<(String, Value)>> {
    <[_; 1]>::try_from(values).map(|[only]| only)
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
    Ok(app.unlocked_store()?.change_settings(change)?)
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
