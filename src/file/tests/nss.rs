//! Databases of NSS.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use zeroize::Zeroizing;

use crate::certificate::import::Import;
use crate::certificate::private_key::PrivateKey;
use crate::error::file::Error;
use crate::file::NssDatabase;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/nss")
}

/// A copy that may be changed. What `changed` has stands in place of the files of `name`.
fn copied(name: &str, changed: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in ["cert9.db", "key4.db"] {
        let changed = fixtures().join(changed).join(file);
        let source = if changed.exists() { changed } else { fixtures().join(name).join(file) };
        fs::copy(source, copy.path().join(file)).unwrap();
    }
    copy
}

fn read(directory: &Path, password: &str) -> Result<Import, Error> {
    NssDatabase::open(directory)?.import(password, None)
}

/// The private keys by the fingerprints of their certificates.
fn keys(import: &Import) -> BTreeMap<String, PrivateKey> {
    let new = import.new_identities().iter();
    new.map(|identity| (identity.certificate.fingerprint().to_string(), identity.key.clone())).collect()
}

#[test]
fn every_key_is_the_one_that_was_put_in() {
    for name in
        ["nss-3.87", "nss-3.87-password", "nss-3.132-password", "old-3des", "chromium-156", "ml-dsa", "firefox-esr-153"]
    {
        let directory = fixtures().join(name);
        let expected: Value = serde_json::from_slice(&fs::read(directory.join("expected.json")).unwrap()).unwrap();
        let expected = |what: &str| expected[what].as_array().unwrap().clone();
        let password = fs::read_to_string(directory.join("password")).unwrap();
        if !password.is_empty() {
            assert_eq!(read(&directory, "").err(), Some(Error::WrongPassword), "{name}");
            assert_eq!(read(&directory, "other").err(), Some(Error::WrongPassword), "{name}");
        }
        let mut database = NssDatabase::open(&directory).unwrap();
        let mut import = database.import(&password, None).unwrap();
        import.pair().unwrap_or_else(|error| panic!("{name}: {error}"));
        let keys = keys(&import);
        assert_eq!(keys.len(), expected("identities").len(), "{name}");
        for identity in expected("identities") {
            let found = &keys[identity["sha256"].as_str().unwrap()];
            // The key of one certificate was made by NSS itself
            if let Some(original) = identity["key"].as_str() {
                let original = Zeroizing::new(fs::read(fixtures().join(original)).unwrap());
                assert_eq!(found.pkcs8(), PrivateKey::from_foreign(original).pkcs8(), "{name}: {identity}");
            }
        }
        let fingerprints = |expected: &[Value]| -> Vec<String> {
            let mut all: Vec<_> = expected.iter().map(|ca| ca["sha256"].as_str().unwrap().to_owned()).collect();
            all.sort();
            all
        };
        let authorities = expected("authorities");
        let mut found: Vec<_> = import.authorities().iter().map(|ca| ca.fingerprint().to_string()).collect();
        found.sort();
        assert_eq!(found, fingerprints(&authorities), "{name}");
        let trusted: Vec<Value> = authorities.into_iter().filter(|ca| ca["server"] == "trusted CA").collect();
        let found: Vec<_> = database.trusted_authorities().iter().map(|ca| ca.fingerprint().to_string()).collect();
        assert_eq!(found, fingerprints(&trusted), "{name}");
        let unusable = usize::from(name == "ml-dsa");
        assert_eq!(database.identities(), keys.len() + unusable, "{name}");
    }
}

#[test]
fn other_kinds_of_keys_are_left_out_by_name() {
    let mut import = read(&fixtures().join("ml-dsa"), "").unwrap();
    import.pair().unwrap();
    let left_out: Vec<String> = import.left_out().map(|(_, what, why)| format!("{what}: {why}")).collect();
    assert!(left_out.iter().any(|text| text.contains("ML-DSA")), "{left_out:?}");
}

