//! Somebody who cannot open the vault writes to the store: every column with a changed bit, every pair of rows with a
//! swapped column. No identity is sent where it was not decided, and no change that matters goes unnoticed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::ca::{Authority, P12, Validity};
use crate::support::command::Outcome;
use crate::support::scene::Scene;
use crate::support::server::{Ask, Kind, Server};
use cardcase::Chooser;
use cardcase::Destination;
use cardcase::Error;
use cardcase::Identity;
use cardcase::Selector;
use cardcase::Store;
use cardcase::Unlocker;
use cardcase::ask::CertificateRequest;
use cardcase::ask::{Question, Reply};
use cardcase::manage::Rule;
use cardcase::manage::Session;
use cardcase::manage::Timestamp;
use cardcase::manage::{Answer, Lifetime, Mode};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use rustls::SignatureScheme;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use zeroize::Zeroizing;

const PRIMARY: &str = "correct horse";

/// Columns that do not affect what is sent: they are only shown, or order the list in a question.
const TELLING: [&str; 14] = [
    "identities.added_at",
    "authorities.added_at",
    "authorities.id",
    "rules.added_at",
    "decisions.id",
    "decisions.last_used_at",
    "decisions.last_outcome",
    "settings.generation",
    "uses.",
    // Only used to look up identities; with a wrong value, the identity is not found
    "identities.subject_key",
    "identities.issuer_key",
    // These belong to authorities that are not trusted for servers
    "authorities.certificate",
    "authorities.fingerprint",
    "sqlite_sequence.",
];

/// A table of the store with its current rows.
struct Table {
    name: String,
    columns: Vec<String>,
    rows: Vec<(i64, Vec<Value>)>,
}

fn tables(store: &Path) -> Vec<Table> {
    let database = Connection::open(store).unwrap();
    let mut query = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").unwrap();
    let names: Vec<String> = query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let table = |name: String| {
        let mut query = database.prepare(&format!("SELECT rowid, * FROM {name} ORDER BY rowid")).unwrap();
        let columns: Vec<String> = query.column_names()[1..].iter().map(|column| (*column).to_owned()).collect();
        let rows = query.query_map([], |row| {
            let values = (1..=columns.len()).map(|index| row.get(index)).collect::<rusqlite::Result<_>>()?;
            Ok((row.get(0)?, values))
        });
        let rows = rows.unwrap().map(Result::unwrap).collect();
        Table { name, columns, rows }
    };
    names.into_iter().map(table).collect()
}

/// The value with one changed bit, at a few positions.
fn flipped(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => vec![Value::Blob(vec![0; 32]), Value::Integer(1)],
        Value::Integer(number) => vec![Value::Integer(number ^ 1), Value::Integer(number ^ (1 << 20))],
        Value::Real(number) => vec![Value::Real(-number)],
        Value::Text(text) => {
            let mut first = text.clone().into_bytes();
            let mut last = first.clone();
            // The sixth bit of a letter is its case; the first turns it into another letter
            if let (Some(first), Some(last)) = (first.first_mut(), last.last_mut()) {
                *first ^= 0x20;
                *last ^= 1;
            }
            [first, last].into_iter().filter_map(|bytes| String::from_utf8(bytes).ok()).map(Value::Text).collect()
        }
        Value::Blob(bytes) => {
            let places = [0, bytes.len() / 2, bytes.len().saturating_sub(1)];
            let flip = |place: usize| {
                let mut bytes = bytes.clone();
                bytes[place] ^= 0x10;
                Value::Blob(bytes)
            };
            places.into_iter().filter(|place| *place < bytes.len()).map(flip).collect()
        }
    }
}

/// Statements that make one change, and a description of it.
struct Change {
    what: String,
    column: String,
    statements: Vec<(String, Vec<Value>)>,
}

fn flips(tables: &[Table]) -> Vec<Change> {
    let mut changes = Vec::new();
    for table in tables {
        for (rowid, values) in &table.rows {
            for (column, value) in table.columns.iter().zip(values) {
                for (nth, flipped) in flipped(value).into_iter().enumerate() {
                    let update = format!("UPDATE {} SET {column} = ?1 WHERE rowid = ?2", table.name);
                    changes.push(Change {
                        what: format!("flip {nth} of {}.{column} in row {rowid}", table.name),
                        column: format!("{}.{column}", table.name),
                        statements: vec![(update, vec![flipped, Value::Integer(*rowid)])],
                    });
                }
            }
        }
    }
    changes
}

