//! What the sources of an import hold, and how their keys and certificates are paired.

use std::path::Path;

use cardcase::file;
use cardcase::manage::Import;
use cardcase::{Error, Store, Unlocker};
use serde::Serialize;

use super::sources::{PassedOver, Source};
use crate::cli;
use crate::profiles::{Typed, Way};
use crate::ui::failure::{Code, Failure};
use crate::ui::say;
use crate::ui::text::{quoted, word};

/// Something in a file that is not imported, or a whole file.
#[derive(Serialize)]
pub(super) struct LeftOutJson {
    pub(super) file: String,
    pub(super) what: String,
    pub(super) why: String,
}

impl LeftOutJson {
    pub(super) fn file(path: &Path, why: impl ToString) -> Self {
        Self { file: path.display().to_string(), what: "the file".to_owned(), why: why.to_string() }
    }
}

/// Why a file was not read.
pub(super) struct Unread {
    /// Whether there is nothing in it to import: in a directory, such files are passed over.
    pub(super) holds_nothing: bool,
    pub(super) failure: Failure,
}

impl From<Failure> for Unread {
    fn from(failure: Failure) -> Self {
        Self { holds_nothing: false, failure }
    }
}

/// What the files hold that is imported, and what is not.
#[derive(Default)]
pub(super) struct Found {
    pub(super) files: Vec<Import>,
    pub(super) left_out: Vec<LeftOutJson>,
    pub(super) passed_over: PassedOver,
    /// The files that are not imported, with the failure of each.
    pub(super) unread: Vec<LeftOutJson>,
    pub(super) failures: Vec<Failure>,
    /// The exit code of the first of these that was named itself, and not only its directory.
    pub(super) code: Option<Code>,
}

/// Says what is not imported.
pub(super) fn tell_left_out(left_out: &[LeftOutJson]) {
    for LeftOutJson { file, what, why } in left_out {
        say::note(format_args!("{file}: left out {what}: {why}"));
    }
}

/// The command as it was given, to be copied and completed.
pub(super) fn typed(args: &cli::Import) -> Typed {
    let anywhere = "cardcase import".to_owned();
    let mut command = vec![anywhere.clone()];
    command.extend(args.files.iter().map(|path| quoted(path)));
    for (flag, profile) in [
        ("--from-firefox", &args.from_firefox),
        ("--from-thunderbird", &args.from_thunderbird),
        ("--from-kubeconfig", &args.from_kubeconfig),
    ] {
        command.extend(profile.iter().map(|profile| match profile.as_str() {
            "" => flag.to_owned(),
            // Or it would be another flag
            profile if profile.starts_with('-') => format!("{flag}={}", word(profile)),
            profile => format!("{flag} {}", word(profile)),
        }));
    }
    command.extend(args.from_nss.iter().map(|directory| format!("--from-nss {}", quoted(directory))));
    for (flag, file) in [("--password-file", &args.password_file), ("--key-password-file", &args.key_password_file)] {
        command.extend(file.iter().map(|file| format!("{flag} {}", quoted(file))));
    }
    if let Some(name) = &args.name {
        command.push(format!("--name={}", word(name)));
    }
    for (flag, is_given) in [
        ("--from-chromium", args.from_chromium),
        ("--no-decisions", args.no_decisions),
        ("--renew", args.renew),
        ("--dry-run", args.dry_run),
    ] {
        command.extend(is_given.then(|| flag.to_owned()));
    }
    let again_without_limit = command.join(" ");
    command.extend(args.max_iterations.map(|limit| format!("--max-iterations {limit}")));
    Typed { way: Way::Import, again: command.join(" "), again_without_limit, anywhere }
}

/// Whether a file is of another kind.
pub(super) fn holds_nothing(error: &file::Error) -> bool {
    use file::Error::{NamesFiles, NothingUseful, Unrecognised};
    matches!(error, Unrecognised { .. } | NothingUseful { .. } | NamesFiles { .. })
}

/// Pairs the keys and certificates of some files; a key may also be in the store already. Adds to `left_out` what is not
/// imported. If files prevent that, returns their positions and why.
pub(super) fn pair(
    store: &Store,
    unlocker: &dyn Unlocker,
    parts: &[(&Source, Import)],
    left_out: &mut Vec<LeftOutJson>,
) -> Result<Result<Import, Vec<(usize, Unread)>>, Failure> {
    let mut import = Import::default();
    parts.iter().for_each(|(_, part)| import.extend(part.clone()));
    let lacks_keys = match import.pair() {
        Ok(()) => import.left_out().next().is_some(),
        Err(error) => matches!(error, Error::CertificateWithoutKey { .. }),
    };
    if lacks_keys {
        store.add_known_keys(&mut import, unlocker)?;
    }
    let path = |file: usize| parts.get(file).map_or(Path::new("-"), |(source, _)| &source.path);
    let unread = |file: usize, error: &Error| {
        let holds_nothing = match error {
            Error::InFile { error, .. } => holds_nothing(error),
            _ => true,
        };
        (file, Unread { holds_nothing, failure: Failure::from(error).in_file(path(file)) })
    };
    match import.pair_useful() {
        Ok(useless) if useless.is_empty() => {}
        Ok(useless) => return Ok(Err(useless.iter().map(|(file, error)| unread(*file, error)).collect())),
        Err(error @ (Error::KeyWithoutCertificate { file, .. } | Error::InFile { file, .. })) => {
            return Ok(Err(vec![unread(file, &error)]));
        }
        Err(error) => return Err(error.into()),
    }
    left_out.extend(import.left_out().map(|(file, what, why)| LeftOutJson {
        file: path(file).display().to_string(),
        what: what.to_owned(),
        why,
    }));
    Ok(Ok(import))
}
