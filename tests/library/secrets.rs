//! What a log, an error or a panic could show: everything that `Debug` prints.

use std::fmt::Debug;
use std::sync::Arc;

use cardcase::manage::{Lifetime, Mode, Timestamp};
use cardcase::{Destination, Identity, Selector, Store};

use crate::people::{PASSWORD, Typist};
use crate::pki::{Ca, Home, Leaf, import};

/// The bytes in every form in which they could be printed, without spaces.
fn printed(bytes: &[u8]) -> [String; 4] {
    let hex = |upper: bool| bytes.iter().map(|b| if upper { format!("{b:02X}") } else { format!("{b:02x}") }).collect();
    let text = bytes.escape_ascii().to_string();
    [format!("{bytes:?}").trim_matches(['[', ']']).replace(' ', ""), hex(false), hex(true), text]
}

#[track_caller]
fn assert_no_secret(leaf: &Leaf, shown: &[&dyn Debug]) {
    let key = &leaf.pkcs8[leaf.pkcs8.len() / 2..][..12];
    let whole = format!("{:?}", leaf.pkcs8).replace(' ', "");
    assert!(whole.contains(&printed(key)[0]), "this test looks for the key in the wrong way");
    for (which, debug) in shown.iter().enumerate() {
        let text = format!("{debug:?} {debug:#?}").replace([' ', '\n'], "").replace(",]", "]");
        let secrets = [printed(key).to_vec(), vec![PASSWORD.replace(' ', ""), "hopeless".to_owned()]].concat();
        for secret in secrets {
            assert!(!text.contains(&secret), "number {which} shows {secret}: {text}");
        }
    }
}

fn protected_store(home: &Home, leaf: &Leaf) -> (Arc<Store>, Identity) {
    let store = home.with([leaf], []);
    store.set_primary_password(Some(PASSWORD), &Typist).unwrap();
    let identity = store.identities().unwrap()[0].clone();
    (store, identity)
}

#[test]
fn debug_output_shows_no_secret() {
    let leaf = Ca::root("Root").leaf("alice");
    let home = Home::new();
    let (store, identity) = protected_store(&home, &leaf);
    let selector = Selector::new(store.clone()).with_unlocker(Arc::new(Typist));
    let key = store.private_key(&identity, &Typist).unwrap();
    let destination: Destination = "localhost".parse().unwrap();
    let scope = Mode::Firefox.scope(&destination);
    store.remember(&scope, Some(identity.fingerprint()), Lifetime::Permanent, Timestamp::now()).unwrap();
    let prepared = selector.prepare(&destination).unwrap();
    let prepared_key = prepared.private_key().unwrap();
    assert_eq!(prepared_key, Some(key.clone()));
    assert_no_secret(&leaf, &[&import([&leaf], []), &store, &identity, &selector, &key, &prepared, &prepared_key]);
}

#[cfg(feature = "files")]
#[test]
fn debug_output_of_files_shows_no_secret() {
    use cardcase::file;

    let leaf = Ca::root("Root").leaf("alice");
    let home = Home::new();
    let (store, identity) = protected_store(&home, &leaf);
    let file = store.export(&[identity], PASSWORD, &Typist).unwrap();
    let read = file::read(&file, PASSWORD).unwrap();
    let wrong_password = file::read(&file, "hopeless").unwrap_err();
    let damaged = file::read(&leaf.pkcs8[..leaf.pkcs8.len() - 1], PASSWORD).unwrap_err();
    assert_no_secret(&leaf, &[&read, &wrong_password, &damaged]);
}
