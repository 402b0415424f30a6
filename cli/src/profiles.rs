//! Where Firefox, Thunderbird and Chromium keep their certificates, and which of several profiles is meant.

use std::env;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cardcase::Error;
use cardcase::file::{self, NssDatabase};
use cardcase::manage::Timestamp;

use crate::ui::failure::{Code, Failure};
use crate::ui::say;
use crate::ui::text::{counted, quoted};

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

impl Program {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Firefox => "Firefox",
            Self::Thunderbird => "Thunderbird",
            Self::Chromium => "Chromium",
        }
    }

    fn flag(self) -> &'static str {
        match self {
            Self::Firefox => "--from-firefox",
            Self::Thunderbird => "--from-thunderbird",
            Self::Chromium => "--from-chromium",
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
    pub(crate) fn find(program: Program, wanted: Option<&str>) -> Result<Self, Failure> {
        let roots = program.roots();
        let Some(wanted) = wanted else { return in_use(program, &roots) };
        let path = Path::new(wanted);
        if wanted.contains('/') || path.is_dir() {
            if path.join("profiles.ini").is_file() {
                return in_use(program, &[path.to_owned()]);
            }
            return Ok(Self { program: Some(program), ..Self::named(path) });
        }
        let all: Vec<Self> = roots.iter().flat_map(|root| Listing::read(root).profiles(program)).collect();
        let is_meant = |profile: &&Self| {
            profile.name.as_deref() == Some(wanted) || profile.directory.file_name().is_some_and(|name| name == wanted)
        };
        let mut meant: Vec<Self> = all.iter().filter(is_meant).cloned().collect();
        match meant.len() {
            1 => Ok(meant.remove(0)),
            0 => {
                tell(&all);
                let failure = format!("{} has no profile {wanted:?}", program.name());
                Err(Failure::new(Code::NothingFits, failure).hint(hint_at_directory(program)))
            }
            _ => Err(several(program, &meant)),
        }
    }

    /// The profiles of a program that may be in use.
    pub(crate) fn all(program: Program) -> Vec<Self> {
        candidates(program, &program.roots())
    }

    /// The profiles of the user's programs that hold identities, with their number: for somebody whose store is empty.
    pub(crate) fn with_identities() -> Vec<(Self, usize)> {
        let programs = [Program::Firefox, Program::Thunderbird, Program::Chromium];
        let profiles = programs.into_iter().flat_map(|program| candidates(program, &program.roots()));
        let counted = profiles.map(|profile| {
            let identities = profile.identities().unwrap_or(0);
            (profile, identities)
        });
        counted.filter(|(_, identities)| *identities > 0).collect()
    }

    /// The command that imports it.
    pub(crate) fn import_command(&self) -> String {
        match (self.program, &self.name) {
            (Some(program), Some(name)) => format!("cardcase import {} {}", program.flag(), quoted(Path::new(name))),
            _ => format!("cardcase import --from-nss {}", quoted(&self.directory)),
        }
    }

    /// How it is called in a sentence.
    pub(crate) fn told(&self) -> String {
        match (self.program, &self.name) {
            (Some(Program::Chromium), _) => "Chromium's certificate database".to_owned(),
            (Some(program), Some(name)) => format!("{}'s profile {name}", program.name()),
            (Some(program), None) => format!("{}'s profile in {}", program.name(), self.directory.display()),
            (None, _) => format!("the database in {}", self.directory.display()),
        }
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

    /// The failure when its database cannot be read, with what to do; `again` is the command as it was given.
    pub(crate) fn failed(&self, error: file::Error, again: &str) -> Failure {
        let directory = quoted(&self.directory);
        let program = self.program_name();
        let hints = match &error {
            file::Error::WrongPassword => vec![format!(
                "it is the password of {}: not that of a .p12 file, and not the primary password of cardcase",
                self.told()
            )],
            file::Error::OldDatabase { .. } => vec![
                "convert it with NSS's certutil (in Debian: apt install libnss3-tools): mkdir new && certutil -N -d sql:new".to_owned(),
                format!("certutil --upgrade-merge --source-dir {directory} --upgrade-id old -d sql:new"),
                "cardcase import --from-nss new".to_owned(),
            ],
            file::Error::NoDatabase { .. } => vec![
                "name the directory with cert9.db and key4.db; Firefox shows that of a profile in about:profiles".to_owned(),
                "a profile whose preference security.nocertdb is on has none".to_owned(),
            ],
            file::Error::UnfinishedDatabase { .. } => vec![format!("start {program} once, close it, and try again")],
            file::Error::DatabaseBusy { .. } => vec![format!("close {program}, and try again")],
            file::Error::Database { .. } => vec![format!(
                "get another copy of cert9.db and key4.db, or let {program} export the identity as a .p12 file: cardcase import FILE.p12"
            )],
            file::Error::Unreadable { .. } if self.is_denied() => vec![
                "let its owner export the identities as a .p12 file, or copy cert9.db and key4.db into a directory of yours".to_owned(),
            ],
            file::Error::TooCostly { what, value, .. } if what.starts_with("rounds") && *value < u64::MAX => {
                vec![format!("if you trust it: {} --max-iterations {value}", again)]
            }
            _ => Vec::new(),
        };
        let failure = Failure::from(&Error::File(error));
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

    fn identities(&self) -> Option<usize> {
        NssDatabase::open(&self.directory).ok().map(|database| database.identities())
    }

    fn row(&self) -> String {
        let identities = match self.identities() {
            Some(number) => counted(number, "identity", "identities"),
            None => "cannot be read".to_owned(),
        };
        // The program writes its preferences when it ends
        let files = ["prefs.js", "key4.db", "key3.db"].map(|file| self.directory.join(file));
        let used = files.iter().find_map(|file| file.metadata().ok()?.modified().ok());
        let used = used.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let used =
            used.map_or(String::new(), |at| format!(", last used {}", Timestamp(at.as_secs().cast_signed()).date()));
        let name = self.name.as_ref().map_or(String::new(), |name| format!("{name}: "));
        format!("  {name}{} ({identities}{used})", self.directory.display())
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
    has("profiles.ini").then(|| format!("--from-firefox {}", quoted(directory)))
}

/// The flag that imports the database that a file is a part of.
pub(crate) fn flag_for_file(file: &Path) -> Option<String> {
    let is_part = |name: &str| ["cert9.db", "key4.db", "cert8.db", "key3.db"].contains(&name);
    let name = file.file_name().and_then(|name| name.to_str()).filter(|name| is_part(name));
    let directory = file.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    name.and(directory).and_then(flag_for)
}

fn in_use(program: Program, roots: &[PathBuf]) -> Result<Profile, Failure> {
    let mut candidates = candidates(program, roots);
    match candidates.len() {
        1 => Ok(candidates.remove(0)),
        0 => {
            let looked: Vec<String> = roots.iter().map(|root| root.display().to_string()).collect();
            let failure = Failure::new(
                Code::NothingFits,
                format_args!("no profile of {} with certificates in {}", program.name(), looked.join(", ")),
            );
            let failure = failure.hint(hint_at_directory(program));
            Err(match program {
                Program::Chromium => failure,
                _ => failure.hint("a profile whose preference security.nocertdb is on keeps no certificates"),
            })
        }
        _ => Err(several(program, &candidates)),
    }
}

fn hint_at_directory(program: Program) -> String {
    match program {
        Program::Firefox => "about:profiles in Firefox shows the directory of a profile: --from-firefox DIR",
        Program::Thunderbird => {
            "Help, Troubleshooting Information in Thunderbird shows the directory: --from-thunderbird DIR"
        }
        Program::Chromium => "if you know the directory with key4.db: --from-nss DIR",
    }
    .to_owned()
}

fn several(program: Program, profiles: &[Profile]) -> Failure {
    tell(profiles);
    let flag =
        if program == Program::Chromium { "--from-nss DIR".to_owned() } else { format!("{} NAME", program.flag()) };
    Failure::usage(format_args!("{} has several profiles: say which", program.name()))
        .hint(format_args!("name one, or its directory: {flag}"))
}

fn tell(profiles: &[Profile]) {
    profiles.iter().for_each(|profile| say::note(profile.row()));
}

/// The profiles that may be the one in use. Where one has a database of the new form, those of the old form do not count.
fn candidates(program: Program, roots: &[PathBuf]) -> Vec<Profile> {
    let of = |file: &str| -> Vec<Profile> {
        let has = |profile: &Profile| profile.directory.join(file).is_file();
        let mut found: Vec<Profile> = match program {
            Program::Chromium => {
                let all =
                    roots.iter().map(|root| Profile { directory: root.clone(), name: None, program: Some(program) });
                let all: Vec<Profile> = all.filter(has).collect();
                let used: Vec<Profile> =
                    all.iter().filter(|one| one.identities().is_some_and(|number| number > 0)).cloned().collect();
                // Where none has an identity, the first is the one that Chromium uses
                if used.is_empty() { all.into_iter().take(1).collect() } else { used }
            }
            _ => roots.iter().flat_map(|root| Listing::read(root).in_use(program, has)).collect(),
        };
        // One directory may have two names
        let mut seen = Vec::new();
        found.retain(|profile| {
            let real = profile.directory.canonicalize().unwrap_or_else(|_| profile.directory.clone());
            let is_new = !seen.contains(&real);
            seen.push(real);
            is_new
        });
        found
    };
    let newer = of("key4.db");
    if newer.is_empty() { of("key3.db") } else { newer }
}

/// What profiles.ini and installs.ini say.
struct Listing {
    /// Name and directory of each profile, and whether it is marked as the default.
    profiles: Vec<(Option<String>, PathBuf, bool)>,
    /// The directories that installations of the program use.
    installed: Vec<PathBuf>,
}

impl Listing {
    fn read(root: &Path) -> Self {
        let mut listing = Self { profiles: Vec::new(), installed: Vec::new() };
        for (file, is_of_installs) in [("profiles.ini", false), ("installs.ini", true)] {
            // It has a few lines
            let text = fs::read(root.join(file)).unwrap_or_default();
            for (section, keys) in sections(&String::from_utf8_lossy(&text)) {
                let get = |key: &str| keys.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
                if is_of_installs || section.starts_with("Install") {
                    listing.installed.extend(get("Default").map(|path| root.join(path)));
                } else if section.starts_with("Profile")
                    && let Some(path) = get("Path")
                {
                    // A path that is not relative replaces the directory
                    let name = get("Name").map(str::to_owned);
                    listing.profiles.push((name, root.join(path), get("Default") == Some("1")));
                }
            }
        }
        listing
    }

    fn profiles(&self, program: Program) -> Vec<Profile> {
        let profile = |(name, directory, _): &(Option<String>, PathBuf, bool)| Profile {
            directory: directory.clone(),
            name: name.clone(),
            program: Some(program),
        };
        self.profiles.iter().map(profile).collect()
    }

    /// The profiles that an installation uses, or else the default, or else all: of those for which `has` holds. `Default=1` often
    /// marks a profile that was never used.
    fn in_use(&self, program: Program, has: impl Fn(&Profile) -> bool) -> Vec<Profile> {
        let all: Vec<Profile> = self.profiles(program).into_iter().filter(|profile| has(profile)).collect();
        let installed: Vec<Profile> = self
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
            self.profiles.iter().any(|(_, directory, is_default)| *is_default && *directory == profile.directory)
        };
        let default: Vec<Profile> = all.iter().filter(is_default).cloned().collect();
        if default.is_empty() { all } else { default }
    }
}

/// The sections of an INI file as Mozilla's programs read it, with their keys: without quotes, escapes and values of several lines.
fn sections(text: &str) -> Vec<(&str, Vec<(&str, &str)>)> {
    let mut sections: Vec<(&str, Vec<(&str, &str)>)> = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            sections.push((name, Vec::new()));
        } else if let (Some((key, value)), Some((_, keys))) = (line.split_once('='), sections.last_mut())
            && !line.starts_with([';', '#'])
        {
            keys.push((key, value));
        }
    }
    sections
}

#[cfg(test)]
mod tests {
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
