//! `cardcase rules`

use cardcase::manage::{Policy, Rule};
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
    let (policy, is_whole) = app.survey_policies();
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
        let prompt_on_multiple = app.store()?.settings()?.prompt_on_multiple || policy.prompt_on_multiple == Some(true);
        return print_json(&RulesJson { rules: all.iter().map(RuleJson::new).collect(), prompt_on_multiple });
    }
    print_rules(&all)?;
    incomplete()
}

fn print_rules(all: &[Rule]) -> Result<(), Failure> {
    if all.is_empty() {
        say::note("there are no rules; to add one: cardcase rules add PATTERN");
        return Ok(());
    }
    let rows = all.iter().map(|rule| {
        let file = || rule.file().map_or(String::new(), |path| path.display().to_string());
        let origin = rule.number().map_or_else(file, |number| number.to_string());
        let identities = Some(rule.filter()).filter(|filter| !filter.is_empty()).unwrap_or("all".to_owned());
        vec![origin, rule.pattern(), does(rule).to_owned(), identities]
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

/// What `add` and `import` did.
#[derive(Serialize)]
struct AddedJson {
    added: Vec<RuleJson>,
    already_present: Vec<RuleJson>,
    /// The setting, if the file changed it.
    prompt_on_multiple: Option<bool>,
}

impl AddedJson {
    fn new(added: &[(Rule, bool)], prompt_on_multiple: Option<bool>) -> Self {
        let which = |new| added.iter().filter(move |(_, is_new)| *is_new == new).map(|(rule, _)| RuleJson::new(rule));
        Self { added: which(true).collect(), already_present: which(false).collect(), prompt_on_multiple }
    }
}

#[derive(Serialize)]
struct RemovedJson {
    removed: Vec<RuleJson>,
    /// The numbers of those that were removed too, and could not be read.
    unreadable: Vec<i64>,
}

fn add(app: &App, args: &AddRule) -> Result<(), Failure> {
    let rule = rule(args)?;
    let added = app.unlocked_store()?.add_rules(&[rule], app.now())?;
    tell(&added);
    app.answer(|| AddedJson::new(&added, None))
}

fn tell(added: &[(Rule, bool)]) {
    for (rule, is_new) in added {
        let (number, before) =
            (rule.number().unwrap_or_default(), if *is_new { "" } else { ", which was already there" });
        say::note(format_args!("rule {number}{before}: {}", rule.to_json()));
        if rule.matches_nothing() {
            say::warn(format_args!("rule {number} matches nothing: only https servers ask for certificates"));
        }
    }
}

/// The rule that the arguments describe.
fn rule(args: &AddRule) -> Result<Rule, Failure> {
    if args.pattern.trim_start().starts_with('{') {
        let alone = args.filter.is_none() && args.issuer.is_empty() && args.subject.is_empty();
        return match alone && !args.deny && !args.tls13 {
            true => Ok(Rule::parse_typed(&args.pattern)?),
            false => Err(Failure::usage("a whole entry takes no other arguments: put them into the entry")),
        };
    }
    let rule = Rule::new(&args.pattern)?;
    let filter: Value = match &args.filter {
        Some(filter) => serde_json::from_str(filter)
            .map_err(|error| Failure::usage(format_args!("the filter is not JSON: {error}")))?,
        None => filter(&args.issuer, &args.subject)?,
    };
    let rule = rule.with_filter(&filter.to_string())?;
    match (args.deny, args.tls13) {
        (false, false) => Ok(rule),
        (true, false) => Ok(rule.with_deny()),
        (false, true) => Ok(rule.with_min_tls13_only()),
        (true, true) => Err(Failure::usage("a rule that denies cannot restrict to TLS 1.3")),
    }
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
    let store = app.unlocked_store()?;
    let (mut removed, mut unreadable) = (Vec::new(), Vec::new());
    for (number, rule) in store.remove_rules(&args.numbers)? {
        say::note(format_args!("removed: {rule}"));
        match Rule::parse(&rule) {
            Ok(rule) => removed.push(RuleJson::numbered(number, &rule)),
            Err(_) => unreadable.push(number),
        }
    }
    app.answer(|| RemovedJson { removed, unreadable })
}

/// Says what a policy would add.
fn tell_rehearsed(added: &[(Rule, bool)], changes_prompt: Option<bool>) {
    for (rule, is_new) in added {
        say::note(format_args!("{}: {}", if *is_new { "would add" } else { "already there" }, rule.to_json()));
    }
    if let Some(on) = changes_prompt {
        say::note(format_args!("prompt-on-multiple would be {}", if on { "on" } else { "off" }));
    }
    say::note("nothing was changed (--dry-run)");
}

fn import(app: &App, args: &ImportRules) -> Result<(), Failure> {
    let bytes = app.input.read(&args.file, Policy::MAX_SIZE as u64)?;
    let policy = Policy::parse(&bytes).map_err(|error| Failure::from(error).in_file(&args.file))?;
    for skipped in &policy.skipped {
        say::warn(format_args!("skipped: {skipped}"));
    }
    if args.dry_run {
        let (added, changes_prompt) = app.store()?.would_import_policy(&policy, app.now())?;
        let changed = policy.prompt_on_multiple.filter(|_| changes_prompt);
        tell_rehearsed(&added, changed);
        return if app.common.json { print_json(&AddedJson::new(&added, changed)) } else { Ok(()) };
    }
    let (added, changes_prompt) = app.unlocked_store()?.import_policy(&policy, app.now())?;
    tell(&added);
    if !added.iter().any(|(_, is_new)| *is_new) {
        say::note("no rule was added");
    }
    if changes_prompt {
        let on = if policy.prompt_on_multiple == Some(true) { "on" } else { "off" };
        say::note(format_args!("prompt-on-multiple is {on} now, as the file says"));
    }
    app.answer(|| AddedJson::new(&added, policy.prompt_on_multiple.filter(|_| changes_prompt)))
}
