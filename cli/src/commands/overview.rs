//! `cardcase` alone: what it is, what is in the store, and what to type next.

use std::path::PathBuf;

use cardcase::manage::Timestamp;
use cardcase::{Error, Store};
use serde::Serialize;

use crate::app::App;
use crate::profiles::Profile;
use crate::ui::failure::Failure;
use crate::ui::json::print_json;
use crate::ui::named_store::in_commands;
use crate::ui::stdout::print;
use crate::ui::text::{absolute, counted, quoted};
use crate::ui::time::expires_soon;

const WHAT: &str = "cardcase keeps client certificates with their private keys, as a browser does.
When a TLS server asks for one, it shows those that fit, sends the one that you
choose, and remembers your answer.
";

#[derive(Serialize)]
struct OverviewJson {
    store: PathBuf,
    protected: bool,
    unlocked: bool,
    identities: usize,
    expired: usize,
    expiring: usize,
    decisions: usize,
}

pub(crate) fn run(app: &App) -> Result<(), Failure> {
    let path = app.store_path()?;
    let store = match Store::open_existing(&path) {
        Ok(store) => Some(store),
        Err(Error::NoStore { .. }) if !app.names_store() => None,
        Err(error @ Error::NoStore { .. }) => return Err(error.into()),
        Err(error) => return Err(Failure::from(error).hint("to see what is wrong: cardcase doctor")),
    };
    let path = absolute(path);
    let overview = match &store {
        Some(store) => OverviewJson::new(path, store, app.now())?,
        None => OverviewJson::empty(path),
    };
    if app.common.json {
        return print_json(&overview);
    }
    print(&format!("{WHAT}\n{}\n{}", overview.facts(store.is_some()), overview.next()))
}

impl OverviewJson {
    fn empty(store: PathBuf) -> Self {
        Self { store, protected: false, unlocked: true, identities: 0, expired: 0, expiring: 0, decisions: 0 }
    }

    fn new(path: PathBuf, store: &Store, now: Timestamp) -> Result<Self, Failure> {
        let mut overview = Self { protected: store.has_primary_password(), ..Self::empty(path) };
        // An agent that hangs does not make this fail: `doctor` names it
        overview.unlocked = !store.is_locked() || store.agent().ok().flatten().is_some_and(|agent| agent.serves);
        for identity in store.each_identity()? {
            let until = identity?.certificate().not_after();
            overview.identities += 1;
            overview.expired += usize::from(until < now);
            overview.expiring += usize::from(expires_soon(now, until));
        }
        for decision in store.each_decision()? {
            decision?;
            overview.decisions += 1;
        }
        Ok(overview)
    }

    fn facts(&self, exists: bool) -> String {
        let mut identities = self.identities.to_string();
        if self.expired > 0 {
            identities.push_str(&format!(", {} expired", self.expired));
        }
        if self.expiring > 0 {
            identities.push_str(&format!(", {} within 30 days", counted(self.expiring, "expires", "expire")));
        }
        let keys = match (self.protected, self.unlocked) {
            (false, _) if self.identities == 0 => "not protected by a password yet",
            (false, _) => "not protected by a password",
            (true, true) => "protected by a password, and unlocked",
            (true, false) => "protected by a password",
        };
        let place = if exists { "" } else { " (does not exist yet)" };
        format!(
            "Identities  {identities}\nDecisions   {}\nKeys        {keys}\nStore       {}{place}\n",
            self.decisions,
            quoted(&self.store)
        )
    }

    /// Commands to copy.
    fn next(&self) -> String {
        let mut commands: Vec<(String, String)> = Vec::new();
        let mut add = |why: &str, command: &str| commands.push((why.to_owned(), command.to_owned()));
        if self.identities == 0 {
            for (profile, identities) in Profile::with_identities() {
                let what = match identities {
                    Some(number) => format!("the {} of {}", counted(number, "identity", "identities"), profile.told()),
                    None => format!("from {} (in use now)", profile.told()),
                };
                add(&format!("to import {what}"), &profile.import_command());
            }
            add("to add a certificate with its key", "cardcase import FILE.p12");
            add("to see what a server asks for", "cardcase explain HOST");
        } else {
            if self.expired + self.expiring > 0 {
                add("to see what expires", "cardcase expires");
            }
            if !self.protected {
                add("to protect the keys", "cardcase password");
            }
            add("to request a page", "cardcase fetch https://HOST/");
            add("to see the identities", "cardcase list");
        }
        add("to check everything", "cardcase doctor");
        add("all commands", "cardcase --help");
        let width = commands.iter().map(|(why, _)| why.len() + 1).max().unwrap_or(0);
        commands
            .iter()
            .map(|(why, command)| format!("{:<width$}  {}\n", format!("{why}:"), in_commands(command)))
            .collect()
    }
}
