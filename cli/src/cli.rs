//! The command line, as clap parses it. `commands/` has what each command does.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cardcase::manage::KeyKind;
use cardcase::manage::Mode;
use clap::builder::{FalseyValueParser, NonEmptyStringValueParser, OsStringValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};

/// A browser's client-certificate store for everything that is not a browser
#[derive(Debug, Parser)]
#[command(name = "cardcase", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Without a command: what is in the store, and what to type next
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Flags that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Common {
    /// The SQLite database [default: cardcase.db in the user's data directory]
    #[arg(long, global = true, value_name = "FILE", env = "CARDCASE_STORE", hide_env_values = true)]
    pub(crate) store: Option<PathBuf>,
    /// How decisions are keyed: 'firefox' (per host) or 'chrome' (per host and port) [default: the store's setting]
    #[arg(long, global = true, value_name = "MODE", env = "CARDCASE_MODE", value_parser = mode)]
    pub(crate) mode: Option<Mode>,
    /// Never ask; exit with code 4 where an answer is needed
    #[arg(long, global = true, env = "CARDCASE_BATCH", value_parser = FalseyValueParser::new())]
    pub(crate) batch: bool,
    /// Ask this program which identity to send, instead of asking at the terminal
    #[arg(long, global = true, value_name = "PROGRAM", env = "CARDCASE_CHOOSER", hide_env_values = true, value_parser = OsStringValueParser::new())]
    chooser: Option<OsString>,
    /// Ask at the terminal line by line, with numbers instead of a menu: for screen readers
    #[arg(long, global = true, env = "CARDCASE_PLAIN", value_parser = FalseyValueParser::new())]
    pub(crate) plain: bool,
    /// Read the primary password from this file; '-' is stdin
    #[arg(long, global = true, value_name = "FILE", env = "CARDCASE_PRIMARY_PASSWORD_FILE", hide_env_values = true)]
    pub(crate) primary_password_file: Option<PathBuf>,
    /// Read the administrator's rules from this directory [default: /etc/cardcase/policies/managed]
    #[arg(long, global = true, value_name = "DIR", env = "CARDCASE_POLICIES", hide = true)]
    pub(crate) policies: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print nothing but errors on stderr
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say on stderr what the command does: the store; where it connects also TLS, what answered, and HTTP
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
}

impl Common {
    /// The program to ask. An empty name means none, so that a shell can override its environment.
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
    /// Store the identities in PKCS#12, PEM and DER files
    Import(Import),
    /// List the identities
    #[command(visible_alias = "ls")]
    List(List),
    /// Show one identity in full
    Show(Show),
    /// Write identities to a PKCS#12 file, with keys and chains
    Export(Export),
    /// Write everything in the store to one encrypted file
    Backup(Backup),
    /// Bring back what is in a backup
    Restore(Restore),
    /// Make a private key here, and a certificate request for a CA
    Enroll(Enroll),
    /// Give an identity another name
    Rename(Rename),
    /// Remove identities and the decisions that name them
    #[command(visible_alias = "rm")]
    Remove(Remove),
    /// List the identities that expire soon; exit code 1 if any do
    Expires(Expires),
    /// List the remembered decisions
    Decisions,
    /// Remember which identity to send to a host, or to send none
    Remember(Remember),
    /// Forget remembered decisions
    Forget(Forget),
    /// Let a new identity take over the decisions of an old one
    Renew(Renew),
    /// List, add, remove and import rules that answer for you
    Rules(Rules),
    /// Show or change the settings of the store
    Config(Config),
    /// Send an identity in TLS 1.3 only, where nobody can read it
    MinTls(MinTls),
    /// Show what a server asks for, and which identities fit
    Explain(Explain),
    /// Request a URL, with a client certificate where asked for one
    Fetch(Fetch),
    /// Forward a local socket over TLS with a client certificate
    Tunnel(Tunnel),
    /// Give an identity and its key to kubectl, git or curl
    Credential(Credential),
    /// Let programs use identities through the PKCS#11 module
    Pkcs11(Pkcs11),
    /// Print completions for a shell
    Completions(Completions),
    /// Write manual pages
    Man(Man),
    /// Trust a CA, or a server's own certificate, to verify servers
    Trust(Trust),
    /// List the CA certificates in the store
    Authorities,
    /// Show which identity was sent where, and what came of it
    History(History),
    /// Set, change or remove the primary password
    Password(Password),
    /// Type the primary password once, for the next hours
    Unlock(Unlock),
    /// Stop what 'unlock' started
    Lock,
    /// Run the agent; 'unlock' starts it
    #[command(hide = true)]
    Agent,
    /// Accept what another program changed in the store
    Accept,
    /// Print the path of the store
    Where,
    /// Find out what is wrong with the store, and with what it needs
    Doctor,
}

