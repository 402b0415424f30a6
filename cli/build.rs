//! Decides whether OpenSSL is loaded when it is first needed (src/openssl_at_need.rs), or at the start like any other library.

use std::env::var;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(openssl_at_need)");
    for name in STATIC.iter().chain(&PLACES) {
        println!("cargo:rerun-if-env-changed={name}");
    }
    if let Some(library) = library() {
        println!("cargo:rustc-cfg=openssl_at_need");
        println!("cargo:rustc-env=CARDCASE_LIBSSL={library}");
    }
}

/// With one of these, openssl-sys links OpenSSL statically.
const STATIC: [&str; 4] =
    ["OPENSSL_STATIC", "X86_64_UNKNOWN_LINUX_GNU_OPENSSL_STATIC", "PKG_CONFIG_ALL_STATIC", "LIBSSL_STATIC"];

/// Where openssl-sys finds the library if these say so: there, one without a shared library is linked statically.
const PLACES: [&str; 4] = [
    "OPENSSL_DIR",
    "OPENSSL_LIB_DIR",
    "X86_64_UNKNOWN_LINUX_GNU_OPENSSL_DIR",
    "X86_64_UNKNOWN_LINUX_GNU_OPENSSL_LIB_DIR",
];

/// The name under which programs find the OpenSSL that openssl-sys was built with; `None` where it is not loaded at need.
fn library() -> Option<String> {
    var("CARGO_FEATURE_OPENSSL").ok()?;
    let target = ["ARCH", "OS", "ENV"].map(|part| var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default());
    if target != ["x86_64", "linux", "gnu"] {
        return None;
    }
    if STATIC.iter().any(|name| var(name).is_ok_and(|value| value != "0")) || var("DEP_OPENSSL_VENDORED").is_ok() {
        return None;
    }
    if PLACES.iter().any(|name| var(name).is_ok()) {
        return None;
    }
    // LibreSSL and others have no such number, and OpenSSL 1.1 has other functions
    let version = u64::from_str_radix(&var("DEP_OPENSSL_VERSION_NUMBER").ok()?, 16).ok()?;
    let major = version >> 28;
    (major >= 3).then(|| format!("libssl.so.{major}"))
}
