use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use cardcase::Destination;
use cardcase::Error;
use cardcase::Store;
use cardcase::manage::Import;
use cardcase::manage::{Lifetime, Mode, Scope};
use rusqlite::Connection;

use crate::people::{Nobody, PASSWORD, Typist};
use crate::pki::{Ca, Home, Leaf, NOW, import, params};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn names(store: &Store) -> Vec<String> {
    store.identities().unwrap().iter().map(|identity| identity.name().to_owned()).collect()
}

fn scope(host: &str) -> Scope {
    Mode::Firefox.scope(&Destination::new(host, 443).unwrap())
}

/// Runs itself in another process, because the umask applies to the whole process.
#[test]
fn only_the_owner_can_access_a_new_store_under_any_umask() {
    let home = Home::new();
    if let Some(directory) = std::env::var_os("CARDCASE_TEST_UMASK") {
        rustix::process::umask(rustix::fs::Mode::empty());
        let home = Path::new(&directory);
        Store::open_in_session(
            home.join("data/cardcase.db"),
            cardcase::manage::Session::in_directory(home.join("session")),
        )
        .unwrap()
        .import(vec![import([&Ca::root("Root").leaf("a")], [])], None, NOW)
        .unwrap();
        return;
    }
    let test = "store::only_the_owner_can_access_a_new_store_under_any_umask";
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let output = child.args([test, "--exact"]).env("CARDCASE_TEST_UMASK", home.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(mode(&home.store_file()), 0o600);
    assert_eq!(mode(home.store_file().parent().unwrap()), 0o700);
    assert_eq!(fs::read_dir(home.store_file().parent().unwrap()).unwrap().count(), 1, "one file is the whole store");
}

#[test]
fn an_import_survives_reopening() {
    let home = Home::new();
    let root = Ca::root("Root");
    let leaf = root.leaf("Person");
    drop(home.with([&leaf], [&root.certificate]));
    let store = home.open();
    let identity = store.identity(leaf.fingerprint()).unwrap().unwrap();
    assert_eq!((identity.name(), identity.certificate()), ("Person", &leaf.certificate));
    assert_eq!(*store.private_key(&identity, &Nobody).unwrap(), leaf.pkcs8);
    let [authority] = &store.authorities().unwrap()[..] else { panic!("one authority") };
    assert_eq!((&authority.certificate, authority.trusted), (&root.certificate, false));
}

#[test]
fn no_private_key_is_in_the_file() {
    let home = Home::new();
    let leaf = Ca::root("Root").leaf("Person");
    drop(home.with([&leaf], []));
    let file = fs::read(home.store_file()).unwrap();
    // Where the PKCS#8 holds the secret number of a P-256 key
    let secret = &leaf.pkcs8[36..68];
    assert!(!file.windows(secret.len()).any(|window| window == secret));
}

#[test]
fn names_are_made_unique() {
    let home = Home::new();
    let ca = Ca::root("Root");
    let cases = [
        (Some("card"), "card"),
        (Some("card"), "card (2)"),
        (Some("card"), "card (3)"),
        (Some("card (2)"), "card (2) (2)"),
        (None, "Person"),
        (Some(""), "Person (2)"),
        (Some("  spaces  "), "spaces"),
        (Some("tab\tand\u{202e}turn"), "tabandturn"),
        (Some("a\u{3164}\u{115f}\u{200b}\u{2060}\u{feff}card"), "acard"),
        (Some("a\u{a0}card\u{3000}"), "a card"),
    ];
    let store = home.open();
    for (given, expected) in cases {
        let mut import = Import::default();
        ca.leaf("Person").add_to(&mut import, given);
        let imported = store.import(vec![import], None, NOW).unwrap();
        assert_eq!(imported.imported[0].name(), expected);
    }
    assert_eq!(names(&store).len(), cases.len());
}

#[test]
fn identities_with_the_same_name_are_numbered_without_gaps() {
    let home = Home::new();
    let ca = Ca::root("Root");
    let leaves: Vec<Leaf> = (0..40).map(|_| ca.leaf("Person")).collect();
    let mut expected: Vec<String> = (2..=40).map(|number| format!("Person ({number})")).collect();
    expected.push("Person".to_owned());
    expected.sort();
    let mut found = names(&home.with(&leaves, []));
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn no_identity_is_named_none() {
    let home = Home::new();
    let ca = Ca::root("Root");
    let store = home.open();
    for name in ["none", "None", "NONE"] {
        let mut named = Import::default();
        ca.leaf("a").add_to(&mut named, Some(name));
        store.import(vec![named], None, NOW).unwrap();
        let refused = store.import(vec![import([&ca.leaf("a")], [])], Some(name), NOW);
        assert!(matches!(refused, Err(Error::Name { .. })));
    }
    assert_eq!(names(&store).iter().filter(|name| name.eq_ignore_ascii_case("none")).count(), 0);
    assert!(matches!(store.find_identity("none"), Err(Error::UnknownIdentity { .. })));
}

#[test]
fn an_import_under_an_invalid_name_stores_nothing() {
    let home = Home::new();
    let ca = Ca::root("Root");
    let store = home.with([&ca.leaf("taken")], []);
    let (one, two) = (ca.leaf("a"), ca.leaf("b"));
    let long = "x".repeat(201);
    let cases = [("taken", 1), ("", 1), (" edge", 1), ("a\u{7}b", 1), (&long, 1), ("fine", 2), ("fine", 0)];
    for (name, identities) in cases {
        let leaves = [&one, &two];
        let refused = store.import(vec![import(leaves[..identities].iter().copied(), [])], Some(name), NOW);
        assert!(matches!(&refused, Err(Error::Name { name: named, .. }) if named == name), "{name:?}");
    }
    assert_eq!(names(&store), ["taken"]);
}

#[test]
fn importing_twice_changes_nothing() {
    let home = Home::new();
    let root = Ca::root("Root");
    let (old, new) = (root.leaf("old"), root.leaf("new"));
    let store = home.with([&old], [&root.certificate]);
    let files = vec![import([&old, &new], [&root.certificate]), import([&new], [&root.certificate])];
    let again = store.import(files, None, NOW).unwrap();
    let fingerprints =
        |found: &[Arc<cardcase::Identity>]| found.iter().map(|identity| identity.fingerprint()).collect::<Vec<_>>();
    assert_eq!(fingerprints(&again.imported), [new.fingerprint()]);
    assert_eq!(fingerprints(&again.already_present), [old.fingerprint(), new.fingerprint()]);
    assert_eq!(again.authorities, []);
    assert_eq!(names(&store), ["new", "old"]);
}

#[test]
fn an_identity_is_found_by_name_or_by_a_prefix_of_its_fingerprint() {
    let home = Home::new();
    let leaf = Ca::root("Root").leaf("Person");
    let store = home.with([&leaf], []);
    let digits = leaf.fingerprint().to_string();
    let colons = format!("{}:{}:{}", &digits[..2], &digits[2..4], &digits[4..6]).to_uppercase();
    for id in ["Person", &digits, &digits[..4], &digits[..5], &digits[..63], &colons] {
        assert_eq!(store.find_identity(id).unwrap().fingerprint(), leaf.fingerprint(), "{id}");
    }
    let other = if digits.starts_with('0') { "1".repeat(8) } else { "0".repeat(8) };
    let too_long = format!("{digits}0");
    for id in ["person", "Perso", &digits[..3], &other, "", "xyzw", &too_long] {
        assert!(matches!(store.find_identity(id), Err(Error::UnknownIdentity { id: named }) if named == id), "{id}");
    }
}

#[test]
fn an_id_that_matches_two_identities_is_ambiguous() {
    let home = Home::new();
    let root = Ca::root("Root");
    // Among a few hundred, two begin with the same four digits
    let mut seen = HashMap::new();
    let (one, other) = (0..)
        .find_map(|number| {
            let leaf = Arc::new(root.leaf(&format!("Person {number}")));
            let digits: String = leaf.fingerprint().to_string().chars().take(4).collect();
            seen.insert(digits, leaf.clone()).map(|before| (before, leaf))
        })
        .unwrap();
    let store = home.with([&*one, &*other], []);
    let digits = one.fingerprint().to_string();
    assert!(matches!(store.find_identity(&digits[..4]), Err(Error::Ambiguous { .. })));
    assert_eq!(store.find_identity(&digits).unwrap().fingerprint(), one.fingerprint());
    // A name that looks like the fingerprint of another identity does not replace it
    let named = "UPDATE identities SET name = ?1 WHERE fingerprint = ?2";
    home.database().execute(named, rusqlite::params![digits, other.fingerprint().as_bytes()]).unwrap();
    assert!(matches!(store.find_identity(&digits), Err(Error::Ambiguous { .. })));
    assert!(matches!(store.find_identity(&digits[..32]).unwrap().fingerprint(), found if found == one.fingerprint()));
}

#[test]
fn authorities_are_found_by_prefix_and_can_be_trusted() {
    let home = Home::new();
    let (root, other) = (Ca::root("Root"), Ca::root("Other"));
    let store = home.with([], [&root.certificate]);
    let digits = root.certificate.fingerprint().to_string();
    assert!(!store.find_authority(&digits[..8]).unwrap().trusted);
    store.trust(&[root.certificate.clone(), other.certificate.clone()], NOW).unwrap();
    assert!(store.authorities().unwrap().iter().all(|authority| authority.trusted));
    assert_eq!(store.authorities().unwrap().len(), 2);
    assert_eq!(store.find_authority(&digits).unwrap().certificate, root.certificate);
    for id in ["Root", "0", "zzzz"] {
        assert!(matches!(store.find_authority(id), Err(Error::UnknownAuthority { .. })), "{id}");
    }
    store.import(vec![import([], [&root.certificate])], None, NOW).unwrap();
    assert!(store.find_authority(&digits).unwrap().trusted, "an import takes no trust away");
}

/// Checks the error for a file that is not our store, and that the file is unchanged.
fn assert_left_alone(home: &Home, is_named: impl Fn(&Error) -> bool) {
    let before = fs::read(home.store_file()).unwrap();
    let error = Store::open_in_session(home.store_file(), home.session()).unwrap_err();
    assert!(is_named(&error), "{error:?}");
    assert!(error.to_string().contains("cardcase.db"), "{error}");
    assert_eq!(fs::read(home.store_file()).unwrap(), before);
    let entries = fs::read_dir(home.store_file().parent().unwrap()).unwrap().count();
    assert_eq!(entries, 1, "nothing was put beside it");
}

fn home_with_file(content: &[u8]) -> Home {
    let home = Home::new();
    fs::create_dir(home.store_file().parent().unwrap()).unwrap();
    fs::write(home.store_file(), content).unwrap();
    home
}

#[test]
fn a_file_that_is_not_a_store_is_left_unchanged() {
    for content in [&b"not a database, but longer than the header of one, which is a hundred bytes"[..], &[0x30; 5000]]
    {
        assert_left_alone(&home_with_file(content), |error| matches!(error, Error::NotAStore { .. }));
    }
}

#[test]
fn a_database_of_another_program_is_left_unchanged() {
    for setup in [
        "CREATE TABLE theirs (x)",
        "PRAGMA application_id = 7; CREATE TABLE theirs (x)",
        "PRAGMA user_version = 99; CREATE TABLE theirs (x)",
    ] {
        let home = home_with_file(b"");
        home.database().execute_batch(setup).unwrap();
        assert_left_alone(&home, |error| matches!(error, Error::NotAStore { .. }));
    }
}

#[test]
fn a_store_of_a_newer_version_is_left_unchanged() {
    let home = Home::new();
    drop(home.open());
    home.database().execute_batch("PRAGMA user_version = 99; CREATE TABLE later (x)").unwrap();
    assert_left_alone(&home, |error| matches!(error, Error::NewerStore { found: 99, .. }));
}

#[test]
fn a_store_upgraded_while_open_is_left_unchanged() {
    let home = Home::new();
    let store = home.open();
    home.database().execute_batch("PRAGMA user_version = 99; CREATE TABLE later (x)").unwrap();
    let before = fs::read(home.store_file()).unwrap();
    let refused = store.forget_all();
    assert!(matches!(refused, Err(Error::NewerStore { found: 99, .. })), "{refused:?}");
    assert_eq!(fs::read(home.store_file()).unwrap(), before);
}

#[test]
fn an_empty_file_becomes_a_store() {
    let home = home_with_file(b"");
    assert_eq!(names(&home.open()), [""; 0]);
}

#[test]
fn a_damaged_row_is_named_and_nothing_panics() {
    let home = Home::new();
    let leaf = Ca::root("Root").leaf("Person");
    let store = home.with([&leaf], [&Ca::root("Root").certificate]);
    home.database().execute_batch("UPDATE identities SET certificate = x'3000'").unwrap();
    home.database().execute_batch("UPDATE authorities SET certificate = x'3000'").unwrap();
    assert!(
        matches!(store.identity(leaf.fingerprint()), Err(Error::RowDamaged(damage)) if damage.table == "identities")
    );
    assert_eq!(store.damage(), []);
    assert_eq!(names(&store), [""; 0]);
    assert_eq!(store.authorities().unwrap(), []);
    let tables: Vec<&str> = store.damage().iter().map(|damage| damage.table).collect();
    assert_eq!(tables, ["identities", "authorities"], "each once");
}

#[test]
fn removing_an_identity_removes_its_decisions() {
    let home = Home::new();
    let ca = Ca::root("Root");
    let (gone, stays) = (ca.leaf("gone"), ca.leaf("stays"));
    let store = home.with([&gone, &stays], []);
    for (host, leaf) in [("a.example", &gone), ("b.example", &gone), ("c.example", &stays)] {
        store.remember(&scope(host), Some(leaf.fingerprint()), Lifetime::Permanent, NOW).unwrap();
    }
    store.remember(&scope("d.example"), None, Lifetime::Permanent, NOW).unwrap();
    store.remove(&[gone.fingerprint()]).unwrap();
    let hosts: Vec<String> = store.decisions().unwrap().into_iter().map(|decision| decision.scope.host).collect();
    assert_eq!(hosts, ["c.example", "d.example"]);
    assert_eq!(names(&store), ["stays"]);
}

#[test]
fn a_list_that_is_not_read_to_its_end_keeps_no_writer_out() {
    const HOSTS: usize = 700;
    let home = Home::new();
    let ca = Ca::root("Root");
    let leaves: Vec<Leaf> = (0..3).map(|_| ca.leaf("Person")).collect();
    let (store, writer) = (home.with(&leaves, []), home.open());
    let host = |number: usize| format!("h{number:03}.example");
    // Not in the order in which they are listed
    let rows = "WITH RECURSIVE n(value) AS (VALUES (699) UNION ALL SELECT value - 1 FROM n WHERE value > 0)
        INSERT INTO decisions (host, decided_at) SELECT printf('h%03d.example', value), 0 FROM n";
    home.database().execute(rows, []).unwrap();
    let mut decisions = store.each_decision().unwrap();
    assert_eq!(decisions.next().unwrap().unwrap().scope.host, host(0));
    let mut identities = store.each_identity().unwrap();
    assert_eq!(identities.next().unwrap().unwrap().name(), "Person");
    // Another handle of the store is another process as far as locks matter
    for number in [1, 690] {
        assert_eq!(writer.forget(&scope(&host(number))).unwrap().0.len(), 1);
    }
    writer.remove(&[leaves[1].fingerprint()]).unwrap();
    writer.remember(&scope("z.example"), None, Lifetime::Permanent, NOW).unwrap();
    let hosts: Vec<String> = decisions.map(|decision| decision.unwrap().scope.host).collect();
    // The first page was read before, and the page with the other one was not
    let expected: Vec<String> = (1..HOSTS).filter(|number| *number != 690).map(host).collect();
    assert_eq!(hosts, expected);
    assert_eq!(store.decisions().unwrap().len(), HOSTS - 1);
    assert_eq!(store.each_decision().unwrap().nth(650).unwrap().unwrap().scope.host, host(651));
}

#[test]
fn identities_are_listed_by_name_and_their_names_are_found() {
    let home = Home::new();
    let ca = Ca::root("Root");
    let leaves = ["bob", "Alice", "carol", "alice", "Zo\u{eb}", "\u{c9}va"].map(|name| ca.leaf(name));
    let store = home.with(&leaves, []);
    let expected = ["Alice", "alice", "bob", "carol", "Zo\u{eb}", "\u{c9}va"];
    assert_eq!(names(&store), expected);
    let listed = store.each_identity().unwrap().map(|identity| identity.unwrap().name().to_owned());
    assert_eq!(listed.collect::<Vec<_>>(), expected);
    let unknown = ca.leaf("unknown").fingerprint();
    let found = store.names(leaves.iter().map(Leaf::fingerprint).chain([unknown, leaves[0].fingerprint()])).unwrap();
    assert_eq!(found.len(), leaves.len());
    assert_eq!((found.get(&leaves[0].fingerprint()).map(String::as_str), found.get(&unknown)), (Some("bob"), None));
}

#[test]
fn identities_are_found_by_index() {
    let home = Home::new();
    drop(home.open());
    let plan = |query: &str| -> String {
        let db: Connection = home.database();
        let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
        let steps = plan.query_map([], |row| row.get::<_, String>(3)).unwrap();
        steps.collect::<Result<Vec<_>, _>>().unwrap().join("\n")
    };
    for column in ["issuer_key", "subject_key", "fingerprint", "name"] {
        let plan = plan(&format!("SELECT id FROM identities WHERE {column} IN (x'00', x'01')"));
        assert!(plan.contains("SEARCH") && plan.contains("INDEX") && !plan.contains("SCAN identities"), "{plan}");
    }
}

#[test]
fn threads_and_connections_write_at_once() {
    const PER_THREAD: usize = 6;
    let home = Home::new();
    let ca = Ca::root("Root");
    drop(home.open());
    let stores: Vec<Arc<Store>> = (0..4).map(|_| home.open()).collect();
    let leaves: Vec<Vec<Leaf>> = (0..8).map(|_| (0..PER_THREAD).map(|_| ca.leaf("Person")).collect()).collect();
    std::thread::scope(|threads| {
        for (number, leaves) in leaves.iter().enumerate() {
            let store = &stores[number % stores.len()];
            threads.spawn(move || {
                for (nth, leaf) in leaves.iter().enumerate() {
                    store.import(vec![import([leaf], [])], None, NOW).unwrap();
                    let host = format!("h{number}-{nth}.example");
                    store.remember(&scope(&host), Some(leaf.fingerprint()), Lifetime::Permanent, NOW).unwrap();
                    assert!(store.identity(leaf.fingerprint()).unwrap().is_some());
                }
            });
        }
    });
    for store in &stores {
        assert_eq!(store.identities().unwrap().len(), 8 * PER_THREAD);
        assert_eq!(store.decisions().unwrap().len(), 8 * PER_THREAD);
    }
}

#[test]
fn many_threads_that_open_a_new_store_create_it_once() {
    let leaf = Ca::root("Root").leaf("Person");
    // Repeated, because a store that is read while it is created must not be taken for another program's
    for _ in 0..20 {
        let home = Home::new();
        let stores: Vec<Arc<Store>> = std::thread::scope(|threads| {
            let opening: Vec<_> = (0..8).map(|_| threads.spawn(|| home.open())).collect();
            opening.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        stores[0].import(vec![import([&leaf], [])], None, NOW).unwrap();
        for store in &stores {
            let identity = store.identity(leaf.fingerprint()).unwrap().unwrap();
            assert_eq!(*store.private_key(&identity, &Nobody).unwrap(), leaf.pkcs8, "one vault for all");
        }
    }
}

#[test]
fn a_locked_vault_refuses_an_import() {
    let home = Home::new();
    let leaf = Ca::root("Root").leaf_of(params("Person"));
    home.open().set_primary_password(Some(PASSWORD), &Typist).unwrap();
    let store = home.open();
    assert!(matches!(store.import(vec![import([&leaf], [])], None, NOW), Err(Error::VaultLocked)));
    assert_eq!(names(&store), [""; 0]);
    store.unlock(&Typist).unwrap();
    store.import(vec![import([&leaf], [])], None, NOW).unwrap();
}

#[test]
fn known_keys_are_added_to_unpaired_certificates_only() {
    let home = Home::new();
    let leaf = Ca::root("Root").leaf("Person");
    let store = home.with([&leaf], []);
    let mut paired = import([&leaf], []);
    assert!(!store.add_known_keys(&mut paired, &Nobody).unwrap());
    assert_eq!(store.import(vec![paired], None, NOW).unwrap().already_present.len(), 1);
}