/// What a command does where there is no store yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WithoutStore {
    /// It makes one: it has something to put into it.
    Create,
    /// It makes one, but not at a path that was typed for this run, which is more likely mistyped.
    CreateUnlessTyped,
    /// It makes none: it only reads, or changes what is there.
    Leave,
    /// It makes none, and says what it would do with a new one.
    Pretend,
}

impl Command {
    pub(crate) fn without_store(&self) -> WithoutStore {
        match self {
            Self::Import(Import { dry_run: true, .. })
            | Self::Restore(Restore { dry_run: true, .. })
            | Self::Rules(Rules { command: Some(RulesCommand::Import(ImportRules { dry_run: true, .. })) }) => {
                WithoutStore::Pretend
            }
            Self::Import(_) | Self::Enroll(_) | Self::Remember(_) | Self::Password(_) | Self::Restore(_) => {
                WithoutStore::Create
            }
            Self::Config(Config { value: Some(_), .. }) | Self::Trust(Trust { remove: false, .. }) => {
                WithoutStore::Create
            }
            Self::Rules(Rules { command: Some(RulesCommand::Add(_) | RulesCommand::Import(_)) }) => {
                WithoutStore::Create
            }
            // They write the history
            Self::Fetch(_) | Self::Tunnel(_) | Self::Credential(_) => WithoutStore::CreateUnlessTyped,
            _ => WithoutStore::Leave,
        }
    }
}

