//! `cardcase restore`

use std::io::{self, Read};
use std::path::Path;

use cardcase::manage::{Backup, Certificate, Decision, Enrollment, Restored, Rule, Settings, plain};
use cardcase::{Error, Store};
use serde::Serialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::app::App;
use crate::ask::file_password::TRIES;
use crate::ask::terminal;
use crate::cli::Restore;
use crate::commands::config;
use crate::ui::failure::{Code, Failure};
use crate::ui::json::{AuthorityJson, DecisionJson, RuleJson, print_json};
use crate::ui::stdout::print;
use crate::ui::text::{counted, quoted, word};
use crate::ui::time::local_date;
use crate::ui::{notices, progress, say};

/// Bytes of the beginning of a file, in which it is recognised.
const BEGINNING: u64 = 1 << 12;

#[derive(Serialize)]
struct RestoreJson<I> {
    imported: Vec<I>,
    already_present: Vec<I>,
    authorities: Vec<AuthorityJson>,
    trusted: Vec<AuthorityJson>,
    /// Subjects of the certificates that keys wait for.
    enrollments: Vec<String>,
    rules: Vec<RuleJson>,
    decisions: Vec<DecisionJson>,
    /// Decisions of the backup where this store remembers another answer, which stays.
    contradicted: Vec<DecisionJson>,
    /// Those of the backup, if they were taken.
    settings: Option<Map<String, Value>>,
    /// Entries of the history that are new.
    uses: usize,
}

pub(crate) fn run(app: &App, args: &Restore) -> Result<(), Failure> {
    let store = app.store()?;
    let bytes = read(app, &args.file)?;
    let backup = open(app, args, &bytes)?;
    say::note(format_args!("the backup was made on {}", local_date(backup.made_at())));
    let rehearsed = store.would_restore(&backup)?;
    let restored = if args.dry_run {
        rehearsed
    } else {
        confirm(app, args, store, &rehearsed)?;
        if backup.has_private_keys() {
            app.offer_protection()?;
        }
        app.unlocked_store()?;
        progress::during("restoring the backup", || store.restore(&backup))?
    };
    let now = app.now();
    restored.identities.iter().for_each(|identity| notices::prospects(identity, now));
    tell_what_stays(store, &restored)?;
    if app.common.json {
        print_json(&json(app, restored)?)?;
    } else {
        print_text(app, store, &restored, if args.dry_run { "would restore" } else { "restored" })?;
    }
    if args.dry_run {
        say::note("nothing was changed (--dry-run)");
        return Ok(());
    }
    if backup.had_primary_password() && !store.has_primary_password() {
        say::warn("the store that was backed up had a primary password, and this one has none");
    }
    notices::protection(store);
    Ok(())
}

/// Asks before anything becomes the owner's that is trusted or used without asking again.
fn confirm(app: &App, args: &Restore, store: &Store, rehearsed: &Restored) -> Result<(), Failure> {
    let Restored { trusted, rules, decisions, settings, .. } = rehearsed;
    if args.yes || trusted.is_empty() && rules.is_empty() && decisions.is_empty() && settings.is_none() {
        return Ok(());
    }
    say::note("the backup brings what is trusted, or answers a server without asking:");
    for certificate in trusted {
        say::note(format_args!("  trusted: {} ({})", certificate.subject(), certificate.fingerprint()));
    }
    for line in answers(store, rehearsed)? {
        say::note(format_args!("  {line}"));
    }
    if !app.can_ask() {
        let failure = Failure::new(Code::NobodyToAsk, "that must be confirmed, and nobody can be asked");
        let hint = format!("to restore without confirmation: cardcase restore {} --yes", quoted(&args.file));
        return Err(failure.hint(hint));
    }
    match terminal::confirm("Restore the backup with all of this?")? {
        true => Ok(()),
        false => Err(Failure::new(Code::Failed, "not confirmed; nothing was restored")),
    }
}

/// The rules, decisions and settings that are new, a line for each.
fn answers(store: &Store, restored: &Restored) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    for rule in &restored.rules {
        lines.push(format!("rule {}: {}", rule.number().unwrap_or_default(), rule.to_json()));
    }
    for decision in &restored.decisions {
        lines.push(format!("decision: {}: {}", decision.scope, name(store, restored, decision)?));
    }
    if let Some(settings) = &restored.settings {
        let usual = config::entries(&Settings::default());
        let other = config::entries(settings).into_iter().zip(usual).filter(|(taken, usual)| taken != usual);
        lines.extend(other.map(|((key, value), _)| format!("setting: {key} {value}")));
    }
    Ok(lines)
}

/// Reads a backup, and not more than its beginning of a file that is none.
fn read(app: &App, path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| Failure::io(path, &error);
    let mut file = app.input.open(path)?;
    let mut bytes = Vec::new();
    file.by_ref().take(BEGINNING).read_to_end(&mut bytes).map_err(failed)?;
    if let Err(error @ (Error::NotABackup | Error::NewerBackup { .. })) = Backup::check(&bytes) {
        return Err(Failure::from(error).in_file(path));
    }
    // One byte more shows that it is too large
    file.take(Backup::MAX_SIZE as u64).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > Backup::MAX_SIZE {
        let failure = Failure::new(Code::Failed, format_args!("it is larger than {} bytes", Backup::MAX_SIZE));
        return Err(failure.in_file(path));
    }
    Ok(bytes)
}

