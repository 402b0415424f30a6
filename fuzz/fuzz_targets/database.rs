//! Changes rows and pages of a valid store, then opens and reads it as `list`, `show`, `explain`, `history` and a connection do. The
//! file is in memory.

#![no_main]

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use cardcase::ask::CertificateRequest;
use cardcase::manage::Session;
use cardcase::{Destination, Selector, Store};
use cardcase_fuzz::Image;
use libfuzzer_sys::fuzz_target;
use rustls::SignatureScheme;

static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = PathBuf::from(format!("/dev/shm/cardcase-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory
});

static GOOD: LazyLock<Image> = LazyLock::new(|| Image::new(&DIRECTORY));

fuzz_target!(|input: &[u8]| {
    let path = DIRECTORY.join("cardcase.db");
    let _ = std::fs::remove_file(DIRECTORY.join("cardcase.db-journal"));
    std::fs::write(&path, GOOD.changed(input)).unwrap();
    let session = Session::in_directory(DIRECTORY.join("session"));
    if let Ok(store) = Store::open_in_session(path, session) {
        read(store);
    }
});

fn read(store: Store) {
    let _ = (store.settings(), store.rules(), store.decisions(), store.history(None), store.enrollments());
    let _ = (store.history(Some("www.example.com")), store.find_identity("alice"), store.find_authority("a"));
    for authority in store.authorities().unwrap_or_default() {
        let _ = format!("{authority:?}");
    }
    for identity in store.identities().unwrap_or_default() {
        let _ = (store.identity(identity.fingerprint()), store.chain(identity.certificate()));
    }
    let selector = Selector::new(Arc::new(store)).with_policy_directory(DIRECTORY.join("none"));
    let _ = selector.clone().with_trusted_authorities();
    let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256];
    let request = CertificateRequest::new(&[], &schemes);
    for host in ["www.example.com", "none.example", "other.example:8443", "a.example"] {
        let destination: Destination = host.parse().unwrap();
        let _ = (selector.prepare(&destination), selector.explain(&destination, &request));
        let _ = selector.select(&destination, &request);
    }
    let _ = selector.store().damage();
}
