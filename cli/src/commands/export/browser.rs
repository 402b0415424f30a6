//! Adding identities to the database of a browser. NSS's own program writes it: `pk12util`.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::time::Instant;

use cardcase::Identity;
use cardcase::file::NssDatabase;
use rustix::fs::{MemfdFlags, memfd_create};
use zeroize::Zeroizing;

use crate::app::App;
use crate::ask::file_password;
use crate::cli::Export;
use crate::nss_tool;
use crate::profiles::{Profile, Program, Typed, Way};
use crate::ui::failure::{Code, Failure};
use crate::ui::progress;
use crate::ui::say;
use crate::ui::text::{counted, quoted, word};

/// The profile that the arguments name, if they do.
pub(super) fn profile(args: &Export) -> Result<Option<Profile>, Failure> {
    if let Some(directory) = &args.to_nss {
        return Ok(Some(Profile::named(directory)));
    }
    let Some(wanted) = &args.to_firefox else { return Ok(None) };
    let wanted = Some(wanted.as_str()).filter(|wanted| !wanted.is_empty());
    Profile::find(Program::Firefox, wanted, Way::Export).map(Some)
}

/// What became of an export into a database.
pub(super) struct Exported {
    /// What is in it now, with its private key.
    pub(super) there: Vec<Identity>,
    /// The failure, when something is not.
    pub(super) failure: Option<Failure>,
}

/// Adds identities with their chains, one after the other. One that NSS does not take keeps none of the others out.
pub(super) fn run(app: &App, args: &Export, identities: &[Identity], profile: &Profile) -> Result<Exported, Failure> {
    let typed = typed(args);
    let open = || NssDatabase::open(&profile.directory).map_err(|error| profile.failed(error, &typed));
    let database = open()?;
    let (mut there, new): (Vec<Identity>, Vec<Identity>) =
        identities.iter().cloned().partition(|identity| database.has_identity(identity.certificate()));
    for identity in &there {
        say::note(format_args!("{} is already in {}", identity.name(), profile.told()));
    }
    if new.is_empty() {
        return Ok(Exported { there, failure: None });
    }
    let password = password(app, args, profile, &database, &typed)?;
    let store = app.fully_unlocked_store()?;
    let unlocker = app.unlocker()?;
    let (start, total, mut failed) = (Instant::now(), new.len(), 0);
    for (number, identity) in new.into_iter().enumerate() {
        let file_password = random()?;
        let file = store.export(std::slice::from_ref(&identity), &file_password, &*unlocker)?;
        let told = format!("{} of {total}: {}", number + 1, identity.name());
        let added = progress::during_since(start, &told, || add(profile, &file, &file_password, &password));
        // It reports success for a file whose keys it leaves out
        match added.and_then(|()| open().map_err(NotAdded::Nothing)) {
            Ok(database) if database.has_identity(identity.certificate()) => {
                say::note(format_args!("added {} with its private key to {}", identity.name(), profile.told()));
                there.push(identity);
            }
            Ok(_) => {
                failed += 1;
                not_added(&identity, profile, "pk12util left its private key out", args);
            }
            Err(NotAdded::One(why)) => {
                failed += 1;
                not_added(&identity, profile, &why, args);
            }
            Err(NotAdded::Nothing(failure)) => {
                return Ok(Exported { there, failure: Some(failure) });
            }
        }
    }
    let failure = (failed > 0).then(|| {
        let (what, was) = (counted(failed, "identity", "identities"), if failed == 1 { "was" } else { "were" });
        let text = format!("{what} of {total} {was} not added to {}, for the reasons above", profile.told());
        Failure::new(Code::Failed, text)
    });
    Ok(Exported { there, failure })
}

/// The command as it was given.
fn typed(args: &Export) -> Typed {
    let what = args.id.as_ref().map_or("--all".to_owned(), |id| word(id));
    let anywhere = format!("cardcase export {what}");
    let place = match (&args.to_nss, args.to_firefox.as_deref()) {
        (Some(directory), _) => format!("--to-nss {}", quoted(directory)),
        (None, None | Some("")) => "--to-firefox".to_owned(),
        (None, Some(profile)) => format!("--to-firefox={}", word(profile)),
    };
    let again = format!("{anywhere} {place}");
    Typed { way: Way::Export, again_without_limit: again.clone(), again, anywhere }
}

