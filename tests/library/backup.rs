//! Backups through the library: what comes back, and which keys are accepted.

use cardcase::manage::{Backup, Confirmation, Lifetime, Permission, Scope};
use cardcase::{Error, Unlocker};
use zeroize::Zeroizing;

use crate::pki::{Ca, Home, NOW, import};

/// Nobody has to be asked: the stores have no primary password.
struct Nobody;

impl Unlocker for Nobody {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        Err(Error::VaultLocked)
    }
}

#[test]
fn a_backup_restores_into_a_store_of_another_vault() {
    let (home, other) = (Home::new(), Home::new());
    let root = Ca::root("Root");
    let (alice, bob) = (root.leaf("Alice"), root.leaf("Bob"));
    let store = home.with([&alice, &bob], [&root.certificate]);
    store.require_tls13(&store.find_identity("Bob").unwrap(), true).unwrap();
    store.permit(&store.find_identity("Alice").unwrap(), Permission::Any, Confirmation::For15Minutes).unwrap();
    let scope = Scope { host: "host.example".to_owned(), port: None };
    store.remember(&scope, Some(alice.fingerprint()), Lifetime::Permanent, NOW).unwrap();
    let file = store.backup("password", false, NOW, &Nobody).unwrap();
    assert!(matches!(Backup::open(&file, "passwort"), Err(Error::WrongBackupPassword)));
    let backup = Backup::open(&file, "password").unwrap();
    assert_eq!((backup.made_at(), backup.had_primary_password(), backup.has_private_keys()), (NOW, false, true));
    assert!(!format!("{backup:?}").contains("private"), "{backup:?}");

    let there = other.open();
    let rehearsed = there.would_restore(&backup).unwrap();
    assert!(there.identities().unwrap().is_empty());
    let restored = there.restore(&backup).unwrap();
    assert_eq!(restored.identities, rehearsed.identities);
    assert_eq!(restored.decisions, store.decisions().unwrap());
    assert_eq!(there.identities().unwrap(), store.identities().unwrap());
    assert_eq!(there.find_identity("Alice").unwrap().permission(), Permission::Any);
    for identity in there.identities().unwrap() {
        there.private_key(&identity, &Nobody).unwrap();
    }
    // The codes are those of this store: it takes what was restored for its own
    there.set_primary_password(Some("primary"), &Nobody).unwrap();
}

#[test]
fn a_rehearsed_import_names_what_an_import_stores() {
    let home = Home::new();
    let root = Ca::root("Root");
    let store = home.with([&root.leaf("Alice")], []);
    let files = || vec![import([&root.leaf("Alice")], [&root.certificate])];
    let rehearsed = store.would_import(files(), None, NOW).unwrap();
    assert_eq!(rehearsed.imported[0].name(), "Alice (2)");
    assert_eq!(store.identities().unwrap().len(), 1);
    assert_eq!(store.import(files(), None, NOW).unwrap().imported[0].name(), "Alice (2)");
}
