//! Adding identities to the database of a browser. NSS's own program writes it: `pk12util`.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use cardcase::Identity;
use cardcase::file::NssDatabase;
use rustix::fs::{MemfdFlags, memfd_create};
use zeroize::Zeroizing;

use crate::app::App;
use crate::ask::file_password;
use crate::cli::Export;
use crate::profiles::{Profile, Program};
use crate::ui::failure::{Code, Failure};
use crate::ui::progress;
use crate::ui::say;

/// The profile that the arguments name, if they do.
pub(super) fn profile(args: &Export) -> Result<Option<Profile>, Failure> {
    if let Some(directory) = &args.to_nss {
        return Ok(Some(Profile::named(directory)));
    }
    let Some(wanted) = &args.to_firefox else { return Ok(None) };
    Profile::find(Program::Firefox, Some(wanted.as_str()).filter(|wanted| !wanted.is_empty())).map(Some)
}

/// Adds identities with their chains.
pub(super) fn run(app: &App, args: &Export, identities: &[Identity], profile: &Profile) -> Result<(), Failure> {
    let database = open(profile)?;
    let there = |database: &NssDatabase, identity: &&Identity| {
        database.certificates().any(|certificate| certificate.fingerprint() == identity.fingerprint())
    };
    let (present, new): (Vec<&Identity>, Vec<&Identity>) = identities.iter().partition(|one| there(&database, one));
    for identity in present {
        say::note(format_args!("{} is already in {}", identity.name(), profile.told()));
    }
    if new.is_empty() {
        return Ok(());
    }
    let password = password(app, args, profile, &database)?;
    let store = app.fully_unlocked_store()?;
    let new: Vec<Identity> = new.into_iter().cloned().collect();
    let file_password = random()?;
    let file = store.export(&new, &file_password, &*app.unlocker()?)?;
    add(profile, &file, &file_password, &password)?;
    // It reports success for a file whose keys it leaves out
    let database = open(profile)?;
    for identity in &new {
        if !there(&database, &identity) {
            return Err(Failure::new(
                Code::Failed,
                format_args!(
                    "pk12util did not add {} to {}: NSS may not support its key",
                    identity.name(),
                    profile.told()
                ),
            ));
        }
        say::note(format_args!("added {} with its private key to {}", identity.name(), profile.told()));
    }
    Ok(())
}

fn open(profile: &Profile) -> Result<NssDatabase, Failure> {
    NssDatabase::open(&profile.directory).map_err(|error| profile.failed(error, "cardcase export"))
}

/// The password of the database. The empty one is tried first.
fn password(app: &App, args: &Export, profile: &Profile, database: &NssDatabase) -> Result<Zeroizing<String>, Failure> {
    let given = args.password_file.as_deref().map(|file| app.input.read_password(file)).transpose()?;
    let why = format!("many rounds of key derivation for {}", profile.told());
    let check = |password: &str| progress::during(&why, || database.check_password(password, None));
    let words = ("cardcase export", "give it in a file: --password-file FILE");
    file_password::open_profile(profile, given, app.can_ask(), words, check).map(|((), password)| password)
}

/// Lets pk12util add what is in a PKCS#12 file. The file and the passwords are in memory only, and not in its arguments, which every user
/// can see.
fn add(profile: &Profile, file: &[u8], file_password: &str, password: &str) -> Result<(), Failure> {
    let unusable = |error: io::Error| Failure::new(Code::Failed, format_args!("no file in memory: {error}"));
    let file = in_memory(file).map_err(unusable)?;
    let file_password = in_memory(file_password.as_bytes()).map_err(unusable)?;
    let database_password = in_memory(password.as_bytes()).map_err(unusable)?;
    let path = |file: &File| format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut database = std::ffi::OsString::from("sql:");
    database.push(&profile.directory);
    let mut command = Command::new("pk12util");
    command.arg("-i").arg(path(&file)).arg("-w").arg(path(&file_password)).arg("-d").arg(database);
    match password.is_empty() {
        true => command.args(["-K", ""]),
        false => command.arg("-k").arg(path(&database_password)),
    };
    let output = command.stdin(Stdio::null()).output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::new(Code::Failed, "pk12util is missing: it adds identities to NSS databases")
            .hint("install NSS's tools: apt install libnss3-tools (Debian, Ubuntu), dnf install nss-tools (Fedora)")
            .hint("or write a file, and import it in the program's own settings: cardcase export ID -o FILE.p12"),
        _ => Failure::new(Code::Failed, format_args!("pk12util: {error}")),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it says nothing");
    let failure = Failure::new(Code::Failed, format_args!("pk12util failed ({}): {last}", output.status));
    // The password was checked before
    let failure = match said.contains("authenticate") {
        true => failure.hint(
            "the password is right, but this pk12util is older than the program, and does not know how it is checked: since NSS 3.118",
        ),
        false => failure,
    };
    Err(failure.hint("write a file, and import it in the program's own settings: cardcase export ID -o FILE.p12"))
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