/// The password of the database. The empty one is tried first.
fn password(
    app: &App,
    args: &Export,
    profile: &Profile,
    database: &NssDatabase,
    typed: &Typed,
) -> Result<Zeroizing<String>, Failure> {
    let given = args.password_file.as_deref().map(|file| app.input.read_password(file)).transpose()?;
    let why = format!("many rounds of key derivation for {}", profile.told());
    let check = |password: &str| progress::during(&why, || database.check_password(password, None));
    file_password::open_profile(profile, given, app.can_ask(), typed, check).map(|((), password)| password)
}

/// Why an identity was not added.
enum NotAdded {
    /// Others may be.
    One(String),
    /// No other would be.
    Nothing(Failure),
}

fn not_added(identity: &Identity, profile: &Profile, why: &str, args: &Export) {
    say::warn(format_args!("{} was not added to {}: {why}", identity.name(), profile.told()));
    let id = identity.fingerprint().short();
    let id = args.id.as_deref().unwrap_or(&id);
    say::remedy(format_args!(
        "or write a file, and import it in the program's own settings: cardcase export {} -o FILE.p12",
        word(id)
    ));
}

/// Lets pk12util add what is in a PKCS#12 file. The file and the passwords are in memory only, and not in its arguments, which every user
/// can see.
fn add(profile: &Profile, file: &[u8], file_password: &str, password: &str) -> Result<(), NotAdded> {
    let unusable =
        |error: io::Error| NotAdded::Nothing(Failure::new(Code::Failed, format_args!("no file in memory: {error}")));
    let file = in_memory(file).map_err(unusable)?;
    let file_password = in_memory(file_password.as_bytes()).map_err(unusable)?;
    let database_password = in_memory(password.as_bytes()).map_err(unusable)?;
    let path = |file: &File| format!("/proc/self/fd/{}", file.as_raw_fd());
    let done = nss_tool::run("pk12util", "adds identities to NSS databases", |command| {
        command.arg("-i").arg(path(&file)).arg("-w").arg(path(&file_password));
        command.arg("-d").arg(nss_tool::database(&profile.directory));
        match password.is_empty() {
            true => command.args(["-K", ""]),
            false => command.arg("-k").arg(path(&database_password)),
        };
    });
    let by_file = "or write a file, and import it in the program's own settings: cardcase export ID -o FILE.p12";
    let Err(said) = done.map_err(|failure| NotAdded::Nothing(failure.hint(by_file)))? else { return Ok(()) };
    let failure = format!("pk12util failed ({}): {}", said.status, said.last());
    // The password was checked before
    if said.contains("authenticate") {
        return Err(NotAdded::Nothing(Failure::new(Code::Failed, failure).hint(
            "the password is right, but this pk12util is older than the program, and does not know how it is checked: since NSS 3.118",
        )));
    }
    Err(NotAdded::One(match said.contains("UNABLE_TO_IMPORT_KEY") {
        true => format!("this version of NSS does not take a key of its kind; {failure}"),
        false => failure,
    }))
}

/// A file in memory that a child process inherits.
fn in_memory(content: &[u8]) -> io::Result<File> {
    // Not closed at exec
    let mut file = File::from(memfd_create("cardcase", MemfdFlags::empty())?);
    file.write_all(content)?;
    Ok(file)
}

/// The password of a file that lives for a moment.
fn random() -> Result<Zeroizing<String>, Failure> {
    let mut bytes = Zeroizing::new([0_u8; 16]);
    getrandom::fill(&mut *bytes)
        .map_err(|error| Failure::new(Code::Failed, format_args!("no random bytes: {error}")))?;
    let mut text = Zeroizing::new(String::with_capacity(32));
    for byte in &*bytes {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from_digit(half.into(), 16).unwrap_or('0'));
        }
    }
    Ok(text)
}
