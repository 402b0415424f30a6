//! What the commands share: the store, the selector, stdin, and whoever can be asked.

use std::cell::{Cell, OnceCell};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cardcase::Error;
use cardcase::Selector;
use cardcase::Store;
use cardcase::Unlocker;
use cardcase::manage::Mode;
use cardcase::manage::Session;
use cardcase::manage::Timestamp;
use cardcase::manage::{Certificate, SystemPolicy};
#[cfg(feature = "keyring")]
use cardcase::manage::{Keyring, KeyringUnlocker};
use console::style;
use zeroize::Zeroizing;

use crate::ask::pinentry::Pinentry;
use crate::ask::program::ProgramChooser;
use crate::ask::terminal;
use crate::ask::tty::Tty;
use crate::cli::Common;
use crate::ui::failure::{BROKEN_POLICY, Code, Failure, mending};
use crate::ui::output::plain;

/// Bytes a password file may have.
const MAX_PASSWORD: u64 = 64 << 10;

/// One run of the command.
pub(crate) struct App {
    pub(crate) common: Common,
    store: OnceCell<Arc<Store>>,
    selector: OnceCell<Selector>,
    damage_told: DamageTold,
    stdin_taken: Cell<bool>,
    terminal_left_alone: Cell<bool>,
}

impl App {
    pub(crate) fn new(common: Common) -> Self {
        Self {
            common,
            store: OnceCell::new(),
            selector: OnceCell::new(),
            damage_told: DamageTold::default(),
            stdin_taken: Cell::new(false),
            terminal_left_alone: Cell::new(false),
        }
    }

