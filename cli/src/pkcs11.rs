//! The PKCS#11 module: where it is, in which programs it is installed, and the URIs of the identities in it.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use cardcase::Identity;
use cardcase::manage::{KeyKind, Permission};
use serde::Serialize;

use crate::new_file;
use crate::nss_tool;
use crate::profiles::{Profile, Program};
use crate::ui::failure::{Code, Failure};
use crate::ui::text::quoted;

/// The file of the module.
const FILE: &str = "libcardcase_pkcs11.so";

/// The name of the module in every program.
const NAME: &str = "cardcase";

/// The URIs of an identity in the module (RFC 7512).
#[derive(Serialize)]
pub(crate) struct Uris {
    /// By its name, which follows a renewal.
    pub(crate) uri: String,
    /// By its certificate.
    pub(crate) uri_of_certificate: String,
}

impl Uris {
    /// `None` where the module does not show the identity.
    pub(crate) fn new(identity: &Identity) -> Option<Self> {
        if identity.permission() == Permission::Off {
            return None;
        }
        let token = match identity.certificate().key() {
            KeyKind::Rsa(_) | KeyKind::RsaPss(_) | KeyKind::EcP256 | KeyKind::EcP384 | KeyKind::EcP521 => "cardcase",
            // Beside it, some programs read no other key of a token
            KeyKind::Ed25519 => "cardcase%20Ed25519",
            _ => return None,
        };
        let id: String = identity.fingerprint().as_bytes().iter().map(|byte| format!("%{byte:02X}")).collect();
        Some(Self {
            uri: format!("pkcs11:token={token};object={}", percent_encoded(identity.name())),
            uri_of_certificate: format!("pkcs11:token={token};id={id}"),
        })
    }
}

/// Only what is unreserved in every URI (RFC 3986 section 2.3) stays as it is.
fn percent_encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The module that is installed on this machine: beside this program, or where the system has modules.
pub(crate) fn find_module() -> Option<PathBuf> {
    let program = env::current_exe().ok();
    let own = program.as_deref().and_then(Path::parent);
    let beside = own.into_iter().flat_map(|own| [own.to_owned(), own.join("../lib/pkcs11"), own.join("../lib")]);
    let triplet = format!("{}-linux-gnu", env::consts::ARCH);
    let system = ["/usr/local/lib", "/usr/lib"].into_iter().flat_map(|lib| {
        let lib = PathBuf::from(lib);
        [lib.join(&triplet).join("pkcs11"), lib.join("pkcs11"), lib]
    });
    let places = beside.chain(system).chain([PathBuf::from("/usr/lib64/pkcs11")]);
    places.map(|place| place.join(FILE)).find_map(|file| file.is_file().then(|| file.canonicalize().ok())?)
}

/// Where programs look for modules.
#[derive(Debug)]
pub(crate) enum Place {
    /// A configuration file of p11-kit.
    P11Kit(PathBuf),
    /// The list of modules in a database of NSS, with the browser that reads it.
    Nss(Profile),
}

impl Place {
    /// The user's configuration file for p11-kit.
    pub(crate) fn p11_kit() -> Result<Self, Failure> {
        let home = || Some(env::home_dir()?.join(".config"));
        let configured = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        match configured.or_else(home) {
            Some(directory) => Ok(Self::P11Kit(directory.join("pkcs11/modules/cardcase.module"))),
            None => Err(Failure::new(Code::Failed, "the user has no home directory, so p11-kit has no configuration")),
        }
    }

    /// Every place where the module is installed, with the file that is named there.
    pub(crate) fn all_installed() -> Vec<(Self, PathBuf)> {
        let system = ["/etc/pkcs11/modules", "/usr/share/p11-kit/modules"];
        let system = system.map(|directory| Self::P11Kit(Path::new(directory).join("cardcase.module")));
        let p11_kit = Self::p11_kit().into_iter().chain(system);
        let browsers = [Program::Firefox, Program::Chromium].into_iter().flat_map(Profile::all).map(Self::Nss);
        let mut installed: Vec<(Self, PathBuf)> = Vec::new();
        for place in p11_kit.chain(browsers) {
            if let Some(module) = place.installed()
                && installed.iter().all(|(known, _)| known.path() != place.path())
            {
                installed.push((place, module));
            }
        }
        installed
    }

    /// The file of the module that is named there.
    pub(crate) fn installed(&self) -> Option<PathBuf> {
        let text = fs::read_to_string(self.path()).ok()?;
        match self {
            Self::P11Kit(_) => {
                let module = text.lines().find_map(|line| line.strip_prefix("module:"))?;
                Some(PathBuf::from(module.trim()))
            }
            Self::Nss(_) => {
                let named = format!("name={NAME}");
                let block = text.split("\n\n").find(|block| block.lines().any(|line| line == named))?;
                block.lines().find_map(|line| line.strip_prefix("library=")).map(PathBuf::from)
            }
        }
    }

