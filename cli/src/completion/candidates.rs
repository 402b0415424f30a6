//! What completes each argument, by the name of its value in the help.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::sync::Arc;

use cardcase::manage::{Mode, plain};
use cardcase::{Destination, Store};
use clap::{Arg, Command};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};

use super::line::value_of;

/// Values that nobody can complete: only their user knows them.
#[cfg(test)]
pub(super) const FREE_TEXT: [&str; 18] = [
    "NAME",
    "PROFILE",
    "DN",
    "FILTER",
    "TYPE=VALUE",
    "PATTERN",
    "HEADER",
    "SECONDS",
    "BYTES",
    "TIME",
    "DURATION",
    "ADDRESS",
    "ADDR:PORT",
    "HOST1:PORT1:HOST2:PORT2",
    "PROXY",
    "USER",
    "ROUNDS",
    "DATA",
];

/// Begins the tag of a candidate that stands for what the shell itself completes.
const DIRECTIVE: &str = "shell:";

/// Hosts of the history that are offered. It may have thousands of entries.
const MAX_USES: usize = 500;

/// The first digits of a fingerprint that are offered.
const DIGITS: usize = 16;

/// What candidates come from.
#[derive(Clone)]
pub(super) struct Source(Arc<Known>);

struct Known {
    store: Option<Store>,
    /// The words before the one that is completed.
    words: Vec<String>,
}

/// The function that completes a kind of value from what was typed of it.
type Complete = fn(&Known, &str) -> Vec<CompletionCandidate>;

impl Source {
    pub(super) fn new(store: Option<Store>, words: &[String]) -> Self {
        Self(Arc::new(Known { store, words: words.to_vec() }))
    }
}

/// Adds completions to every argument of a command whose kind of value has some.
pub(super) fn attach(command: Command, source: &Source) -> Command {
    let name = command.get_name().to_owned();
    let command = command.mut_args(|arg| match complete(&name, &arg) {
        Some(complete) => {
            let source = source.clone();
            arg.add(ArgValueCompleter::new(move |typed: &OsStr| {
                let typed = typed.to_string_lossy();
                complete(&source.0, &typed)
            }))
        }
        None => arg,
    });
    command.mut_subcommands(|sub| attach(sub, source))
}

/// The name of an argument's value, as the help shows it.
pub(super) fn value_name(arg: &Arg) -> String {
    match arg.get_value_names() {
        Some([name, ..]) => name.to_string(),
        _ => arg.get_id().as_str().to_uppercase(),
    }
}

fn complete(command: &str, arg: &Arg) -> Option<Complete> {
    if !arg.get_action().takes_values() || !arg.get_possible_values().is_empty() {
        return None;
    }
    Some(match (command, value_name(arg).as_str()) {
        ("trust", "FILE|ID") => certificates,
        ("import", "FILE" | "FILE|DIR") if arg.is_positional() => {
            |_, _| files("p12 pfx pem crt cer der key p7b p8 jks conf")
        }
        ("rules" | "import", "FILE") if arg.is_positional() => |_, _| files("json"),
        (_, "FILE") if arg.get_id() == "cacert" => |_, _| files("pem crt cer der"),
        (_, "FILE") if arg.get_id() == "store" => |_, _| files("db"),
        (_, "FILE.csr") => |_, _| files("csr"),
        (_, "FILE") => |_, _| files(""),
        (_, "DIR") => |_, _| vec![for_shell("directories")],
        (_, "PROGRAM") => |_, _| vec![for_shell("programs")],
        (_, "ID" | "OLD" | "NEW") => identities,
        (_, "ID|none") => |known, typed| {
            let none = CompletionCandidate::new("none");
            identities(known, typed).into_iter().chain([none]).collect()
        },
        ("forget", "HOST[:PORT]") => decided_hosts,
        (_, "HOST" | "HOST[:PORT]" | "HOST[:PORT][/PATH]") => hosts,
        (_, "URL") => urls,
        (_, "N") => rules,
        (_, "MODE") => |_, _| words(&["firefox", "chrome"]),
        (_, "VALUE") => setting,
        (_, "METHOD") => |_, _| words(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
        (_, "PROTOCOL") => |_, _| words(&["h2", "http/1.1"]),
        _ => return None,
    })
}

/// The kind and the extensions of a tag that stands for what the shell itself completes.
pub(super) fn directive(tag: &str) -> Option<(&str, &str)> {
    let directive = tag.strip_prefix(DIRECTIVE)?;
    Some(directive.split_once(' ').unwrap_or((directive, "")))
}

fn for_shell(directive: &str) -> CompletionCandidate {
    CompletionCandidate::new("").tag(Some(format!("{DIRECTIVE}{directive}").into()))
}

/// Files with one of these extensions; any file if there are none.
fn files(extensions: &str) -> Vec<CompletionCandidate> {
    vec![for_shell(format!("files {extensions}").trim_end())]
}

fn words(words: &[&'static str]) -> Vec<CompletionCandidate> {
    words.iter().copied().map(CompletionCandidate::new).collect()
}

fn candidate(value: impl Into<std::ffi::OsString>, help: &str) -> CompletionCandidate {
    CompletionCandidate::new(value).help(Some(plain(help).into()))
}

/// Names of identities; or fingerprints, if their first digits were typed.
fn identities(known: &Known, typed: &str) -> Vec<CompletionCandidate> {
    let Some(identities) = known.store.as_ref().and_then(|store| store.identities().ok()) else { return Vec::new() };
    // Not what the command takes for a flag
    let by_name = identities.iter().filter(|identity| !identity.name().starts_with('-'));
    let by_name = by_name.map(|identity| candidate(identity.name(), &identity.certificate().subject().to_string()));
    let mut all: Vec<_> = by_name.collect();
    for identity in identities.iter().filter(|identity| typed.is_empty() && identity.name().starts_with('-')) {
        all.push(candidate(digits(&identity.fingerprint().to_string()), identity.name()));
    }
    all.extend(fingerprints(typed, identities.iter().map(|found| (found.fingerprint().to_string(), found.name()))));
    all
}

/// The fingerprints that begin as typed.
fn fingerprints<'a>(typed: &str, all: impl Iterator<Item = (String, &'a str)>) -> Vec<CompletionCandidate> {
    if typed.is_empty() || !typed.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Vec::new();
    }
    let lower = typed.to_lowercase();
    let fitting = all.filter(|(fingerprint, _)| fingerprint.starts_with(&lower));
    fitting
        .map(|(fingerprint, name)| {
            // All of it if more was typed; what was typed stays as it is
            let shown = if typed.len() < DIGITS { digits(&fingerprint) } else { fingerprint };
            candidate(format!("{typed}{}", shown.get(typed.len()..).unwrap_or_default()), name)
        })
        .collect()
}

