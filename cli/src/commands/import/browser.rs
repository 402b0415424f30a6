//! What `import` brings from the database of a browser, or of another program that uses NSS.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use cardcase::ask::terminal::quietly;
use cardcase::file::{self, NssDatabase};
use cardcase::manage::{Fingerprint, Import, Mode, Scope};
use cardcase::{Destination, Error, Store, Unlocker};

use super::found::{Found, LeftOutJson, pair, tell_left_out, typed};
use super::sources::Source;
use crate::app::App;
use crate::ask::file_password;
use crate::cli;
use crate::profiles::{Profile, Program, Typed, Way};
use crate::ui::failure::{Code, Failure};
use crate::ui::progress;
use crate::ui::say;
use crate::ui::text::{counted, quoted};

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
    Profile::find(program, wanted.as_deref(), Way::Import).map(Some)
}

impl Browser {
    /// Reads the database, and pairs its keys and certificates. The store is opened only when there is something to import.
    pub(super) fn read(app: &App, args: &cli::Import, profile: Profile, found: &mut Found) -> Result<Self, Failure> {
        let typed = typed(args);
        let mut database = NssDatabase::open(&profile.directory).map_err(|error| profile.failed(error, &typed))?;
        let may_ask = args.password_file.is_none() && app.can_ask();
        let import = quietly(may_ask, || open(app, args, &profile, &mut database, &typed))?;
        let browser = Self { profile, database };
        let source = Source { path: browser.profile.directory.clone(), is_in_directory: false };
        let told = browser.profile.told();
        if import.certificates().next().is_some() {
            let pairs = pair(app.store()?, &*app.unlocker()?, &[(&source, import.clone())], &mut found.left_out)?;
            if let Ok(paired) = pairs {
                if paired.identities().next().is_none() {
                    let number = counted(paired.authorities().len(), "CA certificate", "CA certificates");
                    say::note(format_args!("{told} holds {number} and no identity"));
                    say::hint(ELSEWHERE);
                }
                found.files.push(paired);
                return Ok(browser);
            }
        }
        found.left_out.extend(import.left_out().map(|(_, what, why)| LeftOutJson {
            file: source.path.display().to_string(),
            what: what.to_owned(),
            why,
        }));
        // What it remembers may be all that there is
        let decisions = browser.database.decisions(host);
        let has_decisions = decisions.is_ok_and(|all| all.iter().any(|(_, answer)| answer.is_ok()));
        if has_decisions && !args.no_decisions {
            say::note(format_args!("{told} holds no identity"));
            return Ok(browser);
        }
        tell_left_out(&found.left_out);
        Err(browser.without_identity(&import, &typed))
    }

    /// The failure of a profile from which nothing is imported.
    fn without_identity(&self, import: &Import, typed: &Typed) -> Failure {
        let told = self.profile.told();
        let empty = |message: String| Failure::new(Code::NothingFits, message);
        match import.clone().pair() {
            Err(Error::InFile { error: file::Error::Certificate { .. }, .. }) => {
                let detail = match import.certificates().next() {
                    None => "none of its certificates can be read",
                    Some(_) => "a certificate cannot be read, and the others have no private key",
                };
                self.profile.failed(file::Error::Database { file: "cert9.db", detail: detail.to_owned() }, typed)
            }
            Err(Error::InFile { error: file::Error::NothingUseful { .. }, .. }) => {
                let number = counted(import.left_out().count(), "private key", "private keys");
                let directory = quoted(&self.profile.directory);
                let program = self.profile.program_name();
                empty(format!("{told} holds {number} without a certificate, which {program} does not show either"))
                    .hint("if you have the certificate, add it with NSS's certutil (in Debian: apt install libnss3-tools), and try again:")
                    .hint(format_args!("certutil -A -n NAME -t ,, -i FILE.crt -d sql:{directory}"))
            }
            Err(error @ Error::CertificateWithoutKey { .. }) => {
                empty(format!("{told} holds no identity: {error}")).hint(ELSEWHERE)
            }
            _ => empty(format!("{told} holds no certificates")).hint(ELSEWHERE),
        }
    }

