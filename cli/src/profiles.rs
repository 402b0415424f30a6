//! Where Firefox, Thunderbird and Chromium keep their certificates, and which of several profiles is meant.

mod ini;

use std::collections::HashSet;
use std::env;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cardcase::Error;
use cardcase::file::{self, NssDatabase};
use cardcase::manage::{Timestamp, plain};

use ini::Said;

use crate::input::read_regular;
use crate::ui::failure::{Code, Failure};
use crate::ui::say;
use crate::ui::text::{counted, quoted, word};

/// The largest profiles.ini, in bytes. Each profile takes about a hundred.
const MAX_INI: u64 = 1 << 20;

/// How many profiles are looked into for somebody whose store is empty.
const LOOKED_INTO: usize = 20;

/// A program whose profiles are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Firefox,
    Thunderbird,
    Chromium,
}

/// A directory with the certificates of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) directory: PathBuf,
    /// As the program shows it; a directory that a person named has none.
    name: Option<String>,
    program: Option<Program>,
}

/// Which way identities go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Import,
    Export,
    /// They stay: the program gets the module that shows them.
    Module,
}

/// A command as it was typed, for hints.
pub(crate) struct Typed {
    pub(crate) way: Way,
    /// The whole, to be typed again with more flags.
    pub(crate) again: String,
    /// Without a limit for the rounds of key derivation.
    pub(crate) again_without_limit: String,
    /// Without the place that was named.
    pub(crate) anywhere: String,
}

impl Typed {
    /// The same with another directory.
    fn with_directory(&self, directory: &str) -> String {
        format!("{} {} {directory}", self.anywhere, self.way.flag())
    }
}

impl Way {
    /// The flag for a directory.
    fn flag(self) -> &'static str {
        match self {
            Self::Import => "--from-nss",
            Self::Export => "--to-nss",
            Self::Module => "--firefox",
        }
    }

    /// The flag for a profile of a program.
    fn flag_of(self, program: Program) -> &'static str {
        match (self, program) {
            (Self::Import, Program::Firefox) => "--from-firefox",
            (Self::Import, Program::Thunderbird) => "--from-thunderbird",
            (Self::Import, Program::Chromium) => "--from-chromium",
            (Self::Export, Program::Firefox) => "--to-firefox",
            (Self::Export, _) => "--to-nss",
            (Self::Module, Program::Firefox | Program::Thunderbird) => "--firefox",
            (Self::Module, Program::Chromium) => "--chromium",
        }
    }
}

impl Program {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Firefox => "Firefox",
            Self::Thunderbird => "Thunderbird",
            Self::Chromium => "Chromium",
        }
    }

    /// The directories in which it may keep its profiles. Chromium has one for all profiles.
    fn roots(self) -> Vec<PathBuf> {
        let Some(home) = env::home_dir().filter(|home| home.is_absolute()) else { return Vec::new() };
        let configured = |variable: &str, default: &str| {
            let given = env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
            given.unwrap_or_else(|| home.join(default))
        };
        match self {
            Self::Firefox => vec![
                // Firefox 147 and later, unless the next is there already
                configured("XDG_CONFIG_HOME", ".config").join("mozilla/firefox"),
                home.join(".mozilla/firefox"),
                home.join("snap/firefox/common/.mozilla/firefox"),
                home.join(".var/app/org.mozilla.firefox/.mozilla/firefox"),
                home.join(".var/app/org.mozilla.firefox/config/mozilla/firefox"),
            ],
            Self::Thunderbird => vec![
                home.join(".thunderbird"),
                home.join("snap/thunderbird/common/.thunderbird"),
                // Its name since 2026, and before
                home.join(".var/app/org.mozilla.thunderbird/.thunderbird"),
                home.join(".var/app/org.mozilla.Thunderbird/.thunderbird"),
            ],
            Self::Chromium => {
                let mut roots = vec![
                    home.join(".pki/nssdb"),
                    configured("XDG_DATA_HOME", ".local/share").join("pki/nssdb"),
                    home.join("snap/chromium/current/.pki/nssdb"),
                ];
                let apps = [
                    "org.chromium.Chromium",
                    "com.google.Chrome",
                    "com.brave.Browser",
                    "com.microsoft.Edge",
                    "com.vivaldi.Vivaldi",
                ];
                for app in apps {
                    let app = home.join(".var/app").join(app);
                    roots.extend([app.join(".pki/nssdb"), app.join("data/pki/nssdb")]);
                }
                roots
            }
        }
    }
}

