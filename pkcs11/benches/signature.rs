//! What the module costs.
//!
//! - `load`: the module loaded and initialized, as in a program that has it configured and does not use it.
//! - `search`: the first search, which reads the store, and a later one.
//! - `sign`: one signature by the module and the agent, against one by the agent for a program that has the library.
//!
//! The agent runs on a thread of this process; what is asked goes over its socket all the same.
// Whatever fails ends the measurement; and the interface is one of C
#![allow(missing_docs, unsafe_code, unreachable_pub, dead_code, unused_imports)]
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "../tests/module/load.rs"]
mod load;
#[path = "../../tests/library/pki.rs"]
mod pki;

use std::hint::black_box;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use cardcase::manage::{Confirmation, Permission, Session, ToSign, agent};
use cardcase::{Error, Store, Unlocker};
use criterion::Criterion;
use cryptoki_sys::*;
use rustls::SignatureScheme;
use zeroize::Zeroizing;

use load::Module;
use pki::{Ca, Home, params};

const KEYS: [(&str, &rcgen::SignatureAlgorithm, SignatureScheme, CK_MECHANISM_TYPE); 2] = [
    ("P-256", &rcgen::PKCS_ECDSA_P256_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256, CKM_ECDSA_SHA256),
    ("RSA-2048", &rcgen::PKCS_RSA_SHA256, SignatureScheme::RSA_PKCS1_SHA256, CKM_SHA256_RSA_PKCS),
];

struct Nobody;

impl agent::Owner for Nobody {}

impl Unlocker for Nobody {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        Err(Error::VaultLocked)
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let (home, root) = (Home::new(), Ca::root("Root"));
    let [p256, rsa] = KEYS.map(|(name, algorithm, ..)| root.leaf_with(params(name), algorithm));
    drop(home.with([&p256, &rsa], [&root.certificate]));
    // SAFETY: no other thread runs yet
    unsafe {
        std::env::set_var("CARDCASE_STORE", home.store_file());
        std::env::set_var("XDG_RUNTIME_DIR", home.path());
    }
    let session = Session::in_directory(home.path().join("cardcase"));
    let store = Arc::new(Store::open_in_session(home.store_file(), session).unwrap());
    store.unlock_fully(&Nobody).unwrap();
    for identity in store.identities().unwrap() {
        store.permit(&identity, Permission::Any, Confirmation::Never).unwrap();
    }
    let lease = store.lease(Duration::from_secs(3600)).unwrap();
    let (listens, listening) = mpsc::channel();
    thread::spawn(move || agent::serve(lease, Arc::new(Nobody), |_stop| listens.send(()).unwrap()).unwrap());
    listening.recv().unwrap();

    let path = std::env::current_exe().unwrap().with_file_name("libcardcase_pkcs11.so");
    let start = || {
        let module = Module::load(&path);
        assert_eq!(module.initialize(), CKR_OK);
        module
    };
    let end = |module: Module| {
        assert_eq!(module.finalize(), CKR_OK);
        module.close();
    };
    criterion.bench_function("load", |bencher| bencher.iter(|| end(start())));
    criterion.bench_function("load and search", |bencher| {
        bencher.iter(|| {
            let module = start();
            assert!(!module.find(module.session(0), &[]).is_empty());
            end(module);
        });
    });
    let module = start();
    let own = module.session(0);
    criterion.bench_function("search", |bencher| bencher.iter(|| black_box(module.key(own, "P-256"))));
    let message = load::tls13();
    for (name, _, scheme, mechanism) in KEYS {
        let identity = store.find_identity(name).unwrap();
        let key = module.key(own, name);
        let mut group = criterion.benchmark_group(format!("sign {name}"));
        group.bench_function("agent", |bencher| {
            bencher.iter(|| black_box(store.sign_for_program(&identity, scheme, ToSign::Message(&message)).unwrap()));
        });
        group.bench_function("module and agent", |bencher| {
            bencher.iter(|| black_box(module.sign(own, key, mechanism, &message).unwrap()));
        });
        group.finish();
    }
    criterion.final_summary();
}
