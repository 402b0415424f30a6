//! What the commands share in one run: the store, the selector, and who can be asked.

use std::cell::{Cell, OnceCell};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use cardcase::Error;
use cardcase::Selector;
use cardcase::Store;
use cardcase::Unlocker;
use cardcase::ask::{Dialogs, terminal};
#[cfg(feature = "keyring")]
use cardcase::manage::Keyring;
use cardcase::manage::Mode;
use cardcase::manage::Policy;
use cardcase::manage::Rule;
use cardcase::manage::Session;
use cardcase::manage::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::ask::new_password;
use crate::ask::password_file::{KnownPassword, PasswordFile};
use crate::ask::program::ProgramChooser;
use crate::cleanup::Cleanup;
use crate::cli::{Common, WithoutStore};
use crate::input::Input;
use crate::ui::failure::{Code, Failure};
use crate::ui::json::print_json;
use crate::ui::notices::{DamageTold, tell_unrecorded};
use crate::ui::remedy::BROKEN_POLICY;
use crate::ui::say;
use crate::ui::text::quoted;

/// How long the end of the process waits for the history.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// One run of the command.
pub(crate) struct App {
    pub(crate) common: Common,
    pub(crate) input: Input,
    names_store: bool,
    without_store: WithoutStore,
    store: OnceCell<Arc<Store>>,
    selector: OnceCell<Selector>,
    unlocker: OnceCell<Arc<dyn Unlocker>>,
    damage_told: DamageTold,
    terminal_left_alone: Cell<bool>,
    /// Where an empty store is that stands for one that does not exist.
    nothing: OnceCell<Cleanup>,
    /// Dropped last, when the store is gone.
    flush_at_end: OnceCell<Cleanup>,
}

impl App {
    pub(crate) fn new(common: Common, names_store: bool, without_store: WithoutStore) -> Self {
        Self {
            common,
            names_store,
            without_store,
            nothing: OnceCell::new(),
            input: Input::default(),
            store: OnceCell::new(),
            flush_at_end: OnceCell::new(),
            selector: OnceCell::new(),
            unlocker: OnceCell::new(),
            damage_told: DamageTold::default(),
            terminal_left_alone: Cell::new(false),
        }
    }