fn swaps(tables: &[Table]) -> Vec<Change> {
    let mut changes = Vec::new();
    for table in tables {
        for (at, (_, first)) in table.rows.iter().enumerate() {
            for (_, second) in &table.rows[at + 1..] {
                for (index, column) in
                    table.columns.iter().enumerate().filter(|(index, _)| first[*index] != second[*index])
                {
                    let (mut one, mut other) = (first.clone(), second.clone());
                    std::mem::swap(&mut one[index], &mut other[index]);
                    changes.push(Change {
                        what: format!("swap of {}.{column} between {first:.40?} and {second:.40?}", table.name),
                        column: format!("{}.{column}", table.name),
                        statements: replacing(table, [first, second], [one, other]),
                    });
                }
            }
        }
    }
    changes
}

/// Deletes both rows and then inserts both, so that unique columns cause no conflict.
fn replacing(table: &Table, old: [&Vec<Value>; 2], new: [Vec<Value>; 2]) -> Vec<(String, Vec<Value>)> {
    let same = table.columns.iter().enumerate().map(|(at, column)| format!("{column} IS ?{}", at + 1));
    let delete = format!("DELETE FROM {} WHERE {}", table.name, same.collect::<Vec<_>>().join(" AND "));
    let places: Vec<String> = (1..=table.columns.len()).map(|at| format!("?{at}")).collect();
    let insert = format!("INSERT INTO {} ({}) VALUES ({})", table.name, table.columns.join(", "), places.join(", "));
    let deletes = old.map(|row| (delete.clone(), row.clone()));
    let inserts = new.map(|row| (insert.clone(), row));
    deletes.into_iter().chain(inserts).collect()
}

/// Makes a change behind the command's back. Returns `false` when SQLite's own checks prevent it.
fn made(store: &Path, change: &Change) -> bool {
    let mut database = Connection::open(store).unwrap();
    database.pragma_update(None, "foreign_keys", false).unwrap();
    let transaction = database.transaction().unwrap();
    let run = |(sql, values): &(String, Vec<Value>)| transaction.execute(sql, params_from_iter(values));
    let done = change.statements.iter().map(run).collect::<rusqlite::Result<Vec<_>>>();
    done.is_ok_and(|rows| rows.iter().all(|count| *count == 1)) && transaction.commit().is_ok()
}

/// Two hosts, each with a decision for one of two people, and rules for other hosts.
struct Stage {
    scene: Scene,
    server: Server,
    /// The decided identity for each host.
    decided: HashMap<&'static str, String>,
    flags: Vec<String>,
}

impl Stage {
    fn new(protected: bool) -> Stage {
        let scene = Scene::new();
        let (alice, bob) = (scene.hire("alice"), scene.hire("bob"));
        let decided = HashMap::from([("localhost", alice.fingerprint()), ("127.0.0.1", bob.fingerprint())]);
        for (host, identity) in &decided {
            scene.remember(host, identity);
        }
        scene.machine.run("rules add https://[*.]denied.example --deny").expect(0);
        scene.machine.run("rules add https://tls13.example --tls13").expect(0);
        let root = scene.server_root_file.to_str().unwrap();
        scene.machine.run(&format!("trust {root}")).expect(0);
        let server = scene.server(Kind::Go).start();
        // To have an entry in the history
        scene.machine.run(&format!("--batch fetch {}", server.url())).expect(0);
        let mut flags = vec!["--batch".to_owned()];
        if protected {
            let password = scene.machine.password_file(PRIMARY).to_str().unwrap().to_owned();
            scene.machine.run(&format!("--batch password --new-password-file {password}")).expect(0);
            flags.extend(["--primary-password-file".to_owned(), password]);
        }
        server.handshakes();
        Stage { scene, server, decided, flags }
    }

    /// Makes the change in a copy of the store and connects to every host. Returns what went wrong, if anything.
    fn try_change(&self, change: &Change, copy: &Path) -> Result<bool, String> {
        std::fs::copy(self.scene.machine.store(), copy).unwrap();
        if !made(copy, change) {
            return Ok(false);
        }
        let mut complaints = false;
        for (host, decided) in &self.decided {
            let before = self.server.requests().len();
            let run = self.scene.machine.command(&self.flags).arg("--store").arg(copy);
            // The unique path distinguishes this request from concurrent ones
            let path = format!("/{}/{before}", copy.file_name().unwrap().display());
            let outcome = run.args(["fetch", &self.server.url_at(host, &path)]).run();
            let came = self.server.requests().into_iter().filter(|request| request["path"] == path.as_str());
            for request in came {
                let chain = request["chain"].as_array().cloned().unwrap_or_default();
                if chain.first().is_some_and(|leaf| leaf.as_str() != Some(decided)) {
                    return Err(format!("{}: {host} was sent {chain:?}", change.what));
                }
            }
            if !matches!(outcome.code(), Some(0 | 1 | 3 | 4 | 5 | 6)) {
                return Err(format!("{}: {host}: {}", change.what, outcome.text()));
            }
            complaints |= outcome.code() != Some(0);
        }
        let telling = TELLING.iter().any(|telling| change.column.starts_with(telling));
        if !complaints && !telling {
            return Err(format!("{}: nobody noticed", change.what));
        }
        Ok(true)
    }

