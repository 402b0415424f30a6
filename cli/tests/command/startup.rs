//! What the start of the command costs: OpenSSL is loaded when it is needed, not before.

// Where build.rs turns that on
#![cfg(all(feature = "openssl", target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]

use crate::support::scene::Scene;
use crate::support::server::{Ask, Kind};

/// If this fails after an update of the crate `openssl`, the list in src/openssl_at_need.rs lacks functions that it now calls:
/// `nm -D --undefined-only target/debug/cardcase | grep OPENSSL`.
#[test]
fn openssl_is_not_loaded_at_the_start() {
    let scene = Scene::new();
    let loaded = scene.machine.command(["--version"]).env("LD_TRACE_LOADED_OBJECTS", "1").run().expect(0).text();
    assert!(loaded.contains("libc.so"), "{loaded}");
    assert!(!loaded.contains("libssl") && !loaded.contains("libcrypto"), "{loaded}");
}

#[test]
fn an_openssl_that_cannot_be_loaded_is_an_error_where_it_is_needed() {
    let scene = Scene::new();
    let server = scene.server(Kind::OpenSsl).ask(Ask::Never).start();
    let broken = scene.machine.dir().join("broken");
    std::fs::create_dir(&broken).unwrap();
    let named = format!("libssl.so.{}", openssl::version::number() >> 28);
    std::fs::write(broken.join(&named), "").unwrap();
    let run = |arguments: &[&str]| scene.machine.command(arguments).env("LD_LIBRARY_PATH", &broken).run();
    run(&["list"]).expect(0);
    let authority = scene.server_root_file.to_str().unwrap();
    let fetch = ["--batch", "fetch", &server.url(), "--cacert", authority, "--tls", "openssl"];
    scene.machine.command(fetch).run().expect(0);
    let failed = run(&fetch).expect(1);
    assert!(failed.stderr.contains("cardcase: error: OpenSSL cannot be loaded: "), "{}", failed.stderr);
    assert!(failed.stderr.contains(&named) && failed.stderr.contains("apt-get install libssl"), "{}", failed.stderr);
}
