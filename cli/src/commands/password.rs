//! `cardcase password`

use cardcase::manage::{Settings, Unverified};
use cardcase::{Identity, Store};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::app::App;
#[cfg(feature = "keyring")]
use crate::ask::keyring;
use crate::ask::{new_password, terminal};
use crate::cli::Password;
use crate::ui::failure::{Code, Failure};
use crate::ui::say;
use crate::ui::text::counted;

#[derive(Serialize)]
struct ProtectedJson {
    /// Whether there is a primary password now.
    protected: bool,
    /// Whether the keyring has it now; only if that was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    keyring: Option<bool>,
}

fn answer(app: &App, keyring: Option<bool>) -> Result<(), Failure> {
    let protected = app.store()?.has_primary_password();
    app.answer(|| ProtectedJson { protected, keyring })
}

pub(crate) fn run(app: &App, args: &Password) -> Result<(), Failure> {
    #[cfg(feature = "keyring")]
    match (args.keyring, args.no_keyring) {
        (true, _) => {
            keyring::keep(app.store()?, &*app.asking_unlocker()?)?;
            return answer(app, Some(true));
        }
        (_, true) => {
            keyring::forget(app.store()?)?;
            return answer(app, Some(false));
        }
        (false, false) => {}
    }
    let store = app.store()?;
    let shown = match args.reset {
        true => Some(confirm_reset(app, args, store)?),
        false => None,
    };
    if shown.is_none() {
        store.unlock_fully(&*app.unlocker()?)?;
    }
    let new = new_password(app, args, !args.reset && !store.has_primary_password())?;
    let new = Some(new.as_str()).filter(|password| !password.is_empty());
    match shown {
        Some(shown) => store.reset_primary_password(new, &shown)?,
        None => new_password::set(store, new)?,
    }
    #[cfg(feature = "keyring")]
    keyring::follow(store, new);
    if let Some(new) = new {
        new_password::warn_if_weak(new, "the new primary password");
    }
    say::note(match new {
        Some(_) => "the store is protected by the new primary password",
        None => "the store is not protected by a password",
    });
    if args.reset && store.identities()?.iter().any(Identity::has_lost_key) {
        say::hint("to bring the private keys back: cardcase import FILE.p12, or cardcase restore FILE");
    }
    answer(app, None)
}

fn new_password(app: &App, args: &Password, none_is_usual: bool) -> Result<Zeroizing<String>, Failure> {
    if let Some(file) = &args.new_password_file {
        return app.input.read_password(file);
    }
    let dialogs = app.password_dialogs()?.ok_or_else(|| {
        let reset = if args.reset { " --reset --yes" } else { "" };
        Failure::new(Code::NobodyToAsk, "the new password is needed, and nobody can be asked for it")
            .hint(format_args!("cardcase password{reset} --new-password-file FILE"))
    })?;
    new_password::ask(&dialogs, none_is_usual)
}

/// Says what is lost and what stays, and asks. Returns what was shown.
fn confirm_reset(app: &App, args: &Password, store: &Store) -> Result<Unverified, Failure> {
    if !store.has_primary_password() {
        let failure = Failure::new(Code::Failed, "the store has no primary password; nothing was changed");
        return Err(failure.hint("to set one: cardcase password"));
    }
    #[cfg(feature = "keyring")]
    if keyring::opens(store) {
        let failure =
            Failure::new(Code::Failed, "the keyring has the primary password of this store; nothing was changed");
        return Err(failure.hint("to change the password and keep the private keys: cardcase password"));
    }
    let shown = store.unverified()?;
    let Unverified { identities, enrollments, .. } = &shown;
    let with_key: Vec<&Identity> = identities.iter().filter(|identity| !identity.has_lost_key()).collect();
    if !with_key.is_empty() || !enrollments.is_empty() {
        say::warn("without the old primary password nobody can open these private keys; they are lost:");
        for identity in with_key {
            say::note(format_args!("  {:?} ({})", identity.name(), identity.fingerprint().short()));
        }
        for enrollment in enrollments {
            say::note(format_args!("  the key that waits for a certificate for {}", enrollment.subject()));
        }
    }
    tell_what_stays(&shown);
    if args.yes {
        return Ok(shown);
    }
    if !app.can_ask() {
        let failure = Failure::new(Code::NobodyToAsk, "the loss must be confirmed, and nobody can be asked");
        return Err(
            failure.hint("to reset without confirmation: cardcase password --reset --yes --new-password-file FILE")
        );
    }
    match terminal::confirm("Reset the primary password and lose these private keys?")? {
        true => Ok(shown),
        false => Err(Failure::new(Code::Failed, "not confirmed; nothing was changed")),
    }
}

/// Shows what stays. Without the password nobody can tell who wrote it.
fn tell_what_stays(shown: &Unverified) {
    let Unverified { identities, decisions, rules, trusted, settings, .. } = shown;
    say::note(format_args!(
        "the rest stays: {}, {}, {} and {}",
        counted(identities.len(), "certificate", "certificates"),
        counted(decisions.len(), "decision", "decisions"),
        counted(rules.len(), "rule", "rules"),
        counted(trusted.len(), "trusted CA certificate", "trusted CA certificates"),
    ));
    let name = |of| identities.iter().find(|identity| Some(identity.fingerprint()) == of);
    for identity in identities.iter().filter(|identity| identity.requires_tls13()) {
        say::note(format_args!("  TLS 1.3 only: {:?}", identity.name()));
    }
    for decision in decisions {
        let name = name(decision.identity).map_or("no certificate".to_owned(), |known| format!("{:?}", known.name()));
        say::note(format_args!("  decision: {}: {name}", decision.scope));
    }
    for rule in rules {
        say::note(format_args!("  rule {}: {}", rule.number().unwrap_or_default(), rule.to_json()));
    }
    for authority in trusted {
        let certificate = &authority.certificate;
        say::note(format_args!("  trusted: {} ({})", certificate.subject(), certificate.fingerprint()));
    }
    let usual = Settings::default();
    for (name, differs) in [
        ("mode chrome", settings.mode != usual.mode),
        ("select-automatically on", settings.select_automatically),
        ("use-single-candidate on", settings.use_single_candidate),
        ("prompt-on-multiple on", settings.prompt_on_multiple),
    ] {
        if differs {
            say::note(format_args!("  setting: {name}"));
        }
    }
    if !decisions.is_empty() || !rules.is_empty() || !trusted.is_empty() || *settings != usual {
        say::note("if you did not set one of these, another program did: remove it afterwards");
    }
}