    /// The store, opened at the first call.
    pub(crate) fn store(&self) -> Result<&Arc<Store>, Failure> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let path = match &self.common.store {
            Some(path) => path.clone(),
            None => Store::default_path()?,
        };
        let store = Arc::new(Store::open(path, Session::login())?);
        if let Some(kind) = store.network_file_system() {
            self.warn(&format!(
                "the store {} is on {kind}: commands on two machines, or even two on one, may damage it; keep it on a local \
                 disk: --store FILE",
                store.path().display()
            ));
        }
        Ok(self.store.get_or_init(|| store))
    }

    /// Says which rows of the store were passed over.
    pub(crate) fn tell_damage(&self) {
        if let Some(store) = self.store.get() {
            self.damage_told.tell(store);
        }
    }

    /// For a command that shows all of a table: fails when a row of it was passed over, which [`Self::tell_damage`] names.
    pub(crate) fn check_all_shown(&self, table: &str) -> Result<(), Failure> {
        match self.store()?.damage().iter().any(|damage| damage.table == table) {
            true => Err(Failure::new(Code::Failed, format_args!("not all {table} of the store can be read"))),
            false => Ok(()),
        }
    }

    /// The store with its vault open, for what is written with an authentication code.
    pub(crate) fn unlocked_store(&self) -> Result<&Arc<Store>, Failure> {
        let store = self.store()?;
        store.unlock(&*self.unlocker()?)?;
        Ok(store)
    }

    /// The same where private keys are taken out of it: an agent does not do then.
    pub(crate) fn fully_unlocked_store(&self) -> Result<&Arc<Store>, Failure> {
        let store = self.store()?;
        store.unlock_fully(&*self.unlocker()?)?;
        Ok(store)
    }

    /// The store's own authorities for verifying servers, read at the first call.
    pub(crate) fn trusted_authorities(&self) -> Result<&[Certificate], Failure> {
        Ok(self.trusting_selector()?.trusted_authorities())
    }

    /// A selector that asks nobody, with the trusted authorities as they were at the first call.
    fn trusting_selector(&self) -> Result<&Selector, Failure> {
        if let Some(selector) = self.selector.get() {
            return Ok(selector);
        }
        let selector = self.ruled_selector()?.with_trusted_authorities()?;
        Ok(self.selector.get_or_init(|| selector))
    }

    /// A selector under the administrator's rules that asks nobody.
    fn ruled_selector(&self) -> Result<Selector, Failure> {
        let selector = Selector::new(self.store()?.clone());
        Ok(match &self.common.policies {
            Some(directory) => selector.with_policy_directory(directory),
            None => selector,
        })
    }

    pub(crate) fn mode(&self) -> Result<Mode, Failure> {
        match self.common.mode {
            Some(mode) => Ok(mode),
            None => Ok(self.store()?.settings()?.mode),
        }
    }

    /// What has to stand behind a command that is to be copied, for it to be about the same mode.
    pub(crate) fn mode_flag(&self) -> String {
        self.common.mode.map_or(String::new(), |mode| format!(" --mode {mode}"))
    }

    /// A selector that asks a program or at the terminal, unless nobody is to be asked.
    pub(crate) fn selector(&self) -> Result<Selector, Failure> {
        let selector = self.trusting_selector()?.clone().with_unlocker(self.unlocker()?);
        let selector = match self.common.mode {
            Some(mode) => selector.with_mode(mode),
            None => selector,
        };
        Ok(match self.common.chooser() {
            Some(program) if !self.common.batch => {
                selector.with_chooser(Arc::new(ProgramChooser::new(program.to_owned())))
            }
            None if self.can_ask() => selector.with_chooser(Arc::new(terminal::TerminalChooser)),
            _ => selector,
        })
    }

    /// What the administrator's files say, as far as they can be used, and whether that is all of them. What is wrong with
    /// the others is warned about.
    pub(crate) fn survey_policies(&self) -> Result<(SystemPolicy, bool), Failure> {
        let (policy, broken) = self.ruled_selector()?.survey_policies();
        for error in &broken {
            self.warn(&format!("{error}; {BROKEN_POLICY}"));
        }
        Ok((policy, broken.is_empty()))
    }

    /// Whoever knows the primary password: the desktop's keyring, where it may be looked into, or who is asked.
    pub(crate) fn unlocker(&self) -> Result<Arc<dyn Unlocker>, Failure> {
        let asking = self.asking_unlocker()?;
        // A locked keyring asks for its own password
        #[cfg(feature = "keyring")]
        if !self.common.batch && self.common.primary_password_file.is_none() {
            let keyring = Keyring::of_store(self.store()?.path());
            return Ok(Arc::new(KeyringUnlocker::new(keyring, asking)));
        }
        Ok(asking)
    }

    /// Whoever is asked for the primary password. A file is read only when the password is needed; stdin, which may be wanted for
    /// something else, at once.
    pub(crate) fn asking_unlocker(&self) -> Result<Arc<dyn Unlocker>, Failure> {
        Ok(match &self.common.primary_password_file {
            Some(file) if file == Path::new("-") => Arc::new(KnownPassword(self.read_password(file)?)),
            Some(file) => Arc::new(PasswordFile(file.clone())),
            None => match self.pinentry()? {
                Some(pinentry) => Arc::new(pinentry),
                None if self.has_terminal() => Arc::new(terminal::TerminalUnlocker),
                None => Arc::new(NobodyToAsk),
            },
        })
    }

    /// The program that asks for primary passwords, where the person has one.
    fn pinentry(&self) -> Result<Option<Pinentry>, Failure> {
        match self.common.batch {
            true => Ok(None),
            false => Ok(Pinentry::from_environment(self.store()?.path())),
        }
    }

    /// Passwords are asked for on the terminal itself, wherever the streams go.
    pub(crate) fn has_terminal(&self) -> bool {
        !self.common.batch && Tty::open().is_some() && !terminal::is_in_background()
    }

    /// Whether a person can be asked for a primary password.
    pub(crate) fn can_ask_for_passwords(&self) -> Result<bool, Failure> {
        Ok(self.has_terminal() || self.pinentry()?.is_some())
    }

    /// Asks for a primary password; `error` is what was wrong with the last one.
    pub(crate) fn ask_for_password(&self, prompt: &str, error: Option<&str>) -> Result<Zeroizing<String>, Failure> {
        match (self.pinentry()?, error) {
            (Some(pinentry), error) => Ok(pinentry.ask(prompt, error)?),
            (None, Some(error)) => terminal::password(&format!("{error}. {prompt}")),
            (None, None) => terminal::password(prompt),
        }
    }

    /// Whether a person, or whoever stands for one, can be asked which identity to send.
    pub(crate) fn can_choose(&self) -> bool {
        !self.common.batch && (self.common.chooser().is_some() || self.can_ask())
    }

    /// From now on nobody is asked at the terminal: it is another program's.
    pub(crate) fn leave_the_terminal_alone(&self) {
        self.terminal_left_alone.set(true);
    }

    /// Whether a person can be asked at the terminal.
    pub(crate) fn can_ask(&self) -> bool {
        !self.common.batch && !self.terminal_left_alone.get() && terminal::is_there()
    }

    /// The directory that goes away at logout, for what must not outlive that.
    pub(crate) fn runtime_directory(&self) -> Result<PathBuf, Failure> {
        Ok(Session::login().directory()?.to_owned())
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Reads a file, or stdin for `-`, up to `limit` bytes.
    pub(crate) fn read(&self, path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let read = if path == Path::new("-") {
            read_up_to(&mut self.take_stdin()?, limit)
        } else {
            File::open(path).and_then(|mut file| read_up_to(&mut file, limit))
        };
        read.map_err(|error| Failure::io(path, &error))
    }

    /// stdin, which can be read but once.
    fn take_stdin(&self) -> Result<io::StdinLock<'static>, Failure> {
        if self.stdin_taken.replace(true) {
            return Err(Failure::usage("stdin ('-') can be read only once: give one of them as a file"));
        }
        Ok(io::stdin().lock())
    }

    /// The first line of a file, without its end.
    pub(crate) fn read_password(&self, path: &Path) -> Result<Zeroizing<String>, Failure> {
        let bytes = self.read(path, MAX_PASSWORD)?;
        first_line(&bytes).map_err(|error| Failure::io(path, &error))
    }

    pub(crate) fn warn(&self, message: &str) {
        warn(message);
    }

    pub(crate) fn hint(&self, message: &str) {
        hint(message);
    }

    pub(crate) fn note(&self, message: &str) {
        note(message);
    }
}