impl Profile {
    /// A directory that a person named. The names of NSS's own tools for one, and of a file in it, are understood.
    pub(crate) fn named(directory: &Path) -> Self {
        let text = directory.to_string_lossy();
        let plain = ["sql:", "dbm:"].iter().find_map(|prefix| text.strip_prefix(prefix)).map(PathBuf::from);
        let directory = plain.filter(|_| !directory.exists()).unwrap_or_else(|| directory.to_owned());
        let is_file = directory.is_file() && directory.parent().is_some_and(|parent| database_in(parent).is_some());
        let directory = match directory.parent() {
            Some(parent) if is_file => parent.to_owned(),
            _ => directory,
        };
        Self { directory, name: None, program: None }
    }

    /// The profile of a program that is used, or the one that a person named: by its name, the name of its directory, or a path.
    pub(crate) fn find(program: Program, wanted: Option<&str>, way: Way) -> Result<Self, Failure> {
        let roots = program.roots();
        let Some(wanted) = wanted else { return in_use(program, &roots, way) };
        let mut meant = Self::called(program, wanted);
        let path = Path::new(wanted);
        match meant.len() {
            1 => Ok(meant.remove(0)),
            // A directory in the current one does not hide a profile of its name
            0 if wanted.contains('/') || path.is_dir() => match path.join(PROFILES_INI).exists() {
                true => in_use(program, &[path.to_owned()], way),
                false => Ok(Self { program: Some(program), ..Self::named(path) }),
            },
            0 => {
                tell(&all(program, &roots));
                let failure = format!("{} has no profile {wanted:?}", program.name());
                Err(Failure::new(Code::NothingFits, failure).hint(hint_at_directory(program, way)))
            }
            _ => Err(several(program, meant, way)),
        }
    }

    /// The profiles of a program that may be in use.
    pub(crate) fn all(program: Program) -> Vec<Self> {
        candidates(program, &program.roots())
    }

    /// The profiles of this name, or with a directory of this name.
    fn called(program: Program, wanted: &str) -> Vec<Self> {
        let mut all = all(program, &program.roots());
        all.retain(|profile| {
            profile.name.as_deref() == Some(wanted) || profile.directory.file_name().is_some_and(|name| name == wanted)
        });
        distinct(all)
    }

    /// The profiles of the user's programs that hold identities, with their number, or `None` for those that are in use now: for
    /// somebody whose store is empty.
    pub(crate) fn with_identities() -> Vec<(Self, Option<usize>)> {
        let programs = [Program::Firefox, Program::Thunderbird, Program::Chromium];
        let profiles = programs.into_iter().flat_map(|program| candidates(program, &program.roots()));
        let looked = profiles.take(LOOKED_INTO).filter_map(|profile| match profile.identities() {
            Ok(0) => None,
            Ok(number) => Some((profile, Some(number))),
            Err(file::Error::DatabaseBusy { .. }) => Some((profile, None)),
            Err(_) => None,
        });
        looked.collect()
    }

    /// The command that imports it.
    pub(crate) fn import_command(&self) -> String {
        let directory = quoted(&self.directory);
        let Some(program) = self.program.filter(|program| *program != Program::Chromium) else {
            return format!("cardcase import --from-nss {directory}");
        };
        // A name that can be typed, and that no other profile has
        let can_be_typed = |name: &&String| plain(name) == **name && !name.is_empty() && !name.starts_with('-');
        let name = self.name.as_ref().filter(can_be_typed).filter(|name| Self::called(program, name).len() == 1);
        let name = name.map_or(directory, |name| word(name));
        format!("cardcase import {} {name}", Way::Import.flag_of(program))
    }