/// The flags of `import` in place of files.
const BROWSERS: [&str; 5] = ["from_firefox", "from_thunderbird", "from_chromium", "from_nss", "from_kubeconfig"];

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// PKCS#12, PEM or DER, detected by content; a certificate and its key may be in two files; '-' is stdin. For a directory:
    /// the files directly in it
    #[arg(required_unless_present_any = BROWSERS, conflicts_with_all = BROWSERS, value_name = "FILE|DIR")]
    pub(crate) files: Vec<PathBuf>,
    /// Import from Firefox: from the profile in use, or from that of this name or directory
    #[arg(long, value_name = "PROFILE", num_args = 0..=1, default_missing_value = "", group = "browser")]
    pub(crate) from_firefox: Option<String>,
    /// Import from Thunderbird: from the profile in use, or from that of this name or directory
    #[arg(long, value_name = "PROFILE", num_args = 0..=1, default_missing_value = "", group = "browser")]
    pub(crate) from_thunderbird: Option<String>,
    /// Import from Chromium, Chrome, Brave, Edge or Vivaldi
    #[arg(long, group = "browser")]
    pub(crate) from_chromium: bool,
    /// Import from the database of a program that uses NSS: the directory with cert9.db and key4.db
    #[arg(long, value_name = "DIR", group = "browser")]
    pub(crate) from_nss: Option<PathBuf>,
    /// Import the users of a kubeconfig under the names of their contexts [default: the file that kubectl uses]
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["browser", "password_file"])]
    pub(crate) from_kubeconfig: Option<String>,
    /// Do not import what the browser remembers for hosts
    #[arg(long, requires = "browser")]
    pub(crate) no_decisions: bool,
    /// Read the password of the files from this file instead of asking; '-' is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Read the password of the private keys from this file, if it is not that of the certificate file; '-' is stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = BROWSERS)]
    pub(crate) key_password_file: Option<PathBuf>,
    /// The name for the identity, where the files hold only one
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Move the decisions for older identities to the imported identities that renew them
    #[arg(long)]
    pub(crate) renew: bool,
    /// Say what would be imported, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The most rounds that one key derivation may have, for a file that you trust [default: 10000000]
    #[arg(long, value_name = "ROUNDS", value_parser = value_parser!(u64).range(1..))]
    pub(crate) max_iterations: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only the identities that are remembered for this destination or were used there
    #[arg(long = "for", value_name = "HOST[:PORT]")]
    pub(crate) destination: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Expires {
    /// How soon, such as 12h, 30d or 8w; those that have expired already count too
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = humantime::parse_duration)]
    pub(crate) within: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The identity's name, or the first 4 or more digits of its SHA-256 fingerprint
    pub(crate) id: String,
    /// Print the certificate and its chain as PEM
    #[arg(long, conflicts_with = "json")]
    pub(crate) pem: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The identity's name, or the first 4 or more digits of its SHA-256 fingerprint
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) id: Option<String>,
    /// Write all identities to one file
    #[arg(long)]
    pub(crate) all: bool,
    /// The file to write; '-' is stdout
    #[arg(short, long, value_name = "FILE", required_unless_present_any = ["to_firefox", "to_nss"])]
    pub(crate) output: Option<PathBuf>,
    /// Add it to Firefox, with NSS's pk12util: to the profile in use, or to that of this name or directory
    #[arg(long, value_name = "PROFILE", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["output", "legacy", "force"])]
    pub(crate) to_firefox: Option<String>,
    /// Add it to the database of a program that uses NSS, with NSS's pk12util
    #[arg(long, value_name = "DIR", conflicts_with_all = ["output", "legacy", "force", "to_firefox"])]
    pub(crate) to_nss: Option<PathBuf>,
    /// Read the password of the new file, or that of the database, from this file instead of asking; '-' is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Use 3DES and SHA-1 instead of AES-256 and SHA-256, for old versions of Windows, macOS and Java
    #[arg(long)]
    pub(crate) legacy: bool,
    /// Overwrite an existing file
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The file to write; '-' is stdout
    pub(crate) file: PathBuf,
    /// Read the backup's password from this file instead of asking; '-' is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Include the history
    #[arg(long)]
    pub(crate) with_history: bool,
    /// Overwrite an existing file
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The file that 'backup' wrote; '-' is stdin
    pub(crate) file: PathBuf,
    /// Read the backup's password from this file instead of asking; '-' is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Say what would be restored, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask before certificates are trusted, and rules, decisions or settings are added
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Enroll {
    /// The subject of the certificate, such as 'CN=Alice Example,O=Example Ltd'
    #[arg(long, value_name = "DN")]
    pub(crate) subject: String,
    /// The kind of key
    #[arg(long, default_value = "ec-p256")]
    pub(crate) key: KeyToMake,
    /// The file for the certificate request; '-' is stdout
    #[arg(short, long, value_name = "FILE.csr")]
    pub(crate) output: PathBuf,
    /// Overwrite an existing file
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
    /// The identity's name, or the first 4 or more digits of its SHA-256 fingerprint
    pub(crate) id: String,
    /// The new name
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Names of identities, or the first 4 or more digits of their SHA-256 fingerprints
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// Do not ask for confirmation
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Remember {
    /// The port matters only in chrome mode; its default is 443
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) destination: String,
    /// An identity's name, the first 4 or more digits of its SHA-256 fingerprint, or 'none' to send no certificate
    #[arg(value_name = "ID|none")]
    pub(crate) id: String,
    /// How long to remember it: until logout, or until it is forgotten
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
    /// The port matters only in chrome mode; its default is 443
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) destination: Option<String>,
    /// Forget all decisions, in both modes
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Renew {
    /// The identity with the decisions: its name, or the first 4 or more digits of its SHA-256 fingerprint
    pub(crate) old: String,
    /// The identity with the same subject, issuer and usages that expires later
    pub(crate) new: String,
    /// Move them even if no server accepts the new identity now, because it is not valid yet, for example
    #[arg(long)]
    pub(crate) force: bool,
    /// Say what would move, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Rules {
    #[command(subcommand)]
    pub(crate) command: Option<RulesCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// List the rules of the store and of the system's files
    List,
    /// Add a rule
    Add(AddRule),
    /// Remove rules by their numbers
    Remove(RemoveRule),
    /// Add the rules in a Chrome policy file: AutoSelectCertificateForUrls in a managed policy, or the list alone
    Import(ImportRules),
}