/// What of a damaged database is read: the number of identities, and a part of what is left out.
#[test]
fn what_is_damaged_is_left_out_and_the_rest_is_read() {
    for (name, identities, left_out) in [
        ("badsig", 2, "wrong authentication code"),
        ("nosig", 0, "no authentication code"),
        ("curve-garbage", 1, "the curve of a private key"),
        ("modulus-other", 2, "its certificate is not in the database"),
        ("class-3-bytes", 0, "its private key is not there"),
        // Linked by their public keys and not by their CKA_ID
        ("ckaid-swapped", 3, ""),
        ("generated-column", 3, ""),
        ("meta-not-unique", 3, ""),
        ("label-bad-utf8", 3, ""),
    ] {
        let copy = copied("nss-3.87", &format!("bad/{name}"));
        let mut import = read(copy.path(), "").unwrap_or_else(|error| panic!("{name}: {error}"));
        import.pair().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(import.identities().count(), identities, "{name}");
        let all: Vec<String> = import.left_out().map(|(_, what, why)| format!("{what}: {why}")).collect();
        let is_named = all.iter().any(|text| text.contains(left_out));
        assert!(if left_out.is_empty() { all.is_empty() } else { is_named }, "{name}: {all:?}");
    }
}

#[test]
fn a_database_whose_certificates_cannot_be_read_says_so() {
    for name in ["cert-garbage", "cert-trailing"] {
        let copy = copied("nss-3.87", &format!("bad/{name}"));
        let error = read(copy.path(), "").unwrap().pair().unwrap_err();
        assert!(error.to_string().starts_with("a certificate is damaged: "), "{name}: {error}");
    }
}

#[test]
fn a_hostile_database_is_refused_before_any_work() {
    for (name, expected) in [
        ("flip-cert9", "cert9.db is damaged: malformed database schema (subject)"),
        ("id-huge", "key4.db is damaged: the number of an object"),
        ("item2-garbage", "key4.db is damaged: a sealed value"),
        ("iv16", "key4.db is damaged: an initialisation vector that NSS does not write"),
        ("no-password", "key4.db is damaged: private keys without the entry that checks the password"),
        ("rounds-0", "key4.db is damaged: a key derivation of no rounds"),
        ("rounds-neg", "key4.db is damaged: the parameters of PBKDF2"),
        ("rounds-1e9", "the file asks for 1000000000 rounds"),
        ("rounds-2e31m1", "the file asks for 2147483647 rounds"),
        ("schema-bomb", "cert9.db is damaged: it makes more work than a file of its size can"),
        ("table-bomb", "cert9.db is damaged: it makes more work than a file of its size can"),
        ("text-instead-of-blob", "cert9.db is damaged: text or a number in place of bytes"),
        ("trunc-cert9-15", "cert9.db is damaged: it is no SQLite database"),
        ("trunc-key4-20000", "key4.db is damaged: database disk image is malformed"),
        ("view-recursive", "cert9.db is damaged: it has no table nssPublic"),
    ] {
        let copy = copied("nss-3.87", &format!("bad/{name}"));
        let error = read(copy.path(), "").err().unwrap_or_else(|| panic!("{name} is read"));
        assert!(error.to_string().contains(expected), "{name}: {error}");
    }
}

/// Changes key4.db by SQL.
fn changed(sql: &str) -> tempfile::TempDir {
    let copy = copied("nss-3.87", "");
    let database = rusqlite::Connection::open(copy.path().join("key4.db")).unwrap();
    database.execute_batch(sql).unwrap();
    copy
}

#[test]
fn columns_and_attributes_may_be_missing() {
    for (sql, identities) in [
        ("UPDATE nssPrivate SET a102 = NULL", 3),
        ("UPDATE nssPrivate SET ad5a0db00 = NULL", 3),
        // Linked by what the keys turn out to be, once they are open
        ("UPDATE nssPrivate SET ad5a0db00 = NULL, a102 = NULL", 3),
        ("UPDATE nssPrivate SET a128 = NULL", 2),
        ("UPDATE nssPrivate SET a122 = x'00' WHERE a100 = x'00000000'", 2),
        ("ALTER TABLE nssPrivate DROP COLUMN a180", 1),
        ("DELETE FROM nssPrivate", 0),
        // Of two codes for one value, one cannot be read
        (
            "INSERT INTO metaData SELECT printf('sig_key_%08x_00000011', id + 0xc0000000), x'00', NULL FROM nssPrivate",
            3,
        ),
    ] {
        let copy = changed(sql);
        let mut import = read(copy.path(), "").unwrap_or_else(|error| panic!("{sql}: {error}"));
        import.pair().unwrap();
        assert_eq!(import.identities().count(), identities, "{sql}");
    }
}

