//! The command line, as clap reads it. What each command does stands in `commands/`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cardcase::manage::KeyKind;
use cardcase::manage::Mode;
use clap::builder::{FalseyValueParser, NonEmptyStringValueParser, OsStringValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use clap_complete::Shell;

/// A browser's client-certificate store for everything that is not a browser.
///
/// Exit codes: 0 done; 1 failed; 2 usage; 3 the server asked and no identity fits, or ID or HOST names nothing stored;
/// 4 an answer was needed and nobody could be asked; 5 the server refused the identity, or refused because none was
/// sent; 6 wrong password; 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "cardcase", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The SQLite database [default: cardcase.db in the user's data directory]
    #[arg(long, global = true, value_name = "FILE", env = "CARDCASE_STORE", hide_env_values = true)]
    pub(crate) store: Option<PathBuf>,
    /// How decisions are keyed, 'firefox' (per host) or 'chrome' (per host and port) [default: as the store is set]
    #[arg(long, global = true, value_name = "MODE", env = "CARDCASE_MODE", value_parser = mode)]
    pub(crate) mode: Option<Mode>,
    /// Never ask; where an answer is needed, exit with 4
    #[arg(long, global = true, env = "CARDCASE_BATCH", value_parser = FalseyValueParser::new())]
    pub(crate) batch: bool,
    /// Ask this program, instead of a person at the terminal, which identity to send
    #[arg(long, global = true, value_name = "PROGRAM", env = "CARDCASE_CHOOSER", hide_env_values = true, value_parser = OsStringValueParser::new())]
    chooser: Option<OsString>,
    /// Read the primary password from this file; '-' is stdin
    #[arg(long, global = true, value_name = "FILE", env = "CARDCASE_PRIMARY_PASSWORD_FILE", hide_env_values = true)]
    pub(crate) primary_password_file: Option<PathBuf>,
    /// The directory of the administrator's rules, another than /etc/cardcase/policies/managed
    #[arg(long, global = true, value_name = "DIR", env = "CARDCASE_POLICIES", hide = true)]
    pub(crate) policies: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
}

