//! `cardcase rules`

use cardcase::manage::Added;
use cardcase::manage::{Origin, Pattern, Policy, Rule, Ruled};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::app::App;
use crate::cli::{AddRule, ImportRules, RemoveRule, Rules, RulesCommand};
use crate::ui::failure::{Code, Failure};
use crate::ui::json::{RuleJson, print_json};
use crate::ui::remedy::BROKEN_POLICY;
use crate::ui::say;
use crate::ui::table::print_table;

#[derive(Serialize)]
struct RulesJson {
    rules: Vec<RuleJson>,
    prompt_on_multiple: bool,
}

pub(crate) fn run(app: &App, args: &Rules) -> Result<(), Failure> {
    match &args.command {
        None | Some(RulesCommand::List) => list(app),
        Some(RulesCommand::Add(args)) => add(app, args),
        Some(RulesCommand::Remove(args)) => remove(app, args),
        Some(RulesCommand::Import(args)) => import(app, args),
    }
}

/// Lists what can be read, and then fails if that is not everything.
fn list(app: &App) -> Result<(), Failure> {
    let (policy, is_whole) = app.survey_policies()?;
    let incomplete = || {
        let failure = Failure::new(Code::Failed, "some of the administrator's rules cannot be read");
        if is_whole { Ok(()) } else { Err(failure.hint(BROKEN_POLICY)) }
    };
    for skipped in &policy.skipped {
        say::warn(format_args!("skipped: {skipped}"));
    }
    let all = app.all_rules(&policy)?;
    if app.common.json {
        incomplete()?;
        let prompt_on_multiple = app.store()?.settings()?.prompt_on_multiple || policy.prompt_on_multiple.is_some();
        return print_json(&RulesJson { rules: all.iter().map(RuleJson::new).collect(), prompt_on_multiple });
    }
    print_rules(&all)?;
    incomplete()
}

fn print_rules(all: &[Ruled]) -> Result<(), Failure> {
    if all.is_empty() {
        say::note("there are no rules; to add one: cardcase rules add PATTERN");
        return Ok(());
    }
    let rows = all.iter().map(|ruled| {
        let place = match &ruled.origin {
            Origin::Store(number) => number.to_string(),
            Origin::File { path, .. } => path.display().to_string(),
        };
        let identities =
            if ruled.rule.filter().is_empty() { "all".to_owned() } else { ruled.rule.filter().to_string() };
        vec![place, ruled.rule.pattern().to_string(), does(&ruled.rule).to_owned(), identities]
    });
    print_table(&["N", "PATTERN", "ACTION", "IDENTITIES"], rows)
}

fn does(rule: &Rule) -> &'static str {
    match (rule.denies(), rule.selects(), rule.demands_tls13()) {
        (true, _, _) => "deny",
        (false, true, false) => "select",
        (false, true, true) => "select, TLS 1.3 only",
        (false, false, _) => "TLS 1.3 only",
    }
}

fn add(app: &App, args: &AddRule) -> Result<(), Failure> {
    let rule = Rule::parse_typed(&entry(args)?)?;
    let added = app.unlocked_store()?.add_rules(std::slice::from_ref(&rule), app.now())?;
    tell(&added, std::slice::from_ref(&rule));
    Ok(())
}

fn tell(added: &[Added], rules: &[Rule]) {
    for (added, rule) in added.iter().zip(rules) {
        let before = if added.is_new { "" } else { ", which was already there" };
        say::note(format_args!("rule {}{before}: {rule}", added.number));
        if rule.pattern().matches_nothing() {
            say::warn(format_args!("rule {} matches nothing: only https servers ask for certificates", added.number));
        }
    }
}

/// The rule that the arguments describe, as JSON.
fn entry(args: &AddRule) -> Result<String, Failure> {
    if args.pattern.trim_start().starts_with('{') {
        let alone = args.filter.is_none() && args.issuer.is_empty() && args.subject.is_empty();
        return match alone && !args.deny && !args.tls13 {
            true => Ok(args.pattern.clone()),
            false => Err(Failure::usage("a whole entry takes no other arguments: put them into the entry")),
        };
    }
    let pattern: Pattern = args.pattern.parse()?;
    let filter = match &args.filter {
        Some(filter) => serde_json::from_str(filter)
            .map_err(|error| Failure::usage(format_args!("the filter is not JSON: {error}")))?,
        None => filter(&args.issuer, &args.subject)?,
    };
    let mut entry = Map::from_iter([("pattern".to_owned(), pattern.to_string().into()), ("filter".to_owned(), filter)]);
    if args.deny {
        entry.insert("deny".to_owned(), true.into());
    }
    if args.tls13 {
        entry.insert("min_tls".to_owned(), "1.3".into());
        entry.insert("select".to_owned(), false.into());
    }
    Ok(Value::Object(entry).to_string())
}

fn filter(issuer: &[String], subject: &[String]) -> Result<Value, Failure> {
    let mut filter = Map::new();
    for (principal, constraints) in [("ISSUER", issuer), ("SUBJECT", subject)] {
        if !constraints.is_empty() {
            filter.insert(principal.to_owned(), principal_filter(constraints)?);
        }
    }
    Ok(Value::Object(filter))
}

fn principal_filter(constraints: &[String]) -> Result<Value, Failure> {
    let mut principal = Map::new();
    for constraint in constraints {
        let wrong = || {
            Failure::usage(format_args!(
                "{constraint:?} must have the form CN=..., L=..., O=... or OU=..., each only once"
            ))
        };
        let (name, value) = constraint.split_once('=').ok_or_else(wrong)?;
        let known = ["CN", "L", "O", "OU"].contains(&name) && !value.is_empty();
        if !known || principal.insert(name.to_owned(), value.into()).is_some() {
            return Err(wrong());
        }
    }
    Ok(Value::Object(principal))
}

fn remove(app: &App, args: &RemoveRule) -> Result<(), Failure> {
    let removed = app.unlocked_store()?.remove_rules(&args.numbers)?;
    for rule in removed {
        say::note(format_args!("removed: {rule}"));
    }
    Ok(())
}

fn import(app: &App, args: &ImportRules) -> Result<(), Failure> {
    let bytes = app.input.read(&args.file, Policy::MAX_SIZE as u64)?;
    let policy = Policy::parse(&bytes).map_err(|error| Failure::from(error).in_file(&args.file))?;
    for skipped in &policy.skipped {
        say::warn(format_args!("skipped: {skipped}"));
    }
    let (added, changes_prompt) = app.unlocked_store()?.import_policy(&policy, app.now())?;
    tell(&added, &policy.rules);
    if !added.iter().any(|added| added.is_new) {
        say::note("no rule was added");
    }
    if changes_prompt {
        let on = if policy.prompt_on_multiple == Some(true) { "on" } else { "off" };
        say::note(format_args!("prompt-on-multiple is {on} now, as the file says"));
    }
    Ok(())
}
