//! What `import` brings from the database of a browser, or of another program that uses NSS.

use std::collections::{BTreeMap, HashSet};

use cardcase::ask::terminal::quietly;
use cardcase::file::NssDatabase;
use cardcase::manage::{Fingerprint, Import, Lifetime, Mode, Scope};
use cardcase::{Destination, Store, Unlocker};

use super::found::{Found, LeftOutJson, again, pair};
use super::sources::Source;
use crate::app::App;
use crate::ask::file_password;
use crate::cli;
use crate::profiles::{Profile, Program};
use crate::ui::failure::{Code, Failure};
use crate::ui::progress;
use crate::ui::say;
use crate::ui::text::counted;

/// A database that is imported.
pub(super) struct Browser {
    profile: Profile,
    database: NssDatabase,
}

/// A decision of the browser.
pub(super) struct Remembered {
    pub(super) scope: Scope,
    pub(super) identity: Option<Fingerprint>,
}

/// The profile that the arguments name, if they do.
pub(super) fn profile(args: &cli::Import) -> Result<Option<Profile>, Failure> {
    let named = |wanted: &Option<String>| wanted.clone().map(|wanted| Some(wanted).filter(|wanted| !wanted.is_empty()));
    if let Some(directory) = &args.from_nss {
        return Ok(Some(Profile::named(directory)));
    }
    let (program, wanted) = match (named(&args.from_firefox), named(&args.from_thunderbird), args.from_chromium) {
        (Some(wanted), ..) => (Program::Firefox, wanted),
        (_, Some(wanted), _) => (Program::Thunderbird, wanted),
        (_, _, true) => (Program::Chromium, None),
        _ => return Ok(None),
    };
    Profile::find(program, wanted.as_deref()).map(Some)
}

impl Browser {
    /// Reads the database, and pairs its keys and certificates.
    pub(super) fn read(
        app: &App,
        args: &cli::Import,
        unlocker: &dyn Unlocker,
        profile: Profile,
        found: &mut Found,
    ) -> Result<Self, Failure> {
        let mut database =
            NssDatabase::open(&profile.directory).map_err(|error| profile.failed(error, &again(args)))?;
        let may_ask = args.password_file.is_none() && app.can_ask();
        let import = quietly(may_ask, || open(app, args, &profile, &mut database))?;
        let browser = Self { profile, database };
        let source = Source { path: browser.profile.directory.clone(), is_in_directory: false };
        let told = browser.profile.told();
        if import.certificates().next().is_none() && import.left_out().next().is_none() {
            return Err(without_identity(format!("{told} holds no certificates")));
        }
        match pair(app.store()?, unlocker, &[(&source, import)], &mut found.left_out)? {
            Ok(import) => {
                if import.identities().next().is_none() {
                    let number = counted(import.authorities().len(), "CA certificate", "CA certificates");
                    say::note(format_args!("{told} holds {number} and no identity"));
                    say::hint(ELSEWHERE);
                }
                found.files.push(import);
            }
            Err(mut unread) => match unread.swap_remove(0) {
                (_, unread) if unread.holds_nothing => {
                    return Err(without_identity(format!("{told} holds no identity: {}", unread.failure.message)));
                }
                (_, unread) => return Err(unread.failure),
            },
        }
        Ok(browser)
    }

    /// Names the CA certificates that the program trusts: the store does not, until a person says so.
    pub(super) fn tell_trusted(&self, store: &Store) {
        for certificate in self.database.trusted_authorities() {
            let fingerprint = certificate.fingerprint();
            if store.find_authority(&fingerprint.to_string()).is_ok_and(|known| known.trusted) {
                continue;
            }
            say::note(format_args!(
                "{} trusts {} to verify servers, and cardcase does not",
                self.profile.program_name(),
                certificate.subject()
            ));
            say::hint(format_args!("to trust it: cardcase trust {}", fingerprint.short()));
        }
    }