    /// How it is called in a sentence.
    pub(crate) fn told(&self) -> String {
        match (self.program, &self.name) {
            (Some(Program::Chromium), _) => "Chromium's certificate database".to_owned(),
            (Some(program), Some(name)) => format!("{}'s profile {}", program.name(), plain(name)),
            (Some(program), None) => format!("{}'s profile in {}", program.name(), self.place()),
            (None, _) => format!("the database in {}", self.place()),
        }
    }

    fn place(&self) -> String {
        plain(&self.directory.display().to_string())
    }

    /// What its password is called in a prompt.
    pub(crate) fn password_prompt(&self) -> String {
        let password = if matches!(self.program, Some(Program::Firefox | Program::Thunderbird)) {
            "Primary password"
        } else {
            "Password"
        };
        format!("{password} of {}", self.told())
    }

    /// The program that has it open, as far as that is known.
    pub(crate) fn program_name(&self) -> &'static str {
        self.program.map_or("the program", Program::name)
    }

    /// The failure when its database cannot be read, with what to do.
    pub(crate) fn failed(&self, error: file::Error, typed: &Typed) -> Failure {
        let directory = quoted(&self.directory);
        let program = self.program_name();
        let by_file = || match typed.way {
            Way::Import => format!("or let {program} export the identity as a .p12 file: cardcase import FILE.p12"),
            Way::Export | Way::Module => {
                format!("or write a file, and import it in {program}: {} -o FILE.p12", typed.anywhere)
            }
        };
        let hints = match &error {
            file::Error::WrongPassword => vec![format!(
                "it is the password of {}: not that of a .p12 file, and not the primary password of cardcase",
                self.told()
            )],
            file::Error::OldDatabase { .. } => vec![
                "convert it with NSS's certutil (in Debian: apt install libnss3-tools): mkdir new && certutil -N -d sql:new".to_owned(),
                format!("certutil --upgrade-merge --source-dir {directory} --upgrade-id old -d sql:new"),
                typed.with_directory("new"),
            ],
            file::Error::NoDatabase { .. } if self.directory.join(PROFILES_INI).exists() => {
                let flag = typed.way.flag_of(program_of(&self.directory));
                vec![format!("it holds the profiles of a program: {} {flag} {directory}", typed.anywhere)]
            }
            file::Error::NoDatabase { .. } => vec![
                "name the directory with cert9.db and key4.db; Firefox shows that of a profile in about:profiles".to_owned(),
                "a profile whose preference security.nocertdb is on has none".to_owned(),
            ],
            file::Error::UnfinishedDatabase { .. } => vec![format!("start {program} once, close it, and try again")],
            file::Error::DatabaseBusy { .. } => vec![format!("close {program}, and try again")],
            file::Error::Database { .. } => vec![format!("get another copy of cert9.db and key4.db, {}", by_file())],
            file::Error::Unreadable { .. } if self.is_denied() => vec![match typed.way {
                Way::Import => "let its owner export the identities as a .p12 file, or copy cert9.db and key4.db into a directory of yours".to_owned(),
                Way::Export | Way::Module => format!("write a file for its owner: {} -o FILE.p12", typed.anywhere),
            }],
            file::Error::TooCostly { what, value, .. } if what.starts_with("rounds") && *value < u64::MAX => {
                vec![match typed.way {
                    Way::Import => format!("if you trust it: {} --max-iterations {value}", typed.again_without_limit),
                    Way::Export | Way::Module => format!("set its password again in {program}, {}", by_file()),
                }]
            }
            _ => Vec::new(),
        };
        let failure = match error {
            // A profile is not damaged by a wrong password, and it changes all the time
            file::Error::WrongPassword => Failure::new(Code::WrongPassword, "wrong password"),
            error => Failure::from(&Error::File(error)),
        };
        hints.into_iter().fold(failure, |failure, hint| failure.hint(hint))
    }

    /// Whether it belongs to somebody else. To run cardcase as root would write into root's store.
    fn is_denied(&self) -> bool {
        ["", "cert9.db", "key4.db"].into_iter().any(|file| {
            let path = self.directory.join(file);
            let is_readable = |found: &std::fs::Metadata| found.is_file() || found.is_dir();
            match path.metadata() {
                Ok(found) if is_readable(&found) => {
                    File::open(path).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
                }
                Ok(_) => false,
                Err(error) => error.kind() == ErrorKind::PermissionDenied,
            }
        })
    }

    /// How many identities there are, without waiting for a program that writes.
    fn identities(&self) -> Result<usize, file::Error> {
        NssDatabase::open_at_once(&self.directory).map(|database| database.identities())
    }

    /// When the program used it last.
    fn last_used(&self) -> Option<SystemTime> {
        // The program writes its preferences when it ends
        let files = ["prefs.js", "key4.db", "key3.db"].map(|file| self.directory.join(file));
        files.iter().find_map(|file| file.metadata().ok()?.modified().ok())
    }

    fn row(&self) -> String {
        let identities = match self.identities() {
            Ok(number) => counted(number, "identity", "identities"),
            Err(file::Error::DatabaseBusy { .. }) => "in use".to_owned(),
            Err(_) => "cannot be read".to_owned(),
        };
        let used = self.last_used().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let used =
            used.map_or(String::new(), |at| format!(", last used {}", Timestamp(at.as_secs().cast_signed()).date()));
        let name = self.name.as_ref().map_or(String::new(), |name| format!("{name}: "));
        format!("  {name}{} ({identities}{used})", self.directory.display())
    }
}

