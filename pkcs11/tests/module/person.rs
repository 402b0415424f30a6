//! An ordinary user with a store, the module and an agent.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use cardcase::file;
use cardcase::manage::{Confirmation, Import, Permission, Session, Timestamp};
use cardcase::{Error, Store, Unlocker};
use rustix::fs::{Gid, Uid};
use zeroize::Zeroizing;

use crate::support::ca::{Authority, Issued, Key};
use crate::support::scene::Scene;
use crate::support::{executable, missing, program};

/// The user `nobody`: p11-kit reads no configuration of root's.
const NOBODY: u32 = 65534;

/// Every kind of key that the module signs with.
pub const KEYS: [Key; 5] = [Key::Rsa2048, Key::P256, Key::P384, Key::P521, Key::Ed25519];

pub struct Person {
    pub scene: Scene,
    /// The module, where the user can read it.
    pub module: PathBuf,
    /// `None` for the user who runs the tests.
    user: Option<u32>,
    variables: Vec<(OsString, OsString)>,
}

impl Person {
    /// The user who runs the tests.
    pub fn same() -> Self {
        Self::new(None)
    }

    /// An ordinary user.
    pub fn ordinary() -> Self {
        Self::new(rustix::process::geteuid().is_root().then_some(NOBODY))
    }

    fn new(user: Option<u32>) -> Self {
        let scene = Scene::new();
        let machine = &scene.machine;
        let module = machine.dir().join("libcardcase_pkcs11.so");
        std::fs::copy(built_module(), &module).unwrap();
        let commands = machine.dir().join("bin");
        std::fs::create_dir(&commands).unwrap();
        executable::copy(program::cardcase().to_str().unwrap(), &commands, "cardcase");
        let modules = machine.dir().join(".config/pkcs11/modules");
        std::fs::create_dir_all(&modules).unwrap();
        std::fs::write(modules.join("cardcase.module"), format!("module: {}\n", module.display())).unwrap();
        let person = Self { scene, module, user, variables: Vec::new() };
        person.give_back();
        person
    }

    /// With one identity of each kind of key, named like its kind.
    pub fn with_every_key(self, permission: Permission) -> Self {
        let issued: Vec<_> = KEYS.iter().map(|key| self.scene.employee(key.name()).key(*key).issue()).collect();
        self.receive(&issued, permission, Confirmation::Never);
        self
    }

    /// With one more variable in the environment of programs.
    pub fn with_variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Imports identities with their chains, and permits programs to use them.
    pub fn receive(&self, issued: &[Issued], permission: Permission, confirmation: Confirmation) {
        self.with_store(|store| {
            let imports: Vec<Import> = issued.iter().map(|issued| import(issued, &self.scene.staff_root)).collect();
            for identity in store.import(imports, None, Timestamp::now()).unwrap().imported {
                store.permit(&identity, permission, confirmation).unwrap();
            }
        });
    }

    /// Works with the store in this process.
    pub fn with_store<T>(&self, work: impl FnOnce(&Store) -> T) -> T {
        if self.user.is_some() {
            chown(self.scene.machine.dir(), 0);
        }
        let session = Session::in_directory(self.scene.machine.runtime().join("cardcase"));
        let store = Store::open_in_session(self.scene.machine.store(), session).unwrap();
        let done = work(&store);
        drop(store);
        self.give_back();
        done
    }

    pub fn give_back(&self) {
        if let Some(user) = self.user {
            chown(self.scene.machine.dir(), user);
        }
    }

    /// The environment of programs.
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let mut path = self.scene.machine.dir().join("bin").into_os_string();
        path.push(":");
        path.push(program::path());
        let mut environment = self.scene.machine.environment();
        environment.push(("PATH".into(), path));
        environment.extend(self.variables.clone());
        environment
    }

    /// A program of this user.
    pub fn program(&self, name: impl AsRef<OsStr>) -> Command {
        let mut command = match self.user {
            Some(user) => {
                let mut command = program::named("setpriv");
                command.args([format!("--reuid={user}"), format!("--regid={user}")]).args(["--clear-groups", "--"]);
                command.arg(name);
                command
            }
            None => program::named(name),
        };
        command.envs(self.environment()).current_dir(self.scene.machine.dir()).stdin(Stdio::null());
        command
    }

    /// The command of this user; returns its output.
    pub fn cardcase(&self, line: &str) -> String {
        let output = self.program("cardcase").args(line.split(' ')).output().unwrap();
        assert!(output.status.success(), "cardcase {line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The fingerprint of an identity.
    pub fn fingerprint(&self, name: &str) -> String {
        let shown = self.cardcase(&format!("show {name} --json"));
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        shown["fingerprint"].as_str().unwrap().to_owned()
    }

    /// A file of this user.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.scene.machine.dir().join(name);
        std::fs::write(&path, content).unwrap();
        if let Some(user) = self.user {
            chown(&path, user);
        }
        path
    }
}

/// Nobody who could be asked for a password.
pub struct Nobody;

impl Unlocker for Nobody {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        Err(Error::VaultLocked)
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        // Ends the agent, which the module has started
        let _ = self.program("cardcase").arg("lock").output();
    }
}

/// The module. Cargo builds no library of this kind for tests.
pub fn built_module() -> PathBuf {
    let module = std::env::current_exe().unwrap().with_file_name("libcardcase_pkcs11.so");
    let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let sources = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap();
    let last = sources.filter_map(|entry| changed(&entry.unwrap().path())).max();
    let how = "cargo build --workspace --all-features --lib --test module";
    assert!(changed(&module) > last, "{} is not built, or older than its source: {how}", module.display());
    module
}

fn import(issued: &Issued, root: &Authority) -> Import {
    let pem = issued.key_pem() + &issued.pem() + &issued.chain_pem() + &root.pem();
    file::read(pem.as_bytes(), "").unwrap()
}

fn chown(path: &Path, user: u32) {
    let owner = (Some(Uid::from_raw(user)), Some(Gid::from_raw(user)));
    rustix::fs::chown(path, owner.0, owner.1).unwrap();
    let metadata = std::fs::symlink_metadata(path).unwrap();
    if metadata.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| chown(&entry.unwrap().path(), user));
    }
}

/// What a program said, if it is there.
pub fn output(command: &mut Command, package: &str) -> Output {
    let name = command.get_program().to_string_lossy().into_owned();
    command.output().unwrap_or_else(|error| panic!("{}", missing(&name, package, &error)))
}
