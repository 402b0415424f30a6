//! What a kubeconfig says. It uses nothing else of the command, so that `fuzz/` can use it.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};
use serde_saphyr::DuplicateKeyPolicy;

/// The parts of a kubeconfig that matter here. Everything else is ignored, and what is `null` counts as absent.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Kubeconfig {
    #[serde(deserialize_with = "nullable")]
    users: Vec<NamedUser>,
    #[serde(deserialize_with = "nullable")]
    contexts: Vec<NamedContext>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NamedUser {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    user: User,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct User {
    pub(super) client_certificate: Option<PathBuf>,
    pub(super) client_key: Option<PathBuf>,
    /// PEM in base64. It counts instead of the file, as with kubectl.
    pub(super) client_certificate_data: Option<String>,
    pub(super) client_key_data: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NamedContext {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    context: Context,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Context {
    #[serde(deserialize_with = "nullable")]
    user: String,
}

fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(value: D) -> Result<T, D::Error> {
    Option::deserialize(value).map(Option::unwrap_or_default)
}

/// Reads a file, or says what is wrong with it. Of two keys of one name the last counts, as with kubectl.
pub(super) fn parse(text: &[u8]) -> Result<Kubeconfig, String> {
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
    serde_saphyr::from_slice_with_options(text, options).map_err(|error| {
        let error = error.to_string();
        let first = error.lines().next().unwrap_or_default();
        first.strip_prefix("error: ").unwrap_or(first).to_owned()
    })
}

/// The users of several files, in their order: the position of its file, its name, that of its context or else its own, and its parts. The
/// first counts that has a user or a context of a name, as with kubectl.
pub(super) fn merged<'a>(
    files: impl Iterator<Item = &'a Kubeconfig> + Clone,
) -> Vec<(usize, &'a str, &'a str, &'a User)> {
    let mut contexts = HashSet::new();
    let mut names = HashMap::new();
    for NamedContext { name, context } in files.clone().flat_map(|file| &file.contexts) {
        if contexts.insert(name.as_str()) {
            names.entry(context.user.as_str()).or_insert(name.as_str());
        }
    }
    let (mut seen, mut users) = (HashSet::new(), Vec::new());
    for (position, file) in files.enumerate() {
        for NamedUser { name, user } in &file.users {
            if seen.insert(name.as_str()) {
                users.push((position, name.as_str(), names.get(name.as_str()).copied().unwrap_or(name), user));
            }
        }
    }
    users
}