    /// The store, opened at the first call.
    pub(crate) fn store(&self) -> Result<&Arc<Store>, Failure> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let store = Arc::new(self.open_store()?);
        say::detail(format_args!(
            "store: {} ({})",
            store.path().display(),
            if store.has_primary_password() { "protected by a primary password" } else { "without a primary password" }
        ));
        if let Some(kind) = store.network_file_system() {
            say::warn(format_args!(
                "the store {} is on {kind}, where two commands at the same time can damage it; keep it on a local disk: \
                 --store FILE",
                store.path().display()
            ));
        }
        let store_at_end = Arc::downgrade(&store);
        let _ = self.flush_at_end.set(Cleanup::new(move || {
            // After `finish` the store is gone. On a signal nobody waits longer than this
            let Some(store) = store_at_end.upgrade() else { return };
            let (done, is_done) = mpsc::channel();
            let flush = move || {
                let _ = store.flush();
                let _ = done.send(());
            };
            if thread::Builder::new().spawn(flush).is_ok() {
                let _ = is_done.recv_timeout(FLUSH_LIMIT);
            }
        }));
        Ok(self.store.get_or_init(|| store))
    }

    /// The path of the store, which may not exist.
    pub(crate) fn store_path(&self) -> Result<PathBuf, Error> {
        match &self.common.store {
            Some(path) => Ok(path.clone()),
            None => Store::default_path(),
        }
    }

    /// Whether `--store` was typed for this run.
    pub(crate) fn names_store(&self) -> bool {
        self.names_store
    }

    fn open_store(&self) -> Result<Store, Failure> {
        let path = self.store_path()?;
        match self.without_store {
            WithoutStore::Create => return Ok(Store::open(path)?),
            WithoutStore::CreateUnlessTyped if !self.names_store => return Ok(Store::open(path)?),
            WithoutStore::CreateUnlessTyped | WithoutStore::Leave | WithoutStore::Pretend => {}
        }
        match Store::open_existing(&path) {
            // What does not exist yet is empty
            Err(Error::NoStore { .. }) if !self.names_store || self.without_store == WithoutStore::Pretend => {
                say::note(format_args!("there is no store yet: {} does not exist", quoted(&path)));
                self.empty_store()
            }
            opened => Ok(opened?),
        }
    }

    /// An empty store in a directory that goes away with this process.
    fn empty_store(&self) -> Result<Store, Failure> {
        let temporary = std::env::temp_dir();
        let failed = |error: &std::io::Error| Failure::io(&temporary, error);
        let directory = tempfile::Builder::new().prefix("cardcase-").tempdir().map_err(|error| failed(&error))?.keep();
        let removed = directory.clone();
        // Nobody needs it, even if it could not be removed
        let _ = self.nothing.set(Cleanup::new(move || drop(std::fs::remove_dir_all(removed))));
        Ok(Store::open(directory.join("cardcase.db"))?)
    }

    /// Prints what the command did, with `--json`.
    pub(crate) fn answer<T: Serialize>(&self, json: impl FnOnce() -> T) -> Result<(), Failure> {
        if self.common.json { print_json(&json()) } else { Ok(()) }
    }

    /// Waits until the history is written.
    pub(crate) fn finish(&self) {
        if let Some(Err(error)) = self.store.get().map(|store| store.flush()) {
            tell_unrecorded(&error);
        }
    }

    /// Warns of the damaged rows that were left out.
    pub(crate) fn tell_damage(&self) {
        if let Some(store) = self.store.get() {
            self.damage_told.tell(store);
        }
    }

    /// For a command that shows a whole table: fails when a damaged row of it was left out. [`Self::tell_damage`] names the
    /// row.
    pub(crate) fn check_all_shown(&self, table: &str) -> Result<(), Failure> {
        match self.store()?.damage().iter().any(|damage| damage.table == table) {
            true => Err(Failure::new(Code::Failed, format_args!("some {table} in the store cannot be read"))),
            false => Ok(()),
        }
    }

    /// The store, unlocked to write rows that carry an authentication code. The agent can do that.
    pub(crate) fn unlocked_store(&self) -> Result<&Arc<Store>, Failure> {
        let store = self.store()?;
        store.unlock(&*self.unlocker()?)?;
        Ok(store)
    }

    /// The store, unlocked with the primary password to take private keys out. The agent cannot do that.
    pub(crate) fn fully_unlocked_store(&self) -> Result<&Arc<Store>, Failure> {
        let store = self.store()?;
        store.unlock_fully(&*self.unlocker()?)?;
        Ok(store)
    }

    /// A selector that asks nobody. From the first call on, it keeps its trusted authorities up to date with the store.
    pub(crate) fn trusting_selector(&self) -> Result<&Selector, Failure> {
        if let Some(selector) = self.selector.get() {
            return Ok(selector);
        }
        let selector = Selector::new(self.store()?.clone());
        let selector = selector.with_policy_directory(self.policy_directory()).with_trusted_authorities()?;
        Ok(self.selector.get_or_init(|| selector))
    }

    pub(crate) fn mode(&self) -> Result<Mode, Failure> {
        match self.common.mode {
            Some(mode) => Ok(mode),
            None => Ok(self.store()?.settings()?.mode),
        }
    }

    /// What a command that is shown to be copied needs at its end, so that it uses the mode of this run.
    pub(crate) fn mode_flag(&self) -> String {
        self.common.mode.map_or(String::new(), |mode| format!(" --mode {mode}"))
    }

    /// A selector that asks a program or at the terminal, unless nobody can be asked.
    pub(crate) fn selector(&self) -> Result<Selector, Failure> {
        let selector = self.trusting_selector()?.clone().with_unlocker(self.unlocker()?);
        let selector = match self.common.mode {
            Some(mode) => selector.with_mode(mode),
            None => selector,
        };
        Ok(match self.common.chooser() {
            Some(_) if !self.common.batch => selector.with_chooser(Arc::new(ProgramChooser(self.dialogs()?))),
            None if self.can_ask() => selector.with_chooser(Arc::new(self.dialogs()?)),
            _ => selector,
        })
    }

    /// Where the administrator's files are.
    pub(crate) fn policy_directory(&self) -> &Path {
        self.common.policies.as_deref().unwrap_or(Path::new(Selector::POLICY_DIRECTORY))
    }

    /// What can be read of the administrator's files, and whether that is all of them. Warns of those that cannot be read.
    pub(crate) fn survey_policies(&self) -> (Policy, bool) {
        let (policy, broken) = Policy::survey(self.policy_directory());
        for error in &broken {
            say::warn(format_args!("{error}; {BROKEN_POLICY}"));
        }
        (policy, broken.is_empty())
    }

    /// The rules of the store, then those of the administrator.
    pub(crate) fn all_rules(&self, policy: &Policy) -> Result<Vec<Rule>, Failure> {
        Ok([self.store()?.rules()?, policy.rules.clone()].concat())
    }

    /// Gets the primary password from the desktop's keyring, where that is allowed, or from [`Self::asking_unlocker`]. There is one for the
    /// whole run, since stdin can be read only once.
    pub(crate) fn unlocker(&self) -> Result<Arc<dyn Unlocker>, Failure> {
        if let Some(unlocker) = self.unlocker.get() {
            return Ok(Arc::clone(unlocker));
        }
        let unlocker = self.with_keyring(self.asking_unlocker()?)?;
        Ok(Arc::clone(self.unlocker.get_or_init(|| unlocker)))
    }

    /// The same for another program that needs the store. The terminal is that program's, so a person is asked in a window.
    pub(crate) fn unlocker_in_window(&self, program: &str) -> Result<Arc<dyn Unlocker>, Failure> {
        let asking = self.asking_unlocker()?;
        if self.common.batch || self.common.primary_password_file.is_some() {
            return Ok(asking);
        }
        let dialogs = self.dialogs()?.needed_by(self.store()?, program);
        self.with_keyring(Arc::new(dialogs))
    }

    #[cfg_attr(
        not(feature = "keyring"),
        expect(clippy::unnecessary_wraps, reason = "the store of a keyring may not open")
    )]
    fn with_keyring(&self, asking: Arc<dyn Unlocker>) -> Result<Arc<dyn Unlocker>, Failure> {
        // A locked keyring asks for its own password
        #[cfg(feature = "keyring")]
        if !self.common.batch && self.common.primary_password_file.is_none() {
            return Ok(Keyring::for_store(self.store()?.path()).unlocker(asking));
        }
        Ok(asking)
    }

    /// Gets the primary password from a file or a person. A file is read only when the password is needed; stdin is read at
    /// once, since another flag may name it too.
    ///
    /// A password for a store that has none is an error, unless it is empty: somebody may have replaced the vault with one that
    /// has no password.
    pub(crate) fn asking_unlocker(&self) -> Result<Arc<dyn Unlocker>, Failure> {
        if let Some(file) = &self.common.primary_password_file
            && !self.store()?.has_primary_password()
        {
            let given = self.input.read_password(file)?;
            if given.is_empty() {
                return Ok(Arc::new(KnownPassword(given)));
            }
            let failure = "a primary password was given, but the store has none; nothing was done";
            return Err(Failure::new(Code::Failed, failure).hint("to set one: cardcase password").hint(
                "if you had set one, somebody replaced the vault: restore the file from a backup, or use another store: --store FILE",
            ));
        }
        Ok(match &self.common.primary_password_file {
            Some(file) if file == Path::new("-") => Arc::new(KnownPassword(self.input.read_password(file)?)),
            Some(file) => Arc::new(PasswordFile(file.clone())),
            None if self.common.batch => Arc::new(NobodyToAsk),
            None => Arc::new(self.dialogs()?),
        })
    }

    /// The user's dialogs.
    fn dialogs(&self) -> Result<Dialogs, Failure> {
        let program = self.common.chooser().map(Path::to_owned);
        Ok(Dialogs::for_user(self.store()?).with_program(program))
    }

    /// The dialogs that ask for a new primary password; `None` where nobody can be asked.
    pub(crate) fn password_dialogs(&self) -> Result<Option<Dialogs>, Failure> {
        Ok(Some(self.dialogs()?).filter(|dialogs| !self.common.batch && dialogs.can_ask_for_password()))
    }

    /// Offers to set a primary password before the first private key is stored, so that no key is ever stored unprotected.
    /// Only a person at a terminal is asked.
    pub(crate) fn offer_protection(&self) -> Result<(), Failure> {
        let store = self.store()?;
        let is_person = self.can_ask() && !self.common.json && self.common.primary_password_file.is_none();
        if !is_person || store.has_primary_password() {
            return Ok(());
        }
        if !store.identities()?.is_empty() || !store.enrollments()?.is_empty() {
            return Ok(());
        }
        let Some(dialogs) = self.password_dialogs()? else { return Ok(()) };
        let new = new_password::ask(&dialogs, true)?;
        if new.is_empty() {
            return Ok(());
        }
        new_password::set(store, Some(&new))?;
        new_password::warn_if_weak(&new, "the new primary password");
        Ok(())
    }

    /// Whether a person or a program can be asked which identity to send.
    pub(crate) fn can_choose(&self) -> bool {
        !self.common.batch && (self.common.chooser().is_some() || self.can_ask())
    }

    /// Asks nobody at the terminal from now on: another program uses it.
    pub(crate) fn leave_the_terminal_alone(&self) {
        self.terminal_left_alone.set(true);
    }

    /// Whether a person can be asked at the terminal.
    pub(crate) fn can_ask(&self) -> bool {
        !self.common.batch && !self.terminal_left_alone.get() && terminal::is_there()
    }

    /// The user's runtime directory, which the system removes at logout.
    pub(crate) fn runtime_directory(&self) -> Result<PathBuf, Failure> {
        Ok(Session::login().directory()?.to_owned())
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Nobody can be asked for the primary password.
struct NobodyToAsk;

impl Unlocker for NobodyToAsk {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        Err(Error::VaultLocked)
    }
}
