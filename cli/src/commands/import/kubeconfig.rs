//! The users of a kubeconfig, under the names of their contexts.

mod config;

use std::env;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cardcase::{Error, file};
use zeroize::Zeroizing;

use config::{Kubeconfig, User};

use super::found::{Found, LeftOutJson, pair, tell_left_out};
use super::sources::Source;
use crate::app::App;
use crate::input::read_regular;
use crate::ui::failure::{Code, Failure};

/// Reads the users that have a certificate, in the file that was named, or in those that kubectl reads. As with kubectl, of several files
/// the first counts that has a user or a context of a name.
pub(super) fn read(app: &App, named: &Path, found: &mut Found) -> Result<(), Failure> {
    let mut configs: Vec<(PathBuf, Kubeconfig)> = Vec::new();
    let paths = if named.as_os_str().is_empty() { default_paths() } else { vec![named.to_owned()] };
    for path in &paths {
        let text = match named.as_os_str().is_empty() {
            false => app.input.read(path, file::MAX_SIZE as u64)?,
            true => match read_regular(path, file::MAX_SIZE as u64) {
                // kubectl ignores those that are missing
                Err(error) if error.kind() == ErrorKind::NotFound && paths.len() > 1 => continue,
                read => read.map_err(|error| Failure::io(path, &error))?,
            },
        };
        let config = config::parse(&text).map_err(|detail| {
            Failure::new(Code::Failed, format_args!("it is no kubeconfig: {detail}")).in_file(path)
        })?;
        configs.push((path.clone(), config));
    }
    for (config, user, name, parts) in config::merged(configs.iter().map(|(_, config)| config)) {
        let path = configs.get(config).map_or(named, |(path, _)| path);
        if let Err(why) = add(app, path, name, parts, found)? {
            let what = format!("the user {user:?}");
            found.left_out.push(LeftOutJson { file: path.display().to_string(), what, why });
        }
    }
    match found.files.is_empty() {
        true => Err(without_users(&paths, &found.left_out)),
        false => Ok(()),
    }
}

/// The failure when no user is imported.
fn without_users(paths: &[PathBuf], left_out: &[LeftOutJson]) -> Failure {
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let names = names.join(", ");
    match left_out {
        [] => Failure::new(Code::NothingFits, format_args!("no user with a client certificate in {names}"))
            .hint("users with a token or a plugin have none; to see the users: kubectl config view"),
        [LeftOutJson { file, what, why }] => Failure::new(Code::Failed, format_args!("{file}: {what}: {why}")),
        several => {
            tell_left_out(several);
            let failure =
                format!("no user with a client certificate in {names} can be imported, for the reasons above");
            Failure::new(Code::Failed, failure)
        }
    }
}

/// `$KUBECONFIG`, which may name several, or else the file in the home directory.
fn default_paths() -> Vec<PathBuf> {
    match env::var_os("KUBECONFIG").filter(|value| !value.is_empty()) {
        Some(named) => env::split_paths(&named).filter(|path| !path.as_os_str().is_empty()).collect(),
        None => env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect(),
    }
}

/// Adds a user that has a certificate, or says why it cannot be imported.
fn add(app: &App, config: &Path, name: &str, user: &User, found: &mut Found) -> Result<Result<(), String>, Failure> {
    let pem = match pem(user, config, name) {
        Ok(Some(pem)) => pem,
        Ok(None) => return Ok(Ok(())),
        Err(why) => return Ok(Err(why)),
    };
    let import = match file::read(&pem, "") {
        Ok(import) => import,
        Err(error) if error.is_password() => {
            let why = "its private key has a password; import the files themselves: cardcase import CERTIFICATE KEY";
            return Ok(Err(why.to_owned()));
        }
        Err(error) => return Ok(Err(Error::File(error).to_string())),
    };
    let source = Source { path: config.to_owned(), is_in_directory: false };
    match pair(app.store()?, &*app.unlocker()?, &[(&source, import)], &mut found.left_out)? {
        Ok(import) => {
            found.files.push(import);
            Ok(Ok(()))
        }
        Err(unread) => {
            let why: Vec<String> = unread.into_iter().map(|(_, unread)| unread.failure.message).collect();
            let file = format!("{}: ", config.display());
            Ok(Err(why.join("; ").replace(&file, "")))
        }
    }
}

/// The certificate and the key as one PEM text, under a name; `None` if the user has no certificate.
fn pem(user: &User, config: &Path, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    let part = |data: &Option<String>, file: &Option<PathBuf>| -> Result<Option<Zeroizing<Vec<u8>>>, String> {
        if let Some(data) = data.as_deref().filter(|data| !data.is_empty()) {
            let bytes = BASE64_STANDARD.decode(data.trim()).map_err(|_| "its data is not base64".to_owned())?;
            return Ok(Some(Zeroizing::new(bytes)));
        }
        let Some(file) = file.as_deref().filter(|file| !file.as_os_str().is_empty()) else { return Ok(None) };
        // Relative to the kubeconfig
        let path = config.parent().unwrap_or(Path::new("")).join(file);
        let read = read_regular(&path, file::MAX_SIZE as u64);
        read.map(Some).map_err(|error| format!("{}: {error}", path.display()))
    };
    let certificate = part(&user.client_certificate_data, &user.client_certificate)?;
    let key = part(&user.client_key_data, &user.client_key)?;
    let (certificate, key) = match (certificate, key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(_), None) => return Err("it has a certificate, and no key: a plugin may have it".to_owned()),
        (None, _) => return Ok(None),
    };
    // As `openssl pkcs12` prints a name
    let name: String = name.chars().filter(|letter| !letter.is_control()).collect();
    let name = format!("    friendlyName: {name}\n");
    let parts: [&[u8]; 6] = [name.as_bytes(), &certificate, b"\n", name.as_bytes(), &key, b"\n"];
    Ok(Some(Zeroizing::new(parts.concat())))
}