#[derive(Debug, Args)]
pub(crate) struct AddRule {
    /// The URLs it applies to, such as 'https://[*.]example.com', 'https://www.example.com:8443/admin' or '*'; or a
    /// whole entry of AutoSelectCertificateForUrls, '{"pattern": ..., "filter": ...}'
    pub(crate) pattern: String,
    /// The identities it applies to, as in Chrome: '{"ISSUER": {"CN": ...}, "SUBJECT": {"O": ...}}' [default: '{}', all]
    #[arg(conflicts_with_all = ["issuer", "subject"])]
    pub(crate) filter: Option<String>,
    /// Match the direct issuer of an identity: CN=..., L=..., O=... or OU=...
    #[arg(long, value_name = "TYPE=VALUE")]
    pub(crate) issuer: Vec<String>,
    /// Match the subject of an identity: CN=..., L=..., O=... or OU=...
    #[arg(long, value_name = "TYPE=VALUE")]
    pub(crate) subject: Vec<String>,
    /// Never send these identities there, whatever is remembered
    #[arg(long)]
    pub(crate) deny: bool,
    /// Send these identities there in TLS 1.3 only; the rule does not answer for you
    #[arg(long, conflicts_with = "deny")]
    pub(crate) tls13: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveRule {
    /// Numbers, as 'cardcase rules' shows them
    #[arg(required = true, value_name = "N", allow_negative_numbers = true, value_parser = number)]
    pub(crate) numbers: Vec<i64>,
}

#[derive(Debug, Args)]
pub(crate) struct ImportRules {
    /// A JSON file; '-' is stdin
    pub(crate) file: PathBuf,
    /// Say what would be added, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Config {
    /// The setting [default: show all]
    pub(crate) key: Option<Setting>,
    /// The new value: 'firefox' or 'chrome', 'on' or 'off' [default: show the value]
    #[arg(requires = "key")]
    pub(crate) value: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Setting {
    /// How decisions are keyed: firefox (per host) or chrome (per host and port)
    Mode,
    /// Send the best identity that fits without asking, as Firefox does with 'Select Automatically'
    SelectAutomatically,
    /// Do not ask when only one identity fits, as Internet Explorer did
    UseSingleCandidate,
    /// Ask when a rule matches several identities, as Chrome does with PromptOnMultipleMatchingCertificates
    PromptOnMultiple,
}

#[derive(Debug, Args)]
pub(crate) struct MinTls {
    /// The identity's name, or the first 4 or more digits of its SHA-256 fingerprint
    pub(crate) id: String,
    /// The lowest TLS version in which to send it
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
    /// The server, by the name in its certificate; only rules and '--request' look at the path
    #[arg(value_name = "HOST[:PORT][/PATH]")]
    pub(crate) destination: String,
    /// Connect to this address instead
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) connect: Option<String>,
    /// Verify the server with the CA certificates in this PEM file instead of the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// Send a request for the path, without a certificate, to see what the server asks for once it has read one
    #[arg(long)]
    pub(crate) request: bool,
    /// The method of that request [default: GET]
    #[arg(short = 'X', value_name = "METHOD", requires = "request")]
    pub(crate) method: Option<String>,
    /// The TLS library [default: rustls, or openssl where the server needs it]
    #[arg(long, value_name = "LIBRARY")]
    pub(crate) tls: Option<TlsLibrary>,
}

#[derive(Debug, Args)]
pub(crate) struct Fetch {
    /// An https or http URL; without a scheme it is https
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) url: String,
    /// Write the body to this file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The method [default: GET, HEAD with -I, or POST with -d]
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    pub(crate) method: Option<String>,
    /// A header, 'Name: value'; 'Name:' removes a default header
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub(crate) headers: Vec<String>,
    /// The body; '@FILE' reads it from a file, '@-' from stdin
    #[arg(short, long, value_name = "DATA")]
    pub(crate) data: Option<String>,
    /// Print the status and the headers before the body
    #[arg(short, long)]
    pub(crate) include: bool,
    /// Send HEAD, and print the status and the headers
    #[arg(short = 'I', long, conflicts_with = "data")]
    pub(crate) head: bool,
    /// Fail with exit code 1, and without the body, if the status is 400 or more
    #[arg(short, long)]
    pub(crate) fail: bool,
    /// Print nothing on stderr, not even errors
    #[arg(short, long)]
    pub(crate) silent: bool,
    /// Print errors, even with -s
    #[arg(short = 'S', long)]
    pub(crate) show_error: bool,
    /// Log in with this name by HTTP Basic authentication, and ask for the password
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Read the password of --user from this file instead of asking; '-' is stdin
    #[arg(long, value_name = "FILE", requires = "user")]
    pub(crate) password_file: Option<PathBuf>,
    /// Ask for a compressed response (gzip, deflate or br), and decompress it
    #[arg(long)]
    pub(crate) compressed: bool,
    /// Follow redirects, and select an identity anew for each
    #[arg(short = 'L', long)]
    pub(crate) location: bool,
    #[command(flatten)]
    pub(crate) route: Route,
    /// Use this identity for this request, whatever is remembered
    #[arg(long = "as", value_name = "ID")]
    pub(crate) identity: Option<String>,
    /// Whether to send certificates; 'omit' sends none, whatever is remembered
    #[arg(long, value_name = "MODE", default_value = "include", conflicts_with = "identity")]
    pub(crate) credentials: Credentials,
    /// The TLS library [default: rustls, or openssl where the server needs it]
    #[arg(long, value_name = "LIBRARY")]
    pub(crate) tls: Option<TlsLibrary>,
    /// Fail if the command takes longer than this many seconds; 0 means no limit
    #[arg(short = 'm', long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) max_time: Option<Duration>,
    /// Seconds that a server may take to accept the connection, and again for the TLS handshake [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) connect_timeout: Option<Duration>,
    /// Seconds after which to fail if the server takes no more of the request, sends no response, or sends it more slowly than
    /// --speed-limit on average; 0 means no limit; until the first byte, --connect-timeout is added [default: 60]
    #[arg(short = 'y', long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) speed_time: Option<Duration>,
    /// Bytes per second that the response must reach on average over --speed-time; 0 means no limit [default: 1]
    #[arg(short = 'Y', long, value_name = "BYTES")]
    pub(crate) speed_limit: Option<u64>,
}