fn digits(fingerprint: &str) -> String {
    fingerprint.chars().take(DIGITS).collect()
}

/// Files with certificates, or fingerprints of those in the store.
fn certificates(known: &Known, typed: &str) -> Vec<CompletionCandidate> {
    let removes = known.words.iter().any(|word| word == "--remove");
    let authorities = known.store.as_ref().and_then(|store| store.authorities().ok()).unwrap_or_default();
    let named: Vec<_> = authorities
        .iter()
        .filter(|authority| authority.trusted == removes)
        .map(|authority| (authority.certificate.fingerprint().to_string(), authority.certificate.subject().to_string()))
        .collect();
    if removes {
        return named.iter().map(|(fingerprint, subject)| candidate(digits(fingerprint), subject)).collect();
    }
    let mut all =
        fingerprints(typed, named.iter().map(|(fingerprint, subject)| (fingerprint.clone(), subject.as_str())));
    all.extend(files("pem crt cer der p12 pfx p7b"));
    all
}

/// Hosts with a decision in the mode that the command would use.
fn decided_hosts(known: &Known, _: &str) -> Vec<CompletionCandidate> {
    let Some(store) = &known.store else { return Vec::new() };
    let given = value_of(&known.words, "--mode").or_else(|| std::env::var("CARDCASE_MODE").ok());
    let mode = given.and_then(|mode| mode.parse().ok()).or_else(|| store.settings().ok().map(|settings| settings.mode));
    let decisions = store.decisions().unwrap_or_default();
    let scopes = decisions.into_iter().map(|decision| decision.scope);
    let scopes = scopes.filter(|scope| scope.port.is_some() == (mode == Some(Mode::Chrome)));
    scopes.map(|scope| CompletionCandidate::new(scope.to_string())).collect()
}

fn hosts(known: &Known, _: &str) -> Vec<CompletionCandidate> {
    known_hosts(known).into_iter().map(CompletionCandidate::new).collect()
}

/// Hosts that are remembered or were connected to; with the port, unless it is that of https.
fn known_hosts(known: &Known) -> BTreeSet<String> {
    let Some(store) = &known.store else { return BTreeSet::new() };
    let uses = store.each_use(None).take(MAX_USES).filter_map(Result::ok).filter_map(|used| used.destination);
    let uses = uses.map(|(host, port)| (host, Some(port)));
    let decisions = store.decisions().unwrap_or_default().into_iter().map(|found| (found.scope.host, found.scope.port));
    let shown = |(host, port): (String, Option<u16>)| {
        let destination = Destination::new(&host, port.unwrap_or(443)).ok()?.to_string();
        Some(destination.strip_suffix(":443").map_or(destination.clone(), str::to_owned))
    };
    uses.chain(decisions).filter_map(shown).collect()
}

fn urls(known: &Known, typed: &str) -> Vec<CompletionCandidate> {
    let url = |host: String| match typed.starts_with("http") {
        true => format!("https://{host}/"),
        false => host,
    };
    known_hosts(known).into_iter().map(|host| CompletionCandidate::new(url(host))).collect()
}

fn rules(known: &Known, _: &str) -> Vec<CompletionCandidate> {
    let rules = known.store.as_ref().and_then(|store| store.rules().ok()).unwrap_or_default();
    let numbered = rules.iter().filter_map(|rule| Some((rule.number()?.to_string(), rule)));
    numbered.map(|(number, rule)| candidate(number, &rule.to_string())).collect()
}

/// The values of the setting before it.
fn setting(known: &Known, _: &str) -> Vec<CompletionCandidate> {
    match known.words.last().map(String::as_str) {
        Some("mode") => words(&["firefox", "chrome"]),
        _ => words(&["on", "off"]),
    }
}