    fn try_all(&self, changes: &[Change]) {
        let (next, made, failures) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|threads| {
            for worker in 0..4 {
                let (next, made, failures) = (&next, &made, &failures);
                threads.spawn(move || {
                    let copy = self.scene.machine.dir().join(format!("copy-{worker}.db"));
                    while let Some(change) = changes.get(next.fetch_add(1, Ordering::Relaxed)) {
                        match self.try_change(change, &copy) {
                            Ok(was_made) => drop(made.fetch_add(was_made.into(), Ordering::Relaxed)),
                            Err(failure) => failures.lock().unwrap().push(failure),
                        }
                    }
                });
            }
        });
        let failures = failures.into_inner().unwrap();
        assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), changes.len(), failures.join("\n"));
        assert!(made.into_inner() > changes.len() / 2, "too few of the changes could be made");
    }
}

#[test]
fn a_changed_bit_in_any_column_sends_nothing_elsewhere() {
    let stage = Stage::new(false);
    stage.try_all(&flips(&tables(stage.scene.machine.store())));
}

#[test]
fn swapping_a_column_between_any_two_rows_sends_nothing_elsewhere() {
    let stage = Stage::new(false);
    stage.try_all(&swaps(&tables(stage.scene.machine.store())));
}

/// With a primary password the same holds against somebody who recomputes every code that needs no secret.
#[test]
fn a_change_in_a_protected_store_sends_nothing_elsewhere() {
    let stage = Stage::new(true);
    let mut tables = tables(stage.scene.machine.store());
    tables.retain(|table| ["vault", "decisions"].contains(&table.name.as_str()));
    stage.try_all(&flips(&tables));
    stage.try_all(&swaps(&tables));
}

/// A store with a primary password, and somebody who writes to the file without it.
struct Protected {
    scene: Scene,
    password: String,
}

impl Protected {
    fn new() -> Protected {
        let scene = Scene::new();
        scene.hire("alice");
        scene.hire("bob");
        let password = scene.machine.password_file(PRIMARY).to_str().unwrap().to_owned();
        scene.machine.run(&format!("--batch password --new-password-file {password}")).expect(0);
        Protected { scene, password }
    }

    /// Runs a command as the owner.
    fn owner(&self, line: &str) -> Outcome {
        let flags = ["--batch", "--primary-password-file", &self.password];
        self.scene.machine.command(flags).args(line.split(' ')).run()
    }

    /// Changes the file without the password.
    fn tamper(&self, sql: &str) {
        Connection::open(self.scene.machine.store()).unwrap().execute_batch(sql).unwrap();
    }
}

/// Knows the primary password.
struct Owner;

impl Unlocker for Owner {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        Ok(Zeroizing::new(PRIMARY.to_owned()))
    }
}

/// The statement that adds a trusted authority.
fn planting(authority: &Authority) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!(
        "INSERT INTO authorities (fingerprint, certificate, trusted, added_at) VALUES (x'{}', x'{}', 1, 0)",
        authority.fingerprint(),
        hex(authority.der())
    )
}

const EVIL_RULE: &str = r#"{"pattern":"https://evil.example","filter":{}}"#;

/// Rows that a trigger writes in the owner's transaction are not authenticated together with the owner's change.
#[test]
fn rows_that_a_trigger_adds_are_not_authenticated() {
    let triggers = [
        ("rules", "AFTER INSERT ON rules WHEN NEW.rule NOT LIKE '%evil%'"),
        ("settings", "AFTER UPDATE ON settings"),
        ("decisions", "AFTER UPDATE ON decisions"),
    ];
    for (table, when) in triggers {
        let stage = Protected::new();
        let insert = format!("INSERT OR IGNORE INTO rules (rule, added_at) VALUES ('{EVIL_RULE}', 0)");
        stage.tamper(&format!("CREATE TRIGGER planted {when} BEGIN {insert}; END"));
        stage.owner("rules add https://good.example").expect(1).says(&["planted", table]);
        stage.tamper("DROP TRIGGER planted");
        stage.owner("rules add https://good.example").expect(0);
        assert_eq!(stage.scene.machine.json("rules")["rules"].as_array().unwrap().len(), 1, "{table}");
    }
}