/// Only a comparison with the certificates finds this: the codes do not say to which key a value belongs.
#[test]
fn the_values_of_two_keys_cannot_be_exchanged() {
    let copy = changed(
        "CREATE TEMP TABLE two AS SELECT id, a11, ad5a0db00 FROM nssPrivate WHERE a100 = x'00000003' ORDER BY id;
         CREATE TEMP TABLE codes AS SELECT two.id, item1 FROM two
             JOIN metaData ON metaData.id = printf('sig_key_%08x_00000011', two.id);
         UPDATE nssPrivate SET a11 = (SELECT a11 FROM two WHERE two.id != nssPrivate.id) WHERE id IN (SELECT id FROM two);
         UPDATE metaData SET item1 = (SELECT item1 FROM codes WHERE metaData.id != printf('sig_key_%08x_00000011', codes.id))
             WHERE id IN (SELECT printf('sig_key_%08x_00000011', id) FROM two);",
    );
    let mut import = read(copy.path(), "").unwrap();
    import.pair().unwrap();
    // Each key is paired with the certificate that it really has
    let originals = fixtures().join("keys");
    for (fingerprint, key) in keys(&import) {
        let name = match fingerprint.get(..4).unwrap() {
            "75b1" => "r2048.key",
            "458a" => "p256.key",
            _ => "chain.key",
        };
        let original = PrivateKey::from_foreign(Zeroizing::new(fs::read(originals.join(name)).unwrap()));
        assert_eq!(key.pkcs8(), original.pkcs8(), "{name}");
    }
}

#[test]
fn a_file_that_is_no_file_is_refused() {
    let copy = copied("nss-3.87", "");
    let file = copy.path().join("cert9.db");
    fs::remove_file(&file).unwrap();
    make_fifo(&file);
    assert!(read(copy.path(), "").unwrap_err().to_string().ends_with("it is not a regular file"));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(read(copy.path(), "").unwrap_err().to_string().ends_with("it is not a regular file"));
    fs::remove_dir(&file).unwrap();
    let (directory, missing) = (copy.path().to_owned(), "cert9.db");
    assert_eq!(read(copy.path(), "").err(), Some(Error::NoDatabase { directory: directory.clone(), missing }));
    fs::write(copy.path().join("cert8.db"), "").unwrap();
    assert_eq!(read(copy.path(), "").err(), Some(Error::OldDatabase { directory }));
    let huge = fs::File::create(&file).unwrap();
    huge.set_len(200 << 20).unwrap();
    assert!(matches!(read(copy.path(), ""), Err(Error::TooCostly { what: "bytes", .. })));
}

/// Every file in a directory with its contents, where it is a regular file.
fn listing(directory: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let regular = |path: &Path| path.symlink_metadata().unwrap().is_file();
    paths.map(|path| (path.clone(), regular(&path).then(|| fs::read(&path).unwrap()))).collect()
}

fn make_fifo(path: &Path) {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
}