/// Parses seconds, with decimals as in curl.
fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = |_| "expected seconds, such as 5 or 0.5".to_owned();
    let seconds: f64 = text.parse().map_err(|_: std::num::ParseFloatError| wrong(()))?;
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong(()))
}

/// How servers are reached and verified.
#[derive(Debug, Args)]
pub(crate) struct Route {
    /// Verify the server with the CA certificates in this PEM file instead of the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// Connect to HOST2:PORT2 instead of HOST1:PORT1; an empty HOST1 or PORT1 means any, an empty HOST2 or PORT2 no change
    #[arg(long, value_name = "HOST1:PORT1:HOST2:PORT2")]
    pub(crate) connect_to: Vec<String>,
    /// Connect through this proxy, [http://|https://]HOST[:PORT]; '' turns off https_proxy, http_proxy and all_proxy
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
    /// The server, by the name in its certificate; the default port is 443
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) destination: String,
    /// Where to listen: unix:PATH, a socket that only you can use, or 127.0.0.1:PORT or [::1]:PORT, which every user of
    /// this machine can use [default: a socket in the runtime directory]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    #[command(flatten)]
    pub(crate) route: Route,
    /// A protocol to offer by ALPN, such as h2; can be given several times
    #[arg(long, value_name = "PROTOCOL", value_parser = protocol)]
    pub(crate) alpn: Vec<String>,
    /// Use this identity, whatever is remembered
    #[arg(long = "as", value_name = "ID")]
    pub(crate) identity: Option<String>,
    /// The TLS library [default: rustls, or openssl where the server needs it]
    #[arg(long, value_name = "LIBRARY")]
    pub(crate) tls: Option<TlsLibrary>,
}