const PROFILES_INI: &str = "profiles.ini";

/// The program whose profiles a directory holds, by its name.
fn program_of(directory: &Path) -> Program {
    let is_thunderbird = |name: &std::ffi::OsStr| name.to_string_lossy().to_lowercase().contains("thunderbird");
    match directory.file_name().is_some_and(is_thunderbird) {
        true => Program::Thunderbird,
        false => Program::Firefox,
    }
}

/// The file of the keys in a directory, of the new or the old form.
fn database_in(directory: &Path) -> Option<&'static str> {
    ["key4.db", "key3.db"].into_iter().find(|file| directory.join(file).symlink_metadata().is_ok())
}

/// Whether a directory is a database of NSS, or has profiles: with the flag that imports it.
pub(crate) fn flag_for(directory: &Path) -> Option<String> {
    let has = |file: &str| directory.join(file).is_file();
    if database_in(directory).is_some() || has("cert9.db") || has("cert8.db") {
        return Some(format!("--from-nss {}", quoted(directory)));
    }
    has(PROFILES_INI).then(|| format!("{} {}", Way::Import.flag_of(program_of(directory)), quoted(directory)))
}

/// The flag that imports the database that a file is a part of.
pub(crate) fn flag_for_file(file: &Path) -> Option<String> {
    let is_part = |name: &str| ["cert9.db", "key4.db", "cert8.db", "key3.db"].contains(&name);
    let name = file.file_name().and_then(|name| name.to_str()).filter(|name| is_part(name));
    let directory = file.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    name.and(directory).and_then(flag_for)
}

fn in_use(program: Program, roots: &[PathBuf], way: Way) -> Result<Profile, Failure> {
    let mut candidates = candidates(program, roots);
    match candidates.len() {
        1 => Ok(candidates.remove(0)),
        0 => {
            roots.iter().for_each(|root| Listing::read(root).tell_unreadable());
            let looked: Vec<String> = roots.iter().map(|root| root.display().to_string()).collect();
            let failure = Failure::new(
                Code::NothingFits,
                format_args!("no profile of {} with certificates in {}", program.name(), looked.join(", ")),
            );
            let failure = failure.hint(hint_at_directory(program, way));
            Err(match program {
                Program::Chromium => failure,
                _ => failure.hint("a profile whose preference security.nocertdb is on keeps no certificates"),
            })
        }
        _ => Err(several(program, candidates, way)),
    }
}

fn hint_at_directory(program: Program, way: Way) -> String {
    let flag = way.flag_of(program);
    match program {
        Program::Firefox => format!("about:profiles in Firefox shows the directory of a profile: {flag} DIR"),
        Program::Thunderbird => {
            format!("Help, Troubleshooting Information in Thunderbird shows the directory: {flag} DIR")
        }
        Program::Chromium => format!("if you know the directory with key4.db: {} DIR", way.flag()),
    }
}