/// SQLite would wait for a FIFO, and would remove a log beside an empty file or write to it.
#[test]
fn a_file_beside_the_database_is_looked_at_first() {
    let log = copied("nss-3.87", "");
    let writer = rusqlite::Connection::open(log.path().join("key4.db")).unwrap();
    writer.execute_batch("PRAGMA journal_mode = wal; UPDATE nssPrivate SET a3 = x'41'").unwrap();
    for name in ["cert9.db", "key4.db"] {
        for suffix in ["-journal", "-wal", "-shm"] {
            let copy = copied("nss-3.87", "");
            let beside = copy.path().join(format!("{name}{suffix}"));
            for make in [|path: &Path| make_fifo(path), |path: &Path| fs::create_dir(path).unwrap()] {
                make(&beside);
                let expected = format!("{}: it is not a regular file", beside.display());
                assert_eq!(read(copy.path(), "").unwrap_err().to_string(), expected);
                fs::remove_file(&beside).or_else(|_| fs::remove_dir(&beside)).unwrap();
            }
            // Beside the file to which a link leads
            let linked = tempfile::tempdir().unwrap();
            for file in ["cert9.db", "key4.db"] {
                std::os::unix::fs::symlink(copy.path().join(file), linked.path().join(file)).unwrap();
            }
            assert!(read(linked.path(), "").is_ok());
            make_fifo(&beside);
            assert!(read(linked.path(), "").is_err());
        }
        let (with_log, empty) = (copied("nss-3.87", ""), copied("nss-3.87", ""));
        fs::copy(log.path().join("key4.db-wal"), with_log.path().join(format!("{name}-wal"))).unwrap();
        fs::write(empty.path().join(name), "").unwrap();
        let emptied = tempfile::tempdir().unwrap();
        for file in ["cert9.db", "key4.db"] {
            fs::copy(empty.path().join(file), emptied.path().join(file)).unwrap();
        }
        fs::copy(log.path().join("key4.db-wal"), emptied.path().join(format!("{name}-wal"))).unwrap();
        for (copy, expected) in [(&with_log, "write-ahead log"), (&empty, "it is empty"), (&emptied, "it is empty")] {
            let before = listing(copy.path());
            let error = read(copy.path(), "").unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
            assert_eq!(listing(copy.path()), before, "{name}: {expected}");
        }
    }
    drop(writer);
    // Its log is gone, but its header says that it may come back
    let before = listing(log.path());
    let error = read(log.path(), "").unwrap_err().to_string();
    assert!(error.contains("sqlite3 key4.db 'pragma journal_mode=delete'"), "{error}");
    assert_eq!(listing(log.path()), before);
}

#[test]
fn nothing_is_changed() {
    let damaged = fs::read_dir(fixtures().join("bad")).unwrap().map(|entry| entry.unwrap().file_name());
    let damaged: Vec<String> = damaged.map(|name| format!("bad/{}", name.display())).collect();
    assert!(damaged.len() > 20);
    for changed in damaged.iter().map(String::as_str).chain([""]) {
        let copy = copied("nss-3.87", changed);
        let before = listing(copy.path());
        if let Ok(mut database) = NssDatabase::open(copy.path()) {
            let _ = (database.import("", None), database.decisions(|host| Some(host.to_owned())));
        }
        assert_eq!(listing(copy.path()), before, "{changed}");
    }
}

#[test]
fn an_identity_is_a_certificate_with_its_key() {
    let all = NssDatabase::open(fixtures().join("nss-3.87")).unwrap();
    let people: Vec<_> = all.certificates().filter(|certificate| all.has_identity(certificate)).cloned().collect();
    assert_eq!((people.len(), all.identities()), (3, 3));
    for (sql, expected) in [
        ("DELETE FROM nssPrivate", 0),
        ("DELETE FROM nssPrivate WHERE a100 = x'00000000'", 2),
        // By their number
        ("UPDATE nssPrivate SET ad5a0db00 = NULL", 3),
        ("UPDATE nssPrivate SET ad5a0db00 = NULL, a102 = NULL WHERE a100 = x'00000003'", 1),
    ] {
        let copy = changed(sql);
        let database = NssDatabase::open(copy.path()).unwrap();
        let there = people.iter().filter(|person| database.has_identity(person)).count();
        assert_eq!((there, database.identities()), (expected, expected), "{sql}");
    }
}

#[test]
fn the_keys_that_are_open_are_counted() {
    let mut counts = Vec::new();
    let mut database = NssDatabase::open(fixtures().join("nss-3.87")).unwrap();
    let _ = database.import_with_progress("", None, &mut |done, total| counts.push((done, total))).unwrap();
    assert_eq!(counts, [(1, 3), (2, 3), (3, 3)]);
}