    /// The file with the names of modules.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::P11Kit(file) => file.clone(),
            Self::Nss(profile) => profile.directory.join("pkcs11.txt"),
        }
    }

    /// For which programs it is.
    pub(crate) fn programs(&self) -> String {
        match self {
            Self::P11Kit(_) => "programs with GnuTLS or OpenSSL's engine pkcs11, such as wget, git and curl".to_owned(),
            Self::Nss(profile) => profile.told(),
        }
    }

    /// Installs the module. One of the same name is replaced.
    pub(crate) fn install(&self, module: &Path) -> Result<(), Failure> {
        match self {
            Self::P11Kit(file) => {
                if let Some(directory) = file.parent() {
                    fs::create_dir_all(directory).map_err(|error| Failure::io(file, &error))?;
                }
                new_file::write(file, format!("module: {}\n", module.display()).as_bytes(), true)
            }
            Self::Nss(profile) => {
                check_is_closed(profile)?;
                if self.installed().is_some() {
                    self.remove()?;
                }
                modutil(profile, &["-add".as_ref(), NAME.as_ref(), "-libfile".as_ref(), module.as_os_str()])?;
                match self.installed().is_some_and(|named| named == module) {
                    true => Ok(()),
                    false => Err(unchanged(profile)),
                }
            }
        }
    }

    /// Removes the module.
    pub(crate) fn remove(&self) -> Result<(), Failure> {
        match self {
            Self::P11Kit(file) => fs::remove_file(file).map_err(|error| Failure::io(file, &error)),
            Self::Nss(profile) => {
                check_is_closed(profile)?;
                modutil(profile, &["-delete".as_ref(), NAME.as_ref()])?;
                if self.installed().is_some() { Err(unchanged(profile)) } else { Ok(()) }
            }
        }
    }

    /// The commands that install the module, or with `None` remove it.
    pub(crate) fn commands(&self, module: Option<&Path>) -> Vec<String> {
        match (self, module) {
            (Self::P11Kit(file), Some(module)) => {
                let directory = file.parent().unwrap_or(file);
                vec![
                    format!("mkdir -p {}", quoted(directory)),
                    format!("echo module: {} > {}", quoted(module), quoted(file)),
                ]
            }
            (Self::P11Kit(file), None) => vec![format!("rm {}", quoted(file))],
            (Self::Nss(profile), Some(module)) => {
                let directory = quoted(&profile.directory);
                vec![format!("modutil -dbdir sql:{directory} -add {NAME} -libfile {} -force", quoted(module))]
            }
            (Self::Nss(profile), None) => {
                vec![format!("modutil -dbdir sql:{} -delete {NAME} -force", quoted(&profile.directory))]
            }
        }
    }
}

/// Firefox has the list of modules in memory, and writes it when it ends.
fn check_is_closed(profile: &Profile) -> Result<(), Failure> {
    // A link to the address and the process, such as 127.0.1.1:+4711
    let lock = fs::read_link(profile.directory.join("lock")).unwrap_or_default();
    let process = lock.to_string_lossy().rsplit_once(":+").map(|(_, process)| PathBuf::from("/proc").join(process));
    match process.is_some_and(|process| process.exists()) {
        true => {
            let failure = format!(
                "{} is in use, and {} writes its list of modules when it ends",
                profile.told(),
                profile.program_name()
            );
            Err(Failure::new(Code::Failed, failure)
                .hint(format_args!("close {}, and try again", profile.program_name())))
        }
        false => Ok(()),
    }
}

/// The failure when modutil says that it is done, and the list of modules is as before.
fn unchanged(profile: &Profile) -> Failure {
    let failure = format!("modutil reports success, and the list of modules of {} has not changed", profile.told());
    Failure::new(Code::Failed, failure).hint(format_args!("close {}, and try again", profile.program_name()))
}

/// NSS's own program changes the list of modules.
fn modutil(profile: &Profile, arguments: &[&OsStr]) -> Result<(), Failure> {
    let done = nss_tool::run("modutil", "changes the list of modules in an NSS database", |command| {
        command.arg("-dbdir").arg(nss_tool::database(&profile.directory)).args(arguments).arg("-force");
    })?;
    done.map_err(|said| {
        let (told, status, last) = (profile.told(), said.status, said.last());
        Failure::new(Code::Failed, format_args!("modutil failed for {told} ({status}): {last}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_character_of_a_name_is_encoded() {
        for (name, encoded) in [
            ("alice-2025_a.b~c", "alice-2025_a.b~c"),
            ("Alice at work", "Alice%20at%20work"),
            ("a;b=c?d&e%f/g", "a%3Bb%3Dc%3Fd%26e%25f%2Fg"),
            ("Zoë", "Zo%C3%AB"),
        ] {
            assert_eq!(percent_encoded(name), encoded);
        }
    }
}