    /// Names the CA certificates that the program trusts: the store does not, until a person says so.
    pub(super) fn tell_trusted(&self, store: &Store) {
        for certificate in self.database.trusted_authorities() {
            let fingerprint = certificate.fingerprint();
            if store.find_authority(&fingerprint.to_string()).is_ok_and(|known| known.trusted) {
                continue;
            }
            say::note(format_args!(
                "{} trusts {} to verify servers, and cardcase does not (SHA-256 {fingerprint})",
                self.profile.program_name(),
                certificate.subject()
            ));
            say::hint(format_args!("to trust it: cardcase trust {}", fingerprint.short()));
        }
    }

    /// What the browser remembers for hosts. Adds to `left_out` what has no meaning here.
    pub(super) fn remembered(&self, left_out: &mut Vec<LeftOutJson>) -> Vec<Remembered> {
        let decisions = match self.database.decisions(host) {
            Ok(decisions) => decisions,
            Err(error) => {
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
        for (host, answer) in decisions {
            match (answer, Destination::new(&host, Destination::DEFAULT_PORT)) {
                (Ok(identity), Ok(destination)) => {
                    remembered.push(Remembered { scope: Mode::Firefox.scope(&destination), identity });
                }
                (Ok(_), Err(error)) => leave_out(host, error.to_string()),
                (Err(why), _) => leave_out(host, why.to_owned()),
            }
        }
        for (why, mut hosts) in reasons {
            let number = counted(hosts.len(), "decision is", "decisions are");
            hosts.sort();
            hosts.dedup();
            let first: Vec<String> = hosts.iter().take(NAMED).cloned().collect();
            let more = if hosts.len() > NAMED { ", ..." } else { "" };
            say::note(format_args!("{number} left out ({}{more}): {why}", first.join(", ")));
        }
        remembered
    }

    /// Those that the store does not have yet, and can have. What the store remembers already stays.
    pub(super) fn new_decisions(
        &self,
        store: &Store,
        remembered: Vec<Remembered>,
        known: &HashSet<Fingerprint>,
    ) -> Result<Vec<Remembered>, Failure> {
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
        Ok(new)
    }
}

/// Remembers decisions, all or none of them, and returns those that are new.
pub(super) fn remember(app: &App, unlocker: &dyn Unlocker, new: Vec<Remembered>) -> Result<Vec<Remembered>, Failure> {
    if new.is_empty() {
        return Ok(new);
    }
    let store = app.store()?;
    if new.iter().any(|decision| decision.identity.is_some()) {
        store.unlock(unlocker)?;
    }
    let answers = new.into_iter().map(|Remembered { scope, identity }| (scope, identity)).collect();
    let remembered = store.remember_new(answers, app.now())?;
    if app.mode()? == Mode::Chrome {
        say::note("decisions per host do not count in chrome mode; to use them: --mode firefox");
    }
    Ok(remembered.into_iter().map(|(scope, identity)| Remembered { scope, identity }).collect())
}

/// The host that is meant.
fn host(written: &str) -> Option<String> {
    Destination::new(written, Destination::DEFAULT_PORT).ok().map(|destination| destination.host().to_owned())
}

/// How many hosts are named.
const NAMED: usize = 5;

const ELSEWHERE: &str = "identities on smart cards and those of the operating system are not in a profile";

/// Opens the private keys. Tries the empty password before it asks for one.
fn open(
    app: &App,
    args: &cli::Import,
    profile: &Profile,
    database: &mut NssDatabase,
    typed: &Typed,
) -> Result<Import, Failure> {
    let given = args.password_file.as_deref().map(|file| app.input.read_password(file)).transpose()?;
    let why = format!("many rounds of key derivation for {}", profile.told());
    let read = |password: &str| {
        progress::during_counted(Instant::now(), &why, |count| {
            database.import_with_progress(password, args.max_iterations, &mut |done, total| count.set(done, total))
        })
    };
    file_password::open_profile(profile, given, app.can_ask(), typed, read).map(|(import, _)| import)
}
