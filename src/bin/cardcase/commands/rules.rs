//! `cardcase rules`

use cardcase::rules::{Origin, Policy, Rule, Ruled};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::app::App;
use crate::cli::{AddRule, ImportRules, RemoveRule, Rules, RulesCommand};
use crate::output::{print_json, print_table};
use crate::report::Failure;

#[derive(Serialize)]
struct RulesJson {
    rules: Vec<RuleJson>,
    prompt_on_multiple: bool,
}

/// A rule as `rules --json` and `show --json` have it.
#[derive(Serialize)]
pub(crate) struct RuleJson {
    /// In the store; none in a file of the administrator's.
    number: Option<i64>,
    file: Option<String>,
    /// As an entry of AutoSelectCertificateForUrls.
    rule: Value,
}

impl RuleJson {
    pub(crate) fn new(ruled: &Ruled) -> Self {
        let (number, file) = match &ruled.origin {
            Origin::Store(number) => (Some(*number), None),
            Origin::File { path, .. } => (None, Some(path.display().to_string())),
        };
        // What a rule prints is JSON
        Self { number, file, rule: serde_json::from_str(&ruled.rule.to_json()).unwrap_or_default() }
    }
}

pub(crate) fn run(app: &App, args: &Rules) -> Result<(), Failure> {
    match &args.command {
        None | Some(RulesCommand::List) => list(app),
        Some(RulesCommand::Add(args)) => add(app, args),
        Some(RulesCommand::Remove(args)) => remove(app, args),
        Some(RulesCommand::Import(args)) => import(app, args),
    }
}

/// The rules of the store, then those of the administrator.
pub(crate) fn all(app: &App) -> Result<Vec<Ruled>, Failure> {
    let mut all = app.store()?.rules()?.all().to_vec();
    all.extend(app.policies().read()?.rules);
    Ok(all)
}

fn list(app: &App) -> Result<(), Failure> {
    let all = all(app)?;
    let policies = app.policies().read()?;
    for skipped in &policies.skipped {
        app.warn(&format!("passed over: {skipped}"));
    }
    if app.common.json {
        let prompt_on_multiple = app.store()?.settings()?.prompt_on_multiple || policies.prompt_on_multiple;
        return print_json(&RulesJson { rules: all.iter().map(RuleJson::new).collect(), prompt_on_multiple });
    }
    if all.is_empty() {
        app.note("no rules; 'cardcase rules add PATTERN' makes one, 'cardcase rules import FILE' takes Chrome's");
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
    print_table(&["N", "PATTERN", "DOES", "IDENTITIES"], rows)
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
    let numbers = app.store()?.add_rules(std::slice::from_ref(&rule), app.now())?;
    for number in numbers {
        app.note(&format!("rule {number}: {rule}"));
    }
    Ok(())
}

/// The JSON of the rule that the arguments describe.
fn entry(args: &AddRule) -> Result<String, Failure> {
    if args.pattern.trim_start().starts_with('{') {
        let alone = args.filter.is_none() && args.issuer.is_empty() && args.subject.is_empty();
        return match alone && !args.deny && !args.tls13 {
            true => Ok(args.pattern.clone()),
            false => Err(Failure::usage("a whole entry stands alone: put the rest into it")),
        };
    }
    let filter = match &args.filter {
        Some(filter) => serde_json::from_str(filter)
            .map_err(|error| Failure::usage(format_args!("the filter is not JSON: {error}")))?,
        None => filter(&args.issuer, &args.subject)?,
    };
    let mut entry =
        Map::from_iter([("pattern".to_owned(), args.pattern.clone().into()), ("filter".to_owned(), filter)]);
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
        let wrong =
            || Failure::usage(format_args!("{constraint:?}: it has the form CN=, L=, O= or OU=, and each once"));
        let (name, value) = constraint.split_once('=').ok_or_else(wrong)?;
        let known = ["CN", "L", "O", "OU"].contains(&name) && !value.is_empty();
        if !known || principal.insert(name.to_owned(), value.into()).is_some() {
            return Err(wrong());
        }
    }
    Ok(Value::Object(principal))
}

fn remove(app: &App, args: &RemoveRule) -> Result<(), Failure> {
    let removed = app.store()?.remove_rules(&args.numbers)?;
    for rule in removed {
        app.note(&format!("removed: {rule}"));
    }
    Ok(())
}

fn import(app: &App, args: &ImportRules) -> Result<(), Failure> {
    let bytes = app.read(&args.file, Policy::MAX_SIZE as u64)?;
    let policy = Policy::parse(&bytes).map_err(|error| Failure::from(error).of_file(&args.file))?;
    for skipped in &policy.skipped {
        app.warn(&format!("passed over: {skipped}"));
    }
    let store = app.store()?;
    let numbers = store.add_rules(&policy.rules, app.now())?;
    if let Some(prompt) = policy.prompt_on_multiple {
        store.change_settings(|settings| settings.prompt_on_multiple = prompt)?;
    }
    for (number, rule) in numbers.iter().zip(&policy.rules) {
        app.note(&format!("rule {number}: {rule}"));
    }
    Ok(())
}
