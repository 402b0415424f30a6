//! The users of a kubeconfig, under the names of their contexts.

use std::env;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cardcase::file;
use cardcase::{Error, Unlocker};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::found::{Found, LeftOutJson, pair};
use super::sources::Source;
use crate::app::App;
use crate::ui::failure::{Code, Failure};

/// The parts of a kubeconfig that matter here. Whatever else is there is ignored.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Kubeconfig {
    users: Vec<NamedUser>,
    contexts: Vec<NamedContext>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "kebab-case")]
struct User {
    client_certificate: Option<PathBuf>,
    client_key: Option<PathBuf>,
    /// PEM in base64. It counts instead of the file, as with kubectl.
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Context {
    user: String,
}

/// Reads the users that have a certificate, in the file that was named, or in those that kubectl reads.
pub(super) fn read(app: &App, named: &Path, unlocker: &dyn Unlocker, found: &mut Found) -> Result<(), Failure> {
    let paths = if named.as_os_str().is_empty() { default_paths() } else { vec![named.to_owned()] };
    for path in &paths {
        read_file(app, path, unlocker, found).map_err(|failure| failure.in_file(path))?;
    }
    if found.files.is_empty() {
        let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        let failure = format!("no user with a client certificate in {}", names.join(", "));
        return Err(Failure::new(Code::NothingFits, failure)
            .hint("users with a token or a plugin have none; to see the users: kubectl config view"));
    }
    Ok(())
}

/// `$KUBECONFIG`, which may name several, or else the file in the home directory.
fn default_paths() -> Vec<PathBuf> {
    let named = env::var_os("KUBECONFIG").filter(|value| !value.is_empty());
    match named {
        // kubectl ignores those that are missing
        Some(named) => env::split_paths(&named).filter(|path| path.exists()).collect(),
        None => env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect(),
    }
}

fn read_file(app: &App, path: &Path, unlocker: &dyn Unlocker, found: &mut Found) -> Result<(), Failure> {
    let text = app.input.read(path, file::MAX_SIZE as u64)?;
    let config: Kubeconfig = serde_saphyr::from_slice(&text).map_err(|error| {
        Failure::new(Code::Failed, format_args!("it is no kubeconfig: {}", first_line(&error.to_string())))
    })?;
    let source = Source { path: path.to_owned(), is_in_directory: false };
    for NamedUser { name, user } in &config.users {
        let context = config.contexts.iter().find(|context| context.context.user == *name);
        let called = context.map_or(name, |context| &context.name);
        let leave_out = |found: &mut Found, why: String| {
            let (file, what) = (path.display().to_string(), format!("the user {name:?}"));
            found.left_out.push(LeftOutJson { file, what, why });
        };
        let pem = match user.pem(app, path, called) {
            Ok(Some(pem)) => pem,
            Ok(None) => continue,
            Err(why) => {
                leave_out(found, why);
                continue;
            }
        };
        match file::read(&pem, "") {
            Ok(import) => match pair(app.store()?, unlocker, &[(&source, import)], &mut found.left_out)? {
                Ok(import) => found.files.push(import),
                Err(unread) => unread.into_iter().for_each(|(_, unread)| leave_out(found, unread.failure.message)),
            },
            Err(error) => leave_out(found, Error::File(error).to_string()),
        }
    }
    Ok(())
}

impl User {
    /// The certificate and the key as one PEM text, under a name; `None` if the user has neither.
    fn pem(&self, app: &App, config: &Path, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
        let part = |data: &Option<String>, file: &Option<PathBuf>| -> Result<Option<Zeroizing<Vec<u8>>>, String> {
            if let Some(data) = data.as_deref().filter(|data| !data.is_empty()) {
                let bytes = BASE64_STANDARD.decode(data.trim()).map_err(|_| "its data is not base64".to_owned())?;
                return Ok(Some(Zeroizing::new(bytes)));
            }
            let Some(file) = file else { return Ok(None) };
            // Relative to the kubeconfig
            let path = config.parent().unwrap_or(Path::new("")).join(file);
            app.input.read(&path, file::MAX_SIZE as u64).map(Some).map_err(|failure| failure.message)
        };
        let certificate = part(&self.client_certificate_data, &self.client_certificate)?;
        let key = part(&self.client_key_data, &self.client_key)?;
        let (Some(certificate), Some(key)) = (certificate, key) else {
            return Ok(None);
        };
        // As `openssl pkcs12` prints a name
        let name: String = name.chars().filter(|letter| !letter.is_control()).collect();
        let name = format!("    friendlyName: {name}\n");
        let parts: [&[u8]; 6] = [name.as_bytes(), &certificate, b"\n", name.as_bytes(), &key, b"\n"];
        Ok(Some(Zeroizing::new(parts.concat())))
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