/// Opens the backup with its password.
fn open(app: &App, args: &Restore, bytes: &[u8]) -> Result<Backup, Failure> {
    let open = |password: &str| progress::during("decrypting the backup", || Backup::open(bytes, password));
    let failed = |error: Error| Failure::from(error).in_file(&args.file);
    // A file that is no backup, or not whole, needs no password
    if let Some(file) = &args.password_file {
        return open(&app.input.read_password(file)?).map_err(failed);
    }
    Backup::check(bytes).map_err(failed)?;
    if !app.can_ask() {
        let failure = Failure::new(Code::NobodyToAsk, "the backup has a password, and nobody can be asked for it");
        let hint = format!("give it in a file: cardcase restore {} --password-file FILE", quoted(&args.file));
        return Err(failure.in_file(&args.file).hint(hint));
    }
    let name = plain(&args.file.display().to_string());
    for attempt in 1..=TRIES {
        let again = if attempt > 1 { "Wrong. " } else { "" };
        let password: Zeroizing<String> = terminal::password(&format!("{again}Password of {name}"))?;
        match open(&password) {
            Err(Error::WrongBackupPassword) => {}
            opened => return opened.map_err(failed),
        }
    }
    Err(failed(Error::WrongBackupPassword))
}

/// Says what of the backup was left out because the store says otherwise.
fn tell_what_stays(store: &Store, restored: &Restored) -> Result<(), Failure> {
    for decision in &restored.contradicted {
        let in_store = store.decision(&decision.scope)?.map(|decision| name(store, restored, &decision)).transpose()?;
        let in_backup = name(store, restored, decision)?;
        let (scope, mode) = (&decision.scope, if decision.scope.port.is_some() { "chrome" } else { "firefox" });
        say::note(format_args!(
            "{scope}: this store remembers {}, which stays; the backup says {in_backup}",
            in_store.unwrap_or_default(),
        ));
        let id = decision.identity.map_or("none".to_owned(), |identity| identity.short());
        say::hint(format_args!("to change it: cardcase remember {} {id} --mode {mode}", word(&scope.to_string())));
    }
    for identity in &restored.restricted_in_backup {
        let (name, id) = (identity.name(), identity.fingerprint().short());
        say::note(format_args!("{name:?} is sent in TLS 1.3 only in the backup, and not in this store, which stays"));
        say::hint(format_args!("to change it: cardcase min-tls {id} 1.3"));
    }
    for certificate in &restored.trusted_in_backup {
        let subject = certificate.subject();
        say::note(format_args!("{subject} is trusted in the backup, and not in this store, which stays"));
        say::hint(format_args!("to trust it: cardcase trust {}", certificate.fingerprint().short()));
    }
    if restored.uses_left_out > 0 {
        let entries = counted(restored.uses_left_out, "entry", "entries");
        say::warn(format_args!("left out {entries} of the history in the backup, which no cardcase has written"));
    }
    if let Some(settings) = &restored.other_settings {
        say::note("the settings of this store stay; those of the backup differ:");
        let now = store.settings()?;
        for ((key, value), (_, current)) in config::entries(settings).into_iter().zip(config::entries(&now)) {
            if value != current {
                say::hint(format_args!("to change it from {current}: cardcase config {key} {value}"));
            }
        }
    }
    Ok(())
}

/// The name of the identity of a decision, for a person.
fn name(store: &Store, restored: &Restored, decision: &Decision) -> Result<String, Failure> {
    let Some(identity) = decision.identity else { return Ok("no certificate".to_owned()) };
    let new = restored.identities.iter().find(|new| new.fingerprint() == identity);
    let known = match new {
        Some(new) => Some(new.clone()),
        None => store.identity(identity)?,
    };
    Ok(known.map_or(identity.short(), |known| format!("{:?}", known.name())))
}

/// `what` happens to the identities that are new.
fn print_text(app: &App, store: &Store, restored: &Restored, what: &str) -> Result<(), Failure> {
    let now = app.now();
    let mut lines = Vec::new();
    for (what, identities) in [(what, &restored.identities), ("already present", &restored.already_present)] {
        lines.extend(identities.iter().map(|identity| notices::identity_line(what, identity, now)));
    }
    let subject = |certificate: &Certificate| certificate.subject().to_string();
    lines.extend(restored.enrollments.iter().map(|new| format!("waiting for its certificate: {}", new.subject())));
    lines.extend(restored.authorities.iter().map(|new| format!("authority: {}", subject(new))));
    lines.extend(restored.trusted.iter().map(|new| format!("trusted: {}", subject(new))));
    lines.extend(answers(store, restored)?);
    if restored.uses > 0 {
        lines.push(format!("history: {}", counted(restored.uses, "entry", "entries")));
    }
    if lines.len() == restored.already_present.len() {
        say::note("nothing of it is missing in the store");
    }
    print(&lines.iter().map(|line| format!("{}\n", plain(line))).collect::<String>())
}

fn json(app: &App, restored: Restored) -> Result<RestoreJson<impl Serialize + use<>>, Failure> {
    let (store, now) = (app.store()?, app.now());
    let authorities = |all: &[Certificate]| all.iter().map(AuthorityJson::new).collect();
    Ok(RestoreJson {
        imported: notices::identities_json(store, &restored.identities, now)?,
        already_present: notices::identities_json(store, &restored.already_present, now)?,
        authorities: authorities(&restored.authorities),
        trusted: authorities(&restored.trusted),
        enrollments: restored.enrollments.iter().map(|new: &Enrollment| new.subject().to_string()).collect(),
        rules: restored.rules.iter().map(|rule: &Rule| RuleJson::new(rule)).collect(),
        decisions: restored.decisions.into_iter().map(DecisionJson::new).collect(),
        contradicted: restored.contradicted.into_iter().map(DecisionJson::new).collect(),
        settings: restored.settings.map(|settings| config::json(&settings, None)),
        uses: restored.uses,
    })
}
