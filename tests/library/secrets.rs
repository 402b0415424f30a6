//! What a log, an error or a panic could show of a secret: whatever `Debug` prints.

use std::fmt::Debug;
use std::sync::Arc;

use cardcase::Selector;
use cardcase::file;

use crate::people::{PASSWORD, Typist};
use crate::pki::{Ca, Home, import};

/// The same bytes as the ways of printing them would have them, without blanks.
fn printed(bytes: &[u8]) -> [String; 4] {
    let hex = |upper: bool| bytes.iter().map(|b| if upper { format!("{b:02X}") } else { format!("{b:02x}") }).collect();
    let text = bytes.escape_ascii().to_string();
    [format!("{bytes:?}").trim_matches(['[', ']']).replace(' ', ""), hex(false), hex(true), text]
}

#[test]
fn debug_output_shows_no_secret() {
    let leaf = Ca::root("Root").leaf("alice");
    let key = &leaf.pkcs8[leaf.pkcs8.len() / 2..][..12];
    assert!(
        format!("{:?}", leaf.pkcs8).replace(' ', "").contains(&printed(key)[0]),
        "it is looked for in the wrong way"
    );
    let brought = import([&leaf], []);
    let home = Home::new();
    let store = home.with([&leaf], []);
    store.set_primary_password(Some(PASSWORD), &Typist).unwrap();
    let identity = store.identities().unwrap()[0].clone();
    let selector = Selector::new(store.clone()).with_unlocker(Arc::new(Typist));
    // What damaged keys and wrong passwords are refused with
    let file = store.export(&identity, PASSWORD, &Typist).unwrap();
    let read = file::read(&file, PASSWORD).unwrap();
    let wrong = file::read(&file, "hopeless").unwrap_err();
    let damaged = file::read(&leaf.pkcs8[..leaf.pkcs8.len() - 1], PASSWORD).unwrap_err();
    let shown: [&dyn Debug; 7] = [&brought, &read, &store, &identity, &selector, &wrong, &damaged];
    for (which, debug) in shown.into_iter().enumerate() {
        let text = format!("{debug:?} {debug:#?}").replace([' ', '\n'], "").replace(",]", "]");
        let secrets = [printed(key).to_vec(), vec![PASSWORD.replace(' ', ""), "hopeless".to_owned()]].concat();
        for secret in secrets {
            assert!(!text.contains(&secret), "number {which} shows {secret}: {text}");
        }
    }
}