/// How many of the damaged rows of a store were told.
#[derive(Default)]
pub(crate) struct DamageTold(AtomicUsize);

impl DamageTold {
    /// Says which rows were passed over since this was said last.
    pub(crate) fn tell(&self, store: &Store) {
        let damage = store.damage();
        for damaged in damage.iter().skip(self.0.swap(damage.len(), Ordering::Relaxed)) {
            warn(&format!("{damaged}; it is passed over"));
            hint(&mending(damaged));
        }
    }
}

/// Says what to do next.
fn hint(message: &str) {
    eprint_line(&format!("cardcase: {}: {}", style("hint").for_stderr().cyan(), plain(message)));
}

/// Says what a person should know.
pub(crate) fn warn(message: &str) {
    eprint_line(&format!("cardcase: {}: {}", style("warning").for_stderr().yellow(), plain(message)));
}

/// Says what has happened.
pub(crate) fn note(message: &str) {
    eprint_line(&format!("cardcase: {}", plain(message)));
}

/// stderr may be closed; there is no one to tell then.
pub(crate) fn eprint_line(line: &str) {
    use io::Write;
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// # Errors
/// `FileTooLarge` beyond `limit` bytes.
fn read_up_to(from: &mut dyn Read, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    // Large enough for a password or a key: growing would leave a copy behind
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit.min(MAX_PASSWORD) as usize + 1));
    if from.take(limit + 1).read_to_end(&mut bytes)? as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// # Errors
/// `InvalidData` when it is not UTF-8.
fn first_line(bytes: &[u8]) -> io::Result<Zeroizing<String>> {
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        Ok(password) => Ok(Zeroizing::new(password.to_owned())),
        Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "the password in it is not UTF-8")),
    }
}

/// There is nobody to ask for the primary password.
struct NobodyToAsk;

impl Unlocker for NobodyToAsk {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        Err(Error::VaultLocked)
    }
}

/// A password from a file has one try.
struct PasswordFile(PathBuf);

impl Unlocker for PasswordFile {
    fn primary_password(&self, attempt: u32) -> Result<Zeroizing<String>, Error> {
        let read = || read_up_to(&mut File::open(&self.0)?, MAX_PASSWORD).and_then(|bytes| first_line(&bytes));
        match attempt {
            1 => read().map_err(|source| Error::Io { path: self.0.clone(), source }),
            _ => Err(Error::WrongPrimaryPassword),
        }
    }
}

/// A password that was read before has one try too.
struct KnownPassword(Zeroizing<String>);

impl Unlocker for KnownPassword {
    fn primary_password(&self, attempt: u32) -> Result<Zeroizing<String>, Error> {
        if attempt == 1 { Ok(self.0.clone()) } else { Err(Error::WrongPrimaryPassword) }
    }
}