/// The failure when one has to be named. Tells them, the one that was used last first.
fn several(program: Program, mut profiles: Vec<Profile>, way: Way) -> Failure {
    profiles.sort_by_key(|profile| std::cmp::Reverse(profile.last_used()));
    tell(&profiles);
    let failure = Failure::usage(format_args!("{} has several profiles: say which", program.name()));
    let mut names: Vec<_> = profiles.iter().map(|profile| &profile.name).collect();
    names.sort();
    names.dedup();
    match profiles.first() {
        _ if program != Program::Chromium && names.len() == profiles.len() => {
            failure.hint(format_args!("name one, or its directory: {} NAME", way.flag_of(program)))
        }
        Some(first) => {
            let flag = if program == Program::Chromium { way.flag() } else { way.flag_of(program) };
            failure.hint(format_args!("name its directory: {flag} {}", quoted(&first.directory)))
        }
        None => failure,
    }
}

fn tell(profiles: &[Profile]) {
    profiles.iter().for_each(|profile| say::note(profile.row()));
}

/// The profiles that the program lists in these directories.
fn all(program: Program, roots: &[PathBuf]) -> Vec<Profile> {
    roots.iter().flat_map(|root| Listing::read(root).profiles(program)).collect()
}

/// Each directory once: it may have two names.
fn distinct(mut profiles: Vec<Profile>) -> Vec<Profile> {
    let mut seen = HashSet::new();
    profiles
        .retain(|profile| seen.insert(profile.directory.canonicalize().unwrap_or_else(|_| profile.directory.clone())));
    profiles
}

/// The profiles that may be the one in use. Where one has a database of the new form, those of the old form do not count.
fn candidates(program: Program, roots: &[PathBuf]) -> Vec<Profile> {
    let of = |file: &str| -> Vec<Profile> {
        let has = |profile: &Profile| profile.directory.join(file).is_file();
        distinct(match program {
            Program::Chromium => {
                let all =
                    roots.iter().map(|root| Profile { directory: root.clone(), name: None, program: Some(program) });
                let all: Vec<Profile> = all.filter(has).collect();
                let used: Vec<Profile> =
                    all.iter().filter(|one| one.identities().is_ok_and(|number| number > 0)).cloned().collect();
                // Where none has an identity, the first is the one that Chromium uses
                if used.is_empty() { all.into_iter().take(1).collect() } else { used }
            }
            _ => roots.iter().flat_map(|root| Listing::read(root).in_use(program, has)).collect(),
        })
    };
    let newer = of("key4.db");
    if newer.is_empty() { of("key3.db") } else { newer }
}

/// What profiles.ini and installs.ini say.
#[derive(Default)]
struct Listing {
    said: Said,
    /// Which of the two cannot be read, and why.
    unreadable: Vec<(PathBuf, io::Error)>,
}

impl Listing {
    fn read(root: &Path) -> Self {
        let mut listing = Self::default();
        for (file, is_of_installs) in [(PROFILES_INI, false), ("installs.ini", true)] {
            let path = root.join(file);
            let text = match read_regular(&path, MAX_INI) {
                Ok(text) => text,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => {
                    listing.unreadable.push((path, error));
                    continue;
                }
            };
            listing.said.add(root, &String::from_utf8_lossy(&text), is_of_installs);
        }
        listing
    }

    fn tell_unreadable(&self) {
        for (path, error) in &self.unreadable {
            say::warn(format_args!("{}: {error}", path.display()));
        }
    }

    fn profiles(&self, program: Program) -> Vec<Profile> {
        let profile = |(name, directory, _): &(Option<String>, PathBuf, bool)| Profile {
            directory: directory.clone(),
            name: name.clone(),
            program: Some(program),
        };
        self.said.profiles.iter().map(profile).collect()
    }