#[derive(Debug, Args)]
pub(crate) struct Credential {
    /// The program: kubectl, as its exec plugin; git or curl, as options that name a file in the runtime directory
    #[arg(required_unless_present = "forget")]
    pub(crate) program: Option<CredentialProgram>,
    /// The server; kubectl names it if it is set up with provideClusterInfo
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) destination: Option<String>,
    /// Verify the server with the CA certificates in this PEM file instead of the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// Connect to this address instead to see what the server asks for
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) connect: Option<String>,
    /// Give this identity, whatever is remembered
    #[arg(long = "as", value_name = "ID")]
    pub(crate) identity: Option<String>,
    /// Remove all files with private keys that were written for git and curl
    #[arg(long, conflicts_with = "program")]
    pub(crate) forget: bool,
    /// The TLS library for this command's own connection [default: rustls, or openssl where the server needs it]
    #[arg(long, value_name = "LIBRARY")]
    pub(crate) tls: Option<TlsLibrary>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CredentialProgram {
    Kubectl,
    Git,
    Curl,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Fish,
    Zsh,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The directory for cardcase.1 and a page for each command; '-' is stdout, for one page after another
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Trust {
    /// A file with CA certificates or with a server's own certificate, or the fingerprint of a certificate in the store
    #[arg(value_name = "FILE|ID")]
    pub(crate) what: String,
    /// Stop trusting a certificate in the store
    #[arg(long)]
    pub(crate) remove: bool,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    /// Only connections to this host, or to this port of it
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) host: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Password {
    /// Read the new primary password from this file instead of asking; '-' is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) new_password_file: Option<PathBuf>,
    /// Set a new password without the old one, which is forgotten: the private keys are lost, and the rest stays
    #[arg(long)]
    pub(crate) reset: bool,
    /// Do not ask for confirmation of '--reset'
    #[arg(long, requires = "reset")]
    pub(crate) yes: bool,
    /// Store the current primary password in the desktop's keyring
    #[cfg(feature = "keyring")]
    #[arg(long, conflicts_with_all = ["new_password_file", "no_keyring", "reset"])]
    pub(crate) keyring: bool,
    /// Remove the primary password from the desktop's keyring
    #[cfg(feature = "keyring")]
    #[arg(long, conflicts_with_all = ["new_password_file", "reset"])]
    pub(crate) no_keyring: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Pkcs11 {
    #[command(subcommand)]
    pub(crate) command: Option<Pkcs11Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Pkcs11Command {
    /// Show what other programs may have signed, and where the module is installed
    Status,
    /// Let other programs have something signed with an identity
    Allow(Allow),
    /// Let other programs have nothing signed with an identity any more
    Deny(Deny),
    /// Install the module in programs
    Install(ModulePlaces),
    /// Remove the module from programs
    Remove(ModulePlaces),
}

#[derive(Debug, Args)]
pub(crate) struct Allow {
    /// The identity's name, or the first 4 or more digits of its SHA-256 fingerprint
    pub(crate) id: String,
    /// What they may have signed
    pub(crate) permission: AllowedPermission,
    /// When to ask you first, in a window
    #[arg(long, value_name = "WHEN", default_value = "never")]
    pub(crate) confirm: AllowedConfirmation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AllowedPermission {
    /// Whole messages of TLS connections, which the agent looks at
    Tls,
    /// Anything: digests too, which may be of documents
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AllowedConfirmation {
    Never,
    /// Before each signature
    Each,
    /// Once in 15 minutes for each program
    #[value(name = "15m")]
    For15Minutes,
}

#[derive(Debug, Args)]
pub(crate) struct Deny {
    /// The identity's name, or the first 4 or more digits of its SHA-256 fingerprint
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct ModulePlaces {
    /// For programs with GnuTLS or OpenSSL's engine, such as wget, git and curl
    #[arg(long)]
    pub(crate) p11_kit: bool,
    /// For Firefox: for the profile in use, or for that of this name or directory
    #[arg(long, value_name = "PROFILE", num_args = 0..=1, default_missing_value = "")]
    pub(crate) firefox: Option<String>,
    /// For Chromium, Chrome, Brave, Edge or Vivaldi
    #[arg(long)]
    pub(crate) chromium: bool,
    /// Print the commands that do it, and change nothing
    #[arg(long, conflicts_with = "json")]
    pub(crate) print: bool,
    /// The file of the module [default: where packages put it]
    #[arg(long, value_name = "FILE")]
    pub(crate) module: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Unlock {
    /// How long to stay unlocked, such as 30m, 8h or 1d; at most until logout
    #[arg(long = "for", value_name = "TIME", default_value = "8h", value_parser = unlock_for)]
    pub(crate) purpose: UnlockFor,
    /// Only print whether the store is unlocked, and until when
    #[arg(long, conflicts_with = "purpose")]
    pub(crate) status: bool,
}

/// How long, or for what, to unlock.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UnlockFor {
    Time(Duration),
    /// For a program that has loaded the PKCS#11 module, which runs this command.
    Pkcs11,
}

fn unlock_for(text: &str) -> Result<UnlockFor, String> {
    if text == "pkcs11" { Ok(UnlockFor::Pkcs11) } else { lifetime(text).map(UnlockFor::Time) }
}

/// The longest time to stay unlocked. Nobody needs more.
const MAX_LIFETIME: Duration = Duration::from_secs(366 * 86_400);

fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_secs(1)..=MAX_LIFETIME).contains(&lifetime) {
        Ok(lifetime)
    } else {
        Err("it must be between a second and a year".to_owned())
    }
}

fn number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_: std::num::ParseIntError| "it is not a number".to_owned())
}

fn mode(text: &str) -> Result<Mode, String> {
    text.parse().map_err(|error: cardcase::Error| error.to_string())
}

/// The name of a protocol (RFC 7301 section 3.1).
fn protocol(text: &str) -> Result<String, String> {
    match text.len() {
        1..=255 => Ok(text.to_owned()),
        length => Err(format!("it has {length} bytes, and the name of a protocol has 1 to 255")),
    }
}