/// The same for a trigger that is added after the store was opened.
#[test]
fn a_trigger_added_after_opening_stops_every_change() {
    let scene = Scene::new();
    scene.hire("alice");
    let store = Store::open_in_session(scene.machine.store(), Session::own().unwrap()).unwrap();
    let insert = format!("INSERT OR IGNORE INTO rules (rule, added_at) VALUES ('{EVIL_RULE}', 0)");
    scene
        .machine
        .database()
        .execute_batch(&format!("CREATE TRIGGER planted AFTER INSERT ON rules BEGIN {insert}; END"))
        .unwrap();
    let rule = Rule::parse(r#"{"pattern":"https://good.example","filter":{}}"#).unwrap();
    let refused = store.add_rules(&[rule], Timestamp(0)).unwrap_err();
    assert!(matches!(&refused, Error::StoreDamaged { detail } if detail.contains("planted")), "{refused}");
    drop(store);
    let count = scene.machine.database().query_row("SELECT count(*) FROM rules", [], |row| row.get::<_, i64>(0));
    assert_eq!(count.unwrap(), 0);
}

/// Swaps the names of the two identities.
const SWAP_NAMES: &str = "UPDATE identities SET name = CASE name WHEN 'alice' THEN 'x' ELSE 'y' END;
    UPDATE identities SET name = CASE name WHEN 'x' THEN 'bob' ELSE 'alice' END;";

/// The owner's decision for a name does not apply to an identity that was given this name; with an agent too.
#[test]
fn a_decision_for_a_swapped_name_is_refused() {
    for by_agent in [false, true] {
        let stage = Protected::new();
        if by_agent {
            stage.owner("unlock --for 1m").expect(0);
        }
        let owner = |line: &str| match by_agent {
            true => stage.scene.machine.run(&format!("--batch {line}")),
            false => stage.owner(line),
        };
        stage.tamper(SWAP_NAMES);
        let refused = owner("remember localhost alice --for permanent");
        let accepted = refused.code() == Some(0);
        stage.tamper(SWAP_NAMES);
        let decided = stage.scene.machine.json("decisions")["decisions"].as_array().unwrap().len();
        let honest = owner("remember localhost alice --for permanent");
        if by_agent {
            stage.owner("lock").expect(0);
        }
        assert!(!accepted && decided == 0, "by agent {by_agent}: {}", refused.text());
        refused.says(&["alice", "tampered"]);
        honest.expect(0);
    }
}

/// Swaps the names during the prompt for the primary password, so that they are right again when the answer is written.
struct SwappedMeanwhile(PathBuf);

impl Unlocker for SwappedMeanwhile {
    fn primary_password(&self, attempt: u32) -> Result<Zeroizing<String>, Error> {
        Connection::open(&self.0).unwrap().execute_batch(SWAP_NAMES).unwrap();
        Owner.primary_password(attempt)
    }
}

/// Picks the identity that is called alice. Swaps the names back at the first question.
struct PicksAlice {
    store: PathBuf,
    lifetime: Lifetime,
    seen: Mutex<Vec<String>>,
}

impl Chooser for PicksAlice {
    fn choose(&self, question: &Question<'_>) -> Reply {
        let alice = question.candidates().find(|candidate| candidate.identity.name() == "alice").unwrap();
        let mut seen = self.seen.lock().unwrap();
        if seen.is_empty() {
            Connection::open(&self.store).unwrap().execute_batch(SWAP_NAMES).unwrap();
        }
        seen.push(alice.identity.fingerprint().to_string());
        Reply::Identity { identity: alice.identity, lifetime: self.lifetime }
    }
}

/// An identity that had another's name when the owner chose, and lost it before the choice was written, is not what the
/// owner chose.
#[test]
fn a_choice_by_a_swapped_name_is_refused_after_the_names_are_swapped_back() {
    let stage = Protected::new();
    let names = || {
        stage
            .scene
            .machine
            .database()
            .prepare("SELECT hex(fingerprint) FROM identities ORDER BY name")
            .unwrap()
            .query_map([], |row| row.get::<_, String>(0))
            .unwrap()
            .map(|hex| hex.unwrap().to_lowercase())
            .collect::<Vec<_>>()
    };
    let right = names();
    let to: Destination = "localhost".parse().unwrap();
    let chosen = |work: &dyn Fn(&Store, Identity) -> Result<(), Error>| {
        stage.tamper(SWAP_NAMES);
        let selector = stage.scene.machine.selector();
        let store = selector.store();
        let alice = store.find_identity("alice").unwrap();
        store.unlock_fully(&SwappedMeanwhile(stage.scene.machine.store().to_owned())).unwrap();
        assert_eq!(names(), right);
        let refused = work(store, alice);
        assert!(matches!(&refused, Err(Error::Renamed { name }) if name == "alice"), "{refused:?}");
        assert_eq!(store.decisions().unwrap(), []);
    };
    let scope = Mode::Firefox.scope(&to);
    chosen(&|store, alice| {
        store.remember_chosen(&scope, &Answer::Identity(Arc::new(alice)), Lifetime::Permanent, Timestamp(0))
    });
    chosen(&|store, alice| store.require_tls13(&alice, false));
    chosen(&|store, alice| store.rename(&alice, "carol"));
    chosen(&|store, alice| store.private_key(&alice, &Owner).map(drop));
    // The person is asked again, and then sees the right names
    for lifetime in [Lifetime::Once, Lifetime::Permanent] {
        stage.tamper(SWAP_NAMES);
        let seen = Mutex::default();
        let picks = Arc::new(PicksAlice { store: stage.scene.machine.store().to_owned(), lifetime, seen });
        let selector = stage.scene.machine.selector().with_chooser(picks.clone()).with_unlocker(Arc::new(Owner));
        let selected = selector
            .select(
                &to,
                &CertificateRequest::new(
                    &[],
                    &[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256],
                ),
            )
            .unwrap();
        assert_eq!(*picks.seen.lock().unwrap(), [right[1].clone(), right[0].clone()]);
        assert_eq!(selected.selection().unwrap().answer.fingerprint().unwrap().to_string(), right[0]);
    }
    // The same with --as
    stage.scene.machine.run("forget --all").expect(0);
    stage.tamper(SWAP_NAMES);
    let selector = stage.scene.machine.selector();
    let alice = selector.store().find_identity("alice").unwrap();
    stage.tamper(SWAP_NAMES);
    let refused = selector.given(&to, alice);
    assert!(matches!(refused, Err(Error::Renamed { .. })), "{refused:?}");
}

/// An identity whose name cardcase did not write takes nothing over in a renewal.
#[test]
fn an_identity_with_a_tampered_name_takes_nothing_over() {
    let stage = Protected::new();
    // It has to be valid for longer, also when both are issued in the same second
    let longer = Validity::Days(-30, 400);
    let renewed = stage.scene.employee("alice").email("alice@example.com").validity(longer).issue();
    let file = renewed.p12(stage.scene.machine.dir(), P12::Default);
    let file_password = stage.scene.machine.password_file(Scene::password());
    stage.owner(&format!("import {} --password-file {}", file.display(), file_password.display())).expect(0);
    stage.owner("remember localhost alice --for permanent").expect(0);
    stage.tamper(&format!(
        "UPDATE identities SET name = 'carol' WHERE hex(fingerprint) = upper('{}')",
        renewed.fingerprint()
    ));
    stage.owner("renew alice carol").says(&["carol", "tampered"]).expect(1);
}

/// `accept` authenticates what the owner can see, and lists it.
#[test]
fn accept_does_not_authenticate_what_the_owner_cannot_see() {
    let stage = Protected::new();
    stage.owner("remember localhost alice --for session").expect(0);
    stage.owner("rules add https://good.example").expect(0);
    // A decision in another session, whose name may be known in advance
    let bob = "(SELECT id FROM identities WHERE name = 'bob')";
    stage.tamper(&format!("UPDATE decisions SET session = 'another', mac = NULL, identity = {bob}"));
    stage.owner("accept").expect(0).says(&["rules: 1", "trusted authorities: 0", "decisions for identities: 0"]);
    let code = stage.scene.machine.database().query_row("SELECT mac FROM decisions", [], |row| row.get::<_, Value>(0));
    assert_eq!(code.unwrap(), Value::Null);
}

/// Planted rows can be removed without accepting the rest.
#[test]
fn planted_rules_and_authorities_can_be_removed() {
    let stage = Protected::new();
    stage.owner("rules add https://good.example").expect(0);
    let root = stage.scene.server_root_file.to_str().unwrap().to_owned();
    stage.owner(&format!("trust {root}")).expect(0);
    let insert = format!("INSERT INTO rules (rule, added_at) VALUES ('{EVIL_RULE}', 0)");
    stage.tamper(&insert);
    stage.tamper("UPDATE settings SET select_automatically = 1");
    stage.owner("rules add https://other.example").expect(1).says(&["not authentic"]);
    stage.owner("rules remove 2").expect(0);
    let authority = stage.scene.server_root.fingerprint();
    stage.owner(&format!("trust --remove {authority}")).expect(0).says(&["no longer trusted"]);
    // Removing does not authenticate the rest
    stage.owner("rules add https://other.example").expect(1).says(&["not authentic"]);
    stage.owner("accept").expect(0).says(&["rules: 1", "trusted authorities: 0", "select-automatically: on"]);
    stage.owner("config select-automatically off").expect(0);
    // If only the rule was planted, removing it restores an authentic state
    stage.tamper(&insert);
    stage.owner("rules remove 3").expect(0);
    stage.owner("rules add https://other.example").expect(0);
}

/// Without using a key, the password is not asked for. Where the check needs no password, a planted authority verifies
/// no server.
#[test]
fn a_planted_authority_verifies_no_server_unless_the_store_is_locked() {
    for by_agent in [false, true] {
        let stage = Protected::new();
        let server = stage.scene.server(Kind::Go).ask(Ask::Never).start();
        if by_agent {
            stage.owner("unlock --for 1m").expect(0);
        } else {
            let none = stage.scene.machine.password_file("");
            stage.owner(&format!("password --new-password-file {}", none.display())).expect(0);
        }
        let fetch = || stage.scene.machine.run(&format!("--batch fetch {}", server.url()));
        let unknown = fetch();
        stage.tamper(&planting(&stage.scene.server_root));
        let planted = fetch();
        stage.tamper("DELETE FROM authorities WHERE trusted");
        let root = stage.scene.server_root_file.to_str().unwrap();
        let trusting = stage.scene.machine.run(&format!("--batch trust {root}"));
        let trusted = fetch();
        if by_agent {
            stage.owner("lock").expect(0);
        }
        unknown.expect(1).says(&["unknown authority"]);
        planted.expect(1).says(&["trusted authorities", "not authentic"]);
        trusting.expect(0);
        trusted.expect(0);
    }
}

/// Somebody who cannot open the vault puts another in its place, which anybody can open: what they then authenticate does not
/// count, and no new key is sealed for them.
#[test]
fn a_vault_in_place_of_the_owners_is_not_used() {
    let open = "INSERT OR REPLACE INTO vault (id, protection, data_key) VALUES (1, 'none', x'07')"
        .replace("07", &"07".repeat(32));
    let mallory = Scene::new();
    mallory.hire("mallory");
    let others = format!(
        "ATTACH '{}' AS other; INSERT OR REPLACE INTO vault SELECT * FROM other.vault;
         CREATE TEMP TABLE planted AS SELECT * FROM other.identities; UPDATE planted SET id = 7;
         INSERT INTO identities SELECT * FROM planted; DETACH other",
        mallory.machine.store().display()
    );
    let replacements = [
        ("DELETE FROM vault".to_owned(), "missing"),
        ("DELETE FROM vault; UPDATE settings SET mac = NULL; DELETE FROM decisions".to_owned(), "missing"),
        (open, "replaced the vault"),
        (others, "replaced the vault"),
    ];
    for (replace, why) in replacements {
        let stage = Protected::new();
        let server = stage.scene.server(Kind::Go).ask(Ask::Require).start();
        let carol = stage.scene.employee("carol").issue().pem_file(stage.scene.machine.dir());
        stage.tamper(&replace);
        stage.tamper(&planting(&stage.scene.server_root));
        stage.tamper("UPDATE settings SET use_single_candidate = 1");
        let commands = [
            format!("import {}", carol.display()),
            "config select-automatically on".to_owned(),
            "accept".to_owned(),
            "remember localhost alice".to_owned(),
            format!("fetch {}", server.url()),
            format!("fetch --as alice {}", server.url()),
            format!("fetch --credentials omit {}", server.url()),
            "password --new-password-file /dev/null".to_owned(),
            "enroll --subject CN=alice -o alice.csr".to_owned(),
        ];
        for command in &commands {
            stage.scene.machine.run(&format!("--batch {command}")).expect(1).says(&[why]);
            stage.owner(command).expect(1);
        }
        server.assert_nothing_came("the vault was replaced");
        let identities = Connection::open(stage.scene.machine.store()).unwrap();
        let count: i64 = identities.query_row("SELECT count(*) FROM identities", [], |row| row.get(0)).unwrap();
        assert!(count <= 3, "{replace}: a key was sealed");
    }
}

/// Where a key of a store without a password was changed, the owner removes that row, and the rest can be used again.
#[test]
fn a_key_that_does_not_open_is_named_and_can_be_removed() {
    let scene = Scene::new();
    let (alice, _) = (scene.hire("alice"), scene.hire("bob"));
    let server = scene.server(Kind::Go).ask(Ask::Require).start();
    scene.remember("localhost", &alice.fingerprint());
    scene
        .machine
        .database()
        .execute("UPDATE identities SET private_key = zeroblob(80) WHERE name = 'bob'", [])
        .unwrap();
    let refused = scene.fetch(&server.url(), &[]).expect(1);
    refused.says(&["bob", "cardcase remove"]);
    scene.machine.run("remove --yes bob").expect(0);
    scene.fetch(&server.url(), &[]).expect(0);
}

/// If an authority is in the store only during a part of the connection, it verifies no server, or no key is used.
#[test]
fn an_authority_planted_for_only_one_connection_gets_no_signature() {
    let stage = Protected::new();
    stage.owner("remember localhost alice --for permanent").expect(0);
    let read = || {
        let selector = stage.scene.machine.selector().with_unlocker(Arc::new(Owner));
        let selector = selector.with_trusted_authorities().unwrap();
        let verifier = selector.server_verifier([], &Arc::new(default_provider()));
        (selector, verifier)
    };
    let used = |selector: &Selector| {
        selector.unlock_fully().unwrap();
        selector.prepare("localhost".parse::<Destination>().unwrap()).unwrap().private_key().map(|key| key.is_some())
    };
    let server = CertificateDer::from(stage.scene.server_certificate.der().to_vec());
    let is_verified = |verifier: &Arc<dyn ServerCertVerifier>| {
        let name = ServerName::try_from("localhost").unwrap();
        verifier.verify_server_cert(&server, &[], &name, &[], UnixTime::now()).is_ok()
    };
    stage.tamper(&planting(&stage.scene.server_root));
    let (selector, verifier) = read();
    assert!(is_verified(&verifier), "nobody can tell while the vault is locked");
    stage.tamper("DELETE FROM authorities WHERE trusted");
    assert!(used(&selector).unwrap() && !is_verified(&verifier));
    stage.tamper(&planting(&stage.scene.server_root));
    let refused = used(&selector);
    assert!(matches!(refused, Err(Error::NotAuthentic { .. })) && !is_verified(&verifier), "{refused:?}");
    stage.tamper("DELETE FROM authorities WHERE trusted");
    // Changes by the owner in between are no reason to refuse, and an authority that the owner has added counts
    let root = stage.scene.server_root_file.to_str().unwrap().to_owned();
    let authority = stage.scene.server_root.fingerprint();
    let changes = [
        (format!("trust {root}"), true),
        ("rules add https://good.example".to_owned(), true),
        (format!("trust --remove {authority}"), false),
    ];
    for (meanwhile, trusts) in changes {
        let (selector, verifier) = read();
        stage.owner(&meanwhile).expect(0);
        assert!(used(&selector).unwrap(), "{meanwhile}");
        assert_eq!(is_verified(&verifier), trusts, "{meanwhile}");
    }
}

/// A program keeps rows in memory as long as a number in the file says that nothing changed. But somebody who can write the
/// file can write that number too.
struct Kept {
    stage: Protected,
    selector: Selector,
    to: Destination,
}

impl Kept {
    fn new(prepare: &[&str]) -> Kept {
        let stage = Protected::new();
        for line in prepare {
            stage.owner(line).expect(0);
        }
        let selector = stage.scene.machine.selector().with_unlocker(Arc::new(Owner));
        selector.unlock_fully().unwrap();
        Kept { stage, selector, to: "localhost".parse().unwrap() }
    }

    /// Changes the store, has it read, and then restores it, including the number, as if nothing had happened.
    fn poison(&self, change: &str, read: impl FnOnce(&Selector), undo: &str) {
        self.stage.tamper(change);
        read(&self.selector);
        let machine = &self.stage.scene.machine;
        let number: i64 =
            machine.database().query_row("SELECT generation FROM settings", [], |row| row.get(0)).unwrap();
        self.stage.tamper(&format!("{undo}; UPDATE settings SET generation = {number}"));
    }
}

#[test]
fn a_tls13_requirement_that_was_removed_briefly_still_applies() {
    for decided in [true, false] {
        let kept = Kept::new(&["min-tls alice 1.3", "remember localhost alice --for permanent"]);
        let alice = kept.selector.store().find_identity("alice").unwrap();
        let read = |selector: &Selector| drop(selector.store().identity(alice.fingerprint()).unwrap());
        let set = |to| format!("UPDATE identities SET requires_tls13 = {to} WHERE name = 'alice'");
        kept.poison(&set(0), read, &set(1));
        let prepared = match decided {
            true => kept.selector.prepare(kept.to.clone()).unwrap(),
            false => kept.selector.given(&kept.to, alice).unwrap(),
        };
        assert_eq!(prepared.demands_tls13(), Some("alice"), "decided: {decided}");
    }
}

/// Both when reading everything for an answer fails halfway, and when only the rules are read.
#[test]
fn a_rule_that_existed_only_briefly_selects_no_identity() {
    let request = CertificateRequest::new(&[], &[SignatureScheme::ECDSA_NISTP256_SHA256]);
    let plant = r#"INSERT INTO rules (rule, added_at) VALUES ('{"pattern":"https://localhost","filter":{}}', 0);"#;
    let take = "DELETE FROM rules";
    let rules = |selector: &Selector| drop(selector.store().rules().unwrap());
    let fails = |selector: &Selector| {
        drop(selector.explain("localhost".parse::<Destination>().unwrap(), &request).unwrap_err())
    };
    let lame =
        "PRAGMA ignore_check_constraints = 1; UPDATE authorities SET trusted = 1, fingerprint = x'00' WHERE id = 1";
    let heal = |root: &str| format!("UPDATE authorities SET trusted = 0, fingerprint = x'{root}' WHERE id = 1");
    for alone in [true, false] {
        let kept = Kept::new(&[]);
        let root: String = kept
            .stage
            .scene
            .machine
            .database()
            .query_row("SELECT hex(fingerprint) FROM authorities WHERE id = 1", [], |row| row.get(0))
            .unwrap();
        match alone {
            true => kept.poison(plant, rules, take),
            false => kept.poison(&format!("{plant} {lame}"), fails, &format!("{take}; {}", heal(&root))),
        }
        let asked = kept.selector.select(&kept.to, &request);
        assert!(matches!(asked, Err(Error::NobodyToAsk { .. })), "alone: {alone}, {asked:?}");
    }
}

/// A setting that somebody else turned on can be turned off without accepting it first.
#[test]
fn a_setting_that_was_turned_on_can_be_turned_off() {
    let stage = Protected::new();
    stage.owner("config prompt-on-multiple on").expect(0);
    stage.tamper("UPDATE settings SET select_automatically = 1, use_single_candidate = 1, prompt_on_multiple = 0");
    // Changes that could send more are refused on top of it
    for more in ["config mode chrome", "rules add https://good.example"] {
        stage.owner(more).expect(1).says(&["not authentic"]);
    }
    for restricting in ["select-automatically off", "use-single-candidate off", "prompt-on-multiple on"] {
        stage.owner(&format!("config {restricting}")).expect(0);
    }
    // The settings are as the owner left them
    stage.owner("rules add https://good.example").expect(0);
    // Turning on a setting that was turned off behind the owner's back is refused
    stage.owner("config use-single-candidate on").expect(0);
    stage.tamper("UPDATE settings SET use_single_candidate = 0");
    stage.owner("config use-single-candidate on").expect(1).says(&["not authentic"]);
}

/// The history has no code. When nobody is asked, it does not affect which identity is sent.
#[test]
fn a_forged_history_does_not_change_what_is_selected_without_asking() {
    let stage = Protected::new();
    let server = stage.scene.server(Kind::Go).start();
    stage.owner("config select-automatically on").expect(0);
    let authority = stage.scene.server_root_file.to_str().unwrap();
    let fetch = || stage.owner(&format!("fetch {} --cacert {authority}", server.url())).expect(0);
    fetch();
    let sent = "(SELECT identity FROM uses WHERE identity IS NOT NULL)";
    stage.tamper(&format!(
        "UPDATE uses SET identity = (SELECT fingerprint FROM identities WHERE fingerprint != {sent})"
    ));
    fetch();
    let chains = server.chains();
    assert!(chains.len() == 2 && chains[0] == chains[1], "{chains:?}");
}