    /// The profiles that an installation uses, or else the default, or else all: of those for which `has` holds. `Default=1` often
    /// marks a profile that was never used.
    fn in_use(&self, program: Program, has: impl Fn(&Profile) -> bool) -> Vec<Profile> {
        let all: Vec<Profile> = self.profiles(program).into_iter().filter(|profile| has(profile)).collect();
        let installed: Vec<Profile> = self
            .said
            .installed
            .iter()
            .map(|directory| {
                let known = all.iter().find(|profile| profile.directory == *directory);
                known.cloned().unwrap_or_else(|| Profile {
                    directory: directory.clone(),
                    name: None,
                    program: Some(program),
                })
            })
            .filter(|profile| has(profile))
            .collect();
        if !installed.is_empty() {
            return installed;
        }
        let is_default = |profile: &&Profile| {
            self.said.profiles.iter().any(|(_, directory, is_default)| *is_default && *directory == profile.directory)
        };
        let default: Vec<Profile> = all.iter().filter(is_default).cloned().collect();
        if default.is_empty() { all } else { default }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A directory with these profiles, each with a database if it is marked so.
    fn root(ini: &str, installs: &str, with_database: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("profiles.ini"), ini).unwrap();
        fs::write(root.path().join("installs.ini"), installs).unwrap();
        for profile in with_database {
            fs::create_dir_all(root.path().join(profile)).unwrap();
            fs::write(root.path().join(profile).join("key4.db"), "").unwrap();
        }
        root
    }

    const TWO: &str = "[Profile1]\nName=default\nIsRelative=1\nPath=a.default\nDefault=1\n\n\
        [Profile0]\r\nName=default-esr\r\nIsRelative=1\r\nPath=b.default-esr\r\n";
    const INSTALL: &str = "[Install4F96D1932A9F858E]\nDefault=b.default-esr\nLocked=1\n";
    const INSTALL_OF_A: &str = "[4F96D1932A9F858F]\nDefault=a.default\n";

    #[test]
    fn the_profile_of_the_installation_goes_before_the_default() {
        for (ini, installs, with_database, expected) in [
            (format!("{TWO}{INSTALL}"), "", vec!["b.default-esr"], vec!["b.default-esr"]),
            (format!("{TWO}{INSTALL}"), "", vec!["a.default", "b.default-esr"], vec!["b.default-esr"]),
            (TWO.to_owned(), INSTALL_OF_A, vec!["a.default", "b.default-esr"], vec!["a.default"]),
            (
                format!("{TWO}{INSTALL}"),
                INSTALL_OF_A,
                vec!["a.default", "b.default-esr"],
                vec!["b.default-esr", "a.default"],
            ),
            // That of the installation has no database
            (format!("{TWO}{INSTALL}"), "", vec!["a.default"], vec!["a.default"]),
            (TWO.to_owned(), "", vec!["a.default", "b.default-esr"], vec!["a.default"]),
            (TWO.replace("Default=1", ""), "", vec!["a.default", "b.default-esr"], vec!["a.default", "b.default-esr"]),
            (TWO.to_owned(), "", vec!["b.default-esr"], vec!["b.default-esr"]),
            (TWO.to_owned(), "", vec![], vec![]),
            (String::new(), "", vec!["a.default"], vec![]),
        ] {
            let root = root(&ini, installs, &with_database);
            let found = candidates(Program::Firefox, &[root.path().to_owned()]);
            let found: Vec<PathBuf> = found.into_iter().map(|profile| profile.directory).collect();
            let expected: Vec<PathBuf> = expected.iter().map(|name| root.path().join(name)).collect();
            assert_eq!(found, expected, "{ini}{installs}{with_database:?}");
        }
    }

    #[test]
    fn a_path_may_be_absolute() {
        let elsewhere = root("", "", &["x"]);
        let path = elsewhere.path().join("x");
        let root = root(&format!("[Profile0]\nName=x\nIsRelative=0\nPath={}\n", path.display()), "", &[]);
        let [found] = candidates(Program::Firefox, &[root.path().to_owned()]).try_into().unwrap();
        assert_eq!((found.directory, found.name.as_deref()), (path, Some("x")));
    }

    #[test]
    fn a_directory_is_understood_as_nss_names_it() {
        let root = root("", "", &["x"]);
        let directory = root.path().join("x");
        for name in
            [directory.clone(), directory.join("key4.db"), PathBuf::from(format!("sql:{}", directory.display()))]
        {
            assert_eq!(Profile::named(&name).directory, directory, "{}", name.display());
        }
    }
}