/// The code covers that something is trusted, and not what.
#[test]
fn trust_counts_only_for_the_certificate_with_its_hash() {
    for sql in ["UPDATE nssPublic SET ace5363b4 = NULL", "UPDATE nssPublic SET ace5363b4 = x'a5005a'"] {
        let copy = copied("nss-3.87", "");
        let count = || {
            let mut database = NssDatabase::open(copy.path()).unwrap();
            let _ = database.import("", None).unwrap();
            database.trusted_authorities().len()
        };
        assert_eq!(count(), 1);
        rusqlite::Connection::open(copy.path().join("cert9.db")).unwrap().execute_batch(sql).unwrap();
        assert_eq!(count(), 0, "{sql}");
    }
}

#[test]
fn a_look_does_not_wait_for_a_program_that_writes() {
    let copy = copied("nss-3.87", "");
    let file = copy.path().join("key4.db");
    let writer = rusqlite::Connection::open(&file).unwrap();
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let start = std::time::Instant::now();
    assert_eq!(NssDatabase::open_at_once(copy.path()).err(), Some(Error::DatabaseBusy { file }));
    // Otherwise it waits five seconds
    assert!(start.elapsed() < std::time::Duration::from_secs(4));
}

/// What a program that was killed in the middle of a change leaves behind.
#[test]
fn an_unfinished_change_is_told() {
    let (copy, killed) = (copied("nss-3.87", ""), copied("nss-3.87", ""));
    let writer = rusqlite::Connection::open(killed.path().join("key4.db")).unwrap();
    // The change goes into the file before it is committed
    writer.execute_batch("PRAGMA cache_size = 1; BEGIN; UPDATE nssPrivate SET a3 = zeroblob(50000)").unwrap();
    for file in ["key4.db", "key4.db-journal"] {
        fs::copy(killed.path().join(file), copy.path().join(file)).unwrap();
    }
    let file = copy.path().join("key4.db");
    assert_eq!(read(copy.path(), "").err(), Some(Error::UnfinishedDatabase { file }));
}

#[test]
fn a_program_that_has_the_database_open_does_not_matter() {
    let copy = copied("nss-3.87", "");
    let open = rusqlite::Connection::open(copy.path().join("key4.db")).unwrap();
    open.execute_batch("BEGIN IMMEDIATE; UPDATE nssPrivate SET a3 = x'41'").unwrap();
    let mut import = read(copy.path(), "").unwrap();
    import.pair().unwrap();
    assert_eq!(import.identities().count(), 3);
}

fn remembered(name: &str) -> (Vec<String>, Vec<String>) {
    let database = NssDatabase::open(fixtures().join(name)).unwrap();
    let (mut remembered, mut left_out) = (Vec::new(), Vec::new());
    for (host, answer) in database.decisions(|host| Some(host.to_owned())).unwrap() {
        match answer {
            Ok(None) => remembered.push(format!("{host} none")),
            Ok(Some(fingerprint)) => remembered.push(format!("{host} {}", &fingerprint.to_string()[..8])),
            Err(why) => left_out.push(format!("{host}: {why}")),
        }
    }
    (remembered, left_out)
}

#[test]
fn answers_for_the_host_itself_are_remembered() {
    let (found, left_out) = remembered("firefox-esr-153");
    assert_eq!(found, ["127.0.0.1 83a0219e", "a.test 2ee6597e", "x.a.test none"]);
    assert_eq!(
        left_out,
        ["a.test: the answer is for a frame in a page of another site", "a.test: the answer is for a container tab"]
    );
    let (found, left_out) = remembered("nss-3.87");
    assert_eq!(found, ["none.example none", "old.example 75b17a8b"]);
    assert_eq!(
        left_out,
        [
            "private.example: the answer is for one site only (first-party isolation)",
            "old.example: an older answer; the browser asked again since"
        ]
    );
    assert_eq!(remembered("chromium-156"), (Vec::new(), Vec::new()));
}