impl Common {
    /// The program to ask; an empty name is none, so that a shell can take away what its environment says.
    pub(crate) fn chooser(&self) -> Option<&Path> {
        self.chooser.as_deref().filter(|name| !name.is_empty()).map(Path::new)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store the identities of PKCS#12, PEM and DER files, all of them or none
    Import(Import),
    /// List the identities
    List(List),
    /// Show one identity in full
    Show(Show),
    /// Write an identity to a PKCS#12 file, with its private key and its chain
    Export(Export),
    /// Make a private key in the store, and a request for its certificate
    Enroll(Enroll),
    /// Give an identity another name
    Rename(Rename),
    /// Remove identities, with the decisions on them
    Remove(Remove),
    /// List what is remembered
    Decisions,
    /// Remember an identity, or none, for a host (firefox mode) or a host and port (chrome mode)
    Remember(Remember),
    /// Forget what is remembered
    Forget(Forget),
    /// Let an identity take over what is remembered for the one that it renews
    Renew(Renew),
    /// List the rules that answer without asking; add, remove and import them
    Rules(Rules),
    /// Show or change how the store is set
    Config(Config),
    /// Let an identity go out in TLS 1.3 only, where nobody on the way can read it
    MinTls(MinTls),
    /// Show what a server asks for and which identities fit; sends no certificate
    Explain(Explain),
    /// Request a URL, with a client certificate where the server asks for one
    Fetch(Fetch),
    /// Let clients without TLS reach a server: plain on a socket here, TLS with a client certificate out
    Tunnel(Tunnel),
    /// Give an identity to a program that makes its TLS connections itself; its private key leaves the store
    Credential(Credential),
    /// Print a shell's completions
    Completions(Completions),
    /// Write manual pages
    Man(Man),
    /// Let CA certificates verify servers
    Trust(Trust),
    /// List the CA certificates
    Authorities,
    /// Show where which identity was used, and what became of it
    History(History),
    /// Set, change or (when it is empty) remove the primary password
    Password(Password),
    /// Type the primary password once: from then on an agent signs, for every process of yours
    Unlock(Unlock),
    /// End what 'unlock' began
    Lock,
    /// What 'unlock' starts
    #[command(hide = true)]
    Agent,
    /// Take settings, rules, trusted authorities and decisions for yours as they are, after something else changed them
    Accept,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// PKCS#12, PEM or DER, by content; a certificate and its key may come in two files; '-' is stdin
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Read the files' password from this file instead of asking; '-' is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// What to call the identity, where the files hold one only
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Let what is imported take over what is remembered for the identities that it renews
    #[arg(long)]
    pub(crate) renew: bool,
    /// Rounds that one key derivation may have, in a file that is trusted to need them [default: 10000000]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub(crate) max_iterations: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those remembered for, or used at, this destination
    #[arg(long = "for", value_name = "HOST[:PORT]")]
    pub(crate) destination: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Its name, or the first 4 or more digits of its SHA-256 fingerprint
    pub(crate) id: String,
    /// Print the certificate and its chain as PEM
    #[arg(long, conflicts_with = "json")]
    pub(crate) pem: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Its name, or the first 4 or more digits of its SHA-256 fingerprint
    pub(crate) id: String,
    /// The file to write; '-' is stdout
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Read the file's new password from this file instead of asking; '-' is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// 3DES and SHA-1 instead of AES-256 and SHA-256, for old Windows, macOS and Java
    #[arg(long)]
    pub(crate) legacy: bool,
    /// Overwrite the file if it is there
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Enroll {
    /// Whom the certificate is to name, as in 'CN=Alice Example,O=Example Ltd'
    #[arg(long, value_name = "DN")]
    pub(crate) subject: String,
    /// The kind of key
    #[arg(long, default_value = "ec-p256")]
    pub(crate) key: KeyToMake,
    /// The file to write the request to, for the CA; '-' is stdout
    #[arg(short, long, value_name = "FILE.csr")]
    pub(crate) output: PathBuf,
    /// Overwrite the file if it is there
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyToMake {
    EcP256,
    EcP384,
    #[value(name = "rsa-2048")]
    Rsa2048,
    #[value(name = "rsa-4096")]
    Rsa4096,
    Ed25519,
}

impl From<KeyToMake> for KeyKind {
    fn from(key: KeyToMake) -> Self {
        match key {
            KeyToMake::EcP256 => Self::EcP256,
            KeyToMake::EcP384 => Self::EcP384,
            KeyToMake::Rsa2048 => Self::Rsa(2048),
            KeyToMake::Rsa4096 => Self::Rsa(4096),
            KeyToMake::Ed25519 => Self::Ed25519,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Rename {
    /// Its name, or the first 4 or more digits of its SHA-256 fingerprint
    pub(crate) id: String,
    /// What to call it from now on
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Names, or the first 4 or more digits of SHA-256 fingerprints
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// Do not ask whether it is meant
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Remember {
    /// The port counts in chrome mode only; 443 when it is left out
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) destination: String,
    /// An identity's name, the first 4 or more digits of its SHA-256 fingerprint, or 'none' to send no certificate
    #[arg(value_name = "ID|none")]
    pub(crate) id: String,
    /// Until logout, or until it is forgotten
    #[arg(long = "for", value_name = "LIFETIME", default_value = "permanent")]
    pub(crate) lifetime: StoredLifetime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoredLifetime {
    Session,
    Permanent,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Forget {
    /// The port counts in chrome mode only; 443 when it is left out
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) destination: Option<String>,
    /// Forget everything, in both modes
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Renew {
    /// The identity that something is remembered for: its name, or the first 4 or more digits of its SHA-256 fingerprint
    pub(crate) old: String,
    /// The identity with the same subject, issuer and usages and a later validity
    pub(crate) new: String,
}

#[derive(Debug, Args)]
pub(crate) struct Rules {
    #[command(subcommand)]
    pub(crate) command: Option<RulesCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// List the rules, those of the system's files among them
    List,
    /// Add a rule
    Add(AddRule),
    /// Remove rules by their numbers
    Remove(RemoveRule),
    /// Add the rules of a file as Chrome has it: AutoSelectCertificateForUrls in a managed policy, or the list alone
    Import(ImportRules),
}

#[derive(Debug, Args)]
pub(crate) struct AddRule {
    /// Where it holds, such as 'https://[*.]example.com', 'https://www.example.com:8443/admin' or '*'; or a whole entry
    /// of AutoSelectCertificateForUrls, '{"pattern": ..., "filter": ...}'
    pub(crate) pattern: String,
    /// Which identities it is about, as in Chrome: '{"ISSUER": {"CN": ...}, "SUBJECT": {"O": ...}}' [default: '{}', all]
    #[arg(conflicts_with_all = ["issuer", "subject"])]
    pub(crate) filter: Option<String>,
    /// What the direct issuer of an identity has to be: CN=..., L=..., O=... or OU=...
    #[arg(long, value_name = "TYPE=VALUE")]
    pub(crate) issuer: Vec<String>,
    /// What the subject of an identity has to be: CN=..., L=..., O=... or OU=...
    #[arg(long, value_name = "TYPE=VALUE")]
    pub(crate) subject: Vec<String>,
    /// Never send these identities there, whatever is remembered
    #[arg(long)]
    pub(crate) deny: bool,
    /// Send these identities there in TLS 1.3 only; they are still asked about
    #[arg(long, conflicts_with = "deny")]
    pub(crate) tls13: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveRule {
    /// As 'cardcase rules' shows them
    #[arg(required = true, value_name = "N")]
    pub(crate) numbers: Vec<i64>,
}

#[derive(Debug, Args)]
pub(crate) struct ImportRules {
    /// A JSON file; '-' is stdin
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Config {
    /// The setting [default: shows all]
    pub(crate) key: Option<Setting>,
    /// What to set it to: 'firefox' or 'chrome', 'on' or 'off' [default: shows what it is set to]
    #[arg(requires = "key")]
    pub(crate) value: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Setting {
    /// How decisions are keyed: firefox (per host) or chrome (per host and port)
    Mode,
    /// Send the best identity that fits without asking, as Firefox's 'Select Automatically'
    SelectAutomatically,
    /// Do not ask when only one identity fits, as Internet Explorer
    UseSingleCandidate,
    /// Ask when a rule matches several identities, as Chrome's PromptOnMultipleMatchingCertificates
    PromptOnMultiple,
}

#[derive(Debug, Args)]
pub(crate) struct MinTls {
    /// Its name, or the first 4 or more digits of its SHA-256 fingerprint
    pub(crate) id: String,
    /// The lowest version of TLS in which it is sent
    pub(crate) version: MinVersion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MinVersion {
    #[value(name = "1.2")]
    Tls12,
    #[value(name = "1.3")]
    Tls13,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The server, by the name its certificate is verified for; the path matters to rules alone
    #[arg(value_name = "HOST[:PORT][/PATH]")]
    pub(crate) destination: String,
    /// Connect to this address instead
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) connect: Option<String>,
    /// Verify the server by the CA certificates in this PEM file instead of the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Fetch {
    /// An https or http URL
    pub(crate) url: String,
    /// Write the body to this file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The method [default: GET, with -d POST]
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    pub(crate) method: Option<String>,
    /// A header, 'Name: value'; 'Name:' leaves out what would be sent
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub(crate) headers: Vec<String>,
    /// The body; '@FILE' reads a file, '@-' stdin
    #[arg(short, long, value_name = "DATA")]
    pub(crate) data: Option<String>,
    /// Print the status and the headers before the body
    #[arg(short, long)]
    pub(crate) include: bool,
    /// Follow redirects, selecting anew for each
    #[arg(short = 'L', long)]
    pub(crate) location: bool,
    #[command(flatten)]
    pub(crate) route: Route,
    /// Use this identity, this once, whatever is remembered
    #[arg(long = "as", value_name = "ID")]
    pub(crate) identity: Option<String>,
    /// 'omit' sends no certificate, whatever is remembered
    #[arg(long, value_name = "MODE", default_value = "include", conflicts_with = "identity")]
    pub(crate) credentials: Credentials,
    /// The TLS library [default: rustls, and openssl where only that can do what the server wants]
    #[arg(long, value_name = "LIBRARY")]
    pub(crate) tls: Option<TlsLibrary>,
}

/// The way to servers, and what verifies them.
#[derive(Debug, Args)]
pub(crate) struct Route {
    /// Verify the server by the CA certificates in this PEM file instead of the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// Connect to HOST2:PORT2 where HOST1:PORT1 is meant; an empty part stands for any, or the same
    #[arg(long, value_name = "HOST1:PORT1:HOST2:PORT2")]
    pub(crate) connect_to: Vec<String>,
    /// Go through this proxy, [http://|https://]HOST[:PORT]
    #[arg(short = 'x', long, value_name = "PROXY")]
    pub(crate) proxy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Credentials {
    Include,
    Omit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TlsLibrary {
    Rustls,
    Openssl,
}

#[derive(Debug, Args)]
pub(crate) struct Tunnel {
    /// The server, by the name its certificate is verified for; the port is 443 when it is left out
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) destination: String,
    /// A Unix socket that only you can use, or a port of loopback, which everyone on this machine can: unix:PATH,
    /// 127.0.0.1:PORT or [::1]:PORT [default: a socket in the runtime directory]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    #[command(flatten)]
    pub(crate) route: Route,
    /// A protocol to offer by ALPN, such as h2; may be given several times
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) alpn: Vec<String>,
    /// Use this identity, whatever is remembered
    #[arg(long = "as", value_name = "ID")]
    pub(crate) identity: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Credential {
    /// Who takes it: kubectl, as its exec plugin; git or curl, as options that name a file in the runtime directory
    #[arg(required_unless_present = "forget")]
    pub(crate) program: Option<CredentialProgram>,
    /// The server; kubectl tells it, where it is set up with provideClusterInfo
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) destination: Option<String>,
    /// Verify the server by the CA certificates in this PEM file instead of the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// Connect to this address instead, to see what the server asks for
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) connect: Option<String>,
    /// Give this identity, whatever is remembered
    #[arg(long = "as", value_name = "ID")]
    pub(crate) identity: Option<String>,
    /// Remove all files with private keys that were made for git and curl
    #[arg(long, conflicts_with = "program")]
    pub(crate) forget: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CredentialProgram {
    Kubectl,
    Git,
    Curl,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Which shell's
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Where to write them: cardcase.1, and one for each command
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Trust {
    /// A PEM or DER file with CA certificates, or the fingerprint of an authority in the store
    #[arg(value_name = "FILE|ID")]
    pub(crate) what: String,
    /// Let an authority in the store verify no servers any more
    #[arg(long)]
    pub(crate) remove: bool,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    /// Only what concerns this host
    pub(crate) host: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Password {
    /// Read the new primary password from this file instead of asking; '-' is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) new_password_file: Option<PathBuf>,
    /// Let the desktop's keyring keep the primary password as it is
    #[cfg(feature = "keyring")]
    #[arg(long, conflicts_with_all = ["new_password_file", "no_keyring"])]
    pub(crate) keyring: bool,
    /// Take the primary password out of the desktop's keyring
    #[cfg(feature = "keyring")]
    #[arg(long, conflicts_with = "new_password_file")]
    pub(crate) no_keyring: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Unlock {
    /// For how long, such as 30m, 8h or 1d; never beyond logout
    #[arg(long = "for", value_name = "TIME", default_value = "8h", value_parser = lifetime)]
    pub(crate) lifetime: Duration,
    /// Only print whether it is unlocked, and until when
    #[arg(long, conflicts_with = "lifetime")]
    pub(crate) status: bool,
}

/// The longest time to be unlocked for: nobody means more than that.
const MAX_LIFETIME: Duration = Duration::from_secs(366 * 86_400);

fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_secs(1)..=MAX_LIFETIME).contains(&lifetime) {
        Ok(lifetime)
    } else {
        Err("it is between a second and a year".to_owned())
    }
}

fn mode(text: &str) -> Result<Mode, String> {
    text.parse().map_err(|error: cardcase::Error| error.to_string())
}
