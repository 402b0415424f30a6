//! Reads arbitrary bytes as names: a host name that a person types or that is in a redirect, the name of an authority that a server
//! sends, and the names in the certificate of a server. The certificate is verified for the host in the first line.

#![no_main]

use std::sync::{Arc, LazyLock};

use cardcase::Destination;
use cardcase::manage::{Certificate, Name, is_unprintable, split_port};
use cardcase::raw::{server_name, server_verifier, why_unverified};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};

/// Trusts the root of the fixtures.
static VERIFIER: LazyLock<Arc<dyn ServerCertVerifier>> = LazyLock::new(|| {
    let root = CertificateDer::from(include_bytes!("../../fixtures/alice/root.der").to_vec());
    server_verifier([root], &Arc::new(default_provider()))
});

fuzz_target!(|input: &[u8]| {
    let (host, der) = match input.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, input),
    };
    let destination = std::str::from_utf8(host).ok().and_then(read_host);
    read_authority(der);
    read_certificate(der, destination.as_ref());
});

/// A normalised name that is written and read again is the same.
fn read_host(text: &str) -> Option<Destination> {
    let _ = split_port(text);
    let destination: Destination = text.parse().ok()?;
    assert_eq!(destination.to_string().parse::<Destination>().unwrap(), destination);
    assert_eq!(Destination::new(destination.host(), destination.port()).unwrap(), destination);
    assert!(!destination.to_string().contains(is_unprintable));
    Some(destination)
}

/// A name that is shown has no control characters.
fn read_authority(der: &[u8]) {
    let name = Name::from_der(der);
    assert!(!name.to_string().contains(is_unprintable));
    let _ = (name.common_name(), name.attributes("OU"));
}

fn read_certificate(der: &[u8], destination: Option<&Destination>) {
    if let Ok(certificate) = Certificate::from_der(der) {
        let _ = (certificate.subject().to_string(), certificate.issuer().to_string());
    }
    let localhost = || "localhost".parse::<Destination>().ok();
    let Some(name) = destination.cloned().or_else(localhost).and_then(|name| server_name(&name).ok()) else { return };
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_795_357_800));
    if let Err(error) = VERIFIER.verify_server_cert(&CertificateDer::from(der), &[], &name, &[], now) {
        if let Some(why) = why_unverified(&error) {
            assert!(!why.contains(is_unprintable), "{why:?}");
        }
    }
}

fuzz_mutator!(|input: &mut [u8], size: usize, max_size: usize, seed: u32| {
    cardcase_fuzz::mutate_after_line(input, size, max_size, seed)
});