    /// What the browser remembers for hosts. Adds to `left_out` what has no meaning here.
    pub(super) fn remembered(&self, left_out: &mut Vec<LeftOutJson>) -> Vec<Remembered> {
        let (decisions, forgotten) = match (self.database.remembered(), self.database.forgotten()) {
            (Ok(decisions), Ok(forgotten)) => (decisions, forgotten),
            (Err(error), _) | (_, Err(error)) => {
                say::warn(format_args!("the decisions are left out: {error}"));
                return Vec::new();
            }
        };
        let (mut reasons, mut remembered) = (BTreeMap::<String, Vec<String>>::new(), Vec::new());
        let mut leave_out = |host: String, why: String| {
            reasons.entry(why.clone()).or_default().push(host.clone());
            let file = self.profile.directory.display().to_string();
            left_out.push(LeftOutJson { file, what: format!("the decision for {host}"), why });
        };
        for (host, why) in forgotten {
            leave_out(host, why.to_owned());
        }
        for (host, identity) in decisions {
            match Destination::new(&host, Destination::DEFAULT_PORT) {
                Ok(destination) => remembered.push(Remembered { scope: Mode::Firefox.scope(&destination), identity }),
                Err(_) => leave_out(host, "it is not a host name".to_owned()),
            }
        }
        for (why, mut hosts) in reasons {
            hosts.sort();
            hosts.dedup();
            let number = counted(hosts.len(), "decision is", "decisions are");
            let first: Vec<String> = hosts.iter().take(NAMED).cloned().collect();
            let more = if hosts.len() > NAMED { ", ..." } else { "" };
            say::note(format_args!("{number} left out ({}{more}): {why}", first.join(", ")));
        }
        remembered
    }

    /// Remembers them, and returns those that are new. What the store remembers already stays.
    pub(super) fn remember(
        &self,
        app: &App,
        unlocker: &dyn Unlocker,
        remembered: Vec<Remembered>,
        known: &HashSet<Fingerprint>,
        is_rehearsal: bool,
    ) -> Result<Vec<Remembered>, Failure> {
        let store = app.store()?;
        let mut new = Vec::new();
        let (mut kept, mut without_identity) = (0, 0);
        for decision in remembered {
            let is_known = match decision.identity {
                Some(identity) => known.contains(&identity) || store.identity(identity)?.is_some(),
                None => true,
            };
            match store.decision(&decision.scope)? {
                Some(kept_one) if kept_one.identity != decision.identity => kept += 1,
                Some(_) => {}
                None if is_known => new.push(decision),
                None => without_identity += 1,
            }
        }
        if kept > 0 {
            let number = counted(kept, "host", "hosts");
            say::note(format_args!(
                "for {number}, cardcase remembers another answer than {}, and keeps it",
                self.profile.program_name()
            ));
        }
        if without_identity > 0 {
            let number = counted(without_identity, "decision is", "decisions are");
            say::note(format_args!("{number} left out: the private key of its certificate is not in the profile"));
        }
        if !is_rehearsal && !new.is_empty() {
            if new.iter().any(|decision| decision.identity.is_some()) {
                store.unlock(unlocker)?;
            }
            for Remembered { scope, identity } in &new {
                store.remember(scope, *identity, Lifetime::Permanent, app.now())?;
            }
            if app.mode()? == Mode::Chrome {
                say::note("decisions per host do not count in chrome mode; to use them: --mode firefox");
            }
        }
        Ok(new)
    }
}

/// How many hosts are named.
const NAMED: usize = 5;

const ELSEWHERE: &str = "identities on smart cards and those of the operating system are not in a profile";

fn without_identity(message: String) -> Failure {
    Failure::new(Code::NothingFits, message).hint(ELSEWHERE)
}

/// Opens the private keys. Tries the empty password before it asks for one.
fn open(app: &App, args: &cli::Import, profile: &Profile, database: &mut NssDatabase) -> Result<Import, Failure> {
    let given = args.password_file.as_deref().map(|file| app.input.read_password(file)).transpose()?;
    let why = format!("many rounds of key derivation for {}", profile.told());
    let again = again(args);
    let hint = format!("{again} --password-file FILE");
    let read = |password: &str| progress::during(&why, || database.import(password, args.max_iterations));
    file_password::open_profile(profile, given, app.can_ask(), (&again, &hint), read).map(|(import, _)| import)
}
